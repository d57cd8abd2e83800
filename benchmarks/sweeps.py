"""What Optuna and MLflow cost a sweep: seconds a trial, whether a thousand slow down, trials a second of many workers.

    python -m benchmarks.sweeps cost [TRIALS]     one process, a journal and SQLite, trials that compute nothing
    python -m benchmarks.sweeps stores [TRIALS]   1, 2 and 4 processes on each kind of store (needs PostgreSQL)
    python -m benchmarks.sweeps workers [TRIALS]  the default sweep of this folder's newest network, by 1 and 2 workers

In the first two a trial does all that a trial of `sweep` does (claim, settings, run, four snapshots reported and
logged, film strip, images, end) but for the search.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import keep
from mnist_cnn.runtime import hardware

PROJECT = Path(__file__).parents[1]
SNAPSHOTS = (50, 100, 150, 200)
STUDY = "benchmark"


def nothing(settings: Any, result: Any, report: Any, tick: Any) -> None:
    """A trial that computes nothing, with numbers and pictures of the usual size."""
    from mnist_cnn.sweeps.trials import Strip

    random = np.random.default_rng(int(1e6 * settings.learning_rate))
    images = random.random((10, len(SNAPSHOTS) + 1, 28, 28), np.float32) ** 6
    result.strip = Strip(images, tuple("noise → 2" for _ in range(10)), tuple(f"step {50 * i}" for i in range(5)))
    for step in SNAPSHOTS:
        result.metrics = {f"metric_{i}": float(random.random()) for i in range(22)}
        result.metrics["recognised_rate"] = float(random.random())
        report(step, result.metrics)


def open_study(storage: str) -> Any:
    from mnist_cnn.settings import SweepSettings
    from mnist_cnn.sweeps import study

    _, given = SweepSettings.from_command_line([])
    plan: Any = {"sampler": "tpe", "pruner": "median", "seed": 0, "fingerprint": {}}
    return study.open_study(storage, STUDY, given["space"], ("recognised",), **plan)[0]


def work(storage: str, total: int, parent: str) -> None:
    """Trials until there are `total`."""
    from mnist_cnn.sweeps import worker

    one = open_study(storage)
    while True:
        worker.tidy(one, parent)
        trial = one.claim(total)
        if trial is None:
            return
        worker.one_trial(one, trial, parent, nothing, lambda: None)


def new_parent() -> str:
    import mlflow

    return str(mlflow.MlflowClient().create_run("0", run_name=STUDY).info.run_id)


def cost(total: int) -> dict[str, Any]:
    """From one trial's search to the next one's, with the sweep's run kept up to date and its pictures drawn."""
    began: list[float] = []

    def evaluate(*given: Any) -> None:
        began.append(time.perf_counter())
        nothing(*given)

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        device = hardware.start_tensorflow()
        from mnist_cnn.sweeps import worker
        from mnist_cnn.tracking import runs

        with runs.tracked_run("sweep", name=STUDY) as run:
            one = open_study("sweeps.journal")
            board = worker.Board(run, one, "sweeps.journal")
            worker.work(one, 3, run.run_id, evaluate, board.update)  # imports and first calls
            began.clear()
            worker.work(one, total + 4, run.run_id, evaluate, board.update)
        size = Path("mlflow.db").stat().st_size, Path("sweeps.journal").stat().st_size
        os.chdir(PROJECT)
    seconds = np.diff(began)
    tenth = len(seconds) // 10
    first, last = seconds[:tenth], seconds[-tenth:]
    low, high = np.percentile(seconds, [5, 95])
    return {
        "device": device,
        "trials": len(seconds),
        "milliseconds": round(1000 * float(np.median(seconds)), 1),
        "milliseconds_5_to_95_percent": [round(1000 * float(end), 1) for end in (low, high)],
        "milliseconds_mean_with_pictures": round(1000 * float(seconds.mean()), 1),
        "first_tenth": round(1000 * float(np.median(first)), 1),
        "last_tenth": round(1000 * float(np.median(last)), 1),
        "bytes_a_trial": {
            name: round(one / (len(seconds) + 4)) for name, one in zip(("database", "journal"), size, strict=True)
        },
    }


def stores(total: int) -> dict[str, Any]:
    """Trials a second of 1, 2 and 4 processes, each with one thread, on each kind of store."""
    sys.path.insert(0, str(PROJECT / "tests"))
    from commands import postgresql, serving

    @contextlib.contextmanager
    def local(folder: Path, address: str) -> Iterator[tuple[str, str]]:
        yield str(folder / "sweeps.journal"), f"sqlite:///{folder}/mlflow.db"

    @contextlib.contextmanager
    def database(folder: Path, address: str) -> Iterator[tuple[str, str]]:
        yield f"{address}/optuna", f"sqlite:///{folder}/mlflow.db"

    @contextlib.contextmanager
    def server(folder: Path, address: str) -> Iterator[tuple[str, str]]:
        backend = ["--backend-store-uri", f"{address}/mlflow", "--artifacts-destination", str(folder / "artifacts")]
        with serving(folder, "server", *backend) as tracking_address:
            yield f"{address}/optuna", tracking_address

    found: dict[str, Any] = {"trials": total, "device": hardware.start_tensorflow(), "rates": {}}
    kinds = {"journal and SQLite": local, "PostgreSQL and SQLite": database, "PostgreSQL and tracking server": server}
    for name, kind in kinds.items():
        for workers in (1, 2, 4):
            with tempfile.TemporaryDirectory() as place, postgresql("optuna", "mlflow") as address:
                with kind(Path(place), address) as (storage, tracking_uri):
                    done = rate(Path(place), storage, tracking_uri, workers, total)
                    found["rates"].setdefault(name, {})[str(workers)] = done
            print(name, workers, done, flush=True)
    return found


def rate(folder: Path, storage: str, tracking_uri: str, workers: int, total: int) -> float:
    """Trials a second from the first trial's start to the last one's end."""
    variables = {"MLFLOW_TRACKING_URI": tracking_uri, "TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1"}
    environment: Mapping[str, str] = {**os.environ, **variables, "PYTHONPATH": str(PROJECT)}
    script = "import sys; from benchmarks import sweeps; sweeps.{}"
    call = [sys.executable, "-c"]
    parent = subprocess.run(
        [*call, script.format("prepare(sys.argv[1])"), storage],
        cwd=folder, env=environment, check=True, capture_output=True, text=True,
    ).stdout.split()[-1]  # fmt: skip
    command = [*call, script.format("timed_work(sys.argv[1], int(sys.argv[2]), sys.argv[3])")]
    processes = [
        subprocess.Popen(
            [*command, storage, str(total), parent], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True,
            stdin=subprocess.PIPE,
        )
        for _ in range(workers)
    ]  # fmt: skip
    for process in processes:  # each says that it is ready, and waits for the word
        assert process.stdout is not None
        while process.stdout.readline().strip() != "ready":
            assert process.poll() is None
    started = time.perf_counter()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate()
    return round(total / (time.perf_counter() - started), 2)


def prepare(storage: str) -> None:
    from mnist_cnn.tracking import runs

    runs.quiet_logs()
    open_study(storage)
    print(new_parent())


def timed_work(storage: str, total: int, parent: str) -> None:
    hardware.start_tensorflow()
    from mnist_cnn.tracking import runs  # noqa: F401 (imported before the clock starts)

    runs.quiet_logs()
    open_study(storage)
    print("ready", flush=True)
    sys.stdin.readline()
    work(storage, total, parent)


def workers(total: int) -> dict[str, Any]:
    """Seconds of a trial and trials a second of the default sweep, all trials whole, by 1 and by 2 workers."""
    import optuna

    from mnist_cnn.sweeps import study

    found: dict[str, Any] = {"trials": total, "device": hardware.start_tensorflow(), "rates": {}}
    for count in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            storage = f"{folder}/sweeps.journal"
            words = [f"--n_trials={total}", f"--workers={count}", f"--storage={storage}", f"--sweep={STUDY}"]
            command = [sys.executable, "-m", "pipelines.sweep", *words, "--pruner=none", "--sampler=random"]
            subprocess.run(
                command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(PROJECT)}
            )
            trials = optuna.load_study(study_name=STUDY, storage=study.open_storage(storage)).trials
        trials = trials[count:]  # the first of each worker compiles
        begin, end = min(t.datetime_start for t in trials), max(t.datetime_complete for t in trials)
        found["rates"][str(count)] = round(len(trials) / (end - begin).total_seconds(), 3)
        if count == 1:
            found["trial_seconds"] = round(float(np.median([t.duration.total_seconds() for t in trials])), 2)
    return found


def main() -> None:
    what = {"cost": (cost, 1000), "stores": (stores, 200), "workers": (workers, 17)}
    measure, total = what[sys.argv[1]]
    found = measure(int(sys.argv[2]) if len(sys.argv) > 2 else total)
    keep(f"sweeps_{sys.argv[1]}", found.pop("device"), found)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
