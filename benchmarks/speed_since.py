"""How many times faster than an older commit this tree is: the same work in both, in turn, on one machine.

python -m benchmarks.speed_since [COMMIT] [--work train,trial] [--rounds 3]

Each command works in a fresh folder with a tracking store of its own. The ratios are taken round by round, so that a
busy minute hits both. `reproduce` and `readable` take long: they have one round, and run only if they are named.
What was measured before stays in the results, as long as the commit is the same.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import mlflow
import psutil

from benchmarks import RESULTS, keep, spread
from benchmarks.same_numbers import TREE, environment, git, program, worktree
from mnist_cnn.runtime import hardware

FIRST = "f12904b"
"""The commit that speed is compared with: the last before the rebuild."""

SEARCH = """
import sys, time
import numpy as np
from mnist_cnn.input_optimization import ascend
from mnist_cnn.settings import AscentSettings
try:
    from mnist_cnn.models import networks
except ImportError:  # before the rooms
    from mnist_cnn import networks
name, batch, steps = sys.argv[1], 256, 100
varied = {"pose": 0.65, "feature_weight": 0.25} if sys.argv[2] == "varied" else {}
network, targets = networks.build(name, 0), np.eye(10)[np.arange(batch) % 10]
starts = np.random.default_rng(0).random((batch, 28, 28, 1))
for _ in range(3):
    begin = time.perf_counter()
    ascend(network, starts, targets, AscentSettings(steps=steps, snapshot_every=steps, **varied))
    took = time.perf_counter() - begin
print("measured", 1000 * took / batch / steps)
"""
"""The last of three searches: the others trace and touch memory for the first time."""


@dataclass
class Tree:
    """One tree. values: what was measured, by the name of the measure, a number for each round."""

    path: Path
    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, measured: Mapping[str, float]) -> None:
        for name, value in measured.items():
            self.values.setdefault(name, []).append(value)

    def call(self, words: Sequence[str], folder: Path) -> Called:
        variables = {**environment(self.path), "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
        start, before = time.perf_counter(), _processor_seconds()
        with ThreadPoolExecutor(1) as pool:
            process = subprocess.Popen(
                words, cwd=folder, env=variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            peak = pool.submit(_peak_memory, process)
            printed, errors = process.communicate()
            took, worked = time.perf_counter() - start, _processor_seconds() - before
        if process.returncode:
            raise SystemExit(f"speed_since: {' '.join(words)} ended with {process.returncode}:\n{errors[-2000:]}")
        return Called(took, worked, peak.result(), printed)


@dataclass(frozen=True)
class Called:
    """What a command took: wall seconds, and of it and all below it processor seconds and memory at its peak, GiB."""

    seconds: float
    processor_seconds: float
    peak_memory: float
    printed: str


def _peak_memory(process: subprocess.Popen[str]) -> float:
    """Of a process and all below it, in GiB, looked at once a second; pages that several share are counted once."""
    peak = 0
    while process.poll() is None:
        now = 0
        with suppress(psutil.NoSuchProcess):
            family = psutil.Process(process.pid)
            for each in (family, *family.children(recursive=True)):
                with suppress(psutil.Error):
                    now += each.memory_full_info().pss
        peak = max(peak, now)
        time.sleep(1)
    return peak / 2**30


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _runs(folder: Path) -> list[mlflow.entities.Run]:
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(experiments, max_results=5000))


def train(tree: Tree, folder: Path) -> dict[str, float]:
    """`mlflow run . -e train`, as a person types it, from Enter to the prompt."""
    mlflow_run = [str(Path(sys.executable).parent / "mlflow"), "run", str(tree.path), "-e", "train"]
    seconds = tree.call(mlflow_run, folder).seconds
    (run,) = [run for run in _runs(folder) if "training_seconds" in run.data.metrics]
    numbers = run.data.metrics
    return {
        "from Enter to a finished run, s": seconds,
        "training of `quick`, s": numbers["training_seconds"],
        "test accuracy of `quick`, %": 100 * numbers["test_accuracy"],
    }


def trial(tree: Tree, folder: Path) -> dict[str, float]:
    """A trial of the default sweep in the network of a training, by the time from the first to the last."""
    small = ["--dataset=mnist:6000"]
    tree.call([*program(tree.path, "train"), *small], folder)
    tree.call([*program(tree.path, "judges"), *small], folder)
    tree.call([*program(tree.path, "sweep"), "--n_trials=8", *small], folder)
    trials = [run.info for run in _runs(folder) if run.data.tags.get("kind") == "trial"]
    took = max(info.end_time for info in trials) - min(info.start_time for info in trials)
    return {"a trial of the default sweep, s": took / 1000 / len(trials)}


def judges(tree: Tree, folder: Path) -> dict[str, float]:
    return {"both panels of judges, s": tree.call([*program(tree.path, "judges"), "--panel=both"], folder).seconds}


def search(tree: Tree, folder: Path) -> dict[str, float]:
    measured = {}
    for network, kind in (("smooth", "varied"), ("compact", "plain")):
        output = tree.call([sys.executable, "-c", SEARCH, network, kind], folder).printed
        measured[f"an image's step in `{network}`, {kind}, ms"] = float(output.split("measured")[1])
    return measured


def readable(tree: Tree, folder: Path) -> dict[str, float]:
    tree.call([*program(tree.path, "train"), "--preset=readable"], folder)
    (run,) = [run for run in _runs(folder) if "training_seconds" in run.data.metrics]
    # Its robust accuracy cannot be compared: `FIRST` attacks it less.
    numbers = run.data.metrics
    return {
        "training of `readable`, s": numbers["training_seconds"],
        "test accuracy of `readable`, %": 100 * numbers["test_accuracy"],
    }


def reproduce(tree: Tree, folder: Path) -> dict[str, float]:
    mlflow_run = [str(Path(sys.executable).parent / "mlflow"), "run", str(tree.path)]
    called = tree.call(mlflow_run, folder)
    return {
        "`mlflow run .`, s": called.seconds,
        "processor cores at work in it": called.processor_seconds / called.seconds,
        "peak memory of `mlflow run .`, GiB": called.peak_memory,
    }


WORK: dict[str, Callable[[Tree, Path], dict[str, float]]] = {
    function.__name__: function for function in (train, trial, search, judges, readable, reproduce)
}
LONG = ("readable", "reproduce")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", nargs="?", default=FIRST, help=f"the older commit; {FIRST} if none is given")
    usual = [name for name in WORK if name not in LONG]
    parser.add_argument("--work", default=",".join(usual), help=f"some of {', '.join(WORK)}")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    chosen = options.work.split(",")
    if unknown := [name for name in chosen if name not in WORK]:
        parser.error(f"--work: {', '.join(unknown)} is none of {', '.join(WORK)}")

    with tempfile.TemporaryDirectory() as place, worktree(options.commit, Path(place) / "older") as older:
        then, now = Tree(older), Tree(TREE)
        for name in chosen:
            for number in range(1 if name in LONG else options.rounds):
                for tree, title in ((then, options.commit), (now, "now")):
                    with tempfile.TemporaryDirectory() as folder:
                        measured = WORK[name](tree, Path(folder))
                    tree.add(measured)
                    texts = (f"{measure} {value:.3f}" for measure, value in measured.items())
                    print(f"{name}, round {number + 1}, {title}: {'; '.join(texts)}", flush=True)
    commit, tree = git("rev-parse", "--short=7", options.commit), git("describe", "--always", "--dirty")
    rows = {measure: _row(values, now.values[measure]) for measure, values in then.values.items()}
    print(f"\n{'measure':<45}{'then':>28}{'now':>28}{'then / now':>24}")
    for measure, row in rows.items():
        texts = (spread(row[column]) for column in ("then", "now", "ratio"))
        print(f"{measure:<45}{next(texts):>28}{next(texts):>28}{next(texts):>24}")
    kept = RESULTS / "speed_since.json"
    earlier = json.loads(kept.read_text()) if kept.exists() else {}
    others = earlier["measures"] if earlier.get("commit") == commit else {}
    measured = {name: {**row, "tree": tree} for name, row in rows.items()}
    keep("speed_since", hardware.start_tensorflow(), {"commit": commit, "measures": {**others, **measured}})


def _row(then: Sequence[float], now: Sequence[float]) -> dict[str, list[float]]:
    ratios = [before / after for before, after in zip(then, now, strict=True)]
    return {"then": list(then), "now": list(now), "ratio": ratios}


if __name__ == "__main__":
    main()
