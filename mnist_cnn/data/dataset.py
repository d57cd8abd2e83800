"""The images: read, checked, split. The test images are opened by `load_test` alone, and only evaluation calls it."""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_cnn.settings.command_line import SettingError

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

NUM_CLASSES = 10
IMAGE_SHAPE = (28, 28, 1)
KEYS = ("x_train", "y_train", "x_test", "y_test")


class DatasetError(SettingError):
    """A data set cannot be used; the message names the file, the array, what it holds and what is expected."""


@dataclass(frozen=True)
class LabelledImages:
    """Images with their labels.

    images: (n, 28, 28, 1) float32 in [0, 1].
    labels: (n,) int32 in 0..9.
    digest: 16 hexadecimal digits that tell these images and labels from others, made from SHA-256 of both arrays.
    source: path of the file, or the word for a part of MNIST.
    name: `mnist`, `mnist-6000` of a part of it, or the file's name without its ending.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int32]
    digest: str
    source: str
    name: str

    def __len__(self) -> int:
        return len(self.labels)


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


def split(images: LabelledImages, validation_fraction: float = 0.1) -> Split:
    """Cut off the last `validation_fraction` of the training images for validation.

    The cut is where Keras' `validation_split` makes it: at int(n * (1 - fraction)), 54,000 of 60,000 at 0.1.
    Raises `DatasetError` if either side would be empty.
    """
    cut = int(len(images) * (1 - validation_fraction))
    if not 0 < cut < len(images):
        raise DatasetError(
            f"`validation_fraction` of {validation_fraction:g} leaves {cut} images to train on and "
            f"{len(images) - cut} to validate on, of {len(images)}; each needs at least one."
        )

    def part(start: int, stop: int) -> LabelledImages:
        digest = hashlib.sha256(f"{images.digest} {start}:{stop}".encode()).hexdigest()[:16]
        return LabelledImages(images.images[start:stop], images.labels[start:stop], digest, images.source, images.name)

    return Split(train=part(0, cut), validation=part(cut, len(images)))


def _load(dataset: str, part: str) -> LabelledImages:
    count = _count_of(dataset)
    if count:
        whole = _load("mnist", part)
        kept = count if part == "train" else max(1, count // TRAINING_IMAGES_FOR_A_TEST_IMAGE)
        digest = hashlib.sha256(f"{whole.digest} first {kept}".encode()).hexdigest()[:16]
        return LabelledImages(whole.images[:kept], whole.labels[:kept], digest, dataset, dataset.replace(":", "-"))
    path = MNIST_PATH if dataset == "mnist" else Path(dataset)
    pixels_key, labels_key = f"x_{part}", f"y_{part}"
    arrays = _read(path, (pixels_key, labels_key))
    pixels, labels = arrays[pixels_key], arrays[labels_key]
    _check_pixels(path, pixels_key, pixels)
    _check_labels(path, labels_key, labels)
    hashes = {
        key: hashlib.sha256(np.ascontiguousarray(arrays[key]).data).hexdigest() for key in (pixels_key, labels_key)
    }
    if dataset == "mnist":
        for key, found in hashes.items():
            if found != MNIST_SHA256[key]:
                raise DatasetError(
                    f"{path}: `{key}` is not MNIST's: its SHA-256 is {found}, published is {MNIST_SHA256[key]}. "
                    "The file was changed; install the package again."
                )
    digest = hashlib.sha256("".join(hashes.values()).encode()).hexdigest()[:16]
    images = pixels.astype(np.float32)[..., np.newaxis]
    images /= 255
    name = "mnist" if dataset == "mnist" else path.stem
    return LabelledImages(images, labels.astype(np.int32), digest, str(path.resolve()), name)


def _count_of(dataset: str) -> int:
    """The 6000 of `mnist:6000`; 0 of another word. Raises `DatasetError`."""
    name, colon, count = dataset.partition(":")
    if name != "mnist" or not colon:
        return 0
    if not count.isdecimal() or not FEWEST <= int(count) <= 60_000:
        raise DatasetError(
            f"`dataset` must be `mnist:N` with N from {FEWEST} to 60000, the first N training images and a sixth as "
            f"many test images; got {dataset!r}."
        )
    return int(count)


def _read(path: Path, keys: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz file, the form of all four checked; nothing in it is executed, whatever it holds."""
    if not path.exists():
        raise DatasetError(
            f"`dataset` must be `mnist`, `mnist:N` or the path of an .npz file; there is no file {path} "
            f"(looked for in {os.getcwd()}; give the whole path)."
        )
    if not path.is_file():
        raise DatasetError(f"`dataset` must be a file; {path} is none.")
    if not zipfile.is_zipfile(path):
        raise DatasetError(f"{path} is not an .npz file (a zip archive of arrays), or it was cut short.")
    arrays: dict[str, NDArray[Any]] = {}
    try:
        # Opened here, for numpy leaves the file open where the archive in it is broken.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            missing = [key for key in KEYS if key not in archive.files]
            if missing:
                raise DatasetError(
                    f"{path} lacks {', '.join(missing)}; it holds {', '.join(archive.files) or 'nothing'}. "
                    f"Needed are {', '.join(KEYS)}, as numpy.savez writes them."
                )
            for key in keys:
                arrays[key] = archive[key]
            forms = {key: _form(archive, key) for key in KEYS if key not in keys}
    except DatasetError:
        raise
    except (
        ValueError,
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        NotImplementedError,
        RuntimeError,
        MemoryError,
    ) as error:
        reason = str(error)
        if "allow_pickle" in reason:
            reason = "it holds pickled Python objects, which are refused since reading them could run code"
        raise DatasetError(f"{path} cannot be read: {reason}.") from error
    for key, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise DatasetError(f"{path}: `{key}` is not an array in numpy's format.")
    forms |= {key: (array.shape, array.dtype) for key, array in arrays.items()}
    for part in ("train", "test"):
        (shape, dtype), (labels_shape, labels_dtype) = forms[f"x_{part}"], forms[f"y_{part}"]
        _check_pixels_form(path, f"x_{part}", shape, dtype)
        _check_labels_form(path, f"y_{part}", labels_shape, labels_dtype, shape[0])
    return arrays


def _form(archive: Any, key: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of an array from its header, so that test arrays of the wrong form are refused before a training.

    The array itself is not read.
    """
    with archive.zip.open(key if key in archive.zip.namelist() else f"{key}.npy") as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    return shape, dtype


def _check_pixels_form(path: Path, key: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if len(shape) != 3 or shape[1:] != IMAGE_SHAPE[:2] or shape[0] == 0:
        raise DatasetError(f"{path}: `{key}` must have the shape (n, 28, 28), n at least 1; got {shape}.")
    if dtype.kind not in "ui":
        raise DatasetError(
            f"{path}: `{key}` must have the dtype uint8 (grey levels 0 to 255); got {dtype}. "
            "For images in [0, 1] save (255 * images).round().astype('uint8')."
        )


def _check_labels_form(path: Path, key: str, shape: tuple[int, ...], dtype: np.dtype[Any], num_images: int) -> None:
    if shape != (num_images,):
        raise DatasetError(f"{path}: `{key}` must have the shape ({num_images},), one label an image; got {shape}.")
    if dtype.kind not in "ui":
        raise DatasetError(f"{path}: `{key}` must have the dtype uint8 (labels 0 to 9); got {dtype}.")


def _check_pixels(path: Path, key: str, pixels: NDArray[Any]) -> None:
    low, high = pixels.min(), pixels.max()
    if low < 0 or high > 255:
        raise DatasetError(f"{path}: values of `{key}` must be from 0 to 255; they are from {low} to {high}.")


def _check_labels(path: Path, key: str, labels: NDArray[Any]) -> None:
    low, high = labels.min(), labels.max()
    if low < 0 or high >= NUM_CLASSES:
        raise DatasetError(
            f"{path}: labels in `{key}` must be from 0 to {NUM_CLASSES - 1}; they are from {low} to {high}."
        )
