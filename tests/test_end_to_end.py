"""The commands as a person types them, each in processes of its own. Slow: run with `pytest -m slow`."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import psutil
import pytest
from commands import (
    browser_page,
    client_of,
    free_port,
    mlflow_run,
    pictures_folder,
    run,
    serving,
    start,
    wait_for,
    width_of_shown_artifact,
)
from conftest import PROJECT

pytestmark = pytest.mark.slow

EPOCHS = 25
LONG = ["--epochs", str(EPOCHS), "--batch_size", "64", "--seed", "2"]


@pytest.fixture
def empty_folder(tmp_path: Path) -> Path:
    """A folder away from the project, as a newcomer has it."""
    return tmp_path


@pytest.fixture
def folder(tmp_path: Path, fresh_store: Callable[[Path], Path]) -> Path:
    """A folder away from the project with an empty store."""
    return fresh_store(tmp_path)


def only_run(folder: Path) -> mlflow.entities.Run:
    runs = client_of(folder).search_runs(["0"])
    assert len(runs) == 1, [(run.info.run_name, run.info.status, run.data.tags.get("reason")) for run in runs]
    return runs[0]


def resumed_run(client: mlflow.MlflowClient, run_id: str) -> mlflow.entities.Run:
    """The run that went on from an interrupted one."""
    (resumed,) = client.search_runs(["0"], f"tags.resumed_from = '{run_id}'")
    return resumed


def checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("mlruns/0/*/artifacts/checkpoints/*.npz"))


def test_mlflow_run_trains_and_evaluates_from_an_empty_folder(empty_folder: Path, small_dataset: Path) -> None:
    status, output = mlflow_run("train", f"dataset={small_dataset}", "learning_rate=1e-2", cwd=empty_folder)
    assert status == 0, output
    trained = only_run(empty_folder)
    assert (trained.info.status, trained.info.run_name) == ("FINISHED", "train-compact-quick")
    assert trained.data.params["learning_rate"] == "1e-2" and trained.data.params["epochs"] == "1"
    assert trained.data.tags["mlflow.project.entryPoint"] == "train" and trained.data.tags["mlflow.source.git.commit"]
    lines = output.splitlines()
    for word in ("Run ", "Run id ", "Model ", "Look ", "test accuracy "):
        assert any(line.startswith(word) for line in lines[-8:]), output
    assert trained.info.run_id in output and "Traceback" not in output and "Warning" not in output
    status, output = mlflow_run(
        "evaluate", f"dataset={small_dataset}", cwd=empty_folder, options=("--env-manager", "local")
    )
    assert status == 0, output
    names = {run.info.run_name: run for run in client_of(empty_folder).search_runs(["0"])}
    assert set(names) == {"train-compact-quick", "evaluate-small"}
    assert names["evaluate-small"].data.metrics["test_loss"] == trained.data.metrics["test_loss"]
    # The other way of starting lands in the same experiment of the same store.
    status, output = run(sys.executable, "-m", "pipelines", "evaluate", "--dataset", small_dataset, cwd=empty_folder)
    assert status == 0 and len(client_of(empty_folder).search_runs(["0"])) == 3


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("epochs=abc", "train: `epochs` must be a whole number from 1 to 10,000; got 'abc'."),
        ("epochs=", "train: `epochs` must be a whole number from 1 to 10,000; got ''."),
        ("bogus=1", "train: `bogus` is not a setting of `train`; got '1'."),
        ("dataset=nowhere.npz", "there is no file nowhere.npz"),
    ],
)
def test_mlflow_run_refuses_a_bad_value_and_leaves_no_run_running(folder: Path, setting: str, message: str) -> None:
    status, output = mlflow_run("train", setting, cwd=folder)
    assert status != 0 and message in output and "Traceback" not in output
    refused = only_run(folder)
    assert refused.info.status == "FAILED" and refused.data.tags["reason"] in output


def test_a_refusal_exits_with_2_and_makes_no_run(empty_folder: Path) -> None:
    status, output = run(sys.executable, "-m", "pipelines", "train", "--seed", "-1", cwd=empty_folder)
    assert status == 2 and output == "train: `seed` must be a whole number from 0 to 2,147,483,647; got '-1'.\n"
    assert not list(empty_folder.iterdir())


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, small_dataset: Path) -> mlflow.entities.Run:
    folder = tmp_path_factory.mktemp("uninterrupted")
    status, output = run(sys.executable, "-m", "pipelines", "train", *LONG, "--dataset", small_dataset, cwd=folder)
    assert status == 0, output
    return only_run(folder)


@pytest.mark.alone
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_training_resumes_to_the_same_numbers(
    number: signal.Signals, folder: Path, small_dataset: Path, uninterrupted: mlflow.entities.Run
) -> None:
    command = (sys.executable, "-m", "pipelines", "train")
    process = start(*command, *LONG, "--dataset", small_dataset, cwd=folder)
    wait_for(lambda: len(checkpoints(folder)) >= 2)
    sent = time.monotonic()
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert time.monotonic() - sent < 10
    left = only_run(folder)
    if number == signal.SIGKILL:
        assert (process.returncode, left.info.status) == (-9, "RUNNING")
    else:
        assert (process.returncode, left.info.status) == (128 + number, "KILLED")
        assert left.data.tags["reason"] == f"interrupted by {number.name}" and "Traceback" not in output
    status, output = mlflow_run("resume", f"run={left.info.run_id}", cwd=folder)
    assert status == 0, output
    client = client_of(folder)
    resumed = resumed_run(client, left.info.run_id)
    assert len(client.search_runs(["0"])) == 2 and resumed.info.status == "FINISHED"
    # A run that was killed without a word was waited for, and is closed by then.
    assert client.get_run(left.info.run_id).info.status == "KILLED"
    for key in ("train_loss", "validation_loss", "test_loss", "test_accuracy"):
        assert resumed.data.metrics[key] == uninterrupted.data.metrics[key], key
    epochs = [metric.step for metric in client.get_metric_history(resumed.info.run_id, "train_loss")]
    assert sorted(epochs) == list(range(1, EPOCHS + 1))


@pytest.mark.parametrize(("number", "whole_group"), [(signal.SIGINT, True), (signal.SIGTERM, False)])
def test_interrupting_mlflow_run_ends_the_training_and_its_run_says_why(
    number: signal.Signals, whole_group: bool, folder: Path, small_dataset: Path
) -> None:
    words = ("epochs=10000", "batch_size=64", f"dataset={small_dataset}")
    options = [word for setting in words for word in ("-P", setting)]
    process = start("mlflow", "run", PROJECT, "-e", "train", *options, cwd=folder)
    wait_for(lambda: checkpoints(folder))
    (os.killpg if whole_group else os.kill)(process.pid, number)
    if not whole_group:  # `mlflow run` itself is gone then, and its command is asked to end like any other process
        training(process.pid, folder).send_signal(number)
    process.communicate(timeout=60)  # ends when the training has closed its output, too
    assert process.returncode != 0
    wait_for(lambda: only_run(folder).info.status != "RUNNING", 30)
    # When this fails, MLflow no longer writes FAILED over the KILLED of its command: say KILLED in docs/runs.md.
    assert only_run(folder).info.status == ("FAILED" if whole_group else "KILLED")
    assert only_run(folder).data.tags["reason"] == f"interrupted by {number.name}"


def training(mlflow_run_pid: int, folder: Path) -> psutil.Process:
    """The process of the command that `mlflow run` has called in `folder`, whatever its parent is by now."""
    return next(
        process
        for process in psutil.process_iter(["cmdline", "environ"])
        if "pipelines" in (process.info["cmdline"] or [])
        and (process.info["environ"] or {}).get("MLFLOW_TRACKING_URI", "").endswith(f"{folder}/mlflow.db")
    )


def test_a_full_disk_fails_the_run_with_the_reason_and_nothing_is_lost(
    folder: Path, small_dataset: Path, uninterrupted: mlflow.entities.Run
) -> None:
    disk, ballast = folder / "disk", folder / "disk" / "ballast"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small disk can be made by root alone")
    process = start(sys.executable, "-m", "pipelines", "train", *LONG, "--dataset", small_dataset, cwd=disk)
    try:
        wait_for(lambda: len(checkpoints(disk)) >= 2)
        with contextlib.suppress(OSError), ballast.open("wb") as file:
            while True:
                file.write(bytes(4096))
                file.flush()
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 1 and "Traceback" not in output
        ballast.unlink()
        left = only_run(disk)
        assert left.info.status in ("FAILED", "RUNNING")  # RUNNING where the store itself could not be written
        status, output = run(sys.executable, "-m", "pipelines", "resume", "--run", left.info.run_id, cwd=disk)
        assert status == 0, output
        resumed = resumed_run(client_of(disk), left.info.run_id)
        assert resumed.data.metrics["test_loss"] == uninterrupted.data.metrics["test_loss"]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_server_that_goes_away_gets_everything_later(empty_folder: Path, small_dataset: Path, uninterrupted) -> None:
    port, server = free_port(), ("server", "--backend-store-uri", f"sqlite:///{empty_folder}/store.db",
                                 "--artifacts-destination", str(empty_folder / "artifacts"))  # fmt: skip
    remote = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
    command = (sys.executable, "-m", "pipelines")
    with serving(empty_folder, *server, port=port):
        process = start(*command, "train", *LONG, "--dataset", small_dataset, cwd=empty_folder, **remote)
        wait_for(lambda: list(empty_folder.glob("artifacts/0/*/artifacts/checkpoints/*.npz")))
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 1 and "Traceback" not in output, output
    assert "The store takes nothing more" in output and "Send it: mlflow run . -e send" in output, output
    with serving(empty_folder, *server, port=port) as address:
        status, output = run(*command, "send", cwd=empty_folder, **remote)
        assert status == 0 and not (empty_folder / "unsent").exists(), output
        client = mlflow.MlflowClient(tracking_uri=address)
        (left,) = client.search_runs(["0"], "tags.kind = 'train'")
        assert left.info.status == "FAILED" and len(client.get_metric_history(left.info.run_id, "train_loss")) == EPOCHS
        status, output = run(*command, "resume", "--run", left.info.run_id, cwd=empty_folder, **remote)
        assert status == 0 and f"after epoch {EPOCHS}" in output, output
        resumed = resumed_run(client, left.info.run_id)
    assert resumed.data.metrics["test_loss"] == uninterrupted.data.metrics["test_loss"]


def test_it_behaves_the_same_with_a_remote_tracking_server(
    empty_folder: Path, tmp_path_factory, small_dataset: Path
) -> None:
    home = tmp_path_factory.mktemp("server")
    with serving(home, "server", "--backend-store-uri", f"sqlite:///{home}/store.db",
                 "--artifacts-destination", str(home / "artifacts")) as address:  # fmt: skip
        command, remote = (sys.executable, "-m", "pipelines"), {"MLFLOW_TRACKING_URI": address}
        process = start(*command, "train", *LONG, "--dataset", small_dataset, cwd=empty_folder, **remote)
        wait_for(lambda: list(home.glob("artifacts/0/*/artifacts/checkpoints/*.npz")))
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        client = mlflow.MlflowClient(tracking_uri=address)
        (left,) = client.search_runs(["0"])
        assert left.info.status == "KILLED"
        status, output = run(*command, "resume", "--run", left.info.run_id, cwd=empty_folder, **remote)
        assert status == 0 and f"Look     {address}/#/experiments/0/runs/" in output, output
        finished = resumed_run(client, left.info.run_id)
        assert finished.info.status == "FINISHED" and finished.outputs.model_outputs
        status, output = run(
            sys.executable, "-m", "pipelines", "evaluate", "--dataset", small_dataset, cwd=empty_folder, **remote
        )
        assert status == 0, output
        newest = client.search_runs(["0"], max_results=1)[0]
        assert newest.data.metrics["test_accuracy"] == finished.data.metrics["test_accuracy"]
    assert not list(empty_folder.iterdir()), "nothing is written beside a remote store"


def test_a_tracking_server_that_is_not_there_is_said_in_one_line(empty_folder: Path, small_dataset: Path) -> None:
    status, output = run(
        sys.executable, "-m", "pipelines", "train", "--dataset", small_dataset, cwd=empty_folder,
        MLFLOW_TRACKING_URI="http://127.0.0.1:9", MLFLOW_HTTP_REQUEST_MAX_RETRIES="0",
    )  # fmt: skip
    assert (
        status == 2 and "the tracking server http://127.0.0.1:9 does not answer" in output and "Traceback" not in output
    )


def test_a_command_that_is_interrupted_before_its_run_is_open_is_killed_with_the_reason(empty_folder: Path) -> None:
    process = start("mlflow", "run", PROJECT, "-e", "train", cwd=empty_folder)

    def command() -> psutil.Process | None:
        below = psutil.Process(process.pid).children(recursive=True)
        found = [child for child in below if child.name().startswith("python") and "pipelines" in child.cmdline()]
        return found[0] if found else None  # what it starts bears its name for a moment

    def handles_signals() -> bool:
        found = command()
        status = Path(f"/proc/{found.pid}/status").read_text() if found else "SigCgt:\t0\n"
        caught = int(status.partition("SigCgt:")[2].split()[0], 16)
        return bool(caught >> (signal.SIGTERM - 1) & 1)

    wait_for(handles_signals)  # It reads its words and imports then; opening the run comes seconds later.
    command().terminate()
    process.communicate(timeout=120)
    ended = only_run(empty_folder)
    assert (ended.info.status, ended.data.tags["reason"]) == ("FAILED", "interrupted by SIGTERM")


def test_an_import_that_is_broken_off_does_not_cost_the_reason(folder: Path) -> None:
    run_id = client_of(folder).create_run("0").info.run_id
    code = """
        import os, signal, sys
        from pipelines.__main__ import main
        class Interrupting:
            def find_spec(self, name, *_):
                if name == "numpy.linalg":
                    os.kill(os.getpid(), signal.SIGTERM)
        assert "numpy" not in sys.modules
        sys.meta_path.insert(0, Interrupting())
        main(["train"])"""
    status, output = run(sys.executable, "-c", textwrap.dedent(code), cwd=PROJECT, MLFLOW_RUN_ID=run_id,
                         MLFLOW_TRACKING_URI=f"sqlite:///{folder}/mlflow.db")  # fmt: skip
    assert (status, output.strip()) == (143, "train: interrupted by SIGTERM.")
    ended = only_run(folder)
    assert (ended.info.status, ended.data.tags["reason"]) == ("KILLED", "interrupted by SIGTERM")


@pytest.mark.thorough
def test_mlflow_run_searches_and_repeats_the_experiments(folder: Path, small_dataset: Path) -> None:
    data = f"dataset={small_dataset}"
    status, output = mlflow_run("optimize", data, cwd=folder)
    assert status != 0 and "run `mlflow run . -e train -P dataset=" in output and "Traceback" not in output
    status, output = mlflow_run("train", data, cwd=folder)
    assert status == 0, output
    short = ("steps=20", "snapshot_every=10", "num_images=2")
    status, output = mlflow_run("optimize", data, "targets=2+3,7", "l2_weight=1e-3", *short, cwd=folder)
    assert status == 0 and "| noise → 2+3 | 2 |" in output and "Warning" not in output, output
    status, output = mlflow_run("experiments", data, *short, cwd=folder)
    assert status == 0 and "6. Conversion of a real digit" in output, output
    names = {run.info.run_name: run for run in client_of(folder).search_runs(["0"])}
    assert names["optimize-2+3,7-from-noise"].data.params["l2_weight"] == "1e-3"
    parent = names["experiments"].info.run_id
    children = [run for run in names.values() if run.data.tags.get("mlflow.parentRunId") == parent]
    assert len(children) == 6 and all(run.info.status == "FINISHED" for run in children)
    for setting, message in (("targets=2+x", "'x' is not a class"), ("l2_weight=-1", "`l2_weight` must be a number")):
        status, output = mlflow_run("optimize", setting, cwd=folder)
        assert status != 0 and message in output and "Traceback" not in output


VISIBLE = """picture => {
    const inside = picture.getBoundingClientRect();
    if (!picture.complete || Math.min(picture.naturalHeight, inside.width, inside.height) < 200) return false;
    const within = (one, left, top, right, bottom) =>
        one.left >= left - 1 && one.top >= top - 1 && one.right <= right + 1 && one.bottom <= bottom + 1;
    for (let node = picture.parentElement; node; node = node.parentElement) {
        const style = getComputedStyle(node), outside = node.getBoundingClientRect();
        const clips = style.display !== "contents" && style.overflow !== "visible";
        if (clips && !within(inside, outside.left, outside.top, outside.right, outside.bottom)) return false;
    }
    return within(inside, 0, 0, innerWidth, innerHeight);
}"""
"""Whether a picture is loaded, at least 200 pixels large on the page, and cut off by nothing around it."""


def await_visible_picture(page: Any, picture: Any) -> str:
    """Scroll to a picture, wait until all of it is to be seen, and give its address."""
    from playwright.sync_api import Error

    def visible() -> bool:
        # The element goes and comes back as the next picture is loaded.
        with contextlib.suppress(Error):
            picture.scroll_into_view_if_needed(timeout=1000)
            return bool(picture.evaluate(VISIBLE, timeout=1000))
        return False

    wait_for(visible, 60)
    return str(picture.get_attribute("src"))


def test_a_person_sees_the_run_in_a_browser(folder: Path, small_dataset: Path) -> None:
    status, output = mlflow_run("train", f"dataset={small_dataset}", "epochs=3", "batch_size=64", cwd=folder)
    assert status == 0, output
    trained = only_run(folder)
    status, output = mlflow_run("optimize", f"dataset={small_dataset}", "steps=100", cwd=folder)
    assert status == 0, output
    (searched,) = client_of(folder).search_runs(["0"], "tags.kind = 'optimize'")
    pictures = pictures_folder(folder)
    with serving(folder, "ui") as address, browser_page() as page:
        page.goto(f"{address}/#/experiments/0/runs")
        page.get_by_text("train-compact-quick").first.wait_for(timeout=60_000)
        page.screenshot(path=pictures / "runs.png")
        page.goto(f"{address}/#/experiments/0/runs/{trained.info.run_id}")
        for text in ("What to look at", "test_accuracy", "learning_rate"):
            page.get_by_text(text).first.wait_for(timeout=60_000)
        page.screenshot(path=pictures / "run.png")
        page.goto(f"{address}/#/experiments/0/runs/{trained.info.run_id}/model-metrics")
        # Accuracy and loss come first, of training and of validation.
        titles = page.get_by_text(re.compile(r"^[a-z]+(_[a-z]+)+$"))
        titles.first.wait_for(timeout=60_000)
        page.screenshot(path=pictures / "first_metrics.png")
        assert titles.all_inner_texts()[:2] == ["accuracy_by_step", "accuracy_by_step_validation"]
        # Charts are drawn as they come into view, and that of train_loss is far down: ask for it.
        page.get_by_placeholder("Search metric charts").fill("train_loss", timeout=60_000)
        page.get_by_text("train-compact-quick (train_loss)").first.wait_for(timeout=20_000)
        # The legend stands there before the curve does.
        page.locator(".js-plotly-plot .scatterlayer path").first.wait_for(state="attached", timeout=60_000)
        page.screenshot(path=pictures / "metrics.png")
        page.goto(f"{address}/#/experiments/0/runs/{trained.info.run_id}/artifacts")
        page.get_by_text("figures").first.click(timeout=60_000)
        page.get_by_text("learning_curves.png").first.click(timeout=60_000)
        assert width_of_shown_artifact(page) > 500
        page.screenshot(path=pictures / "artifacts.png")
        page.goto(f"{address}/#/experiments/0/runs/{searched.info.run_id}/model-metrics")
        # The timeline: a picture, and below it a slider over the steps.
        shown = page.locator("img.rc-image-img").first
        shown.wait_for(timeout=60_000)
        assert "noise%20to%200%2Bstep%2B0%2B" in await_visible_picture(page, shown)
        before = shown.screenshot(path=pictures / "timeline_picture_start.png")
        page.screenshot(path=pictures / "timeline_start.png")
        thumb = page.get_by_role("slider").first
        thumb.hover()
        page.mouse.down()
        page.mouse.move(page.viewport_size["width"], thumb.bounding_box()["y"], steps=10)
        page.mouse.up()
        page.locator("img.rc-image-img[src*='noise%20to%200%2Bstep%2B100%2B']").wait_for(timeout=60_000)
        await_visible_picture(page, shown)
        assert shown.screenshot(path=pictures / "timeline_picture_end.png") != before
        page.screenshot(path=pictures / "timeline.png")
