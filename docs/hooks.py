"""Hooks of the site: the tables of settings, made from the classes that the commands read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic.fields import FieldInfo

from mnist_cnn.settings import ENTRY_POINTS, fields
from mnist_cnn.settings.settings import Settings

MARK = "<!-- settings -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    return markdown.replace(MARK, settings_page()) if MARK in markdown else markdown


def settings_page() -> str:
    """Markdown: for each entry point what it does, its presets, and a table of its settings."""
    return "\n\n".join(_section(name, cls) for name, cls in ENTRY_POINTS.items())


def _section(name: str, cls: type[Settings]) -> str:
    call = "mlflow run ." if name == "reproduce" else f"mlflow run . -e {name}"
    parts = [f"## {name}", " ".join((cls.__doc__ or "").split("\n\n")[0].split()), f"`{call}`", _table(cls)]
    if space := getattr(cls, "SPACE", None):
        tried = "\n".join(_row(f"`{setting}`", f"`{word}`") for setting, word in space.items())
        trial = cls.TRIAL.COMMAND
        parts += [
            f"Every setting of [{trial}](#{trial}) may be given as well. A trial takes its default, except for these:",
            f"| setting | values |\n|---|---|\n{tried}",
        ]
    if cls.PRESETS:
        presets = "\n".join(_row(f"`{preset}`", _changes(values)) for preset, values in cls.PRESETS.items())
        parts += ["Presets, which a given setting overrules:", f"| preset | what it changes |\n|---|---|\n{presets}"]
    return "\n\n".join(parts)


def _table(cls: type[Settings]) -> str:
    lines = ["| setting | type | default | allowed | what it does |", "|---|---|---|---|---|"]
    for name, field in cls.model_fields.items():
        if name not in cls.names():  # what is made of other settings
            continue
        kind = "choice" if fields.choices(field) else getattr(field.annotation, "__name__", "str")
        per_image = ", per image" if fields.PER_IMAGE in field.metadata else ""
        default = (
            "required" if field.is_required() else f"`{fields.show(field.default)}`" if field.default != "" else ""
        )
        lines.append(_row(f"`{name}`", f"{kind}{per_image}", default, _allowed(field), field.description or ""))
    return "\n".join(lines)


def _allowed(field: FieldInfo) -> str:
    if choices := fields.choices(field):
        return ", ".join(f"`{choice}`" for choice in choices)
    return "a text" if field.annotation is str and fields.grammar(field) is None else fields.allowed(field)


def _changes(values: Mapping[str, Any]) -> str:
    return ", ".join(f"`{name}={fields.show(value)}`" for name, value in values.items()) or "nothing: the defaults"


def _row(*cells: str) -> str:
    return f"| {' | '.join(_escaped(cells))} |"


def _escaped(cells: Iterable[str]) -> list[str]:
    return [cell.replace("|", "\\|") for cell in cells]
