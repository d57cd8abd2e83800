"""Models in MLflow: found again by a person's word, or as the newest of their kind. `networks` logs and loads them."""

from __future__ import annotations

import re
import shlex
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import mlflow
from mlflow.entities import LoggedModelStatus, Run
from mlflow.exceptions import MlflowException

from mnist_cnn.data import dataset
from mnist_cnn.settings.fields import MODEL_FORMS, cut, shown
from mnist_cnn.tracking import store
from mnist_cnn.tracking.store import TrackingError

RUN_ID = re.compile(r"[0-9a-f]{32}")

TRAINED_ON_TAG = "trained_on"
"""Of a model: the data it learned from, as `dataset.origin` names them."""

HOW_TO_TRAIN = {
    "ordinary": "-P network=smooth -P epochs=3 -P learning_rate=0.002 -P label_smoothing=0",
    "noise-trained": "-P network=smooth -P epochs=3 -P learning_rate=0.002 -P label_smoothing=0 -P robustness=noise",
    "robust": "-P preset=readable -P off_manifold=0",
    "readable": "-P preset=readable",
}


@dataclass(frozen=True)
class LoggedModel:
    """Where a model was logged: its id (`m-...`) and the URI that loads it.

    trusted: whether a person has said that it may run code of its own.
    """

    model_id: str
    uri: str
    trusted: bool = False


def resolve(word: str, data: str = "mnist", regime: str = "", network: str = "", *, trust: bool = False) -> LoggedModel:
    """A model from the id of a run or a `runs:/` or `models:/` URI, or if it is empty the newest trained on a data set.

    data: that data set, a `dataset` setting. regime, network: of the newest, where only such a one will do. Raises
    `TrackingError` if there is none.
    """
    store.open_store()
    if not word:
        return _newest(data, regime, network)
    address = f"runs:/{word}/model" if RUN_ID.fullmatch(word) else word
    if not address.startswith(("runs:/", "models:/")):
        raise TrackingError(f"`model` must be {MODEL_FORMS}; got {shown(word)}.")
    try:
        info = mlflow.models.get_model_info(address)
    except Exception as error:  # MLflow raises a different kind for each form of URI.
        raise TrackingError(
            f"`model`: there is no {address} in {store.shown_uri()} ({store.first_line(error)})."
        ) from error
    if "keras" not in info.flavors:
        flavours = ", ".join(info.flavors)
        raise TrackingError(f"`model`: {address} is not a Keras model; it has the flavours {flavours}.")
    return LoggedModel(info.model_id, address, trust)


def refuse_other_data(model: LoggedModel, data: str) -> None:
    """Raise `TrackingError` where a model is known to have learned from other data than the `dataset` setting names."""
    with suppress(MlflowException):
        logged = mlflow.get_logged_model(model.model_id)
        trained_on = logged.tags.get(TRAINED_ON_TAG)
        if trained_on in (None, dataset.origin(data)):
            return
        word = trained_on
        if word != "mnist":
            word = mlflow.get_run(logged.source_run_id).data.params.get("dataset", "the file it learned from")
        raise TrackingError(
            f"`dataset`: {cut(model.uri)} learned from other images than {cut(data)}, so its classes would get wrong "
            f"names. Add -P dataset={cut(word)}"
        )


def _newest(data: str, regime: str, network: str) -> LoggedModel:
    wanted = {"kind": "train", "regime": regime, "network": network, TRAINED_ON_TAG: dataset.origin(data)}
    found = logged_models(" AND ".join(f"tags.{name} = '{word}'" for name, word in wanted.items() if word))
    if found:
        return LoggedModel(found[0].model_id, f"models:/{found[0].model_id}")
    given = "" if data == "mnist" else f" -P {shlex.quote(f'dataset={data}')}"
    if regime:
        raise TrackingError(
            f"`{regime.replace('-', '_')}` was not given and {store.shown_uri()} holds no such network trained on "
            f"{data}; run `mlflow run . -e train {HOW_TO_TRAIN[regime]}{given}` first."
        )
    raise TrackingError(
        f"`model` was not given and {store.shown_uri()} holds none trained on {data}; "
        f"run `mlflow run . -e train{given}` first, or name another."
    )


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


def uris_of(run: Run) -> list[str]:
    """The models that a run has logged."""
    return [f"models:/{output.model_id}" for output in (run.outputs.model_outputs if run.outputs else [])]


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
