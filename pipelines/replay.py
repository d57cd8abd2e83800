"""Search or train once more with the settings of a sweep's trial, with every snapshot, picture and number."""

from __future__ import annotations

from mnist_cnn.settings import OptimizeSettings, ReplaySettings, TrainSettings
from mnist_cnn.tracking import store, sweep_runs
from pipelines import optimize, train
from pipelines.optimize import OptimizeResult
from pipelines.train import TrainResult


def run(settings: ReplaySettings) -> OptimizeResult | TrainResult:
    """What is given besides `trial` overrules the trial's setting. Raises `SettingError` if there is no such trial."""
    own = own_settings(settings)
    return train.run(own) if isinstance(own, TrainSettings) else optimize.run(own)


def own_settings(settings: ReplaySettings) -> OptimizeSettings | TrainSettings:
    """What the trial and what is given besides come to."""
    store.open_store()
    return settings.over(sweep_runs.settings_of_trial(settings.trial))


def main(settings: ReplaySettings) -> None:
    result = run(settings)
    if isinstance(result, TrainResult):
        train.print_result(result)
    else:
        optimize.print_result(result)
