"""What earlier runs hold: metrics, artifacts, and which run was made of the same as one that is asked for."""

from __future__ import annotations

import io
import json
import shlex
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray

from mnist_cnn.data import npz
from mnist_cnn.settings.errors import hide_password
from mnist_cnn.tracking import models, store
from mnist_cnn.tracking.heartbeat import ENTRY_POINT_TAG
from mnist_cnn.tracking.runs import FINGERPRINT_TAG, KIND_TAG, PARENT_TAG


def get_run(run_id: str) -> Run:
    return mlflow.MlflowClient().get_run(run_id)


def pages(search: Callable[..., Any]) -> list[Any]:
    """All that a search of MLflow's client finds, page after page."""
    found, token = [], None
    while True:
        page = search(page_token=token)
        found += page
        if not (token := page.token):
            return found


def required_run(run_id: str, setting: str = "run") -> Run:
    """The run that a person named by its id, in `setting`. Raises `TrackingError` where there is none."""
    try:
        return get_run(run_id)
    except MlflowException as error:
        raise store.TrackingError(
            f"`{setting}` must be the id of a run in {store.shown_uri()}; got {run_id!r}. ({store.first_line(error)})"
        ) from error


def params_of(run: Run) -> dict[str, str]:
    """The parameters as they may be shown: `mlflow run` logs its own as a shell's words, a password among them."""
    words = dict(run.data.params)
    if ENTRY_POINT_TAG in run.data.tags:
        words = {name: _unquoted(word) for name, word in words.items()}
    return {name: hide_password(word) for name, word in words.items()}


def _unquoted(word: str) -> str:
    with suppress(ValueError):
        parts = shlex.split(word)
        if len(parts) == 1 and shlex.quote(parts[0]) == word:
            return parts[0]
    return word


def seconds_of(run: Run) -> float | None:
    """How long a run took; None while it goes on."""
    return None if run.info.end_time is None else (run.info.end_time - run.info.start_time) / 1000


def is_there(run_id: str) -> bool:
    """Whether a run exists and has not been deleted."""
    with suppress(MlflowException):
        return get_run(run_id).info.lifecycle_stage == "active"
    return False


def is_gone(run_id: str) -> bool:
    """Whether a run is not in the store, not even deleted."""
    try:
        get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return True
    return False


def search(condition: str, experiment_ids: Sequence[str] = (), view: int = ViewType.ACTIVE_ONLY) -> list[Run]:
    """All runs that fulfil a condition in MLflow's words, newest first; in some experiments, or in all.

    A condition must hold no text that a person chose: MLflow's conditions cannot quote all of them.
    """
    places = list(experiment_ids)
    return mlflow.search_runs(
        places, condition, run_view_type=view, output_format="list", search_all_experiments=not places
    )


def runs_below(parent: str) -> dict[str, Run]:
    """The runs whose parent is that one, by id, the newest first."""
    found = search(f"tags.`{PARENT_TAG}` = '{parent}'", [get_run(parent).info.experiment_id])
    return {run.info.run_id: run for run in found}


def runs_of_fingerprint(kind: str, fingerprint: str) -> list[Run]:
    """Runs of a kind and a fingerprint, in all experiments, newest first."""
    return search(f"tags.{KIND_TAG} = '{kind}' AND tags.{FINGERPRINT_TAG} = '{fingerprint}'")


def finished_run(kind: str, fingerprint: str, files: Sequence[str] = ()) -> Run | None:
    """The newest finished run of a kind and a fingerprint whose models, and these files, are there still."""
    for run in runs_of_fingerprint(kind, fingerprint):
        if run.info.status == "FINISHED" and models.all_there(run) and has_artifacts(run.info.run_id, files):
            return run
    return None


def has_artifacts(run_id: str, paths: Sequence[str]) -> bool:
    """Whether all of these files are there."""
    client = mlflow.MlflowClient()
    with suppress(MlflowException, OSError):
        folders = {path.rpartition("/")[0] for path in paths}
        there = {file.path for folder in folders for file in client.list_artifacts(run_id, folder or None)}
        return there.issuperset(paths)
    return False


def history(run_id: str, names: Sequence[str]) -> dict[str, dict[int, float]]:
    """Step -> value of each metric."""
    client = mlflow.MlflowClient()
    return {name: {point.step: point.value for point in client.get_metric_history(run_id, name)} for name in names}


def read_bytes(run_id: str, path: str) -> bytes | None:
    """An artifact of a run; None where it is not there."""
    with tempfile.TemporaryDirectory() as folder, suppress(MlflowException, OSError):
        local = mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=path, dst_path=folder)
        return Path(local).read_bytes()
    return None


def read_arrays(run_id: str, path: str) -> dict[str, NDArray[Any]]:
    """What `log_arrays` logged; empty where there is nothing, or nothing that can be read."""
    content = read_bytes(run_id, path)
    try:
        return {} if content is None else npz.read(io.BytesIO(content)).read
    except npz.ArraysError as error:
        print(f"{path} of the run {run_id} cannot be read ({error}); going on without it.", file=sys.stderr)
        return {}


def read_json(run_id: str, path: str) -> dict[str, Any]:
    """What `log_json` logged; empty where there is nothing, or nothing that can be read."""
    content = read_bytes(run_id, path)
    with suppress(ValueError, TypeError, RecursionError):
        return dict(json.loads(content or b"{}"))
    return {}
