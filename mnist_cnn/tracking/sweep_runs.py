"""The runs of a sweep in MLflow: one for the sweep, one below it for each trial, and how to find them again."""

from __future__ import annotations

import itertools
import json
import os
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.entities import Param, Run, ViewType
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray

from mnist_cnn.settings import ENTRY_POINTS, OptimizeSettings, TrainSettings
from mnist_cnn.sweeps.records import SweepRecord, TrialRecord
from mnist_cnn.tracking import reading, store
from mnist_cnn.tracking.heartbeat import HEARTBEAT_OF_TAG, LONGEST_TAG, NOTE_TAG, REASON_TAG
from mnist_cnn.tracking.runs import KIND_TAG, PARENT_TAG, TrackedRun
from mnist_cnn.tracking.store import TrackingError

SWEEP_TAG, TRIAL_TAG, STATE_TAG, VALUES_TAG = "sweep", "trial", "state", "values"
"""Name of the sweep; the trial's number; how it ended; what the goals came to, as JSON."""

GOALS_TAG, OF_TAG = "goals", "sweep_of"
"""Of a sweep's run: its goals, separated by commas; the command whose settings it tries."""

STATUS = {"complete": "FINISHED", "pruned": "FINISHED", "failed": "FAILED", "lost": "KILLED"}
IMAGES_FILE = "images.npz"

ABOUT_TRIAL = Path(__file__).with_name("about_trial.md")


class TrialRun(TrackedRun):
    """The run of one trial: a `mnist_cnn.sweeps.worker.TrialLog`. goals: of its sweep."""

    goals: Sequence[str] = ()

    def log_files(self, files: Mapping[str, bytes], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Log small files, and one .npz of arrays."""
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                (Path(folder) / name).write_bytes(content)
            np.savez_compressed(Path(folder) / IMAGES_FILE, **arrays)  # type: ignore[arg-type]
            self._client.log_artifacts(self.run_id, folder)

    def finish(self, state: str, reason: str, values: Sequence[float]) -> None:
        """Log how the trial ended, which its name says from now on, and end the run."""
        outcome = ", ".join(_came_to(goal, value) for goal, value in zip(self.goals, values, strict=False))
        self.rename(f"{self.name.partition(':')[0]}: {outcome or state}")
        tags = {STATE_TAG: state, REASON_TAG: reason[:LONGEST_TAG], VALUES_TAG: json.dumps(list(values))}
        self.set_tags(tags)
        self._client.set_terminated(self.run_id, STATUS[state])


def _came_to(goal: str, value: float) -> str:
    """`98 % recognised`, `merit 0.51`."""
    is_share = goal == "recognised" or goal.endswith("accuracy")
    return f"{100 * value:.4g} % {goal.replace('_', ' ')}" if is_share else f"{goal} {value:.4g}"


class SweepRuns:
    """The runs of one sweep's trials: a `mnist_cnn.sweeps.worker.SweepLog`."""

    def __init__(self, run_id: str, sweep: str) -> None:
        """run_id: of the sweep's own run, which is there already."""
        self._parent, self._sweep = run_id, sweep
        parent = reading.get_run(run_id)
        self._experiment: str = parent.info.experiment_id
        self._outermost = parent.data.tags.get(HEARTBEAT_OF_TAG, run_id)
        self._goals = parent.data.tags.get(GOALS_TAG, "").split(",")

    def start_trial(self, number: int, settings: Mapping[str, str]) -> TrialRun:
        """A run for a trial. settings: as words, which become the parameters."""
        client = mlflow.MlflowClient()
        tags = {
            PARENT_TAG: self._parent,
            HEARTBEAT_OF_TAG: self._outermost,
            "mlflow.user": os.environ.get("USER", "") or "unknown",
            KIND_TAG: "trial",
            SWEEP_TAG: self._sweep,
            TRIAL_TAG: str(number),
            STATE_TAG: "running",
            NOTE_TAG: ABOUT_TRIAL.read_text().format(number=number, sweep=self._sweep),
        }
        run = client.create_run(self._experiment, tags=tags, run_name=f"trial {number}")
        params = [Param(name, word) for name, word in settings.items() if word != ""]
        client.log_batch(run.info.run_id, params=params)
        return self._trial(run)

    def trial_log(self, number: int) -> TrialRun | None:
        run = _trial_run(self._parent, self._experiment, str(number))
        return self._trial(run) if run else None

    def _trial(self, run: Run) -> TrialRun:
        trial = TrialRun(run)
        trial.goals = self._goals
        return trial

    def states(self) -> dict[int, str]:
        """How each trial ended by what its run says; empty where the run has not ended so.

        A person may have deleted the run of a trial: it says what it said.
        """
        found = {}
        for number, run in _trial_runs(self._parent, self._experiment, ViewType.ALL).items():
            state = run.data.tags.get(STATE_TAG, "")
            found[number] = state if run.info.status == STATUS.get(state) else ""
        return found


def tag_sweep(run: TrackedRun, name: str, kind: str, goals: Sequence[str]) -> None:
    """Say of a run that it is a sweep's. kind: the command whose settings are tried."""
    run.set_tags({SWEEP_TAG: name, OF_TAG: kind, GOALS_TAG: ",".join(goals)})


def images_of(run_id: str) -> dict[str, NDArray[Any]]:
    """The arrays that `log_files` logged; empty where there are none."""
    return reading.read_arrays(run_id, IMAGES_FILE)


def run_id_of(sweep: str) -> str:
    """Id of the run of the sweep of that name, in all experiments; empty where there is none."""
    return next((str(run.info.run_id) for run in _all_sweeps() if run.data.tags[SWEEP_TAG] == sweep), "")


def restore(run_id: str) -> bool:
    """Restore the run of a sweep and those of its trials where it was deleted. False where there was nothing to do.

    Raises `TrackingError` where its experiment was deleted.
    """
    client = mlflow.MlflowClient()
    run = client.get_run(run_id)
    experiment = client.get_experiment(run.info.experiment_id)
    if experiment.lifecycle_stage == "deleted":
        raise TrackingError(
            f"`sweep`: the experiment {experiment.name} of its run {run_id} was deleted. Restore it: "
            f"mlflow experiments restore --experiment-id {experiment.experiment_id}. Or give another name."
        )
    if run.info.lifecycle_stage == "active":
        return False
    client.restore_run(run_id)
    for trial in _trial_runs(run_id, experiment.experiment_id, ViewType.DELETED_ONLY).values():
        client.restore_run(trial.info.run_id)
    return True


def settings_of_trial(trial: str) -> OptimizeSettings | TrainSettings:
    """The settings of a trial, by SWEEP:NUMBER or the id of its run. Raises `TrackingError`."""
    sweep, colon, number = trial.rpartition(":")
    run_id = trial
    if colon:
        parent = run_id_of(sweep) or (sweep if reading.is_there(sweep) else "")
        if not parent:
            raise TrackingError(f"`trial`: {store.shown_uri()} holds no sweep {sweep!r}.")
        found = _trial_run(parent, reading.get_run(parent).info.experiment_id, number) if number.isdecimal() else None
        if found is None:
            raise TrackingError(f"`trial`: the sweep {sweep} has no trial {number!r}.")
        run_id = found.info.run_id
    try:
        run = reading.get_run(run_id)
    except MlflowException as error:
        raise TrackingError(
            f"`trial` must be of the form SWEEP:NUMBER, or the id of a trial's run; got {trial!r}."
        ) from error
    if run.data.tags.get(KIND_TAG) != "trial":
        raise TrackingError(f"`trial`: the run {run_id} is not a trial of a sweep.")
    command, words = words_of_trial(run)
    cls = TrainSettings if command == TrainSettings.COMMAND else OptimizeSettings
    return cls.from_words(words)


def words_of_trial(run: Run) -> tuple[str, dict[str, str]]:
    """The command whose settings a trial tried, and those settings as words."""
    command = command_of_trial(run)
    known = set(ENTRY_POINTS[command].names())
    return command, {name: word for name, word in run.data.params.items() if name in known}


def command_of_trial(run: Run) -> str:
    """`optimize` or `train`."""
    return (OptimizeSettings if "targets" in run.data.params else TrainSettings).COMMAND


def free_name(name: str) -> str:
    """That name, or else the first of `NAME-2`, `NAME-3`, ... that no sweep has."""
    taken = {run.data.tags[SWEEP_TAG] for run in _all_sweeps()}
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(free for free in names if free not in taken)


def read_sweeps(names: str) -> list[SweepRecord]:
    """Sweeps by names or their runs' ids, with commas; without any, all that have a complete trial, the oldest first.

    Raises `TrackingError` for one that is not there, or has no complete trial.
    """
    if not names.strip():
        records = [_record(run) for run in reversed(_all_sweeps())]
        complete = [record for record in records if record.complete]
        if not complete:
            raise TrackingError(f"`sweeps`: {store.shown_uri()} holds none; run `mlflow run . -e sweep` first.")
        return complete
    chosen = []
    for name in split_names(names, {run.data.tags[SWEEP_TAG] for run in _all_sweeps()}):
        run_id = run_id_of(name) or name
        if not reading.is_there(run_id) or GOALS_TAG not in (run := reading.get_run(run_id)).data.tags:
            known = ", ".join(run.data.tags[SWEEP_TAG] for run in _all_sweeps()) or "none"
            raise TrackingError(f"`sweeps`: {store.shown_uri()} holds no sweep {name!r}; there are: {known}.")
        chosen.append(_record(run))
    for record in chosen:
        if not record.complete:
            raise TrackingError(f"`sweeps`: {record.name} has no complete trial yet.")
    return chosen


def split_names(names: str, known: Collection[str]) -> list[str]:
    """Names between commas; a name that is known may hold commas itself."""
    pieces = names.split(",")
    lengths = range(len(pieces), 0, -1)
    longest = next(n for n in lengths if n == 1 or ",".join(pieces[:n]).strip() in known)
    rest = split_names(",".join(pieces[longest:]), known) if longest < len(pieces) else []
    return [name for name in [",".join(pieces[:longest]).strip(), *rest] if name]


def _all_sweeps() -> list[Run]:
    """Newest first, without those that were killed before they could say what they are."""
    return [run for run in reading.search(f"tags.{KIND_TAG} = 'sweep'") if GOALS_TAG in run.data.tags]


def _trial_run(parent: str, experiment: str, number: str) -> Run | None:
    condition = f"tags.`{PARENT_TAG}` = '{parent}' AND tags.{TRIAL_TAG} = '{number}'"
    found = reading.search(condition, [experiment])
    return found[0] if found else None


def _trial_runs(parent: str, experiment: str, view: int = ViewType.ACTIVE_ONLY) -> dict[int, Run]:
    found = reading.search(f"tags.`{PARENT_TAG}` = '{parent}' AND tags.{KIND_TAG} = 'trial'", [experiment], view)
    return {int(run.data.tags[TRIAL_TAG]): run for run in found}


def _record(run: Run) -> SweepRecord:
    def trial(number: int, run: Run) -> TrialRecord:
        tags = run.data.tags
        values = tuple(json.loads(tags.get(VALUES_TAG, "[]")))
        return TrialRecord(
            number, run.info.run_id, tags.get(STATE_TAG, ""), values, run.data.params, run.data.metrics,
            tags.get(REASON_TAG, ""),
        )  # fmt: skip

    tags = run.data.tags
    below = sorted(_trial_runs(run.info.run_id, run.info.experiment_id).items())
    trials = tuple(trial(number, child) for number, child in below)
    return SweepRecord(tags[SWEEP_TAG], run.info.run_id, tags[OF_TAG], tuple(tags[GOALS_TAG].split(",")), trials)
