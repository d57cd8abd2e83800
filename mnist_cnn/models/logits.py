"""Logits of any Keras classifier of images, and whether one fits the images and classes that are asked for."""

from __future__ import annotations

import math
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mnist_cnn.models.forward import call, form_of, reason
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
        given = call(network, np.zeros((2, *shape), np.float32), form_of(network, shape))
    except SettingError:
        raise
    except (ValueError, TypeError, tf.errors.OpError) as error:
        raise SettingError(f"`model`: it cannot take images of the shape {shape}: {reason(error)}") from error
    if tuple(getattr(given, "shape", ())) != (2, num_classes):
        raise SettingError(
            f"`model`: its outputs must have the shape (n, {num_classes}), a number for each class; "
            f"for n = 2 they have {tuple(getattr(given, 'shape', ()))}."
        )
    if not np.isfinite(np.asarray(given, np.float32)).all():
        raise SettingError(
            "`model`: it gives numbers that are not finite for a black image; its weights may be broken."
        )
    if not logits and not are_probabilities(np.asarray(given, np.float32)):
        raise SettingError("`model`: it gives no probabilities (at least 0, with the sum 1); end it in softmax.")


UNIT = (0.0, 1.0)
"""Range of grey levels that everything here works on."""

FAR = 1000.0
"""How far beyond it a network is tried, to tell logits from probabilities."""


class Parts(NamedTuple):
    """What a network makes of n images: logits (n, k), the features (n, d) that they are a linear function of, and the

    last feature map (n, height, width, channels). A network without one has the images themselves for a feature map.
    """

    logits: Any
    features: Any
    feature_map: Any


class Logits:
    """Logits of any Keras classifier of images, for use within a compiled function; its weights are read, not kept.

    Where the network ends in softmax or sigmoid, what that was applied to is taken out of the graph. Where it gives
    probabilities that no such layer can be seen to make, their inverse serves; else its outputs are logits.

    value_range: what the network calls black and white; images are in [0, 1] all the same.
    num_classes, num_features: of the network. bytes_per_image: of all that a forward pass computes for one image.
    is_sigmoid: whether each class has a probability of its own, so that they need not sum to 1.
    notices: what a person may not expect of the network, a sentence each.
    Raises `SettingError` for a network that takes no such images or gives no (n, k) output.
    """

    def __init__(self, network: keras.Model, shape: tuple[int, ...], value_range: tuple[float, float] = UNIT) -> None:
        # Weakly, so that what is kept for a network does not keep it alive.
        self._network, self._range, self._form = weakref.ref(network), value_range, form_of(network, shape)
        images = tf.TensorSpec((None, *shape), tf.float32)
        try:
            forward = tf.function(self._traced, autograph=False).get_concrete_function(images)
        except (ValueError, TypeError, tf.errors.OpError) as error:
            raise SettingError(
                f"the network {network.name} cannot take images of the shape (n, {', '.join(map(str, shape))}): "
                f"{reason(error)}"
            ) from error
        output = forward.structured_outputs
        if not tf.is_tensor(output) or len(output.shape) != 2 or (output.shape[1] or 0) < 2:
            raise SettingError(
                f"the network {network.name} must give logits or probabilities of the shape (n, classes), at least two "
                f"classes; it gives {tf.nest.map_structure(lambda each: tuple(each.shape), output)}."
            )
        self.num_classes = int(output.shape[1])
        self.num_features = math.prod(_linear_in(_head(forward.outputs[0])[0]).shape[1:])
        self._takes_inverse, head = False, _head(forward.outputs[0])[1]
        self.is_sigmoid = head == "Sigmoid"
        coarse = output.dtype.size < 4 or "float16" in str(network.dtype_policy.compute_dtype)
        tolerance = COARSE if coarse else FINE
        grey = np.random.default_rng(0).random((8, *shape), np.float32)
        near = _outputs(forward, grey)
        if not head:
            given = np.concatenate([near, _outputs_far_away(forward, grey)])
            sums_to_1 = are_probabilities(given, tolerance)
            self.is_sigmoid = not sums_to_1 and bool(((given >= 0) & (given <= 1)).all() and given.any())
            self._takes_inverse = sums_to_1 or self.is_sigmoid
            total = float(given.sum(axis=1).mean())
            if not self._takes_inverse and total > 0 and are_probabilities(given / total, tolerance):
                raise SettingError(
                    f"the network {network.name} gives shares of {total:.4g} in place of 1; end it in softmax."
                )
        whole, half = near[:4], _outputs(forward, grey[:4])
        differs = bool(np.abs(whole - half).max() > tolerance * max(1.0, float(np.abs(whole).max())))
        self.notices = _notices(network.name, is_sigmoid=self.is_sigmoid, differs=differs)
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
        return self.parts(images).logits

    def parts(self, images: Any) -> Parts:
        """The logits, and what they are made from, in a graph."""
        output = _head(self._forward(images))[0]
        feature_map = tf.cast(_nearest(output, lambda tensor: tensor.shape.rank == 4), tf.float32)
        features = tf.reshape(tf.cast(_linear_in(output), tf.float32), (-1, self.num_features))
        output = tf.cast(output, tf.float32)
        if not self._takes_inverse:
            return Parts(output, features, feature_map)
        logits = tf.math.log(tf.maximum(output, np.finfo(np.float32).tiny))
        if self.is_sigmoid:
            logits -= tf.math.log(tf.maximum(1 - output, np.finfo(np.float32).tiny))
        return Parts(logits, features, feature_map)

    def probabilities(self, logits: Any) -> Any:
        """The network's own, of its logits (n, k), in a graph."""
        return tf.sigmoid(logits) if self.is_sigmoid else tf.nn.softmax(logits)

    def _forward(self, images: Any) -> Any:
        network, (low, high) = self._network(), self._range
        assert network is not None
        return call(network, images if self._range == UNIT else low + (high - low) * images, self._form)

    def _traced(self, images: Any) -> Any:
        """The outputs; and whether a gradient leads back to the pixels is noted."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            outputs = self._forward(images)
        self._has_gradient = tape.gradient(outputs, images) is not None
        return outputs


def _notices(name: str, *, is_sigmoid: bool, differs: bool) -> tuple[str, ...]:
    found = []
    if is_sigmoid:
        found.append(f"the network {name} ends in sigmoids: each class has a probability of its own.")
    if differs:
        found.append(
            f"the network {name} gives another output for the same image, by chance or with others beside it; what is "
            "reported is one of them."
        )
    return tuple(found)


def _outputs(forward: Any, images: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(forward(tf.constant(images)).numpy(), np.float32)


def _outputs_far_away(forward: Any, grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a network gives, (m, k), for noise far beyond grey levels; no row where it cannot stand that.

    Logits may happen to be between 0 and 1 for noise, above all those of a network that doubts it. Far away they are
    not.
    """
    far = np.empty((0, forward.outputs[0].shape[1]), np.float32)
    with suppress(tf.errors.OpError):
        far = _outputs(forward, FAR * (grey - 0.5))
    return far[np.isfinite(far).all(axis=1)]


def _head(output: Any) -> tuple[Any, str]:
    """What the softmax or sigmoid at the end of a graph was applied to, and which it is; else the output itself."""
    end = output
    while end.op.type in ("Identity", "Cast", "StopGradient"):
        end = end.op.inputs[0]
    return (end.op.inputs[0], end.op.type) if end.op.type in ("Softmax", "Sigmoid") else (output, "")


def _linear_in(logits: Any) -> Any:
    """What the last matrix product before the logits takes: the features; without one, the last feature map."""
    nearest = _nearest(logits, lambda tensor: tensor.op.type == "MatMul" or tensor.shape.rank == 4)
    return nearest.op.inputs[0] if nearest.op.type == "MatMul" else nearest


def _nearest(output: Any, is_wanted: Callable[[Any], bool]) -> Any:
    """The nearest tensor of a kind on the way from `output` back to the images, which have four dimensions."""
    waiting, seen = deque([output]), set()
    while waiting:
        tensor = waiting.popleft()
        if is_wanted(tensor):
            return tensor
        for each in tensor.op.inputs:
            if each.ref() not in seen:
                seen.add(each.ref())
                waiting.append(each)
    raise AssertionError("the network does not begin with images")
