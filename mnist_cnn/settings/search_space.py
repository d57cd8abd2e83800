"""What a sweep tries: for each setting one value, several, or a range, written as words.

0.01                one value
0.001,0.01,0.1      several; of targets, whose words hold commas, several are separated by |
1e-5..1e-1:log      a range, evenly or, with :log, evenly in the logarithm
"""

from __future__ import annotations

import math
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from mnist_cnn.settings.command_line import SettingError, Settings, show

FORMS = "one value, several (0.001,0.01) or a range (1e-5..1e-1, 1e-5..1e-1:log)"


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
        return self.trial.resolve({**self.fixed, **values})

    def words(self) -> dict[str, str]:
        """What is tried and what is fixed, defaults included, by name, as one would type it."""
        whole = self.trial.resolve(self.fixed).as_words()
        return {
            name: self.varied[name].word if name in self.varied else word
            for name, word in whole.items()
            if word != "" or name in self.varied
        }

    def num_points(self) -> int | None:
        """How many settings there are; None where a range makes them endless."""
        if any(isinstance(dimension, Range) for dimension in self.varied.values()):
            return None
        return math.prod(len(dimension.values) for dimension in self.varied.values() if isinstance(dimension, Choices))


def read(trial: type[Settings], words: Mapping[str, str], constant: frozenset[str]) -> Space:
    """A space from words by name. constant: names of which there is one value a sweep. Raises `SettingError`."""
    fixed: dict[str, Any] = {}
    varied: dict[str, Range | Choices] = {}
    for setting in fields(trial):
        if setting.name in words:
            dimension = _read_one(trial, setting.name, words[setting.name])
            if not isinstance(dimension, Range | Choices):
                fixed[setting.name] = dimension
            elif setting.name in constant:
                raise SettingError(
                    f"`{setting.name}` must be one value, the same for the whole sweep; got {words[setting.name]!r}."
                )
            else:
                varied[setting.name] = dimension
    return Space(trial, fixed, varied)


def _read_one(trial: type[Settings], name: str, word: str) -> Any:
    setting = next(setting for setting in fields(trial) if setting.name == name)
    kind = typing.get_type_hints(trial)[name]
    low, dots, rest = word.partition("..")
    if dots and kind in (int, float):
        return _read_range(trial, name, word, low, rest, whole=kind is int)
    separator = "|" if name == "targets" else ","
    several = [part.strip() for part in word.split(separator)]
    if len(several) == 1 or (name == "dataset" and setting.metadata.get("text")):
        return _checked(trial, name, word)
    values = tuple(_checked(trial, name, part) for part in several)
    if len(set(values)) < len(values):
        raise SettingError(f"`{name}` must be {FORMS}; got {word!r}, which holds a value twice.")
    return Choices(values, separator)


def _read_range(trial: type[Settings], name: str, word: str, low: str, rest: str, whole: bool) -> Range:
    high, colon, scale = rest.partition(":")
    least, most = (_checked(trial, name, end) for end in (low, high))
    if colon and scale != "log":
        raise SettingError(f"`{name}` must be {FORMS}; got {word!r}: after the colon only `log` is known.")
    if not least < most:
        raise SettingError(f"`{name}` must be {FORMS}; got {word!r}, which does not go from less to more.")
    if colon and least <= 0:
        raise SettingError(f"`{name}` must be {FORMS}; got {word!r}: a logarithm begins above 0.")
    return Range(least, most, log=bool(colon), whole=whole)


def _checked(trial: type[Settings], name: str, word: str) -> Any:
    """One value within its limits."""
    return getattr(trial(**trial.parse({name: word})), name)


def read_file(path: str, known: frozenset[str]) -> dict[str, str]:
    """Settings as words from a TOML file of `name = value`. Raises `SettingError` for what cannot be read."""
    try:
        values = tomllib.loads(Path(path).read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingError(f"`file` must be the path of a TOML file; got {path!r} ({error}).") from error
    for name, value in values.items():
        if name not in known:
            raise SettingError(f"`file`: {path} holds `{name}`, which is not a setting of a sweep.")
        if isinstance(value, dict | list):
            raise SettingError(f"`file`: {path} gives `{name}` as a table or list; write {FORMS} as a text.")
    return {name: show(value) for name, value in values.items()}
