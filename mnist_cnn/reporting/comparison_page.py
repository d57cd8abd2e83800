"""Sweeps side by side, as one page, as a description and as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mnist_cnn.data.intervals import Difference, Share
from mnist_cnn.reporting import formats, sweep_page, tables
from mnist_cnn.reporting.pages import Row, Table, images_cell, number_or_text
from mnist_cnn.reporting.rendering import render
from mnist_cnn.sweeps.trials import ImagesOf

if TYPE_CHECKING:
    from mnist_cnn.sweeps.records import SweepRecord

SHOWN_SETTINGS = ("start", "learning_rate", "l2_weight", "tv_weight", "smoothness_weight", "temperature", "pose")
"""Of the best trial of a sweep; the page of a sweep has all of them."""

NO_DIFFERENCES = "Fewer than two sweeps have a share recognised on new starts, so their differences cannot be tested."


@dataclass(frozen=True)
class Compared:
    """A sweep among others. confirmed: share recognised of its best trial's settings on starts it was not chosen by."""

    record: SweepRecord
    confirmed: Share | None


def best_line(compared: Compared) -> str:
    """`my-sweep, trial 12: recognised 0.84; on new starts 81.0 (72.0 to 88.0) % recognised`."""
    record = compared.record
    again = f"; on new starts {share(compared.confirmed)} % recognised" if compared.confirmed else ""
    return f"{record.name}, trial {record.best.number}: {sweep_page.result(record.goals, record.best.values)}{again}"


def share(share: Share) -> str:
    """`81.0 (72.0 to 88.0)`, in percent, with its interval."""
    return formats.interval(share.rate, share.low, share.high)


def columns(compared: Sequence[Compared]) -> dict[str, list[Any]]:
    """A line for each sweep, as columns. With two goals the best trial is the best by the first of them."""
    records = [sweep.record for sweep in compared]
    found: dict[str, list[Any]] = {
        "sweep": [record.name for record in records],
        "goal": [",".join(record.goals) for record in records],
        "complete": [len(record.complete) for record in records],
        "pruned": [sum(trial.state == "pruned" for trial in record.trials) for record in records],
        "failed": [sum(trial.state == "failed" for trial in record.trials) for record in records],
        "best trial": [record.best.number for record in records],
        "best": [record.best.values[0] for record in records],
        "recognised on new starts, %": [share(sweep.confirmed) if sweep.confirmed else "" for sweep in compared],
    }
    for name in SHOWN_SETTINGS:
        settings = [record.best.settings.get(name, "") for record in records]
        if any(settings):
            found[name] = [number_or_text(setting) for setting in settings]
    return {**found, "run_id": [record.run_id for record in records]}


def table(compared: Sequence[Compared]) -> str:
    """The same as a Markdown table, without run ids."""
    shown = {name: values for name, values in columns(compared).items() if name != "run_id"}
    rows = zip(*shown.values(), strict=True)
    return tables.as_markdown(list(shown), [[formats.number(value) for value in row] for row in rows])


def difference_lines(differences: Sequence[Difference]) -> list[str]:
    """Which sweeps' bests differ by more than noise, line by line, for the terminal."""
    return [f"{part['text']}: {part['verdict']}" for part in verdicts(differences)] or [NO_DIFFERENCES]


def description(compared: Sequence[Compared], differences: Sequence[Difference]) -> str:
    """The description of a comparison's run, as Markdown."""
    return render(
        "descriptions/comparison.md", table=table(compared), differences=verdicts(differences),
        no_differences=NO_DIFFERENCES,
    )  # fmt: skip


def page(
    compared: Sequence[Compared],
    differences: Sequence[Difference],
    charts: Mapping[str, bytes],
    images_of: ImagesOf,
) -> str:
    """One HTML page without any other file. charts: PNGs by name."""
    shown = columns(compared)
    rows = [
        Row([images_cell(images_of(sweep.record.best.run_id).get("finals")), *row])
        for sweep, row in zip(compared, zip(*shown.values(), strict=True), strict=True)
    ]
    return render(
        "comparison.html",
        title="Sweeps side by side",
        subtitle=", ".join(sweep.record.name for sweep in compared),
        sweeps=Table(["best images", *shown], rows),
        differences=verdicts(differences),
        no_differences=NO_DIFFERENCES,
        charts=charts,
    )


def verdicts(differences: Sequence[Difference]) -> list[dict[str, str]]:
    return [
        {
            "text": f"{difference.first} against {difference.second}: {100 * difference.difference:+.1f} points "
            f"({100 * difference.low:+.1f} to {100 * difference.high:+.1f})",
            "verdict": "more than noise" if difference.is_more_than_noise else "not more than noise",
        }
        for difference in differences
    ]
