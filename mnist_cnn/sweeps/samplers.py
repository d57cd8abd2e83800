"""What proposes the settings of a trial, and what ends a trial early."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, GridSampler, QMCSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState

from mnist_cnn.runtime.randomness import derive_seed
from mnist_cnn.settings.search_space import Choices, Range, Space


def make_pruner(name: str, space: Space) -> BasePruner:
    """The pruner of that name. Hyperband's resource is a step of the search, or an epoch of the training."""
    settings: Any = space.at({})
    first, last = getattr(settings, "snapshot_every", 1), getattr(settings, "steps", None) or settings.epochs
    if name == "hyperband":
        return HyperbandPruner(min_resource=min(first, last), max_resource=last)
    return MedianPruner(n_startup_trials=5) if name == "median" else NopPruner()


def make_sampler(name: str, space: Space, seed: int) -> BaseSampler:
    """The sampler of that name."""
    make: dict[str, Callable[[int], BaseSampler]] = {
        "tpe": lambda seed: TPESampler(seed=seed, multivariate=True, constant_liar=True),
        "random": lambda seed: RandomSampler(seed=seed),
        "gp": lambda seed: GPSampler(seed=seed),
        "cmaes": lambda seed: CmaEsSampler(seed=seed, independent_sampler=RandomSampler(seed)),
    }
    if name == "qmc":  # One sequence, whose scrambling must stay; what has no order is drawn trial by trial.
        chance = _SeededByTrial(make["random"], seed)
        return QMCSampler(scramble=True, seed=seed, independent_sampler=chance, warn_independent_sampling=False)
    if name == "grid":  # The seed is the order of the combinations, which must stay too.
        choices = {name: list(one.values) for name, one in space.varied.items() if isinstance(one, Choices)}
        return _Grid(choices, seed)
    whole = {name: distribution(dimension) for name, dimension in sorted(space.varied.items())}
    return _SeededByTrial(make[name], seed, known=whole if name == "tpe" else None)


def distribution(dimension: Range | Choices) -> BaseDistribution:
    """What a setting is drawn from, as Optuna has it."""
    if isinstance(dimension, Choices):
        return CategoricalDistribution(dimension.values)
    if dimension.whole:
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def suggest(trial: Trial, space: Space) -> dict[str, Any]:
    """The value of each varied setting of a trial, by name."""
    values: dict[str, Any] = {}
    for name, dimension in space.varied.items():
        if isinstance(dimension, Choices):
            values[name] = trial.suggest_categorical(name, dimension.values)
        elif dimension.whole:
            values[name] = trial.suggest_int(name, int(dimension.low), int(dimension.high), log=dimension.log)
        else:
            values[name] = trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log)
    return values


class _Grid(GridSampler):
    """A grid that does not stop the study after its last combination: the total does."""

    def after_trial(self, *arguments: Any) -> None:
        return


class _SeededByTrial(BaseSampler):
    """A sampler made anew for each trial; its seed is derived from the sweep's and the trial's number.

    A sweep that is continued so draws what it would have drawn without a break, and workers draw differently.
    """

    def __init__(
        self, make: Callable[[int], BaseSampler], seed: int, known: dict[str, BaseDistribution] | None = None
    ) -> None:
        """known: the search space, where it need not be worked out from all trials so far, for each trial anew."""
        self._make, self._seed, self._known = make, seed, known
        self._sampler, self._number = make(seed), -1

    def _at(self, trial: FrozenTrial) -> BaseSampler:
        if trial.number != self._number:
            self._sampler, self._number = self._make(derive_seed(self._seed, "trial", trial.number)), trial.number
        return self._sampler

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        if self._known is not None:
            return self._known
        return self._at(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._at(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._at(trial).sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._at(trial).before_trial(study, trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self._at(trial).after_trial(study, trial, state, values)
