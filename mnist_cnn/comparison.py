"""Whether the best of one sweep is better than the best of another by more than chance."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """A share of images with the ends of its 95 % interval."""

    rate: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """first - second with a 95 % interval."""

    first: str
    second: str
    difference: float
    low: float
    high: float

    @property
    def is_more_than_noise(self) -> bool:
        return self.low > 0 or self.high < 0


def difference(first: str, second: str, a: Share, b: Share) -> Difference:
    """Newcombe, Statistics in Medicine 17 (1998) 873-890, method 10: from the intervals of two independent shares."""
    between = a.rate - b.rate
    low = between - math.hypot(a.rate - a.low, b.high - b.rate)
    high = between + math.hypot(a.high - a.rate, b.rate - b.low)
    return Difference(first, second, between, low, high)
