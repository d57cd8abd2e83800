"""Whether optimised images can be read, and are more than one drawing: measured by judges and by real digits.

The judges say what they see. How far an image is from real digits, and images of a class from each other, is measured
in one feature space that no network made: grey levels blurred a little, as the eye does from a step away.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_cnn.data.dataset import LabelledImages
from mnist_cnn.data.intervals import named, wilson_interval
from mnist_cnn.input_optimization.starts import SearchPlan
from mnist_cnn.runtime.randomness import generator

BLUR_SIGMA = 1.0
"""Of the Gaussian that makes features out of grey levels, in pixels."""

DISSENTERS = 1
"""So many judges may see something else in an image that counts as recognised: five of six must agree."""

PERCENTILE = 95
"""An image is near real digits if it is no farther from its class than this share of the real digits held out."""

RESAMPLES = 2000
PAIRS = 200_000
AT_ONCE = 2000
"""Images in a table of distances, which bounds its memory; the kernel distance takes as many at most."""


def features(images: NDArray[np.floating]) -> NDArray[np.float32]:
    """(n, height * width * channels): the grey levels after a Gaussian blur of `BLUR_SIGMA`, black beyond the edges."""
    blurred = np.asarray(images, np.float32)
    radius = math.ceil(4 * BLUR_SIGMA)
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-(offsets**2) / (2 * BLUR_SIGMA**2))
    kernel /= kernel.sum()
    for axis in (1, 2):
        size = blurred.shape[axis]
        # Row i of the matrix holds the weights of all rows (or columns) in the blurred row i.
        distance = np.abs(np.arange(size)[:, np.newaxis] - np.arange(size))
        matrix = np.where(distance <= radius, kernel[np.minimum(radius + distance, 2 * radius)], 0).astype(np.float32)
        blurred = np.moveaxis(np.tensordot(matrix, blurred, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(blurred.reshape(len(blurred), -1))


@dataclass(frozen=True)
class RealDigits:
    """What images are compared with.

    features: (n, d) float32. labels: (n,). limits: (k,), the `PERCENTILE` of held-out digits' distance to the nearest
    of `features` of their class. spreads: (k,), mean distance between two real digits of a class.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    limits: NDArray[np.float64]
    spreads: NDArray[np.float64]

    @classmethod
    def of(cls, data: LabelledImages, held_out: LabelledImages) -> RealDigits:
        """data: what is compared with. held_out: other real digits, which say how far a real one may be."""
        real, labels = features(data.images), data.labels.astype(np.int64)
        near = nearest_distances(features(held_out.images), held_out.labels, real, labels)
        of_class = [near[held_out.labels == number] for number in range(data.num_classes)]
        # A class that no real digit is of has no limit, and nothing is near it.
        limits = [np.percentile(each, PERCENTILE) if len(each) else math.nan for each in of_class]
        spreads = [mean_distance(real[labels == number]) for number in range(data.num_classes)]
        return cls(real, labels, np.array(limits), np.array(spreads))


def nearest_distances(
    images: NDArray[np.float32], classes: NDArray[np.integer], real: NDArray[np.float32], labels: NDArray[np.integer]
) -> NDArray[np.float64]:
    """(n,): Euclidean distance of each of n feature vectors to the nearest real one of its class."""
    distances = np.full(len(images), np.inf)
    for number in np.unique(classes):
        chosen = classes == number
        candidates = real[labels == number]
        if len(candidates):
            squares = np.einsum("ij,ij->i", candidates, candidates)
            own = images[chosen]
            parts = [own[i : i + AT_ONCE] for i in range(0, len(own), AT_ONCE)]
            least = np.concatenate([(squares - 2 * part @ candidates.T).min(axis=1) for part in parts])
            least += np.einsum("ij,ij->i", own, own)
            distances[chosen] = np.sqrt(np.maximum(least, 0))
    return distances


def mean_distance(vectors: NDArray[np.float32]) -> float:
    """Mean Euclidean distance between two different ones of (n, d) vectors; NaN for fewer than two.

    Of more than `PAIRS` pairs, so many are drawn.
    """
    size = len(vectors)
    if size < 2:
        return math.nan
    first, second = np.triu_indices(size, 1) if size * size < 2 * PAIRS else _pairs(size)
    parts = [slice(i, i + 4096) for i in range(0, len(first), 4096)]
    return float(np.concatenate([np.linalg.norm(vectors[first[p]] - vectors[second[p]], axis=1) for p in parts]).mean())


def _pairs(size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    random = generator(0, "pairs")
    first = random.integers(size, size=PAIRS)
    return first, (first + random.integers(1, size, size=PAIRS)) % size


@dataclass(frozen=True)
class Scorecard:
    """How n images come off with j judges, target by target.

    judges: names. choices: (j, n) each judge's first choice. target_probabilities: (j, n) what each gives the
    target's classes. distances, limits: (n,) to the nearest real digit of the target's class, and how far it may be.
    recognised: (n,) bool; False for mixes, which have no class. single: (n,) bool, whether the target is one class.
    divergences: (n,) Kullback-Leibler divergence in nats of the judges' mean from the target.
    source_probabilities: (n,) mean probability that judges give to the class of the digit it began with; NaN without.
    moved: (n,) Euclidean distance of the grey levels from the start.
    diversity: (k,) mean distance between images of a class as a share of that between real digits; NaN for fewer than
    two images. kernel_distance: squared maximum mean discrepancy to as many real digits of the classes asked for.
    """

    judges: tuple[str, ...]
    targets: NDArray[np.float32]
    choices: NDArray[np.int64]
    target_probabilities: NDArray[np.float64]
    distances: NDArray[np.float64]
    limits: NDArray[np.float64]
    recognised: NDArray[np.bool_]
    single: NDArray[np.bool_]
    divergences: NDArray[np.float64]
    source_probabilities: NDArray[np.float64]
    moved: NDArray[np.float64]
    diversity: NDArray[np.float64]
    kernel_distance: float

    @property
    def rate(self) -> float:
        """Share of the images of one class that are recognised; NaN if all are mixes."""
        return float(self.recognised[self.single].mean()) if self.single.any() else math.nan

    def interval(self) -> tuple[float, float]:
        """95 % interval of `rate` by bootstrap over the images (percentiles of `RESAMPLES` resamples).

        Where all or none are recognised every resample is alike, and Wilson's interval says more.
        """
        hits = self.recognised[self.single]
        if not len(hits):
            return math.nan, math.nan
        if hits.all() or not hits.any():
            return wilson_interval(int(hits.sum()), len(hits))
        # The number of hits in a resample of n images is binomial.
        rates = generator(0, "bootstrap").binomial(len(hits), hits.mean(), RESAMPLES) / len(hits)
        low, high = np.percentile(rates, [2.5, 97.5])
        return float(low), float(high)

    def agreement(self) -> dict[str, float]:
        """For each judge the share of images whose target holds its first choice."""
        hits = np.take_along_axis(self.targets.T, self.choices, axis=0) > 0
        return dict(zip(self.judges, hits.mean(axis=1).tolist(), strict=True))

    def metrics(self) -> dict[str, float]:
        """The numbers by the names under which a run holds them; what does not apply is left out."""
        values = {
            **named("recognised_rate", self.rate, *self.interval()),
            "diversity": _mean(self.diversity),
            "least_diversity": float(np.nanmin(self.diversity)) if np.isfinite(self.diversity).any() else math.nan,
            "judges_target_probability": float(self.target_probabilities.mean()),
            "judges_divergence": float(self.divergences.mean()),
            "judges_source_probability": _mean(self.source_probabilities),
            "near_real_share": _mean((self.distances <= self.limits)[self.single].astype(float)),
            "kernel_distance": self.kernel_distance,
            "distance_from_start": float(self.moved.mean()),
            **{f"agreement_{name}": share for name, share in self.agreement().items()},
        }
        return {name: value for name, value in values.items() if math.isfinite(value)}


def score(
    images: NDArray[np.float32],
    targets: NDArray[np.float32],
    opinions: Mapping[str, NDArray[np.floating]],
    real: RealDigits,
    *,
    starts: NDArray[np.float32] | None = None,
    start_labels: NDArray[np.integer] | None = None,
) -> Scorecard:
    """Score n images (n, height, width, channels) in [0, 1] that shall show `targets` (n, k), shares of the classes.

    opinions: each judge's probabilities (n, k), by its name. starts: what the images began as; `start_labels`: (n,) the
    class of the digit each began as, -1 for none.
    """
    probabilities = np.stack([np.asarray(each, np.float64) for each in opinions.values()])
    target_classes, single = targets.argmax(axis=1), (targets > 0).sum(axis=1) == 1
    vectors = features(images)
    choices = probabilities.argmax(axis=2)
    distances = nearest_distances(vectors, target_classes, real.features, real.labels)
    agreeing = (choices == target_classes).sum(axis=0)
    recognised = single & (agreeing >= len(opinions) - DISSENTERS) & (distances <= real.limits[target_classes])
    labels = np.full(len(images), -1) if start_labels is None else np.asarray(start_labels)
    at_labels = np.arange(len(images)), np.maximum(labels, 0)
    # A digit that began as one of the target's own class has no class to lose.
    has_source = (labels >= 0) & ~(targets[at_labels] > 0)
    mean = probabilities.mean(axis=0)
    of_class = [vectors[single & (target_classes == number)] for number in range(len(real.spreads))]
    diversity = [mean_distance(own) / spread for own, spread in zip(of_class, real.spreads, strict=True)]
    return Scorecard(
        judges=tuple(opinions),
        targets=targets,
        choices=choices,
        target_probabilities=np.where(targets > 0, probabilities, 0).sum(axis=2),
        distances=distances,
        limits=real.limits[target_classes],
        recognised=recognised,
        single=single,
        divergences=_divergences(targets, mean),
        source_probabilities=np.where(has_source, mean[at_labels], np.nan),
        moved=np.full(len(images), np.nan) if starts is None else np.sqrt(((images - starts) ** 2).sum(axis=(1, 2, 3))),
        diversity=np.array(diversity),
        kernel_distance=kernel_distance(vectors, target_classes, real),
    )


@dataclass(frozen=True)
class Scorer:
    """Judges and real digits, by which images are scored again and again.

    opinions: images (n, height, width, channels) -> each judge's probabilities (n, k), by its name.
    """

    opinions: Callable[[NDArray[np.float32]], Mapping[str, NDArray[np.floating]]]
    real: RealDigits

    def __call__(self, images: NDArray[np.float32], targets: NDArray[np.float32]) -> Scorecard:
        """Score images as `score` does, without starts."""
        return score(images, targets, self.opinions(images), self.real)

    def of_searches(self, plan: SearchPlan, images: NDArray[np.float32]) -> Scorecard:
        """Score the images that the searches of `plan` have come to."""
        begun = plan.starts
        opinions = self.opinions(images)
        return score(images, plan.targets, opinions, self.real, starts=begun.images, start_labels=begun.labels)


def kernel_distance(vectors: NDArray[np.float32], classes: NDArray[np.integer], real: RealDigits) -> float:
    """Unbiased squared maximum mean discrepancy between n images' features and n real digits of the same classes.

    Gretton et al., JMLR 13 (2012), equation 3, with the polynomial kernel (x.y / d + 1)^3 of Binkowski et al.,
    arXiv:1801.01401, on features divided by the real digits' standard deviation. NaN for fewer than two images.
    """
    if len(vectors) < 2:
        return math.nan
    random = generator(0, "kernel distance")
    if len(vectors) > AT_ONCE:
        some = random.choice(len(vectors), AT_ONCE, replace=False)
        vectors, classes = vectors[some], classes[some]
    drawn = [
        random.choice(np.flatnonzero(real.labels == number), int((classes == number).sum()))
        for number in np.unique(classes)
        if (real.labels == number).any()
    ]
    if sum(map(len, drawn)) < 2:
        return math.nan
    others = real.features[np.concatenate(drawn)]
    scale = float(real.features.std())
    x, y = (each.astype(np.float64) / scale for each in (vectors, others))

    def kernel(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
        return (a @ b.T / a.shape[1] + 1) ** 3

    own = [(t.sum() - np.trace(t)) / (len(t) * (len(t) - 1)) for t in (kernel(x, x), kernel(y, y))]
    return float(own[0] + own[1] - 2 * kernel(x, y).mean())


def _divergences(targets: NDArray[np.floating], given: NDArray[np.floating]) -> NDArray[np.float64]:
    """(n,): sum p log(p / q) in nats."""
    floor = np.finfo(np.float32).tiny
    ratios = np.log(np.maximum(targets, floor)) - np.log(np.maximum(given, floor))
    return np.where(targets > 0, targets * ratios, 0).sum(axis=1)


def _mean(values: NDArray[np.floating]) -> float:
    """Of those that are not NaN; NaN if all are."""
    kept = values[np.isfinite(values)]
    return float(kept.mean()) if len(kept) else math.nan
