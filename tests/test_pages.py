"""Parts of pages: what is shown is what was given, nothing is fetched from elsewhere, and text is escaped."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
from PIL import Image

from mnist_cnn.reporting import figures, pages
from mnist_cnn.reporting.pages import Film
from mnist_cnn.training.loop import EpochResult


def pictures(markup: str) -> list[np.ndarray]:
    found = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", markup)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))) for one in found]


def test_a_row_holds_its_images_side_by_side_with_a_grey_edge() -> None:
    images = np.stack([np.zeros((28, 28)), np.ones((28, 28))])
    (sheet,) = pictures(pages.row_of_images(images))
    assert sheet.shape == (28, 60)
    assert (sheet[:, 1:29] == 0).all() and (sheet[:, 31:59] == 255).all() and (sheet[:, [0, 29, 30, 59]] == 128).all()


def test_a_film_stands_at_its_end_and_its_strip_goes_from_start_to_end() -> None:
    frames = np.linspace(0, 1, 21)[:, np.newaxis, np.newaxis, np.newaxis] * np.ones((21, 3, 28, 28))
    markup = pages.player(Film(frames, range(0, 525, 25), ["1", "5 → 7", "<9>"]))
    whole, *stills = pictures(markup)
    assert whole.shape == (21 * 28, 90) and "background-position-y: 100.000%" in markup
    assert (whole[::28, 1] == np.round(255 * np.linspace(0, 1, 21))).all()
    assert [int(step) for step in re.findall(r"<span>step (\d+)</span>", markup)] == [0, 25, 100, 225, 500]
    assert [still[0, 1] for still in stills] == [0, 13, 51, 115, 255]
    assert 'max="20"' in markup and "&lt;9&gt;" in markup and 'aria-label="step"' in markup
    single = pages.player(Film(frames[:1], [0], ["1", "2", "3"]))
    assert pictures(single)[0].shape == (28, 90)


def test_a_page_needs_nothing_but_itself_and_text_is_escaped() -> None:
    svg = figures.as_svg(figures.learning_curves([EpochResult(1, 0.5, 0.9, 0.4, 0.91, 0.01, 3.0, 1000.0)]))
    page = pages.document("A <title>", "and & more", [pages.drawing(svg, "it's <drawn>"), pages.missing("X", "a < b")])
    assert "A &lt;title&gt;" in page and "and &amp; more" in page and "&lt;drawn&gt;" in page and "a &lt; b" in page
    fetched = re.findall(r"(?:src|href)=[\"'](?!data:|#)([^\"']+)|url\((?!data:|#)([^)]+)\)|@import", page)
    assert not fetched
    assert "currentColor" in svg and "#000000" not in svg and not re.search("<script[^>]+src", page)


def test_numbers_are_sorted_as_such_and_headings_stand_as_their_columns_do() -> None:
    markup = pages.table(["name", "share"], [("strong", [pages.cell("a<b"), pages.cell(0.123456)])])
    assert '<th class="text">name</th><th>share</th>' in markup
    assert '<tr class="strong">' in markup and "a&lt;b" in markup and 'data-value="0.123456">0.1235<' in markup
