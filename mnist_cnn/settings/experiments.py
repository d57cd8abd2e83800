"""The six experiments of the reference report: what is asked of the network, from where, and what the report saw."""

from __future__ import annotations

from dataclasses import dataclass

from mnist_cnn.settings.targets import Target
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
        """How a picture names it: `noise → 2+3`, `noisy 2 → 2`, `5 → 7`."""
        words = {"noise": "noise", "noisy_digit": f"noisy {self.start_class}", "digit": str(self.start_class)}
        return f"{words[self.start]} → {self.target.word}"

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


def kinds(targets: str, start: str, start_class: str = "target") -> tuple[SearchKind, ...]:
    """A kind for each target, all of them from the same kind of start."""

    def first(target: Target) -> int | None:
        if start == "noise":
            return None
        return target.main_class if start_class == "target" else int(start_class)

    return tuple(SearchKind(target, start, first(target)) for target in parse_targets(targets))


EXPERIMENTS = (
    Experiment(1, "One digit from noise", kinds("2", "noise"), "sure to the network, not to be read by a person"),
    Experiment(2, "One digit from a noisy real digit", kinds("2", "noisy_digit"), "a clear, structured 2"),
    Experiment(
        3, "All digits from noisy real digits", kinds("all", "noisy_digit"), "structured; 1, 2, 6, 8 the clearest"
    ),
    Experiment(
        4, "All digits from noise", kinds("all", "noise"), "sure to the network, mostly not to be read by a person"
    ),
    Experiment(5, "Mixed targets from noise", kinds("2+3,1+7", "noise"), "hybrids between the two digits"),
    Experiment(
        6,
        "Conversion of a real digit",
        kinds("7,9", "digit", "5") + kinds("5", "digit", "2"),
        "conversions work, 5 to 9 the best",
    ),
)


def parse(words: str) -> list[Experiment]:
    """`all` or `1,4,6`. Raises ValueError, whose message says which part cannot be read."""
    if words == "all":
        return list(EXPERIMENTS)
    by_number = {str(experiment.number): experiment for experiment in EXPERIMENTS}
    numbers = [word.strip() for word in words.split(",")]
    for number in numbers:
        if number not in by_number:
            raise ValueError(f"{number!r} is not the number of an experiment")
        if numbers.count(number) > 1:
            raise ValueError(f"{number} is asked for twice")
    return [by_number[number] for number in numbers]
