"""Runs as a table for Python: typed settings and last numbers, a row for each run."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import mlflow
import pandas as pd
from mlflow.entities import Run, ViewType

from mnist_cnn.settings import ENTRY_POINTS, Settings, SweepTrainingSettings, TrainSettings
from mnist_cnn.settings.errors import SettingError
from mnist_cnn.settings.fields import Word, read
from mnist_cnn.tracking import reading, store, sweep_runs
from mnist_cnn.tracking.runs import KIND_TAG

MADE_AS = {
    "resume": "train", "replay": "that of the trial's command, `optimize` or `train`", "sweep_training": "sweep",
    "sweep_file": "sweep", "again": "that of the run which was done again",
}  # fmt: skip
"""Commands whose runs are of another kind, and of which."""

OTHER_KINDS = ("trial", "experiment", "continuation", "other")
"""Kinds that no command is named after."""

RUN_COLUMNS = ("run_id", "name", "kind", "status", "started", "seconds")


def runs(kind: str = "", experiment: str = "") -> pd.DataFrame:
    """A row for each run, newest first: `RUN_COLUMNS`, settings as `params.NAME`, last numbers as `metrics.NAME`.

    kind: of the runs, as their tag says; without it, all. experiment: its name; without it, all. Settings are typed as
    their command has them (int, float, bool, str); a word that the command does not read stays a text.
    `started` is UTC. Raises `SettingError` for a kind that no run can have, or an experiment that does not exist.
    """
    store.open_store()
    if kind in MADE_AS or kind not in ("", *OTHER_KINDS, *ENTRY_POINTS):
        hint = f" Runs of this command are of the kind {MADE_AS[kind]}." if kind in MADE_AS else ""
        there = sorted({run.data.tags[KIND_TAG] for run in reading.search("") if KIND_TAG in run.data.tags})
        raise SettingError(
            f"`kind` must be a command or `trial`; got {kind!r}.{hint} There are: {', '.join(there) or 'none'}."
        )
    places: list[str] = []
    if experiment:
        found = mlflow.get_experiment_by_name(experiment)
        if found is None:
            names = sorted(each.name for each in mlflow.search_experiments(view_type=ViewType.ACTIVE_ONLY))
            raise SettingError(
                f"`experiment` must be the name of one; got {experiment!r}. There are: {', '.join(names)}."
            )
        places = [found.experiment_id]
    rows = [_row(run) for run in reading.search(f"tags.{KIND_TAG} = '{kind}'" if kind else "", places)]
    others = {name for row in rows for name in row} - {*RUN_COLUMNS}
    frame = pd.DataFrame(rows, columns=[*RUN_COLUMNS, *sorted(others, reverse=True)])
    typed = [name for name in frame if name.startswith("params.")]
    for name in typed:  # whole numbers and truth values, some of which may lack; a float stays one, whatever its value
        is_float = any(isinstance(value, float) and not math.isnan(value) for value in frame[name])
        frame[name] = _as_floats(frame[name]) if is_float else frame[name].convert_dtypes()
    frame["started"] = pd.to_datetime(frame["started"], unit="ms", utc=True)
    return frame


def _as_floats(column: pd.Series) -> pd.Series:
    """As numbers, where all are; a text among them, which no command reads, leaves the column as it is."""
    is_text = any(isinstance(value, str) for value in column)
    return column if is_text else column.astype("Float64")


def _row(run: Run) -> dict[str, Any]:
    info, kind = run.info, run.data.tags.get(KIND_TAG, "")
    values = (info.run_id, info.run_name, kind, info.status, info.start_time, reading.seconds_of(run))
    return {
        **dict(zip(RUN_COLUMNS, values, strict=True)),
        **{f"params.{name}": value for name, value in _typed(run, kind).items()},
        **{f"metrics.{name}": value for name, value in run.data.metrics.items()},
    }


def _typed(run: Run, kind: str) -> dict[str, Any]:
    """The parameters as the settings of the command that made the run have them."""
    cls, words = _settings_of(run, kind), reading.params_of(run)
    typed: dict[str, Any] = dict(words)
    for name, field in (cls.fields_of(words) if cls else {}).items():
        if name in words:
            with suppress(ValueError, SettingError):
                typed[name] = read(field, Word(words[name]))
    return typed


def _settings_of(run: Run, kind: str) -> type[Settings] | None:
    if kind == "trial":
        return ENTRY_POINTS[sweep_runs.command_of_trial(run)]
    if kind == "sweep" and run.data.tags.get(sweep_runs.OF_TAG) == TrainSettings.COMMAND:
        return SweepTrainingSettings
    return ENTRY_POINTS.get("experiments" if kind == "experiment" else kind)
