"""Runs as a table for Python: typed settings and last numbers, a row for each run."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import mlflow
import pandas as pd
from mlflow.entities import Run, ViewType

from mnist_cnn.settings import ENTRY_POINTS
from mnist_cnn.settings.errors import SettingError
from mnist_cnn.settings.fields import Word, read
from mnist_cnn.tracking import reading, store, sweep_runs
from mnist_cnn.tracking.runs import KIND_TAG

RUN_COLUMNS = ("run_id", "name", "kind", "status", "started", "seconds")


def runs(kind: str = "", experiment: str = "") -> pd.DataFrame:
    """A row for each run, newest first: `RUN_COLUMNS`, settings as `params.NAME`, last numbers as `metrics.NAME`.

    kind: a command, or `trial`; without it, all. experiment: its name; without it, all. Settings are typed as their
    command has them (int, float, bool, str); a word that the command does not read stays a text.
    `started` is UTC. Raises `SettingError` for a kind or an experiment that does not exist.
    """
    if kind not in ("", "trial", "experiment", "other", *ENTRY_POINTS):
        raise SettingError(f"`kind` must be a command or `trial`; got {kind!r}. Known are: {', '.join(ENTRY_POINTS)}.")
    store.open_store()
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
    frame[typed] = frame[typed].convert_dtypes()  # of whole numbers and truth values, some of which may lack
    frame["started"] = pd.to_datetime(frame["started"], unit="ms", utc=True)
    return frame


def _row(run: Run) -> dict[str, Any]:
    info, kind = run.info, run.data.tags.get(KIND_TAG, "")
    command = sweep_runs.command_of_trial(run) if kind == "trial" else kind
    values = (info.run_id, info.run_name, kind, info.status, info.start_time, reading.seconds_of(run))
    return {
        **dict(zip(RUN_COLUMNS, values, strict=True)),
        **{f"params.{name}": value for name, value in _typed(command, reading.params_of(run)).items()},
        **{f"metrics.{name}": value for name, value in run.data.metrics.items()},
    }


def _typed(command: str, words: Mapping[str, str]) -> dict[str, Any]:
    known = ENTRY_POINTS[command].model_fields if command in ENTRY_POINTS else {}
    typed: dict[str, Any] = dict(words)
    for name, field in known.items():
        if name in words:
            with suppress(ValueError, SettingError):
                typed[name] = read(field, Word(words[name]))
    return typed
