"""What any Keras network makes of images: in which form it takes them, its graph, and what may be kept for it."""

from __future__ import annotations

import hashlib
import math
import re
import warnings
import weakref
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

import keras
import tensorflow as tf

from mnist_cnn.settings.errors import Notice, SettingError

Made = TypeVar("Made")
Trace = tuple[bytes, tuple[int, ...]]
"""A digest of a graph, and the ids of what it captured."""


def form_of(network: keras.Model, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that the network takes an image of `shape` (height, width, channels) in.

    It is another one where the network has no axis of channels, or takes pixels in a row.
    Raises `SettingError` for a network that reads channels first.
    """
    expected = getattr(network, "input_shape", None)
    if _is_stateful(network) or (isinstance(expected, tuple) and isinstance(expected[0], int)):
        raise SettingError(
            f"`model`: the network {network.name} takes batches of one size, or remembers what it saw; build it with "
            "keras.Input(shape) and without stateful=True."
        )
    if _reads_channels_first(network):
        raise SettingError(
            f"`model`: the network {network.name} reads channels first (channels, height, width); images here are "
            "(height, width, channels). Build it with data_format='channels_last', or put keras.layers.Permute((3, 1, "
            "2)) in front."
        )
    own = tuple(expected[1:]) if isinstance(expected, tuple) else shape
    if len(own) >= len(shape) or None in own or math.prod(own) != math.prod(shape):
        return shape
    return own


def taking_images(network: keras.Model, shape: tuple[int, ...]) -> keras.Model:
    """The network itself, or with a layer in front that brings images of `shape` into the form it takes."""
    form = form_of(network, shape)
    if form == shape:
        return network
    _say(network, shape, form)
    return keras.Sequential([keras.Input(shape), keras.layers.Reshape(form), network], name=network.name)


def trace(network: keras.Model, shape: tuple[int, ...]) -> Any:
    """The network on float32 images (n, *shape), compiled; it reads the weights and does not keep the network.

    Raises `SettingError` for a network that takes no such images.
    """
    form, kept = form_of(network, shape), weakref.ref(network)
    if form != shape:
        _say(network, shape, form)

    def forward(images: Any) -> Any:
        alive = kept()
        assert alive is not None
        return call(alive, images, form)

    try:
        traced = tf.function(forward).get_concrete_function(tf.TensorSpec((None, *shape), tf.float32))
    except (ValueError, TypeError, tf.errors.OpError) as error:
        raise SettingError(
            f"`model`: the network {network.name} cannot take images of the shape (n, {', '.join(map(str, shape))}): "
            f"{reason(error)}"
        ) from error
    if not tf.is_tensor(traced.structured_outputs):
        raise SettingError(f"`model`: the network {network.name} must give one array, a number for each class.")
    return traced


def call(network: keras.Model, images: Any, form: tuple[int, ...]) -> Any:
    """The outputs for images (n, height, width, channels). form: of `form_of`."""
    reshaped = images if images.shape[1:] == form else tf.reshape(images, (-1, *form))
    return network(reshaped, training=False)


class Kept(Generic[Made]):
    """What was compiled for networks: each as long as its network lives, and computes what it did.

    A network may be changed in place: layers, activations, variables, what a layer of one's own reads. So its graph is
    drawn anew at each call, and what was kept for another graph is dropped.
    """

    def __init__(self) -> None:
        self._kept: weakref.WeakKeyDictionary[keras.Model, dict[Any, tuple[Any, Trace, dict[Hashable, Made]]]]
        self._kept = weakref.WeakKeyDictionary()

    def get(self, network: keras.Model, shape: tuple[int, ...], key: Hashable, make: Callable[[Any], Made]) -> Made:
        """What was made for this network, shape and key. make: from the network's forward pass, see `trace`."""
        forward = trace(network, shape)
        of_network, found = self._kept.setdefault(network, {}), _trace_of(forward)
        # The first forward pass is kept as well: while it lives, nothing else can have the ids of what it captured.
        _, known, made = of_network.get(shape, (None, None, {}))
        if known != found:
            made = {}
            of_network[shape] = (forward, found, made)
        if key not in made:
            made[key] = make(forward)
        return made[key]


def reason(error: Exception) -> str:
    """The first line of an error of Keras' that says something."""
    lines = [re.sub(r"\x1b\[\d+m", "", line).strip() for line in str(error).splitlines()]
    said = [line for line in lines if line]
    of_code = {number + 1 for number, line in enumerate(said) if line.startswith("File ")}  # the line of it
    telling = [
        line
        for number, line in enumerate(said)
        if number not in of_code and not line.startswith(("Exception encountered", "in user code", "File "))
    ]
    return (telling or said or [type(error).__name__])[0]


def _say(network: keras.Model, shape: tuple[int, ...], form: tuple[int, ...]) -> None:
    warnings.warn(
        f"the network {network.name} takes images of the shape {form}: those of {shape} are reshaped for it.",
        Notice, stacklevel=2,
    )  # fmt: skip


def _trace_of(forward: Any) -> Trace:
    graph = forward.graph.as_graph_def().SerializeToString(deterministic=True)
    # Each trace numbers the gradients that functions bring along anew.
    graph = re.sub(rb"CustomGradient-\d+", b"", graph)
    return hashlib.sha256(graph).digest(), tuple(map(id, forward.captured_inputs))


def _is_stateful(network: Any) -> bool:
    return any(getattr(layer, "stateful", False) or _is_stateful(layer) for layer in getattr(network, "layers", []))


def _reads_channels_first(network: Any) -> bool:
    """Whether the first layers that tell channels from rows take channels first, before any layer moves axes."""
    for layer in getattr(network, "layers", []):
        if isinstance(layer, keras.layers.Permute | keras.layers.Reshape | keras.layers.Lambda | keras.layers.Flatten):
            return False
        if getattr(layer, "layers", None):
            return _reads_channels_first(layer)
        if hasattr(layer, "data_format"):
            return bool(layer.data_format == "channels_first")
    return False
