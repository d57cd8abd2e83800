"""The runs of a sweep in MLflow: one for the sweep, one below it for each trial, and how to find them again.

A trial's run says how the trial ended before Optuna is told, so that whatever was killed in between can be told later.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.entities import Param, Run, RunTag
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray

from mnist_cnn import processes
from mnist_cnn.settings import OptimizeSettings
from mnist_cnn.tracking import KIND_TAG, PROCESS_TAG, REASON_TAG, TrackedRun, TrackingError

SWEEP_TAG, TRIAL_TAG, STATE_TAG, VALUES_TAG = "sweep", "trial", "state", "values"
"""Name of the sweep; the trial's number; how it ended; what the goals came to, as JSON."""

STATUS = {"complete": "FINISHED", "pruned": "FINISHED", "failed": "FAILED", "lost": "KILLED"}
IMAGES_FILE = "images.npz"


@dataclass(frozen=True)
class Outcome:
    """How a trial ended, as its run says. state: `complete`, `pruned` or `failed`."""

    state: str
    values: list[float]
    reason: str


class TrialRun(TrackedRun):
    """The run of one trial."""

    def finish(self, state: str, reason: str, values: Sequence[float], metrics: Mapping[str, float], step: int) -> None:
        """Log the last numbers and how the trial ended, and end the run."""
        self.log_metrics(metrics, step)
        tags = {STATE_TAG: state, REASON_TAG: reason[:5000], VALUES_TAG: json.dumps(list(values))}
        if len(self._buffer) > 1000:
            self.flush()
        self._client.log_batch(
            self.run_id, metrics=self._buffer, tags=[RunTag(name, value) for name, value in tags.items()]
        )
        self._buffer.clear()
        self._client.set_terminated(self.run_id, STATUS[state])

    def mark_lost(self, reason: str) -> None:
        self.set_tags({STATE_TAG: "lost", REASON_TAG: reason[:5000]})
        self._client.set_terminated(self.run_id, STATUS["lost"])

    def log_files(self, files: Mapping[str, bytes], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Log small files and one .npz of arrays in one go."""
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                (Path(folder) / name).write_bytes(content)
            np.savez_compressed(Path(folder) / IMAGES_FILE, **arrays)  # type: ignore[arg-type]
            self._client.log_artifacts(self.run_id, folder)


def start_trial(parent: str, sweep: str, number: int, words: Mapping[str, str]) -> TrialRun:
    """A run for a trial below the sweep's. words: its settings, which become the parameters."""
    client = mlflow.MlflowClient()
    tags = {
        "mlflow.parentRunId": parent,
        "mlflow.user": os.environ.get("USER", "") or "unknown",
        KIND_TAG: "trial",
        PROCESS_TAG: processes.this_process(),
        SWEEP_TAG: sweep,
        TRIAL_TAG: str(number),
        STATE_TAG: "running",
    }
    experiment = client.get_run(parent).info.experiment_id if parent not in _EXPERIMENTS else _EXPERIMENTS[parent]
    _EXPERIMENTS[parent] = experiment
    run = TrialRun(client.create_run(experiment, tags=tags, run_name=f"trial {number}"))
    client.log_batch(run.run_id, params=[Param(name, word) for name, word in words.items() if word != ""])
    return run


_EXPERIMENTS: dict[str, str] = {}
"""Experiment of each sweep's run."""


def find_trial_run(parent: str, number: int) -> TrialRun | None:
    runs = _search(f"tags.`mlflow.parentRunId` = '{parent}' AND tags.{TRIAL_TAG} = '{number}'", parent)
    return TrialRun(runs[0]) if runs else None


def outcome(run: TrialRun) -> Outcome | None:
    """How the trial ended, or None where its process was killed before it could say."""
    tags = mlflow.MlflowClient().get_run(run.run_id).data.tags
    if VALUES_TAG not in tags:
        return None
    return Outcome(tags[STATE_TAG], json.loads(tags[VALUES_TAG]), tags.get(REASON_TAG, ""))


def trial_runs(parent: str) -> dict[int, Run]:
    """The run of each trial, by number."""
    runs = _search(f"tags.`mlflow.parentRunId` = '{parent}' AND tags.{KIND_TAG} = 'trial'", parent)
    return {int(run.data.tags[TRIAL_TAG]): run for run in runs}


def images_of(run_id: str) -> dict[str, NDArray[Any]]:
    """The arrays that `log_files` logged; empty where there are none."""
    with tempfile.TemporaryDirectory() as folder, suppress(MlflowException, OSError):
        path = mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=IMAGES_FILE, dst_path=folder)
        with np.load(path) as arrays:
            return dict(arrays)
    return {}


def sweep_run(name: str) -> Run | None:
    """The run of the sweep of that name, in all experiments; None where there is none."""
    runs = _search(f"tags.{KIND_TAG} = 'sweep' AND tags.{SWEEP_TAG} = '{name}'")
    return runs[0] if runs else None


def is_there(run_id: str) -> bool:
    with suppress(MlflowException):
        return mlflow.MlflowClient().get_run(run_id).info.lifecycle_stage == "active"
    return False


def settings_of_trial(word: str) -> dict[str, Any]:
    """The settings of a trial of `sweep`, of `SWEEP:NUMBER` or a run's id. Raises `TrackingError`."""
    sweep, colon, number = word.rpartition(":")
    client = mlflow.MlflowClient()
    if colon:
        parent = sweep_run(sweep)
        if parent is None and is_there(sweep):
            parent = client.get_run(sweep)
        if parent is None:
            raise TrackingError(f"`from_trial`: {mlflow.get_tracking_uri()} holds no sweep {sweep!r}.")
        found = find_trial_run(parent.info.run_id, int(number)) if number.isdecimal() else None
        if found is None:
            raise TrackingError(f"`from_trial`: the sweep {sweep} has no trial {number!r}.")
        word = found.run_id
    try:
        run = client.get_run(word)
    except MlflowException as error:
        raise TrackingError(
            f"`from_trial` must be of the form SWEEP:NUMBER, or a trial's run id; got {word!r}."
        ) from error
    if run.data.tags.get(KIND_TAG) != "trial" or "targets" not in run.data.params:
        raise TrackingError(f"`from_trial`: the run {word} is not a trial of a sweep of input images.")
    known = set(OptimizeSettings.names())
    return OptimizeSettings.parse({name: value for name, value in run.data.params.items() if name in known})


def _search(condition: str, parent: str = "") -> list[Run]:
    """All runs that fulfil it, newest first; in the experiment of `parent`, or in all."""
    client = mlflow.MlflowClient()
    if parent:
        experiments = [_EXPERIMENTS.setdefault(parent, client.get_run(parent).info.experiment_id)]
    else:
        experiments = [one.experiment_id for one in client.search_experiments()]
    found: list[Run] = []
    token = None
    while True:
        page = client.search_runs(experiments, condition, max_results=1000, page_token=token)
        found += page
        token = page.token
        if not token:
            return found
