"""The networks: a third is one function here and one name in `mnist_cnn.settings.NETWORKS`.

A builder takes the input tensor and gives the logits; `build` adds softmax as a layer of its own, so that
the input optimisation can take the logits and everybody else the probabilities, with the same parameters.
"""

from __future__ import annotations

import math
import sys
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray

from mnist_cnn.settings import NETWORKS
from mnist_cnn.settings.command_line import SettingError

LOGITS = "logits"
PROBABILITIES = "probabilities"


def build(
    name: str,
    seed: int,
    *,
    precision: str = "float32",
    dropout: float = 0.0,
    input_shape: tuple[int, int, int] = (28, 28, 1),
    num_classes: int = 10,
) -> keras.Model:
    """A network with fresh weights: (n, *input_shape) float32 in [0, 1] -> (n, num_classes) float32 probabilities.

    precision: Keras' name of the layers' number format; weights are float32 always. dropout: share of the features
    below the logits that is left out in training.
    The same seed gives the same weights. Raises `SettingError` for an unknown name.
    """
    if name not in NETWORKS:
        raise SettingError(f"`network` must be one of {', '.join(NETWORKS)}; got {name!r}.")
    builder = getattr(sys.modules[__name__], name)
    return assemble(
        name, builder, seed, precision=precision, dropout=dropout, input_shape=input_shape, num_classes=num_classes
    )


def assemble(
    name: str,
    builder: Callable[[Any], Any],
    seed: int,
    *,
    precision: str = "float32",
    dropout: float = 0.0,
    input_shape: tuple[int, int, int] = (28, 28, 1),
    num_classes: int = 10,
) -> keras.Model:
    """What `build` gives, of any builder: a function from the input tensor to the features below the logits."""
    keras.utils.set_random_seed(seed)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        inputs = keras.Input(input_shape, name="images")
        features = builder(inputs)
        if dropout:
            features = layers.Dropout(dropout)(features)
    finally:
        keras.config.set_dtype_policy(before)
    # float32 whatever the precision of the other layers: softmax and cross-entropy need the digits.
    logits = layers.Dense(num_classes, name=LOGITS, dtype="float32")(features)
    probabilities = layers.Activation("softmax", name=PROBABILITIES, dtype="float32")(logits)
    return keras.Model(inputs, probabilities, name=name)


def with_logits(network: keras.Model) -> keras.Model:
    """The same network (shared weights) ending in its logits."""
    return keras.Model(network.input, network.get_layer(LOGITS).output, name=f"{network.name}_logits")


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
        if before is not None:
            output = before
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


def summary(network: keras.Model) -> str:
    """The table of layers with shapes and parameter counts, as plain text."""
    lines: list[str] = []
    network.summary(print_fn=lambda text, **_: lines.append(text), line_length=100)
    return "\n".join(lines) + "\n"


def compact(images: Any) -> Any:
    """Three convolutions, the first two with stride 2: most of the accuracy for little arithmetic.

    No pooling, and no bias where BatchNorm's offset takes its place. BatchNorm's momentum is .9 since one
    epoch is too short for the averages of Keras' default .99.
    """
    return _three_convolutions(images, (16, 32, 64))


def wide(images: Any) -> Any:
    """Compact with half as many filters again, or twice as many, and dropout, for trainings long enough to use them."""
    return layers.Dropout(0.3)(_three_convolutions(images, (24, 64, 96)))


def smooth(images: Any) -> Any:
    """Two convolutions with stride 2 and a hidden layer, SiLU throughout, no BatchNorm: for robust training.

    Smooth activations make adversarial training better (Xie et al., arXiv:2006.14536), and BatchNorm mixes the
    statistics of clean and of attacked images (Xie et al., arXiv:1911.09665).
    """
    features = images
    for count in (32, 64):
        features = layers.Conv2D(count, 5, strides=2, padding="same", activation="silu")(features)
    return layers.Dense(128, activation="silu")(layers.Flatten()(features))


def _three_convolutions(images: Any, filters: tuple[int, int, int]) -> Any:
    features = images
    for count, size, strides in zip(filters, (5, 5, 3), (2, 2, 1), strict=True):
        features = layers.Conv2D(count, size, strides=strides, padding="same", use_bias=False)(features)
        features = layers.BatchNormalization(momentum=0.9)(features)
        features = layers.ReLU()(features)
    return layers.Flatten()(features)


def report(images: Any) -> Any:
    """The reference report's network, layer for layer: 62,735,658 parameters with the ten logits.

    62,734,250 of them are trainable, 1,408 are BatchNorm's means and variances.
    """
    features = images
    for filters in (96, 256):
        for _ in range(2):
            features = layers.Conv2D(filters, 3, padding="same", activation="relu")(features)
            features = layers.BatchNormalization()(features)
        features = layers.MaxPooling2D(2, strides=2)(features)
    for filters in (384, 384, 256):
        features = layers.Conv2D(filters, 3, padding="same", activation="relu")(features)
    features = layers.MaxPooling2D(2, strides=1)(features)
    features = layers.Flatten()(features)
    for units in (4096, 4096, 1024):
        features = layers.Dense(units, activation="relu")(features)
        features = layers.Dropout(0.5)(features)
    return features
