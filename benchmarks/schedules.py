"""How the learning rate moves, and how far up: validation accuracy of the default network after its one epoch.

python -m benchmarks.schedules --seeds 3
"""

# ruff: noqa: E402

from __future__ import annotations

import argparse

from benchmarks import keep, spread
from mnist_cnn.runtime import hardware

DEVICE = hardware.start_tensorflow()  # quietly, before what follows imports it

from mnist_cnn.data import dataset
from mnist_cnn.models import networks
from mnist_cnn.settings import SCHEDULES, TrainSettings
from mnist_cnn.training import loop

PEAKS = (0.001, 0.005, 0.01, 0.02, 0.04)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()

    data = dataset.split(dataset.load_train())
    rows = []
    for schedule in SCHEDULES:
        for peak in PEAKS:
            accuracies = []
            for seed in range(options.seeds):
                settings = TrainSettings(schedule=schedule, learning_rate=peak, seed=seed)
                network = networks.build(settings.network, seed)
                accuracies.append(100 * loop.train(network, data, settings).history[-1].validation_accuracy)
            rows.append({"schedule": schedule, "learning_rate": peak, "validation_accuracies": accuracies})
            print(f"{schedule}, {peak:g}: {spread(accuracies)} %", flush=True)
    keep("schedules", DEVICE, {"rows": rows})


if __name__ == "__main__":
    main()
