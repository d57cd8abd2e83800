"""Where every figure in the README comes from: each module is a command that prints a table and keeps it as JSON."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from mnist_cnn.runtime import hardware

RESULTS = Path(__file__).parent / "results"


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """`median (lowest to highest)`, or the only value."""
    if len(values) == 1:
        return f"{values[0]:{form}}"
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


@contextlib.contextmanager
def fresh_store() -> Iterator[None]:
    """Work in an empty folder, whose tracking store is nobody else's. Both are deleted in the end."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        yield


def keep(name: str, device: str, results: dict[str, Any], versioned: Sequence[str] = hardware.VERSIONED) -> None:
    """Write results with hardware, versions (of the packages `versioned`) and date to benchmarks/results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    content = {"date": date.today().isoformat(), "environment": hardware.describe(device, versioned), **results}
    path.write_text(json.dumps(content, indent=2) + "\n")
    print(f"\nKept in benchmarks/results/{path.name}")
