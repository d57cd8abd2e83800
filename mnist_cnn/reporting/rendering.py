"""Templates in, text out. What is put into a template is escaped: as HTML in a page, as Markdown in a description."""

from __future__ import annotations

import json
import re
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markdown_it import MarkdownIt
from markupsafe import Markup

from mnist_cnn.reporting import formats, pages

SPECIAL = re.compile(r"[\\`|*\[\]<>]")
ESCAPED = re.compile(r"\\([\\`|*\[\]])")
MARKDOWN_READER = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")


def render(template: str, **values: Any) -> str:
    """The template of that path under `templates/`, filled in. Raises `jinja2.UndefinedError` where a value lacks."""
    environment = MARKDOWN if template.endswith(".md") else HTML  # which escapes nothing in a .txt
    return environment.get_template(template).render(**values).strip()


def markdown(value: Any) -> Markup:
    """A text as it shall be read in Markdown: on one line, without marks, cells or tags of its own."""
    if isinstance(value, Markup):
        return value
    marks = {"<": "&lt;", ">": "&gt;"}
    return Markup(SPECIAL.sub(lambda found: marks.get(found[0], f"\\{found[0]}"), " ".join(str(value).split())))


def on_terminal(text: str) -> str:
    """What `markdown` escaped, where nothing reads Markdown, as on a terminal: `<b>` is no tag there."""
    return ESCAPED.sub(r"\1", str(text)).replace("&lt;", "<").replace("&gt;", ">")


def as_html(text: str) -> Markup:
    """Markdown of anybody as HTML: its tags are shown as text, and no picture is asked for."""
    return Markup(MARKDOWN_READER.render(text))


def code(value: Any) -> Markup:
    """A text as a code span, which no backtick in it ends. Not for cells of a table: a `|` would end the cell."""
    text = " ".join(str(value).split())
    fence = "`" * (1 + max([0, *map(len, re.findall("`+", text))]))
    return Markup(f"{fence} {text} {fence}" if "`" in text else f"`{text}`")


def as_json(value: Any) -> Markup:
    """A value as JSON, which is YAML as well."""
    return Markup(json.dumps(value, ensure_ascii=True))


def line(value: Any) -> Markup:
    """A text for a fenced block: on one line, otherwise as it is."""
    return Markup(" ".join(str(value).splitlines()))


FILTERS = {
    "number": formats.number,
    "percent": formats.percent,
    "clock": formats.clock,
    "counted": formats.counted,
    "interval": formats.interval,
    "cell": pages.cell,
    "percent_cell": pages.percent_cell,
    "png_uri": pages.png_uri,
    "labelled": pages.labelled,
    "code": code,
    "line": line,
    "json": as_json,
}

HTML = Environment(
    loader=PackageLoader("mnist_cnn.reporting"),
    autoescape=select_autoescape(["html", "md"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
HTML.filters |= FILTERS
MARKDOWN = HTML.overlay(finalize=markdown)
