"""Students that learn from images alone: the engine on little, and the command from a search to a logged student."""

from __future__ import annotations

from pathlib import Path

import mlflow
import numpy as np
import pytest

from mnist_cnn.data import dataset
from mnist_cnn.judging import teaching
from mnist_cnn.settings import SettingError, TeachSettings
from pipelines import teach
from pipelines.__main__ import call

TINY = ["--num_images=10", "--students=1", "--steps=6", "--snapshot_every=6"]


def test_posed_digits_are_one_of_each_class_in_many_poses() -> None:
    data = dataset.load_train("mnist:1000")
    posed = teaching.posed_digits(data, 5)
    assert posed.labels.tolist() == np.repeat(np.arange(10), 5).tolist()
    own = posed.images[posed.labels == 4]
    assert all(np.abs(own[0] - other).max() > 0.2 for other in own[1:])
    sums = own.sum(axis=(1, 2, 3))
    assert sums.max() < 1.5 * sums.min(), "one drawing, larger or smaller"
    np.testing.assert_array_equal(teaching.posed_digits(data, 5).images, posed.images)


def test_the_first_real_digits_of_each_class() -> None:
    data = dataset.load_train("mnist:1000")
    real = teaching.real_digits(data, 3)
    assert real.labels.tolist() == np.repeat(np.arange(10), 3).tolist()
    np.testing.assert_array_equal(real.images[6], data.images[np.flatnonzero(data.labels == 2)[0]])


def test_a_student_learns_what_it_is_shown_and_nothing_else() -> None:
    data = dataset.load_train("mnist:2000")
    twos = np.flatnonzero(np.isin(data.labels, [2, 7]))
    shown = data.part(twos, "2 and 7")
    network = teaching.teach(shown, 1, 0.0)
    test = dataset.load_test("mnist:2000")
    choices = network(test.images).numpy().argmax(axis=1)
    assert (choices[np.isin(test.labels, [2, 7])] == test.labels[np.isin(test.labels, [2, 7])]).mean() > 0.9
    assert np.isin(choices, [2, 7]).mean() > 0.9


def test_what_is_no_run_is_refused() -> None:
    with pytest.raises(SettingError, match="`images_of` must be the id of a run of `teach`, or nothing"):
        TeachSettings(images_of="z" * 32)
    assert TeachSettings().steps == 400 and TeachSettings().inversion_weight > 0


@pytest.mark.slow
def test_the_command_searches_teaches_and_logs_a_student(client: mlflow.MlflowClient, small_dataset: Path) -> None:
    call("train", ["--dataset", str(small_dataset), "--network", "smooth"])
    call("teach", [f"--dataset={small_dataset}", *TINY])
    run = client.search_runs(["0"], "tags.kind = 'teach'")[0]
    assert run.info.status == "FINISHED"
    for name in ("cas_plain", "cas_augmented", "recognised_rate", "learned/recall", "random/coverage",
                 "memorised_share", "learned/vendi_ratio/3", "deskewed_diversity",
                 "learned/frechet_distance"):  # fmt: skip
        assert np.isfinite(run.data.metrics[name]), name
    images = teach.reading.read_arrays(run.info.run_id, "images/7.npz")["images"]
    assert images.shape == (10, 28, 28) and images.dtype == np.uint8
    model = run.outputs.model_outputs[0].model_id
    call("evaluate", [f"--dataset={small_dataset}", f"--model=models:/{model}"])
    note = run.data.tags["mlflow.note.content"]
    assert "| control: one posed digit a class |" in note and "statistics of features" in note
    # Images that an interrupted run lacks are searched for as it would have done.
    Path(run.info.artifact_uri.removeprefix("file://"), "images/7.npz").unlink()
    call("teach", [f"--dataset={small_dataset}", *TINY, f"--images_of={run.info.run_id}"])
    resumed = client.search_runs(["0"], "tags.kind = 'teach'")[0]
    np.testing.assert_array_equal(teach.reading.read_arrays(resumed.info.run_id, "images/7.npz")["images"], images)
    assert resumed.data.metrics["cas_plain"] == run.data.metrics["cas_plain"]
    call("again", [f"--run={run.info.run_id}"])
    assert client.search_runs(["0"], max_results=1)[0].data.tags["again"].startswith("All ")
    with pytest.raises(SettingError, match="`images_of` must be the id of a run in"):
        call("teach", [f"--dataset={small_dataset}", *TINY, f"--images_of={'0' * 32}"])
    trained = client.search_runs(["0"], "tags.kind = 'train'")[0]
    with pytest.raises(SettingError, match="is none of `teach`"):
        call("teach", [f"--dataset={small_dataset}", *TINY, f"--images_of={trained.info.run_id}"])
    with pytest.raises(SettingError, match="has 10 images of each class; lower `num_images`"):
        call("teach", [f"--dataset={small_dataset}", *TINY[1:], "--num_images=11", f"--images_of={run.info.run_id}"])
