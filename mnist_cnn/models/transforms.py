"""Random transforms of images, differentiable in the image, and what is drawn for them: per batch or per image."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

NUM_AFFINE_DRAWS = 5


def draws_of_batch(seed: Any, num_draws: int, num_images: Any) -> Any:
    """(num_draws, num_images) float32, uniform in [-1, 1): one stream for the batch. seed: (2,) int32."""
    return tf.random.stateless_uniform((num_draws, num_images), seed, -1.0, 1.0)


def draws_of_images(seeds: Any, step: Any, num_draws: int) -> Any:
    """(num_draws, n) float32, uniform in [-1, 1): a stream for each image, whoever shares its batch.

    seeds: (n,) int32. step: () int32. A counter hashed three times by PCG (Jarzynski & Olano, "Hash Functions for
    GPU Rendering", JCGT 9(3), 2020), for TensorFlow's own stateless operations take one seed for a whole batch.
    """
    streams = _hash(_hash(tf.cast(seeds, tf.uint32)) + tf.cast(step, tf.uint32))
    hashes = _hash(streams[tf.newaxis, :] + tf.cast(tf.range(num_draws), tf.uint32)[:, tf.newaxis])
    return tf.cast(tf.bitwise.right_shift(hashes, tf.constant(8, tf.uint32)), tf.float32) * 2.0**-23 - 1.0


def _hash(values: Any) -> Any:
    """PCG's permutation of the 32-bit numbers."""
    shift = tf.bitwise.right_shift
    state = values * tf.constant(747796405, tf.uint32) + tf.constant(2891336453, tf.uint32)
    amount = shift(state, tf.constant(28, tf.uint32)) + tf.constant(4, tf.uint32)
    word = tf.bitwise.bitwise_xor(shift(state, amount), state) * tf.constant(277803737, tf.uint32)
    return tf.bitwise.bitwise_xor(shift(word, tf.constant(22, tf.uint32)), word)


def random_pose(images: Any, draws: Any, pose: Any) -> Any:
    """A slant, turn, scaling and shift: at a strength of 1 up to 1/4, 12 degrees, 12 % and 1 pixel."""
    return random_affine(images, draws, shift=pose, degrees=12 * pose, scale=0.12 * pose, slant=0.25 * pose)


def random_noise(images: Any, seeds: Any, step: Any, sigma: Any) -> Any:
    """Add Gaussian noise, drawn for each image from its own seed (Box & Muller 1958).

    sigma: its standard deviation, one number or (n,) of them.
    """
    num_pixels = images.shape[1] * images.shape[2] * images.shape[3]
    # The affine draws of the same step come first in the stream.
    draws = (draws_of_images(seeds, step, NUM_AFFINE_DRAWS + 2 * num_pixels)[NUM_AFFINE_DRAWS:] + 1) / 2
    radius = tf.sqrt(-2.0 * tf.math.log(1.0 - draws[:num_pixels]))
    normal = tf.transpose(radius * tf.cos(2 * math.pi * draws[num_pixels:]))
    return images + tf.reshape(sigma, (-1, 1, 1, 1)) * tf.reshape(normal, tf.shape(images))


def random_affine(
    images: Any, draws: Any, *, shift: Any = 0.0, degrees: Any = 0.0, scale: Any = 0.0, slant: Any = 0.0
) -> Any:
    """Rotate about the centre, scale, slant and shift each image by amounts of its own, uniform within the limits.

    images: (n, height, width, channels) float32. draws: (5, n) float32 in [-1, 1]. Limits: one number or (n,) of them.
    shift: largest shift along each axis, in pixels. degrees: largest rotation either way.
    scale: largest change of size as a share of 1 (0.1: from 0.9 to 1.1). slant: largest sideways step a row, in pixels.
    Done by `project`. No flips: a mirrored digit is another sign.
    """
    height, width = tf.cast(tf.shape(images)[1], tf.float32), tf.cast(tf.shape(images)[2], tf.float32)
    angle = draws[0] * (degrees * math.pi / 180)
    size = 1.0 + draws[1] * scale
    cos, sin = tf.cos(angle) / size, tf.sin(angle) / size
    lean = draws[4] * slant
    x_by_y, y_by_y = lean * cos - sin, lean * sin + cos
    # `project` maps each output pixel to the input pixel it is read from, so the matrix is the inverse.
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    # One sum in place of a chain of additions: TensorFlow would rewrite the chain to AddN, which adds in the order in
    # which buffers happen to be free, so that the same seed would now and then give another last digit.
    ones, zeros = tf.ones_like(cos), tf.zeros_like(cos)
    offset_x = tf.reduce_sum([ones * centre_x, -cos * centre_x, -x_by_y * centre_y, draws[2] * shift], axis=0)
    offset_y = tf.reduce_sum([ones * centre_y, -sin * centre_x, -y_by_y * centre_y, draws[3] * shift], axis=0)
    return project(images, tf.stack([cos, x_by_y, offset_x, sin, y_by_y, offset_y, zeros, zeros], axis=1))


def project(images: Any, matrices: Any) -> Any:
    """Images whose pixels are read from where `matrices` say: (n, 8), a projection from output to input for each image.

    Pixels from outside are 0; values in between are bilinear.
    """
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=matrices,
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    return tf.ensure_shape(moved, images.shape)
