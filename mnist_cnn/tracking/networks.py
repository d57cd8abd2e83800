"""The one door by which a network goes into MLflow and comes out of it again."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import zipfile
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import mlflow
import mlflow.keras
import numpy as np
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec
from numpy.typing import NDArray

from mnist_cnn.data.dataset import IMAGE_SHAPE
from mnist_cnn.models.forward import taking_images
from mnist_cnn.models.logits import refuse_misfit
from mnist_cnn.settings import SettingError
from mnist_cnn.settings.errors import is_out_of_memory
from mnist_cnn.settings.fields import cut
from mnist_cnn.settings.targets import MNIST_CLASSES
from mnist_cnn.tracking import store
from mnist_cnn.tracking.models import LoggedModel
from mnist_cnn.tracking.store import TrackingError

SERVING = Path(__file__).with_name("serving.py")

LARGEST = 2 * 2**30
"""Bytes of a .keras file, unpacked."""


def log_network(network: keras.Model, example: NDArray[np.float32], tags: dict[str, str]) -> LoggedModel:
    """Log a Keras model as `model` of the open run, with signature, input example and the versions it needs."""
    signature = ModelSignature(
        # Of objects, for no other schema lets a server take arrays and texts (PNGs); `serving` checks what they are.
        inputs=Schema([TensorSpec(np.dtype(object), (-1,))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, *network.output_shape[1:]))]),
    )
    info = Model.log(
        artifact_path=None,
        name="model",
        flavor=SimpleNamespace(save_model=_save_network),
        flavor_name="keras",
        model=network,
        signature=signature,
        input_example=example,
        # MLflow would load the model once more and show a progress bar; a test of ours does it instead.
        validate_serving_input=False,
        # Named, for working them out takes MLflow several seconds and a second process.
        pip_requirements=[f"{name}=={version(name)}" for name in ("tensorflow", "keras", "numpy", "pillow")],
        tags=tags,
    )
    return LoggedModel(model_id=info.model_id, uri=info.model_uri)


def _save_network(path: str, validate_serving_input: bool, **arguments: Any) -> None:
    """`mlflow.keras.save_model`, which fails on an input example unless the folder is there.

    https://github.com/mlflow/mlflow/issues/16183. `validate_serving_input` is read by MLflow before it gets here.
    """
    os.makedirs(path, exist_ok=True)
    mlflow.keras.save_model(path=path, **arguments)
    # Served as MLflow's own wrapper would, but that what is no image is refused.
    model, code = arguments["mlflow_model"], Path(path) / "code"
    code.mkdir()
    shutil.copy(SERVING, code / "checked_network.py")
    model.flavors["python_function"] |= {"loader_module": "checked_network", "code": code.name}
    model.save(str(Path(path) / "MLmodel"))


def load(model: LoggedModel, num_classes: int = MNIST_CLASSES, *, logits: bool = False) -> keras.Model:
    """The Keras model itself, once for all who ask for it, so that what was compiled for it is there still.

    One that was changed since is loaded anew. One that takes pixels in a row, or no axis of channels, has a layer in
    front. Unless it is trusted, it must be a .keras file, which Keras reads without running code of its own.
    Raises `SettingError` for one that cannot be loaded, that does not take images of 28 x 28, or that does not
    give probabilities of `num_classes`, as the data set has (logits: or those).
    """
    # By its id, which never changes, where there is one: an alias or the version of a run may move.
    address = f"models:/{model.model_id}" if model.model_id else model.uri
    try:
        if not model.model_id:
            _load.cache_clear()
        network, loaded = _load(store.uri(), address, model.trusted)
        if _state(network) != loaded:
            _load.cache_clear()
            network, _ = _load(store.uri(), address, model.trusted)
        refuse_misfit(network, IMAGE_SHAPE, num_classes, logits=logits)
    except SettingError:
        raise
    except Exception as error:  # of a damaged file anything may be raised
        if is_out_of_memory(error):
            raise
        has_code = "safe_mode" in str(error) or "unsafe" in str(error)
        cure = " Its layers bring code along; give trust=true if you know who made it." if has_code else ""
        raise TrackingError(
            f"`model`: {address} cannot be loaded ({cut(store.first_line(error), 120)}). Give another one.{cure}"
        ) from error
    return network


@lru_cache(maxsize=8)
def _load(tracking_uri: str, address: str, trusted: bool) -> tuple[keras.Model, bytes]:
    """The model, ready for our images, and its state."""
    network = taking_images(_read(address, trusted), IMAGE_SHAPE)
    return network, _state(network)


def _state(network: keras.Model) -> bytes:
    """A digest of the layers and weights of a model."""
    digest = hashlib.sha256(network.to_json().encode())
    for weight in network.get_weights():
        digest.update(weight.tobytes())
    return digest.digest()


def _read(address: str, trusted: bool) -> keras.Model:
    if trusted:
        return mlflow.keras.load_model(address, load_model_kwargs={"safe_mode": False})
    with tempfile.TemporaryDirectory() as folder:
        local = Path(mlflow.artifacts.download_artifacts(artifact_uri=address, dst_path=folder))
        path = local / "data" / "model.keras"
        if Model.load(str(local)).flavors["keras"].get("save_exported_model") or not path.is_file():
            raise TrackingError(
                f"`model`: {address} is no .keras file, and a model of another form may run code of its own. Give one "
                "that is, or trust=true if you know who made it."
            )
        with zipfile.ZipFile(path) as parts:
            size = sum(part.file_size for part in parts.infolist())
        if size > LARGEST:
            raise TrackingError(f"`model`: {address} has {size / 2**30:.1f} GiB unpacked; at most 2 GiB are loaded.")
        return keras.saving.load_model(path, compile=False, safe_mode=True)
