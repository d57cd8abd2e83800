"""Run the sweep whose settings stand in a file."""

from __future__ import annotations

from mnist_cnn.settings import SweepFileSettings, SweepTrainingSettings
from pipelines import sweep, sweep_training
from pipelines.sweep import SweepResult


def run(settings: SweepFileSettings) -> SweepResult:
    """Run the sweep of `optimize` or of `train` that the file asks for."""
    own = settings.sweep
    return sweep_training.run(own) if isinstance(own, SweepTrainingSettings) else sweep.run(own)


def main(settings: SweepFileSettings) -> None:
    sweep.print_result(run(settings))
