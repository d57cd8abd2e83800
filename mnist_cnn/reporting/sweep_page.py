"""A sweep in words, tables and one HTML page that holds its pictures and needs nothing else."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mnist_cnn.data.intervals import Difference, Share
from mnist_cnn.reporting.pages import cell, chart, document, images_cell, number_or_word, short, table
from mnist_cnn.settings import sign
from mnist_cnn.sweeps.study import REASON, RUN_ID, Study, state_of, values_of
from mnist_cnn.sweeps.trials import ImagesOf

MOST_WITH_IMAGES = 40
"""So many of the best trials are shown with their images in a page's table."""

CAPTIONS = {
    "best_side_by_side": "The last images of the best trial of each sweep, target by target.",
    "optimisation_history": "Every trial, and the best so far.",
    "pareto_front": "No trial is better than the orange ones in both goals; their images are below.",
    "regularisation": "The goal against the L2 weight, start by start, whatever the other settings were. Hollow: "
    "trials that were ended early, which no line counts. Below: images of the best trial in each ninth of the axis, "
    "with its weight and what the goal came to; the best of many is higher than the best of few.",
    "parameter_importances": "How much of the goal's variation over the complete trials goes with each setting "
    "(fANOVA); where a sweep tried much in one place and little elsewhere, it says little of elsewhere.",
    "slices": "The goal against each setting.",
    "contour": "The goal over pairs of the settings that matter most.",
    "parallel_coordinates": "A line for each trial.",
    "intermediate_values": "The goal on the way of each trial.",
}

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from mnist_cnn.tracking.sweep_runs import SweepRecord


@dataclass(frozen=True)
class Compared:
    """A sweep among others. confirmed: share recognised of its best trial's settings on starts it was not chosen by."""

    record: SweepRecord
    confirmed: Share | None


def ranked(one: Study) -> list[FrozenTrial]:
    """Trials with values, the best by the first goal first, then the others by number."""
    complete = [trial for trial in one.trials() if state_of(trial) == "complete"]
    rest = [trial for trial in one.trials() if state_of(trial) != "complete"]
    return sorted(complete, key=lambda trial: (-sign(one.goals[0]) * trial.values[0], trial.number)) + rest


def trials_table(one: Study) -> dict[str, list[Any]]:
    """A line for each trial, by number, as columns."""
    trials = one.trials()
    columns: dict[str, list[Any]] = {
        "trial": [trial.number for trial in trials],
        "state": [state_of(trial) for trial in trials],
        "reason": [trial.user_attrs.get(REASON, trial.user_attrs.get("lost", "")) for trial in trials],
    }
    for index, goal in enumerate(one.goals):
        columns[goal] = [values_of(trial)[index] if values_of(trial) else None for trial in trials]
    for name in one.space.varied:
        columns[name] = [trial.params.get(name) for trial in trials]
    columns["seconds"] = [round(t.duration.total_seconds(), 2) if t.duration else None for t in trials]
    columns["run_id"] = [trial.user_attrs.get(RUN_ID, "") for trial in trials]
    return columns


def best_table(one: Study, most: int = 5) -> str:
    """The best trials (with two goals: those that no other beats in both) as a Markdown table."""
    trials = one.best() if len(one.goals) > 1 else [trial for trial in ranked(one) if values_of(trial)]
    if not trials:
        return "No trial is complete yet."
    names = list(one.space.varied)
    lines = [f"| trial | {' | '.join([*one.goals, *names])} |", "|---" * (1 + len(one.goals) + len(names)) + "|"]
    for trial in trials[:most]:
        cells = [short(value) for value in [*trial.values, *(trial.params.get(name) for name in names)]]
        lines.append(f"| {trial.number} | {' | '.join(cells)} |")
    return "\n".join(lines)


def how_to_repeat(one: Study) -> str:
    """The command that repeats the best trial: all its snapshots, or a network trained so; empty before the first."""
    best = one.best()
    if not best:
        return ""
    if "targets" in one.space.trial.names():
        return f"mlflow run . -e optimize -P from_trial={one.name}:{best[0].number}"
    words = one.space.at(best[0].params).as_words()
    defaults = one.space.trial.resolve({}).as_words()
    given = " ".join(f"-P {name}={word}" for name, word in words.items() if word != defaults[name])
    return f"mlflow run . -e train {given}"


def of_sweep(one: Study, how_to_open: str) -> str:
    """The description of a sweep's run, as Markdown."""
    states = [state_of(trial) for trial in one.trials()]
    told = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    command = how_to_repeat(one)
    again = f"\nThe best once more: `{command}`\n" if command else ""
    return f"""\
A sweep for **{" and ".join(one.goals)}**: {told or "no trial yet"}.

{best_table(one)}
{again}
**What to look at**

- `sweep.html`: everything on one page, each trial with its images; a click on a column sorts.
- `figures/`: history, what matters, slices, contour, parallel coordinates, and what regularisation does.
- The runs below this one are the trials. Select them and press *Compare* for MLflow's own charts.
- `trials.json`: a line for each trial. {how_to_open}
"""


def page(one: Study, charts: Mapping[str, bytes], images_of: ImagesOf) -> str:
    """One HTML page without any other file: best trials, charts, and every trial with its settings and images."""
    states = [state_of(trial) for trial in one.trials()]
    told = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    best = one.best()
    head = ""
    if best:
        came_to = ", ".join(f"{goal} {short(value)}" for goal, value in zip(one.goals, best[0].values, strict=True))
        head = f"<p>Best: trial {best[0].number}, <b>{html.escape(came_to)}</b>.</p>"
    return document(
        f"Sweep {one.name}",
        f"For {' and '.join(one.goals)}. Trials: {told}.",
        [head, *figures(charts), "<h2>Trials</h2>", _trials(one, images_of)],
    )


def figures(charts: Mapping[str, bytes]) -> list[str]:
    """Each picture within the page, with what it shows."""

    def caption(name: str) -> str:
        return next((text for start, text in CAPTIONS.items() if name.startswith(start)), name.replace("_", " "))

    return [chart(picture, name, caption(name)) for name, picture in charts.items()]


def _trials(one: Study, images_of: ImagesOf) -> str:
    rows = []
    for place, trial in enumerate(ranked(one)):
        run_id = trial.user_attrs.get(RUN_ID, "")
        finals = images_of(run_id).get("finals") if run_id and values_of(trial) and place < MOST_WITH_IMAGES else None
        reason = trial.user_attrs.get(REASON, trial.user_attrs.get("lost", ""))
        cells = [
            cell(trial.number),
            images_cell(finals),
            *(map(cell, values_of(trial)) if values_of(trial) else [cell(None)] * len(one.goals)),
            *(cell(trial.params.get(name)) for name in one.space.varied),
            cell(round(trial.duration.total_seconds(), 1) if trial.duration else None),
            cell(f"{state_of(trial)}{': ' if reason else ''}{reason}"),
        ]
        rows.append((state_of(trial), cells))
    return table(["trial", "last images", *one.goals, *one.space.varied, "seconds", "state"], rows)


SHOWN_SETTINGS = ("start", "learning_rate", "l2_weight", "tv_weight", "smoothness_weight", "temperature", "pose")
"""Of the best trial of a sweep, in a table that compares; a page has all of them."""


def best_line(compared: Compared) -> str:
    """`my-sweep, trial 12: recognised 0.84; on new starts 81.0 (72.0 to 88.0) %`."""
    record = compared.record
    came_to = ", ".join(f"{goal} {short(value)}" for goal, value in zip(record.goals, record.best.values, strict=True))
    again = f"; on new starts {share(compared.confirmed)} % recognised" if compared.confirmed else ""
    return f"{record.name}, trial {record.best.number}: {came_to}{again}"


def share(one: Share) -> str:
    """Percent, with its interval."""
    return f"{100 * one.rate:.1f} ({100 * one.low:.1f} to {100 * one.high:.1f})"


def comparison_columns(compared: Sequence[Compared]) -> dict[str, list[Any]]:
    """A line for each sweep, as columns."""
    records = [each.record for each in compared]
    columns: dict[str, list[Any]] = {
        "sweep": [record.name for record in records],
        "goal": [",".join(record.goals) for record in records],
        "complete": [len(record.complete) for record in records],
        "pruned": [sum(trial.state == "pruned" for trial in record.trials) for record in records],
        "failed": [sum(trial.state == "failed" for trial in record.trials) for record in records],
        "best trial": [record.best.number for record in records],
        "best": [record.best.values[0] for record in records],
        "recognised on new starts, %": [share(each.confirmed) if each.confirmed else "" for each in compared],
    }
    for name in SHOWN_SETTINGS:
        words = [record.best.settings.get(name, "") for record in records]
        if any(words):
            columns[name] = [number_or_word(word) for word in words]
    columns["run_id"] = [record.run_id for record in records]
    return columns


def comparison_table(compared: Sequence[Compared]) -> str:
    """The same as a Markdown table."""
    columns = {name: values for name, values in comparison_columns(compared).items() if name != "run_id"}
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    lines += [f"| {' | '.join(short(value) for value in row)} |" for row in zip(*columns.values(), strict=True)]
    return "\n".join(lines)


def differences_text(differences: Sequence[Difference]) -> str:
    """Which sweeps' bests differ by more than noise, in words, as a Markdown list."""
    if not differences:
        return "No two sweeps have a share recognised on new starts, so no difference can be held against noise."
    lines = []
    for one in differences:
        points = f"{100 * one.difference:+.1f} points ({100 * one.low:+.1f} to {100 * one.high:+.1f})"
        verdict = "more than noise" if one.is_more_than_noise else "not more than noise"
        lines.append(f"- {one.first} against {one.second}: {points}: **{verdict}**")
    return "\n".join(lines)


def of_comparison(compared: Sequence[Compared], differences: Sequence[Difference]) -> str:
    return f"""\
{comparison_table(compared)}

The best of a sweep was chosen by the value in *best*, and so was lucky too; *on new starts* is the same settings
from starts that no sweep has seen (95 % interval). Differences of those, with their 95 % intervals:

{differences_text(differences)}

**What to look at**

- `compare.html`: everything on one page. `figures/best_side_by_side.png`: the best of each.
- `figures/..._against_....png`: scores along a setting, on common axes.
"""


def comparison_page(
    compared: Sequence[Compared],
    differences: Sequence[Difference],
    charts: Mapping[str, bytes],
    images_of: ImagesOf,
) -> str:
    """One HTML page without any other file."""
    columns = comparison_columns(compared)
    rows = []
    for each, row in zip(compared, zip(*columns.values(), strict=True), strict=True):
        rows.append(("", [images_cell(images_of(each.record.best.run_id).get("finals")), *map(cell, row)]))
    list_items = "".join(f"<li>{_bold(line[2:])}</li>" for line in differences_text(differences).splitlines())
    note = (
        '<p class="quiet">The best of a sweep was chosen by the value in <i>best</i>, and so was lucky too; '
        "<i>on new starts</i> is the same settings from starts that no sweep has seen (95 % interval).</p>"
    )
    return document(
        "Sweeps side by side",
        ", ".join(each.record.name for each in compared),
        [table(["best images", *columns], rows), note, f"<h2>Differences</h2><ul>{list_items}</ul>", *figures(charts)],
    )


def _bold(line: str) -> str:
    first, mark, rest = html.escape(line).partition("**")
    return f"{first}<b>{rest.removesuffix('**')}</b>" if mark else first
