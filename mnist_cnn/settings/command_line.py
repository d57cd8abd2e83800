"""A frozen dataclass as a command line: a field's sentence is its help, its limits hold in Python and at a shell alike.

Only the standard library is imported here, so that `--help` and every refusal are instant.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import math
import signal
import sys
import textwrap
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, NoReturn, Self

_WHAT = {int: "a whole number", float: "a number", bool: "true or false"}


class SettingError(ValueError):
    """A setting has a value that cannot be used; the message names the field, the value and what is allowed."""


class WorkStopped(RuntimeError):
    """Work that is made of parts ends, for too many of them failed; the message says which and why."""


class Interrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM reached this process."""

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.exit_status = 128 + number


STORES = ("mlflow", "optuna", "sqlalchemy", "requests")
"""Packages whose errors are those of a store, and not of what was asked for."""


def is_of_a_store(error: BaseException) -> bool:
    return type(error).__module__.partition(".")[0] in STORES


def number(
    default: float,
    help: str,
    *,
    minimum: float = -math.inf,
    maximum: float = math.inf,
    above: float | None = None,
    below: float | None = None,
    per_image: bool = False,
) -> Any:
    """A numeric field with inclusive (`minimum`, `maximum`) or exclusive (`above`, `below`) limits.

    per_image: callers in Python may give a sequence or a 1-d array in place of one number.
    """
    limits = {"minimum": minimum, "maximum": maximum, "above": above, "below": below, "per_image": per_image}
    return field(default=default, metadata={"help": help, **limits})


def choice(default: str, help: str, choices: Sequence[str]) -> Any:
    return field(default=default, metadata={"help": help, "choices": tuple(choices)})


def switch(default: bool, help: str) -> Any:
    return field(default=default, metadata={"help": help})


def text(
    default: str, help: str, *, allowed: str = "a text that is not empty", read: Callable[[str], object] | None = None
) -> Any:
    """A text. `read` understands it and raises ValueError, with the reason, for one that it does not."""
    return field(default=default, metadata={"help": help, "text": True, "allowed": allowed, "read": read})


def _allowed(setting: dataclasses.Field[Any], kind: type) -> str:
    limits = setting.metadata
    if "choices" in limits:
        return "one of " + ", ".join(limits["choices"])
    if "text" in limits:
        return str(limits["allowed"])
    phrase = _WHAT[kind]
    low, high = limits.get("minimum", -math.inf), limits.get("maximum", math.inf)
    if limits.get("above") is not None:
        phrase += f" above {limits['above']:g}"
    elif math.isfinite(low):
        phrase += f" from {_plain(low)}" if math.isfinite(high) else f" of at least {_plain(low)}"
    if limits.get("below") is not None:
        phrase += f" and below {limits['below']:g}"
    elif math.isfinite(high):
        phrase += f" {'to' if math.isfinite(low) else 'and at most'} {_plain(high)}"
    return phrase


def _plain(limit: float) -> str:
    return f"{limit:,.0f}" if float(limit).is_integer() else f"{limit:g}"


def _fits(setting: dataclasses.Field[Any], kind: type, value: Any) -> bool:
    limits = setting.metadata
    if _is_per_image(setting, value):
        return len(value) > 0 and all(_fits(setting, kind, each) for each in _plain_numbers(value, kind))
    if type(value) is not kind or ("choices" in limits and value not in limits["choices"]):
        return False
    if not isinstance(value, int | float) or isinstance(value, bool):
        return True
    above, below = limits.get("above"), limits.get("below")
    return (
        math.isfinite(value)
        and limits["minimum"] <= value <= limits["maximum"]
        and (above is None or value > above)
        and (below is None or value < below)
    )


def _is_per_image(setting: dataclasses.Field[Any], value: Any) -> bool:
    return bool(setting.metadata.get("per_image")) and hasattr(value, "__len__") and not isinstance(value, str)


def _plain_numbers(values: Any, kind: type) -> list[Any]:
    """The entries of a sequence or array as Python's own numbers; what cannot be one is left, to be refused."""
    entries = values.tolist() if hasattr(values, "tolist") else list(values)
    entries = [entry.item() if hasattr(entry, "item") else entry for entry in entries]
    return [float(entry) if kind is float and type(entry) is int else entry for entry in entries]


def _refuse(setting: dataclasses.Field[Any], kind: type, value: object, reason: str = "") -> NoReturn:
    hint = f" {reason[0].upper()}{reason[1:]}." if reason else ""
    if _is_per_image(setting, value):
        entries = _plain_numbers(value, kind)
        bad = next((i for i, entry in enumerate(entries) if not _fits(setting, kind, entry)), None)
        if bad is None:
            raise SettingError(f"`{setting.name}` must hold at least one number; got none.")
        hint, value = f" (Entry {bad} of {len(entries)}.)", entries[bad]
    if "choices" in setting.metadata and isinstance(value, str):
        close = difflib.get_close_matches(value, setting.metadata["choices"], n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
    raise SettingError(f"`{setting.name}` must be {_allowed(setting, kind)}; got {value!r}.{hint}")


@dataclass(frozen=True)
class Settings:
    """Base of all settings: limits are checked at construction, `from_command_line` reads a shell's words."""

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    PROGRAM: ClassVar[str] = ""

    @classmethod
    def _kinds(cls) -> dict[str, type]:
        return typing.get_type_hints(cls)

    def __post_init__(self) -> None:
        kinds = self._kinds()
        for setting in fields(self):
            value, kind = getattr(self, setting.name), kinds[setting.name]
            if getattr(value, "shape", None) == ():  # a number of numpy's or TensorFlow's
                value = value.item() if hasattr(value, "item") else value.numpy().item()
            if kind is float and type(value) is int:
                value = float(value)
            object.__setattr__(self, setting.name, value)
            if not _fits(setting, kind, value):
                _refuse(setting, kind, value)
            if setting.metadata.get("read") is not None and value != setting.default:
                try:
                    setting.metadata["read"](value)
                except ValueError as error:
                    _refuse(setting, kind, value, str(error))

    @classmethod
    def parse(cls, words: Mapping[str, str]) -> dict[str, Any]:
        """Turn words into typed values. Raises `SettingError` for an unknown name and for a value that does not fit."""
        known, kinds = {setting.name: setting for setting in fields(cls)}, cls._kinds()
        values: dict[str, Any] = {}
        for name, word in words.items():
            if name not in known:
                close = difflib.get_close_matches(name, cls.names(), n=1)
                hint = f"Did you mean `{close[0]}`?" if close else f"Known are: {', '.join(cls.names())}."
                raise SettingError(f"`{name}` is not a setting of `{cls.PROGRAM}`; got {word!r}. {hint}")
            kind = kinds[name]
            try:
                values[name] = _read(kind, word)
            except ValueError:
                _refuse(known[name], kind, word)
            if not _fits(known[name], kind, values[name]):
                _refuse(known[name], kind, word)
        return values

    @classmethod
    def resolve(cls, given: Mapping[str, Any]) -> Self:
        """Settings from what was given: plain defaults, overruled by the preset, overruled by `given`."""
        preset = given.get("preset", "")
        return cls(**{**cls.PRESETS.get(preset, {}), **given})

    @classmethod
    def from_command_line(cls, argv: Sequence[str] | None = None) -> tuple[Self, dict[str, Any]]:
        """Settings from `--name value` words, and the values that were given as such.

        `--help` prints and exits with status 0. Raises `SettingError`.
        """
        given = cls.parse(cls.words_given(argv))
        return cls.resolve(given), given

    @classmethod
    def words_given(cls, argv: Sequence[str] | None = None) -> dict[str, str]:
        """`--name value` words by name, as they stand; `--help` prints and exits with status 0."""
        argv = list(sys.argv[1:] if argv is None else argv)
        if any(word in ("-h", "--help") for word in argv):
            print(cls.help())
            raise SystemExit(0)
        return _pairs(argv, cls.PROGRAM)

    @classmethod
    def names(cls) -> list[str]:
        """Every setting that a command line may give."""
        return [setting.name for setting in fields(cls)]

    @classmethod
    def help(cls) -> str:
        """The page that `--help` prints."""
        parser = argparse.ArgumentParser(
            prog=f"python -m pipelines.{cls.PROGRAM}",
            usage=f"%(prog)s [--setting value ...]\n       mlflow run . -e {cls.PROGRAM} [-P setting=value ...]",
            description=(cls.__doc__ or "").split("\n\n")[0],
            epilog=cls._help_on_presets(),
            formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=26, width=100),
        )
        group = parser.add_argument_group("settings")
        kinds = cls._kinds()
        for setting in fields(cls):
            unlimited = "text" in setting.metadata and setting.metadata["read"] is None
            allowed = "" if unlimited else f" Allowed: {_allowed(setting, kinds[setting.name])}."
            default = "" if setting.default == "" else f" Default: {show(setting.default)}."
            group.add_argument(
                f"--{setting.name}",
                metavar=kinds[setting.name].__name__,
                help=(setting.metadata["help"] + allowed + default).replace("%", "%%"),
            )
        return parser.format_help().rstrip()

    @classmethod
    def _help_on_presets(cls) -> str:
        if not cls.PRESETS:
            return ""
        lines = [
            textwrap.fill(
                ", ".join(f"{key}={show(value)}" for key, value in preset.items()) or "the defaults above",
                width=100,
                initial_indent=f"  {name:<24}",
                subsequent_indent=" " * 26,
            )
            for name, preset in cls.PRESETS.items()
        ]
        return "presets (what you give yourself overrules a preset):\n" + "\n".join(lines)

    def as_words(self) -> dict[str, str]:
        """Every setting as the word that would give it on a command line."""
        return {setting.name: show(getattr(self, setting.name)) for setting in fields(self)}


def show(value: object) -> str:
    """A value as one would type it: `true`, `0.001`, `compact`."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def _read(kind: type, word: str) -> Any:
    if word == "" or word != word.strip():
        raise ValueError
    if kind is bool:
        answers = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if word.lower() not in answers:
            raise ValueError
        return answers[word.lower()]
    if kind in (int, float) and "_" in word:  # Python would read 1_0 as ten.
        raise ValueError
    return kind(word)


def _pairs(argv: Sequence[str], program: str) -> dict[str, str]:
    """`--name value` and `--name=value` as a mapping; dashes within a name are read as underscores."""
    words: dict[str, str] = {}
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        name, equals, value = word[2:].partition("=")
        name = name.replace("-", "_")
        if not word.startswith("--") or not name:
            raise SettingError(
                f"{word!r} is not of the form --setting value; see python -m pipelines.{program} --help."
            )
        if not equals:
            if not rest:
                raise SettingError(f"`{name}` must be followed by a value; got none.")
            value = rest.pop(0)
        if name in words:
            raise SettingError(f"`{name}` was given twice: {words[name]!r} and {value!r}; give it once.")
        words[name] = value
    return words
