"""Judges in MLflow: each a logged model without a flavour, verified by its SHA-256 before anything of it is read."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import LoggedModelOutput, LoggedModelStatus
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from mnist_cnn.data.dataset import LabelledImages
from mnist_cnn.judging import judges
from mnist_cnn.judging.judges import Judge, Panel
from mnist_cnn.tracking import store
from mnist_cnn.tracking.models import LoggedModel, logged_models
from mnist_cnn.tracking.runs import TrackedRun
from mnist_cnn.tracking.store import TrackingError

SHA256_TAG = "sha256"


def log_judge(run: TrackedRun, judge: Judge, panel: str, training_digest: str, seed: int) -> LoggedModel:
    """Log a judge as its .npz, with tags by which `find_panel` finds and verifies it.

    training_digest: of the training images that the panels' halves were taken from. seed: that the panel was made with.
    """
    client = mlflow.MlflowClient()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        judge.save(folder)
        tags = {
            **_tags(panel, training_digest, seed),
            "judge": judge.kind,
            SHA256_TAG: judges.content_sha256(folder),
        }
        model = client.create_logged_model(run.experiment_id, f"judge-{panel}-{judge.kind}", run.run_id, tags)
        client.log_model_artifacts(model.model_id, str(folder))
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    client.log_outputs(run.run_id, [LoggedModelOutput(model.model_id, 0)])
    return LoggedModel(model_id=model.model_id, uri=f"models:/{model.model_id}")


def find_panel(name: str, data: LabelledImages, seed: int) -> Panel | None:
    """The newest panel of judges that is complete, of this version, seed and training images, or None.

    data: the training images before they were halved. Every judge's content is held against the SHA-256
    that was noted when it was logged, before anything of it is read. Raises `TrackingError` for one that differs.
    """
    store.open_store()
    conditions = [f"tags.{key} = '{value}'" for key, value in _tags(name, data.digest, seed).items()]
    by_run: dict[str, dict[str, Any]] = {}
    for model in logged_models(" AND ".join(conditions)):
        # Newest first, so are the runs; of a judge that a run logged twice the newer stays.
        by_run.setdefault(model.source_run_id, {}).setdefault(model.tags["judge"], model)
    for run_id, found in by_run.items():
        if set(found) == set(judges.KINDS):
            own = {kind: _load(store.uri(), found[kind].model_id, kind, data.num_classes) for kind in judges.KINDS}
            return Panel(name, own, run_id)
    return None


def _tags(panel: str, training_digest: str, seed: int) -> dict[str, str]:
    made_of = {"version": judges.VERSION, "training_digest": training_digest, "seed": str(seed)}
    return {"kind": "judge", "panel": panel, **made_of}


@lru_cache(maxsize=24)
def _load(tracking_uri: str, model_id: str, kind: str, num_classes: int) -> Judge:
    """A judge, once for all who ask for it, with what was compiled for it."""
    model = mlflow.MlflowClient().get_logged_model(model_id)
    cure = "Delete this model, or train the panel again: mlflow run . -e judges"
    about = f"the judge {model.name} (models:/{model_id})"
    with tempfile.TemporaryDirectory() as temporary:
        try:
            # A copy of one's own, so that what is read is what was verified.
            get_artifact_repository(model.artifact_location).download_artifacts("", temporary)
            sha256 = judges.content_sha256(Path(temporary))
            if sha256 != model.tags.get(SHA256_TAG):
                raise TrackingError(
                    f"{about} is not what was logged: the SHA-256 of its content is {sha256}, noted was "
                    f"{model.tags.get(SHA256_TAG)}. {cure}"
                )
            judge = judges.load(Path(temporary), num_classes)
        except (judges.JudgeError, MlflowException, OSError) as error:
            raise TrackingError(f"{about} cannot be read ({store.first_line(error)}). {cure}") from error
    if judge.kind != kind:
        raise TrackingError(f"{about} is a {judge.kind}, not a {kind}. {cure}")
    return judge
