"""Gradient descent on the pixels of many images at once, compiled, each image on its own.

Losses are summed over the batch, Adam's state is kept per pixel and batches are filled up to a fixed size, so an
image's result is the same alone and in any company (see `LANES` for large networks).
The field calls it activation maximisation (Erhan et al. 2009): hence ascent; the loss descends.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, NDArray

from mnist_cnn.input_optimization import checks, objectives, penalties
from mnist_cnn.input_optimization.inversion import WantedFeatures
from mnist_cnn.input_optimization.result import AscentResult, empty_result, warn_of_failure
from mnist_cnn.models import logits, transforms
from mnist_cnn.models.forward import Kept, form_of
from mnist_cnn.models.logits import UNIT
from mnist_cnn.settings import AscentSettings
from mnist_cnn.settings.errors import Notice

LARGEST_BATCH = 256
"""Images that share a batch where memory allows."""

LANES = 64
"""Batches are filled up to a multiple of this, for TensorFlow's kernels round otherwise in a batch of another size,
and a few hundred steps make another image of another last digit.

Not so for a large network, one whose activations for `LANES` images take more than `LANES_GIB`: there the filling
would cost more than it is worth. Its images are those of the plain loop when searched one by one, as a small
`memory_gib` makes it; in company they differ by as much as the network makes of a last digit.
"""

LANES_GIB = 1 / 16

SECONDS_BETWEEN_REPORTS = 0.5
"""How often `on_progress` is called, where a single step does not take longer."""

POSE, DIRECTION = -1, -2
"""In place of a step's number for what an image draws once and keeps."""

_AFFINE = ("shift", "degrees", "scale")
_WEIGHTS = (*(f"{name}_weight" for name in penalties.PENALTIES), "feature_weight")
_SCHEDULE = ("l2_weight_first", "l2_until", "inversion_weight", "inversion_from", "inversion_until")
_NUMBERS = ("learning_rate", "temperature", *_WEIGHTS, *_SCHEDULE, "pose", *_AFFINE, "noise")
"""Settings that every image has one of its own of."""

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7
"""Adam's constants as Keras has them (Kingma & Ba, arXiv:1412.6980)."""


class AscentDiverged(ArithmeticError):
    """A network's output became NaN or infinite; the message names image and step."""


def ascend(
    network: keras.Model,
    starts: ArrayLike,
    targets: ArrayLike,
    settings: AscentSettings | None = None,
    *,
    features: WantedFeatures | None = None,
    value_range: tuple[float, float] = UNIT,
    on_progress: Callable[[int, int], None] | None = None,
    on_snapshot: Callable[[AscentResult, int], None] | None = None,
) -> AscentResult:
    """Change images step by step until `network` sees in them what `targets` say.

    network: any Keras classifier of images that ends in logits, softmax or sigmoids; it is not changed.
    starts: (n, height, width, channels) within `value_range`, or the form that the network takes.
    targets: (n, k) or (k,) shares of the classes, rows sum to 1.
    settings: numbers for all images, or arrays of n for all but steps, schedule and objective.
    features: what `inversion_weight` leads to, a row for each image: see `inversion.statistics`.
    value_range: what is black and what is white to the network: (0, 255) for one with its preprocessing inside.
    Learning rate, penalties and noise are in shares of this range, whatever it is.
    on_progress: called with image-steps done and image-steps in all.
    on_snapshot: called with the result, which is filled up to and with a snapshot, and that snapshot's index. What it
    raises ends the search.

    Raises `SettingError` for input that does not fit, `AscentDiverged` for an output that is not finite. What works and
    looks wrong is said in a `Notice`, which is a warning.
    """
    settings = settings or AscentSettings()
    value_range = checks.checked_range(value_range)
    images = checks.checked_starts(starts, network, value_range)
    numbers = {name: checks.spread(settings, name, len(images), np.float32) for name in _NUMBERS}
    seeds = checks.spread(settings, "seed", len(images), np.int32)
    loop = _loop_for(network, images.shape[1:], numbers, settings, value_range)
    for text in loop.notices:
        warnings.warn(text, Notice, stacklevel=2)
    wanted = checks.checked_targets(targets, len(images), loop.num_classes)
    led_to = np.zeros((len(images), 0), np.float32)
    if numbers["inversion_weight"].any():
        led_to = checks.checked_features(features, len(images), loop.num_features)
        numbers["inversion_weight"] = numbers["inversion_weight"] / np.float32(features.scale if features else 1)
    found = empty_result(form_of(network, images.shape[1:]), wanted, settings)
    batch, lanes = loop.batch_size(settings.memory_gib)
    searches = []
    for first in range(0, len(images), batch):
        part = slice(first, min(first + batch, len(images)))
        filled = np.arange(part.start, part.stop)
        filled = np.pad(filled, (0, -len(filled) % lanes), mode="edge")  # the last image once more, and not looked at
        own = {name: tf.constant(values[filled]) for name, values in numbers.items()}
        chunk = _Chunk(tf.constant(wanted[filled]), tf.constant(led_to[filled]), tf.constant(seeds[filled]), own)
        searches.append(_Search(loop, chunk, images[filled], part))
    total = settings.steps * len(images)

    def report() -> None:
        if on_progress is not None:
            on_progress(sum(search.done * search.size for search in searches), total)

    for index, until in enumerate(found.steps.tolist()):
        for search in searches:
            if until:
                search.advance(until, report)
            search.measure(found, index)
        if on_snapshot is not None:
            on_snapshot(found, index)
    for search in searches:
        search.write_best(found)
    warn_of_failure(found, settings, value_range)
    return found


class _Chunk(NamedTuple):
    """What stays the same for m images that share a batch.

    targets: (m, k). features: (m, d), or (m, 0) where none are asked for. seeds: (m,). numbers: `_NUMBERS`, (m,) each.
    """

    targets: Any
    features: Any
    seeds: Any
    numbers: dict[str, Any]


class _State(NamedTuple):
    """Where m searches stand: images, Adam's two moments, and the best so far."""

    images: Any
    first_moments: Any
    second_moments: Any
    best_images: Any
    best_losses: Any
    best_steps: Any

    def with_best(self, losses: Any, step: Any) -> _State:
        """The state with its best replaced where the images, as they are after `step` steps, have a lower loss."""
        better = losses < self.best_losses
        return self._replace(
            best_images=tf.where(better[:, tf.newaxis, tf.newaxis, tf.newaxis], self.images, self.best_images),
            best_losses=tf.where(better, losses, self.best_losses),
            best_steps=tf.where(better, step, self.best_steps),
        )


class _Search:
    """One chunk on its way. part: which images of the result it holds, besides its filling. done: steps so far."""

    def __init__(self, loop: _Loop, chunk: _Chunk, images: NDArray[np.float32], part: slice) -> None:
        self._loop, self._chunk, self._part = loop, chunk, part
        self.size, self.done, self._stride = part.stop - part.start, 0, 1
        start, zeros = tf.constant(images), tf.zeros_like(images)
        worst, first = tf.fill(len(images), np.float32(np.inf)), tf.zeros(len(images), tf.int32)
        self._state = _State(start, zeros, zeros, start, worst, first)

    def advance(self, until: int, report: Callable[[], None]) -> None:
        """Go on to step `until`, in strides that take about `SECONDS_BETWEEN_REPORTS`."""
        while self.done < until:
            started = time.perf_counter()
            count = min(self._stride, until - self.done)
            self._state = self._loop.advance(self._state, self._chunk, tf.constant(self.done), tf.constant(count))
            self.done += count
            report()
            if time.perf_counter() - started < SECONDS_BETWEEN_REPORTS / 2:
                self._stride *= 2

    def measure(self, result: AscentResult, index: int) -> None:
        """Write a snapshot of the images (not of the filling) into `result`."""
        numbers = self._loop.measure(self._state.images, self._chunk)
        finite = np.isfinite(numbers["losses"].numpy())
        if not finite.all():
            image = self._part.start + int(np.argmin(finite))
            raise AscentDiverged(
                f"the network's output for image {image} is not finite after {self.done} steps; "
                + ("try a lower `learning_rate`" if self.done else "the network itself gives NaN or infinity")
            )
        self._state = self._state.with_best(numbers["losses"], self.done)
        result.snapshots[index, self._part] = self._loop.shown(self._state.images)[: self.size]
        for name, values in numbers.items():
            getattr(result, name)[index, self._part] = values.numpy()[: self.size]

    def write_best(self, result: AscentResult) -> None:
        result.best_images[self._part] = self._loop.shown(self._state.best_images)[: self.size]
        for name in ("best_losses", "best_steps"):
            getattr(result, name)[self._part] = getattr(self._state, name).numpy()[: self.size]


class _Loop:
    """The compiled functions for one network, shape of images, and choice of terms."""

    def __init__(
        self,
        network: keras.Model,
        shape: tuple[int, ...],
        active: frozenset[str],
        settings: AscentSettings,
        value_range: tuple[float, float],
    ) -> None:
        self._logits = logits.Logits(network, shape, value_range)
        self.num_classes, self.num_features = self._logits.num_classes, self._logits.num_features
        self.notices = self._logits.notices
        self._range, self._form = value_range, form_of(network, shape)
        self._penalties = {name: cost for name, cost in penalties.PENALTIES.items() if f"{name}_weight" in active}
        of_head = "sigmoid_" if self._logits.is_sigmoid else ""
        self._cross_entropy = getattr(objectives, f"{of_head}cross_entropy")
        self._kl_divergence = getattr(objectives, f"{of_head}kl_divergence")
        is_plain = settings.objective == "cross_entropy"
        self._objective = self._cross_entropy if is_plain else getattr(objectives, settings.objective)
        self._active = active
        self._is_scheduled = bool(active & {"l2_weight_first", "inversion_weight"})
        # Losses of two steps can be compared where nothing is drawn and no weight moves in between.
        self._can_compare = not (self._is_scheduled or active & {"pose", *_AFFINE, "noise"})
        self._steps, self._decays = settings.steps, settings.schedule == "cosine"
        images = tf.TensorSpec((None, *shape), tf.float32)
        numbers, whole = tf.TensorSpec((None,), tf.float32), tf.TensorSpec((None,), tf.int32)
        table, count = tf.TensorSpec((None, None), tf.float32), tf.TensorSpec((), tf.int32)
        state = _State(images, images, images, images, numbers, whole)
        chunk = _Chunk(table, table, whole, dict.fromkeys(_NUMBERS, numbers))
        self.advance = tf.function(self._advance, input_signature=[state, chunk, count, count], autograph=False)
        self.measure = tf.function(self._measure, input_signature=[images, chunk], autograph=False)

    def shown(self, images: Any) -> NDArray[np.float32]:
        """Images (m, height, width, channels) in [0, 1] as the network takes them: in its range and form."""
        low, high = self._range
        values = images.numpy() if self._range == UNIT else low + (high - low) * images.numpy()
        return values.reshape(-1, *self._form)

    def batch_size(self, memory_gib: float) -> tuple[int, int]:
        """How many images share a batch, and the number whose multiples batches are filled up to.

        Activations are held once forward and once backward.
        """
        gib_per_image = 2 * self._logits.bytes_per_image / 2**30
        lanes = LANES if LANES * gib_per_image <= LANES_GIB else 1
        batch = int(min(LARGEST_BATCH, max(1, memory_gib // gib_per_image)))
        return (batch - batch % lanes, lanes) if batch >= lanes else (batch, batch)

    def _advance(self, state: _State, chunk: _Chunk, first: Any, count: Any) -> _State:
        """`count` steps, the first of which is number `first` (from 0)."""

        def step(number: Any, state: _State) -> tuple[Any, _State]:
            losses, gradients = self._losses_and_gradients(state.images, chunk, number)
            if self._can_compare:
                state = state.with_best(losses, number)
            return number + 1, self._adam(state, gradients, chunk.numbers["learning_rate"], number)

        _, state = tf.while_loop(lambda number, _: number < first + count, step, (first, state))
        return state

    def _losses_and_gradients(self, images: Any, chunk: _Chunk, step: Any) -> tuple[Any, Any]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            seen, *bare = penalties.copies(images, 1 + len(self._penalties))
            chunk = chunk._replace(numbers=self._numbers_at(step, chunk.numbers))
            parts = self._logits.parts(self._transformed(seen, chunk, step))
            terms = [self._towards(parts.logits, chunk), *self._side_terms(bare, parts, chunk)]
        # The gradient of each image's own losses: images do not enter each other's.
        return tf.reduce_sum(terms, axis=0), tape.gradient(terms, images)

    def _numbers_at(self, step: Any, numbers: dict[str, Any]) -> dict[str, Any]:
        """The numbers that hold at a step: the weights that move are where their schedules have them."""
        if not self._is_scheduled:
            return numbers
        done = tf.cast(step, tf.float32) / self._steps

        def way(start: Any, end: Any) -> Any:
            return tf.clip_by_value((done - start) / tf.maximum(end - start, 1e-6), 0.0, 1.0)

        moved = numbers["inversion_weight"] * way(numbers["inversion_from"], numbers["inversion_until"])
        first, last = numbers["l2_weight_first"], numbers["l2_weight"]
        fallen = tf.where(first > 0, first + (last - first) * way(0.0, numbers["l2_until"]), last)
        return {**numbers, "inversion_weight": moved, "l2_weight": fallen}

    def _towards(self, logits: Any, chunk: _Chunk) -> Any:
        return self._objective(logits / chunk.numbers["temperature"][:, tf.newaxis], chunk.targets)

    def _side_terms(self, images: list[Any], parts: logits.Parts, chunk: _Chunk) -> list[Any]:
        """Weighted penalties, of a copy of the images each, the feature direction, the distance to wanted features."""
        terms = [
            chunk.numbers[f"{name}_weight"] * cost(copy)
            for (name, cost), copy in zip(self._penalties.items(), images, strict=True)
        ]
        if "feature_weight" in self._active:
            terms.append(-chunk.numbers["feature_weight"] * _along_own_direction(parts.feature_map, chunk.seeds))
        if "inversion_weight" in self._active:
            distances = tf.reduce_mean(tf.square(parts.features - chunk.features), axis=1)
            terms.append(chunk.numbers["inversion_weight"] * distances)
        return terms

    def _transformed(self, images: Any, chunk: _Chunk, step: Any) -> Any:
        numbers, seeds = chunk.numbers, chunk.seeds
        if "pose" in self._active:
            draws = transforms.draws_of_images(seeds, POSE, transforms.NUM_AFFINE_DRAWS)
            images = transforms.random_pose(images, draws, numbers["pose"])
        if self._active & set(_AFFINE):
            draws = transforms.draws_of_images(seeds, step, transforms.NUM_AFFINE_DRAWS)
            images = transforms.random_affine(images, draws, **{name: numbers[name] for name in _AFFINE})
        if "noise" in self._active:
            images = transforms.random_noise(images, seeds, step, numbers["noise"])
        return images

    def _adam(self, state: _State, gradients: Any, learning_rates: Any, step: Any) -> _State:
        """Adam in the order of operations of `keras.optimizers.Adam`, then clip to [0, 1]."""
        time = tf.cast(step + 1, tf.float32)
        rates = learning_rates * tf.sqrt(1 - tf.pow(BETA_2, time)) / (1 - tf.pow(BETA_1, time))
        if self._decays:
            rates *= 0.5 * (1 + tf.cos(np.pi * tf.cast(step, tf.float32) / self._steps))
        first = state.first_moments + (gradients - state.first_moments) * (1 - BETA_1)
        second = state.second_moments + (tf.square(gradients) - state.second_moments) * (1 - BETA_2)
        images = state.images - first * rates[:, tf.newaxis, tf.newaxis, tf.newaxis] / (tf.sqrt(second) + EPSILON)
        return state._replace(images=tf.clip_by_value(images, 0.0, 1.0), first_moments=first, second_moments=second)

    def _measure(self, images: Any, chunk: _Chunk) -> dict[str, Any]:
        """What a snapshot says of m images, by the names that `AscentResult` has for it."""
        parts = self._logits.parts(images)
        objective = self._towards(parts.logits, chunk)
        paid = self._side_terms([images] * len(self._penalties), parts, chunk)
        return {
            "losses": tf.reduce_sum([objective, *paid], axis=0),
            "objectives": objective,
            "cross_entropies": self._cross_entropy(parts.logits, chunk.targets),
            "kl_divergences": self._kl_divergence(parts.logits, chunk.targets),
            "probabilities": self._logits.probabilities(parts.logits),
        }


def _along_own_direction(features: Any, seeds: Any) -> Any:
    """(m,): how far each image's features (m, height, width, channels) reach in a random direction of its own.

    The direction has the length 1 and is the same at every step. Olah et al., "Feature Visualization", Distill 2017,
    look at random directions so; here they are a side objective that makes one drawing of a class unlike the next.
    """
    size = math.prod(features.shape[1:])
    draws = tf.transpose(transforms.draws_of_images(seeds, DIRECTION, size))
    directions = draws / tf.norm(draws, axis=1, keepdims=True)
    return tf.reduce_sum(directions * tf.reshape(features, (-1, size)), axis=1)


_LOOPS: Kept[_Loop] = Kept()


def _loop_for(
    network: keras.Model,
    shape: tuple[int, ...],
    numbers: dict[str, NDArray[Any]],
    settings: AscentSettings,
    value_range: tuple[float, float] = UNIT,
) -> _Loop:
    """A loop compiled before where there is one: compiling takes as long as hundreds of steps.

    What is 0 for all images is left out; other numbers do not matter, so that a sweep compiles once.
    """
    active = frozenset(name for name in _NUMBERS if numbers[name].any())
    if "l2_weight_first" in active:
        active |= {"l2_weight"}
    is_scheduled = settings.schedule == "cosine" or active & {"l2_weight_first", "inversion_weight"}
    total = settings.steps if is_scheduled else None
    key = (active, settings.objective, settings.schedule, total, value_range)
    return _LOOPS.get(network, shape, key, lambda forward: _Loop(network, shape, active, settings, value_range))
