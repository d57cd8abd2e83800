"""A command with several seeds: means, intervals, and a child for each seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from mnist_cnn.data import intervals
from mnist_cnn.reporting import training_figures
from mnist_cnn.settings import JudgesSettings, SeedsSettings, SettingError, TrainSettings
from mnist_cnn.tracking import reading, registry, runs
from mnist_cnn.tracking.runs import KIND_TAG, PARENT_TAG
from pipelines import seeds
from pipelines.__main__ import call


def test_the_interval_of_a_mean_is_students() -> None:
    values = [0.98, 0.99, 0.985]
    expected = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert intervals.mean_interval(values) == pytest.approx(expected)
    rng = np.random.default_rng(0)
    held = [low <= 3 <= high for low, high in (intervals.mean_interval(rng.normal(3, 1, 4)) for _ in range(2000))]
    assert np.mean(held) == pytest.approx(0.95, abs=0.015)


def test_an_interval_and_a_band_end_where_the_quantity_ends() -> None:
    values = (0.65, 0.775)
    assert intervals.mean_interval(values) == pytest.approx((-0.08164, 1.50664), abs=1e-4)
    names = {"test_accuracy": (0, 1), "recognised_rate": (0, 1), "agreement_knn": (0, 1), "cas_plain": (0, 1),
             "accuracy_by_step": (0, 1), "target_probability": (0, 1), "test_loss": (0, 1.50664),
             "training_seconds": (0, 1.50664), "training_learning_rate": (0, 1.50664), "diversity": (0, 1.50664),
             "loss": (-0.08164, 1.50664), "kernel_distance": (-0.08164, 1.50664)}  # fmt: skip
    found = seeds.over_seeds([dict.fromkeys(names, value) for value in values])
    assert {name: (over.low, over.high) for name, over in found.items()} == {
        name: pytest.approx(ends, abs=1e-4) for name, ends in names.items()
    }
    figure = training_figures.bands([{"validation_accuracy": {1: value, 2: value}} for value in values])
    assert figure is not None
    (band,) = figure.axes[0].collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (0, 1)


def test_a_training_with_seeds_is_a_run_with_a_child_for_each(client, small_dataset: Path, capsys) -> None:
    call("train", ["--seeds", "2", "--dataset", str(small_dataset), "--seed", "4", "--run_name", "two"])
    said = capsys.readouterr().out
    (run,) = client.search_runs(["0"], "tags.kind = 'seeds'", max_results=1)
    children = sorted(reading.runs_below(run.info.run_id).values(), key=lambda child: child.info.start_time)
    assert run.info.run_name == "two" and [child.info.run_name for child in children] == [
        "seed 4",
        "seed 5",
    ]
    assert [child.data.params["seed"] for child in children] == ["4", "5"]
    values = [child.data.metrics["test_loss"] for child in children]
    assert len({*values}) == 2 and run.data.metrics["test_loss"] == pytest.approx(np.mean(values))
    low, high = intervals.mean_interval(values, 0)  # a loss is not negative
    assert (run.data.metrics["test_loss_low"], run.data.metrics["test_loss_high"]) == pytest.approx((low, high))
    assert f"  test_loss: {np.mean(values):.4g} ({low:.4g} to {high:.4g})\n" in said
    table = reading.read_json(run.info.run_id, "seeds.json")
    assert table["columns"][-2:] == ["seed 4", "seed 5"]
    assert reading.has_artifacts(run.info.run_id, ["figures/curves.png"])


@pytest.mark.slow
def test_searches_with_seeds_are_done_again_in_the_network_of_then(client, small_dataset: Path, capsys) -> None:
    data = ["--dataset", str(small_dataset)]
    call("train", [*data, "--seed", "11"])
    words = ["--targets=3", "--num_images=2", "--steps=4", "--snapshot_every=2"]
    call("optimize", [*data, *words, "--seeds=2"])
    (run,) = client.search_runs(["0"], "tags.kind = 'seeds'", max_results=1)
    call("train", [*data, "--seed", "12"])  # the newest model is another one now
    capsys.readouterr()
    call("again", ["--run", run.info.run_id])
    assert "equal to the last bit." in (said := capsys.readouterr().out) and "the others are not" not in said


@pytest.mark.slow
def test_the_best_trial_of_trainings_is_trained_with_other_seeds(client, small_dataset: Path, capsys) -> None:
    words = ["--n_trials=1", "--epochs=1", "--batch_size=500", "--pruner=none", "--sweep=trainings"]
    call("sweep_training", [f"--dataset={small_dataset}", *words])
    call("seeds", ["--of=replay", "--trial=trainings:0", "--seeds=2"])
    (run,) = client.search_runs(["0"], "tags.kind = 'seeds'", max_results=1)
    (trial,) = client.search_runs(["0"], "tags.kind = 'trial'", max_results=1)
    children = reading.runs_below(run.info.run_id).values()
    assert {child.data.tags["kind"] for child in children} == {"train"}
    assert sorted(child.data.params["seed"] for child in children) == ["0", "1"]
    for name in ("learning_rate", "weight_decay", "dropout", "batch_size", "epochs", "dataset"):
        assert {child.data.params[name] for child in children} == {trial.data.params[name]}
    capsys.readouterr()
    call("replay", ["--trial=trainings:0", "--seed=1", "--run_name=once more"])
    assert "test accuracy" in capsys.readouterr().out
    (again,) = client.search_runs(["0"], "tags.kind = 'train'", max_results=1)
    (same,) = (child for child in children if child.data.params["seed"] == "1")
    assert again.data.metrics["test_loss"] == same.data.metrics["test_loss"] and again.info.run_name == "once more"
    with pytest.raises(SettingError, match="`steps` is not a setting of `train`"):
        call("replay", ["--trial=trainings:0", "--steps=3"])


def test_what_cannot_be_run_with_seeds_is_refused(client) -> None:
    for words, why in (
        (["--seeds", "1"], "`seeds` must be a whole number from 2 to 1,000"),
        (["--seeds", "3", "--epoch", "1"], "`epoch` is not a setting of `seeds`; got '1'. Did you mean `epochs`"),
        (["--seeds", "3", "--targets", "all"], "`targets` is not a setting of `train`"),
        (["--seeds", "3", "--epochs", "0"], "`epochs` must be a whole number from 1"),
        (["--seeds", "2", "--seed", str(2**31 - 1)], "`seed` must be a whole number from 0 to .*; got 2147483648"),
    ):
        with pytest.raises(SettingError, match=why):
            call("train", words)
    with pytest.raises(SettingError, match="`seeds` is not a setting of `evaluate`"):
        call("evaluate", ["--seeds", "3"])
    before = len(client.search_runs(["0"]))
    for words, why in (
        (["--of=optimize", "--targets=30"], "`targets`: this data set has classes 0 to 9; got '30'"),
        (["--of=replay", "--trial=none:1"], "holds no sweep 'none'"),
    ):
        with pytest.raises(SettingError, match=why):
            call("seeds", words)
    assert len(client.search_runs(["0"])) == before, "no run was opened"
    assert SeedsSettings(seeds=2, seed=2**31 - 2).all_seeds == (2**31 - 2, 2**31 - 1)
    assert SeedsSettings(seeds=2, epochs=3).first == TrainSettings(epochs=3)


def test_numbers_that_a_seed_lacks_are_left_out() -> None:
    own = {"loss": 1.0, "accuracy": 0.5, "accuracy_low": 0.4, "system/cpu": 1.0, "odd": float("nan")}
    found = seeds.over_seeds([own, {**own, "loss": 3.0, "only here": 1.0}])
    assert list(found) == ["accuracy", "loss"]
    assert found["loss"].values == (1.0, 3.0) and found["loss"].mean == 2.0
    assert found["accuracy"].low == found["accuracy"].high == 0.5


@pytest.mark.slow
def test_a_model_of_too_few_seeds_is_not_registered(client, small_dataset: Path) -> None:
    words = ["--dataset", str(small_dataset), "--attacked", "0", "--num_images", "0", "--min_seeds", "2"]
    call("train", ["--dataset", str(small_dataset), "--seed", "8"])
    with pytest.raises(SettingError, match="`min_seeds` must be at most 1, .* -e seeds -P of=train -P seeds=2") as said:
        call("register", words)
    assert str(said.value).endswith(f"-P seeds=2 -P dataset={small_dataset} -P seed=8")
    call("seeds", ["--of", "train", "--seeds", "2", "--seed", "9", "--dataset", str(small_dataset)])
    call("register", words)
    (run,) = client.search_runs(["0"], "tags.kind = 'register'", max_results=1)
    assert run.info.status == "FINISHED" and reading.has_artifacts(run.info.run_id, ["model_card.md"])
    client.delete_registered_model("mnist-cnn")


def test_a_model_whose_run_of_seeds_is_gone_has_one_seed(client, monkeypatch) -> None:
    parent = client.create_run("0", tags={KIND_TAG: "seeds"}).info.run_id
    child = client.create_run("0", tags={PARENT_TAG: parent, KIND_TAG: "train"}).info.run_id
    client.set_terminated(child)
    assert registry.num_seeds(child) == 1
    other = client.create_run("0", tags={PARENT_TAG: parent, KIND_TAG: "train"}).info.run_id
    client.set_terminated(other)
    assert registry.num_seeds(child) == 2
    # As `mlflow gc` leaves it, which deletes the runs that stand below no others.
    purged = client.create_run("0", tags={PARENT_TAG: "0" * 32, KIND_TAG: "train"}).info.run_id
    assert registry.num_seeds(purged) == 1 == registry.num_seeds("")


def test_the_command_that_trains_with_more_seeds_names_the_settings_of_the_model(client) -> None:
    with runs.tracked_run("train") as run:
        run.log_settings(TrainSettings(preset="accurate", epochs=3, seed=4, run_name="mine"), {})
    expected = "mlflow run . -e seeds -P of=train -P seeds=3 -P preset=accurate -P epochs=3 -P seed=4"
    assert registry.command_of_seeds(run.run_id, 3) == expected
    with runs.tracked_run("judges") as other:
        other.log_settings(JudgesSettings(), {})
    for run_id in ("", other.run_id):
        assert registry.command_of_seeds(run_id, 3) == "mlflow run . -e seeds -P of=train -P seeds=3"
