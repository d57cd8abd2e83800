"""The entry points `optimize` and `experiments`, called in this process and read back through the MLflow client."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import keras
import mlflow
import numpy as np
import pytest
from PIL import Image

from mnist_cnn.data import dataset
from mnist_cnn.input_optimization.ascent import AscentDiverged
from mnist_cnn.input_optimization.result import AscentResult
from mnist_cnn.input_optimization.starts import SearchPlan
from mnist_cnn.judging.search import Searches
from mnist_cnn.reporting import search_figures
from mnist_cnn.settings.errors import Notice, SettingError
from mnist_cnn.settings.experiments import kinds as kinds_of
from mnist_cnn.tracking import models, networks, runs
from mnist_cnn.tracking.judges import find_panel
from pipelines.__main__ import call

SHORT = ["--steps", "20", "--snapshot_every", "10", "--num_images", "2"]


@pytest.fixture(scope="module")
def model(store: Path, small_dataset: Path) -> str:
    """URI of a model trained on the small data set."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(store)
        mlflow.set_tracking_uri(None)
        call("train", ["--dataset", str(small_dataset), "--epochs", "3", "--batch_size", "64"])
        return "models:/" + mlflow.search_logged_models(max_results=1, output_format="list")[0].model_id


@pytest.fixture(scope="module")
def searched(store: Path, small_dataset: Path, model: str) -> mlflow.entities.Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(store)
        words = ["--targets", "2+3,7", "--start", "digit", "--start_class", "5", "--tv_weight", "0.001"]
        call("optimize", [*words, *SHORT, "--model", model, "--dataset", str(small_dataset)])
        return mlflow.MlflowClient().search_runs(["0"], "tags.kind = 'optimize'", max_results=1)[0]


def local(run: mlflow.entities.Run, path: str) -> Path:
    return Path(run.info.artifact_uri.removeprefix("file://"), path)


def test_a_search_holds_its_settings_and_the_model_it_looked_into(client, searched, model: str) -> None:
    run = client.get_run(searched.info.run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "optimize-2+3,7-from-digit")
    assert run.data.params["tv_weight"] == "0.001" and run.data.params["l2_weight"] == "0.0001"
    assert run.data.params["targets"] == "2+3,7" and run.data.params["seed"] == "0"
    assert [entry.model_id for entry in run.inputs.model_inputs] == [model.removeprefix("models:/")]
    assert run.data.tags["model_id"] == model.removeprefix("models:/")
    assert client.get_run(run.data.tags["judges.A"]).data.tags["kind"] == "judges"
    assert "| 5 → 2+3 | 2 |" in run.data.tags["mlflow.note.content"]


def test_a_search_holds_its_curves_snapshot_by_snapshot(client, searched) -> None:
    arrays = np.load(local(searched, "arrays.npz"))
    for key, name in (
        ("loss", "losses"),
        ("cross_entropy", "cross_entropies"),
        ("kl_divergence", "kl_divergences"),
    ):
        history = client.get_metric_history(searched.info.run_id, key)
        assert [metric.step for metric in history] == [0, 10, 20]
        np.testing.assert_allclose([metric.value for metric in history], arrays[name].mean(axis=1), rtol=1e-6)
    assert {"penalty", "target_probability", "hit_share"} <= set(searched.data.metrics)


def test_the_arrays_are_the_searches_from_start_to_end(client, searched, small_dataset: Path) -> None:
    arrays = np.load(local(searched, "arrays.npz"), allow_pickle=False)
    assert arrays["snapshots"].shape == (3, 4, 28, 28, 1)
    # Starts are digits that did not train, and no test image.
    validation = dataset.split(dataset.load_train(str(small_dataset))).validation
    np.testing.assert_array_equal(arrays["snapshots"][0], validation.images[arrays["starts"]])
    assert (validation.labels[arrays["starts"]] == 5).all()
    network = mlflow.keras.load_model("models:/" + searched.data.tags["model_id"])
    np.testing.assert_allclose(
        network.predict(arrays["snapshots"][-1], verbose=0), arrays["probabilities"][-1], atol=1e-5
    )


def test_a_table_has_a_line_for_each_search(searched) -> None:
    table = json.loads(local(searched, "searches.json").read_text())
    arrays = np.load(local(searched, "arrays.npz"))
    lines = [dict(zip(table["columns"], line, strict=True)) for line in table["data"]]
    assert [line["target"] for line in lines] == ["2+3", "2+3", "7", "7"]
    for i, line in enumerate(lines):
        assert (line["start"], line["start_class"], line["start_image"]) == ("digit", 5, arrays["starts"][i])
        assert line["steps"] == 20 and line["loss"] == pytest.approx(arrays["losses"][-1, i], rel=1e-5)
        assert line["first_choice"] == arrays["probabilities"][-1, i].argmax()
        assert line["p(7)"] == pytest.approx(arrays["probabilities"][-1, i, 7], rel=1e-5)
    train_images = dataset.split(dataset.load_train(lines_source(searched))).train
    distance = np.sqrt(((train_images.images - arrays["snapshots"][-1, 0]) ** 2).sum(axis=(1, 2, 3)))
    assert lines[0]["nearest_image"] == distance.argmin()
    assert lines[0]["nearest_digit"] == train_images.labels[distance.argmin()]


def test_a_search_is_scored_by_judges_of_panel_a(client, searched) -> None:
    metrics = searched.data.metrics
    assert {"recognised_rate", "diversity", "kernel_distance", "judges_divergence", "agreement_knn"} <= set(metrics)
    assert metrics["recognised_rate_low"] <= metrics["recognised_rate"] <= metrics["recognised_rate_high"]
    table = json.loads(local(searched, "searches.json").read_text())
    lines = [dict(zip(table["columns"], line, strict=True)) for line in table["data"]]
    arrays = np.load(local(searched, "arrays.npz"))
    panel = find_panel("A", dataset.split(dataset.load_train(lines_source(searched))).train, seed=0)
    assert panel is not None
    for kind, opinions in panel.opinions(arrays["snapshots"][-1]).items():
        assert [line[f"judge_{kind}"] for line in lines] == opinions.argmax(axis=1).tolist()
    assert not any(line["recognised"] for line in lines[:2])  # mixes have no class


def lines_source(run: mlflow.entities.Run) -> str:
    return run.data.params["dataset"]


def test_pictures_show_grey_levels_as_they_are(searched) -> None:
    """Every pixel of the last snapshot stands in the film strip as a square of its own grey."""
    strip = np.asarray(Image.open(local(searched, "figures/film_strip.png")).convert("L")).astype(int)
    arrays = np.load(local(searched, "arrays.npz"))
    wanted = np.kron((arrays["snapshots"][-1, 0, ..., 0] * 255).astype(int), np.ones((4, 4), int))
    rows, columns = strip.shape
    places = [
        (row, column)
        for row in range(30, 60)
        for column in range(columns - 112)
        if np.abs(strip[row : row + 112, column : column + 112] - wanted).max() <= 1
    ]
    assert len(places) == 1


def series(client, run: mlflow.entities.Run) -> dict[str, dict[int, list[str]]]:
    """Of a run's images: series -> step -> paths; MLflow files each as it is and as a thumbnail."""
    found: dict[str, dict[int, list[str]]] = {}
    for file in client.list_artifacts(run.info.run_id, "images"):
        name, _, step, *_ = Path(file.path).name.split("+")
        found.setdefault(name.replace("~", "/"), {}).setdefault(int(step), []).append(file.path)
    return found


def test_the_way_can_be_scrubbed_through_and_watched(client, searched) -> None:
    found = series(client, searched)
    assert set(found) == {"optimisation/5 to 2 and 3", "optimisation/5 to 7"}
    arrays = np.load(local(searched, "arrays.npz"))
    for name, search in (("optimisation/5 to 2 and 3", 0), ("optimisation/5 to 7", 2)):
        assert sorted(found[name]) == [0, 10, 20]
        for snapshot, step in enumerate((0, 10, 20)):
            paths = {Path(path).suffix: local(searched, path) for path in found[name][step]}
            picture = np.asarray(Image.open(paths[".png"]))
            thumbnail = np.asarray(Image.open(paths[".webp"]))
            assert picture.shape == thumbnail.shape[:2] == (240, 256)
            shown = picture[8:-8, 16:-16].reshape(28, 8, 28, 8)
            grey = arrays["snapshots"][snapshot, search, ..., 0] * 255
            assert np.abs(shown - grey[:, np.newaxis, :, np.newaxis]).max() <= 0.5001
    animation = Image.open(io.BytesIO(local(searched, "animation.gif").read_bytes()))
    assert animation.n_frames == 3 and animation.info["loop"] == 0
    names = {Path(file.path).stem for file in client.list_artifacts(searched.info.run_id, "figures")}
    assert names == {"film_strip", "finals", "curves"}


def test_a_timeline_is_bounded_whatever_is_asked_for() -> None:
    def of(words: str, num_images: int, num_snapshots: int) -> list[search_figures.Still]:
        kinds = [kind for kind in kinds_of(words, "noise", num_classes=10) for _ in range(num_images)]
        snapshots = np.zeros((num_snapshots, len(kinds), 28, 28, 1), np.float32)
        result = SimpleNamespace(snapshots=snapshots, steps=np.arange(num_snapshots) * 25)
        plan = SimpleNamespace(kinds=tuple(kinds))
        return search_figures.timeline(Searches(cast(SearchPlan, plan), cast(AscentResult, result), None))

    many = of("all,0+1,2+3,4+5", 3, 1000)
    steps = [still.step for still in many if still.series == "optimisation/noise to 3"]
    assert (steps[0], steps[-1]) == (0, 999 * 25) and set(np.diff(steps)) == {24 * 25, 25 * 25}
    assert len({still.series for still in many}) == 10 and len(many) == 10 * search_figures.MOST_STILLS
    names = [f"optimisation/noise to 2 - search {number}" for number in range(4)]
    assert sorted({still.series for still in of("2", 9, 1)}) == names
    assert [(still.series, still.step) for still in of("2", 1, 2)] == [(names[0], 0), (names[0], 25)]


def test_experiments_are_one_run_with_a_child_for_each(client, model, small_dataset: Path, capsys) -> None:
    call("experiments", [*SHORT, "--model", model, "--dataset", str(small_dataset), "--experiments", "2,6"])
    parent = client.search_runs(["0"], "tags.kind = 'experiments'", max_results=1)[0]
    children = client.search_runs(
        ["0"], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}' AND tags.kind != 'judges'", order_by=["created ASC"]
    )
    assert [child.info.run_name for child in children] == [
        "2. One digit from a noisy real digit",
        "6. Conversion of a real digit",
    ]
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}
    pictures = {Path(file.path).stem for file in client.list_artifacts(parent.info.run_id, "figures")}
    assert pictures == {"experiment_2", "experiment_6"}
    note = parent.data.tags["mlflow.note.content"]
    assert "The report saw: conversions work" in note and "| 5 → 7 | 2 |" in note and "| 2 → 5 | 2 |" in note
    assert "6. Conversion of a real digit" in capsys.readouterr().out
    arrays = np.load(local(children[1], "arrays.npz"))
    assert arrays["snapshots"].shape[:2] == (3, 6)


def test_a_search_that_breaks_ends_as_failed_with_the_reason_and_its_parent_too(
    client, model, small_dataset: Path
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise AscentDiverged("the network's output for image 3 is not finite after 7 steps")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mnist_cnn.input_optimization.ascent.ascend", broken)
        with pytest.raises(AscentDiverged):
            call("experiments", [*SHORT, "--model", model, "--dataset", str(small_dataset)])
    parent = client.search_runs(["0"], "tags.kind = 'experiments'", max_results=1)[0]
    children = client.search_runs(["0"], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert [run.info.status for run in (parent, *children)] == ["FAILED", "FAILED"]
    assert all("image 3 is not finite" in run.data.tags["reason"] for run in (parent, *children))


def test_the_newest_trained_model_is_taken_where_none_is_given_and_said(client, model, small_dataset, capsys) -> None:
    call("optimize", [*SHORT, "--targets", "1", "--dataset", str(small_dataset)])
    assert f"Searching in {model}" in capsys.readouterr().out
    with pytest.raises(SettingError, match="`model`: there is no models:/m-nothing"):
        call("optimize", [*SHORT, "--model", "models:/m-nothing", "--dataset", str(small_dataset)])


@pytest.mark.slow
def test_the_newest_model_is_that_of_the_same_data(client, model, small_dataset: Path, tmp_path: Path) -> None:
    others = tmp_path / "others.npz"
    with np.load(small_dataset) as arrays:
        np.savez(others, **{**dict(arrays), "x_train": 255 - arrays["x_train"]})
    with pytest.raises(SettingError, match="holds none trained on .*; run `mlflow run . -e train -P dataset="):
        call("optimize", [*SHORT, "--dataset", str(others)])
    call("train", ["--dataset", str(others), "--batch_size", "64"])
    assert models.resolve("", str(small_dataset)).uri == model != models.resolve("", str(others)).uri
    tagged = {"kind": "train", "trained_on": "mnist"}
    part = client.create_logged_model("0", name="model", tags=tagged)
    client.finalize_logged_model(part.model_id, "READY")
    assert models.resolve("", "mnist:6000").model_id == part.model_id == models.resolve("").model_id
    client.delete_logged_model(part.model_id)


def log_network(client, shape: tuple[int, int, int], num_classes: int, activation: str | None) -> str:
    network = keras.Sequential(
        [keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(num_classes, activation=activation)]
    )
    with runs.tracked_run("other"):
        return networks.log_network(network, np.zeros((1, *shape), np.float32), {"kind": "other"}).uri


@pytest.mark.parametrize(
    ("shape", "num_classes", "activation", "message"),
    [
        ((32, 32, 3), 10, "softmax", "`model`: it cannot take images of the shape \\(28, 28, 1\\)"),
        ((28, 28, 1), 7, "softmax", "`model`: its outputs must have the shape \\(n, 10\\)"),
        ((28, 28, 1), 10, None, "`model`: it gives no probabilities"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(client, small_dataset, shape, num_classes, activation, message) -> None:
    uri = log_network(client, shape, num_classes, activation)
    with pytest.raises(SettingError, match=message):
        call("evaluate", ["--model", uri, "--dataset", str(small_dataset)])
    if activation:
        with pytest.raises(SettingError, match=message):
            call("optimize", [*SHORT, "--model", uri, "--dataset", str(small_dataset)])


def test_a_model_that_was_not_stored_whole_is_not_the_newest(client, model, small_dataset) -> None:
    data = str(small_dataset)
    cut = client.create_logged_model("0", name="model", tags={"kind": "train", "trained_on": dataset.origin(data)})
    assert models.resolve("", data).uri == model
    client.finalize_logged_model(cut.model_id, "FAILED")
    assert models.resolve("", data).uri == model


@pytest.mark.slow
def test_a_model_without_an_axis_of_channels_is_evaluated_and_searched(client, small_dataset: Path, model) -> None:
    uri = log_network(client, (28, 28), 10, "softmax")
    with pytest.warns(Notice, match="takes images of the shape \\(28, 28\\)"):
        networks._load.cache_clear()
        call("evaluate", ["--model", uri, "--dataset", str(small_dataset)])
    call("optimize", ["--targets", "3", *SHORT, "--model", uri, "--dataset", str(small_dataset)])
    (run,) = client.search_runs(["0"], "tags.kind = 'optimize'", max_results=1)
    assert np.load(local(run, "arrays.npz"))["snapshots"].shape == (3, 2, 28, 28, 1)


def test_a_loaded_model_that_was_changed_is_loaded_anew(client, model) -> None:
    logged = models.resolve(model)
    network = networks.load(logged, 10)
    assert networks.load(logged, 10) is network
    images = np.random.default_rng(0).random((2, 28, 28, 1), np.float32)
    before = network(images).numpy()
    network.set_weights([0 * weight for weight in network.get_weights()])
    np.testing.assert_array_equal(networks.load(logged, 10)(images), before)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("ablation", []), ("judges", []), ("experiments", []), ("optimize", []), ("register", []),
        ("optimize", ["--start=digit", "--start_class=7", "--targets=3"]),
        ("sweep", ["--goal=probability", "--start=noise,digit", "--targets=3|7", "--n_trials=1"]),
        ("sweep", ["--goal=recognised", "--start=noise", "--n_trials=1"]),
    ],
)  # fmt: skip
def test_classes_that_a_command_needs_are_missed_before_a_run_opens(client, small_dataset, tmp_path, command, words):
    with np.load(small_dataset) as whole:
        kept = {part: ~np.isin(whole[f"y_{part}"], (5, 7)) for part in ("train", "test")}
        few = {f"{x}_{part}": whole[f"{x}_{part}"][kept[part]] for x in "xy" for part in kept}
    np.savez(tmp_path / "few.npz", **few)
    before = len(client.search_runs(["0"]))
    with pytest.raises(SettingError, match="few.npz that (do not )?train hold none of class [57]"):
        call(command, [*words, f"--dataset={tmp_path / 'few.npz'}"])
    assert len(client.search_runs(["0"])) == before
