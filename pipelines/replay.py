"""Search once more with the settings of a sweep's trial, with every snapshot, picture and number."""

from __future__ import annotations

from mnist_cnn.settings import OptimizeSettings, ReplaySettings
from mnist_cnn.tracking import sweep_runs
from pipelines import optimize
from pipelines.optimize import OptimizeResult


def run(settings: ReplaySettings) -> OptimizeResult:
    """What is given besides `trial` overrules the trial's setting. Raises `SettingError` if there is no such trial."""
    own = {name: value for name, value in settings.values().items() if name in settings.given - {"trial"}}
    return optimize.run(OptimizeSettings(**{**sweep_runs.settings_of_trial(settings.trial), **own}))


def main(settings: ReplaySettings) -> None:
    optimize.print_result(run(settings))
