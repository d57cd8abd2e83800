"""Every test works in a temporary folder, with a store that is made for the tests; the project's own is not touched."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from mnist_cnn.runtime import hardware

gc.disable()  # while things are imported, as the commands do it: see pipelines/__main__.py
hardware.start_tensorflow()
os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", str(Path(tempfile.gettempdir()) / "hypothesis"))

import mlflow  # noqa: E402 (TensorFlow is started quietly before anything imports it)

PROJECT = Path(__file__).resolve().parent.parent
NUM_TRAIN, NUM_TEST = 1000, 300


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    gc.freeze()


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 1,000 training and 300 test images of MNIST as a file of the same form."""
    path = tmp_path_factory.mktemp("data") / "small.npz"
    with np.load(PROJECT / "mnist_cnn" / "data" / "mnist.npz") as whole:
        counts = {"x_train": NUM_TRAIN, "y_train": NUM_TRAIN, "x_test": NUM_TEST, "y_test": NUM_TEST}
        np.savez(path, **{key: whole[key][:count] for key, count in counts.items()})
    return path


@pytest.fixture(scope="session")
def fresh_store(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Gives a folder a fresh SQLite store, a copy of one that is made once: its forty migrations take seconds."""
    made = tmp_path_factory.mktemp("fresh")
    with contextlib.chdir(made):
        mlflow.MlflowClient(tracking_uri=f"sqlite:///{made}/mlflow.db").search_experiments()

    def copy(folder: Path) -> Path:
        shutil.copy(made / "mlflow.db", folder)
        with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
            place = "UPDATE experiments SET artifact_location = replace(artifact_location, ?, ?)"
            assert database.execute(place, (str(made), str(folder))).rowcount == 1
        return folder

    return copy


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, fresh_store: Callable[[Path], Path]) -> Path:
    """The folder with a store in which the tests of one file work, so names of runs and studies are its own."""
    return fresh_store(tmp_path_factory.mktemp("store"))


@pytest.fixture
def client(store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[mlflow.MlflowClient]:
    """Work in the store's folder, as a person in the project's folder would; no MLflow variable leaks in or out."""
    for name in list(os.environ):
        if name.startswith("MLFLOW_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(store)
    mlflow.set_tracking_uri(None)
    yield mlflow.MlflowClient()
    while mlflow.active_run():
        mlflow.end_run("FAILED")
    left = list((store / "unsent").glob("*"))
    shutil.rmtree(store / "unsent", ignore_errors=True)
    assert not left, "a test left what a store did not take"
