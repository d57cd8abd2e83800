"""Runs told apart on one page: only what differs, the numbers with their intervals, curves and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mnist_cnn.data.intervals import Difference
from mnist_cnn.reporting import formats
from mnist_cnn.reporting.comparison_page import verdicts
from mnist_cnn.reporting.figure_style import as_svg, styled
from mnist_cnn.reporting.pages import Cell, Row, Table
from mnist_cnn.reporting.pages import cell as as_cell
from mnist_cnn.reporting.rendering import markdown, on_terminal, render
from mnist_cnn.reporting.tables import as_markdown
from mnist_cnn.settings.fields import cut

LETTERS = "ABCDEFGH"
"""Runs are called by these, since names may be long, and alike."""

MOST_CURVES, MOST_PICTURES, MOST_FILES = 12, 6, 5
GROUPS = ("settings", "code", "data", "versions and hardware")

LONGEST = 6500
"""Characters of the description: MLflow cuts it at 8,000, with the command below it."""

NO_DIFFERENCE = "No difference is noted in settings, code, data and versions."
NONE_SEEN = "No difference is seen in what can be read."

MOST_CODE = 200_000
"""Characters of a change of code that are shown."""

Curves = Mapping[str, Mapping[int, float]]


@dataclass(frozen=True)
class RunShown:
    """What is known of a run. made_of: for each of `GROUPS` its words by name. metrics: last values.

    curves: step -> value of each metric that has several. pictures: PNGs by name. unreachable: why its files are not
    read; empty where they are.
    """

    run_id: str
    name: str
    kind: str
    state: str
    seconds: float
    made_of: Mapping[str, Mapping[str, str]]
    metrics: Mapping[str, float]
    curves: Curves
    pictures: Mapping[str, bytes]
    unreachable: str = ""


@dataclass(frozen=True)
class CodeChange:
    """A change of code from one run to another, or what a run had not committed. patch: as `git diff` prints it."""

    about: str
    files: Sequence[str]
    patch: str

    @property
    def title(self) -> str:
        """`Not committed in A: loop.py, train.py and 3 more`."""
        more = f" and {len(self.files) - MOST_FILES} more" if len(self.files) > MOST_FILES else ""
        return f"{self.about}: {', '.join(self.files[:MOST_FILES])}{more}"

    @property
    def shown(self) -> str:
        left = len(self.patch) - MOST_CODE
        return self.patch if left <= 0 else f"{self.patch[:MOST_CODE]}\n{left:,} characters more"


def page(
    runs: Sequence[RunShown], differences: Sequence[tuple[str, Difference]], code: Sequence[CodeChange] = ()
) -> str:
    """One HTML page without any other file. differences: of shares, each with the metric's name."""
    letters = LETTERS[: len(runs)]
    groups = {group: rows for group in GROUPS if (rows := differing(runs, group))}
    words = {group: [run.made_of.get(group, {}) for run in runs] for group in GROUPS}
    same = [
        group for group, noted in words.items() if any(noted[0].values()) and all(each == noted[0] for each in noted)
    ]
    return render(
        "diff.html",
        title="Runs told apart",
        subtitle=", ".join(f"{letter}: {run.name}" for letter, run in zip(letters, runs, strict=True)),
        runs=_overview(runs),
        unreachable=_unreachable(runs),
        groups={group: Table([group, *letters], rows) for group, rows in groups.items()},
        none=_none(runs),
        code=code,
        same=same,
        partly=[group for group in GROUPS if group not in groups and group not in same],
        metrics=Table(["metric", *letters], metrics(runs)),
        differences=_verdict_rows(differences),
        curves={name: Markup(as_svg(figure)) for name, figure in _curves(runs).items()},
        pictures=_pictures(runs),
    )


def description(runs: Sequence[RunShown], differences: Sequence[tuple[str, Difference]]) -> str:
    """The description of the run that holds the page, as Markdown: of what differs as much as MLflow keeps."""
    named = [(letter, cut(run.name), run) for letter, run in _named(runs)]
    room = LONGEST - sum(len(markdown(name)) + len(run.run_id) + 40 for _, name, run in named)
    rows, verdicts = _differing_rows(runs), _verdict_rows(differences)
    # what most runs have a word for comes first
    own = _that_fit(sorted(rows, key=lambda row: row.count("–")), 2 * room // 3)
    shown = _that_fit([list(verdict.values()) for verdict in verdicts], room // 3)
    return render(
        "descriptions/diff.md", runs=named, no_difference=_none(runs),
        table=_as_table(runs, [row for row in rows if row in own]), more_rows=len(rows) - len(own),
        differences=[verdict for verdict in verdicts if list(verdict.values()) in shown],
        more_differences=len(verdicts) - len(shown),
    )  # fmt: skip


def _that_fit(rows: Sequence[list[str]], room: int) -> list[list[str]]:
    """The rows that fit into so many characters of Markdown."""
    kept = []
    for row in rows:
        size = sum(len(markdown(cell)) + 3 for cell in row) + 8
        if size <= room:
            room -= size
            kept.append(row)
    return kept


def summary(
    runs: Sequence[RunShown], differences: Sequence[tuple[str, Difference]], code: Sequence[CodeChange] = ()
) -> str:
    """What stands on the terminal: what differs, and by how much."""
    names = [f"{letter}  {run.name} ({run.run_id}), {run.kind}, {run.state}" for letter, run in _named(runs)]
    lines = [f"{each['metric']}, {each['text']}: {each['verdict']}" for each in _verdict_rows(differences)]
    return "\n".join(
        [
            *names,
            *_unreachable(runs),
            "",
            on_terminal(_as_table(runs, _differing_rows(runs))) or _none(runs),
            *(change.title for change in code),
            "",
            *lines,
        ]
    )


def _unreachable(runs: Sequence[RunShown]) -> list[str]:
    return [f"{letter}: its files cannot be read ({run.unreachable}), so no picture of it is shown."
            for letter, run in _named(runs) if run.unreachable]  # fmt: skip


def _none(runs: Sequence[RunShown]) -> str:
    return NONE_SEEN if any(run.unreachable for run in runs) else NO_DIFFERENCE


def _named(runs: Sequence[RunShown]) -> list[tuple[str, RunShown]]:
    return list(zip(LETTERS, runs, strict=False))


def _differing_rows(runs: Sequence[RunShown]) -> list[list[str]]:
    return [
        [group, *(cell.text for cell in map(as_cell, row.cells))] for group in GROUPS for row in differing(runs, group)
    ]


def _as_table(runs: Sequence[RunShown], rows: Sequence[list[str]]) -> Markup:
    return as_markdown(["what", "name", *LETTERS[: len(runs)]], rows) if rows else Markup("")


def _verdict_rows(differences: Sequence[tuple[str, Difference]]) -> list[dict[str, str]]:
    return [{"metric": metric, **verdicts([difference])[0]} for metric, difference in differences]


def differing(runs: Sequence[RunShown], group: str) -> list[Row]:
    """A row for each setting that is not the same in all runs, or for each other word, in all that noted it."""
    of_runs = [run.made_of.get(group, {}) for run in runs]
    names = dict.fromkeys(name for words in of_runs for name in words)
    rows = {name: [words.get(name, "") for words in of_runs] for name in names}
    return [
        Row([Cell(name), *(Cell(word or "–") for word in words)])  # as it is: two seeds may differ in their last digit
        for name, words in rows.items() if len({*words} if group == "settings" else {*words} - {""}) > 1
    ]  # fmt: skip


def metrics(runs: Sequence[RunShown]) -> list[Row]:
    """A row for each number, with its interval where the runs hold one; strong where the runs differ."""
    names = dict.fromkeys(name for run in runs for name in run.metrics if not name.startswith("system/"))
    ends = {f"{name}{end}" for name in names for end in ("_low", "_high") if f"{name}_low" in names}
    rows = []
    for name in sorted(names.keys() - ends):
        values = [run.metrics.get(name) for run in runs]
        kind = "strong" if len({repr(value) for value in values}) > 1 else ""
        rows.append(Row([Cell(name), *(_number(run.metrics, name) for run in runs)], kind))
    return rows


def _number(known: Mapping[str, float], name: str) -> Any:
    value, low, high = (known.get(f"{name}{end}") for end in ("", "_low", "_high"))
    if value is None or low is None or high is None:
        return Cell("–", kind="") if value is None else value
    if formats.is_share(name):
        return Cell(formats.interval(value, low, high, " %"), value, "")
    return Cell(f"{value:.4g} ({low:.4g} to {high:.4g})", value, "")


def _overview(runs: Sequence[RunShown]) -> Table:
    rows = [
        Row([letter, run.name, run.kind, run.state, Cell(formats.clock(run.seconds), run.seconds, ""), run.run_id])
        for letter, run in zip(LETTERS, runs, strict=False)
    ]
    return Table(["run", "name", "kind", "state", "time", "id"], rows)


def _curves(runs: Sequence[RunShown]) -> dict[str, Figure]:
    """A figure for each metric with a curve: those that most runs have first."""
    names = sorted({name for run in runs for name in run.curves})
    names.sort(key=lambda name: (name.startswith("system/"), -sum(name in run.curves for run in runs)))
    return {name: _curve(runs, name) for name in names[:MOST_CURVES]}


@styled
def _curve(runs: Sequence[RunShown], name: str) -> Figure:
    figure = Figure((4.6, 2.9))
    axes = figure.subplots()
    for number, (letter, run) in enumerate(zip(LETTERS, runs, strict=False)):
        points = sorted(run.curves.get(name, {}).items())
        if points:
            steps, values = np.array(points).T
            axes.plot(steps, values, marker="o" if len(points) < 13 else "", color=f"C{number}", label=letter)
    axes.set(title=name, xlabel="step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    return figure


def _pictures(runs: Sequence[RunShown]) -> dict[str, list[tuple[str, bytes]]]:
    """Pictures of the same name, side by side: those that several runs have."""
    names = dict.fromkeys(name for run in runs for name in run.pictures)
    shared = [name for name in names if sum(name in run.pictures for run in runs) > 1]
    return {
        name: [(letter, run.pictures[name]) for letter, run in zip(LETTERS, runs, strict=False) if name in run.pictures]
        for name in shared[:MOST_PICTURES]
    }
