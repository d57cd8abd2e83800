from __future__ import annotations

import math

import numpy as np
import pytest

from mnist_cnn.data.intervals import Share, difference, paired_difference, wilson_interval


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


def hits(both: int, only_first: int, only_second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    counts = (both, only_first, only_second, neither)
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


def test_a_paired_difference_is_narrower_than_one_of_strangers_where_the_same_images_are_hard() -> None:
    first, second = hits(950, 12, 8, 30)
    paired = paired_difference("a", "b", first, second)
    strangers = difference("a", "b", share(962, 1000), share(958, 1000))
    assert paired.difference == pytest.approx(0.004) == pytest.approx(strangers.difference)
    assert paired.high - paired.low < 0.6 * (strangers.high - strangers.low)
    # By hand: correlation (950*30 - 12*8 - 500) / sqrt(962*38*958*42) = 0.72758; Wilson's ends 0.94828, 0.97220
    # and 0.94372, 0.96878.
    x, y, r = 0.962 - 0.94828, 0.96878 - 0.958, 0.72758
    assert paired.low == pytest.approx(0.004 - math.sqrt(x * x - 2 * r * x * y + y * y), abs=2e-5)


def test_a_paired_difference_of_equals_is_none_and_turns_its_sign_with_the_order() -> None:
    same = np.arange(100) % 7 > 0
    alike = paired_difference("a", "b", same, same)
    assert alike.difference == 0 and alike.low <= 0 <= alike.high
    perfect = paired_difference("a", "b", np.ones(50, bool), np.ones(50, bool))
    assert perfect.difference == 0 and perfect.low < 0 < perfect.high  # fifty images cannot say that there is none
    first, second = hits(60, 20, 5, 15)
    there, back = paired_difference("a", "b", first, second), paired_difference("b", "a", second, first)
    assert (there.low, there.high) == (pytest.approx(-back.high), pytest.approx(-back.low)) and there.is_more_than_noise


def test_nineteen_of_twenty_paired_intervals_hold_the_truth() -> None:
    random = np.random.default_rng(5)
    held = 0
    for _ in range(500):
        hard = random.random(300) < 0.05
        first = ~(hard & (random.random(300) < 0.7)) & (random.random(300) > 0.02)
        second = ~(hard & (random.random(300) < 0.5)) & (random.random(300) > 0.02)
        found = paired_difference("a", "b", first, second)
        held += found.low <= 0.98 * 0.05 * (0.5 - 0.7) <= found.high
    assert 0.92 < held / 500
