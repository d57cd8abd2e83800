"""How numbers and intervals are written, in Python and as filters of the templates."""

from __future__ import annotations

import math
import re
from typing import Any


def number(value: Any) -> str:
    """Four digits of a float, `–` for NaN and None; anything else as it is."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def percent(share: float, digits: int = 2) -> str:
    """`98.57%`."""
    return f"{share:.{digits}%}"


def interval(rate: float, low: float, high: float, unit: str = "") -> str:
    """`98.6 (97.4 to 99.4)`, in percent, of a share and the ends of its interval. unit: after the share."""
    return f"{100 * rate:.1f}{unit} ({100 * low:.1f} to {100 * high:.1f})"


def is_share(metric: str) -> bool:
    """Whether a metric of that name is a share, which is written in percent. A learning rate is none."""
    return re.search(r"(accuracy|(?<!learning_)rate|share|cas_plain|cas_augmented)(/|$)", metric) is not None


def clock(seconds: float) -> str:
    """`7 s`, `3:05 min`."""
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60}:{whole % 60:02d} min"


def counted(number: int, singular: str, plural: str = "") -> str:
    """`1 epoch`, `3 epochs`, `10 searches`. plural: without it an `s` is added."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"
