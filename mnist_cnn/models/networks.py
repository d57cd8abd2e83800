"""The networks: a third is one function here and one name in `mnist_cnn.settings.NETWORKS`.

A builder takes the input tensor and gives the logits; `build` adds softmax as a layer of its own, so that
the input optimisation can take the logits and everybody else the probabilities, with the same parameters.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from mnist_cnn.settings import NETWORKS, TrainSettings
from mnist_cnn.settings.errors import SettingError
from mnist_cnn.settings.targets import MNIST_CLASSES

LOGITS = "logits"
PROBABILITIES = "probabilities"

_SEED_IS_SET = threading.Lock()
"""Keras' seed is the whole process's: networks that threads build at once would draw from each other's."""

LAST = "channels_last"
"""Named in every layer that has two ways to read an image: a person's keras.json may say the other."""


PARTS = 10
"""Of `templates`: one for each class of MNIST."""

TEMPLATES = 32
"""Of each part."""

NO_ERROR = 1e-3
"""A mean error of so many grey levels counts hardly more than none."""

BEND = 0.3
"""Smaller differences, in grey levels, count by their square, larger ones by their size."""


def build(
    name: str,
    seed: int,
    *,
    num_classes: int = MNIST_CLASSES,
    precision: str = "float32",
    dropout: float = 0.0,
    input_shape: tuple[int, int, int] = (28, 28, 1),
    builder: Callable[[Any], Any] | None = None,
) -> keras.Model:
    """A network with fresh weights: (n, *input_shape) float32 in [0, 1] -> (n, num_classes) float32 probabilities.

    precision: Keras' name of the layers' number format; weights are float32 always. dropout: share of the features
    below the logits that is left out in training. builder: from the input tensor to those features; the one called
    `name` in this file if none is given.
    The same seed gives the same weights. Raises `SettingError` for an unknown name.
    """
    if builder is None:
        if name not in NETWORKS:
            raise SettingError(f"`network` must be one of {', '.join(NETWORKS)}; got {name!r}.")
        builder = getattr(sys.modules[__name__], name)
    with _SEED_IS_SET:
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
        start = keras.initializers.Identity(-6.0) if name == templates.__name__ else "glorot_uniform"
        logits = layers.Dense(num_classes, name=LOGITS, kernel_initializer=start, dtype="float32")(features)
        probabilities = layers.Activation("softmax", name=PROBABILITIES, dtype="float32")(logits)
        return keras.Model(inputs, probabilities, name=name)


def for_training(settings: TrainSettings, num_classes: int) -> keras.Model:
    """The fresh network that a training begins with."""
    return build(
        settings.network, settings.seed, num_classes=num_classes, precision=settings.precision, dropout=settings.dropout
    )


def with_logits(network: keras.Model) -> keras.Model:
    """The same network (shared weights) ending in its logits."""
    return keras.Model(network.input, network.get_layer(LOGITS).output, name=f"{network.name}_logits")


def summary(network: keras.Model) -> str:
    """The table of layers with shapes and parameter counts, as plain text."""
    lines: list[str] = []
    network.summary(print_fn=lambda text, **_: lines.append(text), line_length=100)
    return "\n".join(lines) + "\n"


def compact(images: Any) -> Any:
    """Three convolutions, the first on blocks of 2 x 2 pixels: most of the accuracy for little arithmetic.

    No pooling, and no bias where BatchNorm's offset takes its place. BatchNorm's momentum is .9 since one
    epoch is too short for the averages of Keras' default .99. The first two convolutions pad nothing: they still
    read all 28 x 28 pixels, and have fewer places to compute.
    """
    features = _normalised_convolution(_blocks(images), 16, 3, padding="valid")
    features = _normalised_convolution(features, 32, 4, strides=2, padding="valid")
    return layers.Flatten(LAST)(_normalised_convolution(features, 64, 3))


def wide(images: Any) -> Any:
    """Three wide convolutions, padding throughout and dropout, for trainings that can use them."""
    features, dropout = images, layers.Dropout(0.3)  # made first: it draws a seed, and the weights draw theirs after it
    for filters, size, strides in ((24, 5, 2), (64, 5, 2), (96, 3, 1)):
        features = _normalised_convolution(features, filters, size, strides=strides)
    return dropout(layers.Flatten(LAST)(features))


def smooth(images: Any) -> Any:
    """Two convolutions, the first on blocks of 2 x 2 pixels, and a hidden layer: for robust training.

    SiLU throughout, no BatchNorm: smooth activations make adversarial training better (Xie et al., arXiv:2006.14536),
    and BatchNorm mixes the statistics of clean and of attacked images (Xie et al., arXiv:1911.09665). The
    convolutions pad nothing, as in compact.
    """
    features = layers.Conv2D(32, 3, activation="silu", data_format=LAST)(_blocks(images))
    features = layers.Conv2D(64, 4, strides=2, activation="silu", data_format=LAST)(features)
    return layers.Dense(128, activation="silu")(layers.Flatten(LAST)(features))


def templates(images: Any) -> Any:
    """Ten parts rebuild the image, each from templates of its own: what counts is how close each one comes.

    Analysis by synthesis (Schott et al., arXiv:1805.09190). All parts rebuild noise equally badly, so no class stands
    out there, and a search for a class ends where its templates lead. What a part makes is a mean of its templates,
    weighted by softmax, as a Hopfield network does (Ramsauer et al., arXiv:2008.02217). The features are the
    logarithms of the parts' mean errors: half the error counts as much wherever it is. An error is a pseudo-Huber one
    (Barron, arXiv:1701.03077, has the family), since squares hide faint noise behind a few wrong strokes. In the
    beginning the logits take each part for a class of its own.
    """
    weights = layers.Dense(PARTS * TEMPLATES, name="weights")(smooth(images))
    shares = layers.Softmax()(layers.Reshape((PARTS, TEMPLATES))(weights))
    pixels = layers.Flatten(LAST)(images)
    made = layers.EinsumDense("npt,ptx->npx", (PARTS, pixels.shape[-1]), bias_axes="x", name="templates")(shares)
    squares = keras.ops.square(made - layers.RepeatVector(PARTS)(pixels))
    errors = keras.ops.mean(keras.ops.sqrt(squares + BEND**2), axis=-1) - BEND
    return keras.ops.log(errors + NO_ERROR)


def _blocks(images: Any) -> Any:
    """Blocks of 2 x 2 pixels as channels, (n, h, w, c) -> (n, h/2, w/2, 4c), each pixel in one of them.

    A convolution of size 3 on them is one of size 6 and stride 2 on the pixels, in a shape that suits processors: a
    search takes two thirds of the time. Sides are even.
    """
    _, height, width, channels = images.shape
    rows = layers.Reshape((height // 2, 2, width // 2, 2 * channels))(images)
    return layers.Reshape((height // 2, width // 2, 4 * channels))(layers.Permute((1, 3, 2, 4))(rows))


def _normalised_convolution(images: Any, filters: int, size: int, *, strides: int = 1, padding: str = "same") -> Any:
    """A convolution, BatchNorm and ReLU."""
    convolution = layers.Conv2D(filters, size, strides=strides, padding=padding, use_bias=False, data_format=LAST)
    return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(convolution(images)))


def report(images: Any) -> Any:
    """The reference report's network, layer for layer: 62,735,658 parameters with the ten logits.

    62,734,250 of them are trainable, 1,408 are BatchNorm's means and variances.
    """
    features = images
    for filters in (96, 256):
        for _ in range(2):
            features = layers.Conv2D(filters, 3, padding="same", activation="relu", data_format=LAST)(features)
            features = layers.BatchNormalization()(features)
        features = layers.MaxPooling2D(2, strides=2, data_format=LAST)(features)
    for filters in (384, 384, 256):
        features = layers.Conv2D(filters, 3, padding="same", activation="relu", data_format=LAST)(features)
    features = layers.MaxPooling2D(2, strides=1, data_format=LAST)(features)
    features = layers.Flatten(LAST)(features)
    for units in (4096, 4096, 1024):
        features = layers.Dense(units, activation="relu")(features)
        features = layers.Dropout(0.5)(features)
    return features
