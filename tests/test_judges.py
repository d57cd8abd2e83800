"""Judges: what they learn from, what they give, and that a stored one is the one that was trained."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import mlflow
import numpy as np
import pytest

from mnist_cnn.data import dataset
from mnist_cnn.judging import judges
from mnist_cnn.settings import PANEL_A, PANEL_B, PANELS
from mnist_cnn.tracking import judges as stored
from mnist_cnn.tracking import runs
from mnist_cnn.tracking.judges import find_panel, log_judge
from mnist_cnn.tracking.store import TrackingError
from pipelines import judges as pipeline
from pipelines.__main__ import call


@pytest.fixture(scope="module")
def data(small_dataset: Path) -> dataset.Split:
    return dataset.split(dataset.load_train(str(small_dataset)))


@pytest.fixture(scope="module")
def trained(store: Path, small_dataset: Path) -> mlflow.entities.Run:
    """One run that trained both panels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(store)
        mlflow.set_tracking_uri(None)
        call("judges", ["--dataset", str(small_dataset)])
        return mlflow.MlflowClient().search_runs(["0"], max_results=1)[0]


def logged(client: mlflow.MlflowClient, panel: str, kind: str):
    found = client.search_logged_models(["0"], f"tags.panel = '{panel}' AND tags.judge = '{kind}'")
    return max(found, key=lambda model: model.creation_timestamp)


def place(model) -> Path:
    return Path(model.artifact_location.removeprefix("file://")) / judges.FILE


def test_the_panels_halves_are_disjoint_and_make_up_the_whole(data: dataset.Split) -> None:
    numbers = np.arange(len(data.train))
    marked = dataclasses.replace(data.train, labels=numbers)
    halves = [judges.half(marked, panel) for panel in PANELS]
    assert not set(halves[0].labels) & set(halves[1].labels)
    assert sorted(np.concatenate([half.labels for half in halves])) == numbers.tolist()
    assert len({data.train.digest, *(half.digest for half in halves)}) == 3
    for half in halves:
        np.testing.assert_array_equal(half.images, data.train.images[half.labels])


def test_the_panels_halves_are_drawn_alike() -> None:
    """Images of even and of odd number are not: 0.122 and 0.139."""
    train = dataset.split(dataset.load_train()).train
    first, second = (judges.half(train, panel) for panel in PANELS)
    assert len(first) == len(second) == 27_000
    assert first.images.mean() == pytest.approx(second.images.mean(), abs=0.001)
    counts = np.bincount(first.labels), np.bincount(second.labels)
    assert np.abs(counts[0] - counts[1]).max() < 5 * np.sqrt(len(train) / 10)
    marked = dataclasses.replace(train, labels=np.arange(len(train)))
    for panel in PANELS:
        assert (judges.half(marked, panel).labels % 2).mean() == pytest.approx(0.5, abs=0.01)


def test_the_panels_differ_in_their_parameters() -> None:
    for kind in judges.KINDS:
        assert judges.PARAMETERS[kind][PANEL_A] != judges.PARAMETERS[kind][PANEL_B]


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.slow] * (kind in ("cnn", "mixer"))) for kind in judges.KINDS]
)
def test_a_judge_learns_and_is_the_same_after_it_was_stored(kind: str, data: dataset.Split, tmp_path: Path) -> None:
    judge = judges.train(kind, PANEL_A, data, seed=1).judge
    images = data.validation.images
    given = judge.predict(images)
    assert given.shape == (len(images), 10) and given.dtype == np.float32
    np.testing.assert_allclose(given.sum(axis=1), 1, atol=1e-5)
    assert (given.argmax(axis=1) == data.validation.labels).mean() > 0.4  # the networks take some 20 steps here
    judge.save(tmp_path)
    np.testing.assert_array_equal(judges.load(tmp_path, 10).predict(images), given)
    before = judges.content_sha256(tmp_path)
    judges.train(kind, PANEL_A, data, seed=1).judge.save(tmp_path)
    assert judges.content_sha256(tmp_path) == before


@pytest.mark.parametrize("kind", ["knn", "kernel", "subspace"])
def test_a_judge_of_blank_images_and_of_noise_gives_finite_numbers(kind: str, data: dataset.Split) -> None:
    judge = judges.train(kind, PANEL_A, data, seed=1).judge
    noise = np.random.default_rng(0).random((2, 28, 28, 1), np.float32)
    images = np.concatenate([np.zeros_like(noise), np.ones_like(noise), noise])
    np.testing.assert_allclose(judge.predict(images).sum(axis=1), 1, atol=1e-5)
    assert judge.predict(images[:0]).shape == (0, 10)
    with pytest.raises(ValueError, match=r"shape \(n, 28, 28, 1\); got \(6, 28, 28\)"):
        judge.predict(images[..., 0])


def test_a_class_without_examples_is_never_chosen(data: dataset.Split) -> None:
    few = data.train.labels < 8
    part = dataclasses.replace(data.train, images=data.train.images[few], labels=data.train.labels[few])
    judge = judges.train("subspace", PANEL_A, dataset.Split(part, data.validation), seed=1).judge
    assert not judge.predict(data.validation.images)[:, 8:].any()


def test_what_is_no_judge_is_refused(data: dataset.Split, tmp_path: Path) -> None:
    with pytest.raises(judges.JudgeError, match="cannot be read"):
        judges.load(tmp_path, 10)
    for content in (b"", b"no archive"):
        (tmp_path / judges.FILE).write_bytes(content)
        with pytest.raises(judges.JudgeError, match="cannot be read"):
            judges.load(tmp_path, 10)
    np.savez(tmp_path / judges.FILE, form=np.array([object()]))
    with pytest.raises(judges.JudgeError, match="pickled Python objects, which are refused"):
        judges.load(tmp_path, 10)
    judges.train("knn", PANEL_A, data, seed=1).judge.save(tmp_path)
    version = judges.VERSION
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judges, "VERSION", "another")
        with pytest.raises(judges.JudgeError, match=f"of version {version}; this is version another"):
            judges.load(tmp_path, 10)


@pytest.mark.slow
def test_a_run_holds_every_judge_with_its_accuracies(client, trained, small_dataset: Path) -> None:
    run = client.get_run(trained.info.run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "judges-both")
    assert len(run.outputs.model_outputs) == 2 * len(judges.KINDS)
    contexts = {tag.value for entry in run.inputs.dataset_inputs for tag in entry.tags}
    assert contexts == {"training A", "training B", "validation", "testing"}
    test = dataset.load_test(str(small_dataset))
    for panel in PANELS:
        for kind in judges.KINDS:
            model = logged(client, panel, kind)
            assert {metric.key for metric in model.metrics} == {
                f"{name}/{panel}/{kind}" for name in ("validation_accuracy", "test_accuracy", "training_seconds")
            }
            assert model.tags["version"] == judges.VERSION and len(model.tags["sha256"]) == 64
            judge = judges.load(place(model).parent, 10)
            accuracy = (judge.predict(test.images).argmax(axis=1) == test.labels).mean()
            assert run.data.metrics[f"test_accuracy/{panel}/{kind}"] == pytest.approx(accuracy)
    assert "| B | mixer |" in run.data.tags["mlflow.note.content"]
    assert [file.path for file in client.list_artifacts(run.info.run_id, "figures")] == ["figures/accuracies.png"]


@pytest.mark.slow
def test_a_stored_panel_is_found_and_not_trained_again(client, trained, data, monkeypatch) -> None:
    monkeypatch.setattr(judges, "train", None)
    for name in PANELS:
        panel = pipeline.panel(name, data)
        assert (panel.name, tuple(panel.judges), panel.version) == (name, judges.KINDS, judges.VERSION)
        given = panel.predict(data.validation.images)
        assert given.shape == (len(judges.KINDS), len(data.validation), 10)
        for own, (kind, judge) in zip(given, panel.judges.items(), strict=True):
            assert judge.kind == kind
            np.testing.assert_array_equal(own, judge.predict(data.validation.images))


@pytest.mark.slow
def test_a_panel_says_nothing_on_the_terminal(client, trained, data, capfd: pytest.CaptureFixture[str]) -> None:
    """TensorFlow would warn of a network that is compiled at each call."""
    panel = pipeline.panel(PANEL_A, data)
    for count in (1, 7, 30, 100):
        panel.predict(data.validation.images[:count])
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_only_a_whole_panel_of_the_same_data_and_version_is_found(client, trained, data) -> None:
    assert find_panel(PANEL_A, data.validation, seed=0) is None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judges, "VERSION", "another")
        assert find_panel(PANEL_A, data.train, seed=0) is None
    assert find_panel(PANEL_A, data.train, seed=1) is None  # judges of another seed are other judges
    with runs.tracked_run("judges", name="cut short") as run:
        log_judge(run, judges.train("mlp", PANEL_A, data, seed=9).judge, PANEL_A, data.train.digest, seed=0)
    found = find_panel(PANEL_A, data.train, seed=0)
    assert found is not None
    seed_0 = judges.train("mlp", PANEL_A, data, seed=0).judge.predict(data.validation.images)
    np.testing.assert_array_equal(found.judges["mlp"].predict(data.validation.images), seed_0)


@pytest.mark.slow
def test_a_panel_that_is_missing_is_trained_within_the_open_run_and_without_the_test_images(
    client, small_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    other = tmp_path / "other.npz"
    with np.load(small_dataset) as arrays:
        np.savez(other, **{**dict(arrays), "x_train": arrays["x_train"][::-1], "y_train": arrays["y_train"][::-1]})
    data = dataset.split(dataset.load_train(str(other)))
    monkeypatch.setattr(dataset, "load_test", None)
    with runs.tracked_run("sweep") as run:
        panel = pipeline.panel(PANEL_A, data)
    said = capsys.readouterr().out
    assert "No stored panel A of judges" in said and "Panel A of judges: trained in" in said
    (child,) = client.search_runs(["0"], f"tags.mlflow.parentRunId = '{run.run_id}'")
    assert child.info.status == "FINISHED" and child.data.params["dataset"] == str(other)
    assert "not measured" in child.data.tags["mlflow.note.content"]
    again = pipeline.panel(PANEL_A, data)
    assert capsys.readouterr() == ("", "")
    np.testing.assert_array_equal(again.predict(data.validation.images), panel.predict(data.validation.images))


@pytest.mark.slow
def test_a_judge_that_was_tampered_with_is_refused_before_it_is_read(client, trained, data, monkeypatch) -> None:
    path = place(logged(client, PANEL_B, "mlp"))
    content = path.read_bytes()
    read: list[Path] = []
    load = judges.load
    monkeypatch.setattr(judges, "load", lambda folder, count: read.append(folder) or load(folder, count))
    try:
        for changed in (content[:-1] + bytes([content[-1] ^ 1]), content[:1000], b""):
            path.write_bytes(changed)
            read.clear()
            stored._load.cache_clear()
            with pytest.raises(TrackingError, match="judge-B-mlp .* is not what was logged.*mlflow run"):
                find_panel(PANEL_B, data.train, seed=0)
            assert len(read) == judges.KINDS.index("mlp")
        path.unlink()
        stored._load.cache_clear()
        with pytest.raises(TrackingError, match="judge-B-mlp"):
            find_panel(PANEL_B, data.train, seed=0)
    finally:
        path.write_bytes(content)
    (path.parent / "more.txt").write_text("more")
    stored._load.cache_clear()
    with pytest.raises(TrackingError, match="is not what was logged"):
        find_panel(PANEL_B, data.train, seed=0)
    (path.parent / "more.txt").unlink()


@pytest.mark.slow
@pytest.mark.thorough
def test_every_judge_reads_97_of_100_real_digits() -> None:
    """Of panel B, which proves; panel A is made by the same code from the other half."""
    data, test = dataset.split(dataset.load_train()), dataset.load_test()
    for kind in judges.KINDS:
        assert judges.evaluate(judges.train(kind, PANEL_B, data, seed=0).judge, test).accuracy >= 0.97, kind
