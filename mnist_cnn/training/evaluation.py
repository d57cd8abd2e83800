"""What a network gets right, and how far its confidence can be trusted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mnist_cnn.data.dataset import LabelledImages, numbers
from mnist_cnn.data.intervals import wilson_interval
from mnist_cnn.models import logits
from mnist_cnn.models.forward import Kept, trace

NUM_CALIBRATION_BINS = 15


class NotFiniteError(ValueError):
    """The network gives NaN or infinite probabilities."""


@dataclass(frozen=True)
class EvaluationResult:
    """A network on n labelled images of k classes.

    probabilities: (n, k) float32. labels: (n,) int32. confusion: (k, k) counts, row = label, column = first choice.
    accuracy: share of hits; accuracy_low, accuracy_high: its 95 % interval. loss: mean cross-entropy in nats.
    precision, recall: (k,), NaN for a class that was never chosen or does not occur.
    calibration_error: expected calibration error, a share (0 is best). class_names: k texts.
    """

    probabilities: NDArray[np.float32]
    labels: NDArray[np.int32]
    confusion: NDArray[np.int64]
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    loss: float
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    calibration_error: float
    class_names: tuple[str, ...]

    @property
    def hits(self) -> NDArray[np.bool_]:
        """(n,): which images it gets right."""
        return self.probabilities.argmax(axis=1) == self.labels

    def metrics(self, prefix: str) -> dict[str, float]:
        """The numbers by the names under which a run holds them, e.g. `test_accuracy`."""
        names = ("accuracy", "accuracy_low", "accuracy_high", "loss", "calibration_error")
        return {f"{prefix}_{name}": getattr(self, name) for name in names}

    def choices(self) -> dict[str, NDArray[np.uint8]]:
        """First choice and label of each image, (n,): what a paired comparison with another network needs."""
        return {"choices": self.probabilities.argmax(axis=1).astype(np.uint8), "labels": self.labels.astype(np.uint8)}

    def classes(self) -> dict[str, list[Any]]:
        """A line for each class, as columns; None for a precision or recall that does not exist."""
        precision, recall = (
            [None if math.isnan(value) else value for value in values.tolist()]
            for values in (self.precision, self.recall)
        )
        images = self.confusion.sum(axis=1).tolist()
        classes = {"class": list(range(len(images)))}
        names = {} if self.class_names == numbers(len(images)) else {"name": list(self.class_names)}
        return {**classes, **names, "images": images, "precision": precision, "recall": recall}


def evaluate(network: keras.Model, data: LabelledImages, batch_size: int = 1000) -> EvaluationResult:
    """Classify `data` with `network`, which gives probabilities. Raises ValueError if one of them is not finite."""
    return score(predict(network, data.images, batch_size), data.labels, data.class_names)


def predict(network: keras.Model, images: NDArray[np.float32], batch_size: int = 1000) -> NDArray[np.float32]:
    """Probabilities (n, k) of images (n, height, width, channels), in batches that bound the memory."""
    return _in_batches(_FORWARDS.get(network, images.shape[1:], None, lambda forward: forward), images, batch_size)


def evaluator(
    network: keras.Model, data: LabelledImages, batch_size: int = 1000
) -> Callable[[int | None], EvaluationResult]:
    """`evaluate` for a network of which nothing but its weights changes from call to call: compiled once.

    What it gives takes the number of images, the first ones; None for all.
    """
    forward = trace(network, data.images.shape[1:])

    def evaluate_first(number: int | None) -> EvaluationResult:
        return score(_in_batches(forward, data.images[:number], batch_size), data.labels[:number], data.class_names)

    return evaluate_first


def _in_batches(forward: Any, images: NDArray[np.float32], batch_size: int) -> NDArray[np.float32]:
    batches = [images[i : i + batch_size] for i in range(0, len(images), batch_size)]
    return np.concatenate([forward(tf.constant(batch, tf.float32)).numpy() for batch in batches])


_FORWARDS: Kept[Any] = Kept()
"""Compiled forward passes: compiling takes longer than looking whether the network is still the same."""


def score(
    probabilities: NDArray[np.float32], labels: NDArray[np.int32], class_names: tuple[str, ...] = ()
) -> EvaluationResult:
    """Every number of `EvaluationResult` from probabilities (n, k) and labels (n,). class_names: else numbers."""
    if bad := int((~np.isfinite(probabilities)).sum()):
        raise NotFiniteError(f"the network gave {bad} probabilities that are not finite")
    num_images, num_classes = probabilities.shape
    if not logits.are_probabilities(probabilities):
        raise ValueError("the network's outputs are no probabilities: they are not all at least 0 with the sum 1")
    choices = probabilities.argmax(axis=1)
    confusion = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(confusion, (labels, choices), 1)
    hits = int(np.trace(confusion))
    low, high = wilson_interval(hits, num_images)
    with np.errstate(invalid="ignore"):
        precision = np.diag(confusion) / confusion.sum(axis=0)
        recall = np.diag(confusion) / confusion.sum(axis=1)
    likelihood = probabilities[np.arange(num_images), labels].astype(np.float64)
    return EvaluationResult(
        probabilities=probabilities,
        labels=labels,
        confusion=confusion,
        accuracy=hits / num_images,
        accuracy_low=low,
        accuracy_high=high,
        loss=float(-np.log(np.maximum(likelihood, np.finfo(np.float32).tiny)).mean()),
        precision=precision,
        recall=recall,
        calibration_error=expected_calibration_error(probabilities, labels),
        class_names=class_names or numbers(num_classes),
    )


def calibration_bins(
    probabilities: NDArray[np.float32], labels: NDArray[np.int32]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Mean confidence, accuracy (NaN where empty) and count in each of 15 equal bins of confidence."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    hits = probabilities.argmax(axis=1) == labels
    bins = np.clip(np.ceil(confidence * NUM_CALIBRATION_BINS).astype(int) - 1, 0, NUM_CALIBRATION_BINS - 1)
    counts = np.bincount(bins, minlength=NUM_CALIBRATION_BINS)
    with np.errstate(invalid="ignore"):
        mean_confidence = np.bincount(bins, confidence, NUM_CALIBRATION_BINS) / counts
        accuracy = np.bincount(bins, hits, NUM_CALIBRATION_BINS) / counts
    return mean_confidence, accuracy, counts


def expected_calibration_error(probabilities: NDArray[np.float32], labels: NDArray[np.int32]) -> float:
    """Mean distance between confidence and accuracy over 15 bins, weighted by count (Guo et al., arXiv:1706.04599)."""
    confidence, accuracy, counts = calibration_bins(probabilities, labels)
    gaps = np.nan_to_num(np.abs(confidence - accuracy))
    return float((gaps * counts).sum() / counts.sum())
