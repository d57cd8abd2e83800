"""Train a preset with several seeds: test accuracy and training time, each with its spread.

python -m benchmarks.presets quick --seeds 5
python -m benchmarks.presets accurate --seeds 3
python -m benchmarks.presets report --seeds 1
"""

# ruff: noqa: E402

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from benchmarks import fresh_store, keep, spread
from mnist_cnn.runtime import hardware

DEVICE = hardware.start_tensorflow()  # quietly, before what follows imports it

from mnist_cnn.settings import TrainSettings
from pipelines import train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", choices=list(TrainSettings.PRESETS))
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()

    runs: list[dict[str, Any]] = []
    with fresh_store():
        for seed in range(options.seeds):
            settings = TrainSettings(preset=options.preset, seed=seed)
            result = train.run(settings)
            accuracy, seconds = result.test.accuracy, result.training.seconds
            runs.append(
                {
                    "seed": seed,
                    "test_accuracy": accuracy,
                    "test_loss": result.test.loss,
                    "training_seconds": seconds,
                    "history": [dataclasses.asdict(epoch) for epoch in result.training.history],
                }
            )
            print(f"seed {seed}: test accuracy {accuracy:.2%}, {seconds:.1f} s of training", flush=True)
    accuracies = [100 * run["test_accuracy"] for run in runs]
    times = [run["training_seconds"] for run in runs]
    print(f"\npreset {options.preset}, {len(runs)} seeds, {DEVICE}")
    print(f"test accuracy, %    {spread(accuracies)}")
    print(f"training time, s    {spread(times, '.1f')}")
    keep(f"preset-{options.preset}", DEVICE, {"settings": settings.values(), "runs": runs})


if __name__ == "__main__":
    main()
