"""The engine against the plain loop, against itself in other company, and against what cannot work."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from types import SimpleNamespace

import keras
import numpy as np
import psutil
import pytest
import tensorflow as tf
from conftest import PROJECT

from benchmarks import plain_loop
from mnist_cnn.data import dataset
from mnist_cnn.input_optimization import ascent
from mnist_cnn.input_optimization.ascent import AscentDiverged, ascend
from mnist_cnn.models import networks, transforms
from mnist_cnn.settings import AscentSettings, TrainSettings
from mnist_cnn.settings.errors import SettingError
from mnist_cnn.training import loop

REPORT = {"learning_rate": 0.05, "l2_weight": 1e-4}


def noise(count: int, shape: tuple[int, ...] = (28, 28, 1), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, *shape), np.float32)


def one_hot(*numbers: int) -> np.ndarray:
    return np.eye(10, dtype=np.float32)[list(numbers)]


@pytest.fixture(scope="module")
def compact() -> keras.Model:
    """A compact network that has learned its digits: of one that has not, the plain loop's own images are unstable."""
    data = dataset.split(dataset.load_train(), 0.9)
    network = networks.build("compact", 0, num_classes=10)
    loop.train(network, data, TrainSettings())
    return network


@pytest.fixture(scope="module")
def colour() -> keras.Model:
    """A network of another form: 32 x 32 x 3, seven classes, softmax within its last layer."""
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            keras.layers.Conv2D(8, 3, strides=2, activation="gelu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(7, activation="softmax"),
        ]
    )


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(one_hot(2)[0], id="hard", marks=pytest.mark.slow),
        pytest.param(0.5 * (one_hot(2) + one_hot(3))[0], id="soft"),
    ],
)
def test_the_engine_gives_the_plain_loops_images(compact, target) -> None:
    starts = noise(2)
    result = ascend(compact, starts, target, AscentSettings(steps=60, snapshot_every=30, **REPORT))
    for i in range(len(starts)):
        expected = plain_loop.optimise(compact, starts[i], target, steps=60, **REPORT)
        np.testing.assert_allclose(result.final[i], expected, atol=1e-3)
    assert np.abs(result.final - starts).max() > 0.3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:no search has reached its target")  # an untrained network of 100 steps need not
@pytest.mark.thorough
def test_the_engine_gives_the_plain_loops_images_on_the_reports_network() -> None:
    network = networks.build("report", 0, num_classes=10)
    starts, target = noise(3), one_hot(2)[0]
    one_by_one = AscentSettings(steps=100, snapshot_every=100, memory_gib=1e-3, **REPORT)
    result = ascend(network, starts, target, one_by_one)
    expected = plain_loop.optimise(network, starts[2], target, steps=100, **REPORT)
    np.testing.assert_allclose(result.final[2], expected, atol=1e-3)


def test_the_package_itself_offers_the_engine() -> None:
    from mnist_cnn import input_optimization

    assert input_optimization.ascend is ascend and input_optimization.AscentSettings is AscentSettings
    assert set(input_optimization.__all__) == {"ascend", "AscentResult", "AscentDiverged", "AscentSettings"}
    with pytest.raises(AttributeError, match="descend"):
        _ = input_optimization.descend


def test_per_image_numbers_may_be_a_list_of_numpys_own() -> None:
    settings = AscentSettings(l2_weight=list(np.geomspace(1e-4, 1e-2, 3)), seed=[np.int64(3), 4])
    assert len(settings.l2_weight) == 3 and list(settings.seed) == [3, 4]


@pytest.mark.slow
def test_another_networks_images_equal_the_plain_loops(colour) -> None:
    starts, target = noise(2, (32, 32, 3)), np.eye(7, dtype=np.float32)[4]
    result = ascend(colour, starts, target, AscentSettings(steps=100, **REPORT))
    expected = plain_loop.optimise(colour, starts[1], target, steps=100, **REPORT)
    np.testing.assert_allclose(result.final[1], expected, atol=1e-3)
    assert result.probabilities.shape == (5, 2, 7)


MIXED = {
    "learning_rate": np.linspace(0.01, 0.1, 256),
    "l2_weight": np.geomspace(1e-5, 1e-2, 256),
    "tv_weight": np.linspace(0, 1e-2, 256),
    "seed": np.arange(256),
}


@pytest.mark.parametrize(
    ("count", "others", "common"),
    [
        pytest.param(256, (255,), {"steps": 500, "snapshot_every": 500}, id="500 steps", marks=pytest.mark.slow),
        pytest.param(
            70,
            (7, 69),
            {"steps": 60, "shift": 1.0, "degrees": 5.0, "scale": 0.1, "noise": 0.1},
            id="with transforms",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            70, (7, 69), {"steps": 60, "pose": 1.0, "feature_weight": 0.3, "temperature": 4.0}, id="with a direction"
        ),
    ],
)
def test_an_image_does_not_depend_on_its_batch(compact, count: int, others: tuple[int, ...], common: dict) -> None:
    starts, targets = noise(count), one_hot(*(np.arange(count) % 10))
    per_image = {name: values[:count] for name, values in MIXED.items()}
    together = ascend(compact, starts, targets, AscentSettings(**common, **per_image))
    for i in others:
        own = {name: values[i] for name, values in per_image.items()}
        alone = ascend(compact, starts[i : i + 1], targets[i], AscentSettings(**common, **own))
        np.testing.assert_allclose(alone.final[0], together.final[i], atol=1e-4)
        np.testing.assert_allclose(alone.best_images[0], together.best_images[i], atol=1e-4)


def test_the_same_seed_gives_the_same_image_and_chunks_do_not_matter(compact, monkeypatch) -> None:
    settings = AscentSettings(steps=30, noise=0.2, tv_weight=1e-3, smoothness_weight=1e-3, border_weight=1e-3, seed=5)
    first = ascend(compact, noise(9), one_hot(3)[0], settings)
    again = ascend(compact, noise(9), one_hot(3)[0], settings)
    np.testing.assert_array_equal(first.final, again.final)
    monkeypatch.setattr(ascent, "LARGEST_BATCH", 4)
    np.testing.assert_allclose(ascend(compact, noise(9), one_hot(3)[0], settings).final, first.final, atol=1e-4)


def test_a_seed_of_its_own_gives_each_image_its_own_noise(compact) -> None:
    starts = np.repeat(noise(1), 2, axis=0)
    settings = {"steps": 5, "noise": 0.3}
    shared = ascend(compact, starts, one_hot(3)[0], AscentSettings(**settings, seed=[4, 4])).final
    own = ascend(compact, starts, one_hot(3)[0], AscentSettings(**settings, seed=[4, 5])).final
    np.testing.assert_allclose(shared[0], shared[1], atol=1e-5)
    np.testing.assert_allclose(shared[0], own[0], atol=1e-5)
    assert np.abs(own[0] - own[1]).max() > 0.01


@pytest.mark.parametrize("objective", ["cross_entropy", "logit", "margin"])
def test_descent_reaches_the_target_and_stays_within_grey_levels(compact, objective) -> None:
    result = ascend(compact, noise(10), np.eye(10), AscentSettings(steps=100, objective=objective))
    assert result.target_probabilities[-1].min() > 0.9
    assert (result.losses[-1] < result.losses[0]).all()
    assert result.snapshots.min() >= 0 and result.snapshots.max() <= 1
    assert list(result.steps) == [0, 25, 50, 75, 100]


def test_the_numbers_of_a_snapshot_are_those_of_its_image(compact) -> None:
    target = 0.3 * one_hot(1)[0] + 0.7 * one_hot(7)[0]
    settings = AscentSettings(steps=20, snapshot_every=8, l2_weight=1e-2, tv_weight=1e-3)
    result = ascend(compact, noise(2), target, settings)
    assert list(result.steps) == [0, 8, 16, 20]
    for index, images in enumerate(result.snapshots):
        probabilities = compact.predict(images, verbose=0).astype(np.float64)
        np.testing.assert_allclose(result.probabilities[index], probabilities, atol=1e-5)
        cross_entropies = -(target * np.log(probabilities)).sum(axis=1)
        np.testing.assert_allclose(result.cross_entropies[index], cross_entropies, rtol=1e-3)
        squares = (images.astype(np.float64) ** 2).sum(axis=(1, 2, 3))
        variation = tf.image.total_variation(tf.constant(images)).numpy()
        np.testing.assert_allclose(result.penalties[index], 1e-2 * squares + 1e-3 * variation, rtol=1e-4)
        divergences = cross_entropies + (0.3 * np.log(0.3) + 0.7 * np.log(0.7))
        np.testing.assert_allclose(result.kl_divergences[index], divergences, atol=1e-3)
    np.testing.assert_allclose(
        result.target_probabilities, result.probabilities[..., 1] + result.probabilities[..., 7], rtol=1e-6
    )


def test_the_best_is_the_image_of_least_loss_on_the_way(compact) -> None:
    # A digit of the target's class is all but the best already, and steps of 0.9 turn all of its pixels over.
    data = dataset.split(dataset.load_train()).validation
    settings = AscentSettings(steps=3, snapshot_every=1, learning_rate=0.9, l2_weight=0.0)
    result = ascend(compact, data.images[:20], np.eye(10)[data.labels[:20]], settings)
    np.testing.assert_array_equal(result.best_steps, result.steps[result.losses.argmin(axis=0)])
    np.testing.assert_allclose(result.best_losses, result.losses.min(axis=0), rtol=1e-4)
    assert (result.best_losses < result.losses[-1]).any()
    for i, step in enumerate(result.best_steps):
        np.testing.assert_array_equal(result.best_images[i], result.snapshots[step, i])


def linear(initializer: str) -> keras.Model:
    return keras.Sequential(
        [keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(10, kernel_initializer=initializer)]
    )


@pytest.mark.filterwarnings("ignore:no search has reached its target")  # eight small steps need not
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_step_is_as_long_as_the_schedule_says(schedule: str) -> None:
    # A linear network's logit has the same gradient everywhere, so that each step of Adam is as long as its rate.
    settings = AscentSettings(
        steps=8, snapshot_every=1, schedule=schedule, learning_rate=0.02, objective="logit", l2_weight=0.0
    )
    snapshots = ascend(linear("glorot_uniform"), np.full((1, 28, 28, 1), 0.5), one_hot(3)[0], settings).snapshots
    lengths = np.median(np.abs(np.diff(snapshots[:, 0], axis=0)), axis=(1, 2, 3))
    shares = 0.5 * (1 + np.cos(np.pi * np.arange(8) / 8)) if schedule == "cosine" else np.ones(8)
    np.testing.assert_allclose(lengths, 0.02 * shares, rtol=1e-3)


@pytest.mark.filterwarnings("ignore:no search has reached its target")  # nothing leads there
@pytest.mark.filterwarnings("ignore:the network has no gradient")  # which is the point
def test_of_equally_good_images_the_first_is_the_best() -> None:
    result = ascend(linear("zeros"), noise(2), one_hot(3)[0], AscentSettings(steps=4, snapshot_every=1, l2_weight=0.0))
    assert result.best_steps.tolist() == [0, 0]


@pytest.mark.slow
def test_logits_probabilities_and_a_subclass_give_the_same_images(compact) -> None:
    class Wrapped(keras.Model):
        def __init__(self, inner: keras.Model) -> None:
            super().__init__()
            self.inner = inner

        def call(self, images, training=False):
            return self.inner(images, training=training)

    class Veiled(Wrapped):
        def call(self, images, training=False):
            return tf.exp(tf.math.log(self.inner(images, training=training)))

    settings = AscentSettings(steps=20)
    expected = ascend(compact, noise(2), one_hot(4)[0], settings).final
    for network in (networks.with_logits(compact), Wrapped(compact), Veiled(compact)):
        np.testing.assert_allclose(ascend(network, noise(2), one_hot(4)[0], settings).final, expected, atol=1e-3)


def test_the_network_is_not_changed_nor_kept_alive() -> None:
    network = networks.build("compact", 0, num_classes=10)
    before = [variable.numpy().copy() for variable in network.variables]
    ascend(network, noise(1), one_hot(0)[0], AscentSettings(steps=3))
    for variable, value in zip(network.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    alive = weakref.ref(network)
    del network, variable
    gc.collect()
    assert alive() is None


def test_new_weights_are_seen_by_a_loop_that_was_compiled_before() -> None:
    network = networks.build("compact", 0, num_classes=10)
    settings = AscentSettings(steps=3)
    first = ascend(network, noise(1), one_hot(0)[0], settings)
    network.set_weights(networks.build("compact", 1, num_classes=10).get_weights())
    second = ascend(network, noise(1), one_hot(0)[0], settings)
    assert not np.allclose(first.losses, second.losses)


def test_progress_ends_at_all_the_steps_of_all_the_images(compact, monkeypatch) -> None:
    monkeypatch.setattr(ascent, "LARGEST_BATCH", 2)
    seen: list[tuple[int, int]] = []
    ascend(compact, noise(5), one_hot(0)[0], AscentSettings(steps=7), on_progress=lambda *done: seen.append(done))
    assert seen[-1] == (35, 35) and seen == sorted(seen)


def test_the_budget_decides_how_many_images_share_a_batch() -> None:
    plain = dict.fromkeys(ascent._NUMBERS, np.zeros(1))
    loop = ascent._loop_for(networks.build("compact", 0, num_classes=10), (28, 28, 1), plain, AscentSettings())
    assert loop.batch_size(100) == (ascent.LARGEST_BATCH, ascent.LANES)
    assert loop.batch_size(0.06) == (128, ascent.LANES)
    few, lanes = loop.batch_size(0.002)
    assert 1 < few == lanes < 64
    assert abs(loop.batch_size(0.001)[0] - few / 2) <= 1
    assert loop.batch_size(1e-9) == (1, 1)


PEAK = """
import resource, sys
import numpy as np
from mnist_cnn.runtime import hardware
hardware.start_tensorflow()
from mnist_cnn.models import networks
from mnist_cnn.input_optimization.ascent import ascend
from mnist_cnn.settings import AscentSettings
starts = np.random.default_rng(0).random((int(sys.argv[1]), 28, 28, 1), np.float32)
network = networks.build("compact", 0, num_classes=10)
result = ascend(network, starts, np.eye(10)[3], AscentSettings(steps=10, snapshot_every=10))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


@pytest.mark.slow
@pytest.mark.thorough
def test_ten_thousand_images_take_their_own_memory_and_no_more() -> None:
    """Peak memory, in GiB: above that of 256 images by starts (held twice), snapshots and best images, 31 MB each."""

    def peak(num_images: int) -> float:
        words = [sys.executable, "-c", PEAK, str(num_images)]
        return float(subprocess.run(words, capture_output=True, text=True, check=True, cwd=PROJECT).stdout)

    arrays = 5 * 10_000 * 784 * 4 / 2**30
    assert peak(10_000) - peak(256) < arrays + 0.1


def test_snapshots_that_no_memory_can_hold_are_refused_at_once(compact, monkeypatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=8 * 2**30))
    settings = AscentSettings(steps=1_000_000, snapshot_every=1)
    with pytest.raises(
        SettingError, match="keeps 1,000,001 snapshots of 10 images, 29.7 GiB, and 8.0 GiB of memory are"
    ):
        ascend(compact, noise(10), np.eye(10), settings)


class Broken(keras.layers.Layer):
    """Gives NaN for an image whose mean is above 0.2."""

    def call(self, values):
        return tf.where(tf.reduce_mean(values, axis=1, keepdims=True) > 0.2, np.nan, values)


def test_an_output_that_is_not_finite_is_refused_with_image_and_step() -> None:
    network = keras.Sequential(
        [keras.Input((4, 4, 1)), keras.layers.Flatten(), Broken(), keras.layers.Dense(3, kernel_initializer="ones")]
    )
    starts = np.full((3, 4, 4, 1), 0.1)
    starts[1] = 0.5
    with pytest.raises(AscentDiverged, match="image 1 is not finite after 0 steps; the network itself gives NaN"):
        ascend(network, starts, [1, 0, 0], AscentSettings(steps=4))
    with pytest.raises(AscentDiverged, match="image 0 is not finite after 25 steps; try a lower `learning_rate`"):
        ascend(network, starts[:1], [1, 0, 0], AscentSettings(steps=50, objective="logit", l2_weight=0))


@pytest.mark.parametrize(
    ("starts", "targets", "settings", "message"),
    [
        (noise(0), one_hot(2)[0], {}, "`starts` must have the shape .*, n at least 1; got \\(0, 28, 28, 1\\)"),
        (noise(2)[..., 0], one_hot(2)[0], {}, "`starts` must have the shape .* got \\(2, 28, 28\\)"),
        (noise(2) * 1.5, one_hot(2)[0], {}, "`starts` must hold numbers from 0 to 1; they are from .* to 1.4"),
        (noise(2) - 0.1, one_hot(2)[0], {}, "`starts` must hold numbers from 0 to 1; they are from -0.09"),
        (noise(2) * np.nan, one_hot(2)[0], {}, "`starts` must hold numbers from 0 to 1; they are from nan"),
        (noise(2).astype(str), one_hot(2)[0], {}, "`starts` must hold numbers .* got the dtype <U"),
        (noise(2, (32, 32, 1)), one_hot(2)[0], {}, "`starts` must have the shape that the network takes, \\(None, 28"),
        (np.full((3, 10), 0.5), one_hot(2)[0], {}, "`starts` must have the shape"),
        (np.full((2, 4, 4), 0.5), one_hot(2)[0], {}, "`starts` must have the shape .* got \\(2, 4, 4\\)"),
        (noise(2), one_hot(2)[0] * 0.9, {}, "`targets` must hold shares .* row 0 is .* with the sum 0.9"),
        (noise(2), one_hot(2)[0] * np.nan, {}, "`targets` must hold shares .* with the sum nan"),
        (noise(2), np.stack([one_hot(2)[0], 2 * one_hot(2)[0] - one_hot(3)[0]]), {}, "row 1 is"),
        (noise(2), np.ones(7) / 7, {}, "`targets` must have the shape \\(2, 10\\) or \\(10,\\).* got \\(7,\\)"),
        (noise(2), one_hot(1, 2, 3), {}, "`targets` must have the shape .* got \\(3, 10\\)"),
        (noise(2), one_hot(2)[0], {"l2_weight": [1, 2, 3]}, "`l2_weight` must be one number or 2, .* shape \\(3,\\)"),
    ],
)
def test_input_that_does_not_fit_is_refused(compact, starts, targets, settings, message) -> None:
    with pytest.raises(SettingError, match=message):
        ascend(compact, starts, targets, AscentSettings(steps=2, **settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": [0.1, 0]}, "`learning_rate` must be a number above 0.*; got 0. \\(Entry 1 of 2.\\)"),
        ({"l2_weight": np.array([0.1, np.nan])}, "`l2_weight` must be .*; got nan. \\(Entry 1 of 2.\\)"),
        ({"tv_weight": []}, "`tv_weight` must hold at least one number; got none"),
        ({"seed": np.array([0.5])}, "`seed` must be a whole number"),
        ({"steps": 0}, "`steps` must be a whole number from 1"),
        ({"objective": "hinge"}, "`objective` must be one of"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(settings, message) -> None:
    with pytest.raises(SettingError, match=message):
        AscentSettings(**settings)


def test_numbers_of_numpy_and_tensorflow_are_numbers() -> None:
    for value in (np.float32(0.25), np.array(0.25), tf.constant(0.25)):
        assert AscentSettings(learning_rate=value).learning_rate == 0.25


def test_a_network_that_rounds_its_pixels_is_refused() -> None:
    inputs = keras.Input((4, 4, 1))
    rounded = keras.layers.Lambda(lambda images: tf.cast(tf.cast(255 * images, tf.int32), tf.float32))(inputs)
    network = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(rounded)))
    with pytest.raises(SettingError, match="gives no gradient to the pixels"):
        ascend(network, noise(1, (4, 4, 1)), [1, 0, 0])


def test_probabilities_of_few_digits_are_known_as_such() -> None:
    inputs = keras.Input((28, 28, 1))
    network = networks.build("compact", 0, precision="mixed_bfloat16", num_classes=10)
    veiled = keras.Model(
        inputs, keras.layers.Lambda(lambda p: tf.exp(tf.math.log(p)), dtype="bfloat16")(network(inputs))
    )
    result = ascend(veiled, noise(2), one_hot(3)[0], AscentSettings(steps=1))
    np.testing.assert_allclose(result.probabilities[0], network(noise(2), training=False), atol=1e-2)


def test_a_network_without_classes_or_for_other_images_is_refused() -> None:
    maps = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Conv2D(3, 3)])
    with pytest.raises(SettingError, match="must give logits or probabilities of the shape \\(n, classes\\)"):
        ascend(maps, noise(1), one_hot(0)[0])
    flat = keras.Sequential([keras.Input((783,)), keras.layers.Dense(10)])
    with pytest.raises(SettingError, match="`starts` must have the shape that the network takes, \\(None, 783\\)"):
        ascend(flat, noise(1), one_hot(0)[0])


@pytest.mark.slow
def test_a_temperature_keeps_the_search_going_when_the_network_is_sure(compact) -> None:
    starts, targets = noise(10), one_hot(*range(10))
    cold, hot = (
        ascend(compact, starts, targets, AscentSettings(steps=150, l2_weight=0, temperature=each))
        for each in (1.0, 8.0)
    )
    assert hot.cross_entropies[-1].mean() < cold.cross_entropies[-1].mean()
    logits = networks.with_logits(compact)(hot.final, training=False).numpy() / 8
    expected = np.log(np.exp(logits).sum(axis=1)) - (logits * targets).sum(axis=1)
    np.testing.assert_allclose(hot.objectives[-1], expected, rtol=1e-3, atol=1e-4)


def test_a_random_direction_in_the_last_feature_map_is_followed_and_parts_the_images(compact) -> None:
    starts, targets = np.repeat(noise(1), 6, axis=0), one_hot(3)[0]
    seeds = np.arange(6)
    settings = {"steps": 100, "l2_weight": 1e-3, "seed": seeds}
    alone = ascend(compact, starts, targets, AscentSettings(**settings))
    led = ascend(compact, starts, targets, AscentSettings(**settings, feature_weight=1.0))
    np.testing.assert_allclose(alone.final, alone.final[:1].repeat(6, axis=0), atol=1e-4)
    assert np.abs(led.final[0] - led.final[1]).mean() > 0.01
    # What the direction is, written out in numpy.
    features = keras.Model(
        compact.input, next(each.input for each in compact.layers if isinstance(each, keras.layers.Flatten))
    )
    size = int(np.prod(features.output_shape[1:]))
    draws = np.asarray(transforms.draws_of_images(tf.constant(seeds, tf.int32), ascent.DIRECTION, size)).T
    directions = draws / np.linalg.norm(draws, axis=1, keepdims=True)
    reaches = []
    for result, weight in ((alone, 0.0), (led, 1.0)):
        reach = (features(result.final).numpy().reshape(6, -1) * directions).sum(axis=1)
        penalty = 1e-3 * (result.final**2).sum(axis=(1, 2, 3))
        np.testing.assert_allclose(
            result.losses[-1], result.objectives[-1] + penalty - weight * reach, rtol=1e-3, atol=1e-3
        )
        reaches.append(reach.mean())
    assert reaches[1] > reaches[0] + 1


def test_pose_and_direction_are_drawn_from_streams_of_their_own() -> None:
    assert ascent.POSE != ascent.DIRECTION and max(ascent.POSE, ascent.DIRECTION) < 0, "steps count from 0"


def test_a_pose_is_the_same_at_every_step_and_differs_between_images(compact) -> None:
    """The network sees each image moved by its pose, and gives that one's target; the image itself is not moved."""
    starts, targets, seeds = noise(8), one_hot(7)[0], np.arange(8)
    result = ascend(compact, starts, targets, AscentSettings(steps=100, pose=2.0, seed=seeds))
    draws = transforms.draws_of_images(tf.constant(seeds, tf.int32), ascent.POSE, transforms.NUM_AFFINE_DRAWS)
    limits = {"shift": 2.0, "degrees": 24.0, "scale": 0.24, "slant": 0.5}
    seen = transforms.random_affine(tf.constant(result.final), draws, **limits)
    assert compact(seen).numpy()[:, 7].min() > 0.95
    others = transforms.random_affine(tf.constant(result.final), draws[:, ::-1], **limits)
    assert compact(others).numpy()[:, 7].mean() < 0.7
