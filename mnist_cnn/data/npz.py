"""Reading .npz files that may be damaged or forged: nothing in them is executed, and nothing too large is unpacked."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from mnist_cnn.settings.fields import cut

LARGEST = 2**30
"""Bytes of all arrays of a file, unpacked: a million images are 0.8 GiB of them."""

Form = tuple[tuple[int, ...], np.dtype[Any]]
"""Shape and dtype of an array."""


class ArraysError(ValueError):
    """A file of arrays cannot be read; the message says why."""


@dataclass(frozen=True)
class Arrays:
    """What a file holds. forms: of all its arrays, from their headers. read: those that were asked for."""

    forms: dict[str, Form]
    read: dict[str, NDArray[Any]]


def read(source: Path | IO[bytes], keys: Sequence[str] | None = None) -> Arrays:
    """The arrays of an .npz: some, or all. Every array's checksum is verified. Raises `ArraysError`."""
    try:
        # Opened here, for numpy leaves the file open where the archive in it is broken.
        with zipfile.ZipFile(source) as archive:
            names = {part.filename.removesuffix(".npy"): part for part in archive.infolist()}
            size = sum(part.file_size for part in names.values())
            if size > LARGEST:
                raise ArraysError(
                    f"unpacked it has {size / 2**30:.1f} GiB, and at most {LARGEST / 2**30:g} GiB are read"
                )
            forms = {name: _form(archive, part) for name, part in names.items()}
            wanted = {name: names[name] for name in names if keys is None or name in keys}
            return Arrays(forms, {name: _array(archive, part) for name, part in wanted.items()})
    except ArraysError:
        raise
    except Exception as error:  # of a damaged file anything may be raised
        raise ArraysError(cut(str(error) or type(error).__name__, 120)) from error


def _form(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> Form:
    with archive.open(part) as file:
        version = np.lib.format.read_magic(file)
        head = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = head(file)
    if dtype.hasobject:
        raise ArraysError("it holds pickled Python objects, which are refused since reading them could run code")
    if math.prod(shape) * dtype.itemsize > part.file_size:
        raise ArraysError(f"{part.filename} says that it holds more than there is")
    return shape, dtype


def _array(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> NDArray[Any]:
    with archive.open(part) as file:
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        while file.read(2**20):  # to the end, where the checksum is compared
            pass
    return array
