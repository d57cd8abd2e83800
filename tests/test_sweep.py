"""The commands `sweep`, `sweep_training`, `sweep_file` and `compare`, in this process, read back through MLflow."""

from __future__ import annotations

import io
import json
import shlex
from pathlib import Path

import mlflow
import mlflow.cli
import numpy as np
import optuna
import pytest
from click.testing import CliRunner
from optuna.trial import TrialState
from PIL import Image

from mnist_cnn.input_optimization import ascent
from mnist_cnn.input_optimization.ascent import AscentDiverged
from mnist_cnn.reporting import sweep_charts
from mnist_cnn.settings import Interrupted, SettingError, SweepSettings, TrainSettings
from mnist_cnn.settings.errors import WorkStopped
from mnist_cnn.sweeps import outcomes, storage, study, worker
from mnist_cnn.sweeps.outcomes import Outcome
from mnist_cnn.tracking import networks, reading, runs, sweep_runs
from mnist_cnn.tracking.store import TrackingError
from pipelines import judges, sweep
from pipelines.__main__ import call

SHORT = ["--steps=6", "--snapshot_every=2", "--num_images=2", "--goal=probability", "--pruner=none"]
DEAD = "f" * 32
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
        call("train", ["--dataset", str(small_dataset), "--batch_size", "64"])
        model = mlflow.search_logged_models(max_results=1, output_format="list")[0].model_id
    return [*SHORT, *ONE, f"--model=models:/{model}", f"--dataset={small_dataset}"]


@pytest.fixture(autouse=True)
def without_charts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep's charts take longer than the sweeps here; they are drawn where a test asks for the fixture `charts`."""
    if "charts" not in request.fixturenames:
        monkeypatch.setattr(sweep_charts, "draw_all", lambda *given: {})


@pytest.fixture
def charts() -> None:
    """A sweep draws its charts."""


def opened(name: str) -> optuna.Study:
    """As plain Optuna has it."""
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend("sweeps.journal"))
    return optuna.load_study(study_name=name, storage=storage)


def runs_of(client, name: str) -> tuple[mlflow.entities.Run, list[mlflow.entities.Run]]:
    (parent,) = [run for run in client.search_runs(["0"], "tags.kind = 'sweep'") if run.data.tags["sweep"] == name]
    children = client.search_runs(["0"], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}' AND tags.kind = 'trial'")
    return parent, sorted(children, key=lambda run: int(run.data.tags["trial"]))


def agree(client, name: str) -> tuple[mlflow.entities.Run, list[mlflow.entities.Run], list[optuna.trial.FrozenTrial]]:
    """Optuna and MLflow say the same: each trial has exactly one run, which ended as it did."""
    parent, children = runs_of(client, name)
    found = opened(name).trials
    assert [int(child.data.tags["trial"]) for child in children] == [trial.number for trial in found]
    for child, trial in zip(children, found, strict=True):
        state = outcomes.state_of(trial)
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
        call("sweep", [*everything_open, "--sweep=eight", "--n_trials=8"])
    return "eight"


def test_a_sweep_is_a_run_with_a_run_for_each_trial(client, swept: str) -> None:
    parent, children, found = agree(client, swept)
    assert (parent.info.status, parent.info.run_name) == ("FINISHED", "eight")
    for number, child in enumerate(children):
        value = json.loads(child.data.tags["values"])[0]
        assert child.info.run_name == f"trial {number}: probability {value:.4g}"
    assert parent.data.params["l2_weight"] == "1e-05..0.1:log" and parent.data.params["n_trials"] == "8"
    keys = [set(child.data.params) for child in children]
    assert all(key == keys[0] for key in keys) and {"l2_weight", "pose", "steps", "start"} <= keys[0]
    for child, trial in zip(children, found, strict=True):
        assert float(child.data.params["l2_weight"]) == trial.params["l2_weight"]
        assert child.data.metrics["target_probability"] == trial.value
        assert min(child.data.metrics) == "Goal probability"  # MLflow's Compare opens with it
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
    assert f"-e replay -P trial=eight:{best.number}" in parent.data.tags["mlflow.note.content"]
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
    call("sweep", [*own, "--n_trials=2"])
    name = capsys.readouterr().out.split()[1]
    assert name.startswith("sweep-")
    call("sweep", [*own, "--n_trials=4"])
    parent, _, found = agree(client, name)
    assert len({trial.params["l2_weight"] for trial in found}) == len(found) == 4
    assert parent.info.status == "FINISHED" and parent.data.metrics["trials_complete"] == 4
    call("sweep", [*own, "--n_trials=4"])
    assert "All 4 trials are done." in capsys.readouterr().out
    assert len(agree(client, name)[1]) == 4
    with pytest.raises(SettingError, match="made with other settings"):
        call("sweep", [*words, f"--sweep={name}", "--n_trials=4"])


@pytest.mark.slow
def test_a_seed_gives_the_same_trials_and_a_trial_the_same_images(client, words: list[str], swept: str) -> None:
    call("sweep", [*(word for word in words if word not in ONE), "--sweep=again", "--n_trials=3"])
    first, again = agree(client, swept)[2][:3], agree(client, "again")[2]
    assert [(trial.params, trial.values) for trial in first] == [(trial.params, trial.values) for trial in again]
    for how in ("again:1", again[1].user_attrs["run_id"]):
        call("replay", [f"--trial={how}"])
        (run,) = client.search_runs(["0"], "tags.kind = 'optimize'", max_results=1)
        assert run.data.metrics["target_probability"] == again[1].value
        with np.load(io.BytesIO(artifact(run, "arrays.npz"))) as arrays:
            finals = (255 * arrays["snapshots"][-1, ::2, ..., 0]).round().astype(np.uint8)
        np.testing.assert_array_equal(finals, sweep_runs.images_of(again[1].user_attrs["run_id"])["finals"])


@pytest.mark.parametrize("word", ["nothing:0", "eight:99", "eight:x", "0123"])
def test_a_trial_that_is_not_there_is_refused(client, swept: str, word: str) -> None:
    with pytest.raises(SettingError, match="^`trial`[^\n]*$"):
        call("replay", [f"--trial={word}"])


@pytest.mark.slow
def test_trials_that_fall_behind_are_pruned_and_say_when(client, words: list[str], capsys) -> None:
    keep = [word for word in words if "pruner" not in word]
    call("sweep", [*keep, "--sweep=pruned", "--pruner=median", "--sampler=random", "--n_trials=14"])
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


@pytest.mark.slow
def test_two_goals_come_to_a_front(client, words: list[str], charts) -> None:
    own = [word for word in words if "goal" not in word and "pruner" not in word]
    call("sweep", [*own, "--sweep=two", "--goal=probability,loss", "--n_trials=6"])
    parent, children, found = agree(client, "two")
    pictures = {file.path for file in client.list_artifacts(parent.info.run_id, "figures")}
    assert {"figures/pareto_front.png", "figures/slices_loss.png"} <= pictures
    assert all(json.loads(child.data.tags["values"])[1] == child.data.metrics["loss"] for child in children)
    assert all(child.data.metrics["Goal loss"] == child.data.metrics["loss"] for child in children)
    tags = parent.data.tags
    front = [trial.number for trial in opened("two").best_trials]
    assert sorted(front) == [int(number) for number in tags["pareto_front"].split(", ")]
    assert not any(name.startswith("best") for name in [*tags, *parent.data.metrics])
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
    call("sweep", [*words, "--sweep=breaks", "--n_trials=5"])
    _, children, found = agree(client, "breaks")
    assert [outcomes.state_of(trial) for trial in found] == ["complete", "failed", "failed", "complete", "complete"]
    assert "AscentDiverged: the network's output" in children[1].data.tags["reason"]
    assert "MemoryError" in children[2].data.tags["reason"]
    monkeypatch.setattr(ascent, "ascend", lambda *given, **how: 1 / 0)
    with pytest.raises(worker.SweepStopped, match="10 trials in a row failed, the last with: ZeroDivisionError"):
        call("sweep", [*words, "--sweep=breaks", "--n_trials=50"])
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
        call("sweep", [*words, "--sweep=broken-off", "--n_trials=3"])
    assert "The same command continues broken-off; finished trials are not repeated." in capsys.readouterr().err
    parent, children = runs_of(client, "broken-off")
    assert parent.info.status == "KILLED" and children[1].info.status == "KILLED"
    call("sweep", [*words, "--sweep=broken-off", "--n_trials=3"])
    parent, children, found = agree(client, "broken-off")
    assert [outcomes.state_of(trial) for trial in found] == ["complete", "lost", "complete", "complete"]
    assert found[2].params == found[1].params
    assert parent.info.status == "FINISHED"


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before its run", "while it works", "after it said how it ended"])
def test_a_worker_that_was_killed_at_any_moment_loses_nothing(client, words, monkeypatch, moment: str) -> None:
    """What kill -9 leaves behind is made by hand: a trial in the hands of a process that is gone."""
    name = f"killed {moment}".replace(" ", "-")
    call("sweep", [*words, f"--sweep={name}", "--n_trials=1"])
    parent, _ = runs_of(client, name)
    half = opened(name)
    trial = half.ask()
    trial.set_user_attr("process", DEAD)
    if moment != "before its run":
        sweep_runs.SweepRuns(parent.info.run_id, name).start_trial(trial.number, {})
        if moment.startswith("after"):
            outcomes.set_outcome(trial, Outcome("complete", (0.75,)))
    client.set_terminated(parent.info.run_id, "RUNNING")
    call("sweep", [*words, f"--sweep={name}", "--n_trials=3"])
    parent, children = runs_of(client, name)
    found = opened(name).trials
    if moment.startswith("after"):
        assert [outcomes.state_of(each) for each in found] == ["complete"] * 3
        assert found[1].value == 0.75
    else:
        assert [outcomes.state_of(each) for each in found] == ["complete", "lost", "complete", "complete"]
        assert children[1].info.status == "KILLED" and "retried" in children[1].data.tags["reason"]
    assert [int(child.data.tags["trial"]) for child in children] == list(range(len(found)))
    assert {run.info.status for run in [parent, *children]} <= {"FINISHED", "KILLED"}
    assert parent.info.status == "FINISHED"


def test_a_store_that_fails_is_not_held_against_the_settings(client, words: list[str], monkeypatch) -> None:
    def fails(self, number, settings):
        raise mlflow.MlflowException("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(sweep_runs.SweepRuns, "start_trial", fails)
        with pytest.raises(mlflow.MlflowException, match="no space left"):
            call("sweep", [*words, "--sweep=full-disk", "--n_trials=2"])
    call("sweep", [*words, "--sweep=full-disk", "--n_trials=2"])
    _, children, found = agree(client, "full-disk")
    assert [outcomes.state_of(trial) for trial in found] == ["lost", "complete", "complete"]
    assert found[1].params == found[0].params and found[1].user_attrs[outcomes.LOSSES] == 0
    assert "no space left" in children[0].data.tags["reason"]


def test_a_journal_on_a_disk_that_fills_ends_the_sweep_and_loses_nothing(client, words, monkeypatch) -> None:
    whole, appended = storage._Journal.append_logs, []

    def fills(journal, logs) -> None:
        appended.extend(logs)
        if len(appended) > 30:
            raise OSError(28, "No space left on device")
        whole(journal, logs)

    with monkeypatch.context() as patch:
        patch.setattr(storage._Journal, "append_logs", fills)
        with pytest.raises(OSError, match="No space left"):
            call("sweep", [*words, "--sweep=full-journal", "--n_trials=9"])
    parent, children = runs_of(client, "full-journal")
    assert parent.info.status == "FAILED" and "No space left" in parent.data.tags["reason"]
    assert "RUNNING" not in {child.info.status for child in children}
    finished = [child.info.run_id for child in children if child.info.status == "FINISHED"]
    monkeypatch.setattr(worker, "SECONDS_BETWEEN_LOOKS", 0.05)
    call("sweep", [*words, "--sweep=full-journal", "--n_trials=9"])
    _, children, found = agree(client, "full-journal")
    assert sum(trial.state == TrialState.COMPLETE for trial in found) == 9
    assert {*finished} <= {child.info.run_id for child in children if child.info.status == "FINISHED"}


def test_a_network_that_cannot_be_read_ends_the_sweep_and_spends_no_trial(client, words, monkeypatch) -> None:
    call("sweep", [*words, "--sweep=unmounted", "--n_trials=1"])

    def fails(*given: object, **how: object) -> None:
        raise TrackingError("`model`: its files are not there")

    with monkeypatch.context() as patch:
        patch.setattr(networks, "load", fails)
        with pytest.raises(WorkStopped, match="its files are not there"):
            call("sweep", [*words, "--sweep=unmounted", "--n_trials=3"])
    parent, _ = runs_of(client, "unmounted")
    assert parent.info.status == "FAILED"
    call("sweep", [*words, "--sweep=unmounted", "--n_trials=3"])
    _, _, found = agree(client, "unmounted")
    assert [outcomes.state_of(trial) for trial in found] == ["complete", "lost", "complete", "complete"]
    assert found[2].params == found[1].params


def test_a_trial_that_others_took_over_is_left_to_them(client, words: list[str], monkeypatch) -> None:
    whole, calls = ascent.ascend, []

    def slow(*given, **how):
        calls.append(0)
        if len(calls) == 2:  # as if this process had paused, and sent no heartbeats
            others = opened("paused")
            others.add_trial(outcomes.retry_of(others.tell(1, state=TrialState.FAIL)))
        return whole(*given, **how)

    monkeypatch.setattr(ascent, "ascend", slow)
    call("sweep", [*words, "--sweep=paused", "--n_trials=3"])
    _, children, found = agree(client, "paused")
    assert [outcomes.state_of(trial) for trial in found] == ["complete", "lost", "complete", "complete"]
    assert found[2].params == found[1].params
    assert worker.TAKEN_OVER in children[1].data.tags["reason"] or "retried" in children[1].data.tags["reason"]


def test_a_sweep_waits_for_the_last_trials_of_others(client, words: list[str], monkeypatch, capsys) -> None:
    """Where one was killed, its trial is told from those that run, and nothing waits for a sweep that is over."""
    whole, looks = ascent.ascend, []

    def joined(*given, **how):
        if len(opened("joined").trials) == 2:  # another process looks at the same moment, and runs one more
            opened("joined").ask().set_user_attr("process", DEAD)
        return whole(*given, **how)

    def is_alive(self: object, name: str) -> bool:
        looks.append(name)
        return name != DEAD or len(looks) < 3

    monkeypatch.setattr(ascent, "ascend", joined)
    monkeypatch.setattr(storage.Processes, "is_alive", is_alive)
    call("sweep", [*words, "--sweep=joined", "--n_trials=2"])
    _, children, found = agree(client, "joined")
    assert [outcomes.state_of(trial) for trial in found] == ["complete", "complete", "lost"]
    assert len(children) == 3 and children[2].info.status == "KILLED"
    assert "Waiting at most 120 s for what other processes run: trial 2." in capsys.readouterr().out


def test_lost_settings_that_were_forgotten_are_retried(client, words: list[str], monkeypatch) -> None:
    """The process that found them lost was killed before it could have them retried; others do it."""
    monkeypatch.setattr(worker, "SECONDS_BETWEEN_LOOKS", 0.01)
    whole, calls = ascent.ascend, []

    def forgetting(*given, **how):
        calls.append(0)
        if len(calls) == 2:
            others = opened("forgotten")
            others.tell(others.ask(), state=TrialState.FAIL)
        return whole(*given, **how)

    monkeypatch.setattr(ascent, "ascend", forgetting)
    call("sweep", [*words, "--sweep=forgotten", "--n_trials=3"])
    _, _, found = agree(client, "forgotten")
    assert [outcomes.state_of(trial) for trial in found] == ["complete", "complete", "lost", "complete"]
    assert found[3].user_attrs[outcomes.RETRY_OF] == 2


@pytest.mark.slow
def test_settings_that_kill_their_process_again_and_again_are_failed(client, words: list[str], monkeypatch) -> None:
    call("sweep", [*words, "--sweep=deadly", "--n_trials=1"])
    monkeypatch.setattr(worker, "work", lambda *given, **how: None)  # the process is killed before its next trial
    for _ in range(outcomes.MOST_LOSSES + 1):
        trial = opened("deadly").ask()
        trial.set_user_attr("process", DEAD)
        call("sweep", [*words, "--sweep=deadly", "--n_trials=2"])
    _, children, found = agree(client, "deadly")
    assert [outcomes.state_of(trial) for trial in found] == ["complete", "lost", "lost", "lost", "failed"]
    assert "for the 4th time" in children[-1].data.tags["reason"]


def test_a_sweep_with_nothing_left_trains_no_judges(client, words: list[str], monkeypatch, capsys) -> None:
    own = [*(word for word in words if "goal" not in word), "--sweep=judged-before", "--n_trials=1"]
    with monkeypatch.context() as patch:  # scores do not matter here, and judges take a minute
        patch.setattr(sweep, "ascent_trials", lambda data, judged: _recognised)
        call("sweep", own)
    monkeypatch.setattr(judges, "scorer", lambda *given: pytest.fail("judges were asked for"))
    call("sweep", own)
    assert "All 1 trials are done." in capsys.readouterr().out


def _recognised(settings, result, report, tick) -> None:
    result.metrics = {"recognised_rate": 0.5}


@pytest.mark.slow
def test_a_newer_network_does_not_change_the_sweep_of_the_same_command(client, words, small_dataset, capsys) -> None:
    own = [word for word in words if "model" not in word]
    call("sweep", [*own, "--memory_gib=1.5", "--n_trials=1"])
    name = capsys.readouterr().out.split()[1]
    before = runs_of(client, name)[1][0].data.params["model"]
    call("train", ["--dataset", str(small_dataset), "--batch_size=64"])
    newer = f"models:/{mlflow.search_logged_models(max_results=1, output_format='list')[0].model_id}"
    capsys.readouterr()
    call("sweep", [*own, "--memory_gib=1.5", "--n_trials=2"])
    out = capsys.readouterr().out
    assert f"This sweep keeps its network {before}; a newer one exists: give model={newer} to sweep that." in out
    _, children, _ = agree(client, name)
    assert [child.data.params["model"] for child in children] == [before, before] and newer != before
    call("sweep", [*own, "--memory_gib=1.5", "--n_trials=1", f"--model={newer}"])
    assert f"Sweep {name} " not in capsys.readouterr().out


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("O'Brien", marks=pytest.mark.slow),
        pytest.param("L2 & TV (night 1)", marks=pytest.mark.slow),
        "a \"b\" 'c', <b>x</b> :3 \N{SPARKLES}",
    ],
)
def test_any_name_will_do(client, words: list[str], name: str) -> None:
    for total in (1, 2):
        result = sweep.run(SweepSettings.from_command_line([*words, f"--sweep={name}", f"--n_trials={total}"]))
        assert (result.name, len(result.trials)) == (name, total)
    agree(client, name)
    assert sweep_runs.read_sweeps(name)[0].run_id == result.run_id
    (command,) = result.commands
    trial = shlex.split(command)[-1].removeprefix("trial=")
    assert trial == f"{name}:{result.best[0].number}"
    assert sweep_runs.settings_of_trial(trial).l2_weight == float(result.best[0].settings["l2_weight"])
    data = next(word for word in words if word.startswith("--dataset"))
    call("compare", [f"--sweeps={name}, {name}", "--confirm=0", data])
    (compared,) = client.search_runs(["0"], "tags.kind = 'compare'", max_results=1)
    for page in (artifact(compared, "compare.html"), artifact(runs_of(client, name)[0], "sweep.html")):
        assert b"<b>x</b>" not in page


def test_any_name_is_a_part_of_a_metrics_name_that_no_other_has() -> None:
    assert runs.metric_names(["L2 & TV", "<b>/x", "L2 + TV"]) == ["L2 _ TV 1", "_b__x", "L2 _ TV 3"]


@pytest.mark.slow
def test_a_sweep_from_a_file_is_the_same_sweep(client, words: list[str], tmp_path: Path) -> None:
    lines = [word.removeprefix("--").split("=", 1) for word in [*words, "--sweep=filed"]]
    (tmp_path / "sweep.toml").write_text("".join(f"{name} = {json.dumps(word)}\n" for name, word in lines))
    call("sweep_file", [f"--file={tmp_path / 'sweep.toml'}", "--n_trials=1"])
    call("sweep", [*words, "--sweep=filed", "--n_trials=2"])
    assert len(agree(client, "filed")[1]) == 2


@pytest.mark.slow
def test_judges_score_each_snapshot_where_the_goal_asks_for_it(client, words) -> None:
    own = [word for word in words if "goal" not in word]
    call("sweep", [*own, "--sweep=judged", "--goal=recognised,diversity", "--n_trials=2"])
    _, children, found = agree(client, "judged")
    assert all(0 <= trial.values[0] <= 1 and trial.values[1] > 0 for trial in found)
    assert {"merit", "kernel_distance", "recognised_rate_low"} <= set(children[0].data.metrics)


@pytest.mark.slow
def test_a_sweep_whose_run_was_deleted_is_restored_with_its_trials(client, words, capsys) -> None:
    call("sweep", [*words, "--sweep=here", "--n_trials=2"])
    parent, trials = runs_of(client, "here")
    for run in (parent, *trials):
        client.delete_run(run.info.run_id)
    call("sweep", [*words, "--sweep=here", "--n_trials=3"])
    assert f"The run {parent.info.run_id} of here had been deleted; it is restored" in capsys.readouterr().out
    again, children, _ = agree(client, "here")
    assert again.info.run_id == parent.info.run_id and again.info.status == "FINISHED" and len(children) == 3
    assert [child.info.run_id for child in children[:2]] == [run.info.run_id for run in trials]
    assert all("target_probability" in child.data.metrics for child in children)


@pytest.mark.slow
def test_a_trial_whose_run_a_person_deleted_is_not_made_again(client, words) -> None:
    call("sweep", [*words, "--sweep=picked", "--n_trials=2"])
    client.delete_run(runs_of(client, "picked")[1][0].info.run_id)
    call("sweep", [*words, "--sweep=picked", "--n_trials=3"])
    assert [run.data.tags["trial"] for run in runs_of(client, "picked")[1]] == ["1", "2"]


@pytest.mark.slow
def test_a_sweep_that_was_deleted_for_good_begins_anew_and_its_trials_are_kept(client, words, capsys) -> None:
    call("sweep", [*words, "--sweep=purged", "--n_trials=2"])
    parent, trials = runs_of(client, "purged")
    for run in (parent, *trials):
        client.delete_run(run.info.run_id)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", mlflow.get_tracking_uri())
        ids = ",".join(run.info.run_id for run in (parent, *trials))
        done = CliRunner().invoke(mlflow.cli.gc, ["--backend-store-uri", mlflow.get_tracking_uri(), "--run-ids", ids])
        assert done.exit_code == 0, done.output
    call("sweep", [*words, "--sweep=purged", "--n_trials=1"])
    assert "was deleted for good. A new sweep begins" in capsys.readouterr().out
    assert len(agree(client, "purged")[1]) == 1
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend("sweeps.journal"))
    (kept,) = [study for study in optuna.get_all_study_summaries(storage) if study.study_name.startswith("purged, ")]
    assert kept.n_trials == 2


def test_a_sweep_in_another_store_or_in_a_deleted_experiment_is_refused(client, words, monkeypatch) -> None:
    name = "elsewhere"
    experiment = client.create_experiment("to be deleted")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", experiment)
    call("sweep", [*words, f"--sweep={name}", "--n_trials=1"])
    client.delete_experiment(experiment)
    with pytest.raises(TrackingError, match=f"mlflow experiments restore --experiment-id {experiment}"):
        call("sweep", [*words, f"--sweep={name}", "--n_trials=2"])
    monkeypatch.setattr(study.Study, "tracking_store", "sqlite:///another.db")
    monkeypatch.setattr(reading, "is_gone", lambda run_id: True)
    with pytest.raises(TrackingError, match=f"the run .* of {name} is not in"):
        call("sweep", [*words, f"--sweep={name}", "--n_trials=2"])


@pytest.mark.slow
def test_trainings_are_swept_and_pruned_epoch_by_epoch(client, small_dataset: Path) -> None:
    own = [f"--dataset={small_dataset}", "--batch_size=64", "--epochs=2", "--validation_fraction=0.3"]
    call("sweep_training", [*own, "--sweep=nets", "--n_trials=7", "--learning_rate=1e-4..1:log", "--sampler=random"])
    parent, children, found = agree(client, "nets")
    done = [trial for trial in found if trial.state == TrialState.COMPLETE]
    assert any(trial.state == TrialState.PRUNED for trial in found)
    assert done[0].value == children[done[0].number].data.metrics["validation_accuracy"]
    assert not any(name.startswith("test") for child in children for name in child.data.metrics)
    best = max(done, key=lambda trial: trial.value)
    (line,) = [line for line in parent.data.tags["mlflow.note.content"].splitlines() if "mlflow run . -e train" in line]
    words = shlex.split(line[line.index("mlflow run") :].rstrip("`"))
    settings = TrainSettings.from_command_line([f"--{word}" for word in words if "=" in word])
    assert settings == TrainSettings.from_words({k: v for k, v in children[best.number].data.params.items() if v})
    assert settings.learning_rate == best.params["learning_rate"] and settings.epochs == 2


@pytest.mark.slow
def test_sweeps_are_compared_side_by_side(client, words: list[str], swept: str, capsys) -> None:
    call("sweep", [*words, "--sweep=other", "--n_trials=4"])
    capsys.readouterr()
    data = next(word for word in words if word.startswith("--dataset"))
    call("compare", [f"--sweeps={swept},other", "--confirm=2", data])
    out = capsys.readouterr().out
    assert "| eight | probability | 8 |" in out and "eight against other" in out
    run = client.search_runs(["0"], "tags.kind = 'compare'")[0]
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
        call("compare", ["--sweeps=nothing"])
