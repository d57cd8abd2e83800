"""Sweeps and their trials as plain records: what `tracking` reads and `reporting` draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mnist_cnn.settings import sign


@dataclass(frozen=True)
class TrialRecord:
    """One trial.

    state: `complete`, `pruned`, `failed`, `lost`, `running` or `waiting`. values: of the goals; empty unless the trial
    is complete. settings: as words. metrics: the last of each. run_id: of its MLflow run; empty before there is one.
    """

    number: int
    run_id: str
    state: str
    values: tuple[float, ...]
    settings: Mapping[str, str]
    metrics: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        return {"number": self.number, "run_id": self.run_id, "values": self.values, "settings": dict(self.settings)}


@dataclass(frozen=True)
class SweepRecord:
    """One sweep. kind: the command whose settings are tried (`optimize` or `train`). trials: by number."""

    name: str
    run_id: str
    kind: str
    goals: tuple[str, ...]
    trials: tuple[TrialRecord, ...]

    @property
    def complete(self) -> list[TrialRecord]:
        return [trial for trial in self.trials if trial.state == "complete"]

    @property
    def best(self) -> TrialRecord:
        """The best complete trial by the first goal, the earliest of equals. Raises ValueError where there is none."""
        return max(self.complete, key=lambda trial: (sign(self.goals[0]) * trial.values[0], -trial.number))

    @property
    def front(self) -> tuple[TrialRecord, ...]:
        """The complete trials that no other beats in all goals, by number: the best one where there is one goal."""
        if len(self.goals) == 1:
            return (self.best,) if self.complete else ()
        return tuple(trial for trial in self.complete if not any(self._beats(other, trial) for other in self.complete))

    def _beats(self, first: TrialRecord, second: TrialRecord) -> bool:
        """Whether `first` is at least as good in every goal, and better in one."""
        ours, others = (self._upwards(trial.values) for trial in (first, second))
        return ours != others and all(mine >= its for mine, its in zip(ours, others, strict=True))

    def _upwards(self, values: Sequence[float]) -> list[float]:
        return [sign(goal) * value for goal, value in zip(self.goals, values, strict=True)]
