"""How time and peak memory grow with images, steps, networks, trials, workers and runs.

    python -m benchmarks.scale [--only NAME[,NAME]] [--largest N]

Each size is measured in a process of its own, whose peak memory is its own. `growth` is the exponent from one size to
the next: 1 is linear, 0 is nothing. The picture is docs/scale.png, the numbers are in benchmarks/results/scale.json.
"""

# ruff: noqa: E402

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import fresh_store, keep
from mnist_cnn.runtime import hardware

DEVICE = hardware.start_tensorflow()  # quietly, before what follows imports it

import mlflow
import optuna
from matplotlib.figure import Figure
from optuna.distributions import FloatDistribution

import mnist_cnn
from benchmarks import sweeps
from benchmarks.input_optimization import flops_per_step
from mnist_cnn.data import dataset
from mnist_cnn.judging.search import search
from mnist_cnn.models import networks
from mnist_cnn.reporting import figure_style
from mnist_cnn.settings import AscentSettings
from mnist_cnn.settings.experiments import kinds
from mnist_cnn.sweeps import outcomes, samplers
from mnist_cnn.sweeps.study import Study
from mnist_cnn.tracking import runs, store

PROJECT = Path(__file__).parents[1]
REPEATS = 5
"""Of what takes less than seconds; their median is kept."""


def searching(network: str, num_images: int, steps: int) -> float:
    """Seconds of a search from noise, compiling left out."""
    model = networks.with_logits(networks.build(network, 0))
    data = dataset.split(dataset.load_train("mnist:1200")).validation
    settings = AscentSettings(steps=steps, snapshot_every=steps)
    wanted = kinds("all", "noise", "target")
    search(model, wanted, data, settings.replace(steps=2, snapshot_every=2), num_images=num_images // 10)
    began = time.perf_counter()
    search(model, wanted, data, settings, num_images=num_images // 10)
    return time.perf_counter() - began


def next_trial(num_trials: int, storage: str) -> float:
    """Seconds that Optuna takes for the next trial of a study of so many: claim, propose, report four times, end."""
    store.quiet_logs()
    opened = sweeps.open_study(storage, num_trials + REPEATS)
    fill(opened, num_trials)
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        opened.run_one(lambda trial: empty_trial(opened, trial))
        seconds.append(time.perf_counter() - began)
    opened.close()
    return float(np.median(seconds))


def empty_trial(opened: Study, trial: optuna.Trial) -> list[float]:
    trial.set_user_attr(outcomes.PROCESS, opened.processes.this)
    values = samplers.suggest(trial, opened.space)
    for step in sweeps.SNAPSHOTS:
        trial.report(values["learning_rate"], step)
        trial.should_prune()
    return [values["learning_rate"]]


def fill(opened: Study, num_trials: int) -> None:
    """Put finished trials into a study, without running them."""
    empty = opened.optuna_study
    opened.run_one(lambda trial: empty_trial(opened, trial))
    (first,) = empty.trials
    distributions: dict[str, Any] = first.distributions
    floats = {name: form for name, form in distributions.items() if isinstance(form, FloatDistribution)}
    random = np.random.default_rng(0)
    for _ in range(num_trials - 1):
        drawn = {name: random.uniform(form.low, form.high) for name, form in floats.items()}
        empty.add_trial(
            optuna.trial.create_trial(
                params={**first.params, **drawn}, distributions=distributions, values=[random.random()],
                intermediate_values={step: random.random() for step in sweeps.SNAPSHOTS},
            )
        )  # fmt: skip


def full_store(num_runs: int) -> None:
    """Fill the store of this folder with runs of 20 settings and 20 numbers each."""
    store.open_store()
    client = mlflow.MlflowClient()
    params = [mlflow.entities.Param(f"setting_{i}", str(i)) for i in range(20)]
    for number in range(num_runs):
        run = client.create_run("0", tags={"kind": "optimize"}, run_name=f"run {number}")
        now = int(1000 * time.time())
        metrics = [mlflow.entities.Metric(f"metric_{i}", number / (i + 1), now, 0) for i in range(20)]
        client.log_batch(run.info.run_id, metrics=metrics, params=params)
        client.set_terminated(run.info.run_id)


def next_run(num_runs: int) -> float:
    """Seconds to open and close one more run in a store of so many."""
    full_store(num_runs)
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        with runs.tracked_run("optimize"):
            pass
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds))


def all_runs(num_runs: int) -> float:
    """Seconds of `mnist_cnn.runs()` in a store of so many."""
    full_store(num_runs)
    began = time.perf_counter()
    assert len(mnist_cnn.runs()) == num_runs
    return time.perf_counter() - began


def on_postgresql(num_trials: int) -> float:
    with sweeps.servers().postgresql("optuna") as address:
        return next_trial(num_trials, f"{address}/optuna")


def trials_with_workers(count: int) -> float:
    """Seconds of 100 trials that compute nothing, on a journal and SQLite, by so many workers."""
    with tempfile.TemporaryDirectory() as folder:
        uri = f"sqlite:///{folder}/mlflow.db"
        return 100 / sweeps.rate(Path(folder), f"{folder}/sweeps.journal", uri, count, 100)


@dataclass(frozen=True)
class Curve:
    """One thing that grows. measure: gives seconds for a size. unit: what a size counts."""

    title: str
    unit: str
    sizes: tuple[int, ...]
    measure: Callable[[int], float]


NETWORKS = ("compact", "smooth", "wide", "report")

CURVES: Mapping[str, Curve] = {
    "images": Curve(
        "search, 20 steps", "images", (10, 100, 1000, 10_000, 100_000), lambda size: searching("compact", size, 20)
    ),
    "steps": Curve("search of 100 images", "steps", (25, 100, 400, 1600), lambda size: searching("compact", 100, size)),
    "networks": Curve(
        "search of 100 images, 20 steps", "MFLOP an image and step", (0, 1, 2, 3),
        lambda size: searching(NETWORKS[size], 100, 20),
    ),
    "trials": Curve(
        "the next trial, journal", "trials in the study", (10, 100, 1000, 10_000),
        lambda size: next_trial(size, "sweeps.journal"),
    ),
    "trials_postgresql": Curve(
        "the next trial, PostgreSQL", "trials in the study", (10, 100, 1000, 10_000), on_postgresql
    ),
    "workers": Curve("100 trials that compute nothing", "workers", (1, 2, 4, 8), trials_with_workers),
    "next_run": Curve("the next run", "runs in the store", (10, 100, 1000, 20_000), next_run),
    "all_runs": Curve("mnist_cnn.runs()", "runs in the store", (10, 100, 1000, 20_000), all_runs),
}  # fmt: skip
"""What is measured. Networks stand for their arithmetic."""


def measured(name: str, size: int) -> dict[str, float]:
    """Seconds and peak memory of one size, in a process of its own and a fresh folder."""
    command = [sys.executable, "-m", "benchmarks.scale", "--one", name, str(size)]
    done = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure_here(name: str, size: int) -> dict[str, float]:
    curve = CURVES[name]
    with fresh_store(), contextlib.redirect_stdout(io.StringIO()):
        seconds = curve.measure(size)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    shown = flops_per_step(NETWORKS[size]) / 1e6 if name == "networks" else size
    return {"size": shown, "seconds": seconds, "peak_mib": peak}


def growth(rows: Sequence[Mapping[str, float]], key: str) -> list[float]:
    """The exponent from each row to the next one."""
    return [
        math.log(after[key] / before[key]) / math.log(after["size"] / before["size"])
        for before, after in zip(rows, rows[1:], strict=False)
    ]


def figure(found: Mapping[str, Sequence[Mapping[str, float]]]) -> Figure:
    """Seconds and memory over size, both logarithmic, a panel for each curve. A grey line is linear."""
    with figure_style.styled:
        drawn = Figure((12, 6))
        for axes, (name, rows) in zip(drawn.subplots(2, 4).flat, found.items(), strict=False):
            sizes, seconds = ([row[key] for row in rows] for key in ("size", "seconds"))
            axes.loglog(sizes, seconds, "o-", color=figure_style.TRAIN)
            axes.loglog(sizes, [seconds[-1] * size / sizes[-1] for size in sizes], color=figure_style.QUIET, lw=0.8)
            axes.set_title(CURVES[name].title, fontsize=9)
            axes.set_xlabel(CURVES[name].unit)
            axes.set_ylabel("s", color=figure_style.TRAIN)
            memory = axes.twinx()
            memory.semilogx(sizes, [row["peak_mib"] for row in rows], "s--", color=figure_style.VALIDATION, ms=3, lw=1)
            memory.set_ylim(0, None)
            memory.set_ylabel("peak MiB", color=figure_style.VALIDATION)
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(CURVES), help="names of curves")
    parser.add_argument("--largest", type=int, default=10**9, help="leave larger sizes out")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure_here(options.one[0], int(options.one[1]))))
        return
    found: dict[str, list[dict[str, float]]] = {}
    for name in options.only.split(","):
        rows = found.setdefault(name, [])
        for size in CURVES[name].sizes:
            if size <= options.largest:
                rows.append(measured(name, size))
                print(f"{CURVES[name].title}: {rows[-1]}", flush=True)
        print(f"growth of seconds: {', '.join(f'{value:.2f}' for value in growth(rows, 'seconds'))}", flush=True)
    if set(found) == set(CURVES) and options.largest >= 10**9:
        (PROJECT / "docs" / "scale.png").write_bytes(figure_style.as_png(figure(found)))
        told = {
            name: {
                "title": CURVES[name].title,
                "unit": CURVES[name].unit,
                "growth": growth(rows, "seconds"),
                "rows": rows,
            }
            for name, rows in found.items()
        }
        keep("scale", DEVICE, {"curves": told})


if __name__ == "__main__":
    main()
