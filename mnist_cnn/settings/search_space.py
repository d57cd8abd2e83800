"""What a sweep tries: for each setting one value, several, or a range, in words.

0.01                one value
0.001,0.01,0.1      several; of targets, whose words hold commas, several are separated by |
1e-5..1e-1:log      a range, evenly or, with :log, evenly in the logarithm
"""

from __future__ import annotations

import itertools
import math
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnist_cnn.settings.errors import SettingError
from mnist_cnn.settings.fields import Word, cut, did_you_mean, is_number, is_sequence, plain, show, shown
from mnist_cnn.settings.settings import Settings

FORMS = "one value, several (0.001,0.01) or a range (1e-5..1e-1, 1e-5..1e-1:log)"
LARGEST_FILE = 1_000_000
"""Bytes of a file of settings."""


@dataclass(frozen=True)
class Range:
    """Every number from `low` to `high`, both included. log: evenly in the logarithm. whole: whole numbers alone."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    @property
    def word(self) -> str:
        return f"{show(self.low)}..{show(self.high)}{':log' if self.log else ''}"


@dataclass(frozen=True)
class Choices:
    """Several values in the order in which they were given."""

    values: tuple[str | float | bool, ...]
    separator: str = ","

    @property
    def word(self) -> str:
        return self.separator.join(show(value) for value in self.values)


@dataclass(frozen=True)
class Space:
    """Settings of one entry point, some of them open. trial: the class that each setting of a trial is given to.

    fixed: values by name. varied: what is tried, by name, in the order of the fields.
    """

    trial: type[Settings]
    fixed: Mapping[str, Any]
    varied: Mapping[str, Range | Choices]

    def at(self, values: Mapping[str, Any]) -> Any:
        """The settings of one trial. Raises `SettingError` where they do not fit each other."""
        return self.trial(**{**self.fixed, **values})

    def each(self, *names: str) -> list[Any]:
        """The settings of every combination of what is tried of these names; the others are as they are fixed."""
        tried = {name: self.varied[name] for name in names if name in self.varied}
        values = [dimension.values for dimension in tried.values() if isinstance(dimension, Choices)]
        return [self.at(dict(zip(tried, combination, strict=True))) for combination in itertools.product(*values)]

    def words(self) -> dict[str, str]:
        """What is tried and what is fixed, defaults included, by name, as one would type it."""
        whole = self.trial(**self.fixed).as_words()
        return {
            name: self.varied[name].word if name in self.varied else word
            for name, word in whole.items()
            if (word != "" or name in self.varied) and name != "trust"  # a sweep trusts no model
        }

    def num_points(self) -> int | None:
        """How many settings there are; None where a range makes them endless."""
        if any(isinstance(dimension, Range) for dimension in self.varied.values()):
            return None
        return math.prod(len(dimension.values) for dimension in self.varied.values() if isinstance(dimension, Choices))


def read(trial: type[Settings], values: Mapping[str, Any], constant: frozenset[str]) -> Space:
    """A space from words, plain values, sequences of them, `Range` or `Choices`, by name. Raises `SettingError`.

    constant: names of which a sweep has one value.
    """
    fixed: dict[str, Any] = {}
    varied: dict[str, Range | Choices] = {}
    for name in trial.model_fields:
        if name not in values:
            continue
        tried = _read_one(trial, name, values[name])
        if isinstance(tried, Range | Choices):
            if name in constant:
                raise SettingError(
                    f"`{name}` must be one value, the same for the whole sweep; got {shown(tried.word)}."
                )
            varied[name] = tried
        else:
            fixed[name] = tried
    return Space(trial, fixed, varied)


def _read_one(trial: type[Settings], name: str, value: Any) -> Any:
    separator = "|" if name == "targets" else ","
    value = value.word if isinstance(value, Range | Choices) else plain(value)
    if is_sequence(value):
        value = separator.join(show(part) for part in value)
    if not isinstance(value, str) or not value:
        return _checked(trial, name, value)
    low, dots, rest = value.partition("..")
    if dots and is_number(trial.model_fields[name]):
        return _read_range(trial, name, value, low, *rest.partition(":"))
    several = [Word(part.strip()) for part in value.split(separator)]
    if len(several) == 1 or name == "dataset":
        return _checked(trial, name, Word(value))
    values = tuple(_checked(trial, name, part) for part in several)
    if len(set(values)) < len(values):
        raise _refusal(name, value, "it holds a value twice")
    return Choices(values, separator)


def _read_range(trial: type[Settings], name: str, word: str, low: str, high: str, colon: str, scale: str) -> Range:
    least, most = (_checked(trial, name, Word(end)) for end in (low, high))
    if colon and scale != "log":
        raise _refusal(name, word, "after the colon only `log` is known")
    if not least < most:
        raise _refusal(name, word, "it does not go from less to more")
    if colon and least <= 0:
        raise _refusal(name, word, "a logarithm begins above 0")
    return Range(least, most, log=bool(colon), whole=trial.model_fields[name].annotation is int)


def _refusal(name: str, word: str, reason: str) -> SettingError:
    return SettingError(f"`{name}` must be {FORMS}; got {shown(word)}: {reason}.")


def _checked(trial: type[Settings], name: str, value: Any) -> Any:
    """One value within its limits."""
    return getattr(trial(**{name: value}), name)


def read_file(path: str, known: Mapping[str, Collection[str]]) -> tuple[str, dict[str, Word]]:
    """The command and the settings, as words, of a TOML file of `name = value`. Raises `SettingError`.

    known: the names of the settings of each command that a file may name.
    """
    place = cut(repr(path)[1:-1])
    try:
        if not Path(path).is_file():
            raise OSError("there is no such file")
        with open(path, "rb") as file:
            content = file.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise OSError(f"it has more than {LARGEST_FILE:,} bytes")
        values = tomllib.loads(content.decode())
    except (OSError, ValueError, RecursionError) as error:  # not UTF-8 and not TOML are ValueErrors
        reason = "nested too deeply" if isinstance(error, RecursionError) else cut(str(error), 160)
        raise SettingError(f"`file` must be the path of a TOML file; got {shown(path)} ({reason}).") from None
    command = values.pop("command", "sweep")
    if not isinstance(command, str) or command not in known:
        raise SettingError(f"`file`: {place}: `command` must be one of {', '.join(known)}; got {shown(command)}.")
    for name, value in values.items():
        if name not in known[command]:
            what = f"`{cut(repr(name)[1:-1])}`, which is not a setting of `{command}`"
            raise SettingError(f"`file`: {place} holds {what}.{did_you_mean(name, known[command], '`')}")
        if isinstance(value, dict | list):
            raise SettingError(f"`file`: {place} gives `{name}` as a table or list; write {FORMS} as a text.")
    return command, {name: Word(show(value)) for name, value in values.items()}
