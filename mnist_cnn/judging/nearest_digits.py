"""The real digit that an image is nearest to: a yardstick for the eye, beside what the search drew."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnist_cnn.data.dataset import LabelledImages


@dataclass(frozen=True)
class Neighbours:
    """For each of n images: images (n, ...) float32, indices (n,), labels (n,), Euclidean distances (n,)."""

    images: NDArray[np.float32]
    indices: NDArray[np.int64]
    labels: NDArray[np.int64]
    distances: NDArray[np.float32]


def nearest(images: NDArray[np.float32], data: LabelledImages) -> Neighbours:
    """The nearest of all images in `data` by Euclidean distance of the grey levels, whatever its class."""
    real = data.images.reshape(len(data), -1)
    squares = np.einsum("ij,ij->i", real, real)
    indices = np.empty(len(images), np.int64)
    for first in range(0, len(images), 256):  # 256 x 60,000 distances take 60 MB
        some = images[first : first + 256].reshape(-1, real.shape[1])
        indices[first : first + 256] = (squares - 2 * some @ real.T).argmin(axis=1)
    found = data.images[indices]
    distances = np.sqrt(((found - images) ** 2).sum(axis=(1, 2, 3)))
    return Neighbours(found, indices, data.labels[indices].astype(np.int64), distances)
