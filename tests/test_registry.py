"""Versions and aliases: driven through the entry point, on a store of their own, with networks trained here."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pytest
from conftest import PROJECT

from mnist_cnn.settings.errors import SettingError
from mnist_cnn.tracking import models, networks, reading, registry, runs
from pipelines.__main__ import call as command

pytestmark = pytest.mark.slow

SMALL = ("--attacked", "0", "--num_images", "0")
NAME = "mnist-cnn"


@pytest.fixture(scope="module")
def trained(store: Path, small_dataset: Path) -> dict[str, str]:
    """Ids of runs: a network that has learnt little, two that have learnt more, and one on other images."""
    other = small_dataset.with_name("other.npz")
    with np.load(small_dataset) as arrays:
        np.savez(other, **{name: 255 - array if name[0] == "x" else array for name, array in arrays.items()})
    words = {
        "bad": ["--epochs", "1", "--learning_rate", "1e-5"],
        "good": ["--epochs", "6", "--batch_size", "64"],
        "twin": ["--epochs", "6", "--batch_size", "64", "--seed", "1"],
        "other": ["--epochs", "1", "--dataset", str(other)],
    }
    runs = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(store)
        mlflow.set_tracking_uri(None)
        for name, given in words.items():
            dataset = [] if name == "other" else ["--dataset", str(small_dataset)]
            command("train", [*given, *dataset, "--run_name", name])
            runs[name] = mlflow.search_runs(filter_string=f"attributes.run_name = '{name}'").run_id[0]
    return runs


@pytest.fixture
def shelf(client: mlflow.MlflowClient) -> Iterator[mlflow.MlflowClient]:
    """The registry, empty before and after."""
    yield client
    for model in client.search_registered_models():
        client.delete_registered_model(model.name)


def call(run_id: str, data: Path, *more: str) -> mlflow.entities.Run:
    command("register", ["--model", run_id, "--dataset", str(data), *SMALL, *more])
    return mlflow.MlflowClient().search_runs(["0"], "tags.kind = 'register'", max_results=1)[0]


def aliases(client: mlflow.MlflowClient) -> dict[str, int]:
    return {name: int(number) for name, number in client.get_registered_model(NAME).aliases.items()}


def test_the_first_version_is_champion_and_a_worse_one_only_a_challenger(
    shelf, trained, small_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = call(trained["good"], small_dataset)
    assert aliases(shelf) == {"champion": 1, "challenger": 1} and run.data.tags["decision"] == "the first champion"
    run = call(trained["bad"], small_dataset)
    assert aliases(shelf) == {"champion": 1, "challenger": 2} and run.data.tags["decision"] == "not promoted"
    said = capsys.readouterr().out
    assert "it is worse, and stays a challenger" in said and "champion: version 1, unchanged" in said
    assert run.data.metrics["promotion/difference_high"] < -0.005 and run.data.metrics["promotion/images"] == 100
    assert run.data.tags["mlflow.note.content"].startswith("**Not promoted**")


def test_a_better_one_takes_over_and_the_alias_can_be_moved_back(
    shelf, trained, small_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call(trained["bad"], small_dataset)
    run = call(trained["good"], small_dataset)
    assert aliases(shelf) == {"champion": 2, "challenger": 2} and run.data.tags["decision"] == "promoted"
    command("rollback", ["--version", "1"])
    assert aliases(shelf) == {"champion": 1, "challenger": 2}
    assert "mnist-cnn@champion was version 2 and is now version 1" in capsys.readouterr().out
    command("rollback", ["--version", "2", "--dry_run", "true"])
    assert aliases(shelf)["champion"] == 1
    (dry,) = shelf.search_runs(["0"], "tags.kind = 'rollback'", max_results=1)
    assert dry.data.tags["decision"] == "dry run"
    # A person has taken the alias from it: no promotion check gives it back, another person can.
    run = call(trained["good"], small_dataset)
    assert aliases(shelf) == {"champion": 1, "challenger": 2} and len(registry.versions(NAME)) == 2
    assert run.data.tags["decision"] == "not promoted" and "rolled back by hand" in capsys.readouterr().out
    command("rollback", ["--version", "2"])
    assert aliases(shelf)["champion"] == 2
    call(trained["good"], small_dataset)
    assert aliases(shelf)["champion"] == 2


def test_a_champion_that_cannot_be_loaded_is_no_dead_end(
    shelf, trained, small_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call(trained["bad"], small_dataset)
    model = shelf.get_logged_model(registry.versions(NAME)[0].model_id)
    files = Path(model.artifact_location.removeprefix("file://"))
    aside = files.with_name("aside")
    files.rename(aside)
    networks._load.cache_clear()  # another process has not loaded it before
    try:
        run = call(trained["good"], small_dataset)
        assert aliases(shelf) == {"champion": 1, "challenger": 2} and run.data.tags["decision"] == "not promoted"
        assert "The champion, version 1, cannot be used" in capsys.readouterr().out
        command("rollback", ["--version", "2"])
        assert aliases(shelf)["champion"] == 2
        with pytest.raises(SettingError, match="`version`: the files of models:/mnist-cnn/1 are not there"):
            command("rollback", ["--version", "1"])
    finally:
        aside.rename(files)


def test_one_model_never_has_two_versions(shelf, trained, small_dataset: Path) -> None:
    call(trained["good"], small_dataset)
    run = call(f"runs:/{trained['good']}/model", small_dataset)
    assert run.data.tags["decision"] == "is the champion"
    model = registry.versions(NAME)[0]
    call(f"models:/{model.model_id}", small_dataset)
    call(f"models:/{NAME}@champion", small_dataset)
    assert [each.number for each in registry.versions(NAME)] == [1]


def test_a_dry_run_decides_and_changes_nothing(
    shelf, trained, small_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call(trained["good"], small_dataset, "--dry_run", "true")
    assert not shelf.search_registered_models()
    assert "nothing was registered; mnist-cnn@champion would be this model" in capsys.readouterr().out
    call(trained["bad"], small_dataset)
    run = call(trained["good"], small_dataset, "--dry_run", "true")
    assert run.data.tags["decision"] == "promoted" and aliases(shelf) == {"champion": 1, "challenger": 1}


def test_a_version_says_where_it_is_from_and_what_it_can(shelf, trained, small_dataset: Path) -> None:
    command(
        "register",
        ["--model", trained["good"], "--dataset", str(small_dataset), "--attacked", "20", "--num_images", "2"],
    )
    version = shelf.get_model_version_by_alias(NAME, "champion")
    tags = version.tags
    origin = shelf.get_run(trained["good"])
    assert version.run_id == tags["run_id"] == trained["good"] and len(tags["data_digest"]) == 16
    assert tags["commit"] == origin.data.tags["mlflow.source.git.commit"]
    assert float(tags["validation_accuracy"]) == pytest.approx(origin.data.metrics["validation_accuracy"], abs=1e-4)
    assert float(tags["test_accuracy"]) == pytest.approx(origin.data.metrics["test_accuracy"], abs=1e-4)
    assert 0 <= float(tags["test_robust_accuracy"]) < float(tags["test_accuracy"])
    assert 0 <= float(tags["recognised_rate"]) <= 1
    assert (tags["network"], tags["regime"], tags["decision"]) == ("compact", "ordinary", "the first champion")
    for words in ("test accuracy", "under attack", "panel A recognises", trained["good"]):
        assert words in version.description
    assert "champion" in shelf.get_registered_model(NAME).description


def test_the_champion_loads_through_keras_and_through_pyfunc(shelf, trained, small_dataset: Path) -> None:
    call(trained["good"], small_dataset)
    with np.load(small_dataset) as arrays:
        images = arrays["x_test"][:5, ..., np.newaxis].astype(np.float32) / 255
    network = mlflow.keras.load_model(f"models:/{NAME}@champion")
    predictor = mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
    given = network.predict(images, verbose=0)
    assert given.shape == (5, 10)
    np.testing.assert_allclose(predictor.predict(images), given, atol=1e-6)
    with pytest.raises(mlflow.MlflowException, match="shape"):
        predictor.predict(images[:, :27])


def test_the_best_of_an_experiment(shelf, trained, small_dataset: Path) -> None:
    runs = {name: run for name, run in trained.items() if name != "other"}
    scores = {name: shelf.get_run(run).data.metrics["validation_loss"] for name, run in runs.items()}
    best = min(scores, key=lambda name: scores[name])
    assert best in ("good", "twin")
    data = ["--dataset", str(small_dataset)]
    command("register", ["--experiment", "Default", "--metric", "validation_loss", *data, *SMALL])
    assert registry.versions(NAME)[0].run_id == trained[best]
    for words, message in (
        (["--experiment", "nowhere"], "`experiment` must be the name of one that is there; got 'nowhere'. Known: Def"),
        (["--experiment", "Default"], "holds no finished training on mnist whose model is there"),
        (
            ["--experiment", "Default", "--metric", "beauty", *data],
            "`metric`: no training in Default has 'beauty'; they have",
        ),
    ):
        with pytest.raises(SettingError, match=message):
            command("register", words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "0" * 32], "`model`: there is no runs:/0+/model"),
        (["--model", "champion"], "`model` must be the id of a run"),
        (["--alias", "champion"], "`alias` is a command of its own now: mlflow run . -e rollback"),
        (["--version", "1"], "`version` is a command of its own now: mlflow run . -e rollback"),
        (["--model", "0" * 32, "--experiment", "y"], "give one of them"),
        (["--experiment", "Default", "--metric", "test_accuracy"], "`metric` must be .*cannot be tested by them"),
    ],
)
def test_what_is_refused(client, words: list[str], message: str) -> None:
    runs = len(client.search_runs(["0"]))
    with pytest.raises(SettingError, match=message):
        command("register", words)
    assert len(client.search_runs(["0"])) == runs


def test_a_version_that_is_not_there_cannot_be_rolled_back_to(client) -> None:
    with pytest.raises(SettingError, match="`version` must be one that mnist-cnn has; got 9. It has none"):
        command("rollback", ["--version", "9"])


def test_models_of_other_images_do_not_meet(shelf, trained, small_dataset: Path) -> None:
    other = small_dataset.with_name("other.npz")
    with pytest.raises(SettingError, match="learned from other images"):
        call(trained["other"], small_dataset)
    call(trained["good"], small_dataset)
    with pytest.raises(SettingError, match="was judged on other images .* or another `name`"):
        call(trained["other"], other)
    call(trained["other"], other, "--name", "inverted")
    assert shelf.get_model_version_by_alias("inverted", "champion").run_id == trained["other"]
    assert aliases(shelf) == {"champion": 1, "challenger": 1}


def _register(folder: Path, data: Path, run_id: str, barrier) -> None:
    os.chdir(folder)
    barrier.wait()
    command("register", ["--model", run_id, "--dataset", str(data), *SMALL])


@pytest.mark.parametrize("names", [("good", "good"), ("good", "twin"), ("bad", "good")])
def test_two_at_once_leave_one_champion_that_no_check_has_kept_back(
    names: tuple[str, str], shelf, store: Path, trained, small_dataset: Path
) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(PROJECT), str(PROJECT / "tests")]))
        both = [
            context.Process(target=_register, args=(store, small_dataset, trained[name], barrier)) for name in names
        ]
        for process in both:
            process.start()
        for process in both:
            process.join(120)
    assert [process.exitcode for process in both] == [0, 0]
    known = registry.versions(NAME)
    assert len(known) == len(set(names)) == len({version.model_id for version in known})
    held = {alias: shelf.get_model_version_by_alias(NAME, alias).run_id for alias in ("champion", "challenger")}
    assert held["champion"] in {trained[name] for name in names}
    if "bad" in names:
        assert held["champion"] == trained["good"]
    assert sorted(aliases(shelf)) == ["challenger", "champion"]


def test_without_a_lock_the_first_of_two_versions_of_one_model_stays(
    shelf, trained, small_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = models.resolve(trained["good"])
    model = models.LoggedModel(shelf.search_logged_models(["0"])[0].model_id, model.uri)
    looked = []
    of_model = registry.of_model

    def blind_at_first(name: str, model_id: str):
        looked.append(model_id)
        return None if len(looked) == 1 else of_model(name, model_id)

    first, made = registry.register(NAME, model, "")
    assert made
    monkeypatch.setattr(registry, "of_model", blind_at_first)
    second, made = registry.register(NAME, model, "")
    assert (second.number, made) == (first.number, False) and len(registry.versions(NAME)) == 1


def test_a_champion_made_meanwhile_is_compared_with_as_well(
    shelf, trained, small_dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on a server, whose clients share no lock."""
    call(trained["bad"], small_dataset)
    holder = registry.holder
    asked = []

    def changing(name: str, alias: str):
        asked.append(alias)
        if len(asked) == 2:
            monkeypatch.setattr(registry, "holder", holder)
            version, _ = registry.register(name, models.resolve(f"models:/{model_of(trained['good'])}"), "")
            registry.point(version, "champion")
        return holder(name, alias)

    def model_of(run_id: str) -> str:
        return shelf.get_run(run_id).outputs.model_outputs[0].model_id

    monkeypatch.setattr(registry, "holder", changing)
    run = call(trained["bad"], small_dataset)
    assert "comparing once more, with that one" in capsys.readouterr().out
    assert run.data.tags["decision"] == "not promoted" and aliases(shelf)["champion"] == 2


def test_a_run_whose_model_was_deleted_is_not_up_to_date(client, trained) -> None:
    run = client.get_run(trained["twin"])
    fingerprint = run.data.tags[runs.FINGERPRINT_TAG]
    assert reading.finished_run("train", fingerprint).info.run_id == trained["twin"]
    model_id = run.outputs.model_outputs[0].model_id
    client.delete_logged_model(model_id)
    assert reading.finished_run("train", fingerprint) is None
