"""The images: read, checked, split. The test images are opened by `load_test` alone, and only evaluation calls it."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import warnings
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_cnn.data import npz
from mnist_cnn.settings.errors import Notice, SettingError
from mnist_cnn.settings.fields import cut, shown
from mnist_cnn.settings.targets import MNIST_CLASSES, MOST_CLASSES

MNIST_PATH = Path(__file__).parent / "mnist.npz"

MNIST_SHA256 = {
    "x_train": "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
    "y_train": "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
    "x_test": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
    "y_test": "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
}
"""SHA-256 of each array's bytes, as published with the data set (see data/README.md)."""

TRAINING_IMAGES_FOR_A_TEST_IMAGE = 6
FEWEST = 600
"""Training images of a part of MNIST: enough that each class is in all that is made of them."""

IMAGE_SHAPE = (28, 28, 1)
KEYS = ("x_train", "y_train", "x_test", "y_test")
NAMES_KEY = "class_names"
"""An array that a file may hold besides: a text for each class."""

LONGEST_NAME = 30


class DatasetError(SettingError):
    """A data set cannot be used; the message names the file, the array, what it holds and what is expected."""


@dataclass(frozen=True)
class LabelledImages:
    """Images with their labels.

    images: (n, 28, 28, 1) float32 in [0, 1].
    labels: (n,) int32 in 0..k-1.
    digest: 16 hexadecimal digits that tell these images and labels from others, made from SHA-256 of both arrays.
    source: path of the file, or the word for a part of MNIST.
    name: `mnist`, `mnist-6000` of a part of it, or the file's name without its ending.
    class_names: k texts, of the whole data set also where this is a part of it. Without them the classes have numbers,
    up to the largest label.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int32]
    digest: str
    source: str
    name: str
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.class_names:
            object.__setattr__(self, "class_names", numbers(int(self.labels.max(initial=-1)) + 1))

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, which: slice | NDArray[np.integer], word: str) -> LabelledImages:
        """Some of the images. word: what tells their digest from that of the whole."""
        digest = _digest(f"{self.digest} {word}")
        return dataclasses.replace(self, images=self.images[which], labels=self.labels[which], digest=digest)


def numbers(num_classes: int) -> tuple[str, ...]:
    """The names of classes that have none: `0`, `1`, ..."""
    return tuple(map(str, range(num_classes)))


DIGITS = numbers(MNIST_CLASSES)


@dataclass(frozen=True)
class Split:
    """Training images cut in two: all but the last ones train, the last ones validate."""

    train: LabelledImages
    validation: LabelledImages


def load_train(dataset: str = "mnist") -> LabelledImages:
    """All training images (60,000 of MNIST), validation images included. Raises `DatasetError`."""
    return _load(dataset, "train")


def load_test(dataset: str = "mnist") -> LabelledImages:
    """The test images (10,000 of MNIST): for evaluation alone. Raises `DatasetError`."""
    return _load(dataset, "test")


def origin(dataset: str) -> str:
    """What tells which data a model learned from: `mnist`, also for a part of it, or the digest of a file's images."""
    return "mnist" if dataset.partition(":")[0] == "mnist" else load_train(dataset).digest


def split(images: LabelledImages, validation_fraction: float = 0.1) -> Split:
    """Cut off the last `validation_fraction` of the training images for validation.

    The cut is where Keras' `validation_split` makes it: at int(n * (1 - fraction)), 54,000 of 60,000 at 0.1.
    Where images stand class by class they are shuffled before, always alike, which a `Notice` says.
    Raises `DatasetError` if either side would be empty.
    """
    cut = int(len(images) * (1 - validation_fraction))
    if not 0 < cut < len(images):
        raise DatasetError(
            f"`validation_fraction` of {validation_fraction:g} leaves {cut} images to train on and "
            f"{len(images) - cut} to validate on, of {len(images)}; each needs at least one."
        )
    train, validation = f"0:{cut}", f"{cut}:{len(images)}"
    if not stand_class_by_class(images.labels):
        return Split(images.part(slice(cut), train), images.part(slice(cut, None), validation))
    warnings.warn(
        f"`dataset`: {images.source} is sorted by label, so the {len(images) - cut:,} images that validate are drawn "
        "at random instead of taken from its end.", Notice, stacklevel=2,
    )  # fmt: skip
    order = np.random.default_rng(0).permutation(len(images))
    return Split(images.part(order[:cut], f"drawn {train}"), images.part(order[cut:], f"drawn {validation}"))


def stand_class_by_class(labels: NDArray[np.integer]) -> bool:
    """Whether the label changes less than half as often from image to image as in a shuffled order."""
    shares = np.bincount(labels) / len(labels)
    return 2 * int((np.diff(labels) != 0).sum()) < (len(labels) - 1) * float(1 - (shares**2).sum())


def first_of(images: LabelledImages, count: int) -> LabelledImages:
    """The first `count` images; where they stand class by class, as many that are drawn, always the same."""
    which: slice | NDArray[np.integer] = slice(count)
    if stand_class_by_class(images.labels):
        which = np.random.default_rng(0).permutation(len(images))[:count]
    return images.part(which, f"first {count}")


def missing_classes(images: LabelledImages) -> list[int]:
    return sorted(set(range(images.num_classes)) - set(images.labels.tolist()))


def refuse_missing_classes(data: Split) -> None:
    """Raise `DatasetError` unless there are images of every class on both sides: judges learn and draw from both."""
    for images, word in ((data.train, "train"), (data.validation, "do not train")):
        if missing := missing_classes(images):
            raise DatasetError(
                f"`dataset`: the {len(images):,} images of {images.source} that {word} hold none of class "
                f"{cut(', '.join(map(str, missing)), 40)}. Judges need every class from 0 to {images.num_classes - 1}: "
                "take a data set that has them, or more of its images."
            )


def is_mnist(images: LabelledImages) -> bool:
    """Whether they are MNIST's, or the first of them."""
    return word_for(images) == "mnist" or bool(_count_of(images.source))


def word_for(images: LabelledImages) -> str:
    """What `dataset` would have to be for these images."""
    return "mnist" if images.source == str(MNIST_PATH.resolve()) else images.source


def _load(dataset: str, part: str) -> LabelledImages:
    path = MNIST_PATH if dataset == "mnist" or _count_of(dataset) else Path(dataset)
    # What the file is now, so that one that was changed or stands in another folder is read again.
    state = path.stat() if os.path.isfile(path) else None
    known = (state.st_dev, state.st_ino, state.st_mtime_ns, state.st_ctime_ns, state.st_size) if state else ()
    return _read_once(dataset, part, known)


@lru_cache(maxsize=4)
def _read_once(dataset: str, part: str, state: tuple[int, ...]) -> LabelledImages:
    """The images, once for all who ask for them; the arrays cannot be written to."""
    images = _read_images(dataset, part)
    for array in (images.images, images.labels):
        array.setflags(write=False)
    return images


def _read_images(dataset: str, part: str) -> LabelledImages:
    count = _count_of(dataset)
    if count:
        kept = count if part == "train" else max(1, count // TRAINING_IMAGES_FOR_A_TEST_IMAGE)
        first = _load("mnist", part).part(slice(kept), f"first {kept}")
        return dataclasses.replace(first, source=dataset, name=dataset.replace(":", "-"))
    path = MNIST_PATH if dataset == "mnist" else Path(dataset)
    own = (f"x_{part}", f"y_{part}")
    # The training images say how many classes there are; of the test images nothing is read for that.
    read = _read(path, (*own, "y_train", NAMES_KEY))
    _refuse_beyond(path, "y_train", "labels in", read["y_train"], MOST_CLASSES - 1)
    class_names = _class_names(path, read.get(NAMES_KEY), int(read["y_train"].max()) + 1)
    _refuse_beyond(path, own[0], "values of", read[own[0]], 255)
    _refuse_beyond(path, own[1], "labels in", read[own[1]], len(class_names) - 1)
    pixels, labels = (read[key] for key in own)
    hashes = {key: hashlib.sha256(np.ascontiguousarray(read[key]).data).hexdigest() for key in read if key in own}
    for key, found in hashes.items():
        if dataset == "mnist" and found != MNIST_SHA256[key]:
            raise DatasetError(
                f"{path}: `{key}` is not MNIST's: its SHA-256 is {found}, published is {MNIST_SHA256[key]}. "
                "The file was changed; install the package again."
            )
    images = pixels.astype(np.float32)[..., np.newaxis]
    images /= 255
    name = "mnist" if dataset == "mnist" else path.stem
    digest, source = _digest("".join(hashes.values())), str(path.resolve())
    return LabelledImages(images, labels.astype(np.int32), digest, source, name, class_names)


def _refuse_beyond(path: Path, key: str, what: str, array: NDArray[Any], most: int) -> None:
    low, high = array.min(), array.max()
    if low < 0 or high > most:
        raise DatasetError(f"{path}: {what} `{key}` must be from 0 to {most}; they are from {low} to {high}.")


def _class_names(path: Path, names: NDArray[Any] | None, num_classes: int) -> tuple[str, ...]:
    """The names of a file, checked; numbers where it has none. Raises `DatasetError`, also for a single class."""
    if num_classes < 2:
        raise DatasetError(f"{path}: `y_train` must have 2 to {MOST_CLASSES} classes; all its labels are 0.")
    if names is None:
        return numbers(num_classes)
    if names.dtype.kind != "U" or names.shape != (num_classes,):
        raise DatasetError(
            f"{path}: `{NAMES_KEY}` must be {num_classes} texts, one for each label from 0 to {num_classes - 1} of "
            f"`y_train`; got {names.dtype} of the shape {names.shape}."
        )
    try:
        known: list[str] = names.tolist()
    except (ValueError, SystemError) as error:  # as numpy calls numbers that are no characters
        raise DatasetError(f"{path}: `{NAMES_KEY}` cannot be read as text.") from error
    for number, name in enumerate(known):
        if name != name.strip() or not name.isprintable() or not 0 < len(name) <= LONGEST_NAME:
            what = f"a printable text of 1 to {LONGEST_NAME} characters, without spaces around it"
            raise DatasetError(f"{path}: the name of class {number} must be {what}; got {shown(name)}.")
        if name in known[:number]:
            raise DatasetError(f"{path}: `{NAMES_KEY}` must differ; {shown(name)} stands there twice.")
    return tuple(known)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _count_of(dataset: str) -> int:
    """The 6000 of `mnist:6000`; 0 of another word. Raises `DatasetError`."""
    name, colon, count = dataset.partition(":")
    if name != "mnist" or not colon:
        return 0
    if not re.fullmatch("[0-9]{3,5}", count) or not FEWEST <= int(count) <= 60_000:
        raise DatasetError(
            f"`dataset` must be `mnist:N` with N from {FEWEST} to 60000, the first N training images and a sixth as "
            f"many test images; got {shown(dataset)}."
        )
    return int(count)


def _read(path: Path, keys: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz file, the form of all four checked; nothing in it is executed, whatever it holds."""
    if not os.path.exists(path):  # which is False for a name that no file can have
        raise DatasetError(
            f"`dataset` must be `mnist`, `mnist:N` or the path of an .npz file; there is no file {cut(str(path))} "
            f"(looked for in {os.getcwd()}; give the whole path)."
        )
    if not path.is_file():
        raise DatasetError(f"`dataset` must be a file; {path} is none.")
    if not zipfile.is_zipfile(path):
        raise DatasetError(f"{path} is not an .npz file (a zip archive of arrays), or it was cut short.")
    try:
        found = npz.read(path, keys)
    except npz.ArraysError as error:
        raise DatasetError(f"{path} cannot be read: {error}.") from error
    missing = [key for key in KEYS if key not in found.forms]
    if missing:
        held = cut(", ".join(found.forms) or "nothing")
        raise DatasetError(
            f"{path} lacks {', '.join(missing)}; it holds {held}. Needed are {', '.join(KEYS)}, as numpy.savez writes "
            "them."
        )
    _check_forms(path, found.forms)
    return found.read


def _check_forms(path: Path, forms: dict[str, npz.Form]) -> None:
    for x, y in (KEYS[:2], KEYS[2:]):
        (shape, dtype), (labels, labels_dtype) = forms[x], forms[y]
        if len(shape) != 3 or shape[1:] != IMAGE_SHAPE[:2] or shape[0] == 0:
            raise DatasetError(f"{path}: `{x}` must have the shape (n, 28, 28), n at least 1; got {shape}.")
        if dtype.kind not in "ui":
            raise DatasetError(
                f"{path}: `{x}` must have the dtype uint8 (grey levels 0 to 255); got {dtype}. "
                "For images in [0, 1] save (255 * images).round().astype('uint8')."
            )
        if labels != shape[:1]:
            raise DatasetError(f"{path}: `{y}` must have the shape {shape[:1]}, one label an image; got {labels}.")
        if labels_dtype.kind not in "ui":
            raise DatasetError(f"{path}: `{y}` must have the dtype uint8 (labels from 0); got {labels_dtype}.")
