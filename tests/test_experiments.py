from __future__ import annotations

import re

import numpy as np
import pytest

from mnist_cnn.data import dataset
from mnist_cnn.input_optimization import starts
from mnist_cnn.judging import nearest_digits
from mnist_cnn.settings import experiments


@pytest.fixture(scope="module")
def data(small_dataset) -> dataset.LabelledImages:
    return dataset.load_train(str(small_dataset))


def test_the_six_experiments_are_the_reports() -> None:
    labels = [[kind.label for kind in experiment.kinds] for experiment in experiments.EXPERIMENTS]
    assert labels[0] == ["noise → 2"]
    assert labels[1] == ["noisy 2 → 2"]
    assert labels[2] == [f"noisy {number} → {number}" for number in range(10)]
    assert labels[3] == [f"noise → {number}" for number in range(10)]
    assert labels[4] == ["noise → 2+3", "noise → 1+7"]
    assert labels[5] == ["5 → 7", "5 → 9", "2 → 5"]


def test_experiments_are_chosen_by_number() -> None:
    assert [each.number for each in experiments.parse("all")] == [1, 2, 3, 4, 5, 6]
    assert [each.number for each in experiments.parse("6, 2")] == [6, 2]
    with pytest.raises(ValueError, match="'7' is not the number of an experiment"):
        experiments.parse("7")


def test_a_mix_starts_from_its_largest_share_or_from_the_class_that_is_given() -> None:
    (mix,) = experiments.kinds("1:0.3+7:0.7", "noisy_digit", num_classes=10)
    assert (mix.start_class, mix.label) == (7, "noisy 7 → 1:0.3+7:0.7")
    (given,) = experiments.kinds("7", "digit", "5", num_classes=10)
    assert (given.start_class, given.label) == (5, "5 → 7")


def test_a_kind_is_spelled_out_where_signs_are_not_allowed() -> None:
    words = "3,2+3,1:0.5+7:0.5,1:0.7+7:0.3"
    spelled = [kind.spelled_out for kind in experiments.kinds(words, "noisy_digit", "5", num_classes=10)]
    assert spelled == ["noisy 5 to 3", "noisy 5 to 2 and 3", "noisy 5 to 1 and 7", "noisy 5 to 0.7 of 1 and 0.3 of 7"]
    every = [kind.spelled_out for each in experiments.EXPERIMENTS for kind in each.kinds]
    assert all(re.fullmatch("[a-z0-9. ]+", name) for name in every) and "2 to 5" in every


def test_a_search_has_the_same_start_whatever_else_is_asked_for(data) -> None:
    few = starts.draw(experiments.kinds("3", "noisy_digit", num_classes=10), 2, 0, data, 0.3)
    many = starts.draw(experiments.kinds("all", "noisy_digit", num_classes=10), 5, 0, data, 0.3)
    np.testing.assert_array_equal(many.starts.images[15:17], few.starts.images)
    np.testing.assert_array_equal(many.seeds[15:17], few.seeds)
    assert len(set(many.seeds)) == 50
    other = starts.draw(experiments.kinds("3", "noisy_digit", num_classes=10), 2, 1, data, 0.3)
    assert not np.array_equal(other.starts.images, few.starts.images)


def test_a_plan_holds_targets_and_starts_kind_by_kind(data) -> None:
    plan = starts.draw(experiments.kinds("2+3,7", "digit", "5", num_classes=10), 3, 0, data, 0.3)
    assert [kind.target.word for kind in plan.kinds] == ["2+3"] * 3 + ["7"] * 3
    np.testing.assert_allclose(plan.targets[0], [0, 0, 0.5, 0.5, 0, 0, 0, 0, 0, 0])
    assert plan.targets[5].argmax() == 7
    assert (plan.starts.labels == 5).all()
    np.testing.assert_array_equal(plan.starts.images, data.images[plan.starts.indices])


def test_the_nearest_image_is_the_nearest_of_all(data) -> None:
    rng = np.random.default_rng(0)
    images = np.clip(data.images[[5, 700]] + 0.02 * rng.standard_normal((2, 28, 28, 1)), 0, 1).astype(np.float32)
    images = np.concatenate([images, rng.random((1, 28, 28, 1), np.float32)])
    found = nearest_digits.nearest(images, data)
    distances = np.sqrt(((images[:, np.newaxis] - data.images) ** 2).sum(axis=(2, 3, 4)))
    assert list(found.indices[:2]) == [5, 700]
    np.testing.assert_array_equal(found.indices, distances.argmin(axis=1))
    np.testing.assert_allclose(found.distances, distances.min(axis=1), rtol=1e-5)
    np.testing.assert_array_equal(found.images, data.images[found.indices])
    np.testing.assert_array_equal(found.labels, data.labels[found.indices])
