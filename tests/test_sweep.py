"""The entry points `sweep`, `sweep_training` and `compare`, called in this process and read back through MLflow."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import mlflow
import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from PIL import Image

from mnist_cnn.input_optimization import ascent
from mnist_cnn.input_optimization.ascent import AscentDiverged
from mnist_cnn.settings import TrainSettings
from mnist_cnn.settings.command_line import Interrupted, SettingError
from mnist_cnn.sweeps import study, worker
from mnist_cnn.tracking import runs, sweep_runs
from pipelines import compare, optimize, sweep, sweep_training, train

SHORT = ["--steps=6", "--snapshot_every=2", "--num_images=2", "--goal=probability", "--pruner=none"]
ONE = [f"--{name}={word}" for name, word in {
    "start": "noise", "learning_rate": "0.05", "tv_weight": "0", "smoothness_weight": "0", "border_weight": "0",
    "temperature": "1", "shift": "0", "degrees": "0",
}.items()]  # fmt: skip
"""Leaves the L2 weight open and nothing else, so that there is little to draw."""


@pytest.fixture(scope="module")
def words(store: Path, small_dataset: Path) -> list[str]:
    """What makes a sweep short: the small data set, a model trained on it, a few steps, one open setting."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(store)
        mlflow.set_tracking_uri(None)
        train.main(["--dataset", str(small_dataset), "--batch_size", "64"])
        model = mlflow.search_logged_models(max_results=1, output_format="list")[0].model_id
    return [*SHORT, *ONE, f"--model=models:/{model}", f"--dataset={small_dataset}"]


def opened(name: str) -> optuna.Study:
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend("sweeps.journal"))
    return optuna.load_study(study_name=name, storage=storage)


def runs_of(client, name: str) -> tuple[mlflow.entities.Run, list[mlflow.entities.Run]]:
    (parent,) = client.search_runs(["0"], f"tags.kind = 'sweep' AND tags.sweep = '{name}'")
    children = client.search_runs(["0"], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}' AND tags.kind = 'trial'")
    return parent, sorted(children, key=lambda run: int(run.data.tags["trial"]))


def agree(client, name: str) -> tuple[mlflow.entities.Run, list[mlflow.entities.Run], list[optuna.trial.FrozenTrial]]:
    """Optuna and MLflow say the same: each trial has exactly one run, which ended as it did."""
    parent, children = runs_of(client, name)
    found = opened(name).trials
    assert [int(child.data.tags["trial"]) for child in children] == [trial.number for trial in found]
    for child, trial in zip(children, found, strict=True):
        state = study.state_of(trial)
        assert child.data.tags["state"] == state
        assert child.info.status == sweep_runs.STATUS[state]
        if state == "complete":
            assert json.loads(child.data.tags["values"]) == trial.values
            for name, value in trial.params.items():
                assert type(value)(child.data.params[name]) == value
    return parent, children, found


def artifact(run: mlflow.entities.Run, path: str) -> bytes:
    return Path(run.info.artifact_uri.removeprefix("file://"), path).read_bytes()


@pytest.fixture(scope="module")
def swept(store: Path, words: list[str]) -> str:
    """A sweep of eight trials."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(store)
        mlflow.set_tracking_uri(None)
        everything_open = [word for word in words if word not in ONE]
        sweep.main([*everything_open, "--sweep=eight", "--n_trials=8"])
    return "eight"


def test_a_sweep_is_a_run_with_a_run_for_each_trial(client, swept: str) -> None:
    parent, children, found = agree(client, swept)
    assert (parent.info.status, parent.info.run_name) == ("FINISHED", "eight")
    assert [child.info.run_name for child in children] == [f"trial {number}" for number in range(8)]
    assert parent.data.params["l2_weight"] == "1e-05..0.1:log" and parent.data.params["n_trials"] == "8"
    keys = [set(child.data.params) for child in children]
    assert all(key == keys[0] for key in keys) and {"l2_weight", "pose", "steps", "start"} <= keys[0]
    for child, trial in zip(children, found, strict=True):
        assert float(child.data.params["l2_weight"]) == trial.params["l2_weight"]
        assert child.data.metrics["target_probability"] == trial.value
        curve = client.get_metric_history(child.info.run_id, "target_probability")
        assert [point.step for point in curve] == [2, 4, 6]
        assert trial.user_attrs["run_id"] == child.info.run_id


def test_the_sweeps_run_holds_the_best_the_table_and_the_pictures(client, swept: str) -> None:
    parent, _, found = agree(client, swept)
    best = max(found, key=lambda trial: trial.value)
    assert parent.data.metrics["best_probability"] == best.value
    assert parent.data.metrics["trials_complete"] == 8
    assert parent.data.tags["best.trial"] == str(best.number)
    assert float(parent.data.tags["best.l2_weight"]) == best.params["l2_weight"]
    assert [point.step for point in client.get_metric_history(parent.info.run_id, "best_probability")][-1] == 8
    assert f"from_trial=eight:{best.number}" in parent.data.tags["mlflow.note.content"]
    table = json.loads(artifact(parent, "trials.json"))
    assert len(table["data"]) == 8 and {"trial", "state", "probability", "l2_weight"} <= set(table["columns"])
    pictures = {file.path.removeprefix("figures/") for file in client.list_artifacts(parent.info.run_id, "figures")}
    assert pictures == {
        f"{name}.png"
        for name in ("optimisation_history", "regularisation", "parameter_importances", "slices", "contour",
                     "parallel_coordinates", "intermediate_values")
    }  # fmt: skip
    for name in pictures:
        shown = np.asarray(Image.open(io.BytesIO(artifact(parent, f"figures/{name}"))).convert("L"))
        assert min(shown.shape) > 150 and shown.std() > 5, name
    page = artifact(parent, "sweep.html").decode()
    assert page.count("<img") >= len(pictures) + 8
    assert "http" not in page.replace("http://www.w3.org", "")


def test_each_trial_has_a_film_strip(client, swept: str) -> None:
    _, children, _ = agree(client, swept)
    strip = Image.open(io.BytesIO(artifact(children[0], "film_strip.png")))
    assert strip.size[1] > 10 * 84 and strip.size[0] > 4 * 84


def test_the_same_command_goes_on_and_repeats_nothing(client, words: list[str], capsys) -> None:
    own = [*words, "--l2_weight=1e-4..1e-2"]
    sweep.main([*own, "--n_trials=2"])
    name = capsys.readouterr().out.split()[1]
    assert name.startswith("sweep-")
    sweep.main([*own, "--n_trials=4"])
    parent, _, found = agree(client, name)
    assert len({trial.params["l2_weight"] for trial in found}) == len(found) == 4
    assert parent.info.status == "FINISHED" and parent.data.metrics["trials_complete"] == 4
    sweep.main([*own, "--n_trials=4"])
    assert "All 4 trials are done." in capsys.readouterr().out
    assert len(agree(client, name)[1]) == 4
    with pytest.raises(SettingError, match="made with other settings"):
        sweep.main([*words, f"--sweep={name}", "--n_trials=4"])


@pytest.mark.slow
def test_a_seed_gives_the_same_trials_and_a_trial_the_same_images(client, words: list[str], swept: str) -> None:
    sweep.main([*(word for word in words if word not in ONE), "--sweep=again", "--n_trials=3"])
    first, again = agree(client, swept)[2][:3], agree(client, "again")[2]
    assert [(trial.params, trial.values) for trial in first] == [(trial.params, trial.values) for trial in again]
    for how in ("again:1", again[1].user_attrs["run_id"]):
        optimize.main([f"--from_trial={how}"])
        (run,) = client.search_runs(["0"], "tags.kind = 'optimize'", max_results=1)
        assert run.data.metrics["target_probability"] == again[1].value
        with np.load(io.BytesIO(artifact(run, "arrays.npz"))) as arrays:
            finals = (255 * arrays["snapshots"][-1, ::2, ..., 0]).round().astype(np.uint8)
        np.testing.assert_array_equal(finals, sweep_runs.images_of(again[1].user_attrs["run_id"])["finals"])


@pytest.mark.parametrize("word", ["nothing:0", "eight:99", "eight:x", "0123"])
def test_a_trial_that_is_not_there_is_refused(client, swept: str, word: str) -> None:
    with pytest.raises(SettingError, match="^`from_trial`[^\n]*$"):
        optimize.main([f"--from_trial={word}"])


def test_trials_that_fall_behind_are_pruned_and_say_when(client, words: list[str], capsys) -> None:
    keep = [word for word in words if "pruner" not in word]
    sweep.main([*keep, "--sweep=pruned", "--pruner=median", "--sampler=random", "--n_trials=14"])
    parent, children, found = agree(client, "pruned")
    pruned = [child for child, trial in zip(children, found, strict=True) if trial.state == TrialState.PRUNED]
    assert pruned and all("fell behind other trials at step" in child.data.tags["reason"] for child in pruned)
    number = pruned[0].data.tags["trial"]
    assert f"Trial {number} (" in (said := capsys.readouterr().out)
    assert "): pruned" in next(line for line in said.splitlines() if line.startswith(f"Trial {number} ("))
    table = json.loads(artifact(parent, "trials.json"))
    line = dict(zip(table["columns"], table["data"][int(number)], strict=True))
    assert (line["state"], line["probability"]) == ("pruned", None)
    assert all("film_strip.png" in {f.path for f in client.list_artifacts(child.info.run_id)} for child in pruned)


def test_two_goals_come_to_a_front(client, words: list[str]) -> None:
    own = [word for word in words if "goal" not in word and "pruner" not in word]
    sweep.main([*own, "--sweep=two", "--goal=probability,loss", "--n_trials=6"])
    parent, children, found = agree(client, "two")
    pictures = {file.path for file in client.list_artifacts(parent.info.run_id, "figures")}
    assert {"figures/pareto_front.png", "figures/slices_loss.png"} <= pictures
    assert all(json.loads(child.data.tags["values"])[1] == child.data.metrics["loss"] for child in children)
    assert opened("two").directions == [optuna.study.StudyDirection.MAXIMIZE, optuna.study.StudyDirection.MINIMIZE]


def test_a_failing_trial_does_not_stop_the_sweep_and_ten_in_a_row_do(client, words, monkeypatch, capsys) -> None:
    whole, calls = ascent.ascend, []

    def breaks(*given, **how):
        calls.append(0)
        if len(calls) == 2:
            raise AscentDiverged("the network's output for image 3 is not finite")
        if len(calls) == 3:
            raise MemoryError
        return whole(*given, **how)

    monkeypatch.setattr(ascent, "ascend", breaks)
    sweep.main([*words, "--sweep=breaks", "--n_trials=5"])
    _, children, found = agree(client, "breaks")
    assert [study.state_of(trial) for trial in found] == ["complete", "failed", "failed", "complete", "complete"]
    assert "AscentDiverged: the network's output" in children[1].data.tags["reason"]
    assert "MemoryError" in children[2].data.tags["reason"]
    monkeypatch.setattr(ascent, "ascend", lambda *given, **how: 1 / 0)
    with pytest.raises(worker.SweepStopped, match="10 trials in a row failed, the last with: ZeroDivisionError"):
        sweep.main([*words, "--sweep=breaks", "--n_trials=50"])
    parent, _, found = agree(client, "breaks")
    assert len(found) == 15 and parent.info.status == "FAILED"


def test_an_interrupted_trial_is_tried_again_with_its_settings(client, words, monkeypatch, capsys) -> None:
    whole, calls = ascent.ascend, []

    def interrupted(*given, **how):
        calls.append(0)
        if len(calls) == 2:
            raise Interrupted(2)
        return whole(*given, **how)

    monkeypatch.setattr(ascent, "ascend", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sweep.main([*words, "--sweep=broken-off", "--n_trials=3"])
    assert "The same command goes on with broken-off" in capsys.readouterr().err
    parent, children = runs_of(client, "broken-off")
    assert parent.info.status == "KILLED" and children[1].info.status == "KILLED"
    sweep.main([*words, "--sweep=broken-off", "--n_trials=3"])
    parent, children, found = agree(client, "broken-off")
    assert [study.state_of(trial) for trial in found] == ["complete", "lost", "complete", "complete"]
    assert found[2].params == found[1].params
    assert parent.info.status == "FINISHED"


@pytest.mark.parametrize("moment", ["before its run", "while it works", "after its run said how it ended"])
def test_a_worker_that_was_killed_at_any_moment_loses_nothing(client, words, monkeypatch, moment: str) -> None:
    """What kill -9 leaves behind is made by hand: a trial in the hands of a process that is gone."""
    name = f"killed {moment}".replace(" ", "-")
    sweep.main([*words, f"--sweep={name}", "--n_trials=1"])
    parent, _ = runs_of(client, name)
    half = opened(name)
    dead = f"{study.processes.this_process().split()[0]} 999999999 1"
    trial = half.ask()
    trial.set_user_attr("process", dead)
    if moment != "before its run":
        run = sweep_runs.start_trial(parent.info.run_id, name, trial.number, {})
        client.set_tag(run.run_id, "process", dead)
        if moment.startswith("after"):
            client.set_tag(run.run_id, "values", "[0.75]")
            client.set_tag(run.run_id, "state", "complete")
    client.set_terminated(parent.info.run_id, "RUNNING")
    sweep.main([*words, f"--sweep={name}", "--n_trials=3"])
    parent, children = runs_of(client, name)
    found = opened(name).trials
    if moment.startswith("after"):
        assert [study.state_of(each) for each in found] == ["complete"] * 3
        assert found[1].value == 0.75
    else:
        assert [study.state_of(each) for each in found] == ["complete", "lost", "complete", "complete"]
        assert children[1].info.status == "KILLED" and "tried again" in children[1].data.tags["reason"]
    assert [int(child.data.tags["trial"]) for child in children] == list(range(len(found)))
    assert {run.info.status for run in [parent, *children]} <= {"FINISHED", "KILLED"}
    assert parent.info.status == "FINISHED"


def test_settings_that_kill_their_process_again_and_again_are_failed(client, words: list[str]) -> None:
    sweep.main([*words, "--sweep=deadly", "--n_trials=1"])
    for _ in range(worker.MOST_LOSSES + 1):
        trial = opened("deadly").ask()
        trial.set_user_attr("process", f"{study.processes.this_process().split()[0]} 999999999 1")
        sweep.main([*words, "--sweep=deadly", "--n_trials=1"])  # nothing to do but to tidy
    _, children, found = agree(client, "deadly")
    assert [study.state_of(trial) for trial in found] == ["complete", "lost", "lost", "lost", "failed"]
    assert "for the 4th time" in children[-1].data.tags["reason"]


@pytest.mark.slow
def test_judges_score_each_snapshot_where_the_goal_asks_for_it(client, words) -> None:
    own = [word for word in words if "goal" not in word]
    sweep.main([*own, "--sweep=judged", "--goal=recognised,diversity", "--n_trials=2"])
    _, children, found = agree(client, "judged")
    assert all(0 <= trial.values[0] <= 1 and trial.values[1] > 0 for trial in found)
    assert {"merit", "kernel_distance", "recognised_rate_low"} <= set(children[0].data.metrics)


def test_a_sweep_whose_run_was_deleted_is_gone_on_with_and_one_of_another_store_is_refused(
    client, words, monkeypatch, capsys
) -> None:
    sweep.main([*words, "--sweep=here", "--n_trials=1"])
    parent, _ = runs_of(client, "here")
    client.delete_run(parent.info.run_id)
    sweep.main([*words, "--sweep=here", "--n_trials=2"])
    assert f"The run {parent.info.run_id} of here had been deleted: it is brought back" in capsys.readouterr().out
    again, children, _ = agree(client, "here")
    assert again.info.run_id == parent.info.run_id and again.info.status == "FINISHED" and len(children) == 2
    monkeypatch.setattr(sweep_runs, "is_there", lambda run_id: False)
    with pytest.raises(runs.TrackingError, match="the run .* of here is not in"):
        sweep.main([*words, "--sweep=here", "--n_trials=3"])


@pytest.mark.slow
def test_trainings_are_swept_and_pruned_epoch_by_epoch(client, small_dataset: Path) -> None:
    own = [f"--dataset={small_dataset}", "--batch_size=64", "--epochs=2", "--validation_fraction=0.3"]
    sweep_training.main([*own, "--sweep=nets", "--n_trials=7", "--learning_rate=1e-4..1:log", "--sampler=random"])
    parent, children, found = agree(client, "nets")
    done = [trial for trial in found if trial.state == TrialState.COMPLETE]
    assert any(trial.state == TrialState.PRUNED for trial in found)
    assert done[0].value == children[done[0].number].data.metrics["validation_accuracy"]
    assert not any(name.startswith("test") for child in children for name in child.data.metrics)
    best = max(done, key=lambda trial: trial.value)
    command = re.search("mlflow run . -e train (.*)`", parent.data.tags["mlflow.note.content"])[1]
    settings, _ = TrainSettings.from_command_line([f"--{word}" for word in command.replace("-P ", "").split()])
    assert settings.learning_rate == best.params["learning_rate"] and settings.epochs == 2


def test_sweeps_are_compared_side_by_side(client, words: list[str], swept: str, capsys) -> None:
    sweep.main([*words, "--sweep=other", "--n_trials=4"])
    capsys.readouterr()
    data = next(word for word in words if word.startswith("--dataset"))
    compare.main([f"--sweeps={swept},other", "--confirm=2", data])
    out = capsys.readouterr().out
    assert "| eight | probability | 8 |" in out and "eight against other" in out
    (run,) = client.search_runs(["0"], "tags.kind = 'compare'")
    assert (run.info.status, run.info.run_name) == ("FINISHED", "compare-eight-other")
    pictures = {file.path for file in client.list_artifacts(run.info.run_id, "figures")}
    assert pictures == {"figures/best_side_by_side.png", "figures/probability_against_l2_weight.png"}
    table = json.loads(artifact(run, "sweeps.json"))
    _, children, found = agree(client, "other")
    best = max(found, key=lambda trial: trial.value)
    assert dict(zip(table["columns"], table["data"][1], strict=True))["best"] == pytest.approx(best.value)
    page = artifact(run, "compare.html").decode()
    assert page.count("<img") == 4 and "Differences" in page
    assert 0 <= run.data.metrics["confirmed_recognised_rate.other"] <= 1


def test_a_sweep_that_is_not_there_cannot_be_compared(client, swept: str) -> None:
    with pytest.raises(SettingError, match="^`sweeps`: [^\n]* holds no sweep 'nothing'; there are: [^\n]*eight"):
        compare.main(["--sweeps=nothing"])
