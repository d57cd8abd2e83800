"""Models in MLflow: logged by a run, found again by a person's word or as the newest of their kind, and loaded."""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import keras
import mlflow
import mlflow.keras
import numpy as np
from mlflow.entities import LoggedModelStatus, Run
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec
from numpy.typing import NDArray

from mnist_cnn.data.dataset import IMAGE_SHAPE, NUM_CLASSES
from mnist_cnn.models.forward import taking_images
from mnist_cnn.models.logits import refuse_misfit
from mnist_cnn.settings.errors import SettingError
from mnist_cnn.tracking import store
from mnist_cnn.tracking.store import TrackingError

RUN_ID = re.compile(r"[0-9a-f]{32}")

HOW_TO_TRAIN = {
    "ordinary": "-P network=smooth -P epochs=3 -P learning_rate=0.002 -P label_smoothing=0",
    "noise-trained": "-P network=smooth -P epochs=3 -P learning_rate=0.002 -P label_smoothing=0 -P robustness=noise",
    "robust": "-P preset=readable -P off_manifold=0",
    "readable": "-P preset=readable",
}


@dataclass(frozen=True)
class LoggedModel:
    """Where a model was logged: its id (`m-...`) and the URI that loads it."""

    model_id: str
    uri: str


def log_network(network: keras.Model, example: NDArray[np.float32], tags: dict[str, str]) -> LoggedModel:
    """Log a Keras model as `model` of the open run, with signature, input example and the versions it needs."""
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, *example.shape[1:]))]),
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
        pip_requirements=[f"{name}=={version(name)}" for name in ("tensorflow", "keras", "numpy")],
        tags=tags,
    )
    return LoggedModel(model_id=info.model_id, uri=info.model_uri)


def _save_network(path: str, validate_serving_input: bool, **arguments: Any) -> None:
    """`mlflow.keras.save_model`, which fails on an input example unless the folder is there.

    https://github.com/mlflow/mlflow/issues/16183. `validate_serving_input` is read by MLflow before it gets here.
    """
    os.makedirs(path, exist_ok=True)
    mlflow.keras.save_model(path=path, **arguments)


def resolve(word: str, regime: str = "", network: str = "") -> LoggedModel:
    """A model from the id of a run or a `runs:/` or `models:/` URI, or the newest that was trained if it is empty.

    regime, network: of the newest, where only such a one will do. Raises `TrackingError` if there is none.
    """
    store.open_store()
    if not word:
        return _newest(regime, network)
    address = f"runs:/{word}/model" if RUN_ID.fullmatch(word) else word
    if not address.startswith(("runs:/", "models:/")):
        raise TrackingError(
            f"`model` must be the id of a run, or of the form runs:/RUN_ID/model, models:/NAME/VERSION, "
            f"models:/NAME@ALIAS or models:/m-ID; got {word!r}."
        )
    try:
        info = mlflow.models.get_model_info(address)
    except Exception as error:  # MLflow raises a different kind for each form of URI.
        raise TrackingError(f"`model`: there is no {address} in {store.uri()} ({store.first_line(error)}).") from error
    if "keras" not in info.flavors:
        flavours = ", ".join(info.flavors)
        raise TrackingError(f"`model`: {address} is not a Keras model; it has the flavours {flavours}.")
    return LoggedModel(info.model_id, address)


def _newest(regime: str, network: str) -> LoggedModel:
    wanted = {"kind": "train", "regime": regime, "network": network}
    found = logged_models(" AND ".join(f"tags.{name} = '{word}'" for name, word in wanted.items() if word))
    if found:
        return LoggedModel(found[0].model_id, f"models:/{found[0].model_id}")
    if regime:
        raise TrackingError(
            f"`{regime.replace('-', '_')}` was not given and {store.uri()} holds no such network; "
            f"run `mlflow run . -e train {HOW_TO_TRAIN[regime]}` first."
        )
    raise TrackingError(
        f"`model` was not given and {store.uri()} holds no trained one; run `mlflow run . -e train` first."
    )


def load(model: LoggedModel, *, logits: bool = False) -> keras.Model:
    """The Keras model itself, once for all who ask for it, so that what was compiled for it is there still.

    One that was changed since is loaded anew. One that takes pixels in a row, or no axis of channels, has a layer in
    front. Raises `SettingError` for one that cannot be loaded, that does not take MNIST's images, or that does not give
    probabilities of ten classes (logits: or those).
    """
    # By its id, which never changes, where there is one: an alias or the version of a run may move.
    address = f"models:/{model.model_id}" if model.model_id else model.uri
    if not model.model_id:
        _load.cache_clear()
    network, loaded = _load(store.uri(), address)
    if _state(network) != loaded:
        _load.cache_clear()
        network, _ = _load(store.uri(), address)
    refuse_misfit(network, IMAGE_SHAPE, NUM_CLASSES, logits=logits)
    return network


@lru_cache(maxsize=8)
def _load(tracking_uri: str, address: str) -> tuple[keras.Model, bytes]:
    """The model, ready for our images, and its state."""
    try:
        network = taking_images(mlflow.keras.load_model(address), IMAGE_SHAPE)
        return network, _state(network)
    except SettingError:
        raise
    except (MlflowException, OSError, ValueError) as error:
        raise TrackingError(f"`model`: {address} cannot be loaded ({store.first_line(error)}).") from error


def _state(network: keras.Model) -> bytes:
    """A digest of the layers and weights of a model."""
    digest = hashlib.sha256(network.to_json().encode())
    for weight in network.get_weights():
        digest.update(weight.tobytes())
    return digest.digest()


def logged_models(condition: str) -> list[Any]:
    """Models in all experiments, newest first, without those whose logging was cut short."""
    models = mlflow.search_logged_models(
        experiment_ids=[experiment.experiment_id for experiment in mlflow.search_experiments()],
        filter_string=condition,
        order_by=[{"field_name": "creation_timestamp", "ascending": False}],
        output_format="list",
    )
    return [model for model in models if model.status == LoggedModelStatus.READY]


def of_run(run: Run) -> str:
    """The id of the model that a run logged last. Raises `TrackingError` where it logged none."""
    if not run.outputs or not run.outputs.model_outputs:
        raise TrackingError(f"the run {run.info.run_id} has logged no model")
    return str(run.outputs.model_outputs[-1].model_id)


def all_there(run: Run) -> bool:
    """Whether all models that a run has logged are there, with their files."""
    return all(is_there(model.model_id) for model in (run.outputs.model_outputs if run.outputs else []))


def is_there(model_id: str) -> bool:
    """Whether a logged model has not been deleted, and has files."""
    client = mlflow.MlflowClient()
    with suppress(MlflowException, OSError):
        client.get_logged_model(model_id)  # raises for one that was deleted
        return bool(client.list_logged_model_artifacts(model_id))
    return False


def name_of(model_uri: str) -> str:
    """How a chart calls a network: `smooth, readable (m-1a2b)`."""
    model_id = model_uri.removeprefix("models:/")
    with suppress(MlflowException):
        tags = mlflow.get_logged_model(model_id).tags
        return f"{tags.get('network', 'network')}, {tags.get('regime', 'of unknown training')} ({model_id[:6]})"
    return model_uri
