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
from functools import cache
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.entities import Param, Run, RunTag
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray

from mnist_cnn.runtime import processes
from mnist_cnn.settings import OptimizeSettings, sign
from mnist_cnn.tracking.runs import (
    KIND_TAG,
    NOTE_TAG,
    PROCESS_TAG,
    REASON_TAG,
    TrackedRun,
    TrackingError,
    read_arrays,
)

SWEEP_TAG, TRIAL_TAG, STATE_TAG, VALUES_TAG = "sweep", "trial", "state", "values"
"""Name of the sweep; the trial's number; how it ended; what the goals came to, as JSON."""

GOALS_TAG, OF_TAG = "goals", "sweep_of"
"""Of a sweep's run: its goals, separated by commas; the entry point whose settings it tries."""

STATUS = {"complete": "FINISHED", "pruned": "FINISHED", "failed": "FAILED", "lost": "KILLED"}
IMAGES_FILE = "images.npz"


ABOUT_TRIAL = """\
Trial {number} of the sweep `{sweep}`: its settings are the parameters, its numbers step by step the metrics;
the tags `state` and `reason` say how it ended.

**What to look at**: `film_strip.png`, the way of its images, where it has some; the sweep's own run above, whose
`sweep.html` shows all trials; select several and press *Compare*.
"""


@dataclass(frozen=True)
class Outcome:
    """How a trial ended, as its run says. state: `complete`, `pruned` or `failed`."""

    state: str
    values: list[float]
    reason: str


class TrialRun(TrackedRun):
    """The run of one trial."""

    def finish(self, state: str, reason: str, values: Sequence[float]) -> None:
        """Log how the trial ended, with the numbers that are still to be sent, and end the run."""
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
        NOTE_TAG: ABOUT_TRIAL.format(number=number, sweep=sweep),
    }
    run = TrialRun(client.create_run(_experiment_of(parent), tags=tags, run_name=f"trial {number}"))
    client.log_batch(run.run_id, params=[Param(name, word) for name, word in words.items() if word != ""])
    return run


@cache
def _experiment_of(run_id: str) -> str:
    return str(mlflow.MlflowClient().get_run(run_id).info.experiment_id)


def says(run: Run, state: str) -> bool:
    """Whether the run of a trial says that it ended so."""
    return bool(run.data.tags.get(STATE_TAG) == state and run.info.status == STATUS[state])


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
    return read_arrays(run_id, IMAGES_FILE)


def sweep_run(name: str) -> Run | None:
    """The run of the sweep of that name, in all experiments; None where there is none."""
    runs = _search(f"tags.{KIND_TAG} = 'sweep' AND tags.{SWEEP_TAG} = '{name}'")
    return runs[0] if runs else None


def is_there(run_id: str) -> bool:
    with suppress(MlflowException):
        return mlflow.MlflowClient().get_run(run_id).info.lifecycle_stage == "active"
    return False


def brought_back(run_id: str) -> bool:
    """Whether a run had been deleted, and is there again now."""
    client = mlflow.MlflowClient()
    with suppress(MlflowException):
        if client.get_run(run_id).info.lifecycle_stage == "deleted":
            client.restore_run(run_id)
            return True
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
        experiments = [_experiment_of(parent)]
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


@dataclass(frozen=True)
class TrialRecord:
    """What the run of a trial says. values: of the goals, empty unless it is complete. settings: as words."""

    number: int
    run_id: str
    state: str
    values: list[float]
    settings: Mapping[str, str]
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class SweepRecord:
    """What the run of a sweep and those below it say. goals: what it was for. trials: by number."""

    name: str
    run_id: str
    kind: str
    goals: tuple[str, ...]
    trials: tuple[TrialRecord, ...]

    @property
    def complete(self) -> list[TrialRecord]:
        return [trial for trial in self.trials if trial.state == "complete"]

    @property
    def best(self) -> TrialRecord:
        """By the first goal, the earliest of equals."""
        return max(self.complete, key=lambda trial: (sign(self.goals[0]) * trial.values[0], -trial.number))


def read_sweeps(words: Sequence[str]) -> list[SweepRecord]:
    """Sweeps by name or by their runs' ids; without any, all that have a complete trial, the oldest first.

    Raises `TrackingError` for one that is not there, or has no complete trial.
    """
    if words:
        found = [(word, sweep_run(word) or _run_of_sweep(word)) for word in words]
        missing = [word for word, run in found if run is None]
        if missing:
            known = ", ".join(run.data.tags.get(SWEEP_TAG, "") for run in _all_sweeps()) or "none"
            raise TrackingError(
                f"`sweeps`: {mlflow.get_tracking_uri()} holds no sweep {missing[0]!r}; there are: {known}."
            )
        records = [_record(run) for _, run in found if run is not None]
        empty = [record.name for record in records if not record.complete]
        if empty:
            raise TrackingError(f"`sweeps`: {empty[0]} has no trial yet that is complete.")
        return records
    records = [record for record in map(_record, reversed(_all_sweeps())) if record.complete]
    if not records:
        raise TrackingError(
            f"`sweeps`: {mlflow.get_tracking_uri()} holds no sweep with a complete trial; run `mlflow run . -e sweep`."
        )
    return records


def network_name(model_uri: str) -> str:
    """How a chart calls a network: `smooth, readable (m-1a2b)`."""
    model_id = model_uri.removeprefix("models:/")
    with suppress(MlflowException):
        tags = mlflow.get_logged_model(model_id).tags
        return f"{tags.get('network', 'network')}, {tags.get('regime', 'of unknown training')} ({model_id[:6]})"
    return model_uri


def _all_sweeps() -> list[Run]:
    """Newest first, without those that were killed before they could say what they are."""
    return [run for run in _search(f"tags.{KIND_TAG} = 'sweep'") if GOALS_TAG in run.data.tags]


def _run_of_sweep(run_id: str) -> Run | None:
    with suppress(MlflowException):
        run = mlflow.MlflowClient().get_run(run_id)
        return run if run.data.tags.get(KIND_TAG) == "sweep" and GOALS_TAG in run.data.tags else None
    return None


def _record(run: Run) -> SweepRecord:
    children = trial_runs(run.info.run_id)
    trials = [
        TrialRecord(
            number,
            child.info.run_id,
            child.data.tags.get(STATE_TAG, ""),
            json.loads(child.data.tags.get(VALUES_TAG, "[]")),
            child.data.params,
            child.data.metrics,
        )
        for number, child in sorted(children.items())
    ]
    tags = run.data.tags
    return SweepRecord(tags[SWEEP_TAG], run.info.run_id, tags[OF_TAG], tuple(tags[GOALS_TAG].split(",")), tuple(trials))
