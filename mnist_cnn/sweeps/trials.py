"""One trial of a sweep: settings in; numbers, a curve and a few pictures out. It may be ended on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from mnist_cnn.data.dataset import Split
from mnist_cnn.input_optimization.result import AscentResult
from mnist_cnn.input_optimization.starts import SearchPlan
from mnist_cnn.judging import search
from mnist_cnn.judging.ablation import merit
from mnist_cnn.judging.scorecard import Scorer
from mnist_cnn.models import networks
from mnist_cnn.settings import OptimizeSettings, SettingError, TrainSettings, experiments
from mnist_cnn.settings.errors import WorkStopped
from mnist_cnn.training import attacks, loop

METRICS = {
    "recognised": "recognised_rate",
    "diversity": "diversity",
    "merit": "merit",
    "probability": "target_probability",
    "loss": "loss",
    "validation_accuracy": "validation_accuracy",
    "validation_loss": "validation_loss",
    "robust_accuracy": "validation_robust_accuracy",
}
"""The metric that each goal of a sweep is."""


class Pruned(Exception):
    """A trial was ended early since it falls behind; the message says when."""


@dataclass(frozen=True)
class Strip:
    """A few images on their way. images: (rows, columns, height, width) float32 in [0, 1]; a label for each."""

    images: NDArray[np.float32]
    rows: tuple[str, ...]
    columns: tuple[str, ...]


@dataclass
class TrialResult:
    """What has come out so far. metrics: the last numbers, by name."""

    metrics: dict[str, float] = field(default_factory=dict)
    strip: Strip | None = None


Report = Callable[[int, Mapping[str, float]], None]
"""Told of step and numbers at each snapshot or epoch; raises `Pruned`."""

ImagesOf = Callable[[str], Mapping[str, NDArray[Any]]]
"""Id of a trial's run -> its arrays; `finals` is (kinds, height, width) uint8."""

Tick = Callable[[], None]
"""Called about twice a second; raises what ends the trial."""


def last_step(settings: OptimizeSettings | TrainSettings) -> int:
    """The step, or epoch, with which a trial ends."""
    return settings.epochs if isinstance(settings, TrainSettings) else settings.steps


class AscentTrials:
    """Trials of `optimize`. load: the network of a URI. scorer: None where no goal needs judges."""

    def __init__(self, data: Split, load: Callable[[str], keras.Model], scorer: Scorer | None) -> None:
        self._data, self._load, self._scorer = data, load, scorer
        self._networks: dict[str, keras.Model] = {}

    def __call__(self, settings: OptimizeSettings, result: TrialResult, report: Report, tick: Tick) -> None:
        """Fill `result` snapshot by snapshot. Raises what `ascend`, `report` and `tick` do.

        Raises `WorkStopped` where the network cannot be loaded.
        """
        network = self._network(settings.model)
        kinds = experiments.kinds(
            settings.targets, settings.start, settings.start_class, num_classes=self._data.train.num_classes
        )
        first_of_each = np.arange(len(kinds)) * settings.num_images

        def on_snapshot(plan: SearchPlan, found: AscentResult, index: int) -> None:
            step = int(found.steps[index])
            result.metrics = found.metrics(index)
            if self._scorer is not None and index:
                card = self._scorer.of_searches(plan, found.snapshots[index])
                result.metrics |= card.metrics()
                result.metrics["merit"] = merit(card)
            result.strip = Strip(
                found.snapshots[: index + 1, :, ..., 0][:, first_of_each].swapaxes(0, 1),
                tuple(kind.named(plan.class_names) for kind in kinds),
                tuple(f"step {step:,}" for step in found.steps[: index + 1]),
            )
            if index:
                report(step, result.metrics)

        search.search(
            network, kinds, self._data.validation, settings,
            num_images=settings.num_images, sigma=settings.sigma,
            on_progress=lambda done, total: tick(), on_snapshot=on_snapshot,
        )  # fmt: skip

    def _network(self, uri: str) -> keras.Model:
        if uri not in self._networks:
            try:
                self._networks[uri] = self._load(uri)
            except SettingError as error:  # no trial's fault: every other one would fail as well
                raise WorkStopped(str(error)) from error
        return self._networks[uri]


class TrainingTrials:
    """Trials of `train`, judged on validation images. robust: whether each network is attacked at the end."""

    def __init__(self, data: Split, robust: bool) -> None:
        self._data, self._robust = data, robust

    def __call__(self, settings: TrainSettings, result: TrialResult, report: Report, tick: Tick) -> None:
        """Fill `result` epoch by epoch. Raises what `training.train`, `report` and `tick` do."""
        network = networks.for_training(settings, self._data.train.num_classes)

        def on_epoch(epoch: loop.EpochResult, state: Any) -> None:
            result.metrics = epoch.metrics()
            if epoch.epoch == settings.epochs and self._robust:
                within = attacks.robust_accuracy(network, self._data.validation, settings.epsilon)
                result.metrics |= within.metrics("validation")
            report(epoch.epoch, result.metrics)

        loop.train(network, self._data, settings, on_steps=lambda steps: tick(), on_epoch=on_epoch)
