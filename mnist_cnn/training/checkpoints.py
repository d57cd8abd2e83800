"""A training's state as one file: written whole, read back exactly, refused where it was cut short."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path

import numpy as np

from mnist_cnn.training.loop import EpochResult, TrainingState


class CheckpointError(ValueError):
    """A checkpoint cannot be read; the message says why."""


def save(state: TrainingState, path: Path) -> None:
    """Write `state` to `path`, an .npz of plain arrays (no pickle)."""
    arrays = {f"network_{i}": array for i, array in enumerate(state.network)}
    arrays |= {f"optimizer_{i}": array for i, array in enumerate(state.optimizer)}
    history = json.dumps([dataclasses.asdict(result) for result in state.history])
    np.savez(path, history=np.frombuffer(history.encode(), np.uint8), **arrays)  # type: ignore[arg-type]


def load(path: Path) -> TrainingState:
    """Read what `save` wrote. Every array's checksum is verified. Raises `CheckpointError`."""
    try:
        # Opened here, for numpy leaves the file open where the archive in it is broken.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
        history = [EpochResult(**result) for result in json.loads(arrays.pop("history").tobytes())]
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path.name} cannot be read ({error})") from error

    def part(name: str) -> list[np.ndarray]:
        count = sum(key.startswith(f"{name}_") for key in arrays)
        return [arrays[f"{name}_{i}"] for i in range(count)]

    return TrainingState(len(history), part("network"), part("optimizer"), history)
