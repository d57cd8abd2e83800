"""Networks as people bring them: changed in place, of another range, head or form of input; told the truth about."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from mnist_cnn.data.dataset import LabelledImages
from mnist_cnn.input_optimization import ascent
from mnist_cnn.input_optimization.ascent import ascend
from mnist_cnn.models.forward import taking_images
from mnist_cnn.models.logits import Logits, refuse_misfit
from mnist_cnn.settings import AscentSettings
from mnist_cnn.settings.errors import Notice, SettingError
from mnist_cnn.training import attacks, evaluation

STARTS = np.random.default_rng(0).random((4, 28, 28, 1))
TARGETS = np.eye(10)[[3, 7, 1, 8]]
SHORT, LONG = AscentSettings(steps=3, snapshot_every=3), AscentSettings(steps=60, snapshot_every=60)


def dense(activation=None, shape=(28, 28, 1), first=(), **how) -> keras.Sequential:
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [layers.Input(shape), *first, layers.Flatten("channels_last"), layers.Dense(10, activation=activation, **how)]
    )


def assert_own_probabilities(network: keras.Model, result, images=None) -> None:
    own = np.asarray(network(result.final if images is None else images, training=False))
    np.testing.assert_allclose(result.probabilities[-1], own, atol=1e-5)


class OfOnesOwn(keras.Model):
    """A network that a person has written; `inner` and `power` may be changed at any time."""

    def __init__(self, inner: keras.Model) -> None:
        super().__init__()
        self.inner, self.power = inner, 1.0

    def call(self, images):
        return self.inner(images) * self.power


def pop_and_add(network):
    network.pop()
    network.add(layers.Dense(10, activation="softmax"))


def another_activation(network):
    network.layers[-1].activation = keras.activations.softmax


def another_inner_network(network):
    pop_and_add(network.inner)


READ = {"kernel": tf.Variable(tf.ones((784, 10)))}


def another_variable(network):
    READ["kernel"] = tf.Variable(tf.random.stateless_normal((784, 10), (0, 0)))


def reading_a_variable():
    product = layers.Lambda(lambda pixels: pixels @ READ["kernel"])
    return keras.Sequential([layers.Input((28, 28, 1)), layers.Flatten("channels_last"), product])


def another_number(network):
    network.power = -2.0


def within_a_nested_network(network):
    network.layers[0].layers[-1].activation = keras.activations.softmax


@pytest.mark.parametrize(
    ("make", "change"),
    [
        (lambda: dense("softmax"), pop_and_add),
        (lambda: dense(), another_activation),
        (lambda: OfOnesOwn(dense("softmax")), another_inner_network),
        (lambda: OfOnesOwn(dense()), another_number),
        (reading_a_variable, another_variable),
        (lambda: keras.Sequential([layers.Input((28, 28, 1)), dense()]), within_a_nested_network),
    ],
)
def test_a_network_that_was_changed_in_place_is_searched_and_evaluated_as_it_is_now(make, change) -> None:
    network, images = make(), STARTS.astype(np.float32)
    ascend(network, STARTS, TARGETS, SHORT)
    before = evaluation.predict(network, images)
    change(network)
    result = ascend(network, STARTS, TARGETS, SHORT)
    now = np.asarray(network(result.final, training=False))
    expected = now if np.allclose(now.sum(axis=1), 1, atol=1e-4) else tf.nn.softmax(now).numpy()
    np.testing.assert_allclose(result.probabilities[-1], expected, atol=1e-5)
    np.testing.assert_allclose(evaluation.predict(network, images), network(images), atol=1e-5)
    assert not np.allclose(before, network(images))


def test_what_was_compiled_is_kept_while_a_network_stays_the_same_and_dropped_when_it_does_not(monkeypatch) -> None:
    made = []
    loop = ascent._Loop

    def counting(*arguments):
        made.append(1)
        return loop(*arguments)

    monkeypatch.setattr(ascent, "_Loop", counting)
    # SiLU brings a gradient of its own along, which each trace names anew.
    network = dense("softmax", first=[layers.Conv2D(2, 5, strides=4, activation="silu", data_format="channels_last")])
    for _ in range(3):
        ascend(network, STARTS, TARGETS, SHORT)
    assert len(made) == 1
    network.layers[0].activation = keras.activations.relu
    ascend(network, STARTS, TARGETS, SHORT)
    assert len(made) == 2


def test_a_network_for_0_to_255_is_searched_in_its_own_range() -> None:
    scaled, plain = dense("softmax", first=[layers.Rescaling(1 / 255)]), dense("softmax")
    expected = ascend(plain, STARTS, TARGETS, LONG)
    found = ascend(scaled, 255 * STARTS, TARGETS, LONG, value_range=(0, 255))
    np.testing.assert_allclose(found.final, 255 * expected.final, atol=0.05)
    np.testing.assert_allclose(found.best_images, 255 * expected.best_images, atol=0.05)
    assert found.target_probabilities[-1].min() > 0.9 and found.final.max() <= 255
    assert_own_probabilities(scaled, found)
    for low, high in ((-1, 1), (-123.5, 131.5)):
        other = dense("softmax", first=[layers.Rescaling(1 / (high - low), offset=-low / (high - low))])
        found = ascend(other, low + (high - low) * STARTS, TARGETS, LONG, value_range=(low, high))
        np.testing.assert_allclose((found.final - low) / (high - low), expected.final, atol=1e-3)


@pytest.mark.parametrize("value_range", [(0, 0), (1, 0), (0, np.inf), (0,), ("0", "1"), (0, np.nan)])
def test_a_range_that_is_none_is_refused(value_range) -> None:
    with pytest.raises(SettingError, match="`value_range` must be two numbers"):
        ascend(dense(), STARTS, TARGETS, SHORT, value_range=value_range)


def test_starts_outside_of_the_range_are_refused_with_the_way_out() -> None:
    with pytest.raises(SettingError, match="from 0 to 1; they are from .* to 25.*`value_range`"):
        ascend(dense(), 255 * STARTS, TARGETS, SHORT)


def test_a_search_that_comes_to_nothing_says_so_and_why() -> None:
    with pytest.warns(Notice, match="no search has reached its target. .*other grey levels.*`value_range`"):
        ascend(dense("softmax", first=[layers.Rescaling(1 / 255)]), STARTS, TARGETS, LONG)
    sure = dense(kernel_initializer="zeros", bias_initializer=lambda shape, dtype: tf.constant([200.0] + 9 * [0.0]))
    veiled = keras.Sequential([layers.Input((28, 28, 1)), sure, layers.Softmax(), layers.Lambda(lambda p: p + 0.0)])
    with pytest.warns(Notice, match="softmax is saturated and has no gradient"):
        ascend(veiled, STARTS, TARGETS, LONG)


def test_a_search_that_succeeds_or_is_short_says_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ascend(dense("softmax"), STARTS, TARGETS, LONG)
        ascend(dense("softmax", kernel_initializer="zeros"), STARTS, TARGETS, SHORT)


@pytest.mark.parametrize("veiled", [False, True])
def test_sigmoids_are_reported_as_the_network_has_them(veiled: bool) -> None:
    network = dense("sigmoid")
    if veiled:
        network = keras.Sequential([layers.Input((28, 28, 1)), dense(), layers.Lambda(lambda z: 1 / (1 + tf.exp(-z)))])
    with pytest.warns(Notice, match="ends in sigmoids"):
        result = ascend(network, STARTS, TARGETS, LONG)
    assert_own_probabilities(network, result)
    assert result.target_probabilities[-1].min() > 0.9
    with pytest.warns(Notice, match="ends in sigmoids"):
        mix = ascend(network, STARTS, (np.eye(10)[2] + np.eye(10)[3]) / 2, AscentSettings(steps=200))
    np.testing.assert_allclose(mix.probabilities[-1][:, [2, 3]], 0.5, atol=0.1)


def test_logits_that_are_small_on_noise_are_logits() -> None:
    """As those of a network that doubts noise: all are between 0 and 1 there."""
    small = keras.initializers.RandomUniform(-1e-3, 1e-3, seed=0)
    network = dense(kernel_initializer=small, bias_initializer=keras.initializers.Constant(0.5))
    noise = np.random.default_rng(0).random((8, 28, 28, 1), np.float32)
    assert 0 < float(np.min(network(noise))) < float(np.max(network(noise))) < 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        logits = Logits(network, (28, 28, 1))
    assert not logits.is_sigmoid
    given = tf.function(logits)(tf.constant(noise))
    np.testing.assert_allclose(given, network(noise), atol=1e-6)


def test_probabilities_that_are_cut_are_reported_as_the_network_has_them() -> None:
    """On noise their sum is 1, since nothing is cut there."""
    first = [dense(), layers.Softmax(), layers.Lambda(lambda p: tf.clip_by_value(p, 0.01, 0.99))]
    network = keras.Sequential([layers.Input((28, 28, 1)), *first])
    with pytest.warns(Notice, match="ends in sigmoids"):
        result = ascend(network, STARTS, TARGETS, LONG)
    assert_own_probabilities(network, result)


def test_shares_of_a_hundred_are_refused() -> None:
    network = keras.Sequential([layers.Input((28, 28, 1)), dense("softmax"), layers.Rescaling(100)])
    with pytest.raises(SettingError, match="gives shares of 100 in place of 1; end it in softmax"):
        ascend(network, STARTS, TARGETS, SHORT)


class AlwaysDropped(layers.Dropout):
    """As somebody writes it who wants an ensemble."""

    def call(self, inputs: object) -> object:
        return super().call(inputs, training=True)


@pytest.mark.parametrize("last", [layers.Softmax(axis=0), AlwaysDropped(0.5)])
def test_outputs_that_depend_on_chance_or_on_the_batch_are_noticed(last: layers.Layer) -> None:
    network = keras.Sequential([layers.Input((28, 28, 1)), dense(), last])
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        ascend(network, STARTS, TARGETS, SHORT)
    assert any("gives another output for the same image" in str(each.message) for each in found)


def test_networks_that_do_not_give_one_array_or_remember_are_refused() -> None:
    images = layers.Input((28, 28, 1))
    features = layers.Flatten("channels_last")(images)
    named = keras.Model(images, {"digit": layers.Dense(10)(features), "other": layers.Dense(2)(features)})
    with pytest.raises(SettingError, match="must give one array, a number for each class"):
        evaluation.predict(named, STARTS)
    fixed = keras.Sequential(
        [layers.Input(batch_shape=(6, 28, 28, 1)), layers.Flatten("channels_last"), layers.Dense(10)]
    )
    remembering = keras.Sequential(
        [layers.Input(batch_shape=(6, 28, 28)), layers.GRU(4, stateful=True), layers.Dense(10)]
    )
    for network in (fixed, remembering):
        with pytest.raises(SettingError, match="takes batches of one size, or remembers what it saw"):
            ascend(network, STARTS, TARGETS, SHORT)


def test_a_network_of_two_inputs_is_refused_with_keras_reason() -> None:
    first, second = layers.Input((28, 28, 1)), layers.Input((28, 28, 1))
    both = layers.Dense(10)(layers.Flatten("channels_last")(first + second))
    for search in (
        lambda network: ascend(network, STARTS, TARGETS, SHORT),
        lambda network: evaluation.predict(network, STARTS),
    ):
        with pytest.raises(SettingError, match="expects 2 "):
            search(keras.Model([first, second], both))


def test_sigmoids_are_no_probabilities_for_an_evaluation() -> None:
    with pytest.raises(SettingError, match="`model`: it gives no probabilities .* end it in softmax"):
        refuse_misfit(dense("sigmoid"), (28, 28, 1), 10)


@pytest.mark.parametrize("form", [(28, 28), (784,), (784, 1)])
def test_a_network_without_an_axis_of_channels_is_searched_evaluated_and_attacked(form: tuple[int, ...]) -> None:
    network, plain = dense("softmax", form), dense("softmax")
    expected = ascend(plain, STARTS, TARGETS, LONG)
    for starts in (STARTS, STARTS.reshape(4, *form)) if len(form) < 3 and form[-1] > 1 else (STARTS,):
        with pytest.warns(Notice, match="are reshaped for it"):
            result = ascend(network, starts, TARGETS, LONG)
        assert result.final.shape == (4, *form)
        np.testing.assert_allclose(result.final.reshape(4, 28, 28, 1), expected.final, atol=1e-4)
        assert_own_probabilities(network, result)
    images = STARTS.astype(np.float32)
    with pytest.warns(Notice, match="are reshaped for it"):
        np.testing.assert_allclose(evaluation.predict(network, images), plain(images), atol=1e-5)
    with pytest.warns(Notice, match="are reshaped for it"):
        wrapped = taking_images(network, (28, 28, 1))
    refuse_misfit(wrapped, (28, 28, 1), 10)
    np.testing.assert_allclose(wrapped(images), plain(images), atol=1e-5)
    data = LabelledImages(images, plain(images).numpy().argmax(axis=1).astype(np.int32), "", "", "")
    hits = [attacks.robust_hits(each, data, 0.1, steps=3, restarts=1).tolist() for each in (network, wrapped, plain)]
    assert hits[0] == hits[1] == hits[2]


def test_a_network_that_reads_channels_first_is_refused_with_a_way_out_that_works() -> None:
    first = keras.Sequential(
        [layers.Input((1, 28, 28)), layers.ZeroPadding2D(data_format="channels_first"),
         layers.Flatten("channels_first"), layers.Dense(10, activation="softmax")]
    )  # fmt: skip
    for refused in (
        lambda: ascend(first, STARTS.reshape(4, 1, 28, 28), TARGETS, SHORT),
        lambda: evaluation.predict(first, STARTS.reshape(4, 1, 28, 28).astype(np.float32)),
        lambda: refuse_misfit(first, (28, 28, 1), 10),
        lambda: ascend(keras.Sequential([layers.Input((1, 28, 28)), first]), STARTS.reshape(4, 1, 28, 28), TARGETS),
    ):
        with pytest.raises(SettingError, match="reads channels first .*Permute"):
            refused()
    permuted = keras.Sequential([layers.Input((28, 28, 1)), layers.Permute((3, 1, 2)), first])
    assert_own_probabilities(permuted, ascend(permuted, STARTS, TARGETS, SHORT))


def test_numbers_in_a_row_that_are_no_square_are_no_image() -> None:
    network = keras.Sequential([layers.Input((10,)), layers.Dense(10, activation="softmax")])
    with pytest.raises(SettingError, match=r"`starts` must have the shape \(n, height, width, channels\)"):
        ascend(network, np.full((2, 10), 0.5), TARGETS[:2], SHORT)
