"""How a logged network answers behind MLflow's own interface. The file goes with each model, so it stands alone."""

from __future__ import annotations

import base64
import binascii
import io
from pathlib import Path
from typing import Any

import keras
import numpy as np
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

MODES = ("L", "1")
"""Of a PNG: grey, or black and white. Colours would have to be made grey by a rule that its sender does not see."""


class CheckedNetwork:
    """A network that answers images alone, as arrays or as PNGs: JSON has no word for what it would say of NaN."""

    def __init__(self, network: keras.Model) -> None:
        self._network = network
        self._form = tuple(network.input_shape[1:])

    def predict(self, images: NDArray[Any], params: dict[str, Any] | None = None) -> NDArray[np.float32]:
        """Probabilities of n images: (n, 28, 28, 1) numbers from 0 to 1, or n PNGs of that size, base64 texts.

        Raises `MlflowException`, which a server answers with status 400.
        """
        images = np.asarray(images)
        if images.ndim == 1 and len(images) and all(isinstance(image, str) for image in images):
            numbers = np.stack([self._of_png(image, number) for number, image in enumerate(images)])
        else:
            numbers = self._of_numbers(images)
        wrong = numbers[~((numbers >= 0) & (numbers <= 1))]
        if wrong.size:
            raise _refusal(f"An image must hold numbers from 0 to 1; {wrong.size} are not, the first is {wrong[0]:g}.")
        return np.asarray(self._network.predict(numbers, verbose=0))

    def _of_numbers(self, images: NDArray[Any]) -> NDArray[np.float32]:
        expected = " x ".join(map(str, self._form))
        if images.shape[1:] != self._form or not len(images):
            got = " x ".join(map(str, images.shape)) or "a single value"
            raise _refusal(f"Images must have the shape n x {expected}, n at least 1; got {got}.")
        try:
            return images.astype(np.float32)
        except (TypeError, ValueError) as error:
            raise _refusal(f"Images must hold numbers from 0 to 1; {str(error)[:100]}.") from error

    def _of_png(self, text: str, number: int) -> NDArray[np.float32]:
        size = (self._form[1], self._form[0]) if len(self._form) > 1 else ()
        try:
            content = base64.b64decode("".join(text.removeprefix("data:image/png;base64,").split()), validate=True)
            with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
                if picture.size != size or picture.mode not in MODES or "transparency" in picture.info:
                    raise _refusal(
                        f"A PNG must be grey (mode L), without transparency, and have {' x '.join(map(str, size))} "
                        f"pixels; number {number} has the mode {picture.mode} and {picture.width} x {picture.height} "
                        "pixels."
                    )
                pixels = np.asarray(picture.convert("L"), np.float32) / np.float32(255)
        except UnidentifiedImageError as error:
            raise _refusal(f"A text must be a PNG in base64; number {number} is another file.") from error
        except (binascii.Error, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise _refusal(f"A text must be a PNG in base64; number {number} is none ({str(error)[:80]}).") from error
        return pixels.reshape(self._form)


def _refusal(text: str) -> MlflowException:
    return MlflowException.invalid_parameter_value(text)


def _load_pyfunc(path: str) -> CheckedNetwork:
    """Called by MLflow with the folder of the model or of its data."""
    return CheckedNetwork(keras.saving.load_model(next(Path(path).rglob("model.keras")), compile=False))
