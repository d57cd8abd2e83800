"""Lines of trials along a setting, and the axis that they share: linear or logarithmic, divided into bins."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from mnist_cnn.settings import sign
from mnist_cnn.settings.search_space import Choices
from mnist_cnn.sweeps.outcomes import RUN_ID, values_of
from mnist_cnn.sweeps.study import Study

if TYPE_CHECKING:
    from mnist_cnn.sweeps.records import SweepRecord

BINS = 9
"""Parts of equal width into which an axis is divided."""


@dataclass(frozen=True)
class Line:
    """Trials that share a label and a colour.

    x: (n,) the setting. scores: (n,) the goal's value. run_ids: n, of their runs. pruned_x, pruned_scores: (m,) of
    pruned trials, with the goal's last value.
    """

    label: str
    x: NDArray[np.float64]
    scores: NDArray[np.float64]
    run_ids: tuple[str, ...]
    pruned_x: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    pruned_scores: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    @classmethod
    def of(
        cls, label: str, complete: Sequence[tuple[Any, float, str]], pruned: Sequence[tuple[Any, float]] = ()
    ) -> Line:
        """complete: setting, value of the goal and id of the run of each trial. pruned: setting and last value."""
        x, scores, run_ids = zip(*complete, strict=True)
        pruned_x, pruned_scores = np.array(pruned, float).reshape(-1, 2).T
        return cls(label, np.array(x, float), np.array(scores, float), run_ids, pruned_x, pruned_scores)


def lines_of_study(study: Study, name: str = "l2_weight") -> list[Line]:
    """The trials of a sweep by start (and by network, where there are several), along a weight.

    Empty where the weight is the same in all of them.
    """
    networks = study.space.varied.get("model")

    def label(trial: FrozenTrial) -> str:
        settings = study.space.at(trial.params)
        parts = [f"from {settings.start.replace('_', ' ')}"] if hasattr(settings, "start") else []
        if isinstance(networks, Choices):
            parts.append(f"network {networks.values.index(settings.model) + 1}")
        return ", ".join(parts) or "all trials"

    complete: dict[str, list[tuple[Any, float, str]]] = defaultdict(list)
    pruned: dict[str, list[tuple[Any, float]]] = defaultdict(list)
    for trial in study.trials():
        if name in trial.params and values_of(trial):
            complete[label(trial)].append((trial.params[name], values_of(trial)[0], trial.user_attrs.get(RUN_ID, "")))
        elif name in trial.params and (last := last_value(trial)) is not None:
            pruned[label(trial)].append((trial.params[name], last))
    return [Line.of(line, trials, pruned[line]) for line, trials in sorted(complete.items())]


def last_value(trial: FrozenTrial) -> float | None:
    """The goal's last value in a pruned trial; None for any other trial."""
    if trial.state != TrialState.PRUNED or trial.last_step is None:
        return None
    return float(trial.intermediate_values[trial.last_step])


def lines_of_records(records: Sequence[SweepRecord], along: str, networks: Mapping[str, str]) -> dict[str, list[Line]]:
    """For each start (or all trainings together) a line for each sweep and network, along a setting.

    networks: how a chart calls the network of each model's URI; empty: by the sweep's name alone.
    """
    panels: dict[str, dict[str, list[tuple[Any, float, str]]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        for trial in record.complete:
            if along in trial.settings:
                start, model = trial.settings.get("start", ""), trial.settings.get("model", "")
                panel = f"From {start.replace('_', ' ')}" if start else "Trainings"
                label = ", ".join(filter(None, (record.name, networks.get(model, model))))
                panels[panel][label].append((trial.settings[along], trial.values[0], trial.run_id))
    return {panel: [Line.of(*line) for line in lines.items()] for panel, lines in sorted(panels.items())}


@dataclass(frozen=True)
class Bin:
    """A part of an axis. middle: its place; inside: which trials; best: the best of them."""

    middle: float
    inside: NDArray[np.int64]
    best: int


class Axis:
    """A common axis of several lines: logarithmic where their numbers are far apart, with 0 at its left end."""

    def __init__(self, lines: Sequence[Line]) -> None:
        numbers = np.concatenate([part for line in lines for part in (line.x, line.pruned_x)])
        positive = numbers[numbers > 0]
        self.is_log = len(positive) > 0 and positive.max() / positive.min() > 30
        self._has_zero = bool((numbers == 0).any())
        self._least = float(positive.min()) if len(positive) else 1.0
        places = self.places(numbers)
        self.low, self.high = float(places.min()), float(places.max())
        if self.high - self.low < 1e-9:
            self.low, self.high = self.low - 0.5, self.high + 0.5

    def places(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.log10(np.maximum(numbers, self._least / 3)) if self.is_log else numbers

    def share(self, place: float) -> float:
        """Of the axis's width."""
        return (place - self.low) / (self.high - self.low)

    def bins(self, line: Line, goal: str) -> list[Bin]:
        """Those parts of the axis that hold trials."""
        edges = np.linspace(self.low, self.high, BINS + 1)
        numbers = np.digitize(self.places(line.x), edges[1:-1])
        found = []
        for number in np.unique(numbers):
            inside = np.flatnonzero(numbers == number)
            best = inside[np.argmax(sign(goal) * line.scores[inside])]
            found.append(Bin(edges[number : number + 2].mean(), inside, int(best)))
        return found

    def apply_to(self, axes: Any, name: str) -> None:
        """Set the limits, ticks and label of matplotlib's axes."""
        margin = 0.02 * (self.high - self.low)
        axes.set_xlim(self.low - margin, self.high + margin)
        if self.is_log:
            ticks = np.arange(math.ceil(self.low), math.floor(self.high) + 1)
            labels = [f"$10^{{{tick}}}$" for tick in ticks]
            if self._has_zero:
                ticks, labels = np.append(ticks, math.log10(self._least / 3)), [*labels, "0"]
            axes.set_xticks(ticks, labels)
        axes.set_xlabel(name)
