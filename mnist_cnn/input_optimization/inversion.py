"""Features to search for, drawn for each image from the distribution of its class, so that each drawing is another one.

An image whose features in a robust network are those of a digit looks like one (Engstrom et al., arXiv:1906.00945).
Here no digit's own features are asked for, but new ones from the same distribution, a mixture of Gaussians. So the
search knows statistics of the features of real digits, and no digit. One Gaussian is not enough: a draw between an
upright and a slanted 1 is the features of both, and the search draws two strokes that cross.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.covariance import ledoit_wolf

from mnist_cnn.data.dataset import LabelledImages
from mnist_cnn.models.logits import Logits
from mnist_cnn.runtime.randomness import generator

AT_ONCE = 1000
"""Images in a forward pass."""

FEWEST = 20
"""Images of a cluster, on average, at least."""


@dataclass(frozen=True)
class WantedFeatures:
    """Features that n images shall come to: values (n, d) float32. scale: the variance in which a distance is told."""

    values: NDArray[np.float32]
    scale: float


@dataclass(frozen=True)
class FeatureStatistics:
    """A mixture of m Gaussians for each of k classes in the d features below a network's logits.

    shares: for each class (m,), which sum to 1. means: (m, d). factors: (m, d, d), L with L L^T the covariance, shrunk
    as Ledoit & Wolf 2004 say. scale: the mean variance of a feature over all classes.
    """

    shares: tuple[NDArray[np.float64], ...]
    means: tuple[NDArray[np.float64], ...]
    factors: tuple[NDArray[np.float64], ...]
    scale: float

    def draw(self, targets: NDArray[np.floating], seeds: NDArray[np.integer]) -> WantedFeatures:
        """For each row of targets (n, k) one draw from its own seed; of a mix, the mix of its classes' draws."""

        def one(shares: NDArray[np.floating], seed: int) -> NDArray[np.float64]:
            normal = generator(seed, "features").standard_normal(self.means[0].shape[1])
            place = generator(seed, "component").random()

            def of_class(number: int) -> NDArray[np.float64]:
                component = np.searchsorted(np.cumsum(self.shares[number])[:-1], place, side="right")
                return self.means[number][component] + self.factors[number][component] @ normal

            return sum(shares[number] * of_class(int(number)) for number in np.flatnonzero(shares))

        # Image by image, since a product of matrices rounds otherwise in another company.
        values = [one(shares, int(seed)) for shares, seed in zip(targets, seeds, strict=True)]
        return WantedFeatures(np.stack(values).astype(np.float32), self.scale)


def features_of(network: keras.Model, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, d): what the network's logits are a linear function of, for images (n, height, width, channels)."""
    logits = Logits(network, images.shape[1:])
    measure = tf.function(lambda part: logits.parts(part).features, autograph=False, reduce_retracing=True)
    return np.concatenate(
        [measure(tf.constant(images[i : i + AT_ONCE])).numpy() for i in range(0, len(images), AT_ONCE)]
    )


def statistics(network: keras.Model, data: LabelledImages, components: int = 1) -> FeatureStatistics:
    """The mixtures of the classes of `data`, which needs two images of each.

    components: Gaussians of a class, one for each cluster that k-means finds in its features. Fewer where the clusters
    would have fewer than `FEWEST` images each.
    """
    features = features_of(network, data.images).astype(np.float64)
    mixtures = [_mixture(features[data.labels == number], components) for number in range(data.num_classes)]
    shares, means, factors = zip(*mixtures, strict=True)
    return FeatureStatistics(shares, means, factors, float(features.var(axis=0).mean()))


def _mixture(own: NDArray[np.float64], components: int) -> tuple[NDArray[np.float64], ...]:
    """Shares (m,), means (m, d) and factors (m, d, d) of the clusters of the features `own` (n, d)."""
    count = max(1, min(components, len(own) // FEWEST))
    cluster = np.zeros(len(own), int) if count == 1 else KMeans(count, n_init=1, random_state=0).fit_predict(own)
    parts = [part for number in range(count) if len(part := own[cluster == number]) >= 2]
    sizes = np.array([len(part) for part in parts])
    return sizes / sizes.sum(), np.stack([part.mean(axis=0) for part in parts]), np.stack([_factor(p) for p in parts])


def _factor(part: NDArray[np.float64]) -> NDArray[np.float64]:
    covariance = ledoit_wolf(part)[0]
    return np.linalg.cholesky(covariance + 1e-9 * np.trace(covariance) * np.eye(len(covariance)))
