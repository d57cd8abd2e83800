"""What tracking costs in a default run: seconds in which the process logs, against the whole of it.

    python -m benchmarks.logging_cost --runs 3

Runs `train` in this process with the default settings, in a temporary store that is there already (the forty schema
migrations of a fresh database are paid once), and adds up the time spent in calls of the tracking module.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

from benchmarks import keep, spread
from mnist_cnn.runtime import hardware


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    device = hardware.start_tensorflow()

    from mnist_cnn.reporting import figures
    from mnist_cnn.tracking import runs
    from pipelines import train

    spent: dict[str, float] = {}
    depth = 0

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal depth
            start, depth = time.perf_counter(), depth + 1
            try:
                return function(*arguments, **named)
            finally:
                depth -= 1
                if depth == 0:
                    spent[name] = spent.get(name, 0.0) + time.perf_counter() - start

        return call

    for name, function in list(vars(runs.TrackedRun).items()):
        if callable(function) and not name.startswith("__"):
            setattr(runs.TrackedRun, name, timed(name, function))
    for name in ("learning_curves", "evaluation"):
        setattr(figures, name, timed("draw figures", getattr(figures, name)))
    for name in ("open_store", "_commit", "_describe_experiment", "close_stale_runs", "_close"):
        setattr(runs, name, timed(name.strip("_").replace("_", " "), getattr(runs, name)))
    runs.mlflow.start_run = timed("start run", runs.mlflow.start_run)

    shares, wholes, parts = [], [], []
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        with contextlib.redirect_stdout(io.StringIO()):
            runs.mlflow.MlflowClient().search_experiments()
            train.main(["--batch_size", "4096"])  # imports and first calls
        for run in range(options.runs):
            spent.clear()
            start = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                train.main(["--seed", str(run)])
            wholes.append(time.perf_counter() - start)
            shares.append(100 * sum(spent.values()) / wholes[-1])
            parts.append(dict(sorted(spent.items(), key=lambda item: -item[1])))
    print(f"{options.runs} runs, {device}")
    for name, seconds in parts[-1].items():
        print(f"  {name:18} {seconds:6.3f} s")
    print(f"whole run, s   {spread(wholes, '.1f')}")
    print(f"logging, %     {spread(shares, '.1f')}")
    keep("logging-cost", device, {"whole_seconds": wholes, "share_percent": shares, "parts": parts})


if __name__ == "__main__":
    main()
