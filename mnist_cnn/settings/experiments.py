"""The six experiments of the reference report: what is asked of the network, from where, and what the report saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mnist_cnn.settings.errors import SettingError
from mnist_cnn.settings.fields import shown
from mnist_cnn.settings.targets import MNIST_CLASSES, Target
from mnist_cnn.settings.targets import parse as parse_targets

ALLOWED = "all, or numbers from 1 to 6 separated by commas"


@dataclass(frozen=True)
class SearchKind:
    """One kind of search. start: `noise`, `noisy_digit` or `digit`. start_class: of the digit; None for noise."""

    target: Target
    start: str
    start_class: int | None

    @property
    def label(self) -> str:
        """In numbers: `noise → 2+3`, `noisy 2 → 2`, `5 → 7`. The search draws its seeds from it."""
        return self._label(str(self.start_class), self.target.word)

    def named(self, class_names: Sequence[str]) -> str:
        """How a picture names it: its label with the names of the classes."""
        start = "" if self.start_class is None else class_names[self.start_class]
        return self._label(start, self.target.named(class_names))

    def _label(self, start: str, target: str) -> str:
        words = {"noise": "noise", "noisy_digit": f"noisy {start}", "digit": start}
        return f"{words[self.start]} → {target}"

    @property
    def spelled_out(self) -> str:
        """Its label in letters, digits, spaces and points: `noise to 2 and 3`, `5 to 0.7 of 1 and 0.3 of 7`."""
        shares = self.target.shares
        equal = len({share for _, share in shares}) == 1
        parts = [f"{number}" if equal else f"{share:g} of {number}" for number, share in shares]
        return f"{self.label.partition(' → ')[0]} to {' and '.join(parts)}"


@dataclass(frozen=True)
class Experiment:
    """number: the report's. finding: what the report saw, in its own measure: by eye."""

    number: int
    title: str
    kinds: tuple[SearchKind, ...]
    finding: str


def kinds(
    targets: str, start: str, start_class: str = "target", *, num_classes: int = MNIST_CLASSES
) -> tuple[SearchKind, ...]:
    """A kind for each target, all of them from the same kind of start.

    num_classes: of the data set. Raises `SettingError` for a class that it lacks.
    """
    if start_class != "target" and int(start_class) >= num_classes:
        raise _lacks("start_class", start_class, num_classes)
    try:
        parsed = parse_targets(targets, num_classes)
    except ValueError:
        raise _lacks("targets", targets, num_classes) from None

    def first(target: Target) -> int | None:
        if start == "noise":
            return None
        return target.main_class if start_class == "target" else int(start_class)

    return tuple(SearchKind(target, start, first(target)) for target in parsed)


def _lacks(name: str, word: str, num_classes: int) -> SettingError:
    return SettingError(f"`{name}`: this data set has classes 0 to {num_classes - 1}; got {shown(word)}.")


def for_classes(num_classes: int) -> tuple[Experiment, ...]:
    """The six experiments for a data set of so many classes; of ten or more they are the report's own.

    Of fewer, a digit that is not there is counted on from 0: 7 is 3 of four classes. What then names a class twice is
    left out.
    """

    def some(targets: str, start: str, start_class: str = "target") -> tuple[SearchKind, ...]:
        digits = "+".join(str(int(each) % num_classes) for each in targets.split("+"))
        first = start_class if start_class == "target" else str(int(start_class) % num_classes)
        is_there = len(set(digits.split("+"))) == len(digits.split("+")) and digits != first
        return kinds(digits, start, first, num_classes=num_classes) if is_there else ()

    def each(start: str) -> tuple[SearchKind, ...]:
        return kinds("all", start, num_classes=num_classes)

    return (
        Experiment(1, "One digit from noise", some("2", "noise"), "sure to the network, not to be read by a person"),
        Experiment(2, "One digit from a noisy real digit", some("2", "noisy_digit"), "a clear, structured 2"),
        Experiment(3, "All digits from noisy real digits", each("noisy_digit"), "structured; 1, 2, 6, 8 the clearest"),
        Experiment(4, "All digits from noise", each("noise"), "sure to the network, mostly not to be read by a person"),
        Experiment(
            5, "Mixed targets from noise", some("2+3", "noise") + some("1+7", "noise"), "hybrids between the two digits"
        ),
        Experiment(
            6,
            "Conversion of a real digit",
            some("7", "digit", "5") + some("9", "digit", "5") + some("5", "digit", "2"),
            "conversions work, 5 to 9 the best",
        ),
    )


EXPERIMENTS = for_classes(MNIST_CLASSES)
"""The report's own."""


def parse(words: str, num_classes: int = MNIST_CLASSES) -> list[Experiment]:
    """`all` or `1,4,6`. Raises ValueError, whose message says which part cannot be read."""
    known = for_classes(num_classes)
    if words == "all":
        return list(known)
    by_number = {str(experiment.number): experiment for experiment in known}
    numbers = [word.strip() for word in words.split(",")]
    for number in numbers:
        if number not in by_number:
            raise ValueError(f"{number!r} is not the number of an experiment")
        if numbers.count(number) > 1:
            raise ValueError(f"{number} is asked for twice")
    return [by_number[number] for number in numbers]
