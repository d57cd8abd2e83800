from __future__ import annotations

import numpy as np

from mnist_cnn.data.intervals import Share
from mnist_cnn.judging import promotion


def test_the_gate_respects_the_interval() -> None:
    def decided(both: int, only_ours: int, only_theirs: int, margin: float = 0.005) -> promotion.Decision:
        total = 6000
        counts = (both, only_ours, only_theirs, total - both - only_ours - only_theirs)
        return promotion.decide(
            np.repeat([True, True, False, False], counts), 3, np.repeat([True, False, True, False], counts), margin
        )

    alike = decided(5900, 30, 30)
    assert alike.promoted and "The whole interval is above -0.50" in alike.sentence
    slightly_worse = decided(5900, 30, 40)  # by 0.17 points, and surely by less than 0.5
    assert slightly_worse.promoted and slightly_worse.difference.difference < -0.0016
    unsure = decided(5880, 30, 55)  # by 0.42 points: not more than the margin, but the interval reaches beyond
    assert not unsure.promoted and "it may be worse than is allowed" in unsure.sentence
    assert not decided(5880, 30, 65).promoted and "That is at or below -0.50" in decided(5880, 30, 65).sentence
    assert "it is worse" in decided(5500, 10, 300).sentence
    assert decided(5500, 10, 300, margin=0.1).promoted
    few = promotion.decide(np.ones(50, bool), 1, np.ones(50, bool), 0.005)
    assert not few.promoted  # fifty images cannot tell half a percent
    first = promotion.decide(np.array([True, False]), None, None, 0.005)
    assert first.promoted and first.word == "the first champion" and isinstance(first.accuracy, Share)
