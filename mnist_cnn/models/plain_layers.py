"""A network as a short list of layers and their weights, for programs that know no Keras: a page's JavaScript."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from mnist_cnn.settings.errors import SettingError

ACTIVATIONS = ("silu", "relu")
MOST_WEIGHTS = 600_000
"""A page that holds as many is not above 5 MB: four bytes each, and a third more as text."""

WITHOUT_EFFECT = (layers.InputLayer, layers.Dropout, layers.SpatialDropout2D, layers.GaussianNoise)


@dataclass(frozen=True)
class PlainNetwork:
    """A chain of layers from an image (height, width, channels) in [0, 1] to logits (k,). Values stand row by row.

    layers: each with its `kind`, and `input` and `output`, the shapes of an image's values.
    `convolution` also has `size`, `strides` and `before`, the rows and columns of zeros above and left of the image.
    It takes a kernel (*size, channels, filters) and a bias (filters,) from the weights. `dense` takes a kernel
    (inputs, units) and a bias (units,). `order` has `order`, which value of its input each of its outputs is.
    `silu` and `relu` take nothing.
    weights: (w,) float32, in the order of the layers.
    """

    layers: tuple[Mapping[str, Any], ...]
    weights: NDArray[np.float32]


@dataclass
class _Linear:
    """A convolution or a dense layer, until it is known whether a batch normalisation follows."""

    described: dict[str, Any]
    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]


def plain(network: keras.Model) -> PlainNetwork:
    """The layers of a Keras classifier, ready for use: a batch normalisation is folded into the layer before it.

    A softmax at the end is left out. Dropout and the like do nothing when a network is asked.
    Raises `SettingError` for a network that is no chain of layers known here, is not built, or has more than
    `MOST_WEIGHTS` weights.
    """
    if not network.built:
        raise SettingError(
            f"`model`: the network {network.name} is not built, so its layers have no weights and no sizes. "
            "Build it first: network.build((None, 28, 28, 1)), or begin it with keras.Input((28, 28, 1))."
        )
    if network.count_params() > MOST_WEIGHTS:
        raise SettingError(
            f"`model`: the network {network.name} has {network.count_params():,} parameters; at most {MOST_WEIGHTS:,} "
            "can be put into a page. Take a smaller network, such as smooth or compact."
        )
    parts: list[_Linear | dict[str, Any]] = []
    inputs, outputs = (getattr(network, name, None) or [] for name in ("inputs", "outputs"))  # a subclass has none
    if len(inputs) != 1 or len(outputs) != 1:
        raise _no_chain(network)
    end, is_over = inputs[0], False
    for layer in network.layers:
        if not isinstance(layer, layers.InputLayer) and layer.input is not end:
            raise _refused(network, layer, "does not follow the layer before it")
        end = layer.output
        if isinstance(layer, WITHOUT_EFFECT):
            continue
        if is_over:
            raise _refused(network, layer, "stands after the softmax")
        is_over = _append(parts, network, layer)
    if not parts or end is not outputs[0] or len(end.shape) != 2:
        raise _no_chain(network)
    described, weights = [], [np.zeros(0, np.float32)]
    for part in parts:
        if isinstance(part, _Linear):
            described.append(part.described)
            weights += [part.kernel.ravel(), part.bias]
        else:
            described.append(part)
    return PlainNetwork(tuple(described), np.concatenate(weights).astype(np.float32))


def _append(parts: list[_Linear | dict[str, Any]], network: keras.Model, layer: Any) -> bool:
    """Add what a layer does; whether it is the softmax at the end."""
    if isinstance(layer, layers.Flatten | layers.Reshape):
        return False  # the values stand row by row anyway
    if isinstance(layer, layers.Permute):
        parts.append(_order(layer))
        return False
    if isinstance(layer, layers.BatchNormalization):
        if layer.axis not in (-1, len(layer.output.shape) - 1):
            raise _refused(network, layer, f"normalises along axis {layer.axis}, and not along the last")
        if not parts or not isinstance(parts[-1], _Linear) or layer.moving_mean.shape != parts[-1].bias.shape:
            raise _refused(network, layer, "does not stand right after a convolution or a dense layer")
        _fold(parts[-1], layer)
        return False
    if type(layer) in (layers.Conv2D, layers.Dense):
        parts.append(_linear(network, layer))
        name = keras.activations.serialize(layer.activation)
    elif isinstance(layer, layers.Activation):
        name = keras.activations.serialize(layer.activation)
    elif isinstance(layer, layers.Softmax):
        name = "softmax"
    elif isinstance(layer, layers.ReLU) and not (layer.max_value or layer.negative_slope or layer.threshold):
        name = "relu"
    else:
        raise _refused(network, layer, "is not known here")
    if name in ACTIVATIONS:
        shape = list(layer.output.shape[1:])
        parts.append({"kind": name, "input": shape, "output": shape})
    elif name not in ("linear", "softmax"):
        raise _refused(network, layer, f"has the activation {name}, which is not known here")
    return bool(name == "softmax")


def _linear(network: keras.Model, layer: Any) -> _Linear:
    described = {"input": list(layer.input.shape[1:]), "output": list(layer.output.shape[1:])}
    kernel, *bias = (np.asarray(values, np.float32) for values in layer.get_weights())
    given = bias[0] if bias else np.zeros(kernel.shape[-1], np.float32)
    if isinstance(layer, layers.Dense):
        if len(described["input"]) != 1:
            raise _refused(network, layer, "takes more than one axis")
        return _Linear({"kind": "dense", **described}, kernel, given)
    if layer.data_format != "channels_last" or layer.groups != 1 or set(layer.dilation_rate) != {1}:
        raise _refused(network, layer, "reads channels first, in groups, or with gaps")
    rows = zip(described["input"], described["output"], layer.kernel_size, layer.strides, strict=False)
    is_same = layer.padding == "same"
    before = [max((after - 1) * step + size - own, 0) // 2 if is_same else 0 for own, after, size, step in rows]
    shape = {"size": list(layer.kernel_size), "strides": list(layer.strides), "before": before}
    return _Linear({"kind": "convolution", **described, **shape}, kernel, given)


def _order(permute: Any) -> dict[str, Any]:
    """Axes in another order are values in another order."""
    before, after = ([*tensor.shape[1:]] for tensor in (permute.input, permute.output))
    order = np.arange(np.prod(before)).reshape(before).transpose([axis - 1 for axis in permute.dims])
    return {"kind": "order", "input": before, "output": after, "order": order.ravel().tolist()}


def _fold(linear: _Linear, normalisation: Any) -> None:
    """(W x + b - mean) gamma / sqrt(variance + epsilon) + beta, as one kernel and one bias."""
    mean = np.asarray(normalisation.moving_mean, np.float64)
    factor = 1 / np.sqrt(np.asarray(normalisation.moving_variance, np.float64) + normalisation.epsilon)
    if normalisation.scale:
        factor = factor * np.asarray(normalisation.gamma)
    offset = np.asarray(normalisation.beta) if normalisation.center else 0
    linear.kernel = (linear.kernel * factor).astype(np.float32)
    linear.bias = ((linear.bias - mean) * factor + offset).astype(np.float32)


def _no_chain(network: keras.Model) -> SettingError:
    return SettingError(
        f"`model`: the network {network.name} is no chain of layers that ends in a row of logits. "
        "Make it with keras.Sequential, or from layers of which each follows the one before it."
    )


def _refused(network: keras.Model, layer: Any, why: str) -> SettingError:
    return SettingError(
        f"`model`: the network {network.name} cannot be put into a page: its layer {layer.name} "
        f"({type(layer).__name__}) {why}. Networks such as smooth and compact can."
    )
