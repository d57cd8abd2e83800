"""Classifiers that take no part in optimising images, and say what digit an optimised image shows.

Six kinds that go about it in six ways, so that an image which deceives one need not deceive the next. Two panels of
them learn from different halves of the training images: A is for choosing (settings, sweeps), B for the last word.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray

from mnist_cnn.data import npz
from mnist_cnn.data.dataset import IMAGE_SHAPE, LabelledImages, Split
from mnist_cnn.judging import handcrafted
from mnist_cnn.models import networks
from mnist_cnn.models.networks import LAST
from mnist_cnn.runtime import signals
from mnist_cnn.runtime.randomness import derive_seed, generator
from mnist_cnn.settings import PANELS, TrainSettings
from mnist_cnn.training import evaluation, loop
from mnist_cnn.training.evaluation import EvaluationResult

VERSION = "4"
"""Raise it with every change that makes other judges of the same data: stored ones of another version are not used."""

FILE = "judge.npz"
IMAGES_AT_ONCE = 500
AT_ONCE = 2

Arrays = dict[str, NDArray[Any]]
Parameters = Mapping[str, float]

_TRAINING = {"learning_rate": 0.01, "augmentation": 0.3, "noise": 0.1}

PARAMETERS: dict[str, dict[str, Parameters]] = {
    kind: {name: {**both, **own} for name, own in zip(PANELS, owns, strict=True)}
    for kind, both, *owns in (
        ("knn", {}, {"neighbours": 4}, {"neighbours": 5}),
        ("kernel", {"cell": 4, "landmarks": 2500}, {"directions": 8}, {"directions": 6}),
        ("subspace", {}, {"dimensions": 40, "floor": 8}, {"dimensions": 30, "floor": 5}),
        ("mlp", {**_TRAINING, "epochs": 6, "batch_size": 192}, {"units": 400}, {"units": 320}),
        ("cnn", {**_TRAINING, "epochs": 3, "batch_size": 128}, {"filters": 24}, {"filters": 32}),
        ("mixer", {**_TRAINING, "epochs": 6, "batch_size": 256},
         {"patch": 12, "stride": 8, "units": 96}, {"patch": 12, "stride": 8, "units": 80}),
    )
}  # fmt: skip
"""Of each kind of judge, panel by panel."""

KINDS = tuple(PARAMETERS)


class JudgeError(ValueError):
    """A stored judge cannot be read; the message says why."""


@dataclass(frozen=True, eq=False)
class Judge:
    """A trained classifier. kind: one of `KINDS`. arrays: all that it has learnt. num_classes: of the data set."""

    kind: str
    parameters: Parameters
    arrays: Arrays
    num_classes: int

    def predict(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (n, k) float32 of images (n, 28, 28, 1) float32 in [0, 1].

        They order the classes; only the networks' are probabilities in the sense that they were fitted as such.
        """
        if images.ndim != 4 or images.shape[1:] != IMAGE_SHAPE:
            raise ValueError(f"images must have the shape (n, 28, 28, 1); got {images.shape}.")
        if len(images) == 0:
            return np.empty((0, self.num_classes), np.float32)
        parts = [images[i : i + IMAGES_AT_ONCE].astype(np.float32) for i in range(0, len(images), IMAGES_AT_ONCE)]
        return np.concatenate([self._forward(part) for part in parts]).astype(np.float32)

    @cached_property
    def _forward(self) -> Callable[[NDArray[np.float32]], Any]:
        if self.kind not in _NETWORKS:
            return _PREDICT[self.kind](self.arrays, self.parameters, self.num_classes)
        network = self._network  # Here, for what is built within a function that is compiled loses its weights.
        # Compiled once for all calls: a panel is asked again and again.
        images = tf.TensorSpec((None, *IMAGE_SHAPE), tf.float32)
        compiled = tf.function(lambda images: network(images, training=False)).get_concrete_function(images)
        return lambda images: compiled(tf.constant(images)).numpy()

    @cached_property
    def _network(self) -> keras.Model:
        network = _build(self.kind, self.parameters, self.num_classes, seed=0)
        network.set_weights([self.arrays[f"weight_{i}"] for i in range(len(self.arrays))])
        return network

    def save(self, folder: Path) -> None:
        """Write the judge to `folder` as one .npz of plain arrays (no pickle); the same judge gives the same bytes."""
        form = json.dumps({"kind": self.kind, "parameters": dict(self.parameters), "version": VERSION})
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(folder / FILE, form=np.frombuffer(form.encode(), np.uint8), **self.arrays)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Trained:
    """A judge fresh from its training, which took `seconds`, and what it gets right of the validation images."""

    panel: str
    judge: Judge
    seconds: float
    validation: EvaluationResult


@dataclass(frozen=True)
class Panel:
    """All judges that learnt from one half of the images.

    name: A or B. judges: by kind, in the order of `KINDS`. run_id: of the run that holds them.
    """

    name: str
    judges: dict[str, Judge]
    run_id: str
    version: str = VERSION

    def predict(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (judges, n, k) float32 of images (n, 28, 28, 1) float32 in [0, 1]."""
        return np.stack(list(self.opinions(images).values()))

    def opinions(self, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """The same by kind: each judge's (n, k)."""
        return {kind: judge.predict(images) for kind, judge in self.judges.items()}


def half(data: LabelledImages, panel: str) -> LabelledImages:
    """The images that a panel learns from: one side of a cut that is drawn once and for all.

    It depends on the number of images alone, so that no seed moves an image from one panel to the other. Taking every
    second one would not do: MNIST's training images of even and of odd number are not drawn alike (mean grey levels of
    0.122 and 0.139), and a judge that learnt from the odd ones reads the even ones at 93 % where the reverse is 98 %.
    """
    own = np.sort(generator(0, "panels of judges").permutation(len(data))[PANELS.index(panel) :: len(PANELS)])
    return data.part(own, f"panel {panel} {VERSION}")


def train(kind: str, panel: str, data: Split, seed: int) -> Trained:
    """Train one judge of a panel on the panel's half of `data.train`.

    `data.validation` only measures. The same arguments give the same judge (see `Judge.save`).
    """
    start = time.perf_counter()
    parameters = PARAMETERS[kind][panel]
    own_seed = derive_seed(seed, "judge", panel, kind)
    own = half(data.train, panel)
    if kind in _NETWORKS:
        arrays = _train_network(kind, parameters, Split(own, data.validation), own_seed)
    else:
        arrays = _TRAIN[kind](parameters, own, own_seed)
    judge, seconds = Judge(kind, parameters, arrays, own.num_classes), time.perf_counter() - start
    return Trained(panel, judge, seconds, evaluate(judge, data.validation))


def train_panels(names: Sequence[str], data: Split, seed: int) -> Iterator[Trained]:
    """Train the judges of these panels, and give them panel by panel in the order of `KINDS`, each once it is there.

    They are what `train` makes. Two are trained at a time, since the steps of one are too small for more than a core.
    """
    with ThreadPoolExecutor(AT_ONCE) as pool:
        judges = [pool.submit(train, kind, name, data, seed) for name in names for kind in KINDS]
        try:
            for judge in judges:
                yield judge.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def evaluate(judge: Judge, data: LabelledImages) -> EvaluationResult:
    return evaluation.score(judge.predict(data.images), data.labels, data.class_names)


def load(folder: Path, num_classes: int) -> Judge:
    """Read what `Judge.save` wrote; nothing in it is executed. num_classes: of the data set. Raises `JudgeError`."""
    try:
        found = npz.read(folder / FILE).read
        form = json.loads(found.pop("form").tobytes())
        kind, parameters, version = form["kind"], form["parameters"], form["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise JudgeError(f"{FILE} cannot be read ({error})") from error
    if version != VERSION or kind not in KINDS:
        raise JudgeError(f"{FILE} holds a judge `{kind}` of version {version}; this is version {VERSION}")
    return Judge(kind, parameters, found, num_classes)


def content_sha256(folder: Path) -> str:
    """SHA-256 of the names and bytes of all files in a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sums = [f"{path.relative_to(folder).as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files]
    return hashlib.sha256("\n".join(sums).encode()).hexdigest()


def _softmax(scores: NDArray[Any]) -> NDArray[Any]:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


Opinion = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Images (n, 28, 28, 1) -> scores of the classes (n, k)."""


def _squared_distances(first: NDArray[Any], second: NDArray[Any], squares: NDArray[Any]) -> NDArray[Any]:
    """(n, m) of (n, features) and (m, features), whose `squares` (m,) are summed before."""
    distances = first @ (-2 * second.T)
    distances += (first**2).sum(axis=1)[:, np.newaxis]
    distances += squares
    return np.maximum(distances, 0, out=distances)


def _half_size(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, 196): the means of 2 x 2 pixels of digits set upright, which tell digits apart as well as all pixels do."""
    means = handcrafted.upright(images).reshape(len(images), 14, 2, 14, 2).mean(axis=(2, 4))
    return means.reshape(len(images), -1)


def _train_knn(parameters: Parameters, data: LabelledImages, seed: int) -> Arrays:
    return {"digits": (255 * _half_size(data.images)).round().astype(np.uint8), "labels": data.labels}


def _knn(arrays: Arrays, parameters: Parameters, num_classes: int) -> Opinion:
    """Votes of the nearest digits set upright, each divided by its squared distance (Dudani 1976 has the distance)."""
    labels, digits = arrays["labels"], arrays["digits"].astype(np.float32) / 255
    count, squares = min(int(parameters["neighbours"]), len(labels)), (digits**2).sum(axis=1)

    def opinion(images: NDArray[np.float32]) -> NDArray[np.float32]:
        distances = _squared_distances(_half_size(images), digits, squares)
        nearest = np.argpartition(distances, count - 1, axis=1)[:, :count]
        weights = 1 / np.maximum(np.take_along_axis(distances, nearest, axis=1), 1e-3)
        votes = np.zeros((len(images), num_classes), np.float32)
        for i in range(count):
            votes[np.arange(len(images)), labels[nearest[:, i]]] += weights[:, i]
        return votes / votes.sum(axis=1, keepdims=True)

    return opinion


KERNEL_WIDTH = 0.06
KERNEL_RIDGE = 0.1
KERNEL_SHARPNESS = 13.0
"""Scores are near 0 and 1; as logits they must lie further apart."""


def _edges(parameters: Parameters, images: NDArray[np.float32]) -> NDArray[np.float32]:
    return handcrafted.edge_directions(images, int(parameters["cell"]), int(parameters["directions"]))


def _kernel_of(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    distances = _squared_distances(first, second, (second**2).sum(axis=1))
    distances *= -KERNEL_WIDTH
    return np.exp(distances, out=distances)


def _train_kernel(parameters: Parameters, data: LabelledImages, seed: int) -> Arrays:
    """Least squares on Gaussian bumps around some of the digits, in the space of edge directions.

    A least-squares SVM (Suykens & Vandewalle 1999) with a subset of regressors (Smola & Schölkopf 2000) and a plain
    ridge on their weights.
    """
    edges = _edges(parameters, data.images)
    landmarks = edges[generator(seed).permutation(len(data))[: int(parameters["landmarks"])]]
    bumps = _kernel_of(edges, landmarks)
    truth = np.eye(data.num_classes, dtype=np.float32)[data.labels]
    # float32 products, since they take most of the time; the ridge is far above their rounding.
    square = (bumps.T @ bumps).astype(np.float64) + KERNEL_RIDGE * np.eye(len(landmarks))
    weights = np.linalg.solve(square, (bumps.T @ truth).astype(np.float64))
    return {"landmarks": landmarks, "weights": weights.astype(np.float32)}


def _kernel(arrays: Arrays, parameters: Parameters, num_classes: int) -> Opinion:
    def opinion(images: NDArray[np.float32]) -> NDArray[np.float32]:
        bumps = _kernel_of(_edges(parameters, images), arrays["landmarks"])
        return _softmax(KERNEL_SHARPNESS * (bumps @ arrays["weights"]))

    return opinion


SUBSPACE_SHARPNESS = 0.1
"""Pixels are not independent, as the likelihood takes them to be, so that it is too sure of itself."""


def _small(images: NDArray[np.float32]) -> NDArray[np.float64]:
    """Roots of `_half_size`: closer to normal ones."""
    return np.sqrt(_half_size(images).astype(np.float64))


def _train_subspace(parameters: Parameters, data: LabelledImages, seed: int) -> Arrays:
    """A normal distribution a class: its main directions, and one variance for all the others.

    The modified quadratic discriminant function (Kimura et al., IEEE TPAMI 9(1), 1987), a linear auto-encoder a class
    that also knows how far along each direction digits of the class lie.
    """
    small, count = _small(data.images), int(parameters["dimensions"])
    means, directions, variances = [], [], []
    for number in range(data.num_classes):
        own = small[data.labels == number]
        mean = own.mean(axis=0) if len(own) else np.zeros(small.shape[1])
        spread = (own - mean).T @ (own - mean) / max(1, len(own))
        values, vectors = np.linalg.eigh(spread)
        means.append(mean)
        directions.append(vectors[:, ::-1][:, :count])
        variances.append(values[::-1])
    rest = np.mean([values[count:].mean() for values in variances])
    floor = max(parameters["floor"] * rest, 1e-6)
    return {
        "means": np.array(means, np.float32),
        "directions": np.array(directions, np.float32),
        "variances": np.maximum([values[:count] for values in variances], floor).astype(np.float32),
        "floor": np.array(floor, np.float32),
        "present": np.bincount(data.labels, minlength=data.num_classes) > 0,
    }


def _subspace(arrays: Arrays, parameters: Parameters, num_classes: int) -> Opinion:
    floor = float(arrays["floor"])

    def opinion(images: NDArray[np.float32]) -> NDArray[np.float32]:
        small = _small(images)
        scores = np.full((len(images), num_classes), -np.inf)
        for number in np.flatnonzero(arrays["present"]):
            variances = arrays["variances"][number].astype(np.float64)
            centred = small - arrays["means"][number]
            along = centred @ arrays["directions"][number]
            across = (centred**2).sum(axis=1) - (along**2).sum(axis=1)
            likely = (along**2 / variances).sum(axis=1) + across / floor + np.log(variances / floor).sum()
            scores[:, number] = -likely / 2
        return _softmax(SUBSPACE_SHARPNESS * scores)

    return opinion


_TRAIN: dict[str, Callable[..., Arrays]] = {"knn": _train_knn, "kernel": _train_kernel, "subspace": _train_subspace}
_PREDICT: dict[str, Callable[[Arrays, Parameters, int], Opinion]] = {
    "knn": _knn,
    "kernel": _kernel,
    "subspace": _subspace,
}


def _mlp(images: Any, parameters: Parameters) -> Any:
    """Pixels without their neighbourhood."""
    hidden = layers.Flatten(LAST)(images)
    for _ in range(2):
        hidden = layers.Dense(int(parameters["units"]), use_bias=False)(hidden)
        hidden = layers.BatchNormalization(momentum=0.9)(hidden)
        hidden = layers.Dropout(0.2)(layers.ReLU()(hidden))
    return hidden


def _cnn(images: Any, parameters: Parameters) -> Any:
    """Half the size, small windows, ELU and max pooling; the optimised networks have large windows, ReLU and strides.

    Most of a convolution's time goes into the first layer of the full size, which adds nothing to the accuracy.
    """
    hidden = layers.AveragePooling2D(2, data_format=LAST)(images)
    for times in (1, 2):
        hidden = layers.Conv2D(times * int(parameters["filters"]), 3, padding="same", use_bias=False, data_format=LAST)(
            hidden
        )
        # ELU rises, so that the largest of four is the same before and after it.
        hidden = layers.MaxPooling2D(2, data_format=LAST)(hidden)
        hidden = layers.ELU()(layers.BatchNormalization(momentum=0.9)(hidden))
    return layers.Dropout(0.3)(layers.Flatten(LAST)(hidden))


def _mixer(images: Any, parameters: Parameters) -> Any:
    """Patches that exchange what they hold, in turn between them and within each (Tolstikhin et al., arXiv:2105.01601).

    Unlike theirs the patches overlap.
    """
    units = int(parameters["units"])
    patch, stride = int(parameters["patch"]), int(parameters["stride"])
    hidden = layers.Conv2D(units, patch, strides=stride, data_format=LAST)(images)
    num_patches = hidden.shape[1] * hidden.shape[2]
    hidden = layers.Reshape((num_patches, units))(hidden)
    for _ in range(2):
        between = layers.Permute((2, 1))(layers.LayerNormalization()(hidden))
        between = layers.Dense(num_patches)(layers.Dense(2 * num_patches, activation="relu")(between))
        hidden = layers.Add()([hidden, layers.Permute((2, 1))(between)])
        within = layers.Dense(2 * units, activation="relu")(layers.LayerNormalization()(hidden))
        hidden = layers.Add()([hidden, layers.Dense(units)(within)])
    hidden = layers.GlobalAveragePooling1D(data_format=LAST)(layers.LayerNormalization()(hidden))
    return layers.Dropout(0.1)(hidden)


_NETWORKS: dict[str, Callable[[Any, Parameters], Any]] = {"mlp": _mlp, "cnn": _cnn, "mixer": _mixer}


def _build(kind: str, parameters: Parameters, num_classes: int, seed: int) -> keras.Model:
    def builder(images: Any) -> Any:
        # While training alone; a judge of unclean images has seen some.
        return _NETWORKS[kind](layers.GaussianNoise(parameters["noise"])(images), parameters)

    return networks.build(kind, seed, num_classes=num_classes, builder=builder)


def _train_network(kind: str, parameters: Parameters, data: Split, seed: int) -> Arrays:
    network = _build(kind, parameters, data.train.num_classes, seed)
    settings = TrainSettings(
        epochs=int(parameters["epochs"]), batch_size=int(parameters["batch_size"]), seed=seed,
        learning_rate=parameters["learning_rate"], augmentation=parameters["augmentation"],
    )  # fmt: skip
    loop.train(network, data, settings, on_steps=lambda steps: signals.check())
    return {f"weight_{i}": weight for i, weight in enumerate(network.get_weights())}
