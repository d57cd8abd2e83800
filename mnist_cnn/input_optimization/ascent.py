"""Gradient descent on the pixels of many images at once, compiled, each image on its own.

Losses are summed over the batch, Adam's state is kept per pixel and batches are filled up to a fixed size, so an
image's result is the same alone and in any company (see `LANES` for large networks).
The field calls it activation maximisation (Erhan et al. 2009): hence ascent; the loss descends.
"""

from __future__ import annotations

import math
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
import psutil
import tensorflow as tf
from numpy.typing import ArrayLike, NDArray

from mnist_cnn import networks, transforms
from mnist_cnn.command_line import SettingError
from mnist_cnn.input_optimization import objectives, penalties
from mnist_cnn.settings import AscentSettings

LARGEST_BATCH = 256
"""Images that share a batch where memory allows."""

LANES = 64
"""Batches are filled up to a multiple of this, for TensorFlow's kernels round otherwise in a batch of another size,
and a few hundred steps make another image of another last digit.

Not so for a large network, one whose activations for `LANES` images take more than `LANES_GIB`: there the filling
would cost more than it is worth. Its images are those of the plain loop when searched one by one; in company they
differ by as much as the network makes of a last digit.
"""

LANES_GIB = 1 / 16

SECONDS_BETWEEN_REPORTS = 0.5
"""How often `on_progress` is called, where a single step does not take longer."""

POSE, DIRECTION = -1, -2
"""In place of a step's number for what an image draws once and keeps."""

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7
"""Adam's constants as Keras has them (Kingma & Ba, arXiv:1412.6980)."""


class AscentDiverged(ArithmeticError):
    """A network's output became NaN or infinite; the message names image and step."""


@dataclass(frozen=True)
class AscentResult:
    """n searches with s snapshots on a network of k classes. All numbers are of the images as they are, untransformed.

    steps: (s,) int, steps done at each snapshot, the first 0.
    snapshots: (s, n, height, width, channels) float32 in [0, 1].
    losses: (s, n) objective plus weighted penalties. objectives: (s, n) the objective alone.
    cross_entropies, kl_divergences: (s, n) in nats, whatever the objective.
    probabilities: (s, n, k). targets: (n, k).
    best_images: (n, height, width, channels), each search's image of least loss. best_losses: (n,). best_steps: (n,).
    With random transforms the best is sought among the snapshots, else among all steps.
    """

    steps: NDArray[np.int64]
    snapshots: NDArray[np.float32]
    losses: NDArray[np.float32]
    objectives: NDArray[np.float32]
    cross_entropies: NDArray[np.float32]
    kl_divergences: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    targets: NDArray[np.float32]
    best_images: NDArray[np.float32]
    best_losses: NDArray[np.float32]
    best_steps: NDArray[np.int64]

    @property
    def final(self) -> NDArray[np.float32]:
        """(n, height, width, channels): the images after the last step."""
        return self.snapshots[-1]

    @property
    def penalties(self) -> NDArray[np.float32]:
        """(s, n): what the weighted penalties add to the objective."""
        return self.losses - self.objectives

    @property
    def target_probabilities(self) -> NDArray[np.float32]:
        """(s, n): probability that the network gives to the classes of the target, taken together."""
        return np.where(self.targets > 0, self.probabilities, 0).sum(axis=-1)

    def metrics(self, snapshot: int) -> dict[str, float]:
        """One snapshot's means over the searches, by the names under which a run holds them."""
        first_choices = self.probabilities[snapshot].argmax(axis=1)
        return {
            "loss": float(self.losses[snapshot].mean()),
            "cross_entropy": float(self.cross_entropies[snapshot].mean()),
            "kl_divergence": float(self.kl_divergences[snapshot].mean()),
            "penalty": float(self.penalties[snapshot].mean()),
            "target_probability": float(self.target_probabilities[snapshot].mean()),
            "hit_share": float((self.targets[np.arange(len(first_choices)), first_choices] > 0).mean()),
        }


def ascend(
    network: keras.Model,
    starts: ArrayLike,
    targets: ArrayLike,
    settings: AscentSettings | None = None,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> AscentResult:
    """Change images step by step until `network` sees in them what `targets` say.

    network: any Keras classifier of images that ends in logits or in softmax; it is not changed.
    starts: (n, height, width, channels) in [0, 1]. targets: (n, k) or (k,) shares of the classes, rows sum to 1.
    settings: numbers for all images, or arrays of n for learning rate, weights and seed.
    on_progress: called with image-steps done and image-steps in all.

    Raises `SettingError` for input that does not fit, `AscentDiverged` for an output that is not finite.
    """
    settings = settings or AscentSettings()
    images = _checked_starts(starts, network)
    learning_rates = _spread(settings, "learning_rate", len(images), np.float32)
    seeds = _spread(settings, "seed", len(images), np.int32)
    weights = {name: _spread(settings, f"{name}_weight", len(images), np.float32) for name in penalties.PENALTIES}
    feature_weights = _spread(settings, "feature_weight", len(images), np.float32)
    paid = tuple(name for name in weights if weights[name].any())
    loop = _loop_for(network, images.shape[1:], paid, settings, bool(feature_weights.any()))
    wanted = _checked_targets(targets, len(images), loop.num_classes)
    result = _empty_result(images, wanted, settings)
    batch, lanes = loop.batch_size(settings.memory_gib)
    for first in range(0, len(images), batch):
        part = slice(first, first + batch)
        filled = np.arange(first, min(first + batch, len(images)))
        filled = np.pad(filled, (0, -len(filled) % lanes), mode="edge")  # the last image once more, and not looked at
        chunk = _Chunk(
            targets=tf.constant(wanted[filled]),
            learning_rates=tf.constant(learning_rates[filled]),
            weights=tf.constant(np.stack([weights[name][filled] for name in paid or ("l2",)])),
            feature_weights=tf.constant(feature_weights[filled]),
            seeds=tf.constant(seeds[filled]),
        )

        def report(done: int, first: int = first, size: int = len(images[part])) -> None:
            if on_progress is not None:
                on_progress(first * settings.steps + done * size, len(images) * settings.steps)

        _search(loop, chunk, images[filled], result, part, report)
    return result


class _Chunk(NamedTuple):
    """What stays the same for m images that share a batch. weights: (number of penalties, m)."""

    targets: Any
    learning_rates: Any
    weights: Any
    feature_weights: Any
    seeds: Any


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


class _Numbers(NamedTuple):
    """What a snapshot says of m images, by the names that `AscentResult` has for it."""

    losses: Any
    objectives: Any
    cross_entropies: Any
    kl_divergences: Any
    probabilities: Any


def _search(
    loop: _Loop,
    chunk: _Chunk,
    images: NDArray[np.float32],
    result: AscentResult,
    part: slice,
    report: Callable[[int], None],
) -> None:
    """Run one chunk from start to end, and write what comes out for its images (not its filling) into `result`."""
    size = len(result.best_losses[part])
    start, zeros = tf.constant(images), tf.zeros_like(images)
    state = _State(
        start, zeros, zeros, start, tf.fill(len(images), np.float32(np.inf)), tf.zeros(len(images), tf.int32)
    )
    done, stride = 0, 1
    for index, until in enumerate(result.steps.tolist()):
        while done < until:
            started = time.perf_counter()
            count = min(stride, until - done)
            state = loop.advance(state, chunk, tf.constant(done), tf.constant(count))
            done += count
            report(done)
            if time.perf_counter() - started < SECONDS_BETWEEN_REPORTS / 2:
                stride *= 2
        numbers = loop.measure(state.images, chunk)
        finite = np.isfinite(numbers.losses.numpy())
        if not finite.all():
            image = part.start + int(np.argmin(finite))
            raise AscentDiverged(
                f"the network's output for image {image} is not finite after {done} steps; "
                + ("try a lower `learning_rate`" if done else "the network itself gives NaN or infinity")
            )
        state = state.with_best(numbers.losses, done)
        result.snapshots[index, part] = state.images.numpy()[:size]
        for name, values in numbers._asdict().items():
            getattr(result, name)[index, part] = values.numpy()[:size]
    result.best_images[part] = state.best_images.numpy()[:size]
    result.best_losses[part] = state.best_losses.numpy()[:size]
    result.best_steps[part] = state.best_steps.numpy()[:size]


class _Loop:
    """The compiled functions for one network, shape of images, and choice of terms."""

    def __init__(
        self,
        network: keras.Model,
        shape: tuple[int, ...],
        paid: tuple[str, ...],
        settings: AscentSettings,
        with_direction: bool,
    ) -> None:
        self._logits = networks.Logits(network, shape)
        self._penalties = [penalties.PENALTIES[name] for name in paid]
        self._objective = getattr(objectives, settings.objective)
        self._settings = settings
        self._with_direction = with_direction
        images = tf.TensorSpec((None, *shape), tf.float32)
        numbers, whole = tf.TensorSpec((None,), tf.float32), tf.TensorSpec((None,), tf.int32)
        table, count = tf.TensorSpec((None, None), tf.float32), tf.TensorSpec((), tf.int32)
        state = _State(images, images, images, images, numbers, whole)
        chunk = _Chunk(table, numbers, table, numbers, whole)
        self.advance = tf.function(self._advance, input_signature=[state, chunk, count, count], autograph=False)
        self.measure = tf.function(self._measure, input_signature=[images, chunk], autograph=False)

    @property
    def num_classes(self) -> int:
        return self._logits.num_classes

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
            if not self._is_random:
                state = state.with_best(losses, number)
            return number + 1, self._adam(state, gradients, chunk.learning_rates, number)

        _, state = tf.while_loop(lambda number, _: number < first + count, step, (first, state))
        return state

    def _losses_and_gradients(self, images: Any, chunk: _Chunk, step: Any) -> tuple[Any, Any]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            seen, *bare = penalties.copies(images, 1 + len(self._penalties))
            logits, features = self._logits.with_features(self._transformed(seen, chunk.seeds, step))
            terms = [self._towards(logits, chunk.targets), *self._weighted_penalties(bare, chunk.weights)]
            if self._with_direction:
                terms.append(-chunk.feature_weights * _along_own_direction(features, chunk.seeds))
        # The gradient of each image's own losses: images do not enter each other's.
        return tf.reduce_sum(terms, axis=0), tape.gradient(terms, images)

    def _towards(self, logits: Any, targets: Any) -> Any:
        return self._objective(logits / self._settings.temperature, targets)

    def _weighted_penalties(self, images: list[Any], weights: Any) -> list[Any]:
        return [
            weights[i] * penalty(copy) for i, (penalty, copy) in enumerate(zip(self._penalties, images, strict=True))
        ]

    @property
    def _is_random(self) -> bool:
        settings = self._settings
        return max(settings.shift, settings.degrees, settings.scale, settings.noise, settings.pose) > 0

    def _transformed(self, images: Any, seeds: Any, step: Any) -> Any:
        settings = self._settings
        if settings.pose > 0:
            draws = transforms.draws_of_images(seeds, POSE, transforms.NUM_AFFINE_DRAWS)
            images = transforms.random_affine(
                images,
                draws,
                shift=settings.pose,
                degrees=12 * settings.pose,
                scale=0.12 * settings.pose,
                slant=0.25 * settings.pose,
            )
        if max(settings.shift, settings.degrees, settings.scale) > 0:
            draws = transforms.draws_of_images(seeds, step, transforms.NUM_AFFINE_DRAWS)
            images = transforms.random_affine(
                images, draws, shift=settings.shift, degrees=settings.degrees, scale=settings.scale
            )
        if settings.noise > 0:
            images = transforms.random_noise(images, seeds, step, settings.noise)
        return images

    def _adam(self, state: _State, gradients: Any, learning_rates: Any, step: Any) -> _State:
        """Adam in the order of operations of `keras.optimizers.Adam`, then clip to [0, 1]."""
        time = tf.cast(step + 1, tf.float32)
        rates = learning_rates * tf.sqrt(1 - tf.pow(BETA_2, time)) / (1 - tf.pow(BETA_1, time))
        if self._settings.schedule == "cosine":
            rates *= 0.5 * (1 + tf.cos(np.pi * tf.cast(step, tf.float32) / self._settings.steps))
        first = state.first_moments + (gradients - state.first_moments) * (1 - BETA_1)
        second = state.second_moments + (tf.square(gradients) - state.second_moments) * (1 - BETA_2)
        images = state.images - first * rates[:, tf.newaxis, tf.newaxis, tf.newaxis] / (tf.sqrt(second) + EPSILON)
        return state._replace(images=tf.clip_by_value(images, 0.0, 1.0), first_moments=first, second_moments=second)

    def _measure(self, images: Any, chunk: _Chunk) -> _Numbers:
        logits, features = self._logits.with_features(images)
        objective = self._towards(logits, chunk.targets)
        paid = self._weighted_penalties([images] * len(self._penalties), chunk.weights)
        if self._with_direction:
            paid.append(-chunk.feature_weights * _along_own_direction(features, chunk.seeds))
        return _Numbers(
            losses=tf.reduce_sum([objective, *paid], axis=0),
            objectives=objective,
            cross_entropies=objectives.cross_entropy(logits, chunk.targets),
            kl_divergences=objectives.kl_divergence(logits, chunk.targets),
            probabilities=tf.nn.softmax(logits),
        )


def _along_own_direction(features: Any, seeds: Any) -> Any:
    """(m,): how far each image's features (m, height, width, channels) reach in a random direction of its own.

    The direction has the length 1 and is the same at every step. Olah et al., "Feature Visualization", Distill 2017,
    look at random directions so; here they are a side objective that makes one drawing of a class unlike the next.
    """
    size = math.prod(features.shape[1:])
    draws = tf.transpose(transforms.draws_of_images(seeds, DIRECTION, size))
    directions = draws / tf.norm(draws, axis=1, keepdims=True)
    return tf.reduce_sum(directions * tf.reshape(features, (-1, size)), axis=1)


_LOOPS: weakref.WeakKeyDictionary[keras.Model, dict[tuple[Any, ...], _Loop]] = weakref.WeakKeyDictionary()


def _loop_for(
    network: keras.Model, shape: tuple[int, ...], paid: tuple[str, ...], settings: AscentSettings, with_direction: bool
) -> _Loop:
    """A loop compiled before where there is one: tracing takes as long as hundreds of steps."""
    total = settings.steps if settings.schedule == "cosine" else None
    transform = (settings.pose, settings.shift, settings.degrees, settings.scale, settings.noise)
    key = (shape, paid, with_direction, settings.objective, settings.temperature, settings.schedule, total, transform)
    loops = _LOOPS.setdefault(network, {})
    if key not in loops:
        loops[key] = _Loop(network, shape, paid, settings, with_direction)
    return loops[key]


def _spread(settings: AscentSettings, name: str, num_images: int, dtype: Any) -> NDArray[Any]:
    """A setting as one number for each image."""
    values = np.asarray(getattr(settings, name), dtype)
    if values.ndim > 1 or values.ndim == 1 and len(values) != num_images:
        raise SettingError(
            f"`{name}` must be one number or {num_images}, one for each image; got the shape {values.shape}."
        )
    return np.ascontiguousarray(np.broadcast_to(values, (num_images,)))


def _checked_starts(starts: ArrayLike, network: keras.Model) -> NDArray[np.float32]:
    images = np.asarray(starts)
    if images.ndim != 4 or len(images) == 0:
        raise SettingError(
            f"`starts` must have the shape (n, height, width, channels), n at least 1; got {images.shape}."
        )
    if images.dtype.kind not in "fiub":
        raise SettingError(f"`starts` must hold numbers from 0 to 1; got the dtype {images.dtype}.")
    images = images.astype(np.float32)
    low, high = images.min(), images.max()
    if not (low >= 0 and high <= 1):  # NaN included
        raise SettingError(f"`starts` must hold numbers from 0 to 1; they are from {low:g} to {high:g}.")
    expected = getattr(network, "input_shape", None)
    if isinstance(expected, tuple) and not tf.TensorShape(expected).is_compatible_with(images.shape):
        raise SettingError(f"`starts` must have the shape that the network takes, {expected}; got {images.shape}.")
    return images


def _checked_targets(targets: ArrayLike, num_images: int, num_classes: int) -> NDArray[np.float32]:
    shares = np.asarray(targets)
    if shares.dtype.kind not in "fiub" or shares.shape not in ((num_classes,), (num_images, num_classes)):
        raise SettingError(
            f"`targets` must have the shape ({num_images}, {num_classes}) or ({num_classes},), a share for each class "
            f"of the network; got {shares.shape} of {shares.dtype}."
        )
    shares = np.broadcast_to(shares.astype(np.float64), (num_images, num_classes))
    sums = shares.sum(axis=1)
    bad = ~((shares >= 0).all(axis=1) & (np.abs(sums - 1) < 1e-4))
    if bad.any():
        row = int(np.argmax(bad))
        raise SettingError(
            f"`targets` must hold shares of at least 0 that sum to 1; row {row} is "
            f"{np.array2string(shares[row], precision=4, threshold=20)}, with the sum {sums[row]:g}."
        )
    return (shares / sums[:, np.newaxis]).astype(np.float32)


def _empty_result(images: NDArray[np.float32], targets: NDArray[np.float32], settings: AscentSettings) -> AscentResult:
    steps = np.unique([*range(0, settings.steps, settings.snapshot_every), settings.steps])
    table = (len(steps), len(images))
    needed = 4 * (len(steps) * (images.size + len(images) * (4 + targets.shape[1])) + images.size)
    free = psutil.virtual_memory().available
    if needed > free:
        raise SettingError(
            f"`snapshot_every` of {settings.snapshot_every} keeps {len(steps):,} snapshots of {len(images):,} images, "
            f"{needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB of memory are free; keep fewer, or search in parts."
        )
    return AscentResult(
        steps=steps,
        snapshots=np.empty((*table, *images.shape[1:]), np.float32),
        losses=np.empty(table, np.float32),
        objectives=np.empty(table, np.float32),
        cross_entropies=np.empty(table, np.float32),
        kl_divergences=np.empty(table, np.float32),
        probabilities=np.empty((*table, targets.shape[1]), np.float32),
        targets=targets,
        best_images=np.empty_like(images),
        best_losses=np.empty(len(images), np.float32),
        best_steps=np.empty(len(images), np.int64),
    )
