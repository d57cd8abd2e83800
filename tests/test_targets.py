from __future__ import annotations

import pytest

from mnist_cnn.settings import targets


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("2", [{2: 1.0}]),
        ("2+3", [{2: 0.5, 3: 0.5}]),
        ("1:0.7+7:0.3", [{1: 0.7, 7: 0.3}]),
        ("all", [{number: 1.0} for number in range(10)]),
        ("0+1+2, 7", [{0: 1 / 3, 1: 1 / 3, 2: 1 / 3}, {7: 1.0}]),
    ],
)
def test_words_are_read_as_shares(words: str, expected: list[dict[int, float]]) -> None:
    found = targets.parse(words, 10)
    assert [dict(target.shares) for target in found] == [pytest.approx(shares) for shares in expected]
    for target in found:
        assert sum(target.distribution(10)) == pytest.approx(1)
        assert target.distribution(10)[target.main_class] == max(target.distribution(10))


def test_all_means_the_classes_of_the_network() -> None:
    assert [target.word for target in targets.parse("all", 3)] == ["0", "1", "2"]
    with pytest.raises(ValueError, match="'3' is not a class; classes are 0 to 2"):
        targets.parse("3", 3)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("", "'' is not a class"),
        ("47", "'47' is not a class; classes are 0 to 46"),
        ("-1", "'-1' is not a class"),
        ("2.0", "is not a class"),
        ("two", "is not a class"),
        ("²", "is not a class"),
        ("2+", "'' is not a class"),
        ("2,,3", "'' is not a class"),
        ("2+2", "names 2 twice"),
        ("2,2", "2 is asked for twice"),
        ("2,all", "2 is asked for twice"),
        ("2+3,3:0.5+2:0.5", "is asked for twice"),
        ("1:0.7+7", "gives a share to one class and none to another"),
        ("1:0.7+7:0.4", "sum to 1.1 and not to 1"),
        ("1:0.7", "sum to 0.7 and not to 1"),
        ("1:0+7:1", "'0' is not a share above 0"),
        ("1:nan+7:0.5", "'nan' is not a share"),
        ("1:x+7:0.5", "'x' is not a share"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_part_that_cannot(words: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        targets.parse(words)
