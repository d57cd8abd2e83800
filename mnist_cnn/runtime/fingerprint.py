"""What a run is made of, in one text: settings, data, code and versions. Runs of one fingerprint are alike."""

from __future__ import annotations

import ast
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mnist_cnn.settings import Settings

ROOT = Path(__file__).parents[2]
PACKAGES = ("pipelines", "mnist_cnn")
VERSIONED = ("tensorflow", "keras", "numpy", "optuna", "scikit-learn")
"""What numbers depend on."""

NO_PART = frozenset(("run_name", "workers", "storage", "preset", "sweep", "trust"))
"""Settings that change no number; the others say what a preset and a sweep's name stand for."""


def fingerprint(settings: Settings) -> str:
    """16 hexadecimal digits for a run of the command with these settings, on these data, by this code."""
    return digest(made_of(settings))


def digest(made_of: Mapping[str, Any]) -> str:
    """The fingerprint of what `made_of` gave."""
    return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]


def made_of(settings: Settings) -> dict[str, Any]:
    """All that a run's numbers depend on, but the machine: command, settings, data, code and versions."""
    words = settings.as_words()
    return {
        "command": settings.COMMAND,
        "settings": {name: word for name, word in sorted(words.items()) if name not in NO_PART and word},
        "data": _digest_of_data(words.get("dataset", ""), settings.files()),
        "code": code_digest(settings.COMMAND),
        "versions": {name: version(name) for name in VERSIONED},
    }


@cache
def code_digest(command: str) -> str:
    """SHA-256 of `code_files`."""
    whole = hashlib.sha256()
    for path, code in sorted(code_files(command).items()):
        whole.update(f"{path.relative_to(ROOT)}\0".encode() + hashlib.sha256(code).digest())
    return whole.hexdigest()


def code_files(command: str) -> dict[Path, bytes]:
    """The command's file and every file of this project that it imports, directly or not."""
    seen: dict[Path, bytes] = {}
    waiting = [ROOT / "pipelines" / f"{command}.py"]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen[path] = path.read_bytes()
        waiting += _imported(seen[path])
    return seen


@cache
def _imported(code: bytes) -> list[Path]:
    """The project's files that a file imports, and the `__init__` files that run on the way to them."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    names |= {parent for name in names for parent in _packages_of(name)}
    paths = [ROOT.joinpath(*name.split(".")) for name in names if name.split(".")[0] in PACKAGES]
    files = [path.with_suffix(".py") for path in paths] + [path / "__init__.py" for path in paths]
    return [file for file in files if file.is_file()]


def _packages_of(name: str) -> list[str]:
    """`a` and `a.b` of `a.b.c`."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _digest_of_data(dataset: str, files: Sequence[Path]) -> str:
    """Of the file that `dataset` names, and of other files; what ships with the package is known by its name."""
    path = Path(dataset)
    data = hashlib.sha256(path.read_bytes()).hexdigest() if dataset and path.is_file() else dataset
    if not files:
        return data
    whole = hashlib.sha256(data.encode())
    for file in files:
        whole.update(b"\0" + os.fsencode(file.name) + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()
