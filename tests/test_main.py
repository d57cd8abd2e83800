"""`python -m pipelines`: what a shell sees of a command that is refused, fails or is interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest
import tensorflow as tf
from conftest import PROJECT

import pipelines.__main__ as dispatcher
from mnist_cnn.settings import ENTRY_POINTS, backend
from mnist_cnn.settings.errors import Interrupted, Notice, SettingError, WorkStopped


@pytest.fixture(autouse=True)
def outside_mlflow_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)


def raising(error: BaseException) -> Callable[..., None]:
    def call(command: str, words: list[str]) -> None:
        raise error

    return call


def test_without_a_command_all_of_them_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    dispatcher.main([])
    printed = capsys.readouterr().out
    assert all(f"  {name} " in printed for name in ENTRY_POINTS) and "python -m pipelines COMMAND" in printed


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["trian"], "trian: there is no command 'trian'. Did you mean train?\n"),
        (["train", "--epochs", "0"], "train: `epochs` must be a whole number from 1 to 10,000; got '0'.\n"),
        (["train", "--epoch", "1"], "train: `epoch` is not a setting of `train`; got '1'. Did you mean `epochs`?\n"),
        (["resume"], "resume: `run` must be given: "),
        (["train", "--dataset", "nowhere.npz"], "train: `dataset` must be `mnist`, `mnist:N` or the path of an .npz"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        dispatcher.main(argv)
    printed = capsys.readouterr()
    assert end.value.code == 2 and printed.out == ""
    assert printed.err.startswith(message) and printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (KeyboardInterrupt(), 130, "\ntrain: interrupted.\n"),
        (Interrupted(2), 130, "\ntrain: interrupted by SIGINT.\n"),
        (Interrupted(15), 143, "\ntrain: interrupted by SIGTERM.\n"),
        (OSError(28, "No space left on device"), 1, "\ntrain: OSError: [Errno 28] No space left on device.\n"),
        (WorkStopped("ten trials failed\nand more"), 1, "\ntrain: WorkStopped: ten trials failed.\n"),
        (MemoryError(), 1, "\ntrain: out of memory. Lower `batch_size`, or take fewer images.\n"),
        (
            tf.errors.ResourceExhaustedError(None, None, "OOM"),
            1,
            "\ntrain: out of memory. Lower `batch_size`, or take fewer images.\n",
        ),
        (Interrupted(1), 129, "\ntrain: interrupted by SIGHUP.\n"),
        (SettingError("`model`: there is none"), 2, "train: `model`: there is none\n"),
    ],
)
def test_an_end_before_its_time_has_its_status_and_its_reason(
    error: BaseException, status: int, message: str, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    monkeypatch.setattr(dispatcher, "call", raising(error))
    with pytest.raises(SystemExit) as end:
        dispatcher.main(["train"])
    assert end.value.code == status and capsys.readouterr().err == message


def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "call", raising(KeyError("a typing error")))
    with pytest.raises(KeyError):
        dispatcher.main(["train"])


def test_a_signal_of_which_an_import_makes_another_exception_interrupts_all_the_same(monkeypatch, capsys) -> None:
    def call(command: str, words: list[str]) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt as error:
            raise ImportError("numpy._core.multiarray failed to import") from error

    monkeypatch.setattr(dispatcher, "call", call)
    with pytest.raises(SystemExit) as end:
        dispatcher.main(["train"])
    assert end.value.code == 143 and capsys.readouterr().err == "\ntrain: interrupted by SIGTERM.\n"


def test_a_fault_of_the_program_is_the_reason_of_the_run_that_mlflow_run_made(client, monkeypatch) -> None:
    made = client.create_run("0")
    monkeypatch.setenv("MLFLOW_RUN_ID", made.info.run_id)
    monkeypatch.setattr(dispatcher, "call", raising(KeyError("a typing error")))
    with pytest.raises(KeyError):
        dispatcher.main(["train"])
    ended = client.get_run(made.info.run_id)
    assert (ended.info.status, ended.data.tags["reason"]) == ("FAILED", "KeyError: 'a typing error'")


@pytest.mark.parametrize(("error", "status"), [(SettingError("no"), "FAILED"), (Interrupted(15), "KILLED")])
def test_the_run_that_mlflow_run_made_is_ended_with_the_reason(
    error: BaseException, status: str, client, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = client.create_run("0")
    monkeypatch.setenv("MLFLOW_RUN_ID", made.info.run_id)
    monkeypatch.setattr(dispatcher, "call", raising(error))
    with pytest.raises(SystemExit):
        dispatcher.main(["train"])
    ended = client.get_run(made.info.run_id)
    assert (ended.info.status, ended.data.tags["reason"]) == (status, str(error))


def test_the_earlier_name_of_the_ablation_is_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        dispatcher.main(["answer", "--help"])
    assert end.value.code == 0 and "mlflow run . -e ablation" in capsys.readouterr().out


@pytest.mark.parametrize("place", ["KERAS_BACKEND", "keras.json", "keras"])
def test_another_backend_is_refused_in_one_line(place: str, tmp_path, monkeypatch, capsys) -> None:
    if place != "keras":
        monkeypatch.delitem(sys.modules, "keras")
    else:
        monkeypatch.setattr(sys.modules["keras"].config, "backend", lambda: "jax")
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    if place != "keras":
        backend.refuse_other()
    if place == "KERAS_BACKEND":
        monkeypatch.setenv("KERAS_BACKEND", "jax")
    elif place == "keras.json":
        (tmp_path / "keras.json").write_text('{"backend": "jax"}')
    with pytest.raises(SystemExit) as end:
        dispatcher.main(["train"])
    printed = capsys.readouterr().err
    assert end.value.code == 2 and printed.count("\n") == 1
    assert "must name the backend `tensorflow`" in printed and "got 'jax'. Set KERAS_BACKEND=tensorflow" in printed


def test_the_environment_overrules_keras_json_as_it_does_for_keras(tmp_path, monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, "keras")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "keras.json").write_text('{"backend": "jax"}')
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    backend.refuse_other()


@pytest.mark.parametrize("name", ["mnist_cnn.input_optimization", "pipelines.sweep"])
def test_another_backend_is_refused_to_who_imports_the_project(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import {name}"], cwd=PROJECT, env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr.strip().splitlines()[-1].startswith("mnist_cnn.settings.errors.SettingError: KERAS_BACKEND must")


def test_a_notice_is_a_line_without_its_place_in_the_code() -> None:
    assert dispatcher._format_warning(Notice("so it is"), Notice, "file.py", 3) == "Notice: so it is\n"
    assert "file.py:3: UserWarning: else" in dispatcher._format_warning(UserWarning("else"), UserWarning, "file.py", 3)
