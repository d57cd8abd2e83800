"""Where the search begins: noise, a noisy digit, or a digit as it is; drawn for each image from its own seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnist_cnn.data.dataset import LabelledImages
from mnist_cnn.runtime.randomness import derive_seed, generator
from mnist_cnn.settings.errors import SettingError
from mnist_cnn.settings.experiments import SearchKind

NONE = -1
"""In place of an index or a label where no digit was drawn."""


@dataclass(frozen=True)
class Starts:
    """First images of n searches.

    images: (n, height, width, channels) float32 in [0, 1].
    indices: (n,) int64, which image of the data set was drawn, or -1. labels: (n,) int64, its label, or -1.
    """

    images: NDArray[np.float32]
    indices: NDArray[np.int64]
    labels: NDArray[np.int64]


def uniform_noise(seeds: Sequence[int], shape: tuple[int, int, int] = (28, 28, 1)) -> Starts:
    """Each grey level uniform in [0, 1)."""
    images = np.stack([generator(seed, "noise").random(shape, np.float32) for seed in seeds])
    nothing = np.full(len(seeds), NONE)
    return Starts(images, nothing, nothing.copy())


def digits(data: LabelledImages, classes: Sequence[int], seeds: Sequence[int], sigma: float = 0.0) -> Starts:
    """For each of n searches an image of its class, plus Gaussian noise of `sigma`, clipped to [0, 1].

    classes, seeds: n numbers each. Raises `SettingError` for a class that the data set has no image of.
    """
    of_class = {number: np.flatnonzero(data.labels == number) for number in dict.fromkeys(classes)}
    for number, found in of_class.items():
        if not len(found):
            raise SettingError(f"`start`: {data.source} holds no image of class {number}; take another start.")
    candidates = [of_class[number] for number in classes]
    indices = np.array(
        [own[generator(seed, "digit").integers(len(own))] for own, seed in zip(candidates, seeds, strict=True)]
    )
    images = data.images[indices]
    if sigma > 0:
        noise = [generator(seed, "noisy digit").standard_normal(images.shape[1:], np.float32) for seed in seeds]
        images = np.clip(images + np.float32(sigma) * np.stack(noise), 0, 1)
    return Starts(images, indices, data.labels[indices].astype(np.int64))


@dataclass(frozen=True)
class SearchPlan:
    """n searches, kind by kind. kinds: (n,) entries. targets: (n, k) float32. seeds: (n,) int64. class_names: k."""

    kinds: tuple[SearchKind, ...]
    starts: Starts
    targets: NDArray[np.float32]
    seeds: NDArray[np.int64]
    class_names: tuple[str, ...]


def refuse_missing(kinds: Sequence[SearchKind], data: LabelledImages) -> None:
    """Raise `SettingError` where a search is to begin with a digit of which the data set holds no image."""
    for number in dict.fromkeys(kind.start_class for kind in kinds if kind.start_class is not None):
        if number not in data.labels:
            raise SettingError(
                f"`start`: the {len(data):,} images of {data.source} that do not train hold none of class {number}; "
                "take another start or start_class, or a data set that has this class."
            )


def draw(kinds: Sequence[SearchKind], num_images: int, seed: int, data: LabelledImages, sigma: float) -> SearchPlan:
    """`num_images` searches for each kind; which start a search has depends on the seed and the kind alone."""
    parts, seeds = [], []
    for kind in kinds:
        own = [derive_seed(seed, kind.label, i) for i in range(num_images)]
        if kind.start_class is None:
            parts.append(uniform_noise(own, data.images.shape[1:]))
        else:
            noise = sigma if kind.start == "noisy_digit" else 0.0
            parts.append(digits(data, [kind.start_class] * num_images, own, noise))
        seeds += own
    kind_by_kind = [kind for kind in kinds for _ in range(num_images)]
    targets = np.array([kind.target.distribution(data.num_classes) for kind in kind_by_kind], np.float32)
    whole = Starts(*(np.concatenate([getattr(part, name) for part in parts]) for name in Starts.__annotations__))
    return SearchPlan(tuple(kind_by_kind), whole, targets, np.array(seeds), data.class_names)
