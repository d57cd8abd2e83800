"""What `ascend` was given, checked and brought into the form in which the loop takes it."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, NDArray

from mnist_cnn.input_optimization.inversion import WantedFeatures
from mnist_cnn.models.forward import form_of
from mnist_cnn.models.logits import UNIT
from mnist_cnn.settings import AscentSettings
from mnist_cnn.settings.errors import SettingError


def spread(settings: AscentSettings, name: str, num_images: int, dtype: Any) -> NDArray[Any]:
    """A setting as one number for each image."""
    values = np.asarray(getattr(settings, name), dtype)
    if values.ndim > 1 or values.ndim == 1 and len(values) != num_images:
        raise SettingError(
            f"`{name}` must be one number or {num_images}, one for each image; got the shape {values.shape}."
        )
    return np.ascontiguousarray(np.broadcast_to(values, (num_images,)))


def checked_features(features: WantedFeatures | None, num_images: int, num_features: int) -> NDArray[np.float32]:
    shape = (num_images, num_features)
    if features is None or features.values.shape != shape:
        given = "none" if features is None else f"the shape {features.values.shape}"
        raise SettingError(
            f"`inversion_weight` needs `features` of the shape {shape}, a row for each image; got {given}."
        )
    return features.values.astype(np.float32)


def checked_range(value_range: tuple[float, float]) -> tuple[float, float]:
    numbers = np.asarray(value_range)
    if numbers.shape != (2,) or numbers.dtype.kind not in "fiu" or not -np.inf < numbers[0] < numbers[1] < np.inf:
        raise SettingError(f"`value_range` must be two numbers, black and white, such as (0, 255); got {value_range}.")
    return float(numbers[0]), float(numbers[1])


def checked_starts(starts: ArrayLike, network: keras.Model, value_range: tuple[float, float]) -> NDArray[np.float32]:
    """The starts as (n, height, width, channels) in [0, 1]."""
    images = np.asarray(starts)
    expected = getattr(network, "input_shape", None)
    given = images.shape
    if isinstance(expected, tuple) and images.ndim < 4 and tf.TensorShape(expected).is_compatible_with(given):
        images = _with_axes(images)
    if images.ndim != 4 or len(images) == 0:
        raise SettingError(f"`starts` must have the shape (n, height, width, channels), n at least 1; got {given}.")
    low, high = value_range
    if images.dtype.kind not in "fiub":
        raise SettingError(f"`starts` must hold numbers from {low:g} to {high:g}; got the dtype {images.dtype}.")
    least, most = images.min(), images.max()
    if not (least >= low and most <= high):  # NaN included
        raise SettingError(
            f"`starts` must hold numbers from {low:g} to {high:g}; they are from {least:g} to {most:g}. A network for "
            "other grey levels has them in `value_range`."
        )
    form = form_of(network, images.shape[1:])
    if isinstance(expected, tuple) and not tf.TensorShape(expected).is_compatible_with((len(images), *form)):
        raise SettingError(f"`starts` must have the shape that the network takes, {expected}; got {given}.")
    images = images.astype(np.float32)
    return images if value_range == UNIT else np.clip((images - np.float32(low)) / np.float32(high - low), 0, 1)


def _with_axes(images: NDArray[Any]) -> NDArray[Any]:
    """(n, height, width, 1) of grey images (n, height, width), or of their pixels in a row if they are square."""
    side = math.isqrt(images.shape[-1])
    if images.ndim == 2 and side * side == images.shape[-1]:
        return images.reshape(-1, side, side, 1)
    return images[..., np.newaxis] if images.ndim == 3 else images


def checked_targets(targets: ArrayLike, num_images: int, num_classes: int) -> NDArray[np.float32]:
    shares = np.asarray(targets)
    if shares.dtype.kind not in "fiub" or shares.shape not in ((num_classes,), (num_images, num_classes)):
        raise SettingError(
            f"`targets` must have the shape ({num_images}, {num_classes}) or ({num_classes},), a share for each class "
            f"of the network; got {shares.shape} of {shares.dtype}."
        )
    shares = np.broadcast_to(shares.astype(np.float64), (num_images, num_classes))
    sums = shares.sum(axis=1)
    bad = ~((shares >= 0).all(axis=1) & (np.abs(sums - 1) < 1e-4))
    if bad.any():
        row = int(np.argmax(bad))
        raise SettingError(
            f"`targets` must hold shares of at least 0 that sum to 1; row {row} is "
            f"{np.array2string(shares[row], precision=4, threshold=20)}, with the sum {sums[row]:g}."
        )
    return (shares / sums[:, np.newaxis]).astype(np.float32)
