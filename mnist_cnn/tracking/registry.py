"""The only door to MLflow's model registry: versions of a model, and the aliases that point to them.

An alias is one pointer, which is overwritten and never taken away: there is always one champion once there was one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from mnist_cnn.judging.promotion import Origin, Version
from mnist_cnn.settings import SeedsSettings, TrainSettings
from mnist_cnn.settings.errors import SettingError
from mnist_cnn.tracking import models, reading
from mnist_cnn.tracking.models import LoggedModel
from mnist_cnn.tracking.runs import KIND_TAG, PARENT_TAG, SETTINGS_FILE
from mnist_cnn.tracking.store import TrackingError

MODEL_ID_TAG = "model_id"
DIGEST_TAG = "data_digest"
ROLLED_BACK_TAG = "rolled_back"
"""On a version from which a person took the alias `champion`: no promotion check gives it back."""

ABOUT_MODEL = Path(__file__).with_name("about_model.md")
"""What the page of a registered model says."""


def holder(name: str, alias: str) -> Version | None:
    """The version that an alias points to."""
    try:
        return _version(mlflow.MlflowClient().get_model_version_by_alias(name, alias))
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def versions(name: str) -> list[Version]:
    """All versions, newest first; none where nothing is registered under this name."""
    client = mlflow.MlflowClient()
    found = client.search_model_versions(f"name = '{name}'", max_results=10_000)
    # A search leaves aliases out.
    aliases = client.get_registered_model(name).aliases if found else {}
    return sorted((_version(made, aliases) for made in found), key=lambda version: -version.number)


def get_version(name: str, number: int) -> Version:
    """Raises `TrackingError` where there is none of that number."""
    known = {version.number: version for version in versions(name)}
    if number not in known:
        have = ", ".join(map(str, sorted(known))) or "none at all"
        raise TrackingError(f"`version` must be one that {name} has; got {number}. It has {have}.")
    return known[number]


def of_model(name: str, model_id: str) -> Version | None:
    """The first version that was made of a logged model."""
    return next((version for version in reversed(versions(name)) if version.model_id == model_id), None)


def register(name: str, model: LoggedModel, run_id: str) -> tuple[Version, bool]:
    """The version of a logged model, and whether it was made now: one model never has two.

    Where two processes that share no lock made one each, the first stays.
    """
    found = of_model(name, model.model_id)
    if found is not None:
        return found, False
    client = mlflow.MlflowClient()
    try:
        client.create_registered_model(name, description=ABOUT_MODEL.read_text("utf-8"))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    made = client.create_model_version(
        name, f"models:/{model.model_id}", run_id or None, {MODEL_ID_TAG: model.model_id}, model_id=model.model_id
    )
    first = of_model(name, model.model_id)
    if first is not None and first.number != int(made.version):
        with suppress(MlflowException):
            client.delete_model_version(name, made.version)
        return first, False
    return _version(made), True


def num_seeds(run_id: str) -> int:
    """With how many seeds the training of a run was run: finished runs below the same run of `seeds`; 1 without one."""
    parent = reading.get_run(run_id).data.tags.get(PARENT_TAG, "") if run_id else ""
    if not parent or reading.is_gone(parent) or reading.get_run(parent).data.tags.get(KIND_TAG) != "seeds":
        return 1
    return sum(run.info.status == "FINISHED" for run in reading.runs_below(parent).values())


def command_of_seeds(run_id: str, seeds: int) -> str:
    """The command that trains as a run did, with so many seeds. It names what the run was given, where it is known."""
    with suppress(SettingError):  # of another release
        stored = reading.read_json(run_id, SETTINGS_FILE).get("settings", {}) if run_id else {}
        words = TrainSettings(**{**stored, "run_name": ""}).named_words()
        return SeedsSettings.from_words({"of": "train", "seeds": str(seeds), **words}).command_line()
    return SeedsSettings(of="train", seeds=seeds).command_line()


def describe(version: Version, tags: Mapping[str, str], description: str) -> None:
    """An empty description leaves that which is there."""
    client = mlflow.MlflowClient()
    for key, value in tags.items():
        client.set_model_version_tag(version.name, str(version.number), key, value)
    if description:
        client.update_model_version(version.name, str(version.number), description)


def point(version: Version, alias: str) -> None:
    """Point an alias to a version, whatever it pointed to before."""
    client = mlflow.MlflowClient()
    try:
        client.set_registered_model_alias(version.name, alias, str(version.number))
    except MlflowException:  # two at once set an alias that was not there: one has put it in, the other changes it
        client.set_registered_model_alias(version.name, alias, str(version.number))


def note_rollback(chosen: Version, left: Version | None) -> None:
    """A person has made `chosen` the champion in place of `left`."""
    client = mlflow.MlflowClient()
    if ROLLED_BACK_TAG in chosen.tags:
        client.delete_model_version_tag(chosen.name, str(chosen.number), ROLLED_BACK_TAG)
    if left is not None and left.number != chosen.number:
        client.set_model_version_tag(left.name, str(left.number), ROLLED_BACK_TAG, f"to version {chosen.number}")


def origin(model_id: str) -> Origin:
    """How a logged model was made, from its run and what that logged."""
    try:
        model = mlflow.get_logged_model(model_id)
        run = mlflow.get_run(model.source_run_id)
    except MlflowException:
        return Origin()
    stored = reading.read_json(run.info.run_id, SETTINGS_FILE)
    settings = stored.get("settings", {})
    return Origin(
        run_id=run.info.run_id,
        commit=run.data.tags.get("mlflow.source.git.commit", ""),
        digest=stored.get("digest", ""),
        validation_fraction=settings.get("validation_fraction"),
        regime=model.tags.get("regime", ""),
        network=model.tags.get("network", ""),
        dataset=settings.get("dataset", ""),
        epsilon=settings.get("epsilon"),
        metrics=run.data.metrics,
    )


def best_of(experiment: str, metric: str, dataset: str) -> LoggedModel:
    """The model of the experiment's finished training on `dataset` with the best `metric`.

    Raises `TrackingError` where there is none.
    """
    found = mlflow.get_experiment_by_name(experiment)
    if found is None:
        known = ", ".join(sorted(other.name for other in mlflow.search_experiments()))
        raise TrackingError(f"`experiment` must be the name of one that is there; got {experiment!r}. Known: {known}.")
    condition = f"tags.{KIND_TAG} = 'train' AND attributes.status = 'FINISHED'"
    trained = [
        run
        for run in reading.search(condition, [found.experiment_id])
        # Not by its parameter, which `mlflow run` writes in quotes where it holds a space.
        if reading.read_json(run.info.run_id, SETTINGS_FILE).get("settings", {}).get("dataset") == dataset
        and run.outputs.model_outputs
        and models.all_there(run)
    ]
    if not trained:
        raise TrackingError(
            f"`experiment`: {experiment} holds no finished training on {dataset} whose model is there; "
            "run `mlflow run . -e train` first, or give the `dataset` of those that it holds."
        )
    having = [run for run in trained if math.isfinite(run.data.metrics.get(metric, math.nan))]
    if not having:
        names = sorted(key for key in trained[0].data.metrics if not key.startswith("test") and "/" not in key)
        raise TrackingError(f"`metric`: no training in {experiment} has {metric!r}; they have {', '.join(names)}.")
    sign = -1 if any(part in metric for part in ("loss", "error", "seconds")) else 1
    best = max(having, key=lambda run: sign * run.data.metrics[metric])
    model_id = models.of_run(best)
    return LoggedModel(model_id, f"models:/{model_id}")


def _version(made: ModelVersion, aliases: Mapping[str, str] | None = None) -> Version:
    pointing = [alias for alias, number in (aliases or {}).items() if int(number) == int(made.version)]
    return Version(
        made.name,
        int(made.version),
        made.model_id or made.tags.get(MODEL_ID_TAG, ""),
        made.source,
        made.run_id or "",
        tuple(made.aliases) or tuple(pointing),
        dict(made.tags),
    )
