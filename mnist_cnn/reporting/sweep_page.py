"""A sweep as one page, as a description, and as tables: its trials, its best, and how to repeat them."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from markupsafe import Markup
from optuna.trial import FrozenTrial

from mnist_cnn.reporting import formats, tables
from mnist_cnn.reporting.pages import Row, Table, images_cell
from mnist_cnn.reporting.rendering import render
from mnist_cnn.settings import sign
from mnist_cnn.sweeps.outcomes import RUN_ID, reason_of, state_of, values_of
from mnist_cnn.sweeps.study import Study
from mnist_cnn.sweeps.trials import ImagesOf

MOST_WITH_IMAGES = 40
"""So many of the best trials are shown with their images in a page's table."""

MOST_REPEATED = 3
"""Commands are given for no more trials of a Pareto front than this."""


def ranked(study: Study) -> list[FrozenTrial]:
    """Complete trials, the best by the first goal first; then the others by number."""
    complete = [trial for trial in study.trials() if values_of(trial)]
    rest = [trial for trial in study.trials() if not values_of(trial)]
    return sorted(complete, key=lambda trial: (-sign(study.goals[0]) * trial.values[0], trial.number)) + rest


def trials_columns(study: Study) -> dict[str, list[Any]]:
    """A line for each trial, by number, as columns."""
    headings = ["trial", "state", "reason", *study.goals, *study.space.varied, "seconds", "run_id"]
    rows = [
        [trial.number, state_of(trial), reason_of(trial), *_values(study, trial), _seconds(trial, 2),
         trial.user_attrs.get(RUN_ID, "")]
        for trial in study.trials()
    ]  # fmt: skip
    return {heading: [row[place] for row in rows] for place, heading in enumerate(headings)}


def best_table(study: Study, most: int = 5) -> str:
    """The `most` best trials (with two goals: the whole Pareto front) with their settings, as a Markdown table."""
    trials = study.best()
    if len(study.goals) == 1:
        trials = [trial for trial in ranked(study) if values_of(trial)][:most]
    if not trials:
        return Markup("No trial is complete yet.")
    rows = [[trial.number, *map(formats.number, _values(study, trial))] for trial in trials]
    return tables.as_markdown(["trial", *study.goals, *study.space.varied], rows)


def how_to_repeat(study: Study) -> list[str]:
    """Commands, shell-quoted: of the best trial, or of the first trials of a Pareto front. Empty before the first.

    A search is repeated with all its snapshots (`replay`), a training with all its settings (`train`).
    """
    trials = study.best()[:MOST_REPEATED]
    if "targets" in study.space.trial.names():
        return [f"mlflow run . -e replay -P {shlex.quote(f'trial={study.name}:{trial.number}')}" for trial in trials]
    return [str(study.space.at(trial.params).command_line()) for trial in trials]


def description(study: Study, charts: Collection[str], how_to_open: str = "") -> str:
    """The description of a sweep's run, as Markdown. charts: names of those drawn. how_to_open: one line, Markdown."""
    return render(
        "descriptions/sweep.md", study=study, states=_states(study), front=study.best(), table=best_table(study),
        commands=how_to_repeat(study), charts=charts, how_to_open=Markup(how_to_open),
    )  # fmt: skip


def page(study: Study, charts: Mapping[str, bytes], images_of: ImagesOf) -> str:
    """One HTML page without any other file: best trials, charts, and every trial with its settings and images."""
    return render(
        "sweep.html", title=f"Sweep {study.name}", goals=study.goals, front=study.best(), result=result, charts=charts,
        subtitle=f"For {' and '.join(study.goals)}. Trials: {_states(study)}.", trials=_trials_table(study, images_of),
    )  # fmt: skip


def result(goals: Sequence[str], values: Sequence[float]) -> str:
    """`recognised 0.84, diversity 0.5`."""
    return ", ".join(f"{goal} {formats.number(value)}" for goal, value in zip(goals, values, strict=True))


def _trials_table(study: Study, images_of: ImagesOf) -> Table:
    rows = []
    for place, trial in enumerate(ranked(study)):
        is_shown = RUN_ID in trial.user_attrs and values_of(trial) and place < MOST_WITH_IMAGES
        finals = images_of(trial.user_attrs[RUN_ID]).get("finals") if is_shown else None
        state = ": ".join(filter(None, (state_of(trial), reason_of(trial))))
        cells = [trial.number, images_cell(finals), *_values(study, trial), _seconds(trial, 1), state]
        rows.append(Row(cells, state_of(trial)))
    return Table(["trial", "last images", *study.goals, *study.space.varied, "seconds", "state"], rows)


def _values(study: Study, trial: FrozenTrial) -> list[Any]:
    """Of the goals and of the varied settings, None where a trial has none."""
    goals = values_of(trial) or [None] * len(study.goals)
    return [*goals, *(trial.params.get(name) for name in study.space.varied)]


def _states(study: Study) -> str:
    """`7 complete, 1 failed`."""
    states = [state_of(trial) for trial in study.trials()]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)) or "no trial yet"


def _seconds(trial: FrozenTrial, digits: int) -> float | None:
    return round(trial.duration.total_seconds(), digits) if trial.duration else None
