"""A store that goes away while a command works: what it does not take is kept, and sent once it is back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow.exceptions import MlflowException

from mnist_cnn.settings import ResumeSettings, SettingError, TrainSettings, WorkStopped
from mnist_cnn.tracking import runs, trainings, unsent
from pipelines import resume, train
from pipelines.__main__ import call


class Away:
    """A store that can go away: it takes nothing then."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.is_away = False
        for name in ("log_batch", "log_artifact", "set_terminated", "get_run", "create_logged_model"):
            patch.setattr(mlflow.MlflowClient, name, self._may_fail(getattr(mlflow.MlflowClient, name)))

    def _may_fail(self, method: Any) -> Any:
        def called(*words: Any, **more: Any) -> Any:
            if self.is_away:
                raise MlflowException("Max retries exceeded: connection refused")
            return method(*words, **more)

        return called


@pytest.fixture
def away(client, monkeypatch: pytest.MonkeyPatch) -> Iterator[Away]:
    with pytest.MonkeyPatch.context() as patch:
        yield Away(patch)


def write_all(run: runs.TrackedRun, away: Away) -> None:
    run.log_metrics({"before": 1.0})
    run.flush()
    away.is_away = True
    run.log_metrics({"curve": 0.5}, step=3)
    run.flush()
    run.set_tags({"shape": "round"})
    run.log_text("what was found", "texts/found.txt")
    run.log_arrays({"images": np.arange(3)}, "images.npz")
    run.log_table({"digit": [1, 2]}, "table.json")
    run.describe("A run whose store went away.")


def assert_all_there(client: mlflow.MlflowClient, run_id: str) -> None:
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED" and run.data.tags[runs.REASON_TAG] == ""
    own = {name: value for name, value in run.data.metrics.items() if not name.startswith("system/")}
    assert own == {"before": 1.0, "curve": 0.5}
    assert run.data.tags["shape"] == "round" and run.data.tags[runs.NOTE_TAG] == "A run whose store went away."
    assert [(point.step, point.value) for point in client.get_metric_history(run_id, "curve")] == [(3, 0.5)]
    files = {file.path for folder in ("", "texts") for file in client.list_artifacts(run_id, folder)}
    assert {"texts/found.txt", "images.npz", "table.json"} <= files
    assert mlflow.artifacts.load_dict(f"runs:/{run_id}/table.json") == {"columns": ["digit"], "data": [[1], [2]]}
    assert not Path(unsent.FOLDER).exists()


def test_many_images_mark_their_run_as_having_some_once(client, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Any] = []
    log_batch = mlflow.MlflowClient.log_batch

    def counted(self: Any, run_id: str, *words: Any, **more: Any) -> Any:
        written.append((words, more))
        return log_batch(self, run_id, *words, **more)

    with runs.tracked_run("optimize") as run:
        run.log_image(np.zeros((8, 8), np.uint8), "way", 0)
        monkeypatch.setattr(mlflow.MlflowClient, "log_batch", counted)
        for step in (1, 2, 3):
            run.log_image(np.zeros((8, 8), np.uint8), "way", step)
        assert not written
    assert len(client.list_artifacts(run.run_id, "images")) == 8  # each in full and small
    assert client.get_run(run.run_id).data.tags["mlflow.loggedImages"] == "True"


def test_what_a_store_did_not_take_is_sent_when_the_run_ends_and_the_store_is_back(client, away, capsys) -> None:
    with runs.tracked_run("train", otherwise="patient") as run:
        write_all(run, away)
        assert (Path(unsent.FOLDER) / run.run_id / "artifacts" / "texts" / "found.txt").read_text() == "what was found"
        away.is_away = False
    assert_all_there(client, run.run_id)
    said = capsys.readouterr().err
    assert said.count("The store takes nothing more (Max retries exceeded") == 1 and run.run_id in said


def test_where_the_store_stays_away_a_command_sends_it_later(client, away, capsys) -> None:
    with pytest.raises(WorkStopped, match="could not be marked FINISHED .* kept in .* Send it: mlflow run . -e send"):
        with runs.tracked_run("train", otherwise="patient") as run:
            write_all(run, away)
    away.is_away = False
    call("send", [])
    assert_all_there(client, run.run_id)
    assert f"Sent to the run patient ({run.run_id}), which is FINISHED." in capsys.readouterr().out
    with pytest.raises(SettingError, match="`folder`: 'unsent' holds nothing that was kept"):
        call("send", [])


def test_a_store_that_refuses_what_it_is_given_is_not_a_store_that_is_away(client) -> None:
    with pytest.raises(MlflowException, match="Invalid"), runs.tracked_run("train") as run:
        run.log_metrics({"no/../such": 1.0})
    assert client.get_run(run.run_id).info.status == "FAILED"
    assert not Path(unsent.FOLDER).exists()


@pytest.mark.slow
def test_a_training_goes_on_from_the_checkpoint_that_was_kept(client, away, small_dataset: Path) -> None:
    settings = TrainSettings(dataset=str(small_dataset), epochs=2, batch_size=64)
    whole, save = train.run(settings), trainings.save_checkpoint

    def save_away(*words: Any) -> None:
        away.is_away = True
        save(*words)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainings, "save_checkpoint", save_away)
        with pytest.raises(MlflowException, match="Max retries"):
            train.run(settings)
    away.is_away = False
    call("send", [])
    (left,) = client.search_runs(["0"], "attributes.status = 'FAILED'", max_results=1)
    assert trainings.newest_checkpoint(left.info.run_id).epoch == 2
    resumed = resume.run(ResumeSettings(run=left.info.run_id))
    np.testing.assert_array_equal(resumed.test.probabilities, whole.test.probabilities)


def test_what_cannot_be_sent_keeps_nothing_else_from_being_sent(client, tmp_path: Path) -> None:
    deleted, there = (client.create_run("0").info.run_id for _ in range(2))
    client.delete_run(deleted)
    for name in (deleted, there):
        (tmp_path / name).mkdir()
        (tmp_path / name / unsent.VALUES).write_text('{"status": "FAILED", "reason": "no power"}\n')
    with pytest.raises(SettingError, match=f"the run '{deleted}' was deleted. Restore it: mlflow runs restore"):
        call("send", ["--folder", str(tmp_path)])
    assert client.get_run(there).data.tags[runs.REASON_TAG] == "no power"
    assert [path.name for path in tmp_path.iterdir()] == [deleted]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "cannot be read"),
        (b'{"metrics": [{"key": "a"}]}', "cannot be read"),
        (b'{"status": "FINISHED"}', "cannot be read"),
        (b"[]", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"{}", "the run 'nobody' is not in sqlite"),
    ],
)
def test_a_folder_that_cannot_be_sent_is_kept(client, tmp_path: Path, content: bytes, message: str) -> None:
    folder = tmp_path / "nobody"
    folder.mkdir()
    (folder / unsent.VALUES).write_bytes(content)
    with pytest.raises(SettingError, match=message):
        call("send", ["--folder", str(folder)])
    assert (folder / unsent.VALUES).read_bytes() == content
