"""A sheet of small images in rows with captions: each pixel is a square of whole pixels, each grey level as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mnist_cnn.reporting.figure_style import DPI, INK

GAP, LINE, FONT_SIZE, TOP = 10, 15, 8.5, 40
"""Pixels between cells, of a line of text, points of the text, pixels above the first row."""


@dataclass(frozen=True)
class Cell:
    """Images side by side, and the text below them. images: each (height, width, 1) in [0, 1]."""

    images: tuple[NDArray[np.float32], ...]
    caption: str = ""
    colour: str = INK


@dataclass(frozen=True)
class Row:
    """Cells with a label on their left."""

    label: str
    cells: tuple[Cell, ...]


def draw_sheet(rows: Sequence[Row], title: str, scale: int) -> Figure:
    """Rows of images of one size, each pixel of which is exactly `scale` x `scale` pixels of the picture.

    Grey levels are drawn as they are: 0 black, 1 white, never stretched. Without rows the title stands alone.
    """
    if not rows:
        figure = Figure(figsize=(6, 0.6), dpi=DPI)
        figure.text(0.02, 0.5, title, va="center", fontsize=11.5, fontweight="bold")
        return figure
    cells = [cell for row in rows for cell in row.cells]
    height, width = (side * scale for side in cells[0].images[0].shape[:2])
    images_width = max(len(cell.images) for cell in cells) * (width + 2) - 2
    cell_width = max(images_width, *(_text_width(cell.caption) for cell in cells))
    labels_width = max(_text_width(row.label) for row in rows)
    left = GAP + (labels_width + 2 * GAP if labels_width else 0)
    pitch = height + max(_lines(cell.caption) for cell in cells) * LINE + GAP + 4
    columns = max(len(row.cells) for row in rows)
    total_width = max(left + columns * (cell_width + GAP) + GAP, _text_width(title) * 1.35 + 2 * GAP)
    canvas = np.ones((TOP + len(rows) * pitch, int(total_width), 3), np.float32)
    figure = Figure(figsize=(canvas.shape[1] / DPI, canvas.shape[0] / DPI), dpi=DPI)

    def write(x: float, y: float, text: str, **style: Any) -> None:
        style = {"fontsize": FONT_SIZE, "parse_math": False, **style}  # a class may have a $ in its name
        figure.text(x / canvas.shape[1], 1 - y / canvas.shape[0], text, va="top", **style)

    write(GAP, 10, title, fontsize=11.5, fontweight="bold")
    for number, row in enumerate(rows):
        y = TOP + number * pitch
        write(GAP, y + (height - _lines(row.label) * LINE) / 2, row.label, linespacing=1.25)
        for column, cell in enumerate(row.cells):
            x = left + column * (cell_width + GAP)
            for place, image in enumerate(cell.images):
                begin = x + place * (width + 2)
                canvas[y : y + height, begin : begin + width] = np.kron(image, np.ones((scale, scale, 1), np.float32))
            write(x, y + height + 4, cell.caption, color=cell.colour, linespacing=1.25)
    figure.figimage(canvas, vmin=0, vmax=1, origin="upper")
    return figure


def _lines(text: str) -> int:
    return text.count("\n") + 1


def _text_width(text: str) -> int:
    """Pixels that the widest line of a text takes, on the safe side."""
    return int(6.4 * max(map(len, text.split("\n"))))
