"""Trainings that were interrupted: their checkpoints, and what is needed to resume them."""

from __future__ import annotations

import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Run
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from mnist_cnn.settings import TrainSettings
from mnist_cnn.tracking import heartbeat, reading, store
from mnist_cnn.tracking.runs import KIND_TAG, SETTINGS_FILE, TrackedRun
from mnist_cnn.tracking.store import TrackingError
from mnist_cnn.training import checkpoints
from mnist_cnn.training.loop import TrainingState

FOLDER = "checkpoints"
KEPT = 2


def save_checkpoint(run: TrackedRun, state: TrainingState) -> None:
    """Keep `state` with the run; the last two are kept, so that one which was cut short does no harm."""
    run.log_file(f"{FOLDER}/epoch-{state.epoch:05d}.npz", lambda path: checkpoints.save(state, path))
    with suppress(*store.STORE_ERRORS):  # the store is gone for a moment: the next epoch tidies up
        for old in [] if run.is_kept else _paths(run.run_id)[KEPT:]:
            get_artifact_repository(run.artifact_uri).delete_artifacts(old)


def delete_checkpoints(run_id: str) -> None:
    if _paths(run_id):
        get_artifact_repository(reading.get_run(run_id).info.artifact_uri).delete_artifacts(FOLDER)


def newest_checkpoint(run_id: str) -> TrainingState | None:
    """The state after the last epoch that was stored whole, or None before the first."""
    for path in _paths(run_id):
        with tempfile.TemporaryDirectory() as folder:
            local = mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=path, dst_path=folder)
            try:
                return checkpoints.load(Path(local))
            except checkpoints.CheckpointError as error:
                print(f"{error}; taking the one before it.", file=sys.stderr)
    return None


def stored_settings(run_id: str) -> dict[str, Any]:
    """What `log_settings` stored for an interrupted training. Raises `TrackingError` where it cannot be resumed."""
    store.open_store()
    run = reading.required_run(run_id)
    kind = run.data.tags.get(KIND_TAG, "none of this project's")
    if kind != TrainSettings.COMMAND:
        raise TrackingError(f"`run` must be the id of a training; {run_id} is {kind}.")
    if run.info.status == "FINISHED":
        raise TrackingError(f"`run`: the run {run_id} has finished; there is nothing to resume.")
    heartbeat.refuse_if_alive(run_id)
    heartbeat.refuse_if_resumed(run)
    stored = reading.read_json(run_id, SETTINGS_FILE)
    if not stored:
        raise TrackingError(f"`run`: {run_id} was interrupted before its settings were stored; start a new training.")
    return stored


def interrupted_training(fingerprint: str) -> Run | None:
    """The newest training of a fingerprint that was interrupted after its first epoch, and that is not running."""
    for run in reading.runs_of_fingerprint(TrainSettings.COMMAND, fingerprint):
        if run.info.status != "FINISHED" and _paths(run.info.run_id):
            with suppress(TrackingError):  # it is still running, or resumed: that is another's work
                heartbeat.refuse_if_alive(run.info.run_id)
                heartbeat.refuse_if_resumed(run)
                return run
    return None


def _paths(run_id: str) -> list[str]:
    """Newest first."""
    files = mlflow.MlflowClient().list_artifacts(run_id, FOLDER)
    return sorted((file.path for file in files), reverse=True)
