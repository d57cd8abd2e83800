"""Shares with their intervals, and whether one is larger than another by more than chance."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special  # scipy.stats takes most of a second to import, at each command's start


@dataclass(frozen=True)
class Share:
    """A share of images with the ends of its 95 % interval."""

    rate: float
    low: float
    high: float


def named(name: str, value: float, low: float, high: float) -> dict[str, float]:
    """A number and the ends of its interval, by the names under which a run holds them."""
    return {name: value, f"{name}_low": low, f"{name}_high": high}


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


def wilson_interval(hits: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927): within [0, 1], and sound near 100 % where the normal one is not."""
    share = hits / total
    centre = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def mean_interval(values: ArrayLike, least: float = -math.inf, most: float = math.inf) -> tuple[float, float]:
    """95 % interval of the mean of (n,) normally distributed values, n at least 2 (Student 1908).

    least, most: what a value can be; the interval ends there.
    """
    numbers = np.asarray(values, np.float64)
    mean = float(numbers.mean())
    reach = float(special.stdtrit(len(numbers) - 1, 0.975) * numbers.std(ddof=1) / math.sqrt(len(numbers)))
    return max(least, mean - reach), min(most, mean + reach)


def paired_difference(first: str, second: str, a: NDArray[np.bool_], b: NDArray[np.bool_]) -> Difference:
    """The difference of two shares of the same n images. a, b: (n,), which images each gets right.

    Newcombe, Statistics in Medicine 17 (1998) 2635-2650, method 10: what the two have in common makes the interval
    narrower than `difference` would have it.
    """
    total = len(a)
    both, only_a, only_b = (int(np.sum(part)) for part in (a & b, a & ~b, ~a & b))
    neither = total - both - only_a - only_b
    hits = both + only_a, both + only_b
    p, q = (count / total for count in hits)
    (low_p, high_p), (low_q, high_q) = (wilson_interval(count, total) for count in hits)
    margins = math.sqrt(hits[0] * (only_b + neither) * hits[1] * (only_a + neither))
    crossed = both * neither - only_a * only_b
    correlation = (max(crossed - total / 2, 0) if crossed > 0 else crossed) / margins if margins else 0.0

    def reach(x: float, y: float) -> float:
        return math.sqrt(max(0.0, x * x - 2 * correlation * x * y + y * y))

    low, high = p - q - reach(p - low_p, high_q - q), p - q + reach(high_p - p, q - low_q)
    return Difference(first, second, p - q, low, high)
