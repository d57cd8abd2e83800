"""Two feature spaces that took no part in any search or verdict: one of other images, one that learned nothing."""

from __future__ import annotations

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from mnist_cnn.data.dataset import LabelledImages, Split
from mnist_cnn.input_optimization.inversion import features_of
from mnist_cnn.models import networks
from mnist_cnn.settings import TrainSettings
from mnist_cnn.training import loop

NAMES = ("learned", "random")
SEED = 10_007
"""Of both networks; no search or judge has it."""


class FeatureSpaces:
    """The 128 features of two `smooth` networks. `learned` knows the 1,797 digits of 8 x 8 pixels of other writers

    that come with scikit-learn (Alpaydin & Kaynak 1998, UCI), made as large as MNIST's. `random` has fresh weights.
    """

    def __init__(self) -> None:
        data = other_digits()
        learned, random = (networks.build("smooth", SEED + i, num_classes=data.num_classes) for i in range(2))
        loop.train(learned, Split(data, data), TrainSettings(network="smooth", epochs=20, batch_size=64, seed=SEED,
                                                             learning_rate=0.002, augmentation=0.5))  # fmt: skip
        self._networks = {"learned": learned, "random": random}

    def of(self, images: NDArray[np.floating]) -> dict[str, NDArray[np.float32]]:
        """Features (n, 128) of images (n, 28, 28, 1), by the names of the spaces."""
        return {name: features_of(network, images.astype(np.float32)) for name, network in self._networks.items()}


def other_digits() -> LabelledImages:
    """scikit-learn's digits as (1797, 28, 28, 1) with MNIST's margin of four pixels."""
    found = load_digits()
    large = scipy.ndimage.zoom(found.images / 16, (1, 2.5, 2.5), order=1)
    images = np.pad(large, ((0, 0), (4, 4), (4, 4))).clip(0, 1)[..., np.newaxis].astype(np.float32)
    return LabelledImages(images, found.target.astype(np.int32), "", "scikit-learn's digits", "digits")
