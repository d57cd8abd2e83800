"""Who works against the network while it trains: the worst image nearby, and confidence where there is no digit.

Robust training (Madry et al., arXiv:1706.06083) shows the network, in place of each image, the one within a small ball
around it that raises the loss most. A network that withstands this has gradients that a person can read (Tsipras et
al., arXiv:1805.12152), which is what the input optimisation lives by.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mnist_cnn.data.dataset import LabelledImages, first_of
from mnist_cnn.data.intervals import named, wilson_interval
from mnist_cnn.models.logits import Logits
from mnist_cnn.settings.errors import Notice
from mnist_cnn.training import evaluation

Losses = Callable[[Any], Any]
"""Images (m, height, width, channels) -> losses (m,), each of its own image alone."""

STEP_SHARE = 2.5
"""All steps together go so many radii: to the boundary from anywhere within (Madry et al., appendix)."""

FIRST_SHARE = 10
"""Where steps decay to 0, the first one goes this many radii divided by the number of steps."""

LOGIT_RANGE = 10
"""Evaluation attacks logits that are scaled to this distance of the largest from the smallest: where they are larger,
softmax is 0 or 1 in float32, its gradient vanishes, and a network that is merely loud looks robust."""

TINY = 1e-12

MOST_UNROLLED = 8
"""More steps than that are a loop in the graph: forty of them, written out, take seconds to compile."""


def raise_loss(losses: Losses, images: Any, radii: Any, steps: int, seed: Any, *, decaying: bool = False) -> Any:
    """Images within an L2 ball around `images` and within [0, 1] for which `losses` is higher.

    Projected gradient ascent with steps of normalised gradients from a random point in the ball (Madry et al.,
    arXiv:1706.06083), drawn for each image. To be called in a graph. No gradient flows through it.

    images: (m, height, width, channels) in [0, 1]. radii: () or (m,), in grey levels, the balls' radii.
    steps: at least 1. seed: (2,) int32. decaying: the steps' length falls to 0, which finds a little more.
    """
    radii = tf.reshape(tf.broadcast_to(radii, tf.shape(images)[:1]), (-1, 1, 1, 1))
    changed = tf.clip_by_value(images + radii * _in_unit_ball(images, seed), 0.0, 1.0)

    def step(number: Any, changed: Any) -> Any:
        share = FIRST_SHARE * (1 - tf.cast(number, tf.float32) / steps) if decaying else STEP_SHARE
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(changed)
            raised = losses(changed)
        gradients = tape.gradient(raised, changed)
        offsets = changed + share / steps * radii * gradients / _norms(gradients) - images
        offsets *= tf.minimum(1.0, radii / _norms(offsets))
        # Both are within [0, 1] of the ball's centre, so cutting at 0 and 1 only shortens the way.
        return tf.clip_by_value(images + offsets, 0.0, 1.0)

    if steps > MOST_UNROLLED:
        loop = (lambda done, _: done < steps), (lambda done, changed: (done + 1, step(done, changed)))
        changed = tf.while_loop(*loop, (0, tf.ensure_shape(changed, images.shape)))[1]
    else:
        for number in range(steps):
            changed = step(number, changed)
    return tf.stop_gradient(changed)


def off_manifold(images: Any, seed: Any) -> Any:
    """As many images that are no digits: half uniform noise, half `images` with their pixels shuffled.

    The noises of Hein et al., "Why ReLU networks yield high-confidence predictions far away from the training data",
    arXiv:1812.05720, section 4.
    """
    half = tf.shape(images)[0] // 2
    noise = tf.random.stateless_uniform(tf.shape(images[:half]), seed)
    pixels = tf.reshape(images[half:], (tf.shape(images)[0] - half, -1))
    ranks = tf.argsort(tf.random.stateless_uniform(tf.shape(pixels), fold(seed, 1)), axis=1)
    shuffled = tf.reshape(tf.gather(pixels, ranks, batch_dims=1), tf.shape(images[half:]))
    return tf.ensure_shape(tf.concat([noise, shuffled], axis=0), images.shape)


def fold(seed: Any, purpose: int) -> Any:
    """Another seed for another purpose."""
    return tf.random.experimental.stateless_fold_in(seed, purpose)


def _in_unit_ball(images: Any, seed: Any) -> Any:
    """One random point in the unit ball for each image: direction uniform, radius uniform."""
    normals = tf.random.stateless_normal(tf.shape(images), seed)
    radii = tf.random.stateless_uniform((tf.shape(images)[0], 1, 1, 1), fold(seed, 1))
    return radii * normals / _norms(normals)


def _norms(images: Any) -> Any:
    return tf.maximum(tf.sqrt(tf.reduce_sum(tf.square(images), axis=(1, 2, 3), keepdims=True)), TINY)


@dataclass(frozen=True)
class RobustAccuracy:
    """Of the first `total` images: the share right under attack, its 95 % interval, and the share right without.

    The attack is the strongest tried, so the share bounds the true one from above. epsilon: radius of the attack.
    """

    accuracy: float
    low: float
    high: float
    clean: float
    total: int
    epsilon: float

    def metrics(self, prefix: str) -> dict[str, float]:
        """The numbers by the names under which a run holds them."""
        return named(f"{prefix}_robust_accuracy", self.accuracy, self.low, self.high)


ATTACKED = 1000
"""Images on which robust accuracy is taken: the first ones."""


def robust_accuracy(
    network: keras.Model, data: LabelledImages, epsilon: float, count: int = ATTACKED
) -> RobustAccuracy:
    """Accuracy on the first `count` images under `robust_hits`' attack, and without it."""
    some = first_of(data, count)
    hits = int(robust_hits(network, some, epsilon).sum())
    low, high = wilson_interval(hits, len(some))
    return RobustAccuracy(hits / len(some), low, high, evaluation.evaluate(network, some).accuracy, len(some), epsilon)


def aim(
    network: keras.Model, images: NDArray[np.float32], targets: NDArray[np.float32], radius: float, steps: int = 40
) -> NDArray[np.float32]:
    """Images within `radius` of `images` (n, height, width, channels) to which the network gives more of `targets`."""
    logits = Logits(network, images.shape[1:])

    @tf.function(autograph=False, reduce_retracing=True)
    def attack(some: Any, wanted: Any, key: Any) -> Any:
        def likelihood(changed: Any) -> Any:
            return -tf.nn.softmax_cross_entropy_with_logits(wanted, logits(changed))

        return raise_loss(likelihood, some, radius, steps, key)

    parts = [
        attack(tf.constant(images[i : i + ATTACKED]), tf.constant(targets[i : i + ATTACKED]), tf.constant((0, i)))
        for i in range(0, len(images), ATTACKED)
    ]
    return np.concatenate([part.numpy() for part in parts])


def robust_hits(
    network: keras.Model,
    data: LabelledImages,
    radius: float,
    *,
    steps: int = 40,
    restarts: int = 3,
    seed: int = 0,
    batch_size: int = 250,
) -> NDArray[np.bool_]:
    """(n,): which images the network gets right, and goes on getting right under every one of `restarts` attacks.

    The attacks raise in turn the cross-entropy and the margin (Carlini & Wagner, arXiv:1608.04644) of logits that are
    scaled alike for every image, as Croce & Hein, arXiv:2003.01690, ask: a factor on the logits changes nothing. They
    stay within an L2 ball of `radius` for `steps` steps. A stronger attack would find more, so their share bounds the
    robust accuracy from above. A `Notice` says where an attack has no gradient to follow, and the bound says nothing.
    """
    logits = Logits(network, data.images.shape[1:])

    given, whole = tf.TensorSpec((None, *data.images.shape[1:]), tf.float32), tf.TensorSpec((None,), tf.int32)

    @tf.function(input_signature=[given, whole, tf.TensorSpec((2,), tf.int32)], autograph=False)
    def hits(images: Any, labels: Any, key: Any) -> tuple[Any, Any]:
        cross_entropies, margins = (partial(loss, logits, labels) for loss in (_scaled_cross_entropies, _margins))
        standing = tf.argmax(logits(images), 1, tf.int32) == labels
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            margin = margins(images)
        blind = standing & tf.reduce_all(tape.gradient(margin, images) == 0, axis=(1, 2, 3))
        for number in range(restarts):
            raised = margins if number % 2 else cross_entropies
            changed = raise_loss(raised, images, radius, steps, fold(key, number), decaying=True)
            standing &= tf.argmax(logits(changed), 1, tf.int32) == labels
        return standing, blind & standing

    parts = [
        hits(data.images[i : i + batch_size], data.labels[i : i + batch_size], np.array([seed, i], np.int32))
        for i in range(0, len(data), batch_size)
    ]
    standing, blind = (np.concatenate([part.numpy() for part in each]) for each in zip(*parts, strict=True))
    if blind.any():
        warnings.warn(
            f"{blind.sum():,} of {len(data):,} images give the attack no gradient to follow. They count as robust, and "
            "that is not known.", Notice, stacklevel=2,
        )  # fmt: skip
    return standing


def _scaled(logits: Any) -> Any:
    """Logits (n, k) whose largest and smallest are `LOGIT_RANGE` apart in each row; the scale has no gradient."""
    spread = tf.reduce_max(logits, 1, keepdims=True) - tf.reduce_min(logits, 1, keepdims=True)
    return logits * tf.stop_gradient(LOGIT_RANGE / tf.maximum(spread, TINY))


def _scaled_cross_entropies(logits: Logits, labels: Any, images: Any) -> Any:
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, _scaled(logits(images)))


def _margins(logits: Logits, labels: Any, images: Any) -> Any:
    """By how much the largest other logit is above the label's."""
    given = _scaled(logits(images))
    own = tf.one_hot(labels, given.shape[1], True, False)
    others = tf.reduce_max(tf.where(own, given.dtype.min, given), axis=1)
    return others - tf.reduce_sum(tf.where(own, given, 0.0), axis=1)
