"""Every default, unit and limit of the project, each written once; the dataclasses below are the command line.

A field's sentence is its help text, its limits are checked for a caller in Python and for one at a shell alike.
Only the standard library is imported here, so that `--help` and every refusal are instant.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import math
import sys
import textwrap
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, NoReturn, Self

NETWORKS = ("compact", "report")
"""Names of the networks: each is a function of that name in `mnist_cnn.networks`."""

PRECISIONS = ("float32", "mixed_bfloat16")
SCHEDULES = ("one_cycle", "constant")

_WHAT = {int: "a whole number", float: "a number", bool: "true or false"}


class SettingError(ValueError):
    """A setting has a value that cannot be used; the message names the field, the value and what is allowed."""


def number(
    default: float,
    help: str,
    *,
    minimum: float = -math.inf,
    maximum: float = math.inf,
    above: float | None = None,
    below: float | None = None,
) -> Any:
    """A numeric field with inclusive (`minimum`, `maximum`) or exclusive (`above`, `below`) limits."""
    limits = {"minimum": minimum, "maximum": maximum, "above": above, "below": below}
    return field(default=default, metadata={"help": help, **limits})


def choice(default: str, help: str, choices: Sequence[str]) -> Any:
    return field(default=default, metadata={"help": help, "choices": tuple(choices)})


def switch(default: bool, help: str) -> Any:
    return field(default=default, metadata={"help": help})


def text(default: str, help: str) -> Any:
    return field(default=default, metadata={"help": help, "text": True})


def _allowed(setting: dataclasses.Field[Any], kind: type) -> str:
    limits = setting.metadata
    if "choices" in limits:
        return "one of " + ", ".join(limits["choices"])
    if kind is str:
        return "a text that is not empty"
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


def _refuse(setting: dataclasses.Field[Any], kind: type, value: object) -> NoReturn:
    hint = ""
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
            if kind is float and type(value) is int:
                value = float(value)
                object.__setattr__(self, setting.name, value)
            if not _fits(setting, kind, value):
                _refuse(setting, kind, value)

    @classmethod
    def parse(cls, words: Mapping[str, str]) -> dict[str, Any]:
        """Turn words into typed values. Raises `SettingError` for an unknown name and for a value that does not fit."""
        known, kinds = {setting.name: setting for setting in fields(cls)}, cls._kinds()
        values: dict[str, Any] = {}
        for name, word in words.items():
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"Did you mean `{close[0]}`?" if close else f"Known are: {', '.join(known)}."
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
        argv = list(sys.argv[1:] if argv is None else argv)
        if any(word in ("-h", "--help") for word in argv):
            print(cls.help())
            raise SystemExit(0)
        given = cls.parse(_pairs(argv, cls.PROGRAM))
        return cls.resolve(given), given

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
            allowed = "" if "text" in setting.metadata else f" Allowed: {_allowed(setting, kinds[setting.name])}."
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


@dataclass(frozen=True)
class TrainSettings(Settings):
    """Train a network on MNIST and log everything about it to MLflow."""

    PROGRAM: ClassVar[str] = "train"
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {},
        "accurate": {"epochs": 40, "augmentation": 0.7},
        "report": {"network": "report", "learning_rate": 0.0004, "label_smoothing": 0.0},
        "report_recipe": {
            "network": "report",
            "epochs": 5,
            "learning_rate": 0.001,
            "schedule": "constant",
            "label_smoothing": 0.0,
            "recalibrate": False,
        },
    }

    preset: str = choice("quick", "A named set of defaults; see the list below.", tuple(PRESETS))
    network: str = choice("compact", "The network to train.", NETWORKS)
    dataset: str = text("mnist", "`mnist`, which ships with the package, or the path of an .npz of the same form.")
    epochs: int = number(1, "Passes over the training images.", minimum=1, maximum=10_000)
    batch_size: int = number(128, "Images a step.", minimum=1, maximum=65_536)
    learning_rate: float = number(0.02, "Adam's step size at its peak.", above=0, maximum=10)
    schedule: str = choice(
        "one_cycle", "How the learning rate moves: linear warm-up, then down a cosine to 0; or not at all.", SCHEDULES
    )
    weight_decay: float = number(0.0, "Decoupled weight decay of AdamW (kernels only).", minimum=0, maximum=10)
    label_smoothing: float = number(
        0.05, "Share of the label's weight that is spread evenly over all classes.", minimum=0, below=1
    )
    augmentation: float = number(
        0.0,
        "Strength of random shift, rotation and scaling of the training images: 0 is none, 1 is up to 2 pixels, "
        "15 degrees and 15 %.",
        minimum=0,
        maximum=3,
    )
    recalibrate: bool = switch(
        True, "Recompute BatchNorm's means and variances from the training images when training has ended."
    )
    validation_fraction: float = number(
        0.1, "Share of the training images, taken from their end, that validates.", above=0, below=1
    )
    precision: str = choice("float32", "Number format of the layers' arithmetic.", PRECISIONS)
    seed: int = number(0, "Seed of weights, order of images and all else that is drawn.", minimum=0, maximum=2**31 - 1)
    resume: str = text("", "Id of an interrupted run: go on from its last finished epoch, with its settings.")
    run_name: str = text("", "Name of the run in MLflow; MLflow invents one where none is given.")


@dataclass(frozen=True)
class EvaluateSettings(Settings):
    """Evaluate a logged model on the test images and log the result, linked to the model."""

    PROGRAM: ClassVar[str] = "evaluate"

    model: str = text(
        "",
        "`runs:/RUN_ID/model`, `models:/NAME/VERSION`, `models:/NAME@ALIAS` or `models:/m-ID`; else the newest.",
    )
    dataset: str = text("mnist", "`mnist`, which ships with the package, or the path of an .npz of the same form.")
    batch_size: int = number(1000, "Images a step; bounds the memory, changes no number.", minimum=1, maximum=65_536)
    run_name: str = text("", "Name of the run in MLflow; MLflow invents one where none is given.")


ENTRY_POINTS: dict[str, type[Settings]] = {cls.PROGRAM: cls for cls in (TrainSettings, EvaluateSettings)}
"""Settings of each entry point of MLproject, by its name."""
