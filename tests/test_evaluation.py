from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from mnist_cnn.data import intervals
from mnist_cnn.training import evaluation


@pytest.fixture(scope="module")
def guesses() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    labels = random.integers(0, 10, 5000).astype(np.int32)
    scores = random.normal(size=(5000, 10)) + 2.5 * np.eye(10)[labels]
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return probabilities.astype(np.float32), labels


def test_every_number_agrees_with_scikit_learn(guesses: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, labels = guesses
    ours, choices = evaluation.score(probabilities, labels), probabilities.argmax(axis=1)
    assert ours.accuracy == pytest.approx(metrics.accuracy_score(labels, choices))
    np.testing.assert_array_equal(ours.confusion, metrics.confusion_matrix(labels, choices))
    np.testing.assert_allclose(ours.precision, metrics.precision_score(labels, choices, average=None))
    np.testing.assert_allclose(ours.recall, metrics.recall_score(labels, choices, average=None))
    # scikit-learn wants rows that sum to 1 in double precision.
    exact = probabilities.astype(np.float64) / probabilities.sum(axis=1, keepdims=True, dtype=np.float64)
    assert ours.loss == pytest.approx(metrics.log_loss(labels, exact), rel=1e-5)


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [(9857, 10000, 0.98318, 0.98786), (10, 10, 0.72247, 1.0), (0, 10, 0.0, 0.27753), (1, 2, 0.09453, 0.90547)],
)
def test_the_interval_is_wilsons(hits: int, total: int, low: float, high: float) -> None:
    """Values by R's binom::binom.confint(hits, total, methods = "wilson")."""
    assert intervals.wilson_interval(hits, total) == pytest.approx((low, high), abs=2e-5)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    hits = np.random.default_rng(0).binomial(500, 0.97, 4000)
    ends = [intervals.wilson_interval(int(h), 500) for h in hits]
    assert np.mean([low <= 0.97 <= high for low, high in ends]) == pytest.approx(0.95, abs=0.015)


def test_a_network_that_is_as_right_as_it_says_has_no_calibration_error() -> None:
    random = np.random.default_rng(0)
    confidence = random.uniform(0.5, 1, 200_000)
    labels = (random.random(200_000) > confidence).astype(np.int32)
    honest = np.stack([confidence, 1 - confidence], axis=1).astype(np.float32)
    assert evaluation.expected_calibration_error(honest, labels) < 0.005
    boastful = np.stack([np.full(200_000, 0.99), np.full(200_000, 0.01)], axis=1).astype(np.float32)
    assert evaluation.expected_calibration_error(boastful, labels) == pytest.approx(0.99 - 0.75, abs=0.005)


def test_a_class_that_is_never_chosen_has_no_precision() -> None:
    result = evaluation.score(np.array([[0.9, 0.1], [0.8, 0.2]], np.float32), np.array([0, 1], np.int32))
    assert np.isnan(result.precision[1])
    classes = result.classes()
    assert classes["precision"][1] is None and classes["recall"][1] == 0


def test_probabilities_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="2 probabilities that are not finite"):
        evaluation.score(np.array([[np.nan, np.inf]], np.float32), np.array([0], np.int32))
