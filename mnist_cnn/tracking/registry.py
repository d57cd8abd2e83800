"""The only door to MLflow's model registry: versions of a model, and the aliases that point to them.

An alias is one pointer, which is overwritten and never taken away: there is always one champion once there was one.
"""

from __future__ import annotations

import fcntl
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from mnist_cnn.judging.promotion import Origin, Version
from mnist_cnn.tracking import runs
from mnist_cnn.tracking.runs import LoggedModel, TrackingError

MODEL_ID_TAG = "model_id"
DIGEST_TAG = "data_digest"
ROLLED_BACK_TAG = "rolled_back"
"""On a version from which a person took the alias `champion`: no gate gives it back."""

ABOUT = """\
Handwritten digits: images (n, 28, 28, 1) float32 from 0 (black) to 1 to the probabilities of the ten digits, (n, 10).

`champion` is the version to use; `challenger` the one that was registered last. A version becomes the champion when
its validation accuracy is not worse than the champion's by more than a margin; each says in its tags what came out.
"""


def holder(name: str, alias: str) -> Version | None:
    """The version that an alias points to."""
    client = mlflow.MlflowClient()
    try:
        return _version(client.get_model_version_by_alias(name, alias))
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
    return sorted((_version(each, aliases) for each in found), key=lambda each: -each.number)


def version(name: str, number: int) -> Version:
    """Raises `TrackingError` where there is none of that number."""
    known = versions(name)
    for each in known:
        if each.number == number:
            return each
    have = ", ".join(str(each.number) for each in reversed(known)) or "none at all"
    raise TrackingError(f"`version` must be one that {name} has; got {number}. It has {have}.")


def of_model(name: str, model_id: str) -> Version | None:
    """The first version that was made of a logged model."""
    return next((each for each in reversed(versions(name)) if each.model_id == model_id), None)


def register(name: str, model: LoggedModel, run_id: str) -> tuple[Version, bool]:
    """The version of a logged model, and whether it was made now: one model never has two.

    Where two processes that share no lock made one each, the first stays.
    """
    found = of_model(name, model.model_id)
    if found is not None:
        return found, False
    client = mlflow.MlflowClient()
    try:
        client.create_registered_model(name, description=ABOUT)
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


def describe(one: Version, tags: Mapping[str, str], description: str) -> None:
    """An empty description leaves that which is there."""
    client = mlflow.MlflowClient()
    for key, value in tags.items():
        client.set_model_version_tag(one.name, str(one.number), key, value)
    if description:
        client.update_model_version(one.name, str(one.number), description)


def point(one: Version, alias: str) -> None:
    """Point an alias to a version, whatever it pointed to before."""
    client = mlflow.MlflowClient()
    try:
        client.set_registered_model_alias(one.name, alias, str(one.number))
    except MlflowException:  # two at once set an alias that was not there: one has put it in, the other changes it
        client.set_registered_model_alias(one.name, alias, str(one.number))


def note_rollback(chosen: Version, left: Version | None) -> None:
    """A person has made `chosen` the champion in place of `left`."""
    client = mlflow.MlflowClient()
    if ROLLED_BACK_TAG in chosen.tags:
        client.delete_model_version_tag(chosen.name, str(chosen.number), ROLLED_BACK_TAG)
    if left is not None and left.number != chosen.number:
        client.set_model_version_tag(left.name, str(left.number), ROLLED_BACK_TAG, f"to version {chosen.number}")


@contextmanager
def alone() -> Iterator[None]:
    """One process at a time decides about aliases, of those that share a local store.

    The lock is one of `flock` on the database's file, which SQLite does not use; it goes with the process.
    """
    path = runs.tracking_uri().removeprefix("sqlite:///").partition("?")[0]
    if not os.path.isfile(path):  # a server's: who decides there looks once more before the alias is set
        yield
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def origin(model_id: str) -> Origin:
    """How a logged model was made, from its run and what that logged."""
    client = mlflow.MlflowClient()
    try:
        model = client.get_logged_model(model_id)
        run = client.get_run(model.source_run_id)
    except MlflowException:
        return Origin()
    stored = runs.read_json(run.info.run_id, runs.SETTINGS_FILE)
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
    client = mlflow.MlflowClient()
    found = client.get_experiment_by_name(experiment)
    if found is None:
        known = ", ".join(sorted(each.name for each in client.search_experiments()))
        raise TrackingError(f"`experiment` must be the name of one that is there; got {experiment!r}. Known: {known}.")
    trained = [
        run
        for run in client.search_runs(
            [found.experiment_id],
            f"tags.{runs.KIND_TAG} = 'train' AND attributes.status = 'FINISHED'",
            max_results=50_000,
        )
        if run.outputs and run.outputs.model_outputs and run.data.params.get("dataset") == dataset
    ]
    trained = [run for run in trained if runs.has_its_models(run)]
    if not trained:
        raise TrackingError(
            f"`experiment`: {experiment} holds no finished training on {dataset} whose model is there; "
            "run `mlflow run . -e train` first, or give the `dataset` of those that it holds."
        )
    having = [run for run in trained if math.isfinite(run.data.metrics.get(metric, math.nan))]
    if not having:
        known = ", ".join(
            sorted(key for key in trained[0].data.metrics if not key.startswith("test") and "/" not in key)
        )
        raise TrackingError(f"`metric`: no training in {experiment} has {metric!r}; they have {known}.")
    sign = -1 if any(word in metric for word in ("loss", "error", "seconds")) else 1
    best = max(having, key=lambda run: sign * run.data.metrics[metric])
    model_id = best.outputs.model_outputs[-1].model_id
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
