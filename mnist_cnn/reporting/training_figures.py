"""Figures of a training and of an evaluation."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray
from PIL import Image

from mnist_cnn.data.intervals import mean_interval
from mnist_cnn.reporting.figure_style import ACCENT, QUIET, TRAIN, VALIDATION, fixed_figure, styled
from mnist_cnn.reporting.formats import limits
from mnist_cnn.reporting.image_sheet import Cell, Row, draw_sheet
from mnist_cnn.training.evaluation import EvaluationResult, calibration_bins
from mnist_cnn.training.loop import EpochResult


@styled
def learning_curves(
    history: list[EpochResult], steps: NDArray[Any] | None = None, validation: NDArray[Any] | None = None
) -> Figure:
    """Accuracy and loss, training against validation, epoch by epoch (the report's figure 4).

    steps, validation: (n, 3) epoch (a fraction), loss and accuracy within the epochs; drawn faintly behind.
    """
    figure = fixed_figure(10, 4)
    accuracy_axes, loss_axes = figure.subplots(1, 2)
    epochs = [result.epoch for result in history]
    marker = "" if len(history) > 12 else "o"
    within = steps is not None and len(steps) > 0
    for axes, name, column, title in (
        (accuracy_axes, "accuracy", 2, "Accuracy"),
        (loss_axes, "loss", 1, "Loss (cross-entropy, nats)"),
    ):
        for points, colour, label in (
            (steps, TRAIN, "training, by step"),
            (validation, VALIDATION, "validation, by step"),
        ):
            if points is not None and len(points) > 0:
                axes.plot(points[:, 0], points[:, column], color=colour, alpha=0.35, linewidth=1, label=label)
        for key, colour, label in (
            (name, TRAIN, "training, epoch mean"),
            (f"validation_{name}", VALIDATION, "validation, epoch's end"),
        ):
            axes.plot(epochs, [getattr(result, key) for result in history], color=colour, marker=marker, label=label)
        axes.set(title=title, xlabel="epoch", xlim=(0 if within else 0.8, max(epochs) + 0.2))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    lowest = min(min(result.accuracy, result.validation_accuracy) for result in history)
    accuracy_axes.set_ylim(max(0.0, 1 - 1.6 * (1 - min(lowest, 0.995))), 1.002)
    accuracy_axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    highest = max(1.2 * max(result.loss for result in history), 0.05)
    loss_axes.set_ylim(0, None if len(history) > 12 or steps is None else highest)
    loss_axes.legend()
    return figure


DULL = re.compile(r"second|learning_rate|system/|_low$|_high$")
"""In the names of curves that say nothing of a network."""


@styled
def bands(curves: Sequence[Mapping[str, Mapping[int, float]]], most: int = 6) -> Figure | None:
    """The mean over runs of each curve that all have, with the 95 % interval of the mean; None where there is none.

    curves: of each run, step -> value by metric.
    """
    shared = set.intersection(*(set(each) for each in curves))
    names = sorted(name for name in shared if not DULL.search(name))[:most]
    if not names:
        return None
    figure = Figure((4.4 * min(3, len(names)), 3.2 * -(-len(names) // 3)))
    all_axes = list(figure.subplots(-(-len(names) // 3), min(3, len(names)), squeeze=False).flat)
    for axes, name in zip(all_axes, names, strict=False):
        steps = sorted(set.intersection(*(set(each[name]) for each in curves)))
        values = np.array([[each[name][step] for step in steps] for each in curves])
        low, high = np.array([mean_interval(column, *limits(name)) for column in values.T]).T
        axes.fill_between(steps, low, high, color=TRAIN, alpha=0.2, linewidth=0)
        axes.plot(steps, values.mean(axis=0), color=TRAIN)
        axes.set(title=name, xlabel="step")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in all_axes[len(names) :]:
        axes.set_visible(False)
    return figure


def evaluation(result: EvaluationResult, images: NDArray[np.float32], title: str) -> dict[str, Figure | Image.Image]:
    """Every figure of an evaluation, by name. images: (n, height, width, channels), in the order of `result`."""
    return {
        "confusion_matrix": confusion_matrix(result, title),
        "per_class_accuracy": per_class_accuracy(result, title),
        "calibration": calibration(result, title),
        "most_wrong": most_wrong(result, images, title),
    }


@styled
def confusion_matrix(result: EvaluationResult, title: str) -> Figure:
    """Counts by true class and first choice; the hits are pale so that the errors stand out."""
    counts = result.confusion
    errors = counts - np.diag(np.diag(counts))
    side = max(0.0, 0.36 * len(counts) - 5.5)
    figure = fixed_figure(6.4 + side, 6 + side, left=0.65)
    axes = figure.subplots()
    axes.imshow(errors, cmap="Oranges", vmin=0, vmax=max(1, errors.max()) * 1.3)
    for row, column in np.ndindex(*counts.shape):
        if row == column or counts[row, column]:
            style = {"color": QUIET, "fontsize": 8} if row == column else {"fontweight": "bold"}
            axes.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", **style)
    _name_classes(axes, result.class_names)
    axes.set_yticks(range(len(counts)), result.class_names, parse_math=False)
    axes.set(xlabel="network's first choice", ylabel="label")
    axes.set_title(f"{title}: {int(errors.sum()):,} of {len(result.labels):,} wrong")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.grid(False)
    return figure


@styled
def per_class_accuracy(result: EvaluationResult, title: str) -> Figure:
    """Recall and precision of each class as dots, with the overall accuracy as a line."""
    figure = fixed_figure(max(7.0, 0.25 * len(result.recall) + 1), 3.6, bottom=0.95)
    axes = figure.subplots()
    classes = np.arange(len(result.recall))
    axes.axhline(result.accuracy, color=QUIET, linewidth=1, label=f"all: {result.accuracy:.2%}")
    axes.plot(classes - 0.08, result.recall, "o", color=TRAIN, label="recall (share of this label found)")
    axes.plot(classes + 0.08, result.precision, "D", color=VALIDATION, label="precision (share of this choice right)")
    low = float(np.nanmin([result.recall, result.precision]))
    axes.set_ylim(max(0.0, 1 - 1.25 * max(1 - low, 0.004)), 1 + 0.06 * max(1 - low, 0.004))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    longest = _name_classes(axes, result.class_names)
    axes.set(title=title, xlabel="class")
    axes.grid(False, axis="x")
    axes.legend(fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.18 - 0.035 * (longest - 1)))
    return figure


def _name_classes(axes: Any, names: Sequence[str]) -> int:
    """Names below the axis, upright where they are long. Given back: how many letters the longest stands high."""
    longest = max(map(len, names))
    is_long = longest > 2
    axes.set_xticks(range(len(names)), names, parse_math=False, rotation=90 if is_long else 0)
    return longest if is_long else 1


@styled
def calibration(result: EvaluationResult, title: str) -> Figure:
    """Accuracy against confidence: on the diagonal, the network is as often right as its confidence says."""
    confidence, accuracy, counts = calibration_bins(result.probabilities, result.labels)
    figure = fixed_figure(5, 5, top=0.65, left=0.65)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle="--")
    filled = counts > 0
    sizes = 12 + 160 * np.sqrt(counts[filled] / counts.sum())
    axes.plot(confidence[filled], accuracy[filled], color=TRAIN, linewidth=1, alpha=0.6)
    axes.scatter(confidence[filled], accuracy[filled], s=sizes, color=TRAIN, zorder=3, clip_on=False)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence (probability of the first choice)", ylabel="accuracy")
    axes.text(0.98, 0.02, "the larger the dot, the more images", ha="right", va="bottom", color=QUIET, fontsize=8)
    axes.set_title(f"{title}\nexpected calibration error {result.calibration_error:.2%}")
    return figure


def most_wrong(
    result: EvaluationResult, images: NDArray[np.float32], title: str, rows: int = 4, columns: int = 8
) -> Image.Image:
    """The wrongly classified images in which the network was surest, the surest first.

    images: (n, height, width, channels) in [0, 1], in the order of `result`.
    """
    choices, names = result.probabilities.argmax(axis=1), result.class_names
    wrong = np.flatnonzero(choices != result.labels)
    sureness = result.probabilities[np.arange(len(choices)), choices]
    order = wrong[np.argsort(-sureness[wrong])][: rows * columns]
    cells = [
        Cell(
            (images[index],), f"{names[result.labels[index]]} → {names[choices[index]]}   {sureness[index]:.1%}", ACCENT
        )
        for index in order
    ]
    return draw_sheet(
        [Row("", tuple(cells[start : start + columns])) for start in range(0, len(cells), columns)],
        f"{title}: surest of {len(wrong):,} errors (label → choice, and its probability)",
        scale=4,
    )
