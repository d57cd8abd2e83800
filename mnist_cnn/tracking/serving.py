"""How a logged network answers behind MLflow's own interface. The file goes with each model, so it stands alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray


class CheckedNetwork:
    """A network that answers images alone: JSON has no word for what it would say of NaN."""

    def __init__(self, network: keras.Model) -> None:
        self._network = network

    def predict(self, images: NDArray[Any], params: dict[str, Any] | None = None) -> NDArray[np.float32]:
        """Probabilities of (n, 28, 28, 1) images. Raises `MlflowException`, which a server answers with status 400."""
        wrong = images[~((images >= 0) & (images <= 1))]
        if wrong.size:
            raise MlflowException.invalid_parameter_value(
                f"An image must hold numbers from 0 to 1; {wrong.size} are not, the first is {wrong[0]:g}."
            )
        return np.asarray(self._network.predict(images, verbose=0))


def _load_pyfunc(path: str) -> CheckedNetwork:
    """Called by MLflow with the folder of the model or of its data."""
    return CheckedNetwork(keras.saving.load_model(next(Path(path).rglob("model.keras")), compile=False))
