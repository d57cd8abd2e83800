"""How numbers and intervals are written, in Python and as filters of the templates."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
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


NOT_NEGATIVE = re.compile(
    r"second|learning_rate|(train|validation|test)_loss|loss_by_step|entropy|divergence|diversity|distance_from_start"
)
"""In the names of metrics. The loss of a search is none of them: with some objectives it is below 0."""

OTHER_SHARES = re.compile(r"accuracy_by_step|probability|calibration_error|^agreement_")
"""In the names of shares that are not written in percent."""


def limits(metric: str) -> tuple[float, float]:
    """The least and the most that a metric of that name can be."""
    if NOT_NEGATIVE.search(metric):
        return 0.0, math.inf
    return (0.0, 1.0) if is_share(metric) or OTHER_SHARES.search(metric) else (-math.inf, math.inf)


def finite(value: Any) -> Any:
    """For JSON, which knows no number that is not finite: None stands in its place, at any depth."""
    if isinstance(value, Mapping):
        return {name: finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def clock(seconds: float) -> str:
    """`7 s`, `3:05 min`."""
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60}:{whole % 60:02d} min"


def counted(number: int, singular: str, plural: str = "") -> str:
    """`1 epoch`, `3 epochs`, `10 searches`. plural: without it an `s` is added."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"
