"""The reference report's input optimisation as one would first write it: eager Keras, one image, step after step.

The compiled loop must give the same images, and is timed against it.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray


def optimise(
    network: keras.Model,
    start: NDArray[np.float32],
    target: NDArray[np.float32],
    *,
    steps: int,
    learning_rate: float = 0.05,
    l2_weight: float = 1e-4,
) -> NDArray[np.float32]:
    """One image (height, width, channels) in [0, 1], `steps` steps of Adam later. target: (k,) shares."""
    image = tf.Variable(start[np.newaxis])
    optimizer = keras.optimizers.Adam(learning_rate)
    for _ in range(steps):
        with tf.GradientTape() as tape:
            probabilities = network(image, training=False)
            loss = keras.losses.categorical_crossentropy(target[np.newaxis], probabilities)[0]
            loss += l2_weight * tf.reduce_sum(tf.square(image))
        optimizer.apply([tape.gradient(loss, image)], [image])
        image.assign(tf.clip_by_value(image, 0.0, 1.0))
    return image.numpy()[0]
