"""The page of a whole reproduction: plain data in, one HTML page out. Whatever is missing is named with its reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from mnist_cnn.data import reference_report
from mnist_cnn.judging import ablation
from mnist_cnn.judging.promotion import Version
from mnist_cnn.models.plain_layers import PlainNetwork
from mnist_cnn.reporting import formats, pages, play_section, tables
from mnist_cnn.reporting.ablation_figures import recognised_against_diversity
from mnist_cnn.reporting.chart_lines import lines_of_records
from mnist_cnn.reporting.figure_style import as_svg
from mnist_cnn.reporting.pages import Film, Row, Sheet, Table, images_cell
from mnist_cnn.reporting.rendering import render
from mnist_cnn.reporting.sweep_charts import goal_along_figure
from mnist_cnn.reporting.training_figures import learning_curves
from mnist_cnn.settings import STARTS, sign
from mnist_cnn.settings.experiments import EXPERIMENTS, Experiment
from mnist_cnn.training.loop import EpochResult

if TYPE_CHECKING:
    from mnist_cnn.sweeps.records import SweepRecord

TITLE = "Can a person read what a network dreams?"
SUBTITLE = (
    "A network is frozen, and its input is searched by gradient descent from pure noise until it sees what was asked."
)
COLUMNS = 6
"""Images in a row of an experiment, unless it has more kinds: two networks stand side by side."""

WIDEST = 130
"""Pixels of the screen that an image of an experiment takes at most: a row always fills its column."""

MOST_IN_A_ROW = 10
"""Images beside each other at most: all ten digits."""

MOST_FRAMES = 11
"""Of a film of an experiment: noise cannot be packed, and the page shall stay below 5 MB."""

UNREGISTERED = "the readable network of this run, which has no registered version"

MOST_TRIALS = 8
SHOWN_SETTINGS = ("l2_weight", "tv_weight", "smoothness_weight", "border_weight", "temperature", "learning_rate")


@dataclass(frozen=True)
class StepResult:
    """What became of a step. state: `done`, `reused`, `failed` or `skipped`. seconds: its duration, also if reused.

    run_id: of the step's run; empty where there is none. command: as a person would type it. reason: why it failed or
    was skipped.
    """

    name: str
    title: str
    state: str
    seconds: float = 0.0
    run_id: str = ""
    command: str = ""
    reason: str = ""

    @property
    def is_there(self) -> bool:
        return self.state in ("done", "reused")


@dataclass(frozen=True)
class Missing:
    """A part of the page that cannot be shown, and why: its step failed or was skipped, or the store lost its data."""

    title: str
    reason: str


@dataclass(frozen=True)
class Ablation:
    """values: of `ablation.json` (`tried`, `cells`, as `tables.ablation_values` made it).

    images: of `images.npz`: for each cell `NETWORK-REGULARISATION-START`, (n, 28, 28, 1) uint8, and the same with
    `-targets`, (n,) uint8.
    """

    values: Mapping[str, Any]
    images: Mapping[str, NDArray[np.uint8]]

    def cell(self, network: str, regularisation: str, start: str = "noise") -> Mapping[str, Any]:
        """A cell with its settings in words."""
        cells = {(cell["network"], cell["regularisation"], cell["start"]): cell for cell in self.values["cells"]}
        found = cells[network, regularisation, start]
        return {**found, "settings": ablation.described(found["changes"])}

    @property
    def is_training_needed(self) -> bool:
        """Whether readable images need a network that was trained for them, and regularisation is not enough."""
        rates = [self.cell("ordinary", column)["recognised_rate"] for column in ablation.REGULARISATIONS]
        return self.cell("readable", "tuned L2 and others")["recognised_rate_low"] > 0.9 and max(rates) < 0.7

    @property
    def curve(self) -> Markup:
        """Recognised rate against diversity, from pure noise."""
        points: dict[str, dict[str, list[tuple[float, float]]]] = {"tried": {}, "cells": {}}
        for kind, by_network in points.items():
            for each in self.values[kind]:
                own = by_network.setdefault(each["network"], [])
                if each.get("start", "noise") == "noise" and "diversity" in each:
                    own.append((each["diversity"], each["recognised_rate"]))
        return Markup(as_svg(recognised_against_diversity(points["tried"], points["cells"])))

    def sheets(self, cell: Mapping[str, Any], class_names: Sequence[str]) -> list[tuple[Sheet, Sequence[str]]]:
        """The first two images of each class in a cell, ten classes beside each other, the names below the second."""
        name = f"{cell['network']}-{cell['regularisation']}-{cell['start']}"
        targets = self.images[f"{name}-targets"]
        found: list[tuple[Sheet, Sequence[str]]] = []
        for first in range(0, len(class_names), MOST_IN_A_ROW):
            names = class_names[first : first + MOST_IN_A_ROW]
            places = [np.flatnonzero(targets == first + number)[:2] for number in range(len(names))]
            rows = [pages.sheet(self.images[name][list(row), ..., 0] / 255) for row in zip(*places, strict=False)]
            found += [(row, names if row is rows[-1] else ()) for row in rows]
        return found

    @property
    def tried(self) -> dict[str, dict[str, Mapping[str, Any]]]:
        """The scores of what was tried: by settings in words, and network."""
        by_settings: dict[str, dict[str, Mapping[str, Any]]] = {}
        for choice in self.values["tried"]:
            by_settings.setdefault(ablation.described(choice["changes"]), {})[choice["network"]] = choice
        return by_settings


@dataclass(frozen=True)
class Training:
    """name: `ordinary` or `readable`. test_accuracy: a share, after the last epoch."""

    name: str
    title: str
    history: Sequence[EpochResult]
    test_accuracy: float

    @property
    def curves(self) -> Markup:
        return Markup(as_svg(learning_curves(list(self.history))))


@dataclass(frozen=True)
class FinishedExperiment:
    """n searches, kind by kind, with s snapshots. recognised_rate: a share; None where nothing was judged.

    steps: (s,). snapshots: (s, n, 28, 28, 1) in [0, 1]. probabilities: (s, n, k). targets: (n, k).
    """

    experiment: Experiment
    steps: NDArray[np.integer]
    snapshots: NDArray[np.floating]
    probabilities: NDArray[np.floating]
    targets: NDArray[np.floating]
    recognised_rate: float | None

    @property
    def probability(self) -> float:
        """Of the target, under the last images: the mean over the searches."""
        return float(np.where(self.targets > 0, self.probabilities[-1], 0).sum(axis=1).mean())

    def film(self, class_names: Sequence[str]) -> Film:
        """The first searches of each kind, side by side; of more than ten kinds the first ten."""
        of_each = len(self.targets) // len(self.experiment.kinds)
        kinds = self.experiment.kinds[:MOST_IN_A_ROW]
        shown = max(1, min(of_each, COLUMNS // len(kinds)))
        places = [kind * of_each + image for kind in range(len(kinds)) for image in range(shown)]
        words = [kind.named(class_names) if kind.start == "digit" else kind.target.named(class_names) for kind in kinds]
        names = [word for word in words for _ in range(shown)]
        frames = np.unique(np.linspace(0, len(self.steps) - 1, MOST_FRAMES).round().astype(int))
        images = self.snapshots[frames][:, places][..., 0]
        return pages.film(images, self.steps[frames].tolist(), names, most=3, widest=WIDEST, still=WIDEST)


@dataclass(frozen=True)
class ExperimentsOn:
    """The six experiments on one network. title: the network and how it was searched.

    parts: in the order of `EXPERIMENTS`; one `Missing` where the step was not done.
    """

    title: str
    parts: Sequence[FinishedExperiment | Missing] | Missing


@dataclass(frozen=True)
class Sweep:
    """finals: by the id of a trial's run, (kinds, 28, 28) uint8; of trials without images nothing."""

    title: str
    record: SweepRecord
    finals: Mapping[str, NDArray[np.uint8]]

    @property
    def best_images(self) -> Sheet | None:
        """The last images of the best trial, as far as they fit into a row."""
        finals = self.finals.get(self.record.best.run_id) if self.record.complete else None
        return None if finals is None or not len(finals) else pages.sheet(finals[:MOST_IN_A_ROW] / 255, widest=WIDEST)

    @property
    def best_trials(self) -> Table:
        """The best by the sweep's first goal, the first in bold; then those that are not complete."""
        record, upwards = self.record, sign(self.record.goals[0])
        ranked = sorted(record.complete, key=lambda trial: -upwards * trial.values[0])
        ranked += [trial for trial in record.trials if trial.state != "complete"]
        rows = [
            Row(
                [
                    trial.number,
                    images_cell(self.finals.get(trial.run_id)),
                    trial.values[0] if trial.state == "complete" else trial.state,
                    *(pages.number_or_text(trial.settings.get(name, "")) for name in SHOWN_SETTINGS),
                ],
                "strong" if trial is record.best else trial.state,
            )
            for trial in ranked[:MOST_TRIALS]
        ]
        headings = [name.removesuffix("_weight").replace("_", " ") for name in SHOWN_SETTINGS]
        return Table(["trial", "last images", record.goals[0], *headings], rows)


@dataclass(frozen=True)
class Comparison:
    """confirmed: by sweep, the share that panel A recognises of its best trial's images from new starts."""

    confirmed: Mapping[str, float]


@dataclass(frozen=True)
class Registration:
    """decision: the word of `promotion.Decision`. validation_accuracy: a share, or None where it was not logged.

    champion: the number of the version that is it now; None where there is none.
    """

    version: Version
    decision: str
    validation_accuracy: float | None
    champion: int | None

    @property
    def which(self) -> str:
        """The version in words, and whether it is the champion."""
        version = f"version {self.version.number} of {self.version.name}"
        if self.champion is None:
            return f"{version}; there is no champion"
        if self.champion == self.version.number:
            return f"{version}, the champion"
        return f"{version}; the champion is version {self.champion}"


@dataclass(frozen=True)
class Reproduction:
    """All that the page shows. scale: `full` or `smoke`. run_id, tags: of the reproduction's own run.

    class_names: of the data set. steps: in their order. network: to play with. What cannot be shown is `Missing`.
    experiments: on each network, which stand side by side.
    """

    scale: str
    run_id: str
    tags: Mapping[str, str]
    class_names: Sequence[str]
    steps: Sequence[StepResult]
    network: PlainNetwork | Missing
    ablation: Ablation | Missing
    trainings: Sequence[Training | Missing]
    experiments: Sequence[ExperimentsOn]
    comparison: Comparison | Missing
    sweeps: Sequence[Sweep | Missing]
    registration: Registration | Missing


def page(reproduction: Reproduction) -> str:
    """One HTML page without any other file."""
    play: Markup | Missing
    if isinstance(reproduction.network, Missing):
        play = reproduction.network
    else:
        registration = reproduction.registration
        which = UNREGISTERED if isinstance(registration, Missing) else registration.which
        play = play_section.section(reproduction.network, class_names=tuple(reproduction.class_names), which=which)
    sweeps = [sweep for sweep in reproduction.sweeps if isinstance(sweep, Sweep)]
    fixed = {
        "along_l2_weight": along_l2_weight(sweeps),
        "all_experiments": EXPERIMENTS,
        "reference": reference_report,
        "starts": STARTS,
    }
    values = {**vars(reproduction), "play": play, **fixed}
    return render("reproduction.html", title=TITLE, subtitle=SUBTITLE, **values)


def along_l2_weight(sweeps: Sequence[Sweep]) -> Markup:
    """The share recognised along the L2 weight, a line for each sweep; empty where none has varied it."""
    records = [dataclasses.replace(sweep.record, name=sweep.title) for sweep in sweeps]
    models = {trial.settings.get("model", ""): "" for record in records for trial in record.trials}
    panels = lines_of_records(records, "l2_weight", models)
    if not panels:
        return Markup()
    figure = goal_along_figure(panels, "recognised", "l2_weight")
    figure.set_size_inches(9, 4.2)  # as wide as the other charts of the page
    return Markup(as_svg(figure))


def description(steps: Sequence[StepResult], *, finished: bool) -> str:
    """Of the reproduction's run, as Markdown. finished: whether the page is there."""
    return render("descriptions/reproduction.md", table=summary(steps), finished=finished)


def summary(steps: Sequence[StepResult]) -> str:
    """The steps as a Markdown table."""
    rows = []
    for step in steps:
        state = step.state if step.is_there else f"{step.state.upper()}: {step.reason}"
        rows.append((step.title, state, formats.clock(step.seconds) if step.seconds else ""))
    return tables.as_markdown(("step", "state", "time"), rows)


def step_columns(steps: Sequence[StepResult]) -> dict[str, list[Any]]:
    """A line for each step, as columns."""
    return {
        "step": [step.title for step in steps],
        "state": [step.state for step in steps],
        "seconds": [round(step.seconds, 1) for step in steps],
        "run_id": [step.run_id for step in steps],
        "reason": [step.reason for step in steps],
        "command": [step.command for step in steps],
    }
