"""Results made by hand, for tests of figures, descriptions and pages: real digits, numbers from a seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from mnist_cnn.data import dataset
from mnist_cnn.input_optimization import starts
from mnist_cnn.input_optimization.result import AscentResult
from mnist_cnn.judging import ablation, nearest_digits, scorecard
from mnist_cnn.judging.search import Searches
from mnist_cnn.settings import OptimizeSettings, TrainSettings, search_space
from mnist_cnn.settings.experiments import SearchKind
from mnist_cnn.sweeps.outcomes import OUTCOME, RUN_ID
from mnist_cnn.sweeps.study import Study, open_study
from mnist_cnn.training import evaluation
from mnist_cnn.training.loop import EpochResult

HOSTILE = 'a|b `c`\n<b>bold</b> <script>alert("x")</script> *d* [e](javascript:f)'
"""A text that a person may type, and that would break a table or run as HTML."""

JUDGES = ("cnn", "knn", "kernel", "subspace", "mlp", "forest")
HISTORY = [EpochResult(n, 0.9 / n, 1 - 0.3 / n, 0.8 / n, 1 - 0.2 / n, 0.001, 3.0, 1000.0) for n in (1, 2, 3)]


@cache
def digits() -> dataset.LabelledImages:
    """The first 2,000 training images."""
    whole = dataset.load_train()
    return dataset.LabelledImages(whole.images[:2000], whole.labels[:2000], "0123", whole.source, "digits")


@cache
def real() -> scorecard.RealDigits:
    return scorecard.RealDigits.of(digits(), digits())


def searches(
    kinds: Sequence[SearchKind], num_images: int = 2, num_snapshots: int = 5, class_names: tuple[str, ...] = ()
) -> Searches:
    """Searches that fade from their starts to real digits of their targets; the first one misses its target."""
    data = dataclasses.replace(digits(), class_names=class_names or digits().class_names)
    plan = starts.draw(kinds, num_images, 0, data, 0.3)
    classes = plan.targets.argmax(axis=1)
    ends = np.stack([data.images[np.flatnonzero(data.labels == number)[i % 5]] for i, number in enumerate(classes)])
    shares = np.linspace(0, 1, num_snapshots, dtype=np.float32)
    snapshots = np.stack([(1 - share) * plan.starts.images + share * ends for share in shares])
    probabilities = np.stack([(1 - share) * 0.1 + share * plan.targets for share in shares])
    probabilities[-1, 0] = np.roll(plan.targets[0], 5)
    losses = np.random.default_rng(0).random((num_snapshots, len(classes)), np.float32) + 0.1
    result = AscentResult(
        np.arange(num_snapshots) * 25, snapshots, losses, 0.9 * losses, 0.8 * losses, 0.7 * losses, probabilities,
        plan.targets, ends, losses.min(axis=0), 25 * losses.argmin(axis=0),
    )  # fmt: skip
    return Searches(plan, result, card(ends, plan.targets))


def card(images: Any, targets: Any, misses: int = 1) -> scorecard.Scorecard:
    """Judges agree with the targets but for the first `misses` images."""
    opinions = targets.copy()
    opinions[:misses] = np.roll(opinions[:misses], 1, axis=1)
    return scorecard.score(images, targets, dict.fromkeys(JUDGES, opinions), real())


def nearest(found: Searches) -> nearest_digits.Neighbours:
    return nearest_digits.nearest(found.result.final, digits())


def evaluated(size: int = 500) -> evaluation.EvaluationResult:
    """Of the first digits: most right, some wrong, with more and less confidence."""
    labels, random = digits().labels[:size].astype(np.int32), np.random.default_rng(1)
    logits = random.normal(size=(size, 10)) + 4 * np.eye(10)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return evaluation.score(probabilities.astype(np.float32), labels)


@cache
def ablation_table(of_each: int = 3) -> ablation.Table:
    """Every cell of two networks; the readable one is recognised more often."""
    table = ablation.Table()
    targets = np.repeat(np.eye(10, dtype=np.float32), of_each, axis=0)
    classes = targets.argmax(axis=1)
    for seed, network in enumerate(("ordinary", "readable")):
        random = np.random.default_rng(seed)
        images = np.stack([random.choice(digits().images[digits().labels == number]) for number in classes])
        table.tried[network] = {}
        for column, choices in ablation.REGULARISATIONS.items():
            misses = 20 if network == "ordinary" else 1
            table.tried[network][column] = [
                ablation.Tried(changes, card(images, targets, misses + number))
                for number, changes in enumerate(choices)
            ]
            table.chosen[network, column] = choices[-1]
            for start in ("noise", "noisy_digit", "digit"):
                table.cells[network, column, start] = ablation.Searched(
                    start, images, targets, card(images, targets, misses)
                )
    return table


def study(
    folder: Path,
    trials: Sequence[Mapping[str, Any]],
    *,
    name: str = "my-sweep",
    goals: Sequence[str] = ("recognised",),
    training: bool = False,
    **values: str,
) -> Study:
    """A study with trials made by hand: each gives `values` (none: failed), and may give `pruned_at` and settings."""
    cls: Any = TrainSettings if training else OptimizeSettings
    varied = {"learning_rate": "1e-4..1e-2:log"} if training else {"l2_weight": "1e-5..1e-1:log", "pose": "0..1"}
    space = search_space.read(cls, {**varied, **values}, frozenset())
    found, _ = open_study(
        str(folder / "sweeps.journal"), name, space, goals, total=len(trials), sampler="random", pruner="none", seed=0,
        fingerprint={},
    )  # fmt: skip
    names = list(space.varied)
    distributions = {name: distribution(space.varied[name]) for name in names}
    random = np.random.default_rng(3)
    for number, trial in enumerate(trials):
        params = {name: trial.get(name, float(drawn(space.varied[name], random.random()))) for name in names}
        state = TrialState.COMPLETE if trial.get("values") else TrialState.FAIL
        steps = {step: trial["values"][0] * step / 20 for step in (10, 20)} if trial.get("values") else {}
        if "pruned_at" in trial:
            state, steps = TrialState.PRUNED, {10: trial["pruned_at"]}
        attributes: dict[str, Any] = {RUN_ID: f"run{number}"}
        if state == TrialState.FAIL:
            attributes[OUTCOME] = {"state": "failed", "values": [], "reason": trial.get("reason", "")}
        found.optuna_study.add_trial(
            create_trial(
                state=state, params=params, distributions=distributions, user_attrs=attributes,
                values=trial.get("values"), intermediate_values=steps if len(goals) == 1 else {},
            )
        )  # fmt: skip
    return found


def distribution(varied: Any) -> FloatDistribution:
    return FloatDistribution(varied.low, varied.high, log=varied.log)


def drawn(varied: Any, share: float) -> float:
    if varied.log:
        return float(varied.low * (varied.high / varied.low) ** share)
    return float(varied.low + share * (varied.high - varied.low))


def finals(run_id: str) -> Mapping[str, Any]:
    """Ten images of a trial, one for each digit, that differ from trial to trial."""
    random = np.random.default_rng(sum(map(ord, run_id)))
    images = np.stack([random.choice(digits().images[digits().labels == number])[..., 0] for number in range(10)])
    return {"finals": np.round(255 * images).astype(np.uint8)}
