"""Train a network: compiled steps that can be stopped after any epoch and go on with the same numbers.

Everything that is drawn (order of images, augmentation) depends on the seed and the step alone, and dropout's
generators are part of the state, so a training resumed from `TrainingState` ends where an uninterrupted one does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mnist_cnn.data.dataset import LabelledImages, Split
from mnist_cnn.models import networks, transforms
from mnist_cnn.runtime.randomness import derive_seed, generator
from mnist_cnn.settings import SettingError, TrainSettings
from mnist_cnn.training import attacks, evaluation
from mnist_cnn.training.evaluation import EvaluationResult

WARM_UP = 0.2
"""Share of the steps in which the learning rate rises."""

EVERY_NOISY = 3
"""Robustness l2 adds noise to one image in so many."""

OFF_MANIFOLD_EVERY = 2
"""One image that is no digit is shown for so many digits: half the cost, and as good."""

SECONDS_BETWEEN_REPORTS = 0.5
"""How often the steps' numbers are fetched, checked and reported."""

RECALIBRATION_IMAGES = 4096

POINTS_PER_EPOCH = 20
"""Of the training's curves within the epochs."""

VALIDATIONS_PER_EPOCH = 10
"""Points of validation's curves: the epoch's end, and a sample on the way."""

VALIDATION_SAMPLE = 1000
"""Images of the sample: the first ones of the validation images, whose order is drawn."""


Floats = NDArray[np.float32]


class TrainingDiverged(ArithmeticError):
    """The loss, or a probability, became NaN or infinite."""


@dataclass(frozen=True)
class EpochResult:
    """One epoch's numbers. Losses are mean cross-entropies in nats (smoothed labels while training), accuracies shares.

    `accuracy` and `loss` are running means while the weights move, with augmentation and dropout on;
    `validation_*` are taken at the epoch's end, with both off. `learning_rate` is the last step's.
    `seconds` covers training, not validation.
    """

    epoch: int
    loss: float
    accuracy: float
    validation_loss: float
    validation_accuracy: float
    learning_rate: float
    seconds: float
    images_per_second: float

    def metrics(self) -> dict[str, float]:
        """The numbers by the names under which a run holds them, epoch by epoch."""
        return {
            "train_loss": self.loss,
            "train_accuracy": self.accuracy,
            "validation_loss": self.validation_loss,
            "validation_accuracy": self.validation_accuracy,
            # MLflow's UI sorts by name: these shall stand behind accuracy and loss.
            "training_learning_rate": self.learning_rate,
            "training_seconds_per_epoch": self.seconds,
            "training_images_per_second": self.images_per_second,
        }


@dataclass(frozen=True)
class TrainingState:
    """All that the next epoch depends on: variables of network and optimizer, in order, after `epoch` epochs."""

    epoch: int
    network: list[NDArray[Any]]
    optimizer: list[NDArray[Any]]
    history: list[EpochResult]


@dataclass(frozen=True)
class StepResults:
    """What happened in consecutive steps. first: number of the first (from 0); losses, accuracies: (steps,) float32."""

    first: int
    losses: NDArray[np.float32]
    accuracies: NDArray[np.float32]
    learning_rates: NDArray[np.float32]


@dataclass(frozen=True)
class TrainingResult:
    """history: one entry an epoch, those before a resume included. seconds: training, all epochs."""

    history: list[EpochResult]
    seconds: float


class StepCurve:
    """Gathers the steps' numbers into `POINTS_PER_EPOCH` points an epoch, at the same steps whatever the speed."""

    def __init__(self, num_steps: int) -> None:
        self._num_steps = num_steps
        self._points: list[tuple[float, float, float]] = []
        self._waiting: list[StepResults] = []

    def add(self, steps: StepResults) -> list[tuple[int, float, float, float]]:
        """The points that are complete now: step (from 1), mean loss and accuracy since the last one, learning rate."""
        self._waiting.append(steps)
        losses, accuracies, rates = (
            np.concatenate([getattr(part, name) for part in self._waiting])
            for name in ("losses", "accuracies", "learning_rates")
        )
        first, done, found = self._waiting[0].first, 0, []
        for number in range(1, len(losses) + 1):
            if is_point(first + number, self._num_steps, POINTS_PER_EPOCH):
                part = slice(done, number)
                found.append(
                    (
                        first + number,
                        float(losses[part].mean()),
                        float(accuracies[part].mean()),
                        float(rates[number - 1]),
                    )
                )
                done = number
        self._waiting = [StepResults(first + done, losses[done:], accuracies[done:], rates[done:])]
        self._points += [(step / self._num_steps, loss, accuracy) for step, loss, accuracy, _ in found]
        return found

    def points(self) -> NDArray[np.float64]:
        """(n, 3): epochs gone by, mean loss and mean accuracy since the point before."""
        return np.array(self._points).reshape(-1, 3)


def steps_per_epoch(num_images: int, batch_size: int) -> int:
    """422 for 54,000 images at 128: the last batch of an epoch is filled up with images of its beginning."""
    return math.ceil(num_images / batch_size)


def is_point(step: int, num_steps: int, points: int) -> bool:
    """Whether one of the `points` equal parts of an epoch of `num_steps` ends within this step (from 1)."""
    return step * points // num_steps > (step - 1) * points // num_steps


def learning_rates(schedule: str, peak: float, num_steps: int) -> Floats:
    """The learning rate of each step, (num_steps,).

    `constant`: the peak. `one_cycle`: linear rise over the first fifth, then half a cosine down to 0
    (Smith & Topin, "Super-Convergence", arXiv:1708.07120, with a cosine for its second line).
    """
    if schedule == "constant":
        return np.full(num_steps, peak, np.float32)
    step = np.arange(num_steps)
    rise = max(1, round(num_steps * WARM_UP))
    fall = np.clip((step - rise) / max(1, num_steps - rise), 0, 1)
    return (peak * np.minimum(1, (step + 1) / rise) * 0.5 * (1 + np.cos(np.pi * fall))).astype(np.float32)


def strengths(ramp: float, num_steps: int) -> NDArray[np.float32]:
    """The share of its full strength that an adversary has at each step, (num_steps,): a linear rise over `ramp`."""
    return np.minimum(1, (np.arange(num_steps) + 1) / max(1, ramp * num_steps)).astype(np.float32)


def attack_steps(settings: TrainSettings, ramp: float) -> int:
    """How many gradient steps an attack of the share `ramp` of its strength takes: a short way needs few.

    Four numbers at most, since each has a compiled step of its own.
    """
    if settings.robustness != "l2" and not settings.off_manifold:
        return settings.attack_steps  # there is none, so one compiled step serves
    return math.ceil(settings.attack_steps * math.ceil(4 * ramp) / 4)


def epoch_order(seed: int, epoch: int, num_images: int, batch_size: int) -> NDArray[np.int32]:
    """Which images each step of an epoch sees: (steps, batch_size) indices, each image at least once."""
    order = generator(seed, "order", epoch).permutation(num_images).astype(np.int32)
    return np.resize(order, (steps_per_epoch(num_images, batch_size), batch_size))


def train(
    network: keras.Model,
    data: Split,
    settings: TrainSettings,
    *,
    state: TrainingState | None = None,
    on_steps: Callable[[StepResults], None] | None = None,
    on_validation: Callable[[int, EvaluationResult], None] | None = None,
    on_epoch: Callable[[EpochResult, Callable[[], TrainingState]], None] | None = None,
) -> TrainingResult:
    """Train `network` in place for `settings.epochs` epochs, from `state` where one is given.

    on_steps: called about twice a second. on_validation: called at the end of each tenth of an epoch with the step
    (from 1) and the result on a sample of the validation images; on all of them at the epoch's end. on_epoch: called
    after each epoch with its numbers and a function that gives the state to go on from. Raises `TrainingDiverged` as
    soon as a loss or a probability is NaN or infinite.
    """
    loop = _Loop(network, data.train, settings)
    history = [] if state is None else list(state.history)
    if state is not None:
        loop.restore(state)
    num_steps = steps_per_epoch(len(data.train), settings.batch_size)
    rates = learning_rates(settings.schedule, settings.learning_rate, num_steps * settings.epochs)
    ramps = strengths(settings.ramp, num_steps * settings.epochs)
    validate = evaluation.evaluator(network, data.validation)
    for epoch in range(len(history) + 1, settings.epochs + 1):
        parts: list[StepResults] = []
        seconds, start = 0.0, time.perf_counter()
        for steps in loop.run_epoch(epoch, rates, ramps):
            parts.append(steps)
            if on_steps is not None:
                on_steps(steps)
            step = steps.first + len(steps.losses)
            within = step < epoch * num_steps and is_point(step, num_steps, VALIDATIONS_PER_EPOCH)
            if on_validation is not None and within:
                seconds += time.perf_counter() - start
                on_validation(step, _validation(validate, VALIDATION_SAMPLE, step, settings))
                start = time.perf_counter()
        if epoch == settings.epochs and settings.recalibrate:
            recalibrate(network, data.train, settings)
        seconds += time.perf_counter() - start
        validation = _validation(validate, None, epoch * num_steps, settings)
        if on_validation is not None:
            on_validation(epoch * num_steps, validation)
        history.append(
            EpochResult(
                epoch=epoch,
                loss=float(np.concatenate([part.losses for part in parts]).mean()),
                accuracy=float(np.concatenate([part.accuracies for part in parts]).mean()),
                validation_loss=validation.loss,
                validation_accuracy=validation.accuracy,
                learning_rate=float(rates[epoch * num_steps - 1]),
                seconds=seconds,
                images_per_second=num_steps * settings.batch_size / seconds,
            )
        )
        if on_epoch is not None:
            on_epoch(history[-1], lambda: loop.state(history))
    return TrainingResult(history, sum(result.seconds for result in history))


def _validation(
    validate: Callable[[int | None], EvaluationResult], number: int | None, step: int, settings: TrainSettings
) -> EvaluationResult:
    """The result on the first `number` validation images, on all without a number."""
    try:
        return validate(number)
    except evaluation.NotFiniteError as error:
        raise TrainingDiverged(f"{error} after step {step}; {_lower_rate(settings)}") from error


def _lower_rate(settings: TrainSettings) -> str:
    return f"try a lower `learning_rate` than {settings.learning_rate:g}"


class _Loop:
    """The compiled step, with the images and the optimizer that they work on."""

    def __init__(self, network: keras.Model, images: LabelledImages, settings: TrainSettings) -> None:
        self._network = network
        self._settings = settings
        self._num_images = len(images)
        self._optimizer = keras.optimizers.AdamW(1.0, weight_decay=settings.weight_decay)
        self._optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        self._optimizer.build(network.trainable_variables)
        data = tf.constant(images.images), tf.constant(images.labels)
        self._step = cache(partial(_compiled_step, network, settings, self._optimizer, *data))

    def run_epoch(self, epoch: int, rates: Floats, ramps: Floats) -> Iterator[StepResults]:
        """rates, ramps: of all steps of the training. Gives the steps' numbers about twice a second.

        A point of validation's curve is always the last step of its part.
        """
        order = epoch_order(self._settings.seed, epoch, self._num_images, self._settings.batch_size)
        first, stream = (epoch - 1) * len(order), derive_seed(self._settings.seed, "augmentation")
        rates, ramps = rates[first:], ramps[first:]
        seeds = np.stack([np.full(len(order), stream), first + np.arange(len(order))], axis=1).astype(np.int32)
        done, pending, start = 0, [], time.perf_counter()
        for i in range(len(order)):
            step = self._step(attack_steps(self._settings, ramps[i]))
            pending.append(step(order[i], rates[i], ramps[i], seeds[i]))
            waited = time.perf_counter() - start >= SECONDS_BETWEEN_REPORTS
            if not (waited or is_point(i + 1, len(order), VALIDATIONS_PER_EPOCH)):
                continue
            losses, accuracies = np.array(pending, np.float32).T
            if not np.isfinite(losses).all():
                bad = int(np.argmin(np.isfinite(losses)))
                raise TrainingDiverged(
                    f"the loss became {losses[bad]} at step {done + bad + 1} of {len(order)} in epoch {epoch}, at a "
                    f"learning rate of {rates[done + bad]:.3g}; {_lower_rate(self._settings)}"
                )
            yield StepResults(first + done, losses, accuracies, rates[done : i + 1])
            done, pending, start = i + 1, [], time.perf_counter()

    def state(self, history: list[EpochResult]) -> TrainingState:
        return TrainingState(
            epoch=len(history),
            network=[np.asarray(variable) for variable in self._network.variables],
            optimizer=[np.asarray(variable) for variable in self._optimizer.variables],
            history=list(history),
        )

    def restore(self, state: TrainingState) -> None:
        pairs = (self._network.variables, state.network), (self._optimizer.variables, state.optimizer)
        for variables, values in pairs:
            if [tuple(variable.shape) for variable in variables] != [value.shape for value in values]:
                raise SettingError(
                    f"`run`: its checkpoint is not one of a {self._network.name} network of this release; "
                    "start a new training."
                )
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)


def _compiled_step(
    trained: keras.Model,
    settings: TrainSettings,
    optimizer: keras.optimizers.Optimizer,
    images: Any,
    labels: Any,
    attack_steps: int,
) -> Any:
    """A step for the images of `indices`: it moves the weights and gives loss and accuracy."""
    network = networks.with_logits(trained)
    variables = network.trainable_variables
    whole, number = tf.TensorSpec((settings.batch_size,), tf.int32), tf.TensorSpec((), tf.float32)

    @tf.function(input_signature=[whole, number, number, tf.TensorSpec((2,), tf.int32)])
    def step(indices: Any, rate: Any, ramp: Any, seed: Any) -> tuple[Any, Any]:
        batch, truth = tf.gather(images, indices), tf.gather(labels, indices)
        if settings.augmentation > 0:
            strength = settings.augmentation
            draws = transforms.draws_of_batch(seed, transforms.NUM_AFFINE_DRAWS, settings.batch_size)
            batch = transforms.random_affine(
                batch, draws, shift=2 * strength, degrees=15 * strength, scale=0.15 * strength
            )
        num_classes, smoothing = network.output_shape[-1], settings.label_smoothing
        target = tf.one_hot(truth, num_classes) * (1 - smoothing) + smoothing / num_classes
        batch, target, weights = _worst_cases(network, settings, batch, target, ramp, attack_steps, seed)
        with tf.GradientTape() as tape:
            logits = network(batch, training=True)
            losses = tf.nn.softmax_cross_entropy_with_logits(target, logits)
            loss = tf.reduce_sum(weights * losses) / settings.batch_size
        logits = logits[: settings.batch_size]
        optimizer.learning_rate.assign(rate)
        optimizer.apply(tape.gradient(loss, variables), variables)
        hits = tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), truth)
        return loss, tf.reduce_mean(tf.cast(hits, tf.float32))

    return step


def _worst_cases(
    network: keras.Model, settings: TrainSettings, images: Any, targets: Any, ramp: Any, steps: int, seed: Any
) -> tuple[Any, Any, Any]:
    """What the network is shown in place of m images: (images, targets, weights), those that are no digits last.

    network: gives logits. ramp: (), share of the full strength. steps: of each attack.
    """
    weights = tf.ones(tf.shape(images)[0])
    if settings.robustness != "none" and settings.noise > 0:
        every = 1 if settings.robustness == "noise" else EVERY_NOISY
        images, shares = _noisy(images, settings.noise * ramp, every, attacks.fold(seed, 2))
        doubts = settings.noise_doubt * ramp * shares[:, tf.newaxis]
        targets = targets * (1 - doubts) + doubts / targets.shape[-1]
    radii = tf.fill(tf.shape(images)[:1], settings.epsilon * ramp if settings.robustness == "l2" else 0.0)
    if settings.off_manifold > 0:
        no_digits = attacks.off_manifold(images[::OFF_MANIFOLD_EVERY], attacks.fold(seed, 4))
        added = tf.shape(no_digits)[:1]
        share = tf.cast(tf.shape(images)[0] / tf.shape(no_digits)[0], tf.float32)
        radii = tf.concat([radii, tf.fill(added, settings.epsilon * ramp)], axis=0)
        weights = tf.concat([weights, tf.fill(added, settings.off_manifold * share)], axis=0)
        doubt = tf.fill((added[0], targets.shape[-1]), 1 / targets.shape[-1])
        images, targets = tf.concat([images, no_digits], axis=0), tf.concat([targets, doubt], axis=0)
    if settings.robustness == "l2" or settings.off_manifold > 0:
        losses = partial(_errors, network, targets, settings.batch_size)
        images = attacks.raise_loss(losses, images, radii, steps, attacks.fold(seed, 3))
    return images, targets, weights


def _noisy(images: Any, sigma: Any, every: int, seed: Any) -> tuple[Any, Any]:
    """Gaussian noise on every so-manieth image, cut to [0, 1]; and its standard deviation as a share of `sigma`, (n,).

    The shares are uniform from 0 to 1; 0 for images without noise.
    """
    size = tf.shape(images)[0]
    shares = tf.random.stateless_uniform((size,), seed) * tf.cast(tf.range(size) % every == 0, tf.float32)
    noise = tf.random.stateless_normal(tf.shape(images), attacks.fold(seed, 1))
    return tf.clip_by_value(images + sigma * tf.reshape(shares, (-1, 1, 1, 1)) * noise, 0.0, 1.0), shares


def _errors(network: keras.Model, targets: Any, num_digits: int, images: Any) -> Any:
    """What an attack raises, (m,): the cross-entropy of digits, the first choice's log-probability of the others."""
    logits = network(images, training=False)
    cross_entropies = tf.nn.softmax_cross_entropy_with_logits(targets[:num_digits], logits[:num_digits])
    confidences = tf.reduce_max(tf.nn.log_softmax(logits[num_digits:]), axis=1)
    return tf.concat([cross_entropies, confidences], axis=0)


def recalibrate(network: keras.Model, images: LabelledImages, settings: TrainSettings) -> None:
    """Set BatchNorm's means and variances to their averages over training batches, weights as they are now.

    The moving averages lag behind weights that moved fast (Izmailov et al., arXiv:1803.05407, section 3.2).
    """
    layers = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    if not layers:
        return
    statistics = [variable for layer in layers for variable in (layer.moving_mean, layer.moving_variance)]
    shares = [1 - layer.momentum for layer in layers for _ in range(2)]

    @tf.function
    def batch_statistics(batch: Any) -> list[Any]:
        # From 0, one training pass leaves (1 - momentum) times the batch's own statistics.
        for variable in statistics:
            variable.assign(tf.zeros_like(variable))
        network(batch, training=True)
        return [variable.value / share for variable, share in zip(statistics, shares, strict=True)]

    count = max(1, min(RECALIBRATION_IMAGES, len(images)) // settings.batch_size)
    order = generator(settings.seed, "recalibration").permutation(len(images))
    totals: list[Any] = [0.0] * len(statistics)
    for i in range(count):
        batch = images.images[order[i * settings.batch_size : (i + 1) * settings.batch_size]]
        totals = [total + part.numpy() for total, part in zip(totals, batch_statistics(batch), strict=True)]
    for variable, total in zip(statistics, totals, strict=True):
        variable.assign(total / count)
