"""A sheet of small images in rows with captions: each pixel is a square of whole pixels, each grey level as it is.

Pillow draws it: Matplotlib takes nine times as long, and a search makes dozens.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mnist_cnn.reporting.figure_style import INK

GAP, LINE, TEXT, TITLE, TOP = 10, 15, 12, 16, 40
"""Pixels between cells, of a line of text, of its letters, of the title's letters, above the first row."""


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


def draw_sheet(rows: Sequence[Row], title: str, scale: int) -> Image.Image:
    """Rows of images of one size, each pixel of which is exactly `scale` x `scale` pixels of the picture.

    Grey levels are drawn as they are: 0 black, 1 white, never stretched. Without rows the title stands alone.
    """
    top = TOP if title else GAP
    cells = [cell for row in rows for cell in row.cells]
    height, width = (side * scale for side in cells[0].images[0].shape[:2]) if cells else (0, 0)
    images_width = max((len(cell.images) for cell in cells), default=0) * (width + 2) - 2
    cell_width = max([images_width, *(_width(cell.caption) for cell in cells)])
    labels_width = max((_width(row.label) for row in rows), default=0)
    left = GAP + (labels_width + 2 * GAP if labels_width else 0)
    pitch = height + max((_lines(cell.caption) for cell in cells), default=0) * LINE + GAP + 4
    columns = max((len(row.cells) for row in rows), default=0)
    total_width = max(left + columns * (cell_width + GAP), GAP + _width(title, TITLE, bold=True)) + GAP
    sheet = Image.new("RGB", (total_width, top + len(rows) * pitch), "white")
    pen = ImageDraw.Draw(sheet)

    def write(x: int, y: int, text: str, colour: str = INK) -> None:
        for number, line in enumerate(text.split("\n")):
            pen.text((x, y + number * LINE), line, colour, _font(TEXT))

    pen.text((GAP, 10), title, INK, _font(TITLE, bold=True))
    for number, row in enumerate(rows):
        y = top + number * pitch
        write(GAP, y + (height - _lines(row.label) * LINE) // 2, row.label)
        for column, cell in enumerate(row.cells):
            x = left + column * (cell_width + GAP)
            for place, image in enumerate(cell.images):
                levels = np.round(255 * image[..., 0]).astype(np.uint8)
                enlarged = Image.fromarray(np.kron(levels, np.ones((scale, scale), np.uint8)))
                sheet.paste(enlarged, (x + place * (width + 2), y))
            write(x, y + height + 4, cell.caption, cell.colour)
    return sheet


def as_png(picture: Image.Image) -> bytes:
    """A picture as a PNG, packed fast rather than small."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


@cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The font of the other figures, which Matplotlib brings along."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    path = Path(matplotlib.get_data_path(), "fonts", "ttf", name)
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


def _lines(text: str) -> int:
    return text.count("\n") + 1 if text else 0


def _width(text: str, size: int = TEXT, bold: bool = False) -> int:
    """Pixels that the widest line of a text takes."""
    return int(max(map(_font(size, bold).getlength, text.split("\n")))) + 1 if text else 0
