"""The only door to matplotlib: results in, figures out. No pyplot, so no state, no window, nothing to close."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from mnist_cnn.evaluation import EvaluationResult, calibration_bins
from mnist_cnn.training import EpochResult

TRAIN, VALIDATION, ACCENT, QUIET = "#1f5fa8", "#d9730d", "#b3261e", "#8a8f98"
DPI = 120


def learning_curves(history: list[EpochResult], steps: NDArray[Any] | None = None) -> Figure:
    """Accuracy and loss, training against validation, epoch by epoch (the report's figure 4).

    steps: (n, 3) epoch (a fraction), running loss and running accuracy within the epochs; drawn faintly behind.
    """
    figure = Figure(figsize=(10, 4), dpi=DPI, layout="constrained")
    accuracy_axes, loss_axes = figure.subplots(1, 2)
    epochs = [result.epoch for result in history]
    many = len(history) > 12
    for axes, key, title in (
        (accuracy_axes, "accuracy", "Accuracy"),
        (loss_axes, "loss", "Loss (cross-entropy, nats)"),
    ):
        if steps is not None and len(steps):
            column = 2 if key == "accuracy" else 1
            axes.plot(steps[:, 0], steps[:, column], color=TRAIN, alpha=0.35, linewidth=1, label="training, by step")
        marker = "" if many else "o"
        axes.plot(
            epochs,
            [getattr(result, key) for result in history],
            color=TRAIN,
            marker=marker,
            label="training, epoch mean",
        )
        axes.plot(
            epochs,
            [getattr(result, f"validation_{key}") for result in history],
            color=VALIDATION,
            marker=marker or None,
            label="validation, epoch's end",
        )
        axes.set_title(title, loc="left", fontweight="bold")
        axes.set_xlabel("epoch")
        axes.set_xlim(0 if steps is not None and len(steps) else 0.8, max(epochs) + 0.2)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    lowest = min(min(result.accuracy, result.validation_accuracy) for result in history)
    accuracy_axes.set_ylim(max(0.0, 1 - 1.6 * (1 - min(lowest, 0.995))), 1.002)
    accuracy_axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    loss_axes.set_ylim(0, None if many or steps is None else max(1.2 * max(r.loss for r in history), 0.05))
    loss_axes.legend(frameon=False)
    return figure


def evaluation(result: EvaluationResult, images: NDArray[np.float32], title: str) -> dict[str, Figure]:
    """Every picture of an evaluation, by name."""
    return {
        "confusion_matrix": confusion_matrix(result, title),
        "per_class_accuracy": per_class_accuracy(result, title),
        "calibration": calibration(result, title),
        "most_wrong": most_wrong(result, images, title),
    }


def confusion_matrix(result: EvaluationResult, title: str) -> Figure:
    """Counts by true class and first choice; the hits are left pale so that the errors stand out."""
    counts = result.confusion
    errors = counts - np.diag(np.diag(counts))
    figure = Figure(figsize=(6.4, 6), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    axes.imshow(errors, cmap="Oranges", vmin=0, vmax=max(1, errors.max()) * 1.3)
    for row, column in np.ndindex(*counts.shape):
        if row == column:
            axes.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", color=QUIET, fontsize=8)
        elif counts[row, column]:
            axes.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", fontweight="bold")
    classes = range(len(counts))
    axes.set_xticks(classes)
    axes.set_yticks(classes)
    axes.set_xlabel("network's first choice")
    axes.set_ylabel("label")
    wrong = int(errors.sum())
    axes.set_title(f"{title}: {wrong:,} of {len(result.labels):,} wrong", loc="left", fontweight="bold")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def per_class_accuracy(result: EvaluationResult, title: str) -> Figure:
    """Recall and precision of each class as dots, with the overall accuracy as a line."""
    figure = Figure(figsize=(7, 3.6), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    classes = np.arange(len(result.recall))
    axes.axhline(result.accuracy, color=QUIET, linewidth=1, label=f"all: {result.accuracy:.2%}")
    axes.plot(classes - 0.08, result.recall, "o", color=TRAIN, label="recall (of this label, found)")
    axes.plot(classes + 0.08, result.precision, "D", color=VALIDATION, label="precision (of this choice, right)")
    low = float(np.nanmin([result.recall, result.precision]))
    axes.set_ylim(max(0.0, 1 - 1.25 * max(1 - low, 0.004)), 1 + 0.06 * max(1 - low, 0.004))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.set_xticks(classes)
    axes.set_xlabel("class")
    axes.set_title(title, loc="left", fontweight="bold")
    axes.grid(axis="y", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.18))
    return figure


def calibration(result: EvaluationResult, title: str) -> Figure:
    """Accuracy against confidence: on the diagonal, the network is as often right as it says."""
    confidence, accuracy, counts = calibration_bins(result.probabilities, result.labels)
    figure = Figure(figsize=(5, 5), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle="--")
    filled = counts > 0
    sizes = 12 + 160 * np.sqrt(counts[filled] / counts.sum())
    axes.plot(confidence[filled], accuracy[filled], color=TRAIN, linewidth=1, alpha=0.6)
    axes.scatter(confidence[filled], accuracy[filled], s=sizes, color=TRAIN, zorder=3, clip_on=False)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("confidence (probability of the first choice)")
    axes.set_ylabel("accuracy")
    axes.set_title(f"{title}\nexpected calibration error {result.calibration_error:.2%}", loc="left", fontweight="bold")
    axes.text(0.98, 0.02, "dot's area: share of the images", ha="right", va="bottom", color=QUIET, fontsize=8)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def most_wrong(
    result: EvaluationResult, images: NDArray[np.float32], title: str, rows: int = 4, columns: int = 8
) -> Figure:
    """The wrongly classified images in which the network was surest, the surest first.

    images: (n, height, width, channels) in [0, 1], in the order of `result`.
    """
    choices = result.probabilities.argmax(axis=1)
    wrong = np.flatnonzero(choices != result.labels)
    order = wrong[np.argsort(-result.probabilities[wrong, choices[wrong]])][: rows * columns]
    rows = max(1, min(rows, -(-len(order) // columns)))
    figure = Figure(figsize=(columns * 1.15, rows * 1.5 + 0.6), dpi=DPI, layout="constrained")
    figure.suptitle(
        f"{title}: surest of {len(wrong):,} errors (label, then choice and its probability)",
        x=0.01,
        ha="left",
        fontweight="bold",
        fontsize=11,
    )
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        axes.set_axis_off()
    for axes, index in zip(figure.axes, order, strict=False):
        show_image(axes, images[index])
        choice = choices[index]
        axes.set_title(
            f"{result.labels[index]} → {choice}  {result.probabilities[index, choice]:.1%}", fontsize=8, color=ACCENT
        )
    return figure


def show_image(axes: Any, image: NDArray[np.float32]) -> None:
    """One image with crisp pixels on the fixed grey scale from 0 (black) to 1 (white)."""
    axes.imshow(
        image.squeeze(-1) if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=1, interpolation="nearest"
    )
    axes.set_axis_off()
