"""What Optuna and MLflow cost a sweep: seconds a trial, whether a thousand slow down, trials a second of many workers.

    python -m benchmarks.sweeps cost [TRIALS]     one process, a journal and SQLite, trials that compute nothing
    python -m benchmarks.sweeps stores [TRIALS]   1, 2 and 4 processes on each kind of store (needs PostgreSQL)
    python -m benchmarks.sweeps workers [TRIALS]  the default sweep of this folder's newest network, by 1 and 2 workers

In the first two a trial does all that a trial of `sweep` does (claim, settings, run, four snapshots reported and
logged, film strip, images, end) but for the search.
"""

# ruff: noqa: E402

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import fresh_store, keep
from mnist_cnn.runtime import hardware

DEVICE = hardware.start_tensorflow()  # quietly, before what follows imports it

import mlflow
import optuna
from optuna.trial import FrozenTrial

from mnist_cnn.data import dataset
from mnist_cnn.reporting import search_figures
from mnist_cnn.settings import SweepSettings, TrainSettings
from mnist_cnn.sweeps import storage, study, worker
from mnist_cnn.sweeps.study import Study
from mnist_cnn.sweeps.trials import Report, Strip, Tick, TrialResult
from mnist_cnn.tracking import store
from mnist_cnn.tracking.sweep_runs import SweepRuns
from pipelines import sweep, train

PROJECT = Path(__file__).parents[1]
SNAPSHOTS = (50, 100, 150, 200)
STUDY = "benchmark"
WARM_UP = 3
"""Trials that are not timed: imports and first calls."""


def search_nothing(settings: Any, result: TrialResult, report: Report, tick: Tick) -> None:
    """A trial that computes nothing, with numbers and pictures of the usual size."""
    random = np.random.default_rng(int(1e6 * settings.learning_rate))
    images = random.random((10, len(SNAPSHOTS) + 1, 28, 28), np.float32) ** 6
    result.strip = Strip(images, tuple("noise → 2" for _ in range(10)), tuple(f"step {50 * i}" for i in range(5)))
    for step in SNAPSHOTS:
        result.metrics = {f"metric_{i}": float(random.random()) for i in range(22)}
        result.metrics["recognised_rate"] = float(random.random())
        report(step, result.metrics)


def cost(total: int) -> dict[str, Any]:
    """From one trial's search to the next one's, with the sweep's run kept up to date and its pictures drawn."""
    began: list[float] = []

    def evaluate(settings: Any, result: TrialResult, report: Report, tick: Tick) -> None:
        began.append(time.perf_counter())
        search_nothing(settings, result, report, tick)

    with fresh_store():
        train.run(TrainSettings(dataset="mnist:1200"))  # a sweep needs a network, though no trial of this one asks it
        settings = SweepSettings(n_trials=WARM_UP, sweep=STUDY)
        data = dataset.split(dataset.load_train())
        sweep.run_sweep(settings, data, lambda: evaluate)
        began.clear()
        sweep.run_sweep(settings.replace(n_trials=WARM_UP + total + 1), data, lambda: evaluate)
        size = Path("mlflow.db").stat().st_size, Path("sweeps.journal").stat().st_size
    seconds = np.diff(began)
    tenth = len(seconds) // 10
    first, last = seconds[:tenth], seconds[-tenth:]
    low, high = np.percentile(seconds, [5, 95])
    return {
        "trials": len(seconds),
        "milliseconds": round(1000 * float(np.median(seconds)), 1),
        "milliseconds_5_to_95_percent": [round(1000 * float(end), 1) for end in (low, high)],
        "milliseconds_mean_with_pictures": round(1000 * float(seconds.mean()), 1),
        "first_tenth": round(1000 * float(np.median(first)), 1),
        "last_tenth": round(1000 * float(np.median(last)), 1),
        "bytes_a_trial": {
            name: round(bytes_in_all / (len(began) + WARM_UP))
            for name, bytes_in_all in zip(("database", "journal"), size, strict=True)
        },
    }


@cache
def servers() -> Any:
    """Servers that the tests start too; only a checkout has them."""
    sys.path.insert(0, str(PROJECT / "tests"))
    return importlib.import_module("commands")


def stores(total: int) -> dict[str, Any]:
    """Trials a second of 1, 2 and 4 processes, each with one thread, on each kind of store."""

    @contextlib.contextmanager
    def local(folder: Path, address: str) -> Iterator[tuple[str, str]]:
        yield str(folder / "sweeps.journal"), f"sqlite:///{folder}/mlflow.db"

    @contextlib.contextmanager
    def database(folder: Path, address: str) -> Iterator[tuple[str, str]]:
        yield f"{address}/optuna", f"sqlite:///{folder}/mlflow.db"

    @contextlib.contextmanager
    def server(folder: Path, address: str) -> Iterator[tuple[str, str]]:
        backend = ["--backend-store-uri", f"{address}/mlflow", "--artifacts-destination", str(folder / "artifacts")]
        with servers().serving(folder, "server", *backend) as tracking_address:
            yield f"{address}/optuna", tracking_address

    found: dict[str, Any] = {"trials": total, "rates": {}}
    kinds = {"journal and SQLite": local, "PostgreSQL and SQLite": database, "PostgreSQL and tracking server": server}
    for name, kind in kinds.items():
        for workers in (1, 2, 4):
            with tempfile.TemporaryDirectory() as place, servers().postgresql("optuna", "mlflow") as address:
                with kind(Path(place), address) as (optuna_address, tracking_uri):
                    done = rate(Path(place), optuna_address, tracking_uri, workers, total)
                    found["rates"].setdefault(name, {})[str(workers)] = done
            print(name, workers, done, flush=True)
    return found


def rate(folder: Path, address: str, tracking_uri: str, workers: int, total: int) -> float:
    """Trials a second from the first trial's start to the last one's end. address: of Optuna's storage."""
    store.quiet_logs()
    with contextlib.chdir(folder):  # where artifacts go
        parent = mlflow.MlflowClient(tracking_uri=tracking_uri).create_run("0", run_name=STUDY).info.run_id
    opened = open_study(address, total)
    variables = {"MLFLOW_TRACKING_URI": tracking_uri, "TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1"}
    environment: Mapping[str, str] = {**os.environ, **variables, "PYTHONPATH": str(PROJECT)}
    script = "import sys; from benchmarks import sweeps; sweeps.timed_work(sys.argv[1], int(sys.argv[2]), sys.argv[3])"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, address, str(total), parent], cwd=folder, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        for _ in range(workers)
    ]  # fmt: skip
    for process in processes:  # each prints that it is ready, and waits for the signal
        assert process.stdout is not None
        while process.stdout.readline().strip() != "ready":
            assert process.poll() is None
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    try:
        return round(trials_a_second(opened.trials()), 2)
    finally:
        opened.close()


def open_study(address: str, total: int) -> Study:
    """The default sweep's study, without a sweep's run."""
    plan: dict[str, Any] = {"total": total, "sampler": "tpe", "pruner": "median", "seed": 0, "fingerprint": {}}
    return study.open_study(address, STUDY, SweepSettings().space, ("recognised",), **plan)[0]


def timed_work(address: str, total: int, parent: str) -> None:
    """Trials until there are `total`, once a line is read."""
    store.quiet_logs()
    log = SweepRuns(parent, STUDY)
    opened = open_study(address, total)
    print("ready", flush=True)
    sys.stdin.readline()
    with contextlib.redirect_stdout(io.StringIO()):  # nobody reads the pipe before the work is done
        worker.work(opened, log, search_nothing, search_figures.strip, check=lambda: None)


def trials_a_second(trials: Sequence[FrozenTrial]) -> float:
    begin = min(trial.datetime_start for trial in trials if trial.datetime_start)
    end = max(trial.datetime_complete for trial in trials if trial.datetime_complete)
    return len(trials) / (end - begin).total_seconds()


def workers(total: int) -> dict[str, Any]:
    """Seconds of a trial and trials a second of the default sweep, all trials whole, by 1 and by 2 workers."""
    found: dict[str, Any] = {"trials": total, "rates": {}}
    for count in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            journal = f"{folder}/sweeps.journal"
            sweep.run(
                SweepSettings(
                    n_trials=total, workers=count, storage=journal, sweep=STUDY, pruner="none", sampler="random"
                )
            )
            trials = optuna.load_study(study_name=STUDY, storage=storage.open_storage(journal)).trials
        trials = trials[count:]  # the first of each worker compiles
        found["rates"][str(count)] = round(trials_a_second(trials), 3)
        if count == 1:
            seconds = [trial.duration.total_seconds() for trial in trials if trial.duration]
            found["trial_seconds"] = round(float(np.median(seconds)), 2)
    return found


MEASUREMENTS = {"cost": (cost, 1000), "stores": (stores, 200), "workers": (workers, 17)}
"""What can be measured, and on how many trials unless a number is given."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=list(MEASUREMENTS))
    parser.add_argument("trials", type=int, nargs="?")
    options = parser.parse_args()
    measure, total = MEASUREMENTS[options.what]
    found = measure(options.trials or total)
    keep(f"sweeps_{options.what}", DEVICE, found)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
