"""Draw starts, ascend, score: the one search that every command calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import keras
import numpy as np

from mnist_cnn.data.dataset import LabelledImages
from mnist_cnn.input_optimization import ascent, inversion, starts
from mnist_cnn.input_optimization.inversion import FeatureStatistics
from mnist_cnn.input_optimization.result import AscentResult
from mnist_cnn.input_optimization.starts import SearchPlan
from mnist_cnn.judging.scorecard import Scorecard, Scorer
from mnist_cnn.settings import AscentSettings
from mnist_cnn.settings.experiments import SearchKind

SIGMA = 0.3
"""Standard deviation of the noise on a noisy digit, in grey levels: the report's."""


@dataclass(frozen=True)
class Searches:
    """n searches: from where and to what (`plan`), the way there (`result`), and what judges say of the last images.

    card: None where no scorer was given.
    """

    plan: SearchPlan
    result: AscentResult
    card: Scorecard | None


def search(
    network: keras.Model,
    kinds: Sequence[SearchKind],
    data: LabelledImages,
    settings: AscentSettings,
    *,
    num_images: int,
    sigma: float = SIGMA,
    known: FeatureStatistics | None = None,
    scorer: Scorer | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    on_snapshot: Callable[[SearchPlan, AscentResult, int], None] | None = None,
) -> Searches:
    """Run `num_images` searches of each kind in `network`, and score the last images.

    data: where digits to start from are drawn. known: what `inversion_weight` draws features from; by default the
    statistics of `data`.
    settings: `seed` is one number; each search draws its own from it.
    on_progress: as for `ascend`. on_snapshot: called with the plan, the result so far and the snapshot's index; what
    it raises ends the search. Raises what `ascend` and `starts.draw` do.
    """
    plan = starts.draw(kinds, num_images, cast(int, settings.seed), data, sigma)
    features = None
    if np.any(settings.inversion_weight):
        known = known or inversion.statistics(network, data, settings.inversion_components)
        features = known.draw(plan.targets, plan.seeds)
    result = ascent.ascend(
        network,
        plan.starts.images,
        plan.targets,
        settings.replace(seed=plan.seeds),
        features=features,
        on_progress=on_progress,
        on_snapshot=None if on_snapshot is None else lambda result, index: on_snapshot(plan, result, index),
    )
    return Searches(plan, result, None if scorer is None else scorer.of_searches(plan, result.final))
