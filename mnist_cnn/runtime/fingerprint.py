"""What a run is made of, in one word: settings, data, code and versions. Runs of one recipe are alike."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path

from mnist_cnn.settings.command_line import Settings

ROOT = Path(__file__).parents[2]
PACKAGES = ("pipelines", "mnist_cnn")
VERSIONED = ("tensorflow", "keras", "numpy", "optuna", "scikit-learn")
"""What numbers depend on."""

NO_PART = frozenset(("run_name", "resume", "workers", "storage", "preset", "sweep"))
"""Settings that change no number; what a preset and a sweep's name stand for is said by the others."""


def recipe(program: str, words: Mapping[str, str]) -> str:
    """16 hexadecimal digits for a run of `pipelines.program` with these settings, on these data, by this code."""
    made_of = {
        "program": program,
        "words": {name: word for name, word in sorted(words.items()) if name not in NO_PART and word},
        "data": _digest_of_data(words.get("dataset", "")),
        "code": code_digest(program),
        "versions": {name: version(name) for name in VERSIONED},
    }
    return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]


def recipe_of_command(cls: type[Settings], argv: Sequence[str]) -> str:
    """The recipe that a run of this command line will have."""
    settings, given = cls.from_command_line(argv)
    space = given.get("space")
    return recipe(cls.PROGRAM, {**settings.as_words(), **(space.words() if space is not None else {})})


@cache
def code_digest(program: str) -> str:
    """SHA-256 of the program's file and of every file of this project that it imports, directly or not."""
    seen: dict[Path, bytes] = {}
    waiting = [ROOT / "pipelines" / f"{program}.py"]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen[path] = path.read_bytes()
        waiting += _imported(path, seen[path])
    whole = hashlib.sha256()
    for path in sorted(seen):
        whole.update(f"{path.relative_to(ROOT)}\0".encode() + hashlib.sha256(seen[path]).digest())
    return whole.hexdigest()


def _imported(path: Path, code: bytes) -> list[Path]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    names |= {parent for name in names for parent in _packages_of(name)}
    ours = [ROOT.joinpath(*name.split(".")) for name in names if name.split(".")[0] in PACKAGES]
    files = [each.with_suffix(".py") for each in ours] + [each / "__init__.py" for each in ours]
    return [file for file in files if file.is_file()]


def _packages_of(name: str) -> list[str]:
    """`a` and `a.b` of `a.b.c`: their `__init__` files run when it is imported."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _digest_of_data(word: str) -> str:
    """Of the file that a word of `dataset` names; what ships with the package is known by its name."""
    path = Path(word)
    return hashlib.sha256(path.read_bytes()).hexdigest() if word and path.is_file() else word
