"""The field's measures of variety against independent implementations of them."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import prdc
import pytest
import scipy.linalg
import scipy.ndimage
import scipy.stats

from mnist_cnn.data import dataset
from mnist_cnn.judging import feature_spaces, variety

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def digits() -> dataset.Split:
    return dataset.split(dataset.load_train("mnist:6000"), 0.3)


@pytest.mark.parametrize(("shift", "spread"), [(0.0, 1.0), (0.5, 0.5), (9.0, 1.0)])
def test_precision_recall_density_and_coverage_are_those_of_their_authors(shift: float, spread: float) -> None:
    real, images = RNG.normal(size=(300, 6)), shift + spread * RNG.normal(size=(200, 6))
    with contextlib.redirect_stdout(io.StringIO()):
        expected = prdc.compute_prdc(real, images, nearest_k=5)
    found = variety.coverage(real, images)
    for name, value in expected.items():
        assert getattr(found, name) == pytest.approx(value), name


def test_a_vendi_score_counts_what_differs() -> None:
    assert variety.vendi(np.eye(7)) == pytest.approx(7)
    assert variety.vendi(np.repeat(np.eye(7)[:2], 50, axis=0)) == pytest.approx(2)
    for shape in ((40, 8), (8, 40)):
        vectors = RNG.normal(size=shape)
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        values = np.linalg.svd(unit, compute_uv=False) ** 2 / len(unit)
        assert variety.vendi(vectors) == pytest.approx(np.exp(scipy.stats.entropy(values)))


def test_a_vendi_ratio_compares_with_as_many_real_ones() -> None:
    real, classes = np.eye(6)[[0, 1, 2, 3, 4, 5]], np.array([0, 0, 0, 0, 1, 1])
    images = np.eye(6)[[0, 0, 5, 4]]
    assert variety.vendi_ratio(real, classes, images, np.array([0, 0, 1, 1])) == pytest.approx({0: 0.5, 1: 1.0})


def test_a_frechet_distance_is_that_of_two_gaussians() -> None:
    a, b = RNG.normal(size=(500, 5)), 1 + RNG.normal(size=(400, 5)) @ RNG.normal(size=(5, 5))
    first, second = np.cov(a.T), np.cov(b.T)
    root = scipy.linalg.sqrtm(first @ second).real
    expected = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum() + np.trace(first + second - 2 * root)
    assert variety.frechet_distance(a, b) == pytest.approx(expected)
    assert variety.frechet_distance(a, a) == pytest.approx(0, abs=1e-6)


def test_a_slanted_bar_is_set_upright_in_the_middle_and_nothing_else_is_changed() -> None:
    upright = np.zeros((28, 28))
    upright[6:22, 12:16] = 1
    upright = scipy.ndimage.gaussian_filter(upright, 1)
    shear = np.array([[1.0, 0.0], [0.3, 1.0]])
    slanted = scipy.ndimage.affine_transform(upright, shear, np.array([1, 1]) - (shear - np.eye(2)) @ [13.5, 13.5])
    found = variety.deskewed(np.stack([upright, slanted, np.zeros((28, 28))])[..., np.newaxis])[..., 0]
    assert np.abs(slanted - upright).max() > 0.5
    np.testing.assert_allclose(found[0], upright, atol=1e-6)
    np.testing.assert_allclose(found[1], upright, atol=0.15)
    assert not found[2].any()


def test_poses_of_one_digit_have_no_variety_of_shape(digits) -> None:
    data = digits.train
    one = data.images[data.labels == 3][0, ..., 0]
    shears = [np.array([[1.0, 0.0], [slant, 1.0]]) for slant in np.linspace(-0.3, 0.3, 20)]
    posed = [scipy.ndimage.affine_transform(one, each, [13.5, 13.5] - each @ [13.5, 13.5], order=1) for each in shears]
    classes = np.full(20, 3)
    share = variety.deskewed_diversity(np.stack(posed)[..., np.newaxis], classes, data.images, data.labels)
    others = digits.validation.images[digits.validation.labels == 3][:20]
    real = variety.deskewed_diversity(others, classes, data.images, data.labels)
    assert share < 0.3 and 0.85 < real < 1.15


def test_copies_are_memorised_and_new_digits_are_not(digits) -> None:
    known, other = digits.train, digits.validation
    held_out, new = (other.images[i::2] for i in range(2)), (other.labels[i::2] for i in range(2))
    (held_images, new_images), (held_labels, new_labels) = held_out, new
    common = (known.images, known.labels, held_images, held_labels)
    assert variety.memorised_share(known.images[:50], known.labels[:50], *common) == 1
    assert variety.memorised_share(new_images, new_labels, *common) < 0.03
    assert variety.memorised_share(1 - new_images, new_labels, *common) == 0


@pytest.mark.slow
def test_the_learned_space_knows_digits_that_it_never_saw(digits) -> None:
    spaces = feature_spaces.FeatureSpaces()
    real, other = (spaces.of(each.images[:1000]) for each in (digits.train, digits.validation))
    for name in feature_spaces.NAMES:
        assert real[name].shape == (1000, 128)
        assert variety.coverage(real[name], other[name]).recall > 0.7
    nearest = variety.pairwise_distances(other["learned"], real["learned"]).argmin(axis=1)
    assert (digits.train.labels[nearest] == digits.validation.labels[:1000]).mean() > 0.7
