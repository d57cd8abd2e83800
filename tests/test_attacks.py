"""Robust training's adversary: within the ball and the range, for every image its own, and it does harm."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_cnn.data import dataset
from mnist_cnn.data.dataset import LabelledImages
from mnist_cnn.models import networks
from mnist_cnn.settings import TrainSettings
from mnist_cnn.settings.errors import Notice
from mnist_cnn.training import attacks, loop

RNG = np.random.default_rng(0)


def linear_losses(direction):
    return lambda images: tf.reduce_sum(images * direction, axis=(1, 2, 3))


def attack(losses, images, radii, steps=10, seed=(0, 0)):
    run = tf.function(lambda x: attacks.raise_loss(losses, x, radii, steps, tf.constant(seed)), autograph=False)
    return run(tf.constant(images, tf.float32)).numpy()


def labelled(images, labels):
    return LabelledImages(images, np.asarray(labels, np.int32), digest="", source="", name="")


def distances(a, b):
    return np.sqrt(((a - b) ** 2).sum(axis=(1, 2, 3)))


def test_what_is_changed_stays_in_its_ball_and_in_the_range() -> None:
    images = RNG.random((32, 28, 28, 1)).astype(np.float32)
    radii = np.linspace(0, 4, 32).astype(np.float32)
    network = networks.with_logits(networks.build("smooth", seed=0, num_classes=10))
    labels = tf.constant(np.arange(32) % 10)
    changed = attack(
        lambda x: tf.nn.sparse_softmax_cross_entropy_with_logits(labels, network(x)), images, radii, steps=4
    )
    assert changed.min() >= 0 and changed.max() <= 1
    assert (distances(changed, images) <= radii * (1 + 1e-5) + 1e-6).all()
    assert (distances(changed, images)[1:] > 0.5 * radii[1:]).all()


def test_of_a_linear_loss_it_finds_the_worst_point_of_the_ball() -> None:
    direction = RNG.standard_normal((28, 28, 1)).astype(np.float32)
    images = np.full((4, 28, 28, 1), 0.5, np.float32)
    ways = attack(linear_losses(direction), images, 1.5, steps=20) - images
    cosines = (ways * direction).sum(axis=(1, 2, 3)) / np.linalg.norm(direction) / 1.5
    # From a right angle, each step of an eighth of the radius leaves 1 / 1.125 of the angle's tangent: a tenth in all.
    assert (cosines > np.cos(np.arctan(0.2))).all()


def test_it_raises_the_loss_as_plain_numpy_ascent_does() -> None:
    """One step from a known start, written out in numpy for a quadratic loss."""
    centre = RNG.random((28, 28, 1)).astype(np.float32)
    images = RNG.random((3, 28, 28, 1)).astype(np.float32)

    def losses(x):
        return tf.reduce_sum(tf.square(x - centre), axis=(1, 2, 3))

    radius, steps = 2.0, 3
    seed = tf.constant((5, 6))
    start = np.clip(images + radius * attacks._in_unit_ball(tf.constant(images), seed).numpy(), 0, 1)
    for _ in range(steps):
        gradient = 2 * (start - centre)
        offset = (
            start + 2.5 / steps * radius * gradient / distances(gradient, 0 * gradient)[:, None, None, None] - images
        )
        length = distances(offset, 0 * offset)[:, None, None, None]
        start = np.clip(images + offset * np.minimum(1, radius / length), 0, 1)
    changed = attack(losses, images, radius, steps, (5, 6))
    assert np.abs(changed - start).max() < 1e-5
    assert (losses(changed).numpy() > losses(images).numpy()).all()


def test_each_image_has_a_draw_of_its_own_and_a_seed_repeats_it() -> None:
    images = np.full((6, 28, 28, 1), 0.5, np.float32)
    flat = linear_losses(np.zeros((28, 28, 1), np.float32))
    first, again, other = (attack(flat, images, 1.0, 1, seed) for seed in ((1, 2), (1, 2), (1, 3)))
    assert np.array_equal(first, again)
    for i in range(6):
        assert distances(first, other)[i] > 0
        assert i == 0 or distances(first[:1], first[i : i + 1])[0] > 0


def test_images_are_led_to_a_target_part_by_part(monkeypatch) -> None:
    monkeypatch.setattr(attacks, "ATTACKED", 3)
    network = networks.build("compact", seed=0, num_classes=10)
    images, targets = np.full((8, 28, 28, 1), 0.5, np.float32), np.eye(10, dtype=np.float32)[np.arange(8)]
    led = attacks.aim(network, images, targets, radius=1.0, steps=4)
    before, after = ((network(each).numpy() * targets).sum(axis=1) for each in (images, led))
    assert (after > before).all() and (distances(led, images) <= 1 + 1e-5).all()


def test_no_digits_are_noise_and_shuffled_digits() -> None:
    images = (RNG.random((10, 28, 28, 1)) < 0.2).astype(np.float32)
    made = tf.function(lambda x: attacks.off_manifold(x, tf.constant((0, 1))))(tf.constant(images)).numpy()
    assert made.shape == images.shape
    assert 0.45 < made[:5].mean() < 0.55 and made.min() >= 0 and made.max() < 1 + 1e-6
    for shuffled, digit in zip(made[5:], images[5:], strict=True):
        assert np.array_equal(np.sort(shuffled.ravel()), np.sort(digit.ravel()))
        assert not np.array_equal(shuffled, digit)
    assert not np.array_equal(np.argsort(made[5].ravel()), np.argsort(made[6].ravel()))


@pytest.fixture(scope="module")
def threshold_network() -> keras.Model:
    """Says 1 where the mean grey level is above a half, and 0 below."""
    network = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])
    network.layers[-1].set_weights([np.stack([np.full(16, -1.0), np.full(16, 1.0)], axis=1), np.array([8.0, -8.0])])
    return network


def test_robust_hits_are_those_that_no_change_within_the_radius_can_turn(threshold_network) -> None:
    # With 16 pixels a change of L2 norm r moves the mean by r / 4 at most.
    means = np.array([0.45, 0.35, 0.2, 0.55, 0.7, 0.9])
    images = np.tile(means[:, None, None, None], (1, 4, 4, 1)).astype(np.float32)
    data = labelled(images, means > 0.5)
    found = [attacks.robust_hits(threshold_network, data, radius, steps=20).tolist() for radius in (1e-3, 0.4, 1.0)]
    assert found == [
        [True] * 6,
        [False, True, True, False, True, True],
        [False, False, True, False, False, True],
    ]


def test_an_image_that_is_wrong_from_the_start_is_no_hit(threshold_network) -> None:
    images = np.full((2, 4, 4, 1), 0.9, np.float32)
    data = labelled(images, [0, 1])
    assert attacks.robust_hits(threshold_network, data, 0.01).tolist() == [False, True]


@pytest.fixture(scope="module")
def learned() -> tuple[keras.Model, LabelledImages]:
    """An ordinary network that has learned its digits, and test images."""
    network = networks.build("smooth", 0, num_classes=10)
    settings = TrainSettings(network="smooth", learning_rate=0.002)
    loop.train(network, dataset.split(dataset.load_train("mnist:3000")), settings)
    return network, dataset.first_of(dataset.load_test(), 60)


@pytest.mark.slow
def test_robust_accuracy_does_not_rise_with_the_scale_of_the_logits(learned) -> None:
    network, data = learned
    last, found = network.get_layer(networks.LOGITS), []
    weights = last.get_weights()
    for factor in (1, 1000):
        last.set_weights([factor * weight for weight in weights])
        found.append(attacks.robust_hits(network, data, 1.0, steps=10, restarts=2).mean())
    last.set_weights(weights)
    assert found[0] < 0.8 and max(found) - min(found) <= 2 / len(data)


def test_the_attack_finds_more_than_one_with_steps_of_one_length(learned) -> None:
    network, data = learned
    logits, labels = networks.with_logits(network), tf.constant(data.labels)
    plain = attack(
        lambda x: tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits(x)), data.images, 1.0, steps=10
    )
    resisted = (logits(plain).numpy().argmax(axis=1) == data.labels).mean()
    assert attacks.robust_hits(network, data, 1.0, steps=10, restarts=1).mean() <= resisted


def test_an_attack_without_a_gradient_says_so() -> None:
    deaf = keras.Sequential(
        [keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.ReLU(max_value=0.01), keras.layers.Dense(2)]
    )
    images = np.full((3, 4, 4, 1), 0.5, np.float32)
    data = labelled(images, deaf(images).numpy().argmax(axis=1))
    with pytest.warns(Notice, match="3 of 3 images give the attack no gradient"):
        assert attacks.robust_hits(deaf, data, 0.1).all()
