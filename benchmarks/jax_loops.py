"""Training, adversaries and searches of the project's networks in JAX, for machines that have no TensorFlow.

Written after `mnist_cnn.training.loop`, `mnist_cnn.training.attacks` and `mnist_cnn.input_optimization.ascent`, which
need TensorFlow. Whole epochs and whole searches are one compiled program each. Networks and settings are the project's.
"""

# ruff: noqa: E402

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from mnist_cnn.settings import AscentSettings, TrainSettings, backend

if "keras" not in sys.modules:  # a test that has Keras on TensorFlow already compares the two
    os.environ["KERAS_BACKEND"] = backend.NEEDED = "jax"

import jax
import jax.numpy as jnp
import keras
import numpy as np

from mnist_cnn.data.dataset import LabelledImages
from mnist_cnn.models import networks
from mnist_cnn.runtime.randomness import generator

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7  # Adam's, as Keras has them
WARM_UP, EVERY_NOISY, OFF_MANIFOLD_EVERY, RECALIBRATION_IMAGES = 0.2, 3, 2, 4096  # those of training.loop
STEP_SHARE, TINY = 2.5, 1e-12  # those of training.attacks


class Values(NamedTuple):
    """What a network consists of: its trainable variables and the others, as lists in Keras' order."""

    trainable: Any
    others: Any


class State(NamedTuple):
    """Where a training stands: the network's values, Adam's two moments, and the steps done."""

    values: Values
    moments: Any
    step: Any


def adam(values: Any, gradients: Any, moments: Any, rate: Any, number: Any) -> tuple[Any, Any]:
    """A step of Adam in the order of operations of `keras.optimizers.Adam`. number: of the step, from 0."""
    moved = number + 1.0
    rate = rate * jnp.sqrt(1 - BETA_2**moved) / (1 - BETA_1**moved)
    first = jax.tree.map(lambda m, g: m + (g - m) * (1 - BETA_1), moments[0], gradients)
    second = jax.tree.map(lambda v, g: v + (jnp.square(g) - v) * (1 - BETA_2), moments[1], gradients)
    values = jax.tree.map(lambda x, m, v: x - m * rate / (jnp.sqrt(v) + EPSILON), values, first, second)
    return values, (first, second)


def cross_entropies(logits: Any, targets: Any) -> Any:
    """Of each row, in nats."""
    return -jnp.sum(targets * jax.nn.log_softmax(logits), axis=1)


def learning_rates(schedule: str, peak: float, num_steps: int) -> np.ndarray:
    """`training.loop.learning_rates`."""
    if schedule == "constant":
        return np.full(num_steps, peak, np.float32)
    step, rise = np.arange(num_steps), max(1, round(num_steps * WARM_UP))
    fall = np.clip((step - rise) / max(1, num_steps - rise), 0, 1)
    return (peak * np.minimum(1, (step + 1) / rise) * 0.5 * (1 + np.cos(np.pi * fall))).astype(np.float32)


def strengths(ramp: float, num_steps: int) -> np.ndarray:
    """`training.loop.strengths`."""
    return np.minimum(1, (np.arange(num_steps) + 1) / max(1, ramp * num_steps)).astype(np.float32)


def attack_steps(most: int, ramps: np.ndarray) -> np.ndarray:
    """`training.loop.attack_steps`, for each step of a training."""
    return np.array([math.ceil(most * math.ceil(4 * ramp) / 4) for ramp in ramps.tolist()], np.int32)


def epoch_order(seed: int, epoch: int, num_images: int, batch_size: int) -> np.ndarray:
    """`training.loop.epoch_order`."""
    order = generator(seed, "order", epoch).permutation(num_images).astype(np.int32)
    return np.resize(order, (math.ceil(num_images / batch_size), batch_size))


def norms(images: Any) -> Any:
    return jnp.maximum(jnp.sqrt(jnp.sum(jnp.square(images), axis=(1, 2, 3), keepdims=True)), TINY)


def raise_loss(losses: Callable[[Any], Any], images: Any, radius: Any, steps: Any, key: Any) -> Any:
    """`training.attacks.raise_loss`: images in a ball around `images` for which `losses` is higher."""
    direction, distance = jax.random.split(key)
    normals = jax.random.normal(direction, images.shape)
    distances = jax.random.uniform(distance, (len(images), 1, 1, 1))
    start = jnp.clip(images + radius * distances * normals / norms(normals), 0, 1)
    slope = jax.grad(lambda changed: losses(changed).sum())

    def step(_: Any, changed: Any) -> Any:
        gradients = slope(changed)
        offsets = changed + STEP_SHARE / steps * radius * gradients / norms(gradients) - images
        offsets *= jnp.minimum(1.0, radius / norms(offsets))
        return jnp.clip(images + offsets, 0, 1)

    return jax.lax.fori_loop(0, steps, step, start)


def off_manifold(images: Any, key: Any) -> Any:
    """`training.attacks.off_manifold`: half uniform noise, half `images` with their pixels shuffled."""
    half, (noise, order) = len(images) // 2, jax.random.split(key)
    pixels = images[half:].reshape(len(images) - half, -1)
    shuffled = jnp.take_along_axis(pixels, jnp.argsort(jax.random.uniform(order, pixels.shape), axis=1), axis=1)
    return jnp.concatenate([jax.random.uniform(noise, images[:half].shape), shuffled.reshape(images[half:].shape)])


def worst_cases(
    logits: Callable[[Any], Any], settings: TrainSettings, images: Any, targets: Any, ramp: Any, steps: Any, key: Any
) -> tuple[Any, Any, Any]:
    """`training.loop._worst_cases` of the regime `readable`: (images, targets, weights), no digits last."""
    share, noise, ball, others = jax.random.split(key, 4)
    size = len(images)
    sigma = jax.random.uniform(share, (size,)) * (jnp.arange(size) % EVERY_NOISY == 0) * settings.noise * ramp
    images = jnp.clip(images + sigma[:, None, None, None] * jax.random.normal(noise, images.shape), 0, 1)
    no_digits = off_manifold(images[::OFF_MANIFOLD_EVERY], others)
    doubt = jnp.full((len(no_digits), targets.shape[1]), 1 / targets.shape[1])
    weights = jnp.full(len(no_digits), settings.off_manifold * size / len(no_digits))

    def errors(changed: Any) -> Any:
        given = logits(changed)
        confidences = jax.nn.log_softmax(given[size:]).max(axis=1)
        return jnp.concatenate([cross_entropies(given[:size], targets), confidences])

    images = raise_loss(errors, jnp.concatenate([images, no_digits]), settings.epsilon * ramp, steps, ball)
    return images, jnp.concatenate([targets, doubt]), jnp.concatenate([jnp.ones(size), weights])


def values_of(network: keras.Model) -> Values:
    """A copy on the device of all that the network consists of."""
    copied = [[jnp.array(variable.value) for variable in kind]
              for kind in (network.trainable_variables, network.non_trainable_variables)]  # fmt: skip
    return Values(*copied)


def fill(network: keras.Model, values: Values) -> None:
    """Give the network these values."""
    for kind, own in zip((network.trainable_variables, network.non_trainable_variables), values, strict=True):
        for variable, value in zip(kind, own, strict=True):
            variable.assign(value)


def logits_of(network: keras.Model) -> Callable[[Values, Any], Any]:
    """The logits of images, from given values."""
    body = networks.with_logits(network)
    return lambda values, images: body.stateless_call(*values, images, training=False)[0]


def accuracy(network: keras.Model) -> Callable[[Values, LabelledImages], float]:
    forward = jax.jit(logits_of(network))

    def measure(values: Values, data: LabelledImages) -> float:
        parts = [slice(i, i + 1000) for i in range(0, len(data), 1000)]
        hits = [np.asarray(forward(values, data.images[part])).argmax(1) == data.labels[part] for part in parts]
        return float(np.concatenate(hits).mean())

    return measure


class Training:
    """All trainings of the same settings but the seed: the images on the device, and the compiled programs."""

    def __init__(self, settings: TrainSettings, train: LabelledImages, *, at_once: bool = False) -> None:
        """at_once: all epochs are one program, in place of one an epoch."""
        self.settings, self._num_images = settings, len(train)
        self.network = networks.for_training(settings, train.num_classes)
        self._body, self._logits = networks.with_logits(self.network), logits_of(self.network)
        start = time.perf_counter()
        self._images = jax.block_until_ready(jax.device_put((train.images, train.labels)))
        self.upload_seconds = time.perf_counter() - start
        self._calls = 1 if at_once else settings.epochs
        start, state, plan = time.perf_counter(), self.fresh(settings.seed), self._plan(settings.seed)
        self._run = jax.jit(self._steps, donate_argnums=0).lower(state, *self._images, *plan[0]).compile()
        self._recalibrate = None
        if settings.recalibrate and any(self._statistics()):
            batches = self._recalibration_order(settings.seed)
            self._recalibrate = jax.jit(self._recalibrated).lower(state.values, *self._images[:1], batches).compile()
        self.compile_seconds = time.perf_counter() - start

    def fresh(self, seed: int) -> State:
        values = values_of(networks.for_training(self.settings.replace(seed=seed), self.network.output_shape[-1]))
        moments = tuple(jax.tree.map(jnp.zeros_like, values.trainable) for _ in range(2))
        return jax.block_until_ready(State(values, moments, jnp.zeros((), jnp.int32)))

    def run(self, seed: int, on_epoch: Callable[[Values], None] = lambda values: None) -> tuple[Values, float]:
        """The trained network's values, and the seconds of all that depends on the seed but its first weights."""
        state, seconds, start = self.fresh(seed), 0.0, time.perf_counter()
        for number, part in enumerate(self._plan(seed), 1):
            state, losses = jax.block_until_ready(self._run(state, *self._images, *part))
            if number == self._calls and self._recalibrate:
                batches = self._recalibration_order(seed)
                state = state._replace(values=self._recalibrate(state.values, self._images[0], batches))
                jax.block_until_ready(state)
            seconds += time.perf_counter() - start
            if not np.isfinite(losses).all():
                raise ArithmeticError("the loss became NaN or infinite")
            on_epoch(state.values)
            start = time.perf_counter()
        return state.values, seconds

    def _plan(self, seed: int) -> list[tuple[Any, ...]]:
        """For each call of the program: indices, learning rate, strength, attack steps and key of each step."""
        own, epochs = self.settings, self.settings.epochs
        order = np.concatenate([epoch_order(seed, i + 1, self._num_images, own.batch_size) for i in range(epochs)])
        ramps = strengths(own.ramp, len(order))
        keys = jax.random.split(jax.random.key(seed), len(order))
        rates, steps = (
            learning_rates(own.schedule, own.learning_rate, len(order)),
            attack_steps(own.attack_steps, ramps),
        )
        size = len(order) // self._calls
        every = (slice(i * size, (i + 1) * size) for i in range(self._calls))
        return [(order[part], rates[part], ramps[part], steps[part], keys[part]) for part in every]

    def _steps(self, state: State, images: Any, labels: Any, *plan: Any) -> tuple[State, Any]:
        settings, body = self.settings, self._body

        def step(state: State, given: Any) -> tuple[State, Any]:
            indices, rate, ramp, steps, key = given
            batch, weights = images[indices], jnp.ones(len(indices))
            smoothing, classes = settings.label_smoothing, body.output_shape[-1]
            targets = jax.nn.one_hot(labels[indices], classes) * (1 - smoothing) + smoothing / classes
            values = state.values
            if settings.regime == "readable":
                logits = partial(self._logits, values)
                batch, targets, weights = worst_cases(logits, settings, batch, targets, ramp, steps, key)

            def loss(trainable: Any) -> tuple[Any, Any]:
                logits, others = body.stateless_call(trainable, values.others, batch, training=True)
                return jnp.sum(weights * cross_entropies(logits, targets)) / len(indices), others

            (lost, others), gradients = jax.value_and_grad(loss, has_aux=True)(values.trainable)
            trainable, moments = adam(values.trainable, gradients, state.moments, rate, state.step)
            return State(Values(trainable, others), moments, state.step + 1), lost

        return jax.lax.scan(step, state, plan)

    def _statistics(self) -> list[float]:
        """For each variable that is not trained: the share of a batch that enters it, 0 where it is no BatchNorm's."""
        shares = {
            id(variable): 1 - layer.momentum
            for layer in self.network.layers if isinstance(layer, keras.layers.BatchNormalization)
            for variable in (layer.moving_mean, layer.moving_variance)
        }  # fmt: skip
        return [shares.get(id(variable), 0.0) for variable in self._body.non_trainable_variables]

    def _recalibration_order(self, seed: int) -> Any:
        size = self.settings.batch_size
        count = max(1, min(RECALIBRATION_IMAGES, self._num_images) // size)
        order = generator(seed, "recalibration").permutation(self._num_images).astype(np.int32)
        return np.resize(order, (max(count * size, len(order)),))[: count * size].reshape(count, size)

    def _recalibrated(self, values: Values, images: Any, batches: Any) -> Values:
        """`training.loop.recalibrate`: BatchNorm's statistics are their averages over batches."""
        shares = self._statistics()
        empty = [jnp.zeros_like(own) if share else own for own, share in zip(values.others, shares, strict=True)]

        def of_batch(indices: Any) -> Any:
            left = self._body.stateless_call(values.trainable, empty, images[indices], training=True)[1]
            return [own / share for own, share in zip(left, shares, strict=True) if share]

        means = iter(jax.tree.map(lambda own: own.mean(axis=0), jax.lax.map(of_batch, batches)))
        others = [next(means) if share else own for own, share in zip(values.others, shares, strict=True)]
        return Values(values.trainable, others)


def searcher(network: keras.Model, settings: AscentSettings) -> Callable[[Values, Any, Any], Any]:
    """`input_optimization.ascent` with its defaults: final images from values, starts and targets (n, k)."""
    logits = logits_of(network)

    def search(values: Values, starts: Any, targets: Any) -> Any:
        def loss(images: Any) -> Any:
            paid = settings.l2_weight * jnp.sum(jnp.square(images), axis=(1, 2, 3))
            return jnp.sum(cross_entropies(logits(values, images), targets) + paid)

        def step(number: Any, state: Any) -> Any:
            images, moments = adam(state[0], jax.grad(loss)(state[0]), state[1], settings.learning_rate, number)
            return jnp.clip(images, 0, 1), moments

        zeros = jnp.zeros_like(starts)
        return jax.lax.fori_loop(0, settings.steps, step, (starts, (zeros, zeros)))[0]

    return jax.jit(search)
