"""A Griffe extension: what a docstring says of an argument or field, `name: (n, k) float32`, becomes a list."""

from __future__ import annotations

import re
from typing import Any

import griffe

ENTRY = re.compile(r"(?:^|(?<=[.:] )|(?<=[.:]\n))((?:[a-z_]\w*)(?:, [a-z_]\w*)*): ", re.MULTILINE)
"""The start of a line or of a sentence that names arguments or fields, with a colon behind."""


class ListsOfFields(griffe.Extension):
    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        _rewrite(func, {parameter.name for parameter in func.parameters})

    def on_class(self, *, cls: griffe.Class, **_: Any) -> None:
        _rewrite(cls, set(cls.members))


def _rewrite(described: griffe.Object, names: set[str]) -> None:
    if described.docstring is not None:
        described.docstring.value = as_list(described.docstring.value, names)


def as_list(text: str, names: set[str]) -> str:
    """Markdown with a list entry for each of `names` that the text describes; other text stays as it is."""
    paragraphs = []
    for paragraph in text.split("\n\n"):
        starts = [found for found in ENTRY.finditer(paragraph) if set(found[1].split(", ")) <= names]
        ends = [*(found.start() for found in starts[1:]), len(paragraph)][: len(starts)]
        before = paragraph[: starts[0].start()].strip() if starts else paragraph
        entries = [
            f"- **{found[1]}**: {' '.join(paragraph[found.end() : end].split())}"
            for found, end in zip(starts, ends, strict=True)
        ]
        paragraphs += [part for part in (before, "\n".join(entries)) if part]
    return "\n\n".join(paragraphs)
