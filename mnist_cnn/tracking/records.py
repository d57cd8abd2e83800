"""All that the store holds of a run, as plain values: what it was made of, its numbers, curves and pictures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import mlflow
import numpy as np
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray

from mnist_cnn.settings import ENTRY_POINTS, show
from mnist_cnn.settings.errors import hide_password
from mnist_cnn.tracking import models, reading, store
from mnist_cnn.tracking.commit import PATCH
from mnist_cnn.tracking.runs import KIND_TAG, SETTINGS_FILE
from mnist_cnn.tracking.store import TrackingError

CHOICES_FILE = "test_choices.npz"
SEARCHES_FILE = "searches.json"
SAME_SEARCH = ("target", "start", "start_class", "start_image", "seed")
"""Columns of the table of searches that say from where and to what."""

FIGURES = "figures"

NO_SETTINGS = ("run_name", "json")
"""What a run is called, and how its result is printed."""


@dataclass(frozen=True)
class Hits:
    """Which images a run got right, (n,); runs with the same `images` are about the same ones."""

    hits: NDArray[np.bool_]
    images: str


@dataclass(frozen=True)
class Records:
    """made_of: groups of words by name. curves: step -> value of metrics with several points. hits: by metric."""

    run: Run
    kind: str
    made_of: Mapping[str, Mapping[str, str]]
    curves: Mapping[str, Mapping[int, float]]
    pictures: Mapping[str, bytes]
    hits: Mapping[str, Hits]
    patch: str = ""
    """What was not committed."""
    unreachable: str = ""
    """Why the files of the run cannot be read; empty where they can."""

    @property
    def seconds(self) -> float:
        return reading.seconds_of(self.run) or 0.0

    @property
    def state(self) -> str:
        info = self.run.info
        return str(info.status) if info.lifecycle_stage == "active" else "deleted"


def records_of(run_id: str) -> Records:
    """Raises `TrackingError` where there is no such run."""
    try:
        run = reading.get_run(run_id)
    except MlflowException as error:
        reason = store.first_line(error)
        raise TrackingError(f"{store.shown_uri()} holds no run {run_id!r}. ({reason})") from error
    curves = reading.history(run_id, sorted(run.data.metrics))
    stored: dict[str, Any] = {}
    pictures: dict[str, bytes] = {}
    hits: dict[str, Hits] = {}
    unreachable = patch = ""
    try:
        stored = reading.read_json(run_id, SETTINGS_FILE)
        if not stored and run.data.tags.get(KIND_TAG) in ENTRY_POINTS:
            unreachable = f"there is no {SETTINGS_FILE}"
        patch = (reading.read_bytes(run_id, PATCH) or b"").decode(errors="backslashreplace")
        pictures, hits = _pictures(run_id), _hits(run)
    except Exception as error:  # each kind of store raises errors of its own, boto3 that is not installed, for example
        unreachable = store.first_line(error)
    return Records(
        run=run,
        kind=run.data.tags.get(KIND_TAG, "unknown"),
        made_of=_made_of(run, stored),
        curves={name: points for name, points in curves.items() if len(points) > 1},
        pictures=pictures,
        hits=hits,
        patch=patch,
        unreachable=unreachable,
    )


def document(run_id: str) -> dict[str, Any]:
    """What a program reads of a finished run."""
    run = reading.get_run(run_id)
    return {
        "run_id": run_id,
        "name": run.info.run_name,
        "kind": run.data.tags.get(KIND_TAG, ""),
        "status": run.info.status,
        "settings": reading.read_json(run_id, SETTINGS_FILE).get("settings", {}),
        "metrics": dict(sorted(run.data.metrics.items())),
        "models": models.uris_of(run),
        "artifacts": run.info.artifact_uri,
        "look": store.how_to_look(store.place(run.info.experiment_id, run_id)),
    }


def _made_of(run: Run, stored: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    tags = run.data.tags
    code = {
        "commit": tags.get("mlflow.source.git.commit", ""),
        "uncommitted changes": tags.get("git.uncommitted_changes", ""),
        "files of the command": str(stored.get("made_of", {}).get("code", ""))[:16],
    }
    around = {
        name.replace(".", ", "): hide_password(text)
        for name, text in tags.items()
        if name.startswith(("version.", "hardware."))
    }
    return {"settings": _settings(run, stored), "code": code, "data": _data(run), "versions and hardware": around}


def _settings(run: Run, stored: Mapping[str, Any]) -> dict[str, str]:
    """As the command read them; as parameters, which `mlflow run` logs with quotes of the shell, where no file is."""
    values = dict(stored.get("settings") or {})
    space = values.pop("space", None) or {}
    words = {name: hide_password(show(value)) for name, value in {**values, **space}.items()}
    words = words or reading.params_of(run)
    return {name: word for name, word in words.items() if word and name not in NO_SETTINGS}


def _data(run: Run) -> dict[str, str]:
    """Name and digest of each data set, by what it was used for."""
    return {
        tag.value: f"{entry.dataset.name} {entry.dataset.digest}"
        for entry in run.inputs.dataset_inputs
        for tag in entry.tags
        if tag.key == "mlflow.data.context"
    }


def _pictures(run_id: str) -> dict[str, bytes]:
    files = mlflow.MlflowClient().list_artifacts(run_id, FIGURES)
    found = {PurePosixPath(file.path).stem: reading.read_bytes(run_id, file.path)
             for file in files if file.path.endswith(".png")}  # fmt: skip
    return {name: picture for name, picture in found.items() if picture}


def _hits(run: Run) -> dict[str, Hits]:
    """Of the metrics that are the share of these images."""
    run_id, found = run.info.run_id, {}
    files = {file.path for file in mlflow.MlflowClient().list_artifacts(run_id)}
    if CHOICES_FILE in files and (arrays := reading.read_arrays(run_id, CHOICES_FILE)):
        found["test_accuracy"] = Hits(arrays["choices"] == arrays["labels"], _data(run).get("testing", ""))
    if SEARCHES_FILE in files:
        table = reading.read_json(run_id, SEARCHES_FILE)
        columns = dict(zip(table.get("columns", []), zip(*table.get("data", []), strict=True), strict=False))
        if {"recognised", *SAME_SEARCH} <= columns.keys():
            images = json.dumps([columns[name] for name in SAME_SEARCH])
            hits = np.array(columns["recognised"], bool)
            found["recognised_rate"] = Hits(hits, hashlib.sha256(images.encode()).hexdigest())
    return {name: hits for name, hits in found.items()
            if abs(hits.hits.mean() - run.data.metrics.get(name, np.nan)) < 1e-9}  # fmt: skip
