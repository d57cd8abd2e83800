"""Hooks of the site: tables of settings, from the classes that the commands read, and of what is installed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from mnist_cnn.settings import ENTRY_POINTS, fields
from mnist_cnn.settings.settings import Settings

PROJECT = Path(__file__).resolve().parent.parent


def on_page_markdown(markdown: str, **_: Any) -> str:
    for mark, make in (("<!-- settings -->", settings_page), ("<!-- dependencies -->", dependencies)):
        markdown = markdown.replace(mark, make()) if mark in markdown else markdown
    return markdown


def dependencies() -> str:
    """Markdown: what pyproject.toml asks for, each with its reason and licence, and what that brings along."""
    asked = re.findall(r'^    "([\w-]+).*", *# (.+)$', (PROJECT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    reasons = dict(asked)
    pinned = re.findall(r"^([\w.-]+)==", (PROJECT / "constraints.txt").read_text("utf-8"), re.MULTILINE)
    brought = sorted({name for name in pinned if name not in reasons})
    return "\n".join(
        [
            "| package | licence | what for |", "|---|---|---|",
            *(_row(name, licence(name), reason) for name, reason in asked),
            "", "| brought along | licence |", "|---|---|",
            *(_row(name, licence(name)) for name in brought if licence(name)),
        ]
    )  # fmt: skip


def licence(name: str) -> str:
    """What an installed package says its licence is; empty for one that is not installed on this platform."""
    try:
        about = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return ""
    classified = [line.rpartition(" :: ")[2] for line in about.get_all("Classifier", []) if line.startswith("License")]
    named = about.get("License-Expression") or ", ".join(classified) or (about.get("License") or "").strip()
    return named.partition("\n")[0][:80] or "not said"


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
