"""Figures of searches for input images: the way from start to end, the last images, curves, and moving pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from mnist_cnn.input_optimization.starts import SearchPlan
from mnist_cnn.judging.nearest_digits import Neighbours
from mnist_cnn.judging.search import Searches
from mnist_cnn.reporting.figure_style import ACCENT, INK, QUIET, TRAIN, styled
from mnist_cnn.reporting.image_sheet import Cell, Row, as_png, draw_sheet
from mnist_cnn.settings.experiments import SearchKind
from mnist_cnn.sweeps.trials import Strip

MOST_ROWS, MOST_COLUMNS, MOST_OF_A_KIND = 10, 10, 4
"""A sheet shows no more searches than this, the first of each kind; a film strip of one kind shows the last number."""

TIMELINE, MOST_STILLS = "optimisation", 41
"""What the series of a timeline are filed under, and how many pictures each of them has at most."""

THUMBNAIL = (240, 256)
"""Height and width of a timeline's picture. MLflow blurs or shrinks any other width; its card cuts off more height."""


def film_strip(searches: Searches, nearest: Neighbours, title: str) -> Image.Image:
    """One search a row, from its start to its last image with step and loss under each; then the nearest real digit."""
    plan, result = searches.plan, searches.result
    sheet = _sheet(plan)
    rows = []
    for search in [row[0] for row in sheet] if len(set(plan.kinds)) > 1 else sheet[0][:MOST_OF_A_KIND]:
        cells = [
            Cell((result.snapshots[at, search],), f"step {result.steps[at]:,}\nloss {result.losses[at, search]:.3g}")
            for at in _evenly(len(result.steps), 6)
        ]
        cells.append(
            Cell((nearest.images[search],), f"nearest real\nimage, a {plan.class_names[nearest.labels[search]]}", QUIET)
        )
        label = f"{plan.kinds[search].named(plan.class_names)}\n\np = {_probability(searches, search, -1)}"
        rows.append(Row(label, tuple(cells)))
    return draw_sheet(rows, title, scale=4)


def finals(searches: Searches, nearest: Neighbours, title: str) -> Image.Image:
    """Each search's last image, the network's probability of the target under it, and its nearest real digit beside it.

    The number is red where the network's first choice is not one of the target's classes.
    """
    plan = searches.plan
    sheet, names = _sheet(plan), plan.class_names

    def cell(search: int) -> Cell:
        caption = f"p = {_probability(searches, search, -1)}, near a {names[nearest.labels[search]]}"
        return Cell((searches.result.final[search], nearest.images[search]), caption, _colour(searches, search, -1))

    return draw_sheet(
        [Row(plan.kinds[row[0]].named(names), tuple(map(cell, row))) for row in sheet],
        f"{title}: last image, and the real image nearest to it",
        scale=2 if max(map(len, sheet)) > 5 else 3,
    )


def frames(searches: Searches, title: str) -> list[Image.Image]:
    """The way of all searches together, a picture for each snapshot; wider than high."""
    plan, result = searches.plan, searches.result
    sheet = _sheet(plan)
    if len(sheet) > len(sheet[0]):
        sheet = [list(column) for column in zip(*sheet, strict=True)][:MOST_OF_A_KIND]

    def cell(search: int, at: int) -> Cell:
        caption = f"{plan.kinds[search].named(plan.class_names)}\np = {_probability(searches, search, at)}"
        return Cell((result.snapshots[at, search],), caption, _colour(searches, search, at))

    pictures = []
    for at, step in enumerate(result.steps):
        rows = [Row("", tuple(cell(search, at) for search in row)) for row in sheet]
        pictures.append(draw_sheet(rows, f"{title}: step {step:,} of {result.steps[-1]:,}", scale=3))
    return pictures


@dataclass(frozen=True)
class Still:
    """One picture of a timeline. series: its name. pixels: (240, 256) uint8."""

    series: str
    step: int
    pixels: NDArray[np.uint8]


def timeline(searches: Searches) -> list[Still]:
    """The way of the first search of each kind, or of the first searches of the only kind, as bare images.

    Of more than `MOST_STILLS` snapshots so many are taken, evenly, with the first and the last.
    """
    plan, result = searches.plan, searches.result
    kinds = list(dict.fromkeys(plan.kinds))
    if len(kinds) > 1:
        shown = {kind.spelled_out: plan.kinds.index(kind) for kind in kinds[:MOST_ROWS]}
    else:
        own = range(min(MOST_OF_A_KIND, len(plan.kinds)))
        shown = {f"{kinds[0].spelled_out} - search {search}": search for search in own}
    return [
        Still(f"{TIMELINE}/{name}", int(result.steps[at]), _thumbnail(result.snapshots[at, search]))
        for name, search in shown.items()
        for at in _evenly(len(result.steps), MOST_STILLS)
    ]


def _thumbnail(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Grey levels as they are, each pixel a square of whole pixels, in the middle of a grey frame."""
    grey = (image[..., 0] * 255).round().astype(np.uint8)
    scale = THUMBNAIL[0] // max(grey.shape)
    enlarged = np.kron(grey, np.ones((scale, scale), np.uint8))
    margins = [(side - used) // 2 for side, used in zip(THUMBNAIL, enlarged.shape, strict=True)]
    return np.pad(enlarged, [(margin, margin) for margin in margins], constant_values=128)


def strip(shown: Strip) -> bytes:
    """A film strip of a trial as a PNG."""
    rows = [
        Row(label, tuple(Cell((image,), step) for image, step in zip(images, shown.columns, strict=True)))
        for label, images in zip(shown.rows, shown.images[..., np.newaxis], strict=True)
    ]
    return as_png(draw_sheet(rows, "", scale=3))


def animation(pictures: Sequence[Image.Image], milliseconds: int = 160) -> bytes:
    """Pictures as an endless GIF that rests on the first and the last."""
    images = [picture.quantize(64) for picture in pictures]
    durations = [milliseconds] * len(images)
    durations[0], durations[-1] = 5 * milliseconds, 12 * milliseconds
    buffer = io.BytesIO()
    images[0].save(buffer, "GIF", save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=True)
    return buffer.getvalue()


@styled
def ascent_curves(searches: Searches, title: str) -> Figure:
    """Loss, cross-entropy, penalty and probability of the target by step: median, and the range of nine in ten."""
    result = searches.result
    figure = Figure((11, 3.4))
    figure.suptitle(title, x=0.01, ha="left")
    curves = (
        ("Loss", result.losses),
        ("Cross-entropy, nats", result.cross_entropies),
        ("Penalty", result.penalties),
        ("Probability of the target", result.target_probabilities),
    )
    for axes, (name, values) in zip(figure.subplots(1, len(curves)), curves, strict=True):
        low, high = np.quantile(values, (0.05, 0.95), axis=1)
        axes.fill_between(result.steps, low, high, color=TRAIN, alpha=0.18, linewidth=0)
        axes.plot(result.steps, np.median(values, axis=1), color=TRAIN)
        axes.set_title(name, fontsize=10, fontweight="normal")
        axes.set(xlabel="step", xlim=(0, result.steps[-1]))
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        if "Probability" in name:
            axes.set_ylim(0, 1.02)
        elif name != "Penalty" and values.min() > 0:
            axes.set_yscale("log")
        elif values.min() >= 0:
            axes.set_ylim(bottom=0)
    return figure


def _sheet(plan: SearchPlan) -> list[list[int]]:
    """Which searches a sheet shows: rows of indices, each of one kind."""
    by_kind: dict[SearchKind, list[int]] = {}
    for search, kind in enumerate(plan.kinds):
        by_kind.setdefault(kind, []).append(search)
    most = max(1, MOST_ROWS // len(by_kind))
    return [
        own[first : first + MOST_COLUMNS]
        for own in by_kind.values()
        for first in range(0, len(own), MOST_COLUMNS)[:most]
    ]


def _evenly(count: int, most: int) -> NDArray[np.int64]:
    """At most `most` of `count` indices, evenly, with the first and the last."""
    return np.unique(np.linspace(0, count - 1, most).round().astype(np.int64))


def _colour(searches: Searches, search: int, at: int) -> str:
    result = searches.result
    return INK if result.targets[search, result.probabilities[at, search].argmax()] > 0 else ACCENT


def _probability(searches: Searches, search: int, at: int) -> str:
    """Of the target: two digits, three where two would say 1.00."""
    probability = searches.result.target_probabilities[at, search]
    return f"{probability:.2f}" if probability < 0.995 else f"{probability:.3f}"
