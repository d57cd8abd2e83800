"""The fields of settings: how one is declared, what it allows in words, and how a text becomes its value."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast, get_args, get_origin

import pydantic
from pydantic.fields import FieldInfo

from mnist_cnn.settings.errors import hide_password, printable

_WHAT = {int: "a whole number", float: "a number", bool: "true or false"}
_BOOLS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_TEXT = "a text that is not empty, without spaces around it"


@dataclass(frozen=True)
class Grammar:
    """Annotates a text. For one that is not allowed `read` raises ValueError, with the reason, or gives nothing."""

    read: Callable[[str], object]
    allowed: str


LONGEST_TEXT = 5000
"""Characters of a text: MLflow keeps parameters of up to 6,000."""

PER_IMAGE = "per image"
"""Annotates a number in whose place Python callers may give a sequence or a 1-d array, an entry for each image."""

ADDRESS = "address"
"""Annotates a text that may be a URL with a password, which is never shown."""

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    PerImage = float | Sequence[float] | NDArray[np.floating]
    PerImageInt = int | Sequence[int] | NDArray[np.integer]
else:
    PerImage, PerImageInt = Annotated[float, PER_IMAGE], Annotated[int, PER_IMAGE]


class Word(str):
    """A text from a command line or a file, to be read as the value of its field."""


def setting(default: Any, help: str, **limits: float) -> Any:
    """A field. Numbers take inclusive (`ge`, `le`) or exclusive (`gt`, `lt`) limits. A default of ... is required."""
    return pydantic.Field(default, description=help, **cast(Any, limits))


def at_most(length: int) -> Grammar:
    """A text that is not longer: what a store keeps of a name."""
    return Grammar(lambda word: len(word) <= length, f"{_TEXT}, of at most {length} characters")


RunName = Annotated[str, at_most(250)]
ExperimentName = Annotated[str, at_most(500)]
SweepName = Annotated[str, at_most(200)]

REGIMES = ("ordinary", "noise-trained", "robust", "readable")
"""What a network was trained to withstand: nothing, noise, attacks, or attacks with doubt off the digits' manifold."""

# Sweeps take the name of a regime as well, for the newest network of it.
_READ_MODEL = re.compile("|".join(("[0-9a-f]{32}", "(runs|models):/.+", *REGIMES))).fullmatch
MODEL_FORMS = "the id of a run, runs:/RUN_ID/model, models:/NAME/VERSION, models:/NAME@ALIAS or models:/m-ID"
Model = Annotated[str, Grammar(_READ_MODEL, MODEL_FORMS)]

READ_RUN = re.compile(r"[0-9a-f]{32}").fullmatch
RunId = Annotated[str, Grammar(READ_RUN, "the id of a run, 32 of the digits 0 to 9 and a to f")]

MODEL = setting(
    "",
    "Run id, `runs:/RUN_ID/model`, `models:/NAME/VERSION`, `models:/NAME@ALIAS` or `models:/m-ID`. Without it, the "
    "newest model.",
)
DATASET = setting(
    "mnist",
    "`mnist` ships with the package. `mnist:6000` takes its first 6,000 training and 1,000 test images. Or the path "
    "of an .npz file of the same form, with 2 to 47 classes.",
)
RUN_NAME = setting("", "Name of the run in MLflow. Without it, the command makes one.")
TRUST = setting(False, "Load a model of any form. That may run code which the model's file brings along.")
SEED = setting(0, "Seed of everything that is drawn.")

Seed = Annotated[int, pydantic.Field(ge=0, le=2**31 - 1)]
Count = Annotated[int, pydantic.Field(ge=1, le=1_000_000)]


def choices(field: FieldInfo) -> tuple[str, ...]:
    """What a field of a `Literal` may be; empty for others."""
    return get_args(field.annotation) if get_origin(field.annotation) is Literal else ()


def grammar(field: FieldInfo) -> Grammar | None:
    return next((mark for mark in field.metadata if isinstance(mark, Grammar)), None)


def is_number(field: FieldInfo) -> bool:
    return field.annotation in (int, float)


def allowed(field: FieldInfo) -> str:
    """What a field allows, as it stands after "must be"."""
    if found := grammar(field):
        return found.allowed
    if choices(field):
        return "one of " + ", ".join(choices(field))
    ends = ("ge", "gt", "le", "lt")
    limits = {end: getattr(mark, end) for mark in field.metadata for end in ends if hasattr(mark, end)}
    both = {"ge", "le"} <= limits.keys()
    words = dict(gt="above", ge="from" if both else "of at least", lt="and below", le="to" if both else "and at most")
    shown = {end: f"{limit:,.0f}" if float(limit).is_integer() else f"{limit:g}" for end, limit in limits.items()}
    phrases = [f" {word} {shown[end]}" for end, word in words.items() if end in limits]
    return _WHAT.get(cast(type, field.annotation), _TEXT) + "".join(phrases)


def read(field: FieldInfo, word: str) -> Any:
    """The value of a word from a command line. Raises ValueError."""
    kind = field.annotation
    # Python reads 1_0 as ten.
    if word == "" or word != word.strip() or (is_number(field) and ("_" in word or not word.isascii())):
        raise ValueError
    try:
        if kind is bool:
            return _BOOLS[word.lower()]
        value = kind(word) if kind is int or kind is float else str(word)
        float(value if kind is int else 0)  # pydantic compares whole numbers as such, and a double holds 308 digits
        return value
    except (KeyError, ValueError, OverflowError):
        raise ValueError from None  # without Python's own words


def check_text(field: FieldInfo, value: str) -> None:
    """Raise ValueError, with the reason if there is one, for a text that the field does not allow."""
    if value == field.default:
        return
    if not value.isprintable():
        raise ValueError("it holds a character that cannot be printed")
    if len(value) > LONGEST_TEXT:
        raise ValueError(f"it has {len(value):,} characters, and at most {LONGEST_TEXT:,} are stored")
    found = grammar(field)
    if value == "" or value != value.strip() or (found and not found.read(value)):
        raise ValueError


def plain(value: Any) -> Any:
    """A scalar or an array of numpy's or TensorFlow's as Python's own numbers; anything else as it is."""
    if hasattr(value, "shape") and hasattr(value, "numpy"):
        value = value.numpy()
    return value.tolist() if hasattr(value, "shape") and hasattr(value, "tolist") else value


def is_sequence(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def show(value: object) -> str:
    """A value as one would type it: `true`, `0.001`, `compact`."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def shown(value: object) -> str:
    """A value as a refusal quotes it: in one short line, without a password or characters that cannot be printed."""
    value = plain(value)
    try:
        return cut(repr(hide_password(str(value)) if isinstance(value, str) else value))
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        return "a number of thousands of digits"


def cut(text: str, length: int = 80) -> str:
    """In one line of printable characters."""
    line = printable(text)
    return line if len(line) <= length else f"{line[: length - 1]}…"


def did_you_mean(word: str, known: Iterable[str], mark: str = "") -> str:
    """` Did you mean compact?`, or nothing where none of `known` is near."""
    close = difflib.get_close_matches(word[:200], list(known), n=1)
    return f" Did you mean {mark}{close[0]}{mark}?" if close else ""
