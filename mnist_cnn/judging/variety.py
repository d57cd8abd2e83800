"""How varied images are, in the field's own measures, and how near to real digits.

All measures of features take (n, d) vectors of `mnist_cnn.judging.feature_spaces`.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
import scipy.linalg
import scipy.ndimage
from numpy.typing import NDArray
from sklearn.metrics import pairwise_distances

from mnist_cnn.judging import scorecard

NEIGHBOURS = 5
COUNT = 1000
"""Images that precision, recall, density and coverage are measured on, of each kind, and features of a Vendi score."""


@dataclass(frozen=True)
class Coverage:
    """How n images lie among m real ones, by the balls that reach to each one's k-th neighbour of its own kind.

    precision: share of the images within a ball of a real one. recall: share of the real ones within a ball of an image
    (Kynkäänniemi et al., arXiv:1904.06991). density: balls of real ones that hold an image, in k, on average; it may be
    above 1. coverage: share of the balls of real ones that hold an image (Naeem et al., arXiv:2002.09797).
    """

    precision: float
    recall: float
    density: float
    coverage: float

    def metrics(self, prefix: str) -> dict[str, float]:
        """The numbers by the names under which a run holds them."""
        return {f"{prefix}/{name}": value for name, value in asdict(self).items()}


def coverage(real: NDArray[np.floating], images: NDArray[np.floating], k: int = NEIGHBOURS) -> Coverage:
    """real: (m, d), images: (n, d), both more than k. Distances are Euclidean."""
    own = _radii(images, k)
    reach = _radii(real, k)
    apart = pairwise_distances(real, images)
    within = apart < reach[:, np.newaxis]
    return Coverage(
        precision=float(within.any(axis=0).mean()),
        recall=float((apart < own).any(axis=1).mean()),
        density=float(within.sum(axis=0).mean() / k),
        coverage=float((apart.min(axis=1) < reach).mean()),
    )


def _radii(vectors: NDArray[np.floating], k: int) -> NDArray[np.floating]:
    """(n,): distance of each to its k-th neighbour."""
    return np.partition(pairwise_distances(vectors), k, axis=1)[:, k]


def vendi(vectors: NDArray[np.floating]) -> float:
    """How many different ones (n, d) vectors amount to: 1 if all are alike, n if no two have anything in common.

    The exponential of the entropy of the eigenvalues of K / n, with the cosine kernel; Friedman & Dieng,
    arXiv:2210.02410, equation 4.
    """
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    # Those of K / n and of the smaller table of the two are the same.
    table = unit.T @ unit if unit.shape[1] < len(unit) else unit @ unit.T
    values = np.linalg.eigvalsh(table.astype(np.float64) / len(unit))
    kept = values[values > 1e-12]
    return float(np.exp(-(kept * np.log(kept)).sum()))


def vendi_ratio(
    real: NDArray[np.floating], real_labels: NDArray[np.integer], images: NDArray[np.floating],
    classes: NDArray[np.integer],
) -> dict[int, float]:  # fmt: skip
    """For each class the Vendi score of its images by that of as many real digits of it."""
    ratios = {}
    for number in np.unique(classes):
        ours, theirs = images[classes == number][:COUNT], real[real_labels == number]
        size = min(len(ours), len(theirs))
        if size:
            ratios[int(number)] = vendi(ours[:size]) / vendi(theirs[:size])
    return ratios


def frechet_distance(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^1/2) of (n, d) and (m, d) vectors, seen as two Gaussians.

    Heusel et al., arXiv:1706.08500, equation 6, there in the features of another network: only numbers of one feature
    space can be compared.
    """
    means = a.mean(axis=0) - b.mean(axis=0)
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    # The trace of the root is the sum of the roots of the eigenvalues of a product that is similar to a symmetric one.
    values = scipy.linalg.eigvals(first @ second).real
    return float(means @ means + np.trace(first) + np.trace(second) - 2 * np.sqrt(np.maximum(values, 0)).sum())


def deskewed(images: NDArray[np.floating]) -> NDArray[np.float32]:
    """Images (n, height, width, 1) sheared upright and moved to their middle, by their first and second moments.

    What is left of the variety is that of shape: pose alone is taken out. An empty image stays as it is.
    """
    return np.stack([_upright(image) for image in images[..., 0]])[..., np.newaxis].astype(np.float32)


def _upright(image: NDArray[np.floating]) -> NDArray[np.floating]:
    total = image.sum()
    if total < 1e-6:
        return image
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    row, column = (rows * image).sum() / total, (columns * image).sum() / total
    variance = ((rows - row) ** 2 * image).sum() / total
    slant = ((rows - row) * (columns - column) * image).sum() / total / max(variance, 1e-6)
    matrix, middle = np.array([[1.0, 0.0], [slant, 1.0]]), (np.array(image.shape) - 1) / 2
    return scipy.ndimage.affine_transform(image, matrix, np.array([row, column]) - matrix @ middle, order=1)


def deskewed_diversity(
    images: NDArray[np.floating], classes: NDArray[np.integer], real: NDArray[np.floating],
    real_labels: NDArray[np.integer],
) -> float:  # fmt: skip
    """Mean over the classes of the distance between deskewed images as a share of that between deskewed real digits."""
    shares = []
    for number in np.unique(classes):
        both = (images[classes == number][:COUNT], real[real_labels == number][:COUNT])
        ours, theirs = (scorecard.mean_distance(scorecard.features(deskewed(each))) for each in both)
        shares.append(ours / theirs)
    return float(np.nanmean(shares)) if np.isfinite(shares).any() else math.nan


def memorised_share(
    images: NDArray[np.floating], classes: NDArray[np.integer], real: NDArray[np.floating],
    real_labels: NDArray[np.integer], held_out: NDArray[np.floating], held_out_labels: NDArray[np.integer],
) -> float:  # fmt: skip
    """Share of the images nearer to a training digit of their class than 99 of 100 held-out digits are: copies.

    By the blurred grey levels. A set of new digits has a share of 0.01.
    """
    known, labels = scorecard.features(real), real_labels.astype(np.int64)
    near = scorecard.nearest_distances(scorecard.features(images), classes, known, labels)
    usual = scorecard.nearest_distances(scorecard.features(held_out), held_out_labels, known, labels)
    limits = {number: np.percentile(usual[held_out_labels == number], 1) for number in np.unique(held_out_labels)}
    return float(np.mean([distance < limits.get(number, 0) for distance, number in zip(near, classes, strict=True)]))
