"""The scorecard against what is known: distances, intervals, and the order of the controls."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from mnist_cnn.data import dataset
from mnist_cnn.judging import scorecard
from mnist_cnn.judging.scorecard import RealDigits

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def data(small_dataset: Path) -> dataset.Split:
    return dataset.split(dataset.load_train(str(small_dataset)), 0.3)


@pytest.fixture(scope="module")
def real(data) -> RealDigits:
    return RealDigits.of(data.train, data.validation)


def one_hot(labels):
    return np.eye(10, dtype=np.float32)[labels]


def unanimous(labels, count: int = 6):
    return {f"judge {i}": one_hot(labels) for i in range(count)}


def test_features_are_the_grey_levels_after_a_gaussian_blur() -> None:
    image = np.zeros((1, 28, 28, 1), np.float32)
    image[0, 14, 10] = 1
    blurred = scorecard.features(image).reshape(28, 28)
    rows, columns = np.mgrid[:28, :28]
    expected = np.exp(-((rows - 14) ** 2 + (columns - 10) ** 2) / 2) / (2 * math.pi)
    np.testing.assert_allclose(blurred, expected, atol=1e-4)
    many = RNG.random((3, 28, 28, 1)).astype(np.float32)
    np.testing.assert_allclose(scorecard.features(many)[2], scorecard.features(many[2:])[0], atol=1e-6)


def test_the_nearest_distance_is_to_the_images_own_class() -> None:
    real = np.array([[0.0, 0.0], [3.0, 4.0], [10.0, 0.0]], np.float32)
    images = np.array([[0.0, 0.0], [0.0, 0.0], [10.0, 1.0]], np.float32)
    found = scorecard.nearest_distances(images, np.array([0, 1, 1]), real, np.array([0, 1, 1]))
    np.testing.assert_allclose(found, [0, 5, 1], atol=1e-6)
    assert (
        scorecard.nearest_distances(images, np.array([7, 7, 7]), real, np.array([0, 1, 1])).tolist() == [math.inf] * 3
    )


def test_the_mean_distance_is_over_all_pairs_or_close_to_it_over_drawn_ones(monkeypatch) -> None:
    vectors = RNG.standard_normal((60, 5)).astype(np.float32)
    table = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    expected = table.sum() / (60 * 59)
    assert scorecard.mean_distance(vectors) == pytest.approx(expected, rel=1e-5)
    monkeypatch.setattr(scorecard, "PAIRS", 1000)
    assert scorecard.mean_distance(vectors) == pytest.approx(expected, rel=0.05)
    assert math.isnan(scorecard.mean_distance(vectors[:1]))


def test_the_limit_is_the_percentile_of_held_out_digits(data, real) -> None:
    vectors, labels = scorecard.features(data.validation.images), data.validation.labels
    for number in (1, 8):
        own = data.train.images[data.train.labels == number]
        table = np.linalg.norm(vectors[labels == number][:, None] - scorecard.features(own)[None], axis=2)
        assert real.limits[number] == pytest.approx(np.percentile(table.min(axis=1), 95), rel=1e-3)


def test_one_dissenter_is_allowed_and_two_are_not(data, real) -> None:
    images, labels = data.train.images[:20], data.train.labels[:20]
    wrong = one_hot((labels + 1) % 10)
    opinions = unanimous(labels)
    assert scorecard.score(images, one_hot(labels), opinions, real).rate == 1
    assert scorecard.score(images, one_hot(labels), {**opinions, "judge 0": wrong}, real).rate == 1
    two = {**opinions, "judge 0": wrong, "judge 1": wrong}
    card = scorecard.score(images, one_hot(labels), two, real)
    assert card.rate == 0
    assert card.agreement() == {"judge 0": 0, "judge 1": 0, **{f"judge {i}": 1 for i in range(2, 6)}}


def test_what_is_far_from_real_digits_is_not_recognised_whatever_the_judges_say(real) -> None:
    labels = np.arange(10)
    noise = RNG.random((10, 28, 28, 1)).astype(np.float32)
    assert scorecard.score(noise, one_hot(labels), unanimous(labels), real).rate == 0


def test_an_interval_holds_the_rate_and_shrinks_with_more_images(data, real) -> None:
    widths = []
    for count in (20, 200):
        labels = data.train.labels[:count]
        said = np.where(np.arange(count) % 4 == 0, (labels + 1) % 10, labels)
        card = scorecard.score(data.train.images[:count], one_hot(labels), unanimous(said), real)
        low, high = card.interval()
        assert low < card.rate == 0.75 < high
        widths.append(high - low)
    assert widths[1] == pytest.approx(2 * 1.96 * math.sqrt(0.75 * 0.25 / 200), rel=0.15)
    assert widths[1] < widths[0] / 2


def test_a_class_mean_repeated_is_recognised_and_has_no_diversity(data, real) -> None:
    labels = np.repeat(np.arange(10), 5)
    means = np.stack([data.train.images[data.train.labels == number].mean(axis=0) for number in range(10)])
    card = scorecard.score(means[labels], one_hot(labels), unanimous(labels), real)
    np.testing.assert_allclose(card.diversity, 0, atol=1e-3)
    others = scorecard.score(
        data.validation.images, one_hot(data.validation.labels), unanimous(data.validation.labels), real
    )
    assert 0.9 < np.mean(others.diversity) < 1.1


def test_real_digits_are_nearer_in_the_kernel_distance_than_nothing_and_that_than_noise(data, real) -> None:
    images, labels = data.validation.images, data.validation.labels
    shown = (images, np.zeros_like(images), RNG.random(images.shape).astype(np.float32))
    distances = [scorecard.score(each, one_hot(labels), unanimous(labels), real).kernel_distance for each in shown]
    assert distances[0] < 0.1 * distances[1] and distances[1] < distances[2]


def test_a_mix_has_a_divergence_and_no_recognition(data, real) -> None:
    targets = np.tile(0.5 * (one_hot([2]) + one_hot([3])), (4, 1)).astype(np.float32)
    half = {"judge": np.tile(targets[:1], (4, 1))}
    card = scorecard.score(data.train.images[:4], targets, half, real)
    assert math.isnan(card.rate) and "recognised_rate" not in card.metrics()
    np.testing.assert_allclose(card.divergences, 0, atol=1e-6)
    sure = scorecard.score(data.train.images[:4], targets, {"judge": one_hot([2, 2, 3, 3]) * 0.98 + 0.002}, real)
    expected = 0.5 * math.log(0.5 / 0.982) + 0.5 * math.log(0.5 / 0.002)
    np.testing.assert_allclose(sure.divergences, expected, rtol=1e-5)
    np.testing.assert_allclose(sure.target_probabilities, 0.984, rtol=1e-5)


def test_a_conversion_is_asked_what_is_left_of_its_source_and_how_far_it_went(data, real) -> None:
    images = data.train.images[:3]
    opinions = {"judge": np.array([[0.1] * 10] * 3)}
    starts = {"starts": np.zeros_like(images), "start_labels": np.array([5, -1, 7])}
    card = scorecard.score(images, one_hot([7, 7, 7]), opinions, real, **starts)
    np.testing.assert_allclose(card.source_probabilities, [0.1, np.nan, np.nan])
    np.testing.assert_allclose(card.moved, np.sqrt((images**2).sum(axis=(1, 2, 3))), rtol=1e-5)


def test_a_class_without_real_digits_is_never_recognised_and_nothing_breaks(data) -> None:
    def without(images: dataset.LabelledImages) -> dataset.LabelledImages:
        kept = images.labels != 4
        return dataclasses.replace(images, images=images.images[kept], labels=images.labels[kept])

    real = RealDigits.of(without(data.train), without(data.validation))
    labels = np.array([4, 4, 5, 5])
    shown = np.stack([data.train.images[data.train.labels == number][i] for i, number in enumerate(labels)])
    card = scorecard.score(shown, one_hot(labels), unanimous(labels), real)
    assert card.recognised.tolist() == [False, False, True, True]
    only = scorecard.score(shown[:2], one_hot(labels[:2]), unanimous(labels[:2]), real)
    assert only.rate == 0 and "kernel_distance" not in only.metrics() and "diversity" not in only.metrics()
