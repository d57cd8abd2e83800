"""Whether a rebuild moves a number: the same commands from an older commit and from this tree, compared to the bit.

python -m benchmarks.same_numbers [BASE]

Each tree works in a fresh folder with a tracking store of its own. Compared are every metric with its history, every
array of an .npz artifact and the weights of every logged model. What only a clock decides is left out (`CLOCKED`).
Exit status: 0 if all numbers are equal or expected to differ, else 1.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import h5py  # type: ignore[import-untyped]  # comes with Keras, which writes its weights by it
import mlflow
import numpy as np
from mlflow.entities import Run
from numpy.typing import NDArray

from benchmarks import keep
from mnist_cnn.runtime import hardware

TREE = Path(__file__).resolve().parent.parent
BASE = "a5d0639"
"""The last commit that changed numbers on purpose: blocks of pixels. The next release takes its place."""

EXPECTED_DIFFERENCES = {
    "*/*_by_step_validation*": "validation has curves within the epoch, which it had not",
}
"""The reason (a mended fault) by `COMMAND/RUN/NAME`, as a difference's line begins; `*` stands for anything."""

CLOCKED = re.compile(r"seconds|images_per_second|^step/|^system/")
"""Metrics that a clock or the machine decides: times, memory, and `step/...`, means of the steps in half a second."""

SMALL = "--dataset=mnist:1200"
COMMANDS = {
    "train": "train --dataset=mnist:2000",
    "train_resumed": "train --epochs=3 --dropout=0.2 --augmentation=0.5 --dataset=mnist:6000",
    "train_ordinary": f"train --network=smooth {SMALL}",
    "train_readable": f"train --preset=readable --epochs=1 --attack_steps=1 {SMALL}",
    "evaluate": f"evaluate --model={{train}} --epsilon=1 {SMALL}",
    "judges": f"judges --panel=both {SMALL}",
    "optimize": "optimize --targets=2,3+5 --steps=40 --snapshot_every=20 --num_images=2 --pose=0.5 "
    f"--feature_weight=0.2 --shift=1 {SMALL}",
    "experiments": f"experiments --num_images=1 --steps=20 {SMALL}",
    "sweep": "sweep --sweep=images --n_trials=12 --goal=probability --steps=20 --snapshot_every=10 "
    f"--num_images=2 {SMALL}",
    "sweep_two_goals": "sweep --sweep=goals --n_trials=4 --goal=recognised,diversity --start=noise --targets=1,7 "
    f"--steps=20 --snapshot_every=10 --num_images=2 {SMALL}",
    "sweep_training": f"sweep_training --sweep=trainings --n_trials=3 {SMALL}",
    "compare": f"compare --confirm=2 {SMALL}",
    "ablation": f"ablation --networks=ordinary,readable --num_images=2 --tuning_images=2 --steps=10 {SMALL}",
    "register": f"register --model={{train_ordinary}} --attacked=20 --num_images=1 {SMALL}",
    "register_second": f"register --model={{train_readable}} --attacked=20 --num_images=0 {SMALL}",
}
"""What is run, in this order; `{COMMAND}` is the id of the first run that an earlier command made."""

INTERRUPTED = "train_resumed"
"""This command gets a SIGINT at its first checkpoint, and is resumed."""

CHECKPOINTS = "checkpoints"
"""The folder among a run's artifacts."""

FORMER_NAMES = {"ablation": "answer", "reproduce": "main"}
FORMER_METRICS = ("gate/", "promotion/")
"""How an older commit begins the names of a registration's metrics, and how this tree does."""

LONGEST = 900.0
"""Seconds after which a command is killed."""

MOST_LINES = 20
"""Differences that are printed for a command; the JSON file holds all."""

ONE_AT_A_TIME = threading.Lock()
"""Held where MLflow opens a store, for its migrations are not made for threads."""

Numbers = dict[str, NDArray[Any]]
"""Arrays, and single values of metrics, by `RUN/NAME`."""


@dataclass(frozen=True)
class Difference:
    """count: numbers that differ. reason: why that is expected; empty where it is not."""

    name: str
    base: str
    tree: str
    count: int
    reason: str = ""


@dataclass(frozen=True)
class Comparison:
    """numbers: all that were compared, a number that is missing on one side included."""

    command: str
    numbers: int = 0
    differences: list[Difference] = field(default_factory=list)
    failure: str = ""

    @property
    def differing(self) -> int:
        return sum(difference.count for difference in self.differences)

    @property
    def is_good(self) -> bool:
        return not self.failure and all(difference.reason for difference in self.differences)

    def row(self) -> str:
        return f"{self.command:<18}{self.numbers:>12,}{self.numbers - self.differing:>12,}{self.differing:>12,}"


def program(tree: Path, entry_point: str) -> list[str]:
    """The words that start a command of a tree, be it an older one."""
    pipelines, former = tree / "pipelines", FORMER_NAMES.get(entry_point, entry_point)
    module = former if (pipelines / f"{former}.py").exists() else entry_point
    has_dispatcher = (pipelines / "__main__.py").exists()
    return [sys.executable, "-m", *(["pipelines", module] if has_dispatcher else [f"pipelines.{module}"])]


def environment(tree: Path) -> dict[str, str]:
    """What a tree's commands run in: its own modules, and no variable of MLflow."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return {**clean, "PYTHONPATH": str(tree)}


class Side:
    """One tree, and the folder in which its commands run. name: how the output calls it."""

    def __init__(self, name: str, tree: Path, folder: Path) -> None:
        self.name, self.tree, self.folder = name, tree, folder
        self.made: dict[str, list[Run]] = {}
        self._process: subprocess.Popen[str] | None = None

    @cached_property
    def client(self) -> mlflow.MlflowClient:
        """Of the store that the first command has made: made here, it would keep artifacts in this process's folder."""
        return mlflow.MlflowClient(tracking_uri=f"sqlite:///{self.folder}/mlflow.db")

    def run(self, command: str) -> str:
        """Run a command; what is said where it fails, else empty. Its runs are then in `made`."""
        known = {run.info.run_id for runs in self.made.values() for run in runs}
        missing = [name for name in re.findall(r"{(\w+)}", COMMANDS[command]) if not self.made.get(name)]
        if missing:
            return f"it needs the run of {missing[0]}, which failed"
        first_runs = {name: runs[0].info.run_id for name, runs in self.made.items() if runs}
        entry_point, *words = COMMANDS[command].format(**first_runs).split()
        status, output = self.call(entry_point, words, self.has_checkpoint if command == INTERRUPTED else None)
        if command == INTERRUPTED and status:
            killed = [run for run in self.runs() if run.info.status == "KILLED"]
            if killed:
                has_command = (self.tree / "pipelines" / "resume.py").exists()
                entry_point, name = ("resume", "run") if has_command else ("train", "resume")
                status, output = self.call(entry_point, [f"--{name}={killed[-1].info.run_id}"])
        elif command == INTERRUPTED:
            print(f"{self.name}: {command} ended before it was interrupted", flush=True)
        self.made[command] = [run for run in self.runs() if run.info.run_id not in known]
        return f"exit status {status}\n{output[-1500:]}" if status else ""

    def call(
        self, entry_point: str, words: Sequence[str], interrupt_when: Callable[[], bool] | None = None
    ) -> tuple[int, str]:
        """Exit status and output of a command, which gets a SIGINT as soon as `interrupt_when` says so."""
        with tempfile.TemporaryFile("w+") as output:
            process = self._process = subprocess.Popen(
                [*program(self.tree, entry_point), *words], cwd=self.folder, stdout=output, stderr=subprocess.STDOUT,
                env=environment(self.tree), text=True,
            )  # fmt: skip
            try:
                while interrupt_when and process.poll() is None:
                    if interrupt_when():
                        process.send_signal(signal.SIGINT)
                        break
                    time.sleep(0.05)
                process.wait(LONGEST)
            except subprocess.TimeoutExpired:
                print(f"{self.name}: {entry_point} is killed after {LONGEST:g} s", flush=True)
            finally:
                process.kill()
                process.wait()
            output.seek(0)
            return process.returncode, output.read()

    def stop(self) -> None:
        if self._process:
            self._process.kill()

    def has_checkpoint(self) -> bool:
        return any(self.folder.rglob(f"{CHECKPOINTS}/*"))

    def runs(self) -> list[Run]:
        """All runs of the store, the oldest first."""
        if not (self.folder / "mlflow.db").exists():
            return []
        with ONE_AT_A_TIME:
            experiments = [experiment.experiment_id for experiment in self.client.search_experiments()]
            order = ["attributes.start_time ASC"]
            return list(self.client.search_runs(experiments, order_by=order, max_results=5000))


def read(client: mlflow.MlflowClient, runs: Sequence[Run]) -> Numbers:
    """All numbers of runs, the oldest first. A run that resumes another is read as one with it."""
    names: dict[str, str] = {}
    order: Counter[str] = Counter()
    numbers: Numbers = {}
    values: dict[str, list[float]] = {}
    for run in runs:
        tags, run_id = run.data.tags, run.info.run_id
        kind = tags.get("kind", "")
        kind = next((name for name, former in FORMER_NAMES.items() if kind == former), kind)
        name = names.get(tags.get("resumed_from", "")) or f"{kind} {tags.get('trial', order[kind])}"
        order[kind] += 1
        names[run_id] = name
        for key in run.data.metrics:
            if CLOCKED.search(key):
                continue
            for point in sorted(client.get_metric_history(run_id, key), key=lambda point: point.timestamp):
                title = key.replace(*FORMER_METRICS)
                known = values.setdefault(f"{name}/{title} at {point.step}", [])
                if repr(point.value) not in map(repr, known):  # one that is logged again is one point; NaN is itself
                    known.append(point.value)
        folders = {name: run.info.artifact_uri}
        for output in run.outputs.model_outputs if run.outputs else []:
            model = client.get_logged_model(output.model_id)
            folders[f"{name}/{model.name}"] = model.artifact_location
        for place, uri in folders.items():
            for file in sorted(Path(unquote(urlparse(uri).path)).rglob("*.*")):
                if file.parent.name != CHECKPOINTS:  # a run keeps them only while it can be resumed
                    numbers.update({f"{place}/{file.name}/{key}": array for key, array in arrays_of(file)})
    return {**{key: np.array(known) for key, known in values.items()}, **numbers}


def arrays_of(file: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    """The arrays of an .npz file, or the weights of a .keras file; none of another."""
    if file.suffix == ".npz":
        with np.load(file, allow_pickle=False) as archive:
            yield from archive.items()
    elif file.suffix == ".keras":
        found: list[tuple[str, NDArray[Any]]] = []
        with zipfile.ZipFile(file) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as weights:
            weights.visititems(lambda name, item: found.append((name, item[()])) if hasattr(item, "dtype") else None)
        yield from found


def compare(command: str, base: Numbers, tree: Numbers, expected: Mapping[str, str]) -> Comparison:
    differences, total = [], 0
    for name in sorted(base.keys() | tree.keys()):
        ours, theirs = tree.get(name), base.get(name)
        total += max(array.size for array in (ours, theirs) if array is not None)
        found = difference(theirs, ours)
        if found:
            line = f"{command}/{name}"
            reason = next((reason for pattern, reason in expected.items() if fnmatchcase(line, pattern)), "")
            differences.append(Difference(line, *found, reason))
    return Comparison(command, total, differences)


def difference(base: NDArray[Any] | None, tree: NDArray[Any] | None) -> tuple[str, str, int] | None:
    """Both values where they first differ, and how many do; None where all bits are equal."""
    if base is None or tree is None or base.shape != tree.shape or base.dtype != tree.dtype:
        texts = ["missing" if array is None else show(array) for array in (base, tree)]
        return texts[0], texts[1], max(array.size for array in (base, tree) if array is not None)
    bits = [np.frombuffer(array.tobytes(), np.uint8).reshape(-1, array.itemsize) for array in (base, tree)]
    places = np.flatnonzero((bits[0] != bits[1]).any(axis=1))
    if not places.size:
        return None
    first = int(places[0])
    where = "" if base.size == 1 else f" [{first}]"
    return f"{base.flat[first].item()!r}{where}", f"{tree.flat[first].item()!r}{where}", len(places)


def show(array: NDArray[Any]) -> str:
    return repr(array.ravel().tolist()) if array.size < 4 else f"{array.dtype} {array.shape}"


@contextmanager
def worktree(commit: str, folder: Path) -> Iterator[Path]:
    """The files of a commit, in a git worktree that is removed in the end."""
    git("worktree", "add", "--detach", str(folder), commit)
    try:
        yield folder
    finally:
        git("worktree", "remove", "--force", str(folder))


def git(*words: str) -> str:
    done = subprocess.run(["git", "-C", str(TREE), *words], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"same_numbers: git {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout.strip()


def run_all(sides: Sequence[Side], commands: Sequence[str]) -> list[Comparison]:
    """Each command, in both trees at the same time, and its comparison as soon as it is there."""
    done = []
    for number, command in enumerate(commands, 1):
        start = time.perf_counter()
        with ThreadPoolExecutor(len(sides)) as pool:
            try:
                outcomes = list(pool.map(lambda side: side.run(command), sides))  # noqa: B023 (ends within the loop)
            except BaseException:  # the pool would wait for both commands
                for side in sides:
                    side.stop()
                raise
        failures = [f"{side.name}: {outcome}" for side, outcome in zip(sides, outcomes, strict=True) if outcome]
        if failures:
            done.append(Comparison(command, failure="\n".join(failures)))
        else:
            base, tree = (read(side.client, side.made[command]) for side in sides)
            done.append(compare(command, base, tree, EXPECTED_DIFFERENCES))
        came_to = done[-1].failure or f"{done[-1].differing:,} of {done[-1].numbers:,} numbers differ"
        print(f"{number} of {len(commands)}: {command}, {time.perf_counter() - start:.0f} s, {came_to}", flush=True)
    return done


def report(done: Sequence[Comparison], expected: Mapping[str, str]) -> bool:
    """Print the table and what differs; whether all is as it should be."""
    print(f"\n{'command':<18}{'compared':>12}{'equal':>12}{'differing':>12}")
    for comparison in done:
        print(f"{comparison.command:<18}{'failed':>12}" if comparison.failure else comparison.row())
    print(Comparison("all", sum(each.numbers for each in done), [d for each in done for d in each.differences]).row())
    for comparison in done:
        for found in comparison.differences[:MOST_LINES]:
            reason = f" (expected: {found.reason})" if found.reason else ""
            print(f"{found.name}: {found.base} became {found.tree}; {found.count:,} differ{reason}")
        if len(comparison.differences) > MOST_LINES:
            print(f"{comparison.command}: {len(comparison.differences) - MOST_LINES:,} more differ")
    names = [found.name for comparison in done for found in comparison.differences]
    for pattern in expected:
        if not any(fnmatchcase(name, pattern) for name in names):
            print(f"{pattern} is expected to differ, and does not")
    return all(comparison.is_good for comparison in done) and any(comparison.numbers for comparison in done)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", nargs="?", default=BASE, help=f"the commit to compare with (default: {BASE})")
    parser.add_argument("--tree", type=Path, default=TREE, help="the tree to compare (default: this one)")
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS), help="only these")
    options = parser.parse_args()
    # A shell's background job ignores SIGINT, and so would the command that shall be interrupted.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # by the worktree's removal
    start, commit = time.perf_counter(), git("rev-parse", "--verify", f"{options.base}^{{commit}}")
    with tempfile.TemporaryDirectory() as temporary, worktree(commit, Path(temporary) / "base") as base:
        sides = []
        for name, tree in (("base", base), ("tree", options.tree.resolve())):
            folder = Path(temporary) / f"{name}_store"
            folder.mkdir()
            sides.append(Side(name, tree, folder))
        done = run_all(sides, options.commands)
    is_good = report(done, EXPECTED_DIFFERENCES)
    seconds = round(time.perf_counter() - start)
    print(f"\n{'The same numbers' if is_good else 'NOT the same numbers'} as {commit[:7]}, {seconds} s")
    if options.tree == TREE and options.commands == list(COMMANDS):  # else it says nothing about this tree
        rows = [{**asdict(each), "differing": each.differing} for each in done]
        keep(
            "same_numbers",
            hardware.start_tensorflow(),
            {"base": commit, "tree": git("describe", "--always", "--dirty"), "commands": rows},
        )
    sys.exit(not is_good)


if __name__ == "__main__":
    main()
