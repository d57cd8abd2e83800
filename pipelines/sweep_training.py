"""Tune the training of networks, trial by trial, pruned epoch by epoch on validation images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mnist_cnn.data import dataset
from mnist_cnn.settings import SweepTrainingSettings, goals
from pipelines import enter
from pipelines.sweep import run_sweep

if TYPE_CHECKING:
    from mnist_cnn.sweeps.worker import Evaluate


def main(argv: Sequence[str] | None = None) -> None:
    settings, given = SweepTrainingSettings.from_command_line(argv)
    fixed = given["space"].trial.resolve(given["space"].fixed)
    data = dataset.split(dataset.load_train(fixed.dataset), fixed.validation_fraction)

    def prepare() -> Evaluate:
        from mnist_cnn.sweeps import trials

        return trials.TrainingTrials(data, robust="robust_accuracy" in goals(settings.goal))

    run_sweep(settings, given["space"], SweepTrainingSettings.words_given(argv), data, prepare)


if __name__ == "__main__":
    enter(main, "sweep_training")
