"""Random geometric transforms, drawn per image from stateless seeds and differentiable in the image."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf


def random_affine(images: Any, seed: Any, *, shift: float = 0.0, degrees: float = 0.0, scale: float = 0.0) -> Any:
    """Rotate about the centre, scale and shift each image by amounts of its own, uniform within the limits.

    images: (n, height, width, channels) float32. seed: (2,) int32; the same seed draws the same transforms.
    shift: largest shift along each axis, in pixels. degrees: largest rotation either way.
    scale: largest change of size as a share of 1 (0.1: from 0.9 to 1.1).
    Pixels from outside are 0; values in between are bilinear. No flips: a mirrored digit is another sign.
    """
    count = tf.shape(images)[0]
    height, width = tf.cast(tf.shape(images)[1], tf.float32), tf.cast(tf.shape(images)[2], tf.float32)
    draws = tf.random.stateless_uniform((4, count), seed, -1.0, 1.0)
    angle = draws[0] * (degrees * math.pi / 180)
    size = 1.0 + draws[1] * scale
    cos, sin = tf.cos(angle) / size, tf.sin(angle) / size
    # The operation maps each output pixel to the input pixel it is read from, so the matrix is the inverse.
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    # One sum in place of a chain of additions: TensorFlow would rewrite the chain to AddN, which adds in the order in
    # which buffers happen to be free, so that the same seed would now and then give another last digit.
    ones, zeros = tf.ones_like(cos), tf.zeros_like(cos)
    offset_x = tf.reduce_sum([ones * centre_x, -cos * centre_x, sin * centre_y, draws[2] * shift], axis=0)
    offset_y = tf.reduce_sum([ones * centre_y, -sin * centre_x, -cos * centre_y, draws[3] * shift], axis=0)
    matrices = tf.stack([cos, -sin, offset_x, sin, cos, offset_y, zeros, zeros], axis=1)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=matrices,
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
