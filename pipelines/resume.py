"""Resume an interrupted training from its last finished epoch, as a new run that comes to the same numbers."""

from __future__ import annotations

from mnist_cnn.settings import ResumeSettings
from pipelines import train
from pipelines.train import TrainResult


def run(settings: ResumeSettings) -> TrainResult:
    """Raises `SettingError` for a run that is no training, has finished, still runs, or whose data has changed."""
    own = train.stored_settings(settings.run)
    return train.run(own.replace(run_name=settings.run_name or own.run_name), resumed_from=settings.run)


def main(settings: ResumeSettings) -> None:
    train.print_result(run(settings))
