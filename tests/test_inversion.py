"""Features that each image draws from the Gaussian of its class, and weights that move while the search goes on."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.covariance import ledoit_wolf

from mnist_cnn.data import dataset
from mnist_cnn.data.dataset import LabelledImages
from mnist_cnn.input_optimization import inversion
from mnist_cnn.input_optimization.ascent import ascend
from mnist_cnn.input_optimization.inversion import WantedFeatures
from mnist_cnn.judging import search
from mnist_cnn.models import networks
from mnist_cnn.settings import AscentSettings, SettingError
from mnist_cnn.settings.experiments import kinds

STARTS = np.random.default_rng(0).random((3, 28, 28, 1)).astype(np.float32)
TARGETS = np.eye(10, dtype=np.float32)[[2, 3, 8]]
SCHEDULE = {
    "l2_weight_first": 0.02, "l2_weight": 0.001, "l2_until": 0.5,
    "inversion_weight": 3.0, "inversion_from": 0.25, "inversion_until": 0.75,
}  # fmt: skip


@pytest.fixture(scope="module")
def smooth() -> keras.Model:
    return networks.build("smooth", seed=0, num_classes=10)


@pytest.fixture(scope="module")
def digits() -> LabelledImages:
    return dataset.load_train("mnist:2000")


def linear() -> keras.Model:
    """A network whose features are the pixels."""
    return keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])


def plain_loop(network: keras.Model, start, target, wanted: WantedFeatures, row: int, steps: int, rate: float):
    """The same search, eager and written out, of one image."""
    features = keras.Model(network.input, network.layers[-3].output)
    image, optimizer = tf.Variable(start[np.newaxis]), keras.optimizers.Adam(rate)
    for step in range(steps):
        done = step / steps
        l2_weight = 0.02 + (0.001 - 0.02) * min(done / 0.5, 1)
        weight = 3.0 * min(max((done - 0.25) / 0.5, 0), 1)
        with tf.GradientTape() as tape:
            loss = keras.losses.categorical_crossentropy(target[np.newaxis], network(image, training=False))[0]
            loss += l2_weight * tf.reduce_sum(tf.square(image))
            loss += weight * tf.reduce_mean(tf.square(features(image) - wanted.values[row])) / wanted.scale
        optimizer.apply([tape.gradient(loss, image)], [image])
        image.assign(tf.clip_by_value(image, 0.0, 1.0))
    return image.numpy()[0]


@pytest.mark.filterwarnings("ignore:no search has reached its target")  # an untrained network need not
def test_the_engine_follows_features_and_schedules_as_the_plain_loop_does(smooth) -> None:
    wanted = WantedFeatures(np.random.default_rng(1).normal(size=(3, 128)).astype(np.float32), 0.7)
    settings = AscentSettings(steps=20, snapshot_every=5, **SCHEDULE)
    result = ascend(smooth, STARTS, TARGETS, settings, features=wanted)
    for row in range(3):
        expected = plain_loop(smooth, STARTS[row], TARGETS[row], wanted, row, 20, 0.05)
        np.testing.assert_allclose(result.final[row], expected, atol=1e-3)
    # Losses are told with the weights of the end, so that those of all snapshots can be compared.
    features = keras.Model(smooth.input, smooth.layers[-3].output)(result.final).numpy()
    paid = 3.0 * ((features - wanted.values) ** 2).mean(axis=1) / 0.7 + 0.001 * (result.final**2).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(result.penalties[-1], paid, rtol=1e-3)
    assert set(result.best_steps) <= set(result.steps)
    rows = [1, 1, 1]  # the others do not matter
    copies = ascend(smooth, STARTS[rows], TARGETS[rows], settings, features=WantedFeatures(wanted.values[rows], 0.7))
    np.testing.assert_array_equal(copies.final[1], result.final[1])


@pytest.mark.filterwarnings("ignore:no search has reached its target")
def test_what_was_compiled_for_another_schedule_is_not_taken(smooth) -> None:
    falling = AscentSettings(steps=6, snapshot_every=6, l2_weight_first=0.01)
    images = [ascend(smooth, STARTS, TARGETS, falling.replace(schedule=each)).final for each in ("cosine", "constant")]
    assert np.abs(images[0] - images[1]).max() > 1e-3


@pytest.mark.filterwarnings("ignore:no search has reached its target")
def test_an_l2_weight_falls_in_a_line_without_features_too(smooth) -> None:
    falling = AscentSettings(steps=20, l2_weight_first=0.02, l2_weight=0.001, l2_until=0.5)
    images = [ascend(smooth, STARTS, TARGETS, each).final for each in (falling, falling.replace(l2_weight_first=0.0))]
    assert images[0].mean() < images[1].mean()


@pytest.mark.parametrize("values", [None, np.zeros((2, 128), np.float32), np.zeros((3, 64), np.float32)])
def test_features_of_another_shape_are_refused(smooth, values) -> None:
    features = None if values is None else WantedFeatures(values, 1.0)
    with pytest.raises(SettingError, match=r"`inversion_weight` needs `features` of the shape \(3, 128\)"):
        ascend(smooth, STARTS, TARGETS, AscentSettings(steps=2, inversion_weight=1.0), features=features)


def test_what_is_drawn_has_mean_and_covariance_of_its_class() -> None:
    random = np.random.default_rng(0)
    images = random.random((400, 8, 8, 1)).astype(np.float32)
    images[:, 1] = 0.5 * images[:, 0]
    labels = (np.arange(400) % 2).astype(np.int32)
    images[labels == 1] *= 0.3
    found = inversion.statistics(linear(), LabelledImages(images, labels, "", "", ""))
    pixels = images.reshape(400, 64).astype(np.float64)
    for number in (0, 1):
        own = pixels[labels == number]
        np.testing.assert_allclose(found.means[number][0], own.mean(axis=0), rtol=1e-5)
        factor = found.factors[number][0]
        np.testing.assert_allclose(factor @ factor.T, ledoit_wolf(own)[0], atol=1e-6)
    assert found.scale == pytest.approx(pixels.var(axis=0).mean(), rel=1e-5)
    targets, seeds = np.eye(2)[np.ones(4000, int)], np.arange(4000)
    drawn = found.draw(targets, seeds).values
    np.testing.assert_allclose(drawn.mean(axis=0), found.means[1][0], atol=0.02)
    np.testing.assert_allclose(np.cov(drawn.T), found.factors[1][0] @ found.factors[1][0].T, atol=0.002)
    np.testing.assert_array_equal(found.draw(targets[:2], seeds[[7, 3]]).values, drawn[[7, 3]])
    mixed, other = (found.draw(np.array([shares]), np.array([7])).values for shares in ([0.5, 0.5], [1.0, 0.0]))
    np.testing.assert_allclose(mixed, 0.5 * other + 0.5 * drawn[7], atol=1e-6)


def test_a_mixture_draws_from_each_of_its_parts_as_often_as_it_is_large() -> None:
    random = np.random.default_rng(0)
    images = random.normal(0.5, 0.01, (400, 8, 8, 1)).astype(np.float32)
    images[:300, :4] += 0.4  # two kinds of images of class 0, five of the one for each of the other
    labels = np.zeros(400, np.int32)
    labels[-40:] = 1
    data = LabelledImages(images, labels, "", "", "")
    two, one = (inversion.statistics(linear(), data, components) for components in (2, 1))
    drawn, blurred = (each.draw(np.eye(2)[np.zeros(2000, int)], np.arange(2000)).values for each in (two, one))
    tops = drawn[:, :32].mean(axis=1)
    assert ((np.abs(tops - 0.9) < 0.05) | (np.abs(tops - 0.5) < 0.05)).all()  # and nothing between
    assert (tops > 0.7).mean() == pytest.approx(300 / 360, abs=0.03)
    assert (np.abs(blurred[:, :32].mean(axis=1) - 0.7) < 0.1).mean() > 0.1
    # Of few images a class has fewer parts.
    assert [len(shares) for shares in inversion.statistics(linear(), data, 7).shares] == [7, 2]


def test_a_search_draws_features_from_the_seed_of_each_image(smooth, digits) -> None:
    settings = AscentSettings(steps=10, snapshot_every=10, **SCHEDULE)
    few, more = (
        search.search(
            smooth, kinds("2,3", "noise", "target", num_classes=10), digits, settings, num_images=count
        ).result.final
        for count in (1, 2)
    )
    assert np.abs(more[0] - more[1]).max() > 0.1
    np.testing.assert_allclose(few[0], more[0], atol=1e-4)
