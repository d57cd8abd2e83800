"""What an accelerator without TensorFlow makes of the long work: the project's own networks, on Keras' JAX backend.

    python -m benchmarks.accelerator_jax
    python -m benchmarks.accelerator_jax --parts to_99,searches
    python -m benchmarks.accelerator_jax --small     # two minutes on a processor, to see that it runs

It needs JAX, Keras, psutil and pydantic. The networks, settings and images are the project's, the loops `jax_loops`.
Each part is kept as soon as it is measured, so that a lent machine may go away in between.
Where the environment variable OUT names a folder, results and the readable network are written there too.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import RESULTS, jax_loops, keep
from benchmarks.jax_loops import Training, Values, keras
from mnist_cnn.data import dataset, reference_report
from mnist_cnn.data.dataset import LabelledImages, Split
from mnist_cnn.settings import AscentSettings, TrainSettings

VERSIONED = ("jax", "jaxlib", "keras", "numpy")
WITH = f"JAX {version('jax')}, Keras {version('keras')} on its JAX backend"

LARGE_BATCHES: tuple[dict[str, Any], ...] = (
    {"batch_size": 256, "learning_rate": 0.025},
    {"batch_size": 512, "learning_rate": 0.03, "epochs": 2},
    {"batch_size": 1024, "learning_rate": 0.04, "epochs": 3},
)
"""What is tried besides the preset's batches of 128: an accelerator has more lanes than those fill."""

Results = dict[str, Any]


def device_name() -> str:
    device = jax.devices()[0]
    return f"{device.platform.upper()}: {device.device_kind}"


def to_99(data: Split, test: LabelledImages, small: bool) -> Results:
    found = []
    for values in ({}, *LARGE_BATCHES):
        training = Training(TrainSettings(**values), data.train, at_once=True)
        measure, seeds = jax_loops.accuracy(training.network), []
        for seed in range(1 if small else 10):
            own, seconds = training.run(seed)
            seeds.append({"seed": seed, "seconds": seconds, "test_accuracy": measure(own, test)})
        found.append({"settings": {"preset": "quick", **values}, **_costs(training), "seeds": seeds})
        print(f"  {found[-1]}", flush=True)
    return {"trainings": found}


def recipe(data: Split, test: LabelledImages, small: bool) -> Results:
    own = {"epochs": 2, "network": "compact"} if small else {}
    return {**_epochs(TrainSettings(preset="report_recipe", **own), data, test)[1],
            "report": [row[3] for row in reference_report.EPOCHS]}  # fmt: skip


def searches(data: Split, test: LabelledImages, small: bool) -> Results:
    training = Training(TrainSettings(), data.train, at_once=True)
    values, _ = training.run(0)
    settings = AscentSettings(steps=4 if small else 200)
    count, at_once = (200, 100) if small else (100_000, 10_000)
    targets = jnp.eye(10)[jnp.arange(at_once) % 10]
    shape = (at_once, *dataset.IMAGE_SHAPE)
    draw = jax.jit(lambda key: jax.random.uniform(key, shape))
    search, logits = jax_loops.searcher(training.network, settings), jax.jit(jax_loops.logits_of(training.network))
    start = time.perf_counter()
    compiled = search.lower(values, draw(jax.random.key(0)), targets).compile()
    jax.block_until_ready(jax.nn.softmax(logits(values, draw(jax.random.key(0)))))
    compile_seconds, start, reached = time.perf_counter() - start, time.perf_counter(), []
    for number in range(count // at_once):
        images = compiled(values, draw(jax.random.key(number)), targets)
        reached.append(np.asarray((jax.nn.softmax(logits(values, images)) * targets).sum(axis=1) > 0.5))
    seconds = time.perf_counter() - start
    return {"network_test_accuracy": jax_loops.accuracy(training.network)(values, test), "searches": count,
            "steps": settings.steps, "seconds": seconds, "compile_seconds": compile_seconds,
            "reached": float(np.concatenate(reached).mean())}  # fmt: skip


def readable(data: Split, test: LabelledImages, small: bool) -> Results:
    settings = TrainSettings(preset="readable", **({"epochs": 2} if small else {}))
    network, results = _epochs(settings, data, test)
    if folder := os.environ.get("OUT"):
        network.save(Path(folder, "readable.keras"))
    return results


def _epochs(settings: TrainSettings, data: Split, test: LabelledImages) -> tuple[keras.Model, Results]:
    """The trained network, and its accuracies epoch by epoch."""
    training = Training(settings, data.train)
    measure, epochs = jax_loops.accuracy(training.network), []

    def on_epoch(values: Values) -> None:
        epochs.append({"validation_accuracy": measure(values, data.validation), "test_accuracy": measure(values, test)})

    values, seconds = training.run(settings.seed, on_epoch)
    jax_loops.fill(training.network, values)
    return training.network, {"seconds": seconds, **_costs(training), "epochs": epochs}


def _costs(training: Training) -> Results:
    return {"compile_seconds": training.compile_seconds, "upload_seconds": training.upload_seconds}


PARTS: dict[str, tuple[Callable[[Split, LabelledImages, bool], Results], str]] = {
    "to_99": (to_99, "highest"), "searches": (searches, "highest"),
    "readable": (readable, "highest"), "recipe": (recipe, "default"),
}  # fmt: skip
"""Each part, and how products are computed: in full float32 as the program has it, or as JAX likes it."""


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="little data and few steps; nothing is kept")
    parser.add_argument("--parts", default=",".join(PARTS), help="which, with commas in between")
    given = parser.parse_args(words)
    if keras.backend.backend() != "jax":
        parser.error("Keras is imported on another backend than jax")
    chosen = given.parts.split(",")
    if unknown := [name for name in chosen if name not in PARTS]:
        parser.error(f"--parts: {', '.join(unknown)} is none of {', '.join(PARTS)}")
    address = "mnist:600" if given.small else "mnist"
    data, test, device = dataset.split(dataset.load_train(address)), dataset.load_test(address), device_name()
    measured: Results = {}
    for name in chosen:
        part, precision = PARTS[name]
        with jax.default_matmul_precision(precision):
            products = "TF32 permitted" if precision == "default" else "float32"
            measured[name] = {"products": products, **part(data, test, given.small)}
        print(f"{name}, {device}: {measured[name]}", flush=True)
        if not given.small:
            keep("accelerator", device, {"with": WITH, "measured": measured}, VERSIONED)
            if folder := os.environ.get("OUT"):
                shutil.copy(RESULTS / "accelerator.json", folder)


if __name__ == "__main__":
    main()
