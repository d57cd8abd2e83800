"""The shell's side of settings: `--name value` words, the page that `--help` prints, and the command that repeats."""

from __future__ import annotations

import argparse
import inspect
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mnist_cnn.settings import fields
from mnist_cnn.settings.errors import SettingError

if TYPE_CHECKING:
    from mnist_cnn.settings.settings import Settings

WIDTH = 100


def pairs(argv: Sequence[str], command: str) -> dict[str, str]:
    """`--name value` and `--name=value` as a mapping; dashes within a name are read as underscores."""
    words: dict[str, str] = {}
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        name, equals, value = word[2:].partition("=")
        name = name.replace("-", "_")
        if not word.startswith("--") or not name:
            raise SettingError(
                f"{fields.shown(word)} is not of the form --setting value; see python -m pipelines {command} --help."
            )
        shown = fields.cut(repr(name)[1:-1])
        if not equals:
            if not rest:
                raise SettingError(f"`{shown}` must be followed by a value; got none.")
            value = rest.pop(0)
        if name in words:
            twice = f"{fields.shown(words[name])} and {fields.shown(value)}"
            raise SettingError(f"`{shown}` was given twice: {twice}; give it once.")
        words[name] = value
    return words


def command(name: str, words: Mapping[str, str], as_mlflow: bool) -> str:
    """A command line, quoted for a shell."""
    if as_mlflow:
        parts = ["mlflow", "run", ".", *([] if name == "reproduce" else ["-e", name])]
        parts += [part for setting, word in words.items() for part in ("-P", f"{setting}={word}")]
    else:
        parts = ["python", "-m", "pipelines", name, *(f"--{setting}={word}" for setting, word in words.items())]
    return shlex.join(parts)


def help_page(cls: type[Settings]) -> str:
    paragraphs = inspect.cleandoc(cls.__doc__ or "").split("\n\n")
    parser = argparse.ArgumentParser(
        prog=f"python -m pipelines {cls.COMMAND}",
        usage=f"%(prog)s [--setting value ...]\n       {command(cls.COMMAND, {}, True)} [-P setting=value ...]",
        description="\n\n".join(textwrap.fill(paragraph, WIDTH) for paragraph in paragraphs),
        epilog=_presets(cls),
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=26, width=WIDTH),
    )
    group = parser.add_argument_group("settings")
    for name in (name for name in cls.names() if name in cls.model_fields):
        field = cls.model_fields[name]
        kind = "str" if fields.choices(field) else getattr(field.annotation, "__name__", "str")
        free = kind == "str" and not fields.choices(field) and not fields.grammar(field)
        default = "Required." if field.is_required() else f"Default: {fields.show(field.default)}."
        parts = [field.description, not free and f"Allowed: {fields.allowed(field)}.", field.default != "" and default]
        sentences = " ".join(part for part in parts if part)
        group.add_argument(f"--{name}", metavar=kind, help=sentences.replace("%", "%%"))
    return parser.format_help().rstrip()


def _presets(cls: type[Settings]) -> str:
    lines = [
        textwrap.fill(
            ", ".join(f"{key}={fields.show(value)}" for key, value in preset.items()) or "the defaults above",
            width=WIDTH,
            initial_indent=f"  {name:<24}",
            subsequent_indent=" " * 26,
        )
        for name, preset in cls.PRESETS.items()
    ]
    return "\n".join(["presets (a setting that you give overrules the preset):", *lines]) if lines else ""
