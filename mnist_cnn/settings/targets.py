"""What the network shall say: a class, a mix of classes, or every class in turn.

Only the standard library is imported here, so that a target which cannot be read is refused at once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

MNIST_CLASSES = 10
"""Classes of MNIST, where nothing else is said."""

MOST_CLASSES = 47
"""Of a data set: EMNIST's letters and digits have so many. Fewer are known when the data is read."""

ALLOWED = "classes such as 2, mixes such as 2+3 or 1:0.7+7:0.3, or all, separated by commas"

_CLASS_OF_A_WORD = re.compile(r"(?:^|(?<=[+]))[0-9]+")


@dataclass(frozen=True)
class Target:
    """What the network shall say.

    word: how it is written, e.g. `1:0.7+7:0.3`. shares: (class, share) pairs; the shares sum to 1.
    """

    word: str
    shares: tuple[tuple[int, float], ...]

    def named(self, class_names: Sequence[str]) -> str:
        """Its word with names in place of numbers: `Coat`, `Coat+Bag`."""
        return _CLASS_OF_A_WORD.sub(lambda found: class_names[int(found[0])], self.word)

    @property
    def main_class(self) -> int:
        """The class with the largest share, the first of equals."""
        return max(self.shares, key=lambda share: share[1])[0]

    def distribution(self, num_classes: int) -> list[float]:
        """The share of each class, `num_classes` numbers that sum to 1."""
        shares = dict(self.shares)
        return [shares.get(number, 0.0) for number in range(num_classes)]


def parse(words: str, num_classes: int = MOST_CLASSES) -> list[Target]:
    """`2`, `2+3` (half and half), `1:0.7+7:0.3`, `all`, or several of them separated by commas.

    num_classes: of the data set, where it is known. Raises ValueError, whose message says which part cannot be read.
    """
    targets = []
    for word in words.split(","):
        if word.strip() == "all":
            targets += [Target(str(number), ((number, 1.0),)) for number in range(num_classes)]
        else:
            targets.append(_parse_one(word.strip(), num_classes))
    seen: set[tuple[tuple[int, float], ...]] = set()
    for target in targets:
        shares = tuple(sorted(target.shares))
        if shares in seen:
            raise ValueError(f"{target.word} is asked for twice")
        seen.add(shares)
    return targets


def _parse_one(word: str, num_classes: int) -> Target:
    parts = [part.partition(":") for part in word.split("+")]
    if len({bool(colon) for _, colon, _ in parts}) > 1:
        raise ValueError(f"{word!r} gives a share to one class and none to another; give it to all or to none")
    shares: dict[int, float] = {}
    for name, colon, share in parts:
        # isdecimal alone takes digits of every script.
        if not (name.isascii() and name.isdecimal() and len(name) < 10 and int(name) < num_classes):
            raise ValueError(f"{name!r} is not a class; classes are 0 to {num_classes - 1}")
        if int(name) in shares:
            raise ValueError(f"{word!r} names {int(name)} twice")
        shares[int(name)] = _share(share) if colon else 1 / len(parts)
    total = math.fsum(shares.values())
    if abs(total - 1) > 1e-6:
        raise ValueError(f"the shares of {word!r} sum to {total:g} and not to 1")
    return Target(word, tuple((number, share / total) for number, share in shares.items()))


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise ValueError(f"{text!r} is not a share above 0 and at most 1")
    return share
