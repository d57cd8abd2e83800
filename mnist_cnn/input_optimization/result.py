"""What comes out of a search, snapshot by snapshot, and what in it looks wrong."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
import psutil
from numpy.typing import NDArray

from mnist_cnn.settings import AscentSettings
from mnist_cnn.settings.errors import Notice, SettingError

ENDS = 2
"""A search that can change each pixel by so much has had its chance, in shares of the range."""

STUCK = 0.02
"""A probability that changes by less has not changed."""

SATURATED = 80
"""Cross-entropy in nats from which a probability is 0 in float32, or nearly."""


@dataclass(frozen=True)
class AscentResult:
    """n searches with s snapshots on a network of k classes. All numbers are of the images as they are, untransformed.

    steps: (s,) int, steps done at each snapshot, the first 0.
    snapshots: (s, n, height, width, channels) float32 within the range of values. All images are in the form that the
    network takes: one without an axis of channels has them without, so that `network(result.final)` holds always.
    losses: (s, n) objective plus weighted penalties. objectives: (s, n) the objective alone.
    cross_entropies, kl_divergences: (s, n) in nats, whatever the objective.
    probabilities: (s, n, k), the network's own. targets: (n, k).
    best_images: (n, height, width, channels), each search's image of least loss. best_losses: (n,). best_steps: (n,).
    With random transforms the best is sought among the snapshots, else among all steps.
    """

    steps: NDArray[np.int64]
    snapshots: NDArray[np.float32]
    losses: NDArray[np.float32]
    objectives: NDArray[np.float32]
    cross_entropies: NDArray[np.float32]
    kl_divergences: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    targets: NDArray[np.float32]
    best_images: NDArray[np.float32]
    best_losses: NDArray[np.float32]
    best_steps: NDArray[np.int64]

    @property
    def final(self) -> NDArray[np.float32]:
        """(n, height, width, channels): the images after the last step."""
        return self.snapshots[-1]

    @property
    def penalties(self) -> NDArray[np.float32]:
        """(s, n): what the weighted penalties add to the objective."""
        return self.losses - self.objectives

    @property
    def target_probabilities(self) -> NDArray[np.float32]:
        """(s, n): probability that the network gives to the classes of the target, taken together."""
        return np.where(self.targets > 0, self.probabilities, 0).sum(axis=-1)

    def metrics(self, snapshot: int) -> dict[str, float]:
        """One snapshot's means over the searches, by the names under which a run holds them; others are not read."""
        probabilities = self.probabilities[snapshot]
        first_choices = probabilities.argmax(axis=1)
        return {
            "loss": float(self.losses[snapshot].mean()),
            "cross_entropy": float(self.cross_entropies[snapshot].mean()),
            "kl_divergence": float(self.kl_divergences[snapshot].mean()),
            "penalty": float((self.losses[snapshot] - self.objectives[snapshot]).mean()),
            "target_probability": float(np.where(self.targets > 0, probabilities, 0).sum(axis=1).mean()),
            "hit_share": float((self.targets[np.arange(len(first_choices)), first_choices] > 0).mean()),
        }


def empty_result(form: tuple[int, ...], targets: NDArray[np.float32], settings: AscentSettings) -> AscentResult:
    """Room for a search for each row of `targets`. form: of an image. Raises `SettingError` where memory lacks it."""
    steps = np.unique([*range(0, settings.steps, settings.snapshot_every), settings.steps])
    count, num_classes = targets.shape
    table, images = (len(steps), count), (count, *form)
    needed = 4 * (len(steps) * count * (math.prod(form) + 4 + num_classes) + math.prod(images))
    free = psutil.virtual_memory().available
    if needed > free:
        raise SettingError(
            f"`snapshot_every` of {settings.snapshot_every} keeps {len(steps):,} snapshots of {count:,} images, "
            f"{needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB of memory are free; keep fewer, or search in parts."
        )
    return AscentResult(
        steps=steps,
        snapshots=np.empty((len(steps), *images), np.float32),
        **{name: np.empty(table, np.float32) for name in ("losses", "objectives", "cross_entropies", "kl_divergences")},
        probabilities=np.empty((*table, num_classes), np.float32),
        targets=targets,
        best_images=np.empty(images, np.float32),
        best_losses=np.empty(count, np.float32),
        best_steps=np.empty(count, np.int64),
    )


def warn_of_failure(result: AscentResult, settings: AscentSettings, value_range: tuple[float, float]) -> None:
    """Say it in a `Notice` where no search came to its target, though each pixel could have gone from end to end."""
    if settings.steps * np.max(settings.learning_rate) < ENDS:
        return
    first_choices = result.probabilities[1:].argmax(axis=2)
    reached = (np.take_along_axis(result.targets, first_choices.T, axis=1) > 0).any(axis=1)
    sure = result.target_probabilities
    stuck = (np.abs(sure - sure[0]).max(axis=0) < STUCK) & (sure[-1] < 1 - STUCK)
    if (reached & ~stuck).any():
        return
    low, high = value_range
    reason = (
        f"The network may be made for other grey levels than {low:g} to {high:g}: call ascend with its `value_range`"
    )
    if (result.cross_entropies[0] > SATURATED).all():
        reason = "Its softmax is saturated and has no gradient: search in a network that ends in its logits"
    text = f"no search has reached its target. {reason}. Or the penalties are too strong, or the steps too few."
    warnings.warn(text, Notice, stacklevel=3)
