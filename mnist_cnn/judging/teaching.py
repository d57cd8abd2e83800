"""Students that learn from images alone, and what else is known of the images: variety, nearness, legibility."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mnist_cnn.data import intervals
from mnist_cnn.data.dataset import LabelledImages, Split
from mnist_cnn.judging import variety
from mnist_cnn.judging.feature_spaces import FeatureSpaces
from mnist_cnn.judging.scorecard import Scorecard, Scorer
from mnist_cnn.models import networks, transforms
from mnist_cnn.runtime.randomness import derive_seed, generator
from mnist_cnn.settings import TrainSettings
from mnist_cnn.training import evaluation, loop

RECIPE = TrainSettings(epochs=20, learning_rate=0.01, label_smoothing=0.1)
"""Of every student: the network `compact`, and labels that name the class alone, a tenth spread evenly over all.
Chosen by `benchmarks.student_recipes`: no dreamed digit and no test image decided it."""

AUGMENTATIONS = {"plain": 0.0, "augmented": 1.0}
"""Kinds of students, and the strength of the random shifts, turns and sizes that each is taught with."""

POSE = 0.65
"""Of the control: as strong as the readable digits' pose."""


@dataclass(frozen=True)
class Taught:
    """A set of images, and the test accuracies of its students, by kind.

    numbers: the measures of variety, by the names under which a run holds them. card: what judges say.
    """

    images: LabelledImages
    accuracies: Mapping[str, tuple[float, ...]]
    numbers: Mapping[str, float]
    card: Scorecard

    def metrics(self) -> dict[str, float]:
        """All numbers; of the students mean and 95 % interval over their seeds."""
        found = {f"cas_{kind}": float(np.mean(values)) for kind, values in self.accuracies.items()}
        for kind, values in self.accuracies.items():
            if len(values) > 1:
                low, high = intervals.mean_interval(values, 0, 1)
                found |= {f"cas_{kind}_low": low, f"cas_{kind}_high": high}
        judged = {name: value for name, value in self.card.metrics().items() if not name.startswith("judges_")}
        return {name: value for name, value in {**found, **judged, **self.numbers}.items() if math.isfinite(value)}


def teach(images: LabelledImages, seed: int, augmentation: float, recipe: TrainSettings = RECIPE) -> keras.Model:
    """A student: a fresh network that has seen these images and no others."""
    settings = recipe.replace(seed=seed, augmentation=augmentation, batch_size=min(recipe.batch_size, len(images)))
    network = networks.build(settings.network, seed, num_classes=images.num_classes)
    # What validates decides nothing, and is not a real digit either.
    loop.train(network, Split(images, images.part(slice(settings.batch_size), "the first")), settings)
    return network


def tested(
    images: LabelledImages,
    test: LabelledImages,
    seeds: Sequence[int],
    recipe: TrainSettings = RECIPE,
    on_student: Callable[[str, int, keras.Model, float], None] | None = None,
) -> dict[str, tuple[float, ...]]:
    """Teach a student of each kind with each seed, and test them on real images: their accuracies, by kind.

    on_student: called with kind, number (from 0), network and test accuracy of each.
    """
    accuracies: dict[str, tuple[float, ...]] = {kind: () for kind in AUGMENTATIONS}
    for kind, augmentation in AUGMENTATIONS.items():
        for number, seed in enumerate(seeds):
            network = teach(images, seed, augmentation, recipe)
            accuracy = evaluation.evaluate(network, test).accuracy
            accuracies[kind] += (accuracy,)
            if on_student is not None:
                on_student(kind, number, network, accuracy)
    return accuracies


def taught(
    images: LabelledImages,
    data: Split,
    test: LabelledImages,
    scorer: Scorer,
    spaces: FeatureSpaces,
    students: int,
    on_student: Callable[[str, int, keras.Model, float], None] | None = None,
) -> Taught:
    """Teach `students` of each kind, test them on real images, and measure the images.

    data: real images to compare with. on_student: as for `tested`.
    """
    targets = np.eye(data.train.num_classes, dtype=np.float32)[images.labels]
    numbers, card = measured(images, data, spaces), scorer(images.images, targets)
    seeds = [derive_seed(number, "student") for number in range(students)]
    accuracies = tested(images, test, seeds, on_student=on_student)
    return Taught(images, accuracies, numbers, card)


def measured(images: LabelledImages, data: Split, spaces: FeatureSpaces) -> dict[str, float]:
    """Variety and nearness of images with labels, against real ones of the same classes."""
    real, classes = data.train, images.labels.astype(np.int64)
    ours, theirs = spaces.of(images.images), spaces.of(real.images)
    picks = [_balanced(labels, variety.COUNT) for labels in (real.labels, images.labels)]
    found: dict[str, float] = {}
    for name in ours:
        pooled = variety.coverage(theirs[name][picks[0]], ours[name][picks[1]])
        found |= pooled.metrics(name)
        ratios = variety.vendi_ratio(theirs[name], real.labels, ours[name], classes)
        found |= {f"{name}/vendi_ratio": float(np.mean(list(ratios.values())))}
        found |= {f"{name}/vendi_ratio/{number}": ratio for number, ratio in ratios.items()}
        some = generator(0, "Frechet distance").permutation(len(real))[: max(len(images), 2)]
        found[f"{name}/frechet_distance"] = variety.frechet_distance(theirs[name][some], ours[name])
        for number in np.unique(classes):
            own, other = (labels == number for labels in (images.labels, real.labels))
            both = theirs[name][other][: variety.COUNT], ours[name][own][: variety.COUNT]
            if min(map(len, both)) > variety.NEIGHBOURS:
                found |= {f"{key}/{number}": value for key, value in variety.coverage(*both).metrics(name).items()}
    held_out = data.validation
    found["deskewed_diversity"] = variety.deskewed_diversity(images.images, classes, real.images, real.labels)
    found["memorised_share"] = variety.memorised_share(
        images.images, classes, real.images, real.labels, held_out.images, held_out.labels
    )
    return found


def _balanced(labels: NDArray[np.integer], count: int) -> NDArray[np.int64]:
    """Indices of at most `count` images, as many of each class as of every other."""
    classes = np.unique(labels)
    return np.concatenate([np.flatnonzero(labels == number)[: count // len(classes)] for number in classes])


def posed_digits(data: LabelledImages, per_class: int, seed: int = 0) -> LabelledImages:
    """The control: one real digit of each class, drawn at random, in random poses and no other shape."""
    classes = np.unique(data.labels)
    drawn = [generator(seed, "posed", int(number)).choice(np.flatnonzero(data.labels == number)) for number in classes]
    images = np.repeat(data.images[drawn], per_class, axis=0)
    seeds = np.array([derive_seed(seed, "pose", i) for i in range(len(images))], np.int32)
    draws = transforms.draws_of_images(tf.constant(seeds), -1, transforms.NUM_AFFINE_DRAWS)
    posed = transforms.random_pose(tf.constant(images), draws, POSE)
    labels = np.repeat(classes, per_class).astype(np.int32)
    return LabelledImages(posed.numpy(), labels, "", "one posed digit a class", "posed", data.class_names)


def real_digits(data: LabelledImages, per_class: int) -> LabelledImages:
    """As many real digits of each class, the first ones."""
    chosen = np.concatenate([np.flatnonzero(data.labels == number)[:per_class] for number in np.unique(data.labels)])
    return data.part(chosen, f"{per_class} a class")
