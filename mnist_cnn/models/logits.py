"""Logits of any Keras classifier of images, and whether one fits the images and classes that are asked for."""

from __future__ import annotations

import math
import weakref
from collections import deque
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mnist_cnn.settings.errors import SettingError

COARSE, FINE = 2e-2, 1e-3
"""How far from 1 the sum of probabilities may be: bfloat16 holds three digits, float32 seven."""


def are_probabilities(outputs: NDArray[Any], tolerance: float = COARSE) -> bool:
    """Whether each row of (n, k) outputs is of numbers of at least 0 with the sum 1."""
    return bool((outputs >= 0).all() and (np.abs(outputs.sum(axis=1) - 1) <= tolerance).all())


def refuse_misfit(network: keras.Model, shape: tuple[int, ...], num_classes: int, *, logits: bool = False) -> None:
    """Raise `SettingError` unless the network takes images of `shape` and gives probabilities of `num_classes`.

    logits: they will do as well.
    """
    try:
        given = network(np.zeros((2, *shape), np.float32), training=False)
    except (ValueError, TypeError, tf.errors.OpError) as error:
        raise SettingError(f"`model`: it cannot take images of the shape {shape}: {_reason(error)}") from error
    if tuple(getattr(given, "shape", ())) != (2, num_classes):
        raise SettingError(
            f"`model`: its outputs must have the shape (n, {num_classes}), a number for each class; "
            f"for n = 2 they have {tuple(getattr(given, 'shape', ()))}."
        )
    if not logits and not are_probabilities(np.asarray(given, np.float32)):
        raise SettingError("`model`: it gives no probabilities (at least 0, with the sum 1); end it in softmax.")


class Logits:
    """Logits of any Keras classifier of images, for use within a compiled function; its weights are read, not kept.

    Where the network ends in softmax, what softmax was applied to is taken out of the graph. Where it gives
    probabilities that no softmax can be seen to make, their logarithms serve; else its outputs are logits.

    num_classes: of the network. bytes_per_image: of all that a forward pass computes for one image.
    Raises `SettingError` for a network that takes no such images or gives no (n, k) output.
    """

    def __init__(self, network: keras.Model, shape: tuple[int, ...]) -> None:
        # Weakly, so that what is kept for a network does not keep it alive.
        self._network = weakref.ref(network)
        images = tf.TensorSpec((None, *shape), tf.float32)
        try:
            forward = tf.function(self._traced, autograph=False).get_concrete_function(images)
        except (ValueError, TypeError, tf.errors.OpError) as error:
            raise SettingError(
                f"the network {network.name} cannot take images of the shape (n, {', '.join(map(str, shape))}): "
                f"{_reason(error)}"
            ) from error
        output = forward.structured_outputs
        if not tf.is_tensor(output) or len(output.shape) != 2 or (output.shape[1] or 0) < 2:
            raise SettingError(
                f"the network {network.name} must give logits or probabilities of the shape (n, classes), at least two "
                f"classes; it gives {tf.nest.map_structure(lambda each: tuple(each.shape), output)}."
            )
        self.num_classes = int(output.shape[1])
        self._takes_logarithm = False
        if _before_softmax(forward.outputs[0]) is None:
            grey = np.random.default_rng(0).random((8, *shape), np.float32)
            given = forward(grey).numpy()
            coarse = output.dtype.size < 4 or "float16" in str(network.dtype_policy.compute_dtype)
            self._takes_logarithm = are_probabilities(given.astype(np.float32), COARSE if coarse else FINE)
        if not self._has_gradient:
            raise SettingError(
                f"the network {network.name} gives no gradient to the pixels; something in it rounds or cuts."
            )
        self.bytes_per_image = sum(
            tensor.dtype.size * math.prod(tensor.shape[1:])
            for operation in forward.graph.get_operations()
            for tensor in operation.outputs
            if tensor.shape.rank and tensor.shape[0] is None and tensor.shape[1:].is_fully_defined()
        )

    def __call__(self, images: Any) -> Any:
        """(n, k) float32 of (n, height, width, channels), in a graph."""
        return self.with_features(images)[0]

    def with_features(self, images: Any) -> tuple[Any, Any]:
        """The logits and the last feature map (n, height, width, channels) that they are made from, in a graph.

        A network without one has the images themselves for a feature map.
        """
        output = self._forward(images)
        before = _before_softmax(output)
        output = output if before is None else before
        features = tf.cast(_last_feature_map(output), tf.float32)
        output = tf.cast(output, tf.float32)
        logits = tf.math.log(tf.maximum(output, np.finfo(np.float32).tiny)) if self._takes_logarithm else output
        return logits, features

    def _forward(self, images: Any) -> Any:
        network = self._network()
        assert network is not None
        return network(images, training=False)

    def _traced(self, images: Any) -> Any:
        """The outputs; and whether a gradient leads back to the pixels is noted."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            outputs = self._forward(images)
        self._has_gradient = tape.gradient(outputs, images) is not None
        return outputs


def _reason(error: Exception) -> str:
    """The first line of an error of Keras' that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Exception encountered", "in user code", "File "))]
    return (telling or lines or [type(error).__name__])[0]


def _before_softmax(output: Any) -> Any | None:
    """What the softmax at the end of a graph was applied to, or None if it does not end in one."""
    while output.op.type in ("Identity", "Cast", "StopGradient"):
        output = output.op.inputs[0]
    return output.op.inputs[0] if output.op.type == "Softmax" else None


def _last_feature_map(output: Any) -> Any:
    """The nearest tensor of four dimensions on the way from `output` back to the images."""
    waiting, seen = deque([output]), set()
    while waiting:
        tensor = waiting.popleft()
        if tensor.shape.rank == 4:
            return tensor
        for each in tensor.op.inputs:
            if each.ref() not in seen:
                seen.add(each.ref())
                waiting.append(each)
    raise AssertionError("the network does not begin with images")
