from __future__ import annotations

import math
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_cnn.data import dataset
from mnist_cnn.models import networks
from mnist_cnn.settings import TrainSettings
from mnist_cnn.training import attacks, checkpoints, evaluation, loop

SETTINGS = TrainSettings(epochs=3, batch_size=64, seed=5, augmentation=0.5, weight_decay=0.01)


@pytest.fixture(scope="module")
def data(small_dataset: Path) -> dataset.Split:
    return dataset.split(dataset.load_train(str(small_dataset)))


def train(data: dataset.Split, settings: TrainSettings, state: loop.TrainingState | None = None, **options: object):
    network = networks.build(settings.network, settings.seed, num_classes=10)
    states: list[loop.TrainingState] = []
    result = loop.train(
        network, data, settings, state=state, on_epoch=lambda _, state: states.append(state()), **options
    )
    return network, result, states


@pytest.fixture(scope="module")
def trained(data: dataset.Split):
    return train(data, SETTINGS)


def numbers(history: list[loop.EpochResult]) -> list[tuple[float, ...]]:
    return [(r.loss, r.accuracy, r.validation_loss, r.validation_accuracy, r.learning_rate) for r in history]


def test_training_learns(trained: tuple) -> None:
    network, result, _ = trained
    assert [r.epoch for r in result.history] == [1, 2, 3]
    assert result.history[-1].loss < 0.7 * result.history[0].loss
    assert result.history[-1].validation_accuracy > 0.6


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(trained: tuple, data: dataset.Split) -> None:
    network, result, _ = trained
    again, repeated, _ = train(data, SETTINGS)
    assert numbers(repeated.history) == numbers(result.history)
    for one, two in zip(network.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    other, _, _ = train(data, TrainSettings(epochs=1, batch_size=64, seed=6))
    assert not np.allclose(other.get_weights()[0], network.get_weights()[0])


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_training_resumed_from_a_file_ends_at_the_same_numbers(
    epoch: int, trained: tuple, data: dataset.Split, tmp_path: Path
) -> None:
    network, result, states = trained
    checkpoints.save(states[epoch - 1], tmp_path / "state.npz")
    again, resumed, _ = train(data, SETTINGS, state=checkpoints.load(tmp_path / "state.npz"))
    assert numbers(resumed.history) == numbers(result.history)
    for one, two in zip(network.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_dropout_goes_on_where_it_stopped(data: dataset.Split, monkeypatch: pytest.MonkeyPatch) -> None:
    def with_dropout(images):
        return keras.layers.Dropout(0.5)(keras.layers.Flatten()(images))

    monkeypatch.setattr(networks, "compact", with_dropout)
    settings = TrainSettings(epochs=2, batch_size=64)
    _, result, states = train(data, settings)
    _, resumed, _ = train(data, settings, state=states[0])
    assert numbers(resumed.history) == numbers(result.history)


def test_it_is_keras_own_training_step(data: dataset.Split) -> None:
    """Against `fit` with the same images in the same order, constant learning rate: the same weights."""
    settings = TrainSettings(
        batch_size=64, learning_rate=1e-3, schedule="constant", label_smoothing=0.1, recalibrate=False, seed=1
    )
    network, result, _ = train(data, settings)
    reference = networks.build("compact", 1, num_classes=10)
    logits = networks.with_logits(reference)
    logits.compile(
        keras.optimizers.Adam(1e-3), keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    )
    order = loop.epoch_order(1, 1, len(data.train), 64).ravel()
    labels = keras.utils.to_categorical(data.train.labels[order], 10)
    fitted = logits.fit(data.train.images[order], labels, batch_size=64, shuffle=False, verbose=0)
    assert result.history[0].loss == pytest.approx(fitted.history["loss"][0], rel=1e-4)
    for ours, theirs in zip(network.get_weights(), reference.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-4)


@pytest.mark.parametrize("start", [0, 1])
def test_validation_is_looked_at_within_the_epoch_and_moves_no_number(
    start: int, trained: tuple, data: dataset.Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "VALIDATION_SAMPLE", 60)
    found: list[tuple[int, int, float]] = []
    _, result, states = trained
    _, looked, _ = train(
        data,
        SETTINGS,
        state=states[start - 1] if start else None,
        on_validation=lambda step, scores: found.append((step, len(scores.labels), scores.accuracy)),
    )
    assert numbers(looked.history) == numbers(result.history)
    steps = [math.ceil(part * 15 / 10) for part in range(1, 11)]  # 15 steps an epoch
    assert [step for step, *_ in found] == [15 * epoch + step for epoch in range(start, 3) for step in steps]
    sizes = [*[60] * 9, len(data.validation)]
    assert [size for _, size, _ in found] == sizes * (3 - start)
    ends = [accuracy for step, _, accuracy in found if step % 15 == 0]
    assert ends == [epoch.validation_accuracy for epoch in result.history[start:]]


def test_weights_that_are_not_finite_after_the_last_step_stop_the_training(
    data: dataset.Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_weights(network: keras.Model, *_: object) -> None:
        network.set_weights([np.full_like(weights, np.nan) for weights in network.get_weights()])

    monkeypatch.setattr(loop, "recalibrate", break_weights)
    with pytest.raises(loop.TrainingDiverged, match="1000 probabilities that are not finite after step 15; try"):
        train(data, TrainSettings(batch_size=64))


def test_nan_stops_the_training_with_the_reason(data: dataset.Split) -> None:
    images = data.train.images.copy()
    images[17] = np.nan
    broken = dataset.LabelledImages(images, data.train.labels, "", "", "")
    with pytest.raises(loop.TrainingDiverged, match="loss became nan at step .* of 15 in epoch 1.*learning_rate"):
        train(dataset.Split(broken, data.validation), TrainSettings(batch_size=64))


def test_an_epoch_shows_every_image_and_another_epoch_in_another_order() -> None:
    order = loop.epoch_order(0, 1, 54_000, 128)
    assert order.shape == (422, 128)
    assert np.array_equal(np.unique(order), np.arange(54_000))
    assert not np.array_equal(order, loop.epoch_order(0, 2, 54_000, 128))
    assert loop.epoch_order(0, 1, 10, 64).shape == (1, 64)


def test_one_cycle_rises_to_its_peak_and_falls_to_nothing() -> None:
    rates = loop.learning_rates("one_cycle", 0.02, 422)
    peak = int(rates.argmax())
    assert rates[peak] == pytest.approx(0.02)
    assert 80 <= peak <= 86
    assert (np.diff(rates[:peak]) > 0).all() and (np.diff(rates[peak + 1 :]) < 0).all()
    assert 0 <= rates[-1] < 1e-5
    assert (loop.learning_rates("constant", 0.001, 5) == np.float32(0.001)).all()
    assert np.isfinite(loop.learning_rates("one_cycle", 1, 1)).all()


def test_recalibration_gives_batchnorm_the_statistics_of_the_training_images(data: dataset.Split) -> None:
    network = networks.build("compact", 0, num_classes=10)
    loop.recalibrate(network, data.train, TrainSettings(batch_size=900))
    normalization = next(layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization))
    features = keras.Model(network.input, normalization.input).predict(data.train.images, verbose=0)
    np.testing.assert_allclose(normalization.moving_mean, features.mean(axis=(0, 1, 2)), atol=1e-4)
    np.testing.assert_allclose(normalization.moving_variance, features.var(axis=(0, 1, 2)), rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_weight_decay_shrinks_kernels_and_nothing_else(data: dataset.Split) -> None:
    plain, _, _ = train(data, TrainSettings(batch_size=900, learning_rate=1e-3, schedule="constant"))
    decayed, _, _ = train(
        data, TrainSettings(batch_size=900, learning_rate=1e-3, schedule="constant", weight_decay=1.0)
    )
    for one, two in zip(plain.trainable_variables, decayed.trainable_variables, strict=True):
        ratio = np.linalg.norm(two) / max(np.linalg.norm(one), 1e-9)
        assert (ratio < 0.9995) == (one.name == "kernel"), one.path


@pytest.mark.slow
def test_mixed_bfloat16_trains(data: dataset.Split) -> None:
    network = networks.build("compact", 0, precision="mixed_bfloat16", num_classes=10)
    result = loop.train(network, data, TrainSettings(epochs=2, batch_size=64, precision="mixed_bfloat16"))
    assert result.history[-1].loss < result.history[0].loss
    assert {variable.dtype for variable in network.trainable_variables} == {"float32"}


def test_a_state_of_another_network_is_refused(trained: tuple, data: dataset.Split) -> None:
    state = trained[2][0]
    wrong = loop.TrainingState(1, state.network[:-1], state.optimizer, state.history)
    with pytest.raises(ValueError, match="not one of a compact network"):
        train(data, SETTINGS, state=wrong)


@pytest.mark.parametrize("kept", [0, 0.3, 0.99])
def test_a_checkpoint_that_was_cut_short_is_noticed(kept: float, trained: tuple, tmp_path: Path) -> None:
    path = tmp_path / "epoch-00001.npz"
    checkpoints.save(trained[2][0], path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(checkpoints.CheckpointError, match="epoch-00001.npz cannot be read"):
        checkpoints.load(path)


def test_validation_is_what_evaluation_says_of_the_final_network(trained: tuple, data: dataset.Split) -> None:
    network, result, _ = trained
    assert evaluation.evaluate(network, data.validation).accuracy == result.history[-1].validation_accuracy


def test_an_adversary_grows_over_its_ramp_and_then_stays() -> None:
    np.testing.assert_allclose(loop.strengths(0.5, 8), [0.25, 0.5, 0.75, 1, 1, 1, 1, 1])
    assert loop.strengths(0, 3).tolist() == [1, 1, 1]
    robust = TrainSettings(robustness="l2", attack_steps=4)
    steps = [loop.attack_steps(robust, float(share)) for share in loop.strengths(0.5, 8)]
    assert steps == [1, 2, 3, 4, 4, 4, 4, 4], "a short way needs few steps"
    many = {loop.attack_steps(robust.replace(attack_steps=40), share) for share in np.linspace(0.01, 1, 100)}
    assert many == {10, 20, 30, 40}, "each is compiled"
    assert loop.attack_steps(TrainSettings(attack_steps=4), 0.1) == 4, "where nothing attacks, one compiled step serves"


@pytest.mark.parametrize("robustness", ["none", "l2"])
def test_one_attack_serves_digits_and_what_is_no_digit(robustness: str, data: dataset.Split) -> None:
    settings = TrainSettings(robustness=robustness, off_manifold=0.5, epsilon=1.5, noise=0, batch_size=40)
    network = networks.with_logits(networks.build("smooth", 0))
    digits, labels = data.train.images[:40], tf.one_hot(data.train.labels[:40], 10)
    images, targets, weights = (
        part.numpy()
        for part in tf.function(loop._worst_cases)(network, settings, tf.constant(digits), labels, 0.5, 3, (0, 1))
    )
    np.testing.assert_allclose(weights, [1] * 40 + [0.5 * 2] * 20)
    np.testing.assert_allclose(targets, np.concatenate([labels, np.full((20, 10), 0.1)]), atol=1e-7)
    moved = np.linalg.norm((images[:40] - digits).reshape(40, -1), axis=1)
    if robustness == "none":
        np.testing.assert_array_equal(images[:40], digits)
    else:
        assert moved.max() <= 0.75 + 1e-5 and moved.min() > 0.3

    def cross_entropies(given: np.ndarray) -> np.ndarray:
        return tf.nn.softmax_cross_entropy_with_logits(labels, network(given)).numpy()

    risen = cross_entropies(images[:40]) - cross_entropies(digits)
    assert (risen > 0).all() if robustness == "l2" else (risen == 0).all()
    noise = attacks.off_manifold(tf.constant(digits[::2]), attacks.fold((0, 1), 4)).numpy()
    sure = [tf.reduce_max(tf.nn.log_softmax(network(given)), 1).numpy() for given in (noise, images[40:])]
    assert (sure[1] > sure[0]).all()


def test_labels_of_noisy_digits_doubt_as_much_as_there_is_noise(data: dataset.Split) -> None:
    settings = TrainSettings(robustness="noise", noise=0.8, noise_doubt=0.6, batch_size=60)
    network = networks.with_logits(networks.build("compact", 0))
    digits, labels = data.train.images[:60], tf.one_hot(data.train.labels[:60], 10)
    images, targets, _ = loop._worst_cases(network, settings, tf.constant(digits), labels, 0.5, 1, (0, 1))
    doubts = 1 - tf.reduce_sum(targets * labels, axis=1).numpy()  # 9 tenths of what all share
    levels = np.abs(images.numpy() - digits).mean(axis=(1, 2, 3))
    assert np.corrcoef(doubts, levels)[0, 1] > 0.95
    assert 0.9 * 0.5 * 0.6 * 0.9 < doubts.max() < 0.9 * 0.5 * 0.6
    np.testing.assert_allclose(tf.reduce_sum(targets, axis=1), 1, atol=1e-6)
    plain = loop._worst_cases(network, settings.replace(noise_doubt=0.0), tf.constant(digits), labels, 0.5, 1, (0, 1))
    np.testing.assert_array_equal(plain[0], images)
    np.testing.assert_array_equal(plain[1], labels)


ROBUST = TrainSettings(
    network="smooth", epochs=2, batch_size=64, learning_rate=0.003, robustness="l2", epsilon=1.0, attack_steps=2,
    off_manifold=0.5, ramp=0.2,
)  # fmt: skip


@pytest.mark.slow
def test_a_robust_training_resumed_ends_at_the_same_numbers(data: dataset.Split) -> None:
    network, result, states = train(data, ROBUST)
    resumed, repeated, _ = train(data, ROBUST, states[0])
    assert numbers(repeated.history) == numbers(result.history)
    for one, two in zip(network.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.slow
def test_each_kind_of_robustness_trains_another_network_and_l2_withstands_attacks_better(data: dataset.Split) -> None:
    settings = {"network": "smooth", "epochs": 4, "batch_size": 32, "learning_rate": 0.003, "ramp": 0.2}
    kinds = {"none": {}, "noise": {}, "l2": {"epsilon": 1.5, "attack_steps": 3}}
    trained = {kind: train(data, TrainSettings(robustness=kind, **settings, **more))[0] for kind, more in kinds.items()}
    robust = {kind: attacks.robust_accuracy(network, data.validation, 1.5) for kind, network in trained.items()}
    assert robust["l2"].accuracy > robust["none"].accuracy + 0.05
    assert not np.allclose(trained["noise"].get_weights()[0], trained["none"].get_weights()[0])
    assert all(each.accuracy <= each.clean for each in robust.values())


@pytest.mark.slow
def test_the_off_manifold_term_makes_a_network_doubt_noise(data: dataset.Split) -> None:
    settings = {"network": "smooth", "epochs": 4, "batch_size": 32, "learning_rate": 0.003}
    noise = np.random.default_rng(0).random((200, 28, 28, 1), np.float32)
    confidence = [
        evaluation.predict(train(data, TrainSettings(off_manifold=weight, **settings))[0], noise).max(axis=1).mean()
        for weight in (0.0, 1.0)
    ]
    assert confidence[1] < 0.2 < confidence[0]
