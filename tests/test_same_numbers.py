"""The guard of a rebuild: what it compares in two tracking stores, and what it says of a difference."""

from __future__ import annotations

import math
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import mlflow
import numpy as np
import pytest

from benchmarks import same_numbers
from benchmarks.same_numbers import Comparison, Numbers

Fill = Callable[..., Numbers]
LOSSES = ((1, 0.1), (2, 0.3), (3, math.nan))
IMAGES = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)


@pytest.fixture
def fill(store: Path, tmp_path: Path) -> Fill:
    """Makes a store with a run for each kind that is given, and reads it."""

    def make(
        *kinds: str, losses: tuple[tuple[int, float], ...] = LOSSES, images: Any = IMAGES, **metrics: float
    ) -> Numbers:
        folder = tmp_path / f"store {len(list(tmp_path.iterdir()))}"
        shutil.copytree(store, folder)
        client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
        experiment = client.create_experiment("made up", artifact_location=str(folder / "artifacts"))
        runs = []
        for start, kind in enumerate(kinds or ("optimize",), 1):
            run_id = client.create_run(experiment, start_time=start, tags={"kind": kind}).info.run_id
            for step, loss in losses:
                client.log_metric(run_id, "loss", loss, step=step)
            for name, value in metrics.items():
                client.log_metric(run_id, name, value)
            np.savez(tmp_path / "arrays.npz", snapshots=images)
            client.log_artifact(run_id, str(tmp_path / "arrays.npz"))
            runs.append(client.get_run(run_id))
        return same_numbers.read(client, runs)

    return make


def compare(base: Numbers, tree: Numbers, expected: Mapping[str, str] | None = None) -> Comparison:
    return same_numbers.compare("optimize", base, tree, expected or {})


def test_equal_stores_differ_in_nothing_and_every_number_counts(fill: Fill) -> None:
    comparison = compare(fill(), fill())
    assert comparison.is_good
    assert (comparison.numbers, comparison.differing) == (3 + 12, 0)


def test_the_last_bit_of_a_metric_is_a_difference_with_both_values(fill: Fill) -> None:
    comparison = compare(fill(), fill(losses=((1, 0.1), (2, math.nextafter(0.3, 1)), (3, math.nan))))
    assert not comparison.is_good
    (found,) = comparison.differences
    assert found == same_numbers.Difference(
        "optimize/optimize 0/loss at 2", "0.3", "0.30000000000000004", count=1, reason=""
    )


def test_a_value_at_another_step_is_a_difference(fill: Fill) -> None:
    comparison = compare(fill(), fill(losses=((1, 0.1), (2, 0.3), (4, math.nan))))
    assert [(found.name[-4:], found.base, found.tree) for found in comparison.differences] == [
        ("at 3", "[nan]", "missing"),
        ("at 4", "missing", "[nan]"),
    ]


def test_of_an_array_the_numbers_that_differ_are_counted_and_the_first_is_named(fill: Fill) -> None:
    moved = IMAGES.copy()
    moved[1, 1], moved[2, 3] = np.nextafter(moved[1, 1], np.float32(1)), -1
    (found,) = compare(fill(), fill(images=moved)).differences
    assert found.name == "optimize/optimize 0/arrays.npz/snapshots"
    assert (found.count, found.base, found.tree) == (2, f"{float(IMAGES[1, 1])} [5]", f"{float(moved[1, 1])} [5]")


@pytest.mark.parametrize("other", [IMAGES.astype(np.float64), IMAGES.reshape(4, 3)], ids=["dtype", "shape"])
def test_an_array_of_another_form_differs_as_a_whole(fill: Fill, other: Any) -> None:
    (found,) = compare(fill(), fill(images=other)).differences
    assert (found.count, found.base, found.tree) == (12, "float32 (3, 4)", f"{other.dtype} {other.shape}")


def test_a_run_that_is_missing_is_a_difference_in_all_its_numbers(fill: Fill) -> None:
    comparison = compare(fill("experiment", "experiment"), fill("experiment"))
    assert not comparison.is_good
    assert (comparison.numbers, comparison.differing) == (30, 15)
    assert all(found.name.startswith("optimize/experiment 1/") for found in comparison.differences)
    assert all(found.tree == "missing" for found in comparison.differences)


def test_an_expected_difference_keeps_its_reason_and_is_good(fill: Fill, capsys: pytest.CaptureFixture[str]) -> None:
    expected = {"optimize/*/loss at 2": "a mended fault", "optimize/*/loss at 1": "another"}
    comparison = compare(fill(), fill(losses=((1, 0.1), (2, 0.5), (3, math.nan))), expected)
    assert [found.reason for found in comparison.differences] == ["a mended fault"]
    assert same_numbers.report([comparison], expected)
    output = capsys.readouterr().out
    assert "loss at 2: 0.3 became 0.5; 1 differ (expected: a mended fault)" in output
    assert "optimize/*/loss at 1 is expected to differ, and does not" in output


def test_a_difference_beside_an_expected_one_fails(fill: Fill) -> None:
    moved = fill(losses=((1, 0.2), (2, 0.5), (3, math.nan)))
    assert not same_numbers.report([compare(fill(), moved, {"*/loss at 2": "a mended fault"})], {})


def test_what_a_clock_decides_is_left_out(fill: Fill) -> None:
    assert compare(fill(training_seconds=1.0, images_per_second=7.0), fill()).is_good
    assert not compare(fill(accuracy=1.0), fill()).is_good


def test_a_former_name_of_a_command_is_the_same_kind_of_run(fill: Fill) -> None:
    assert compare(fill("answer", "main"), fill("ablation", "reproduce")).is_good


def test_a_training_that_was_resumed_in_a_run_of_its_own_is_one_training(store: Path) -> None:
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{store}/mlflow.db")
    whole, first = (client.create_run("0", start_time=start, tags={"kind": "train"}).info.run_id for start in (1, 2))
    tags = {"kind": "resume", "resumed_from": first}
    second = client.create_run("0", start_time=3, tags=tags).info.run_id
    for epoch, loss in enumerate((0.5, 0.4, 0.3), 1):
        client.log_metric(whole, "loss", loss, step=epoch)
    for run_id, epoch, loss in ((first, 1, 0.5), (second, 1, 0.5), (second, 2, 0.4), (second, 3, 0.3)):
        client.log_metric(run_id, "loss", loss, step=epoch)
    alone = same_numbers.read(client, [client.get_run(whole)])
    both = same_numbers.read(client, [client.get_run(first), client.get_run(second)])
    assert compare(alone, both).is_good
    assert len(both) == 3


def test_the_weights_of_a_keras_archive_are_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "weights.h5", "w") as weights:
        weights["layers/dense/vars/0"] = IMAGES
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.write(tmp_path / "weights.h5", "model.weights.h5")
    ((name, array),) = same_numbers.arrays_of(tmp_path / "model.keras")
    assert name == "layers/dense/vars/0"
    np.testing.assert_array_equal(array, IMAGES)


@pytest.mark.parametrize(
    "done", [[], [Comparison("train")], [Comparison("train", 5), Comparison("optimize", failure="x")]]
)
def test_nothing_compared_or_a_failed_command_is_no_success(done: list[Comparison]) -> None:
    assert not same_numbers.report(done, {})
