"""The only door to matplotlib: results in, figures out. No pyplot, so no state, no window, nothing to close."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mnist_cnn.input_optimization.ascent import AscentResult
from mnist_cnn.input_optimization.starts import SearchPlan
from mnist_cnn.judging.ablation import ENOUGH_DIVERSITY, Place, Searched, Table
from mnist_cnn.judging.judges import Trained
from mnist_cnn.judging.nearest_digits import Neighbours
from mnist_cnn.settings import PANELS
from mnist_cnn.sweeps.trials import Strip
from mnist_cnn.training.evaluation import EvaluationResult, calibration_bins
from mnist_cnn.training.loop import EpochResult

TRAIN, VALIDATION, ACCENT, QUIET, INK = "#1f5fa8", "#d9730d", "#b3261e", "#6f747c", "#202124"
DPI = 100


def _figure(
    width: float, height: float, left: float = 0.8, bottom: float = 0.6, top: float = 0.4, right: float = 0.2
) -> Figure:
    """An empty figure with fixed margins, in inches: to work them out takes matplotlib as long as the drawing."""
    figure = Figure(figsize=(width, height), dpi=DPI)
    figure.subplots_adjust(left / width, bottom / height, 1 - right / width, 1 - top / height, wspace=0.18)
    return figure


def learning_curves(history: list[EpochResult], steps: NDArray[Any] | None = None) -> Figure:
    """Accuracy and loss, training against validation, epoch by epoch (the report's figure 4).

    steps: (n, 3) epoch (a fraction), running loss and running accuracy within the epochs; drawn faintly behind.
    """
    figure = _figure(10, 4)
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


def judges_accuracies(trained: list[Trained], results: list[EvaluationResult], title: str) -> Figure:
    """The accuracy of each judge with its 95 % interval, panel beside panel."""
    kinds = list(dict.fromkeys(each.judge.kind for each in trained))
    figure = Figure(figsize=(8, 0.5 * len(kinds) + 1.2), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    for panel, colour, shift in zip(PANELS, (TRAIN, VALIDATION), (-0.12, 0.12), strict=True):
        own = [(each.judge.kind, result) for each, result in zip(trained, results, strict=True) if each.panel == panel]
        if own:
            accuracies = np.array([result.accuracy for _, result in own])
            ends = np.array([[result.accuracy_low, result.accuracy_high] for _, result in own]).T
            places = [kinds.index(kind) + shift for kind, _ in own]
            axes.errorbar(
                accuracies, places, xerr=np.abs(ends - accuracies), fmt="o", color=colour, label=f"panel {panel}"
            )
    axes.set_yticks(range(len(kinds)), kinds)
    axes.invert_yaxis()
    axes.set_title(title, loc="left", fontweight="bold")
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(alpha=0.25, axis="x")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
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
    figure = _figure(6.4, 6, left=0.65)
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
    figure = _figure(7, 3.6, bottom=0.95)
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
    figure = _figure(5, 5, top=0.65, left=0.65)
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
    axes.text(0.98, 0.02, "the larger the dot, the more images", ha="right", va="bottom", color=QUIET, fontsize=8)
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
    cells = [
        _Cell(
            (images[index],),
            f"{result.labels[index]} → {choices[index]}   {result.probabilities[index, choices[index]]:.1%}",
            ACCENT,
        )
        for index in order
    ]
    return _draw_sheet(
        [_Row("", tuple(cells[start : start + columns])) for start in range(0, len(cells), columns)],
        f"{title}: surest of {len(wrong):,} errors (label → choice, and its probability)",
        scale=4,
    )


MOST_ROWS, MOST_COLUMNS, MOST_OF_ONE = 10, 10, 4
"""A page shows no more searches than this, the first of each kind; a film strip of one kind shows the last number."""

TIMELINE, MOST_STILLS = "optimisation", 41
"""What the series of a timeline are filed under, and how many pictures each of them has at most."""

THUMBNAIL = (240, 256)
"""Height and width of a timeline's picture. MLflow blurs or shrinks any other width; a higher one its card cuts off."""


def film_strip(result: AscentResult, plan: SearchPlan, neighbours: Neighbours, title: str) -> Figure:
    """One search a row, from its start to its last image with step and loss under each; then the nearest real digit."""
    several = len(set(plan.kinds)) > 1
    rows = [row[0] for row in _page(plan)] if several else _page(plan)[0][:MOST_OF_ONE]
    shown = np.unique(np.linspace(0, len(result.steps) - 1, 6).round().astype(int))
    sheet = []
    for i in rows:
        cells = [
            _Cell((result.snapshots[at, i],), f"step {result.steps[at]:,}\nloss {result.losses[at, i]:.3g}")
            for at in shown
        ]
        real = f"nearest real\nimage, a {neighbours.labels[i]}"
        label = f"{plan.kinds[i].label}\n\np = {_share(result.target_probabilities[-1, i])}"
        sheet.append(_Row(label, (*cells, _Cell((neighbours.images[i],), real, QUIET))))
    return _draw_sheet(sheet, title, scale=4)


def finals(result: AscentResult, plan: SearchPlan, neighbours: Neighbours, title: str) -> Figure:
    """Each search's last image, the network's probability of the target under it, and its nearest real digit beside it.

    The number is red where the network's first choice is not one of the target's classes.
    """
    page = _page(plan)

    def cell(image: int) -> _Cell:
        probability = _share(result.target_probabilities[-1, image])
        caption = f"p = {probability}, near a {neighbours.labels[image]}"
        return _Cell((result.final[image], neighbours.images[image]), caption, _verdict(result, image, -1))

    return _draw_sheet(
        [_Row(plan.kinds[row[0]].label, tuple(cell(image) for image in row)) for row in page],
        f"{title}: last image, and the real image nearest to it",
        scale=2 if max(map(len, page)) > 5 else 3,
    )


def frames(result: AscentResult, plan: SearchPlan, title: str) -> list[NDArray[np.uint8]]:
    """The way of all searches together, a picture (height, width, 3) for each snapshot; wider than high."""
    page = _page(plan)
    if len(page) > len(page[0]):
        page = [list(column) for column in zip(*page, strict=True)][:MOST_OF_ONE]
    pictures = []
    for at, step in enumerate(result.steps):
        rows = [_Row("", tuple(_on_the_way(result, plan, i, at) for i in row)) for row in page]
        pictures.append(_pixels(_draw_sheet(rows, f"{title}: step {step:,} of {result.steps[-1]:,}", scale=3)))
    return pictures


def _on_the_way(result: AscentResult, plan: SearchPlan, image: int, snapshot: int) -> _Cell:
    probability = _share(result.target_probabilities[snapshot, image])
    caption = f"{plan.kinds[image].label}\np = {probability}"
    return _Cell((result.snapshots[snapshot, image],), caption, _verdict(result, image, snapshot))


@dataclass(frozen=True)
class Still:
    """One picture of a timeline. series: its name. pixels: (240, 256) uint8."""

    series: str
    step: int
    pixels: NDArray[np.uint8]


def timeline(result: AscentResult, plan: SearchPlan) -> list[Still]:
    """The way of the first search of each kind, or of the first searches of the only kind, as bare images.

    Of more than `MOST_STILLS` snapshots so many are taken, evenly, with the first and the last.
    """
    kinds = list(dict.fromkeys(plan.kinds))
    if len(kinds) > 1:
        searches = {kind.spelled_out: plan.kinds.index(kind) for kind in kinds[:MOST_ROWS]}
    else:
        own = range(min(MOST_OF_ONE, len(plan.kinds)))
        searches = {f"{kinds[0].spelled_out} - search {image}": image for image in own}
    taken = np.unique(np.linspace(0, len(result.steps) - 1, MOST_STILLS).round().astype(int))
    return [
        Still(f"{TIMELINE}/{name}", int(result.steps[at]), _thumbnail(result.snapshots[at, image]))
        for name, image in searches.items()
        for at in taken
    ]


def _thumbnail(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Grey levels as they are, each pixel a square of whole pixels, in the middle of a grey frame."""
    grey = (image[..., 0] * 255).round().astype(np.uint8)
    scale = THUMBNAIL[0] // max(grey.shape)
    enlarged = np.kron(grey, np.ones((scale, scale), np.uint8))
    margins = [(side - used) // 2 for side, used in zip(THUMBNAIL, enlarged.shape, strict=True)]
    return np.pad(enlarged, [(margin, margin) for margin in margins], constant_values=128)


def strip(shown: Strip, scale: int = 3) -> bytes:
    """A film strip as a PNG, drawn without matplotlib, which would take as long as many a trial."""
    rows, columns, height, width = shown.images.shape
    tall, wide, left, top, gap = height * scale, width * scale, 86, 20, 4
    sheet = Image.new("L", (left + columns * (wide + gap), top + rows * (tall + gap)), 255)
    pen = ImageDraw.Draw(sheet)
    for column, label in enumerate(shown.columns):
        pen.text((left + column * (wide + gap) + wide / 2, top / 2), label, 60, anchor="mm")
    for row, label in enumerate(shown.rows):
        # The default font has no arrow.
        pen.text((left - 8, top + row * (tall + gap) + tall / 2), label.replace("→", "to"), 60, anchor="rm")
        for column in range(columns):
            grey = (shown.images[row, column] * 255).round().astype(np.uint8)
            enlarged = np.kron(grey, np.ones((scale, scale), np.uint8))
            sheet.paste(Image.fromarray(enlarged), (left + column * (wide + gap), top + row * (tall + gap)))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def animation(pictures: Sequence[NDArray[np.uint8]], milliseconds: int = 160) -> bytes:
    """Pictures as a GIF that goes round and round, resting on the first and the last."""
    images = [Image.fromarray(picture).quantize(64) for picture in pictures]
    durations = [milliseconds] * len(images)
    durations[0], durations[-1] = 5 * milliseconds, 12 * milliseconds
    buffer = io.BytesIO()
    images[0].save(buffer, "GIF", save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=True)
    return buffer.getvalue()


def ascent_curves(result: AscentResult, title: str) -> Figure:
    """Loss, cross-entropy, penalty and probability of the target by step: median, and the range of nine in ten."""
    figure = Figure(figsize=(11, 3.4), dpi=DPI, layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    curves = (
        ("Loss", result.losses),
        ("Cross-entropy, nats", result.cross_entropies),
        ("Penalty", result.penalties),
        ("Probability of the target", result.target_probabilities),
    )
    for axes, (name, values) in zip(figure.subplots(1, len(curves)), curves, strict=True):
        axes.fill_between(
            result.steps, *np.quantile(values, (0.05, 0.95), axis=1), color=TRAIN, alpha=0.18, linewidth=0
        )
        axes.plot(result.steps, np.median(values, axis=1), color=TRAIN)
        axes.set_title(name, loc="left", fontsize=10)
        axes.set_xlabel("step")
        axes.set_xlim(0, result.steps[-1])
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        if "Probability" in name:
            axes.set_ylim(0, 1.02)
        elif name != "Penalty" and values.min() > 0:
            axes.set_yscale("log")
        elif values.min() >= 0:
            axes.set_ylim(bottom=0)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _page(plan: SearchPlan) -> list[list[int]]:
    """Which searches a page shows: rows of indices, each of one kind."""
    by_wish: dict[Any, list[int]] = {}
    for index, kind in enumerate(plan.kinds):
        by_wish.setdefault(kind, []).append(index)
    most = max(1, MOST_ROWS // len(by_wish))
    rows = []
    for indices in by_wish.values():
        rows += [indices[i : i + MOST_COLUMNS] for i in range(0, len(indices), MOST_COLUMNS)][:most]
    return rows


def _verdict(result: AscentResult, image: int, snapshot: int) -> str:
    hit = result.targets[image, result.probabilities[snapshot, image].argmax()] > 0
    return INK if hit else ACCENT


def _share(probability: float) -> str:
    """Two digits, three where two would say 1.00."""
    return f"{probability:.2f}" if probability < 0.995 else f"{probability:.3f}"


@dataclass(frozen=True)
class _Cell:
    """Images side by side, and what is written under them."""

    images: tuple[NDArray[np.float32], ...]
    caption: str
    colour: str = INK


@dataclass(frozen=True)
class _Row:
    label: str
    cells: tuple[_Cell, ...]


def _draw_sheet(rows: Sequence[_Row], title: str, scale: int) -> Figure:
    """Rows of images, each pixel of which is exactly `scale` x `scale` pixels of the picture.

    Grey levels are drawn as they are: 0 black, 1 white, never stretched.
    """
    gap, line, size = 10, 15, 8.5
    if not rows:
        figure = Figure(figsize=(6, 0.6), dpi=DPI)
        figure.text(0.02, 0.5, title, va="center", fontsize=11.5, fontweight="bold")
        return figure
    height, width = (side * scale for side in rows[0].cells[0].images[0].shape[:2])
    in_cell = max(len(cell.images) for row in rows for cell in row.cells)
    cell_width = max(
        in_cell * (width + 2) - 2, _text_width(max((c.caption for r in rows for c in r.cells), key=_text_width))
    )
    captions = max(cell.caption.count("\n") + 1 for row in rows for cell in row.cells)
    labels = max(_text_width(row.label) for row in rows)
    left = gap + (labels + 2 * gap if labels else 0)
    top, pitch = 40, height + captions * line + gap + 4
    columns = max(len(row.cells) for row in rows)
    total_width = max(left + columns * (cell_width + gap) + gap, _text_width(title) * 1.35 + 2 * gap)
    total_height = top + len(rows) * pitch
    canvas = np.ones((int(total_height), int(total_width), 3), np.float32)
    figure = Figure(figsize=(canvas.shape[1] / DPI, canvas.shape[0] / DPI), dpi=DPI)

    def write(x: float, y: float, text: str, **style: Any) -> None:
        figure.text(x / canvas.shape[1], 1 - y / canvas.shape[0], text, va="top", **{"fontsize": size, **style})

    write(gap, 10, title, fontsize=11.5, fontweight="bold")
    for number, row in enumerate(rows):
        y = top + number * pitch
        write(gap, y + (height - (row.label.count("\n") + 1) * line) / 2, row.label, linespacing=1.25)
        for column, cell in enumerate(row.cells):
            x = left + column * (cell_width + gap)
            for place, image in enumerate(cell.images):
                begin = x + place * (width + 2)
                enlarged = np.kron(image, np.ones((scale, scale, 1), np.float32))
                canvas[y : y + height, begin : begin + width] = enlarged
            write(x, y + height + 4, cell.caption, color=cell.colour, linespacing=1.25)
    figure.figimage(canvas, vmin=0, vmax=1, origin="upper")
    return figure


def _text_width(text: str) -> int:
    """Pixels that the widest line of a caption takes, on the safe side."""
    return int(6.4 * max(map(len, text.split("\n"))))


def as_svg(figure: Figure) -> str:
    """A figure as an <svg> element for a page, whose text and axes take the page's colour, on no ground of its own."""
    buffer = io.StringIO()
    with rc_context({"svg.hashsalt": "mnist-cnn"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    for black in ("#000000", INK):
        svg = svg.replace(black, "currentColor")
    return svg


def _pixels(figure: Figure) -> NDArray[np.uint8]:
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def digits(searched: Searched) -> Figure:
    """Ten images of each class, recognised or not, in the order in which they were searched."""
    classes = searched.targets.argmax(axis=1)
    rows = []
    for number in range(searched.targets.shape[1]):
        own = np.flatnonzero(classes == number)
        share = searched.card.recognised[own].mean()
        rows.append(_Row(f"{number}\n{share:.0%}", (_Cell(tuple(searched.images[own[:10]]), ""),)))
    return _draw_sheet(rows, f"{_WORDS[searched.start]}: {searched.card.rate:.1%} recognised", 2)


_WORDS = {"noise": "From pure noise", "noisy_digit": "From noisy digits", "digit": "From other digits"}


def answer_strip(cells: Mapping[Place, Searched], start: str = "noise") -> Figure:
    """A row for each network and regularisation: the first image of each class, and the recognised rate."""
    rows = []
    for (network, column, own_start), cell in cells.items():
        if own_start == start:
            firsts = [np.flatnonzero(cell.targets.argmax(axis=1) == number)[0] for number in range(10)]
            label = f"{network}\n{column}\n{cell.card.rate:.1%} recognised"
            rows.append(_Row(label, (_Cell(tuple(cell.images[firsts]), ""),)))
    return _draw_sheet(rows, f"{_WORDS[start]}: the first search for each digit", 2)


def answer_curve(table: Table) -> Figure:
    """Recognised rate against diversity from pure noise: what was tried (small), and the table's cells (large)."""
    figure = Figure(figsize=(7.5, 5), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    colours = dict(zip(table.tried, (QUIET, TRAIN, VALIDATION, ACCENT), strict=False))
    for network, columns in table.tried.items():
        cards = [each.card.metrics() for column in columns.values() for each in column]
        axes.scatter(
            [card["diversity"] for card in cards],
            [card["recognised_rate"] for card in cards],
            s=14, color=colours[network], alpha=0.5, linewidths=0,
        )  # fmt: skip
        cells = [cell for (name, _, start), cell in table.cells.items() if name == network and start == "noise"]
        own = [cell.card.metrics() for cell in cells]
        axes.scatter(
            [card["diversity"] for card in own],
            [card["recognised_rate"] for card in own],
            s=60, color=colours[network], edgecolor=INK, linewidths=0.8, label=network,
        )  # fmt: skip
    axes.axvline(ENOUGH_DIVERSITY, color=QUIET, linewidth=0.8, linestyle=":")
    axes.set(
        xlabel="Diversity within a class (real digits: 1)",
        ylabel="Recognised",
        title="Readable and different: small, tried (panel A); large, in the table (panel B)",
        xlim=(0, None),
        ylim=(-0.02, 1.04),
    )
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(frameon=False, loc="center right")
    axes.spines[["top", "right"]].set_visible(False)
    return figure
