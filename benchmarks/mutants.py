"""Would the tests notice? Change one operator or number of the engines, run the tests that look at it, and count.

    python -m benchmarks.mutants --count 60 --workers 2

The mutants are a random sample of all that the operators below can make. One that survives is either a gap in the
tests or the same program written differently: a person looks which.
"""

from __future__ import annotations

import argparse
import ast
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import keep
from mnist_cnn.runtime import hardware

PROJECT = Path(__file__).resolve().parent.parent

TESTS = {
    "mnist_cnn/input_optimization/ascent.py": ("test_ascent.py", "test_any_network.py", "test_objectives.py"),
    "mnist_cnn/judging/scorecard.py": ("test_scorecard.py", "test_searches.py"),
    "mnist_cnn/sweeps/study.py": ("test_study.py", "test_sweep.py"),
    "mnist_cnn/training/attacks.py": ("test_attacks.py", "test_training.py"),
    "mnist_cnn/tracking/heartbeat.py": ("test_pipelines.py", "test_sweep.py"),
    "mnist_cnn/tracking/runs.py": ("test_unsent.py", "test_pipelines.py", "test_sweep.py"),
    "mnist_cnn/tracking/unsent.py": ("test_unsent.py",),
}
"""What is changed, and the test files that look at it."""

SWAPS: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One change of a file. start, end: of the text that is replaced, counted in bytes."""

    file: str
    line: int
    start: int
    end: int
    before: str
    after: str


def mutants_of(file: str) -> Iterator[Mutant]:
    """All mutants of a file: an operator swapped, a 0, 1 or 2 raised by one, a truth value turned, a `not` left out."""
    source = (PROJECT / file).read_bytes()
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for node in ast.walk(ast.parse(source)):
        changed = _changed(node)
        if changed is not None and isinstance(node, ast.expr) and node.end_lineno and node.end_col_offset is not None:
            start, end = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
            before = source[start:end].decode()
            if "f'" not in before and 'f"' not in before:  # texts are written anew by `ast`, and not looked at here
                yield Mutant(file, node.lineno, start, end, before, f"({ast.unparse(changed)})")


def _changed(node: ast.AST) -> ast.expr | None:
    if isinstance(node, ast.BinOp) and type(node.op) in SWAPS:
        return ast.BinOp(node.left, SWAPS[type(node.op)](), node.right)
    if isinstance(node, ast.BoolOp):
        return ast.BoolOp(SWAPS[type(node.op)](), node.values)
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in SWAPS:
        return ast.Compare(node.left, [SWAPS[type(node.ops[0])]()], node.comparators)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return node.operand
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        return ast.Constant(not node.value)
    if isinstance(node, ast.Constant) and node.value in (0, 1, 2) and isinstance(node.value, int):
        return ast.Constant(node.value + 1)
    return None


def _without_annotations(mutants: list[Mutant]) -> list[Mutant]:
    """`int | None` is a type, and no arithmetic."""
    return [mutant for mutant in mutants if "|" not in mutant.before]


def tried(mutant: Mutant) -> dict[str, object]:
    """What became of a mutant: its tests are run on a copy of the project that holds it."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "project"
        ignored = shutil.ignore_patterns(".git", "mlruns", "mlflow.db*", "site", "docs", ".*_cache", "*.log")
        shutil.copytree(PROJECT, copy, ignore=ignored)
        path = copy / mutant.file
        source = path.read_bytes()
        path.write_bytes(source[: mutant.start] + mutant.after.encode() + source[mutant.end :])
        command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *(
            f"tests/{name}" for name in TESTS[mutant.file])]  # fmt: skip
        try:
            done = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=900, check=False)
            failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
            outcome = "survived" if done.returncode == 0 else "killed"
        except subprocess.TimeoutExpired:
            outcome, failed = "killed", ["it did not end"]
    seconds = round(time.monotonic() - began, 1)
    return {**asdict(mutant), "outcome": outcome, "by": failed[:1], "seconds": seconds}


def sample(count: int, seed: int) -> list[Mutant]:
    """As many mutants of each file as of every other, as far as there are."""
    draw = random.Random(seed)
    of_files = [_without_annotations(list(mutants_of(file))) for file in TESTS]
    for mutants in of_files:
        draw.shuffle(mutants)
    turns = [mutants[i] for i in range(max(map(len, of_files))) for mutants in of_files if i < len(mutants)]
    return turns[:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    results = []
    with ThreadPoolExecutor(given.workers) as pool:
        for result in pool.map(tried, sample(given.count, given.seed)):
            results.append(result)
            change = f"{result['file']}:{result['line']} {result['before']!r} -> {result['after']!r}"
            print(f"{len(results)} {result['outcome']} {change} {result['by']} {result['seconds']} s", flush=True)
    killed = sum(result["outcome"] == "killed" for result in results)
    print(f"{killed} of {len(results)} killed")
    keep("mutants", hardware.start_tensorflow(), {"seed": given.seed, "killed": killed, "mutants": results})


if __name__ == "__main__":
    main()
