"""Objectives and penalties against numpy, and each penalty does what it says."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from mnist_cnn.input_optimization import objectives, penalties
from mnist_cnn.settings import OBJECTIVES, AscentSettings

LOGITS = np.array([[1.0, -2.0, 0.5, 3.0], [0.0, 0.0, 4.0, -1.0]], np.float32)
TARGETS = np.array([[0.0, 0.0, 1.0, 0.0], [0.25, 0.75, 0.0, 0.0]], np.float32)


def test_objectives_equal_their_formulas() -> None:
    log_p = LOGITS - np.log(np.exp(LOGITS).sum(axis=1, keepdims=True))
    cross_entropy = -(TARGETS * log_p).sum(axis=1)
    np.testing.assert_allclose(objectives.cross_entropy(LOGITS, TARGETS), cross_entropy, rtol=1e-5)
    np.testing.assert_allclose(objectives.logit(LOGITS, TARGETS), [-0.5, 0.0], atol=1e-6)
    np.testing.assert_allclose(objectives.margin(tf.constant(LOGITS), TARGETS), [3 - 0.5, 4 - 0.0], atol=1e-6)
    entropy = np.array([0, -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))])
    np.testing.assert_allclose(objectives.kl_divergence(LOGITS, TARGETS), cross_entropy - entropy, rtol=1e-5)


def test_objectives_of_sigmoids_equal_their_formulas() -> None:
    p = 1 / (1 + np.exp(-LOGITS.astype(np.float64)))
    cross_entropy = -(TARGETS * np.log(p) + (1 - TARGETS) * np.log(1 - p)).sum(axis=1)
    np.testing.assert_allclose(objectives.sigmoid_cross_entropy(LOGITS, TARGETS), cross_entropy, rtol=1e-5)
    entropy = np.array([0, -2 * (0.25 * np.log(0.25) + 0.75 * np.log(0.75))])
    np.testing.assert_allclose(objectives.sigmoid_kl_divergence(LOGITS, TARGETS), cross_entropy - entropy, rtol=1e-5)


@pytest.mark.parametrize("size", [7, 14, 28, 30, 33, 56, 57, 64, 97])
def test_the_border_is_as_wide_on_each_side_at_any_size(size: int) -> None:
    image = np.ones((1, size, size, 1), np.float32)
    halves = [image * mask for mask in _halves(size)]
    costs = {float(penalties.border(tf.constant(half))[0]) for half in halves}
    assert len(costs) == 1
    # What lies strictly within a seventh of the way from the first to the last pixel, counted in whole numbers.
    width = sum(7 * i < size - 1 for i in range(size))
    assert float(penalties.border(tf.constant(image))[0]) == size**2 - (size - 2 * width) ** 2


def _halves(size: int) -> list[np.ndarray]:
    first = (np.arange(size) < size // 2).astype(np.float32)
    masks = [first, first[::-1]]
    return [mask.reshape(shape) for mask in masks for shape in ((1, size, 1, 1), (1, 1, size, 1))]


def test_cross_entropy_of_a_mix_cannot_fall_below_its_entropy_and_the_divergence_falls_to_zero() -> None:
    target = np.array([[0.5, 0.5, 0, 0]], np.float32)
    met = np.array([[20.0, 20.0, -20.0, -20.0]], np.float32)
    assert float(objectives.cross_entropy(met, target)[0]) == pytest.approx(np.log(2))
    assert float(objectives.kl_divergence(met, target)[0]) == pytest.approx(0, abs=1e-6)


def test_the_margin_of_a_target_of_every_class_is_its_mean_logit() -> None:
    target = np.full((1, 4), 0.25, np.float32)
    assert float(objectives.margin(tf.constant(LOGITS[:1]), target)[0]) == pytest.approx(-0.625)


def test_every_name_in_the_settings_has_its_function() -> None:
    for name in OBJECTIVES:
        assert callable(getattr(objectives, name))
    for name in penalties.PENALTIES:
        assert hasattr(AscentSettings(), f"{name}_weight")


def test_penalties_equal_their_formulas() -> None:
    images = np.random.default_rng(0).random((3, 28, 28, 2), np.float32)
    down, right = np.diff(images, axis=1), np.diff(images, axis=2)
    expected = {
        "l2": (images**2).sum(axis=(1, 2, 3)),
        "tv": np.abs(down).sum(axis=(1, 2, 3)) + np.abs(right).sum(axis=(1, 2, 3)),
        "smoothness": (down**2).sum(axis=(1, 2, 3)) + (right**2).sum(axis=(1, 2, 3)),
        "border": (images**2).sum(axis=(1, 2, 3)) - (images[:, 4:24, 4:24] ** 2).sum(axis=(1, 2, 3)),
    }
    assert set(expected) == set(penalties.PENALTIES)
    for name, values in expected.items():
        np.testing.assert_allclose(penalties.PENALTIES[name](tf.constant(images)), values, rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("name", list(penalties.PENALTIES))
def test_a_penaltys_gradient_is_that_of_finite_differences(name: str) -> None:
    rng = np.random.default_rng(1)
    image, direction = rng.random((1, 28, 28, 1)), rng.standard_normal((1, 28, 28, 1))
    penalty = penalties.PENALTIES[name]
    point = tf.constant(image)
    with tf.GradientTape() as tape:
        tape.watch(point)
        value = penalty(point)
    slope = float(tf.reduce_sum(tape.gradient(value, point) * direction))
    step = 1e-6
    ahead, behind = (float(penalty(tf.constant(image + sign * step * direction))[0]) for sign in (1, -1))
    assert slope == pytest.approx((ahead - behind) / (2 * step), rel=1e-5)
