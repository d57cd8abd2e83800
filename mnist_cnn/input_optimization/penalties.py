"""What the search pays for an image, whatever the network says of it: one number an image, to be weighted.

Each takes images (n, height, width, channels) and gives (n,) float32. A new penalty is one function here, its
name in `PENALTIES`, and a field NAME_weight in `mnist_cnn.settings.AscentSettings`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

BORDER = 7
"""One part in so many of each side is border: 4 of 28 pixels, where MNIST has its margin."""


def l2(images: Any) -> Any:
    """sum x^2: the report's; pulls every pixel to black (Simonyan et al., arXiv:1312.6034, equation 1)."""
    return tf.reduce_sum(tf.square(images), axis=(1, 2, 3))


def tv(images: Any) -> Any:
    """Total variation, sum |x_a - x_b| over neighbours: flat areas and sharp edges are cheap, grain is dear.

    The anisotropic form of Rudin, Osher & Fatemi, Physica D 60 (1992) 259-268.
    """
    return _over_neighbours(tf.abs, images)


def smoothness(images: Any) -> Any:
    """sum (x_a - x_b)^2 over neighbours: grain is dear and so are sharp edges.

    Mahendran & Vedaldi, arXiv:1412.0035, equation 4 with beta = 2.
    """
    return _over_neighbours(tf.square, images)


def border(images: Any) -> Any:
    """sum x^2 over the outer seventh on each side, where the training images are black: ours, for want of a paper."""
    rows, columns = (_in_border(size) for size in images.shape[1:3])
    outside = rows[:, np.newaxis] | columns
    return tf.reduce_sum(tf.square(images) * tf.cast(outside, images.dtype)[..., tf.newaxis], axis=(1, 2, 3))


PENALTIES: dict[str, Callable[[Any], Any]] = {"l2": l2, "tv": tv, "smoothness": smoothness, "border": border}


def copies(images: Any, count: int) -> list[Any]:
    """`count` copies, whose gradients are summed in a fixed order.

    Where one tensor is used three times or more, TensorFlow sums its gradients by AddN, in the order in which buffers
    happen to be free: the same seed would now and then give another last digit, and soon another image.
    """
    return tf.unstack(tf.tile(images[tf.newaxis], (count, 1, 1, 1, 1)), num=count)


def _in_border(size: int) -> NDArray[np.bool_]:
    """(size,): whether a row or column lies in the border, counted in whole numbers: both ends alike, at any size."""
    from_end = np.minimum(np.arange(size), np.arange(size)[::-1])
    return BORDER * from_end < max(1, size - 1)


def _over_neighbours(cost: Callable[[Any], Any], images: Any) -> Any:
    lower, upper, left, right = copies(images, 4)
    down = cost(lower[:, 1:] - upper[:, :-1])
    right = cost(right[:, :, 1:] - left[:, :, :-1])
    return tf.reduce_sum(down, axis=(1, 2, 3)) + tf.reduce_sum(right, axis=(1, 2, 3))
