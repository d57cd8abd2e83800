"""Train a preset with several seeds: test accuracy and training time, each with its spread.

python -m benchmarks.presets quick --seeds 5
python -m benchmarks.presets accurate --seeds 3
python -m benchmarks.presets report --seeds 1
"""

from __future__ import annotations

import argparse
import dataclasses

from benchmarks import keep, spread
from mnist_cnn.data import dataset
from mnist_cnn.runtime import hardware
from mnist_cnn.settings import TrainSettings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", choices=list(TrainSettings.PRESETS))
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()

    device = hardware.start_tensorflow()
    from mnist_cnn.models import networks
    from mnist_cnn.reporting.progress import TrainingProgress
    from mnist_cnn.training import evaluation, loop

    runs = []
    for seed in range(options.seeds):
        settings = TrainSettings.resolve({"preset": options.preset, "seed": seed})
        data = dataset.split(dataset.load_train(), settings.validation_fraction)
        network = networks.build(settings.network, seed, precision=settings.precision)
        progress = TrainingProgress(settings.epochs, loop.steps_per_epoch(len(data.train), settings.batch_size))
        result = loop.train(
            network, data, settings, on_steps=progress.steps, on_epoch=lambda epoch, _, show=progress: show.epoch(epoch)
        )
        test = evaluation.evaluate(network, dataset.load_test())
        runs.append(
            {
                "seed": seed,
                "test_accuracy": test.accuracy,
                "test_loss": test.loss,
                "training_seconds": result.seconds,
                "history": [dataclasses.asdict(epoch) for epoch in result.history],
            }
        )
        print(f"seed {seed}: test accuracy {test.accuracy:.2%}, {result.seconds:.1f} s of training", flush=True)
    accuracies = [100 * run["test_accuracy"] for run in runs]
    seconds = [run["training_seconds"] for run in runs]
    print(f"\npreset {options.preset}, {len(runs)} seeds, {device}")
    print(f"test accuracy, %    {spread(accuracies)}")
    print(f"training time, s    {spread(seconds, '.1f')}")
    keep(f"preset-{options.preset}", device, {"settings": dataclasses.asdict(settings), "runs": runs})


if __name__ == "__main__":
    main()
