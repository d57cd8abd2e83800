"""What the report's own search finds in networks trained anew, judged by a panel that took no part in any choice.

python -m benchmarks.report_search [--dataset fashion.npz] [--seeds 3] [--num-images 50]

The search is the report's: uniform noise, Adam at 0.05, L2 of 0.0001, 500 steps, nothing else. All else is the network.
--num-images: of each class, in each network.
"""

# ruff: noqa: E402

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from benchmarks import fresh_store, keep
from mnist_cnn.runtime import hardware

DEVICE = hardware.start_tensorflow()  # quietly, before what follows imports it

from mnist_cnn.data import dataset
from mnist_cnn.judging.search import search
from mnist_cnn.models import networks
from mnist_cnn.settings import PANEL_B, AscentSettings, TrainSettings
from mnist_cnn.settings.experiments import kinds
from mnist_cnn.training import attacks, evaluation, loop
from pipelines import judges

PRESETS = ("quick", "templates")
FIRST_SEED = 20
"""Of networks and searches: smaller ones took part in the choice of `templates`."""

DOCS = Path(__file__).parents[1] / "docs"
RADIUS = 2.0
"""Of the attacks on both networks, in grey levels: that of the readable network."""

SHOWN = 10
"""Of each class, in the picture."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--num-images", type=int, default=50)
    options = parser.parse_args()

    images, test, settings = dataset.load_train(options.dataset), dataset.load_test(options.dataset), AscentSettings()
    data, suffix = dataset.split(images), "" if options.dataset == "mnist" else f"-{images.name}"
    found: list[dict[str, Any]] = []
    with fresh_store():
        scorer = judges.scorer(PANEL_B, data)
        for seed in range(FIRST_SEED, FIRST_SEED + options.seeds):
            for preset in PRESETS:
                own = TrainSettings(preset=preset, seed=seed)
                network = networks.for_training(own, data.train.num_classes)
                seconds = loop.train(network, data, own).seconds
                searches = search(
                    network, kinds("all", "noise"), data.validation, settings.replace(seed=seed),
                    num_images=options.num_images, scorer=scorer,
                )  # fmt: skip
                assert searches.card is not None
                found.append(
                    {
                        "preset": preset, "seed": seed, "training_seconds": seconds,
                        "test_accuracy": evaluation.evaluate(network, test).accuracy,
                        "robust_accuracy": attacks.robust_accuracy(network, test, RADIUS).accuracy,
                        **searches.card.metrics(),
                    }
                )  # fmt: skip
                print(found[-1], flush=True)
                if seed == FIRST_SEED and preset == "templates":
                    draw(searches.result.final, DOCS / f"report_search_templates{suffix.replace('-', '_')}.png")
    keep(
        f"report-search{suffix}",
        DEVICE,
        {"settings": settings.values(), "num_images": options.num_images, "networks": found},
    )


def draw(images: Any, path: Path) -> None:
    """The first images of each class, a class a row: (10 x n, 28, 28, 1), class by class."""
    rows = images.reshape(10, -1, 28, 28)[:, :SHOWN]
    sheet = np.pad(rows, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=0.5)
    plt.imsave(path, np.concatenate(np.concatenate(sheet, axis=1), axis=1).repeat(2, 0).repeat(2, 1), cmap="gray")


if __name__ == "__main__":
    main()
