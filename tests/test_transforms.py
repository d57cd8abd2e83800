from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from mnist_cnn.models import transforms


def affine(images, seed: tuple[int, int], **limits: float):
    draws = transforms.draws_of_batch(seed, transforms.NUM_AFFINE_DRAWS, len(images))
    return transforms.random_affine(tf.constant(images), draws, **limits)


def test_a_shift_moves_the_image_and_no_transform_leaves_it() -> None:
    image = np.zeros((1, 28, 28, 1), np.float32)
    image[0, 10:18, 12:16] = 1
    same = affine(image, (0, 0))
    np.testing.assert_allclose(same, image, atol=1e-6)
    many = np.repeat(image, 200, axis=0)
    moved = np.asarray(affine(many, (0, 1), shift=3.0))
    rows = (moved.sum(axis=(2, 3)) * np.arange(28)).sum(axis=1) / moved.sum(axis=(1, 2, 3))
    assert 2.5 < np.abs(rows - 13.5).max() <= 3.0 + 1e-3 and abs(rows.mean() - 13.5) < 0.5
    np.testing.assert_allclose(moved.sum(axis=(1, 2, 3)), image.sum(), rtol=1e-4)


def test_rotation_and_scale_are_about_the_centre_and_within_their_limits() -> None:
    image = np.zeros((1, 29, 29, 1), np.float32)
    image[0, 14, 4:25] = 1  # a horizontal bar through the centre
    many = np.repeat(image, 200, axis=0)
    rows, columns = np.mgrid[:29, :29] - 14
    for limits, low, high in (({"degrees": 20.0}, 0.9, 1.1), ({"scale": 0.2}, 0.8, 1.25)):
        turned = np.asarray(affine(many, (1, 2), **limits))[..., 0]
        mass = turned.sum(axis=(1, 2))
        np.testing.assert_allclose((turned * rows).sum(axis=(1, 2)) / mass, 0, atol=0.1)
        np.testing.assert_allclose((turned * columns).sum(axis=(1, 2)) / mass, 0, atol=0.1)
        second = np.stack([(turned * a * b).sum(axis=(1, 2)) / mass for a, b in ((columns, columns), (columns, rows))])
        angles = np.degrees(np.arctan2(second[1], second[0]))
        lengths = np.sqrt(second.sum(axis=0) ** 0 * second[0]) / np.sqrt((np.arange(-10, 11) ** 2).mean())
        assert np.abs(angles).max() < (20.5 if "degrees" in limits else 0.1)
        assert lengths.min() > low * 0.9 and lengths.max() < high * 1.05
        assert np.abs(angles).max() > 15 or lengths.max() - lengths.min() > 0.3


def test_a_slant_leans_a_bar_and_leaves_its_rows_where_they_are() -> None:
    image = np.zeros((1, 29, 29, 1), np.float32)
    image[0, 5:24, 14] = 1  # an upright bar
    leaning = np.asarray(affine(np.repeat(image, 200, axis=0), (1, 2), slant=0.3))[..., 0]
    np.testing.assert_allclose(leaning.sum(axis=2)[:, 5:24], 1, atol=1e-4)
    columns = (leaning * np.arange(29)).sum(axis=2)[:, 5:24]
    slopes = (columns[:, -1] - columns[:, 0]) / 18
    assert np.abs(slopes).max() <= 0.3 + 1e-3 and slopes.min() < -0.25 and slopes.max() > 0.25
    np.testing.assert_allclose(columns[:, 9], 14, atol=1e-3)


def test_an_image_is_transformed_by_its_own_draw_and_the_same_seed_draws_the_same() -> None:
    images = np.repeat(np.random.default_rng(0).random((1, 28, 28, 1), np.float32), 3, axis=0)
    first = np.asarray(affine(images, (3, 4), shift=2, degrees=10, scale=0.1))
    again = np.asarray(affine(images, (3, 4), shift=2, degrees=10, scale=0.1))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first[0], first[1])


def test_a_transform_can_be_differentiated() -> None:
    image = tf.constant(np.random.default_rng(0).random((1, 28, 28, 1), np.float32))
    with tf.GradientTape() as tape:
        tape.watch(image)
        total = tf.reduce_sum(affine(image, (0, 0), degrees=10.0)[:, 10:18, 10:18] ** 2)
    assert float(tf.norm(tape.gradient(total, image))) > 0


def test_draws_of_images_are_uniform_and_unrelated() -> None:
    draws = np.concatenate([transforms.draws_of_images(np.arange(1000), step, 100) for step in range(10)])
    assert draws.shape == (1000, 1000) and draws.min() >= -1 and draws.max() < 1
    counts = np.histogram(draws, 64, (-1, 1))[0] / draws.size * 64
    assert np.abs(counts - 1).max() < 0.04  # 5 standard deviations of a bin of 15,625
    for axis in (0, 1):
        neighbours = np.corrcoef(draws.take(range(999), axis).ravel(), draws.take(range(1, 1000), axis).ravel())[0, 1]
        assert abs(neighbours) < 0.005


def test_an_images_draws_depend_on_its_seed_and_the_step_alone() -> None:
    together = np.asarray(transforms.draws_of_images(np.array([3, 9, 4]), 7, 5))
    alone = np.asarray(transforms.draws_of_images(np.array([9]), 7, 5))
    np.testing.assert_array_equal(together[:, 1], alone[:, 0])
    assert not np.array_equal(alone, transforms.draws_of_images(np.array([9]), 8, 5))


def test_noise_is_gaussian_with_the_sigma_that_was_asked_for() -> None:
    images = tf.zeros((200, 28, 28, 1))
    noise = np.asarray(transforms.random_noise(images, np.arange(200), 3, 0.25))
    assert noise.mean() == pytest.approx(0, abs=0.003)
    assert noise.std() == pytest.approx(0.25, rel=0.01)
    assert ((noise / 0.25) ** 4).mean() == pytest.approx(3, rel=0.05)
    assert abs(np.corrcoef(noise[:, :14].ravel(), noise[:, 14:].ravel())[0, 1]) < 0.01
