"""Images from noise that earlier runs found, with the digit that each shall show."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mnist_cnn.data import dataset
from mnist_cnn.data.dataset import LabelledImages
from mnist_cnn.settings.fields import cut, shown
from mnist_cnn.tracking import reading, store
from mnist_cnn.tracking.runs import KIND_TAG, SETTINGS_FILE
from mnist_cnn.tracking.store import TrackingError

Dreams = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""(n, 28, 28) images and (n,) digits."""


def dreams(run_id: str, count: int, data: LabelledImages) -> tuple[str, Dreams]:
    """The id of the run, and its last images from noise towards a single digit. Without an id, of the newest.

    count: so many there must be. data: the images that did not train; the run must be of these, or of any part of
    MNIST where these are one. Raises `TrackingError` where there are fewer, or the run is of other data.
    """
    store.open_store()
    if run_id:
        kind = reading.required_run(run_id).data.tags.get(KIND_TAG, "")
        found = _READ[kind](run_id) if kind in _READ else None
        if found is None:
            raise TrackingError(f"`run`: {run_id} is no run of `optimize` or `teach` that began from noise.")
        if not _is_of(run_id, data):
            other = reading.read_json(run_id, SETTINGS_FILE).get("settings", {}).get("dataset", "")
            raise TrackingError(
                f"`run`: {run_id} is of other data than {cut(dataset.word_for(data))}: {shown(other)}. Name a run of "
                "the same data, or its data by `dataset`."
            )
        if len(found[0]) < count:
            raise TrackingError(
                f"`run`: {run_id} has {len(found[0])} images from noise; lower `dreamed`, or search for more."
            )
        return run_id, found
    runs = [run for kind in _READ for run in reading.search(f"tags.{KIND_TAG} = '{kind}'")]
    for run in sorted(runs, key=lambda run: -run.info.start_time):
        if run.info.status != "FINISHED" or not _is_of(run.info.run_id, data):
            continue
        found = _READ[run.data.tags[KIND_TAG]](run.info.run_id)
        if found is not None and len(found[0]) >= count:
            return str(run.info.run_id), found
    given = "" if dataset.is_mnist(data) else " -P dataset=..."
    raise TrackingError(
        f"`run` was not given and {store.shown_uri()} holds none with {count} images from noise of "
        f"{cut(dataset.word_for(data))}; run `mlflow run . -e optimize{given}` first, or lower `dreamed`."
    )


def _is_of(run_id: str, data: LabelledImages) -> bool:
    """Whether a run searched for classes of these data."""
    stored = reading.read_json(run_id, SETTINGS_FILE)
    if stored.get("settings", {}).get("dataset", "").partition(":")[0] == "mnist":
        return dataset.is_mnist(data)
    return bool(stored.get("digest") == data.digest)


def _of_optimize(run_id: str) -> Dreams | None:
    if reading.read_json(run_id, SETTINGS_FILE).get("settings", {}).get("start") != "noise":
        return None
    arrays = reading.read_arrays(run_id, "arrays.npz")
    if not {"snapshots", "targets"} <= arrays.keys():
        return None
    targets = arrays["targets"]
    single = (targets > 0).sum(axis=1) == 1
    images = np.round(255 * arrays["snapshots"][-1, single, ..., 0]).astype(np.uint8)
    return images, targets[single].argmax(axis=1)


def _of_teach(run_id: str) -> Dreams | None:
    found = {number: reading.read_arrays(run_id, f"images/{number}.npz").get("images") for number in range(10)}
    there = {number: images for number, images in found.items() if images is not None}
    if not there:
        return None
    return np.concatenate(list(there.values())), np.repeat(list(there), [len(images) for images in there.values()])


_READ: dict[str, Callable[[str], Dreams | None]] = {"optimize": _of_optimize, "teach": _of_teach}
"""How images are read, by the kind of the run."""
