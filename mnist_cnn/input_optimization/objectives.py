"""What the search minimises in the network's output, one number an image.

Each takes logits (n, k) and targets (n, k), rows of non-negative shares that sum to 1, and gives (n,) float32.
Of a network that ends in sigmoids each class has a probability of its own, and its cross-entropy is another.
A new objective is one function here and its name in `mnist_cnn.settings.OBJECTIVES`.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def cross_entropy(logits: Any, targets: Any) -> Any:
    """-sum_k t_k log p_k, in nats: the report's. Never below the target's own entropy: ln 2 for half and half."""
    return tf.nn.softmax_cross_entropy_with_logits(targets, logits)


def logit(logits: Any, targets: Any) -> Any:
    """-sum_k t_k z_k: does not care for the other classes (Simonyan et al., arXiv:1312.6034, equation 1)."""
    return -tf.reduce_sum(targets * logits, axis=1)


def margin(logits: Any, targets: Any) -> Any:
    """max z_k over the classes outside of the target, less sum_k t_k z_k: f_6 of Carlini & Wagner, arXiv:1608.04644,

    without its floor at 0 and with the target's mean logit for a mix. A target of every class has no outside,
    and the first term is then 0.
    """
    lowest = logits.dtype.min
    outside = tf.reduce_max(tf.where(targets > 0, lowest, logits), axis=1)
    return tf.where(outside > lowest, outside, 0.0) - tf.reduce_sum(targets * logits, axis=1)


def kl_divergence(logits: Any, targets: Any) -> Any:
    """sum_k t_k log(t_k / p_k), in nats: cross-entropy less the target's entropy, 0 where the target is met."""
    entropy = -tf.reduce_sum(tf.math.xlogy(targets, targets), axis=1)
    return cross_entropy(logits, targets) - entropy


def sigmoid_cross_entropy(logits: Any, targets: Any) -> Any:
    """-sum_k t_k log p_k + (1 - t_k) log(1 - p_k), in nats, where each p_k is a sigmoid of its own."""
    return tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(targets, logits), axis=1)


def sigmoid_kl_divergence(logits: Any, targets: Any) -> Any:
    """That cross-entropy less the targets' own: 0 where each class has the probability that is asked for."""
    entropy = -tf.reduce_sum(tf.math.xlogy(targets, targets) + tf.math.xlogy(1 - targets, 1 - targets), axis=1)
    return sigmoid_cross_entropy(logits, targets) - entropy
