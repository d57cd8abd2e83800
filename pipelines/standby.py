"""Be ready to be any entry point: import what takes seconds, then read from standard input which one to be.

It reads one line, `["train", ["--epochs=3"], {"NAME": "value"}]`, the last for the environment, and ends where there
is none.
"""

from __future__ import annotations

import importlib
import json
import os
import sys

from mnist_cnn.runtime import processes
from pipelines import enter

MODULES = ("adversary", "answer", "figures", "judges", "notes", "training", "input_optimization.ascent")


def main() -> None:
    processes.end_with_parent(processes.parent())
    from mnist_cnn.runtime import hardware

    hardware.start_tensorflow()
    for name in MODULES:
        importlib.import_module(f"mnist_cnn.{name}")
    importlib.import_module("mlflow.keras")
    line = sys.stdin.readline()
    if line:
        program, argv, variables = json.loads(line)
        os.environ.update(variables)
        sys.argv = [program, *argv]
        enter(importlib.import_module(f"pipelines.{program}").main, program)


if __name__ == "__main__":
    main()
