"""The entry points, called in this process on a small data set, read back through the MLflow client."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import signal
import sqlite3
import sys
import threading
import time
from pathlib import Path

import mlflow
import numpy as np
import pytest
from commands import wait_for

from mnist_cnn.data import dataset
from mnist_cnn.models import networks
from mnist_cnn.runtime import hardware, locks
from mnist_cnn.settings import TrainSettings
from mnist_cnn.settings.errors import Interrupted, SettingError, hide_password
from mnist_cnn.tracking import heartbeat, reading, registry, runs, store, trainings, unsent
from mnist_cnn.training import loop
from pipelines.__main__ import call

QUICK = ["--epochs", "2", "--batch_size", "64", "--seed", "4"]


@pytest.fixture(scope="module")
def finished(store: Path, small_dataset: Path) -> mlflow.entities.Run:
    """One finished training run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(store)
        mlflow.set_tracking_uri(None)
        call("train", [*QUICK, "--dataset", str(small_dataset)])
        return mlflow.MlflowClient().search_runs(["0"], max_results=1)[0]


def newest(client: mlflow.MlflowClient) -> mlflow.entities.Run:
    return client.get_run(client.search_runs(["0"], max_results=1)[0].info.run_id)


def test_a_run_holds_every_setting_and_where_it_ran(client, finished, small_dataset: Path) -> None:
    run = client.get_run(finished.info.run_id)
    assert run.info.status == "FINISHED" and run.info.run_name == "train-compact-quick"
    expected = TrainSettings(epochs=2, batch_size=64, seed=4, dataset=str(small_dataset))
    assert run.data.params == {name: word for name, word in expected.as_words().items() if word}
    stored = json.loads(mlflow.artifacts.load_text(f"{run.info.artifact_uri}/settings.json"))
    assert TrainSettings(**stored["settings"]) == expected
    tags = run.data.tags
    assert tags["version.tensorflow"].startswith("2.") and tags["hardware.device"].startswith(("CPU", "GPU"))
    assert {"hardware.cores", "hardware.memory_gib", "version.python", "mlflow.source.git.commit"} <= set(tags)
    assert tags["reason"] == "" and tags["mlflow.note.content"].startswith(
        "The **compact** network, trained for 2 epochs"
    )


def test_a_run_holds_its_curves_epoch_by_epoch(client, finished) -> None:
    for key in ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "training_learning_rate",
                "training_seconds_per_epoch", "training_images_per_second"):  # fmt: skip
        history = client.get_metric_history(finished.info.run_id, key)
        assert [metric.step for metric in history] == [1, 2], key
        assert all(np.isfinite(metric.value) for metric in history)
    # The last epoch's are linked to the model and to the images, too.
    (model,) = client.search_logged_models(["0"], f"source_run_id = '{finished.info.run_id}'")
    linked = {metric.key: metric for metric in model.metrics}
    assert linked["validation_accuracy"].value == finished.data.metrics["validation_accuracy"]
    digests = {entry.tags[0].value: entry.dataset.digest for entry in finished.inputs.dataset_inputs}
    assert linked["validation_loss"].dataset_digest == digests["validation"] != linked["train_loss"].dataset_digest
    steps = client.get_metric_history(finished.info.run_id, "loss_by_step")
    assert [point.step for point in steps] == list(range(1, 2 * 15 + 1))  # at most 20 an epoch, and no more than steps
    validated = client.get_metric_history(finished.info.run_id, "accuracy_by_step_validation")
    assert len(validated) == 2 * 10 and validated[-1].step == 2 * 15
    assert validated[-1].value == finished.data.metrics["validation_accuracy"]
    # The UI sorts charts by name: accuracy and loss of training and validation come first.
    first = sorted(key for key in finished.data.metrics if "/" not in key)[:4]
    assert first == ["accuracy_by_step", "accuracy_by_step_validation", "loss_by_step", "loss_by_step_validation"]


def test_a_run_is_linked_to_its_data_with_its_digest(client, finished, small_dataset: Path) -> None:
    inputs = client.get_run(finished.info.run_id).inputs.dataset_inputs
    contexts = {tag.value: entry.dataset for entry in inputs for tag in entry.tags if tag.key == "mlflow.data.context"}
    assert set(contexts) == {"training", "validation", "testing"}
    split = dataset.split(dataset.load_train(str(small_dataset)))
    assert contexts["training"].digest == split.train.digest
    assert contexts["validation"].digest == split.validation.digest != split.train.digest
    assert contexts["testing"].digest == dataset.load_test(str(small_dataset)).digest
    profile = json.loads(contexts["training"].profile)
    assert profile["features_shape"] == [900, 28, 28, 1]


def test_the_logged_model_is_the_trained_one_linked_to_its_numbers(client, finished, small_dataset: Path) -> None:
    outputs = client.get_run(finished.info.run_id).outputs.model_outputs
    assert len(outputs) == 1
    model = client.get_logged_model(outputs[0].model_id)
    assert model.status.value == "READY" and model.source_run_id == finished.info.run_id
    numbers = {metric.key: metric for metric in model.metrics}
    test = dataset.load_test(str(small_dataset))
    assert numbers["test_accuracy"].dataset_digest == test.digest
    network = mlflow.keras.load_model(f"models:/{model.model_id}")
    accuracy = float((network.predict(test.images, verbose=0).argmax(axis=1) == test.labels).mean())
    assert accuracy == numbers["test_accuracy"].value == finished.data.metrics["test_accuracy"]
    info = mlflow.models.get_model_info(f"models:/{model.model_id}")
    assert info.signature.inputs.inputs[0].type == np.dtype(object)  # arrays or PNGs
    assert info.signature.outputs.inputs[0].shape == (-1, 10)
    assert info.saved_input_example_info is not None
    requirements = Path(mlflow.pyfunc.get_model_dependencies(f"models:/{model.model_id}")).read_text().split()
    assert any(line.startswith("tensorflow==") for line in requirements)
    served = mlflow.pyfunc.load_model(f"runs:/{finished.info.run_id}/model").predict(test.images[:3])
    np.testing.assert_allclose(served, network.predict(test.images[:3], verbose=0), atol=1e-6)


def test_a_run_holds_its_pictures_and_no_checkpoint_once_it_has_finished(client, finished) -> None:
    names = {file.path for file in client.list_artifacts(finished.info.run_id)}
    files = {"figures", "classes.json", "model_summary.txt", "settings.json", "test_choices.npz"}
    assert names - {"uncommitted.patch"} == files
    pictures = {Path(file.path).stem for file in client.list_artifacts(finished.info.run_id, "figures")}
    assert pictures == {"learning_curves", "confusion_matrix", "per_class_accuracy", "calibration", "most_wrong"}


class Cut(RuntimeError):
    pass


def cut_after(epoch: int, error: BaseException, patch: pytest.MonkeyPatch) -> None:
    """Make the training raise `error` after an epoch, its checkpoint stored."""
    save = trainings.save_checkpoint

    def save_and_stop(run: runs.TrackedRun, state: loop.TrainingState) -> None:
        save(run, state)
        if state.epoch == epoch:
            raise error

    patch.setattr(trainings, "save_checkpoint", save_and_stop)


class SignalledWhileItGoes:
    """An exception that is raised in a destructor goes no further: so is one that a signal's handler raises there."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0)  # a place where Python calls the handler, if it has not


@pytest.mark.parametrize("log_more", [True, False])
def test_a_signal_whose_exception_was_lost_ends_the_run_all_the_same(
    log_more: bool, client, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: lost.append(unraisable.exc_value))
    went_on = False
    with pytest.raises(Interrupted), runs.tracked_run("train") as run:
        SignalledWhileItGoes()
        assert len(lost) == 1 and isinstance(lost[0], Interrupted)
        if log_more:
            run.log_metrics({"loss": 1.0})
            went_on = True
    assert not went_on
    ended = client.get_run(run.run_id)
    assert (ended.info.status, ended.data.tags["reason"]) == ("KILLED", "interrupted by SIGTERM")
    with runs.tracked_run("train"):
        pass  # it is forgotten by then


def test_a_signal_of_which_an_import_makes_another_exception_kills_the_run(client) -> None:
    with pytest.raises(Interrupted), runs.tracked_run("train") as run:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except Interrupted as error:
            raise ImportError("numpy._core.multiarray failed to import") from error
    ended = client.get_run(run.run_id)
    assert (ended.info.status, ended.data.tags["reason"]) == ("KILLED", "interrupted by SIGTERM")


def test_an_interrupted_training_is_killed_and_resumes_as_a_new_run_to_the_same_numbers(
    client, finished, small_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        cut_after(1, Interrupted(15), patch)
        with pytest.raises(KeyboardInterrupt):
            call("train", [*QUICK, "--dataset", str(small_dataset)])
    run = newest(client)
    assert (run.info.status, run.data.tags["reason"]) == ("KILLED", "interrupted by SIGTERM")
    call("resume", ["--run", run.info.run_id])
    assert f"Resuming the run {run.info.run_id} after epoch 1." in capsys.readouterr().out
    resumed = newest(client)
    assert resumed.info.run_id != run.info.run_id and resumed.data.tags["resumed_from"] == run.info.run_id
    assert (resumed.info.status, resumed.data.tags["kind"]) == ("FINISHED", "train")
    assert resumed.data.params == finished.data.params
    for key in ("test_accuracy", "test_loss", "validation_loss", "train_loss"):
        assert resumed.data.metrics[key] == finished.data.metrics[key], key
    for key in ("train_loss", "loss_by_step", "loss_by_step_validation"):
        points = client.get_metric_history(resumed.info.run_id, key)
        whole = client.get_metric_history(finished.info.run_id, key)
        assert {point.step: point.value for point in points}[whole[-1].step] == whole[-1].value
        assert len({point.step for point in points}) == len(points)
    assert sorted(p.step for p in client.get_metric_history(resumed.info.run_id, "train_loss")) == [1, 2]
    assert not client.list_artifacts(run.info.run_id, "checkpoints")
    with pytest.raises(SettingError, match="has finished"):
        call("resume", ["--run", resumed.info.run_id])


@pytest.mark.slow
def test_a_training_that_fails_says_why_and_can_be_resumed(client, small_dataset: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        cut_after(1, OSError(28, "No space left on device"), patch)
        with pytest.raises(OSError, match="No space left"):
            call("train", [*QUICK, "--dataset", str(small_dataset)])
    run = newest(client)
    assert run.info.status == "FAILED" and "No space left on device" in run.data.tags["reason"]
    call("resume", ["--run", run.info.run_id, "--run_name", "second try"])
    resumed = newest(client)
    assert (resumed.info.status, resumed.info.run_name) == ("FINISHED", "second try")


@pytest.mark.slow
def test_a_checkpoint_that_was_cut_short_costs_one_epoch_and_not_the_run(
    client, finished, small_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        cut_after(2, Cut("power"), patch)
        with pytest.raises(Cut):
            call("train", [*QUICK, "--dataset", str(small_dataset)])
    run = newest(client)
    kept = sorted(Path(run.info.artifact_uri.removeprefix("file://"), "checkpoints").iterdir())
    assert [path.name for path in kept] == ["epoch-00001.npz", "epoch-00002.npz"]
    kept[1].write_bytes(kept[1].read_bytes()[:1000])
    call("resume", ["--run", run.info.run_id])
    printed = capsys.readouterr()
    assert "epoch-00002.npz cannot be read" in printed.err and "after epoch 1" in printed.out
    assert newest(client).data.metrics["test_loss"] == finished.data.metrics["test_loss"]


def test_resume_refuses_what_does_not_fit(client, finished, small_dataset: Path, tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(SettingError, match="`run` must be the id of a run, 32 of .*; got 'nonsense'"):
        call("resume", ["--run", "nonsense"])
    with pytest.raises(SettingError, match="`run` must be the id of a run in .*; got 'ffff"):
        call("resume", ["--run", "f" * 32])
    with pytest.raises(SettingError, match="`resume` is a command of its own now: mlflow run . -e resume"):
        call("train", ["--resume", "nonsense"])
    with pytest.MonkeyPatch.context() as patch:
        cut_after(1, Cut(), patch)
        copy = tmp_path / "copy.npz"
        copy.write_bytes(small_dataset.read_bytes())
        with pytest.raises(Cut):
            call("train", [*QUICK, "--dataset", str(copy)])
    run = newest(client)
    with np.load(small_dataset) as arrays:
        np.savez(copy, **{**dict(arrays), "x_train": 255 - arrays["x_train"]})
    with pytest.raises(SettingError, match="copy.npz has changed since"):
        call("resume", ["--run", run.info.run_id])
    client.update_run(run.info.run_id, status="RUNNING")
    monkeypatch.setattr(heartbeat, "SECONDS_OF_A_LOOK", 5.0)
    beats = iter(range(10))
    monkeypatch.setattr(heartbeat.time, "sleep", lambda _: client.set_tag(
        run.info.run_id, "heartbeat", f"{time.time() + next(beats):.0f}"))  # fmt: skip
    client.set_tag(run.info.run_id, "heartbeat", heartbeat.now())
    with pytest.raises(SettingError, match="is still running"):
        call("resume", ["--run", run.info.run_id])
    client.set_terminated(run.info.run_id, "KILLED")


def test_a_loss_that_is_not_a_number_fails_the_run_with_the_reason(client, small_dataset: Path) -> None:
    with pytest.raises(loop.TrainingDiverged):
        call("train", ["--dataset", str(small_dataset), "--learning_rate", "10", "--schedule", "constant",
                    "--weight_decay", "10", "--epochs", "40", "--batch_size", "64"])  # fmt: skip
    run = newest(client)
    assert run.info.status == "FAILED" and "the loss became" in run.data.tags["reason"]
    note = run.data.tags["mlflow.note.content"]
    assert note.startswith("Failed: TrainingDiverged: ") and f"-e again -P run={run.info.run_id}" in note
    command = f"mlflow run . -e train -P dataset={small_dataset} -P "
    assert command in note and "-P learning_rate=10" in note


def test_the_next_command_closes_runs_that_nobody_was_heard_of(client, small_dataset: Path) -> None:
    """Whatever host they ran on: one that is silent has ended, one that beats goes on, others' runs are left alone.

    A clock may be set by half a minute between a heartbeat and the look at it.
    """
    now, long_ago = time.time(), time.time() - 600
    other = client.create_experiment("another experiment")
    dead = client.create_run(other, tags={"heartbeat": f"{long_ago:.0f}", "kind": "train"})
    below = client.create_run(other, tags={"heartbeat_of": dead.info.run_id, "kind": "experiment"})
    alive = client.create_run("0", tags={"heartbeat": f"{now - 12 - 30:.0f}", "kind": "train"})
    ahead = client.create_run("0", tags={"heartbeat": f"{now + 30:.0f}", "kind": "train"})
    below_alive = client.create_run("0", tags={"heartbeat_of": alive.info.run_id, "kind": "trial"})
    foreign = client.create_run("0")
    project = {"mlflow.project.entryPoint": "sweep"}
    never_opened = client.create_run("0", start_time=int(1000 * long_ago), tags=project)
    on_its_way = client.create_run("0", start_time=int(1000 * (now - 30)), tags=project)
    heartbeat.close_dead_runs()
    for run in (dead, below, never_opened):
        closed = client.get_run(run.info.run_id)
        assert closed.info.status == "KILLED" and "ended without a word" in closed.data.tags["reason"]
        assert closed.data.tags["mlflow.note.content"].startswith("Killed: it ended without a word")
    for run in (alive, ahead, below_alive, foreign, on_its_way):
        assert client.get_run(run.info.run_id).info.status == "RUNNING"
        client.set_terminated(run.info.run_id)


def test_a_run_beats_while_it_is_open_and_stays_open_though_somebody_took_it_for_dead(client, monkeypatch) -> None:
    monkeypatch.setattr(heartbeat, "SECONDS_BETWEEN_BEATS", 0.05)
    with runs.tracked_run("train") as run:
        first = client.get_run(run.run_id).data.tags["heartbeat"]
        client.set_tag(run.run_id, "heartbeat", "1")
        client.update_run(run.run_id, status="KILLED")
        wait_for(lambda: client.get_run(run.run_id).info.status == "RUNNING", 10)
        assert client.get_run(run.run_id).data.tags["heartbeat"] >= first
        with runs.tracked_run("experiment") as child:
            tags = client.get_run(child.run_id).data.tags
            assert tags["heartbeat_of"] == tags["mlflow.parentRunId"] == run.run_id and "heartbeat" not in tags
    assert client.get_run(run.run_id).info.status == "FINISHED"


def test_a_run_that_another_resumed_stops_and_is_resumed_once_at_a_time(client, monkeypatch) -> None:
    monkeypatch.setattr(heartbeat, "SECONDS_BETWEEN_BEATS", 0.05)
    heir = client.create_run("0", tags={"heartbeat": heartbeat.now()}).info.run_id
    with (
        pytest.raises(KeyboardInterrupt, match=f"the run {heir} has resumed"),
        runs.tracked_run("train") as run,
    ):
        heartbeat.take_over(run.run_id, heir)
        time.sleep(20)
    stopped = client.get_run(run.run_id)
    assert stopped.info.status == "KILLED" and heir in stopped.data.tags["reason"]
    with pytest.raises(KeyboardInterrupt, match="has resumed"), runs.tracked_run("reproduce"):
        with runs.tracked_run("train") as below:
            heartbeat.take_over(below.run_id, heir)
            time.sleep(20)
    with pytest.raises(SettingError, match=f"the run {heir} is resuming it"):
        heartbeat.take_over(run.run_id, "another")
    client.set_terminated(heir, "KILLED")
    second = client.create_run("0", tags={"heartbeat": heartbeat.now()}).info.run_id
    heartbeat.take_over(run.run_id, second)
    assert heartbeat.resumed_by(client.get_run(run.run_id)) == second
    client.set_terminated(second)
    with pytest.raises(SettingError, match=f"the run {second} has resumed it and finished"):
        heartbeat.take_over(run.run_id, "another")


def test_of_many_that_resume_a_run_at_once_the_store_lets_one_in(client) -> None:
    dead = client.create_run("0").info.run_id
    heirs = [client.create_run("0", tags={"heartbeat": heartbeat.now()}).info.run_id for _ in range(8)]
    refused: list[str] = []

    def resume(heir: str) -> None:
        try:
            heartbeat.take_over(dead, heir)
        except SettingError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=resume, args=(heir,)) for heir in heirs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for run_id in (dead, *heirs):
        client.set_terminated(run_id)
    assert len(refused) == 7 and list(client.get_run(dead).data.params) == ["resumed_by.1"]


def test_a_run_whose_end_cannot_be_worked_out_is_not_finished(client) -> None:
    """MLflow ends whatever run is open at exit, as FINISHED."""

    def fails() -> bool:
        raise OSError("the database is gone")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(ArithmeticError), runs.tracked_run("train") as run:
        run.is_shared = fails
        patch.setattr(heartbeat, "mark_ended", lambda *_: fails())
        raise ArithmeticError("what was wrong at first")
    assert client.get_run(run.run_id).info.status == "FAILED" and mlflow.active_run() is None
    unsent.send(store.folder() / unsent.FOLDER / run.run_id)
    assert client.get_run(run.run_id).data.tags[runs.REASON_TAG] == "ArithmeticError: what was wrong at first"


def test_everything_lands_in_the_experiment_of_the_flag(client, monkeypatch) -> None:
    mine = client.create_experiment("mine")
    monkeypatch.setenv("MLFLOW_RUN_ID", client.create_run(mine).info.run_id)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "of my team")
    with runs.tracked_run("reproduce") as whole, runs.tracked_run("train") as step:
        assert whole.experiment_id == step.experiment_id == mine


def test_a_server_that_does_not_answer_is_said_at_once(client) -> None:
    for address in ("http://me:secret@127.0.0.1:9", "postgresql+psycopg://me:secret@127.0.0.1:9/db"):
        mlflow.set_tracking_uri(address)
        shown = re.escape(hide_password(address))
        with pytest.raises(SettingError, match=f"the tracking server {shown} does not answer") as refusal:
            store.open_store()
        assert "secret" not in str(refusal.value)
    mlflow.set_tracking_uri(None)


def test_a_store_of_another_release_is_refused_with_the_way_out(client, tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path}/mlflow.db"
    mlflow.set_tracking_uri(address)
    store.open_store()
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'cbc13b556ace'")
    connection.close()
    store._opened.clear()
    mlflow.set_tracking_uri(f"{address}?timeout=9")  # MLflow keeps what it has seen of an address
    try:
        with pytest.raises(SettingError, match="release of MLflow. Of an older one: .*`mlflow db upgrade` with this"):
            store.open_store()
    finally:
        mlflow.set_tracking_uri(None)


def test_a_database_whose_folder_cannot_be_made_is_refused(client) -> None:
    mlflow.set_tracking_uri("sqlite:////proc/none/mlflow.db")
    with pytest.raises(SettingError, match="sqlite:////proc/none/mlflow.db: its folder cannot be made"):
        store.open_store()
    mlflow.set_tracking_uri(None)


@pytest.mark.slow
def test_a_space_in_the_path_is_a_space(client, tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "my project"
    folder.mkdir()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/my%20project/mlflow.db")
    with runs.tracked_run("train"), store.alone():
        assert store.folder() == folder
    assert {path.name for path in folder.iterdir()} >= {"mlflow.db", ".mnist_cnn.lock"}
    mlflow.set_tracking_uri(None)


def test_a_temporary_clone_is_told_from_a_folder_that_stays(client, monkeypatch) -> None:
    monkeypatch.setattr(store, "uri", lambda: "http://server")
    for source, is_temporary in (
        ("git://127.0.0.1/project", True),
        (f"file://{os.getcwd()}#part", False),
        (os.getcwd(), False),
        ("file:///elsewhere", True),
    ):
        run = client.create_run("0", tags={"mlflow.source.name": source})
        monkeypatch.setenv("MLFLOW_RUN_ID", run.info.run_id)
        assert runs.is_in_a_temporary_clone() == is_temporary
        client.set_terminated(run.info.run_id)


def test_a_file_system_without_locks_is_said_and_worked_on(tmp_path: Path, monkeypatch, capsys) -> None:
    def refuse(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    with locks.locked(tmp_path / "lock"):
        assert "No locks available" in capsys.readouterr().err
    assert locks.is_alive(tmp_path, locks.sign_of_life(tmp_path))


@pytest.mark.slow
def test_a_database_that_is_locked_for_longer_than_mlflow_waits_is_waited_for(client) -> None:
    with runs.tracked_run("train") as run:
        other = sqlite3.connect("mlflow.db", check_same_thread=False)
        other.execute("BEGIN EXCLUSIVE")
        threading.Timer(25, other.rollback).start()
        run.set_tags({"kept": "yes"})
    other.close()
    assert client.get_run(run.run_id).data.tags["kept"] == "yes"


@pytest.mark.slow
def test_what_mlflow_run_logged_is_left_as_it_is(client, small_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = client.create_run("0", run_name="mine")
    client.log_param(made.info.run_id, "batch_size", "0512")
    monkeypatch.setenv("MLFLOW_RUN_ID", made.info.run_id)
    call("train", ["--batch_size", "0512", "--dataset", str(small_dataset)])
    run = client.get_run(made.info.run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "mine")
    assert run.data.params["batch_size"] == "0512" and run.data.params["epochs"] == "1"
    assert "MLFLOW_RUN_ID" not in os.environ


@pytest.mark.slow
def test_the_best_of_an_experiment_is_found_whatever_its_data_are_called(
    client, small_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`mlflow run` logs a parameter as a shell has it: '/data/my set.npz', in quotes."""
    data = tmp_path / "my set.npz"
    data.write_bytes(small_dataset.read_bytes())
    made = client.create_run("0")
    client.log_param(made.info.run_id, "dataset", shlex.quote(str(data)))
    monkeypatch.setenv("MLFLOW_RUN_ID", made.info.run_id)
    call("train", ["--dataset", str(data), "--batch_size", "512"])
    (model,) = client.get_run(made.info.run_id).outputs.model_outputs
    assert registry.best_of("Default", "validation_accuracy", str(data)).model_id == model.model_id
    with pytest.raises(SettingError, match="holds no finished training on elsewhere.npz"):
        registry.best_of("Default", "validation_accuracy", "elsewhere.npz")


def test_evaluate_links_its_numbers_to_the_model(client, finished, small_dataset: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.npz"
    with np.load(small_dataset) as arrays:
        np.savez(other, **{**dict(arrays), "x_test": 255 - arrays["x_test"]})
    model_id = finished.outputs.model_outputs[0].model_id
    for uri in (f"runs:/{finished.info.run_id}/model", f"models:/{model_id}"):
        call("evaluate", ["--model", uri, "--dataset", str(small_dataset)])
        run = newest(client)
        assert run.data.metrics["test_accuracy"] == finished.data.metrics["test_accuracy"]
        assert {"test_calibration_error", "test_accuracy_low"} <= set(run.data.metrics)
        classes = reading.read_json(run.info.run_id, "classes.json")
        assert classes["columns"] == ["class", "images", "precision", "recall"] and len(classes["data"]) == 10
        assert run.inputs.model_inputs[0].model_id == model_id
    call("evaluate", ["--model", f"models:/{model_id}", "--dataset", str(other), "--run_name", "inverted"])
    run = newest(client)
    assert run.info.run_name == "inverted" and run.data.metrics["test_accuracy"] < 0.5
    numbers = {(m.key, m.dataset_digest): m.value for m in client.get_logged_model(model_id).metrics}
    assert numbers["test_accuracy", dataset.load_test(str(other)).digest] == run.data.metrics["test_accuracy"]
    assert (
        numbers["test_accuracy", dataset.load_test(str(small_dataset)).digest] == finished.data.metrics["test_accuracy"]
    )


def test_evaluate_takes_registered_versions_aliases_and_the_newest(client, finished, small_dataset, capsys) -> None:
    version = mlflow.register_model(f"runs:/{finished.info.run_id}/model", "digits")
    client.set_registered_model_alias("digits", "champion", version.version)
    for uri in (f"models:/digits/{version.version}", "models:/digits@champion"):
        call("evaluate", ["--model", uri, "--dataset", str(small_dataset)])
        assert newest(client).data.metrics["test_accuracy"] == finished.data.metrics["test_accuracy"]
    call("evaluate", ["--dataset", str(small_dataset)])
    assert "Evaluating models:/m-" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("m-123", "must be the id of a run, runs:/RUN_ID/model.*got 'm-123'"),
        ("models:/m-123", "there is no models:/m-123"),
        ("models:/nobody@champion", "there is no models:/nobody@champion"),
        ("models:/nobody/1", "there is no models:/nobody/1"),
        ("runs:/123/model", "there is no runs:/123/model"),
    ],
)
def test_a_model_that_does_not_exist_is_refused_in_one_line(client, uri: str, message: str) -> None:
    with pytest.raises(SettingError, match=message) as refusal:
        call("evaluate", ["--model", uri])
    assert "\n" not in str(refusal.value)


def test_without_any_trained_model_evaluate_says_what_to_do(tmp_path: Path, client, monkeypatch) -> None:
    monkeypatch.setattr(mlflow, "search_logged_models", lambda **_: [])
    with pytest.raises(SettingError, match="run `mlflow run . -e train` first"):
        call("evaluate", [])


def test_the_test_images_are_not_opened_before_training_has_ended(client, small_dataset: Path, monkeypatch) -> None:
    opened: list[str] = []
    load_test, trainer = dataset.load_test, loop.train
    monkeypatch.setattr(dataset, "load_test", lambda *a: opened.append("test") or load_test(*a))
    monkeypatch.setattr(loop, "train", lambda *a, **k: (trainer(*a, **k), opened.append("trained"))[0])
    call("train", ["--dataset", str(small_dataset), "--batch_size", "512"])
    assert opened == ["trained", "test"]


def test_mlflow_still_needs_help_to_save_an_input_example(tmp_path: Path) -> None:
    """When this fails, https://github.com/mlflow/mlflow/issues/16183 is mended: use mlflow.keras.log_model as it is."""
    with pytest.raises(FileNotFoundError, match="input_example.json"):
        mlflow.keras.save_model(
            networks.build("compact", 0, num_classes=10),
            str(tmp_path / "model"),
            input_example=np.zeros((1, 28, 28, 1), np.float32),
            signature=None,
        )


def test_the_hardware_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    tags = hardware.describe("CPU: test")
    assert int(tags["hardware.cores"]) >= 1 and float(tags["hardware.memory_gib"]) > 0


def test_names_that_mlflow_invents_are_replaced_and_others_are_kept(client, monkeypatch) -> None:
    for name, expected in (("capable-wolf-101", "train-x"), ("my-net", "my-net"), ("wide net 2", "wide net 2")):
        made = client.create_run("0", run_name=name)
        monkeypatch.setenv("MLFLOW_RUN_ID", made.info.run_id)
        with runs.tracked_run("train", otherwise="train-x") as run:
            assert run.name == expected
