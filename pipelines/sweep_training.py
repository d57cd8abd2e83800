"""Tune the training of networks, trial by trial, pruned epoch by epoch on validation images."""

from __future__ import annotations

from mnist_cnn.data import dataset
from mnist_cnn.settings import SweepTrainingSettings, goals
from mnist_cnn.sweeps import trials
from pipelines import sweep
from pipelines.sweep import SweepResult


def run(settings: SweepTrainingSettings) -> SweepResult:
    """Run what is left of `n_trials` trainings, or continue the sweep of that name. See `sweep.run`."""
    fixed = settings.space.at({})
    data = dataset.split(dataset.load_train(fixed.dataset), fixed.validation_fraction)
    robust = "robust_accuracy" in goals(settings.goal)
    return sweep.run_sweep(settings, data, lambda: trials.TrainingTrials(data, robust))


def main(settings: SweepTrainingSettings) -> None:
    sweep.print_result(run(settings))
