"""Parts of pages and the templates' escapes: what is shown is what was given, and text stays text."""

from __future__ import annotations

import base64
import io
import re

import jinja2
import numpy as np
import pytest
from markupsafe import Markup
from PIL import Image

from mnist_cnn.reporting import formats, pages, tables
from mnist_cnn.reporting.rendering import HTML, MARKDOWN, code, markdown, render
from tests.reporting_examples import HOSTILE


def macro(name: str, *values: object) -> str:
    return str(getattr(HTML.get_template("_macros.html").module, name)(*values))


def pictures(markup: str) -> list[np.ndarray]:
    found = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", markup)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(uri)))) for uri in found]


def test_a_row_holds_its_images_side_by_side_with_a_grey_edge() -> None:
    images = np.stack([np.zeros((28, 28)), np.ones((28, 28))])
    (sheet,) = pictures(macro("pixels", pages.sheet(images)))
    assert sheet.shape == (28, 60)
    assert (sheet[:, 1:29] == 0).all() and (sheet[:, 31:59] == 255).all() and (sheet[:, [0, 29, 30, 59]] == 128).all()


def test_a_film_stands_at_its_end_and_its_strip_goes_from_start_to_end() -> None:
    frames = np.linspace(0, 1, 21)[:, np.newaxis, np.newaxis, np.newaxis] * np.ones((21, 3, 28, 28))
    markup = macro("player", pages.film(frames, range(0, 525, 25), ["1", "5 → 7", "<9>"]))
    whole, *stills = pictures(markup)
    assert whole.shape == (21 * 28, 90) and "background-position-y: 100.000%" in markup
    assert (whole[::28, 1] == np.round(255 * np.linspace(0, 1, 21))).all()
    assert [int(step) for step in re.findall(r"<span>step (\d+)</span>", markup)] == [0, 25, 100, 225, 500]
    assert [still[0, 1] for still in stills] == [0, 13, 51, 115, 255]
    assert 'max="20"' in markup and "&lt;9&gt;" in markup and 'aria-label="step"' in markup
    assert 'data-steps="[0, 25, 50,' in markup
    single = macro("player", pages.film(frames[:1], [0], ["1", "2", "3"]))
    assert pictures(single)[0].shape == (28, 90)


def test_numbers_are_sorted_as_such_and_headings_stand_as_their_columns_do() -> None:
    row = pages.Row([pages.cell("a<b"), pages.cell(0.123456), pages.percent_cell(0.5)], "strong")
    markup = macro("table", pages.Table(["name", "share", "percent"], [row]))
    assert '<th class="text">name</th><th>share</th><th>percent</th>' in markup
    assert '<tr class="strong">' in markup and "a&lt;b" in markup
    assert '<td data-value="0.123456">0.1235</td><td data-value="0.5">50.0</td>' in markup
    empty = pages.Row([pages.cell(None), pages.images_cell(None), pages.percent_cell(None)])
    assert macro("table", pages.Table(["a", "b", "c"], [empty])).count('<td class="text"></td>') == 3


def test_a_page_needs_nothing_but_itself_and_text_is_escaped() -> None:
    page = render("page.html", title="A <title>", subtitle="and & more")
    assert "<h1>A &lt;title&gt;</h1>" in page and "and &amp; more" in page
    assert "querySelectorAll" in page and "prefers-color-scheme" in page and "@media print" in page
    assert not re.findall(r"(?:src|href)=[\"'](?!data:|#)([^\"']+)|url\((?!data:|#)([^)]+)\)|@import", page)
    missing = macro("missing", {"title": "X", "reason": "a < b"})
    assert "<b>Missing: X</b><br>a &lt; b" in missing


def test_a_drawing_is_a_picture_that_its_caption_names() -> None:
    svg = Markup('<svg width="9pt"><text>0.5</text></svg>')
    markup = HTML.from_string(
        '{% from "_macros.html" import drawing %}{% call drawing(svg) %}\n<b>A</b> &lt; "{{ b }}"\n{% endcall %}'
    ).render(svg=svg, b="<B>")
    name = "A &lt; &#34;&lt;B&gt;&#34;"
    assert f'<div class="wide" tabindex="0"><svg role="img" aria-label="{name}" width="9pt"><text>' in markup
    assert '</svg></div><figcaption><b>A</b> &lt; "&lt;B&gt;"' in markup


def test_a_value_that_a_template_lacks_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError):
        render("page.html", title="A title")
    with pytest.raises(jinja2.UndefinedError):
        render("descriptions/judges.md")


def test_a_text_breaks_neither_a_markdown_table_nor_runs_as_html() -> None:
    table = tables.as_markdown(["a", "b"], [[HOSTILE, 1], [Markup("**ours**"), None]])
    lines = table.splitlines()
    assert len(lines) == 4 and lines[3] == "| **ours** | None |"
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 3 for row in lines)
    assert "<" not in table and "\\`c\\`" in table and "\\*d\\*" in table and "\\[e\\]" in table
    shown = MARKDOWN.from_string("{{ text }} **{{ ours }}**").render(text=HOSTILE, ours=Markup("<b>"))
    assert shown == f"{markdown(HOSTILE)} **<b>**"


def test_a_code_span_ends_where_it_should() -> None:
    assert code("models:/m-1") == "`models:/m-1`"
    assert code("a`b\nc``d") == "``` a`b c``d ```"


def test_numbers_are_written_alike_everywhere() -> None:
    assert [formats.number(value) for value in (0.123456, 7, float("nan"), None, "a")] == ["0.1235", "7", "–", "–", "a"]
    assert formats.interval(0.986, 0.974, 0.994) == "98.6 (97.4 to 99.4)"
    assert [formats.clock(seconds) for seconds in (0.2, 59.4, 185.0)] == ["0 s", "59 s", "3:05 min"]
    assert [formats.counted(1, "epoch"), formats.counted(1200, "search", "searches")] == ["1 epoch", "1,200 searches"]
