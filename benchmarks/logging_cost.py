"""What tracking costs in a default run: seconds in which the process logs, against the whole of it.

    python -m benchmarks.logging_cost --runs 3

Then the share of system metrics: a sample of the machine and its way into the store, for each beat of a run.

Runs `train` in this process with the default settings, in a temporary store that is there already (the forty schema
migrations of a fresh database are paid once), and adds up the time spent in calls of the tracking modules.
"""

# ruff: noqa: E402

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import time
from collections.abc import Callable
from typing import Any

from benchmarks import fresh_store, keep, spread
from mnist_cnn.runtime import hardware

DEVICE = hardware.start_tensorflow()  # quietly, before what follows imports it

import mlflow

from mnist_cnn.reporting import training_figures
from mnist_cnn.settings import TrainSettings
from mnist_cnn.tracking import commit, heartbeat, runs, store, trainings
from mnist_cnn.tracking.machine import Machine
from pipelines import train

CALLS = (
    (training_figures, "learning_curves", "draw figures"),
    (training_figures, "evaluation", "draw figures"),
    (store, "open_store", "open store"),
    (mlflow, "start_run", "start run"),
    (commit, "tags", "commit"),
    (commit, "patch", "commit"),
    (heartbeat, "close_dead_runs", "close dead runs"),
    (train, "log_network", "log_model"),
    (trainings, "save_checkpoint", "save_checkpoint"),
    (trainings, "delete_checkpoints", "delete_checkpoints"),
)
"""What is timed besides the methods of `TrackedRun`: where it is looked up, its name, and what the table calls it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
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
    for place, name, shown in CALLS:
        setattr(place, name, timed(shown, getattr(place, name)))

    shares, wholes, parts = [], [], []
    with fresh_store():
        with contextlib.redirect_stdout(io.StringIO()):
            train.main(TrainSettings(batch_size=4096))  # imports, first calls and the database's tables
        for run in range(options.runs):
            spent.clear()
            start = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                train.main(TrainSettings(seed=run))
            wholes.append(time.perf_counter() - start)
            shares.append(100 * sum(spent.values()) / wholes[-1])
            parts.append(dict(sorted(spent.items(), key=lambda item: -item[1])))
        system = system_metrics(20)
    print(f"{options.runs} runs, {DEVICE}")
    for name, seconds in parts[-1].items():
        print(f"  {name:18} {seconds:6.3f} s")
    print(f"whole run, s   {spread(wholes, '.1f')}")
    print(f"logging, %     {spread(shares, '.1f')}")
    print(f"system metrics, % of a run's time {spread(system, '.2f')}")
    values = {"whole_seconds": wholes, "share_percent": shares, "system_percent": system, "parts": parts}
    keep("logging-cost", DEVICE, values)


def system_metrics(samples: int) -> list[float]:
    """Percent of the time between two beats that a sample of the machine and its way into the store take."""
    client, machine, shares = mlflow.MlflowClient(), Machine(), []
    run_id = client.create_run("0").info.run_id
    for _ in range(samples):
        start = time.perf_counter()
        client.log_batch(run_id, metrics=machine.metrics())
        shares.append(100 * (time.perf_counter() - start) / heartbeat.SECONDS_BETWEEN_BEATS)
    client.set_terminated(run_id)
    return shares


if __name__ == "__main__":
    main()
