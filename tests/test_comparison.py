from __future__ import annotations

import math

import pytest

from mnist_cnn.comparison import Share, difference
from mnist_cnn.evaluation import wilson_interval


def share(hits: int, of: int) -> Share:
    return Share(hits / of, *wilson_interval(hits, of))


def test_newcombes_own_example() -> None:
    """56/70 - 48/80 = 0.2: 0.0524 to 0.3339 (the paper's table II, row a, method 10)."""
    found = difference("a", "b", share(56, 70), share(48, 80))
    assert found.difference == pytest.approx(0.2)
    assert (found.low, found.high) == (pytest.approx(0.0524, abs=1e-4), pytest.approx(0.3339, abs=1e-4))
    assert found.is_more_than_noise


def test_it_turns_its_sign_with_the_order_and_what_is_alike_is_noise() -> None:
    there, back = (difference("a", "b", *pair) for pair in ((share(9, 10), share(3, 10)), (share(3, 10), share(9, 10))))
    assert (there.low, there.high) == (pytest.approx(-back.high), pytest.approx(-back.low))
    alike = difference("a", "b", share(50, 100), share(52, 100))
    assert not alike.is_more_than_noise and math.copysign(1, alike.low) == -1
