"""The page of a whole reproduction: plain data in, one HTML page out. Whatever is missing is named with its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from mnist_cnn.data import reference_report
from mnist_cnn.judging import ablation
from mnist_cnn.judging.promotion import Version
from mnist_cnn.reporting import formats, pages, tables
from mnist_cnn.reporting.figure_style import as_svg
from mnist_cnn.reporting.pages import Film, Row, Sheet, Table, images_cell
from mnist_cnn.reporting.rendering import render
from mnist_cnn.reporting.training_figures import learning_curves
from mnist_cnn.settings import STARTS, sign
from mnist_cnn.settings.experiments import Experiment
from mnist_cnn.training.loop import EpochResult

if TYPE_CHECKING:
    from mnist_cnn.sweeps.records import SweepRecord

TITLE = "Can a person read what a network dreams?"
SUBTITLE = "A network is frozen, and its input is searched by gradient descent from pure noise until it sees a digit."
COLUMNS = 10
"""Images in a row of the page."""

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
    """values: of `ablation.json` (`tried`, `cells`, as `tables.ablation_values` made it). chart: a PNG, or None.

    images: of `images.npz`: for each cell `NETWORK-REGULARISATION-START`, (n, 28, 28, 1) uint8, and the same with
    `-targets`, (n,) uint8.
    """

    values: Mapping[str, Any]
    images: Mapping[str, NDArray[np.uint8]]
    chart: bytes | None

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

    def sheets(self, cell: Mapping[str, Any]) -> list[Sheet]:
        """The first two images of each class in a cell, a sheet for each row of ten."""
        name = f"{cell['network']}-{cell['regularisation']}-{cell['start']}"
        places = [np.flatnonzero(self.images[f"{name}-targets"] == number) for number in range(10)]
        rows = zip(*(own[:2] for own in places), strict=False)
        return [pages.sheet(self.images[name][list(row), ..., 0] / 255) for row in rows]

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

    steps: (s,). snapshots: (s, n, 28, 28, 1) in [0, 1]. probabilities: (s, n, 10). targets: (n, 10).
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

    @property
    def film(self) -> Film:
        """The first searches of each kind, side by side."""
        kinds = self.experiment.kinds
        of_each = len(self.targets) // len(kinds)
        shown = max(1, min(of_each, COLUMNS // len(kinds)))
        places = [kind * of_each + image for kind in range(len(kinds)) for image in range(shown)]
        names = [kind.label if kind.start == "digit" else kind.target.word for kind in kinds for _ in range(shown)]
        return pages.film(self.snapshots[:, places][..., 0], self.steps.tolist(), names)


@dataclass(frozen=True)
class Sweep:
    """finals: by the id of a trial's run, (kinds, 28, 28) uint8; of trials without images nothing."""

    title: str
    record: SweepRecord
    finals: Mapping[str, NDArray[np.uint8]]

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
    """PNGs of the comparison: the share recognised along the L2 weight, and the best trials side by side."""

    along_l2_weight: bytes
    best_side_by_side: bytes


@dataclass(frozen=True)
class Registration:
    """decision: the word of `promotion.Decision`. validation_accuracy: a share, or None where it was not logged."""

    version: Version
    decision: str
    validation_accuracy: float | None


@dataclass(frozen=True)
class Reproduction:
    """All that the page shows. scale: `full` or `smoke`. run_id, tags: of the reproduction's own run.

    steps: in their order. What cannot be shown is `Missing`; experiments that could not be done at all are one.
    """

    scale: str
    run_id: str
    tags: Mapping[str, str]
    steps: Sequence[StepResult]
    ablation: Ablation | Missing
    trainings: Sequence[Training | Missing]
    experiments: Sequence[FinishedExperiment | Missing]
    comparison: Comparison | Missing
    sweeps: Sequence[Sweep | Missing]
    registration: Registration | Missing


def page(reproduction: Reproduction) -> str:
    """One HTML page without any other file."""
    values = {**vars(reproduction), "reference": reference_report, "starts": STARTS}
    return render("reproduction.html", title=TITLE, subtitle=SUBTITLE, **values)


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
