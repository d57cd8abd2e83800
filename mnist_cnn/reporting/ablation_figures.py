"""Figures of the ablation and of its judges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from PIL import Image

from mnist_cnn.data.dataset import LabelledImages
from mnist_cnn.judging.ablation import ENOUGH_DIVERSITY, Place, Searched, Table
from mnist_cnn.judging.judges import Trained
from mnist_cnn.judging.scorecard import Scorecard
from mnist_cnn.reporting.figure_style import ACCENT, INK, QUIET, TRAIN, VALIDATION, styled
from mnist_cnn.reporting.image_sheet import Cell, Row, draw_sheet
from mnist_cnn.settings import PANELS
from mnist_cnn.training.evaluation import EvaluationResult

STARTS_IN_FULL = {"noise": "From pure noise", "noisy_digit": "From noisy digits", "digit": "From other digits"}


def digits(searched: Searched, class_names: Sequence[str]) -> Image.Image:
    """Ten images of each class, recognised or not, in the order in which they were searched."""
    classes = searched.targets.argmax(axis=1)
    rows = []
    for number, name in enumerate(class_names):
        own = np.flatnonzero(classes == number)
        share = searched.card.recognised[own].mean()
        rows.append(Row(f"{name}\n{share:.0%}", (Cell(tuple(searched.images[own[:10]])),)))
    return draw_sheet(rows, f"{STARTS_IN_FULL[searched.start]}: {searched.card.rate:.1%} recognised", 2)


def side_by_side(images: LabelledImages, real: LabelledImages, count: int = 10) -> Image.Image:
    """For each class the first images beside the first real ones."""
    rows = []
    for number in np.unique(images.labels):
        both = (each.images[each.labels == number][:count] for each in (images, real))
        rows.append(Row(images.class_names[number], tuple(Cell(tuple(own)) for own in both)))
    return draw_sheet(rows, f"The first {count} images of each class, and as many real ones", 2)


def ablation_strip(cells: Mapping[Place, Searched], start: str = "noise") -> Image.Image:
    """A row for each network and regularisation: the first image of each class, and the recognised rate."""
    rows = []
    for (network, column, own_start), cell in cells.items():
        if own_start == start:
            classes = cell.targets.argmax(axis=1)
            firsts = [np.flatnonzero(classes == number)[0] for number in range(cell.targets.shape[1])]
            label = f"{network}\n{column}\n{cell.card.rate:.1%} recognised"
            rows.append(Row(label, (Cell(tuple(cell.images[firsts])),)))
    return draw_sheet(rows, f"{STARTS_IN_FULL[start]}: the first search for each digit", 2)


def ablation_curve(table: Table) -> Figure:
    """Recognised rate against diversity from pure noise: what was tried (small), and the table's cells (large)."""
    tried = {
        network: _diversities_and_rates([choice.card for choices in columns.values() for choice in choices])
        for network, columns in table.tried.items()
    }
    cells = {
        network: _diversities_and_rates([
            cell.card for (name, _, start), cell in table.cells.items() if (name, start) == (network, "noise")
        ])
        for network in table.tried
    }  # fmt: skip
    return recognised_against_diversity(
        tried, cells, "Readable and different: small, tried (panel A); large, in the table (panel B)"
    )


@styled
def recognised_against_diversity(
    tried: Mapping[str, Sequence[tuple[float, float]]],
    cells: Mapping[str, Sequence[tuple[float, float]]],
    title: str = "",
) -> Figure:
    """Small points of what was tried, and large ones of what was chosen. Both: by network, diversities and rates."""
    figure = Figure((7.5, 5) if title else (9, 4.4))
    axes = figure.subplots()
    for (network, points), colour in zip(tried.items(), (QUIET, TRAIN, VALIDATION, ACCENT), strict=False):
        small, large = (np.reshape(found, (-1, 2)) for found in (points, cells.get(network, [])))
        axes.scatter(small[:, 0], small[:, 1], s=14, color=colour, alpha=0.5, linewidths=0)
        axes.scatter(large[:, 0], large[:, 1], s=60, color=colour, edgecolor=INK, linewidths=0.8, label=network)
    axes.axvline(ENOUGH_DIVERSITY, color=QUIET, linewidth=0.8, linestyle=":")
    axes.set(
        xlabel="Diversity within a class (real digits: 1)",
        ylabel="Recognised",
        title=title,
        xlim=(0, None),
        ylim=(-0.02, 1.04),
    )
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(loc="center right")
    axes.grid(False)
    return figure


def _diversities_and_rates(cards: Sequence[Scorecard]) -> list[tuple[float, float]]:
    return [(card.metrics()["diversity"], card.rate) for card in cards]


@styled
def judges_accuracies(trained: list[Trained], results: list[EvaluationResult], title: str) -> Figure:
    """The accuracy of each judge with its 95 % interval, panel beside panel. results: in the order of `trained`."""
    kinds = list(dict.fromkeys(judge.judge.kind for judge in trained))
    figure = Figure((8, 0.5 * len(kinds) + 1.2))
    axes = figure.subplots()
    for panel, colour, shift in zip(PANELS, (TRAIN, VALIDATION), (-0.12, 0.12), strict=True):
        own = [
            (judge.judge.kind, result) for judge, result in zip(trained, results, strict=True) if judge.panel == panel
        ]
        if own:
            accuracies = np.array([result.accuracy for _, result in own])
            ends = np.array([[result.accuracy_low, result.accuracy_high] for _, result in own]).T
            places = [kinds.index(kind) + shift for kind, _ in own]
            lengths = np.abs(ends - accuracies)
            axes.errorbar(accuracies, places, xerr=lengths, fmt="o", color=colour, label=f"panel {panel}")
    axes.set_yticks(range(len(kinds)), kinds)
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_title(title)
    axes.grid(False, axis="y")
    axes.legend()
    return figure
