"""What all figures share: style and colours; and a figure as PNG, SVG or pixels. No pyplot, so no state."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context, rc_params_from_file
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

TRAIN, VALIDATION, ACCENT, QUIET, INK = "#1f5fa8", "#d9730d", "#b3261e", "#6f747c", "#202124"
DPI = 100
OF_PAGE = {"#000000": "currentColor", INK: "currentColor", QUIET: "var(--quiet)", TRAIN: "var(--accent)",
           VALIDATION: "var(--second)"}  # fmt: skip
"""The colours of a page's style sheet in place of a figure's."""

METADATA = ("Creator", "Date", "Format", "Type")
"""What matplotlib would write about itself into an <svg>."""

STYLE = rc_params_from_file(Path(__file__).parent / "templates" / "figures.mplstyle", use_default_template=False)
styled = rc_context(STYLE)
"""Decorates what draws a figure: the style is in force inside of it, and nowhere else."""


def fixed_figure(
    width: float, height: float, left: float = 0.8, bottom: float = 0.6, top: float = 0.4, right: float = 0.2
) -> Figure:
    """An empty figure with fixed margins, in inches: to work them out takes matplotlib as long as the drawing."""
    with rc_context({"figure.constrained_layout.use": False}):
        figure = Figure((width, height))
    figure.subplots_adjust(left / width, bottom / height, 1 - right / width, 1 - top / height, wspace=0.18)
    return figure


@contextmanager
def any_name() -> Iterator[None]:
    """Also decorates what draws: a name may hold letters that the font lacks. They become boxes, without a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


@any_name()
def as_png(figure: Figure) -> bytes:
    """A figure as a PNG on white, cut to what it shows."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight", facecolor="white")
    return buffer.getvalue()


@any_name()
@styled
def as_svg(figure: Figure) -> str:
    """A figure as an <svg> element for a page, in whose colours it is, dark or light; the ground is transparent."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata=dict.fromkeys(METADATA))
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    for colour, of_page in OF_PAGE.items():
        svg = svg.replace(colour, of_page)
    return svg


@any_name()
def as_pixels(figure: Figure) -> NDArray[np.uint8]:
    """(height, width, 3): a figure as a picture."""
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
