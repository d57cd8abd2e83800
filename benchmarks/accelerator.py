"""What an accelerator makes of the long work: training, the report's recipe, many searches, the readable network.

    python -m benchmarks.accelerator
    python -m benchmarks.accelerator --small     # a minute on a processor, to see that it runs

Each part is kept as soon as it is measured, with the name of the card, so that a lent machine may go away in between.
Time to compile and to bring the images there is that of a training of one step, measured apart.
"""

# ruff: noqa: E402

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

from benchmarks import keep
from mnist_cnn.runtime import hardware

DEVICE = hardware.start_tensorflow()  # quietly, before what follows imports it

from mnist_cnn.data import dataset, reference_report
from mnist_cnn.data.dataset import Split
from mnist_cnn.judging.search import search
from mnist_cnn.models import networks
from mnist_cnn.settings import AscentSettings, TrainSettings
from mnist_cnn.settings.experiments import kinds
from mnist_cnn.training import evaluation, loop

Results = dict[str, Any]


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="little data and few steps; nothing is kept")
    small = parser.parse_args(words).small
    address = "mnist:600" if small else "mnist"
    data, test = dataset.split(dataset.load_train(address)), dataset.load_test(address)

    def trained(**values: Any) -> tuple[Any, Results]:
        settings = TrainSettings(dataset=address, **values)
        network = networks.build(settings.network, settings.seed)
        first = data.train.part(slice(settings.batch_size), "a first step")
        start = time.perf_counter()
        loop.train(
            networks.build(settings.network, settings.seed), Split(first, data.validation), settings.replace(epochs=1)
        )
        one_step = time.perf_counter() - start
        result = loop.train(network, data, settings)
        return network, {
            "seconds": result.seconds,
            "seconds_of_a_training_of_one_step": one_step,
            "test_accuracy": evaluation.evaluate(network, test).accuracy,
            "validation_accuracies": [epoch.validation_accuracy for epoch in result.history],
        }

    def to_99() -> Results:
        return {"seeds": [trained(seed=seed)[1] for seed in range(1 if small else 10)]}

    def recipe() -> Results:
        own = {"epochs": 1, "network": "compact"} if small else {}
        return {**trained(preset="report_recipe", **own)[1], "report": [row[3] for row in reference_report.EPOCHS]}

    def searches() -> Results:
        network, about = trained()
        settings = AscentSettings(steps=4 if small else 200, snapshot_every=4 if small else 200)
        count = 10 if small else 10_000
        start = time.perf_counter()
        found = search(network, kinds("all", "noise"), data.validation, settings, num_images=count).result
        seconds = time.perf_counter() - start
        return {"network": about, "searches": len(found.final), "steps": settings.steps, "seconds": seconds,
                "reached": float((found.target_probabilities[-1] > 0.5).mean())}  # fmt: skip

    def readable() -> Results:
        return trained(preset="readable", **({"epochs": 1} if small else {}))[1]

    parts: dict[str, Callable[[], Results]] = {
        "time to 99.0 %": to_99, "the report's recipe": recipe, "searches": searches, "readable training": readable,
    }  # fmt: skip
    measured: Results = {}
    for name, part in parts.items():
        measured[name] = part()
        print(f"{name}, {DEVICE}: {measured[name]}", flush=True)
        if not small:
            keep("accelerator", DEVICE, {"measured": measured})


if __name__ == "__main__":
    main()
