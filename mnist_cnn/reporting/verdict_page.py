"""The page that asks people what they see, and what they answered as a figure, a table and a description."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mnist_cnn.data.dataset import DIGITS
from mnist_cnn.judging.verdict import FORM, GROUPS, Answers, GroupVerdict
from mnist_cnn.reporting.figure_style import any_name, fixed_figure, styled
from mnist_cnn.reporting.formats import counted, interval
from mnist_cnn.reporting.pages import png, png_uri
from mnist_cnn.reporting.rendering import render
from mnist_cnn.reporting.tables import as_markdown

MEANING = {"dreamed": "from noise", "real": "real images", "controls": "controls"}


INCHES_A_LETTER = 0.08
"""Room for a name beside a figure."""


def page(images: NDArray[np.uint8], page_id: str, class_names: Sequence[str] = DIGITS) -> str:
    """One HTML page without any other file, and without the truth.

    images: (n, 28, 28), in the order shown. class_names: ten texts, which stand on the keys.
    """
    shown = [png_uri(png(image)) for image in images]
    are_digits = tuple(class_names) == DIGITS
    return render("verdict.html", form=FORM, page=page_id, images=shown, class_names=class_names, are_digits=are_digits)


def page_description(run_id: str, ordinary: str, page_id: str, counts: Mapping[str, int]) -> str:
    """Of the run that made a page. counts: images of each group."""
    parts = [f"{counts[name]} {MEANING[name]}" for name in GROUPS if name in counts]
    return render(
        "descriptions/verdict_page.md", run_id=run_id, ordinary=ordinary, page=page_id, parts=", ".join(parts)
    )


def table(found: Mapping[str, GroupVerdict]) -> Markup:
    """A line for each group: how often people name the target, and how often judges recognise the same images."""
    rows = [
        [MEANING[name], own.num_images, interval(own.people.rate, own.people.low, own.people.high, " %"),
         f"{100 * own.cannot_tell:.1f} %", interval(own.judges.rate, own.judges.low, own.judges.high, " %")]
        for name, own in found.items()
    ]  # fmt: skip
    return as_markdown(["images", "number", "people name it", "cannot tell", "judges recognise"], rows)


def skipped_lines(skipped: Sequence[tuple[int, str]]) -> list[str]:
    """`Line 3 is skipped: it is torn or was changed.`"""
    return [f"Line {number} is skipped: {reason}." for number, reason in skipped]


def description(found: Mapping[str, GroupVerdict], answers: Answers, page_run: str) -> str:
    """Of the run that holds answers. page_run: the run that made the page."""
    return render(
        "descriptions/verdict.md", people=counted(len(answers.people), "person", "people"), table=table(found),
        page_run=page_run, skipped=skipped_lines(answers.skipped),
    )  # fmt: skip


@any_name()
@styled
def confusions(found: Mapping[str, GroupVerdict], num_people: int, class_names: Sequence[str] = DIGITS) -> Figure:
    """Answers by target and what was said, group beside group. Each row is drawn in shares of its answers.

    class_names: ten texts. Where they are not the digits, they stand beside the keys, left of the first group.
    """
    rows = DIGITS if tuple(class_names) == DIGITS else [f"{name}  {key}" for key, name in enumerate(class_names)]
    left = 0.6 + INCHES_A_LETTER * (max(map(len, rows)) - 1)
    figure = fixed_figure(4.6 * len(found) + left, 4.8, left=left, bottom=0.6, top=0.8)
    for axes, (name, own) in zip(np.atleast_1d(figure.subplots(1, len(found))), found.items(), strict=True):
        counts = own.confusion
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=2)
        for row, column in np.ndindex(*counts.shape):
            if counts[row, column]:
                axes.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", fontsize=8)
        axes.set(
            xticks=range(len(DIGITS) + 1),
            yticks=range(len(DIGITS)),
            xlabel="people said (?: cannot tell)",
            ylabel="shown",
        )
        axes.set_xticklabels([*DIGITS, "?"])
        axes.set_yticklabels(rows if axes is figure.axes[0] else DIGITS)
        axes.set_title(f"{own.num_images} {MEANING[name]}: {own.people.rate:.0%} named")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.grid(False)
    figure.suptitle(f"Answers of {counted(num_people, 'person', 'people')}", y=0.985)
    return figure
