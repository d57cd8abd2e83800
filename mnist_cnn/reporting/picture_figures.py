"""Pictures that a person brought along: as given, beside what the network is shown of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from mnist_cnn.reporting.image_sheet import Cell, Row, draw_sheet

SIDE = 112
"""Pixels of a picture in the figure: four to a pixel of the data."""

IN_A_ROW, MOST_ROWS, LONGEST_NAME = 4, 3, 24


def thumbnail(picture: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(`SIDE`, `SIDE`) of a grey (height, width) in [0, 1], on a grey ground where it is no square."""
    whole = Image.fromarray(np.round(255 * picture).astype(np.uint8))
    return np.asarray(ImageOps.pad(whole, (SIDE, SIDE), color=128))


def surest_and_least(
    given: Sequence[NDArray[np.uint8]],
    prepared: NDArray[np.float32],
    probabilities: NDArray[np.float32],
    names: Sequence[str],
    class_names: Sequence[str],
) -> Image.Image:
    """The surest and the least sure pictures, each as given beside as prepared; all, where they are few.

    given: n of `thumbnail`. prepared: (n, 28, 28, 1). probabilities: (n, k). names: (n,). class_names: k.
    """
    order = np.argsort(probabilities.max(axis=1), kind="stable").tolist()
    half = IN_A_ROW * MOST_ROWS
    groups = {"least sure": order[: min(half, (len(order) + 1) // 2)]}
    groups["surest"] = [number for number in order[::-1] if number not in groups["least sure"]][:half]
    rows = []
    for label, numbers in reversed(groups.items()):
        cells = [
            _cell(given[number], prepared[number], probabilities[number], names[number], class_names)
            for number in numbers
        ]
        parts = [cells[start : start + IN_A_ROW] for start in range(0, len(cells), IN_A_ROW)]
        rows += [Row(label if number == 0 else "", tuple(part)) for number, part in enumerate(parts)]
    return draw_sheet(rows, "Pictures as given, and as the network is shown them", 1)


def _cell(
    given: NDArray[np.float32],
    prepared: NDArray[np.float32],
    probabilities: NDArray[np.float32],
    name: str,
    class_names: Sequence[str],
) -> Cell:
    large = np.kron(prepared, np.ones((SIDE // prepared.shape[0],) * 2 + (1,), np.float32))
    first, second = np.argsort(-probabilities, kind="stable")[:2].tolist()
    short = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
    choices = ", ".join(f"{class_names[number]} ({probabilities[number]:.1%})" for number in (first, second))
    return Cell(((given[..., np.newaxis] / 255).astype(np.float32), large), f"{choices}\n{short}")
