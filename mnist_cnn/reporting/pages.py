"""What pages are made of: cells, tables, pictures and films as plain values, which the macros of `templates` draw.

A page holds all it needs: no other file, no network. It is made for dark and light, phone and paper.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray
from PIL import Image

from mnist_cnn.reporting import formats

WIDEST = 100
"""Pixels of the screen that an image in a row takes at most."""

STILL = 40
"""The same in a film's strip."""


@dataclass(frozen=True)
class Cell:
    """A cell of a table. text: what is read. value: what it is sorted by; None: the text. picture: data URI, or empty.

    link: where a click on the text leads, or empty.
    kind: classes of the style sheet: empty for numbers, `text`, `text long` for what may take several lines.
    """

    text: str = ""
    value: float | None = None
    kind: str = "text"
    picture: str = ""
    link: str = ""


@dataclass(frozen=True)
class Row:
    """Cells, or what `cell` makes them of; what they have in common: empty, `strong`, `pruned`, `failed`, `lost`."""

    cells: Sequence[Any]
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """A table that is sorted by a click on a heading."""

    headings: Sequence[str]
    rows: Sequence[Row]

    @property
    def columns(self) -> list[tuple[str, str]]:
        """Each heading with its alignment, that of the first row: `text`, or empty for numbers."""
        first = self.rows[0].cells if self.rows else [""] * len(self.headings)
        return [(heading, cell(value).kind and "text") for heading, value in zip(self.headings, first, strict=True)]


def cell(value: Any) -> Cell:
    """A number with four digits, sorted by all of them; or a text, empty for None. A cell stays as it is."""
    if isinstance(value, Cell):
        return value
    if isinstance(value, float | int) and not isinstance(value, bool):
        return Cell(formats.number(value), value, "")
    return Cell("" if value is None else str(value))


def number_or_text(setting: str) -> float | str:
    """A setting as a number where it is one, so that a table can sort by it."""
    try:
        return float(setting)
    except ValueError:
        return setting


def percent_cell(share: float | None) -> Cell:
    """`98.6`, sorted by the share; empty for None."""
    return Cell() if share is None else Cell(f"{100 * share:.1f}", share, "")


def images_cell(finals: NDArray[np.uint8] | None) -> Cell:
    """Images side by side. finals: (n, height, width)."""
    if finals is None or not len(finals):
        return Cell()
    return Cell("last images", picture=png_uri(png(np.concatenate(list(finals), axis=1))))


@dataclass(frozen=True)
class Sheet:
    """Images in rows as one picture, of which one row is seen. uri: a data URI.

    width, height: of a row, in pixels of the picture. place: of the row, in percent. widest: pixels of the screen that
    a row takes at most. columns: images in a row.
    """

    uri: str
    width: int
    height: int
    place: float
    widest: int
    columns: int


def sheet(images: NDArray[np.floating], frames: int = 1, shown: int = -1, widest: int = WIDEST) -> Sheet:
    """Images side by side with a grey edge. images: (frames, n, height, width) in [0, 1], or (n, ...) of one frame.

    shown: the frame that is seen; the others stand below one another in the same picture. widest: pixels of the
    screen that an image takes at most.
    """
    stacked = np.asarray(images).reshape(frames, -1, *images.shape[-2:])
    framed = np.pad(stacked, ((0, 0), (0, 0), (0, 0), (1, 1)), constant_values=0.5)
    rows = framed.swapaxes(1, 2).reshape(frames * framed.shape[2], -1)
    height, width = framed.shape[2], rows.shape[1]
    place = 100.0 if frames == 1 else 100 * (shown % frames) / (frames - 1)
    uri = png_uri(png(np.round(255 * np.clip(rows, 0, 1)).astype(np.uint8)))
    return Sheet(uri, width, height, place, widest * width // 28, stacked.shape[1])


@dataclass(frozen=True)
class Film:
    """Images on their way: a sheet of all frames, and a strip of a few. names: below each image of a row."""

    sheet: Sheet
    steps: list[int]
    names: Sequence[str]
    strip: list[tuple[int, Sheet]]


def film(
    frames: NDArray[np.floating],
    steps: Sequence[int],
    names: Sequence[str],
    most: int = 5,
    widest: int = WIDEST,
    still: int = STILL,
) -> Film:
    """A film for a player, which stands at its end where no script runs, with a strip of `most` frames.

    frames: (steps, n, height, width) in [0, 1]. steps: of each frame. names: (n,).
    widest, still: pixels of the screen that an image takes at most, in the film and in its strip.
    """
    stills = sorted({round(index) for index in np.geomspace(1, len(steps), most) - 1})
    strip = [(int(steps[index]), sheet(frames[index], widest=still)) for index in stills]
    return Film(sheet(frames, len(steps), widest=widest), [int(step) for step in steps], names, strip)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """pixels: (height, width)."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def png_uri(picture: bytes) -> str:
    """A PNG as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


def labelled(svg: Markup, caption: str) -> Markup:
    """An <svg> element as one picture, of which a screen reader says the caption instead of each text in it."""
    start = Markup('<svg role="img" aria-label="{}" ').format(escape(caption).striptags())
    return start + svg.removeprefix("<svg ")
