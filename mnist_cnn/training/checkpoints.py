"""A training's state as one file: written whole, read back exactly, refused where it was cut short."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np

from mnist_cnn.data import npz
from mnist_cnn.training.loop import EpochResult, TrainingState


class CheckpointError(ValueError):
    """A checkpoint cannot be read; the message says why."""


def save(state: TrainingState, path: Path) -> None:
    """Write `state` to `path`, an .npz of plain arrays (no pickle)."""
    named = {f"network_{i}": array for i, array in enumerate(state.network)}
    named |= {f"optimizer_{i}": array for i, array in enumerate(state.optimizer)}
    history = json.dumps([dataclasses.asdict(result) for result in state.history])
    np.savez(path, history=np.frombuffer(history.encode(), np.uint8), **named)  # type: ignore[arg-type]


def load(path: Path) -> TrainingState:
    """Read what `save` wrote. Every array's checksum is verified. Raises `CheckpointError`."""
    try:
        found = npz.read(path).read
        history = [EpochResult(**result) for result in json.loads(found.pop("history").tobytes())]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path.name} cannot be read ({error})") from error

    def part(name: str) -> list[np.ndarray]:
        count = sum(key.startswith(f"{name}_") for key in found)
        return [found[f"{name}_{i}"] for i in range(count)]

    return TrainingState(len(history), part("network"), part("optimizer"), history)
