"""`mlflow run .` as a newcomer types it, and what it leaves: page, UI, registry, server, gallery."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import mlflow
import numpy as np
import psutil
import pytest
from commands import (
    browser_page,
    client_of,
    environment,
    mlflow_run,
    pictures_folder,
    run,
    serving,
    start,
    wait_for,
    width_of_shown_artifact,
)
from conftest import PROJECT
from PIL import Image

from mnist_cnn.reporting import reproduction_page
from mnist_cnn.reporting.reproduction_page import StepResult
from mnist_cnn.settings import ReproduceSettings
from mnist_cnn.tracking import heartbeat, reading
from pipelines.__main__ import call
from pipelines.reproduction import read_reproduction

pytestmark = pytest.mark.slow

STEPS = [
    "An ordinary network",
    "A readable network",
    "Two panels of judges",
    "The six experiments",
    "The six experiments on the readable network",
    "A sweep on the ordinary network",
    "A sweep on the readable network",
    "The sweeps side by side",
    "Are the images readable?",
    "A version of the readable network",
]
NAMES = [
    "ordinary",
    "readable",
    "judges",
    "experiments",
    "experiments_readable",
    "sweep_ordinary",
    "sweep_readable",
    "compare",
    "ablation",
    "register",
]
SMOKE = "models:/mnist-cnn-smoke@champion"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which everything was done once, in small."""
    folder = tmp_path_factory.mktemp("reproduction")
    status, output = mlflow_run("main", "scale=smoke", cwd=folder)
    (folder / "output.txt").write_text(output)
    assert status == 0, output
    return folder


def reproduction_of(folder: Path) -> mlflow.entities.Run:
    return client_of(folder).search_runs(["0"], "tags.kind = 'reproduce'", max_results=1)[0]


def runs_of_steps(whole: mlflow.entities.Run) -> list[str]:
    table = reading.read_json(whole.info.run_id, "steps.json")
    return [row[table["columns"].index("run_id")] for row in table["data"]]


def test_every_step_is_a_run_below_and_is_told_with_the_time(home: Path) -> None:
    printed = (home / "output.txt").read_text()
    assert "Traceback" not in printed and "Warning" not in printed
    for number, title in enumerate(STEPS, 1):
        head = rf"^\[{number}/10\] {re.escape(title)}"
        assert re.search(rf"{head} · .+ gone, about .+ to go$", printed, re.MULTILINE), title
        assert re.search(rf"{head}: done in ", printed, re.MULTILINE), title
    whole = reproduction_of(home)
    assert (whole.info.run_name, whole.info.status) == ("reproduce-smoke", "FINISHED")
    below = client_of(home).search_runs(["0"], f"tags.`mlflow.parentRunId` = '{whole.info.run_id}'")
    kinds = sorted(run.data.tags["kind"] for run in below)
    assert kinds == sorted(
        ["train", "train", "judges", "experiments", "experiments", "sweep", "sweep", "compare", "ablation", "register"]
    )
    assert all(run.info.status == "FINISHED" for run in below)


def test_a_second_call_does_again_only_what_asks_the_registry(home: Path) -> None:
    known = {run.info.run_id for run in client_of(home).search_runs(["0"])}
    status, output = mlflow_run("main", "scale=smoke", cwd=home)
    assert status == 0, output
    assert output.count("up to date: the run") == 9
    made = [run for run in client_of(home).search_runs(["0"]) if run.info.run_id not in known]
    assert sorted(run.data.tags["kind"] for run in made) == ["register", "reproduce"]
    assert len(client_of(home).search_model_versions("name = 'mnist-cnn-smoke'")) == 1


def in_the_middle(process: subprocess.Popen[str], home: Path) -> psutil.Process:
    """The one process that does everything, once the ablation is being made."""
    wait_for(lambda: client_of(home).search_runs(["0"], "tags.kind = 'ablation' AND attributes.status = 'RUNNING'"))

    found: list[psutil.Process] = []

    def has_one() -> bool:
        with suppress(psutil.NoSuchProcess):
            family = psutil.Process(process.pid).children(recursive=True)
            found[:] = [it for it in family if it.name().startswith("python") and "pipelines" in it.cmdline()]
        return len(found) == 1

    # A program that it starts, such as git, is named as it is for a moment.
    wait_for(has_one)
    (whole,) = found
    wait_for(lambda: not [child for child in whole.children() if child.name().startswith("python")])
    return whole


def test_it_is_interrupted_or_killed_and_the_same_command_continues(home: Path) -> None:
    client = client_of(home)
    (ablation,) = client.search_runs(["0"], "tags.kind = 'ablation'")
    client.delete_run(ablation.info.run_id)
    for number in (signal.SIGINT, signal.SIGKILL):
        process = start("mlflow", "run", PROJECT, "-P", "scale=smoke", cwd=home)
        whole = in_the_middle(process, home)
        asked = time.monotonic()
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal sends Ctrl-C
        else:
            whole.kill()
        output, _ = process.communicate(timeout=60)
        assert time.monotonic() - asked < 30 and process.returncode != 0 and "Traceback" not in output, output
        broken_off = client.search_runs(["0"], "tags.kind = 'ablation'")[0]
        if number == signal.SIGINT:
            assert (broken_off.info.status, broken_off.data.tags["reason"]) == ("KILLED", "interrupted by SIGINT")
        else:
            assert broken_off.info.status == "RUNNING"  # until the next command, which sees that the run above ended
    silent = heartbeat.SECONDS_UNTIL_DEAD + 1

    def beat() -> float:
        return float(client.get_run(broken_off.data.tags["heartbeat_of"]).data.tags["heartbeat"])

    wait_for(lambda: time.time() - beat() > silent)
    status, output = mlflow_run("main", "scale=smoke", cwd=home)
    assert status == 0 and output.count("up to date: the run") == 8, output
    assert re.search(rf"^\[9/10\] {re.escape(STEPS[8])}: done in ", output, re.MULTILINE)
    assert not client.search_runs(["0"], "attributes.status = 'RUNNING'")
    states = [run.info.status for run in client.search_runs(["0"], "tags.kind = 'reproduce'", max_results=3)]
    assert states == ["FINISHED", "FAILED", "FAILED"]  # what was interrupted `mlflow run` calls a failure


@pytest.mark.thorough
def test_it_continues_on_a_tracking_server(home: Path, tmp_path: Path) -> None:
    with serving(home, "server", "--backend-store-uri", f"sqlite:///{home}/mlflow.db",
                 "--artifacts-destination", str(home / "mlruns")) as address:  # fmt: skip
        words = (sys.executable, "-m", "pipelines", "reproduce", "--scale=smoke")
        status, output = run(*words, cwd=tmp_path, MLFLOW_TRACKING_URI=address)
        assert status == 0 and output.count("up to date: the run") == 9, output
        assert f"Look     {address}/#/experiments/0/runs/" in output
        client = mlflow.MlflowClient(tracking_uri=address)
        assert len(client.search_model_versions("name = 'mnist-cnn-smoke'")) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert "Are the images readable?" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    "absent",
    [
        ("ablation",),
        ("sweep_ordinary", "compare"),
        ("ordinary", "experiments", "sweep_ordinary", "compare", "ablation"),
        ("readable", "experiments_readable", "sweep_readable", "compare", "ablation", "register"),
        tuple(NAMES[2:]),
        tuple(NAMES),
    ],
)
def test_what_is_missing_is_named_on_the_page_and_the_rest_is_there(
    absent: tuple[str, ...], home: Path, client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    mlflow.set_tracking_uri(None)
    whole = reproduction_of(home)
    steps = {
        name: StepResult(name, title, "failed", reason=f"{name} has no luck")
        if name in absent
        else StepResult(name, title, "done", 1.0, run_id)
        for name, title, run_id in zip(NAMES, STEPS, runs_of_steps(whole), strict=True)
    }
    page = reproduction_page.page(read_reproduction(ReproduceSettings(scale="smoke"), whole.info.run_id, steps))
    for name in absent:
        assert f"{name} has no luck" in page
    shown = {
        "experiments": "The ordinary network, the report&#39;s settings.",
        "experiments_readable": "The readable network, its own settings.",
        "register": "mnist-cnn-smoke, version 1",
        "ablation": "The first search for each class",
    }
    for name, words in shown.items():
        assert (words in page) == (name not in absent), name
    assert ("Beside the reference report" in page) == (not {"ordinary", "readable"} <= set(absent))
    assert ('id="play-network"' in page) == ("readable" not in absent)
    assert page.count("<h2>") == 8 and page.count("failed") >= len(absent)


def test_the_page_needs_no_network_and_fits_screen_phone_and_paper(home: Path) -> None:
    pictures = pictures_folder(home)
    address = (home / "report.html").resolve().as_uri()
    asked: list[str] = []
    with browser_page() as page:
        page.on("request", lambda request: asked.append(request.url))
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(address)
        for title in ("Are the images readable?", "Play with it", "Training", "The six experiments",
                      "What regularisation does", "What each ingredient adds", "The registered version",
                      "How it was made"):  # fmt: skip
            page.get_by_role("heading", name=title, exact=True).wait_for()
        assert page.locator(".missing:visible").count() == 1  # that it is the smoke
        page.screenshot(path=pictures / "page_light.png", full_page=True)
        # A film plays from its start to its end.
        player = page.locator(".player").nth(3)
        shown, slider = player.locator(".pixels").first, player.locator("input")
        end = shown.screenshot()
        slider.fill("0")
        assert shown.screenshot() != end and "step 0 of 50" in player.locator("output").inner_text()
        player.get_by_role("button", name="Play").click()
        wait_for(lambda: "step 50 of 50" in player.locator("output").inner_text(), 20)
        wait_for(lambda: player.get_by_role("button", name="Play").count() == 1, 20)
        assert shown.screenshot() == end
        colours = {}
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            colours[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert colours["light"] == "rgb(255, 255, 255)" != colours["dark"]
        page.screenshot(path=pictures / "page_dark.png", full_page=True)
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") == 390, "nothing sticks out on a phone"
        page.screenshot(path=pictures / "page_phone.png", full_page=True)
        page.emulate_media(media="print")
        assert not page.locator(".controls").first.is_visible()
        assert len(page.pdf(format="A4")) > 100_000
        assert not faults
    assert {url for url in asked if not url.startswith(("data:", "blob:"))} == {address}


def test_a_stranger_finds_the_way_in_the_ui(home: Path) -> None:
    client, pictures = client_of(home), pictures_folder(home)
    whole = reproduction_of(home)
    first = client.search_runs(["0"], "tags.kind = 'reproduce'", order_by=["attributes.start_time ASC"], max_results=1)[
        0
    ]
    parts = client.search_runs(["0"], f"tags.`mlflow.parentRunId` = '{first.info.run_id}'")
    experiments = next(run for run in parts if run.data.tags["kind"] == "experiments")
    single = client.search_runs(["0"], f"tags.`mlflow.parentRunId` = '{experiments.info.run_id}'", max_results=1)[0]
    for found in client.search_runs(["0"]):
        assert found.data.tags.get("mlflow.note.content"), f"{found.info.run_name} has no description"
        assert not re.fullmatch(r"[a-z]+-[a-z]+-\d+", found.info.run_name)
    with serving(home, "ui") as address, browser_page() as page:
        page.goto(f"{address}/#/experiments/0/runs")
        # The tree: the steps stand below the run of the whole.
        page.get_by_text("reproduce-smoke").first.wait_for(timeout=60_000)
        row = page.get_by_text("reproduce-smoke").last  # the first call, which did all steps: the newest stand on top
        row.locator("xpath=ancestor::*[@role='gridcell'][1]").locator("button").first.click(timeout=60_000)
        for text in ("train-smooth-readable", "experiments", "register-mnist-cnn-smoke"):
            page.get_by_text(text).first.wait_for(timeout=60_000)
        page.screenshot(path=pictures / "reproduction_runs.png")
        # Columns worth sorting by are one click away, in the experiment's description.
        with page.expect_popup() as opened:
            page.get_by_role("link", name="Show scores as columns").click(timeout=60_000)
        with opened.value as scores:
            for column in ("test_accuracy", "recognised_rate", "l2_weight", "kind"):
                scores.get_by_role("columnheader", name=column).first.wait_for(timeout=60_000)
            scores.screenshot(path=pictures / "reproduction_scores.png")
        page.goto(f"{address}/#/experiments/0/runs/{whole.info.run_id}")
        page.get_by_text("What to look at").first.wait_for(timeout=60_000)
        page.screenshot(path=pictures / "reproduction_run.png")
        page.goto(f"{address}/#/experiments/0/runs/{whole.info.run_id}/artifacts/report.html")
        page.frame_locator("iframe").first.get_by_text("Are the images readable?").first.wait_for(timeout=60_000)
        page.screenshot(path=pictures / "reproduction_report.png")
        for path, run_id in (
            ("animation.gif", single.info.run_id),
            ("figures/film_strip.png", single.info.run_id),
            ("figures/experiment_4.png", experiments.info.run_id),
        ):
            page.goto(f"{address}/#/experiments/0/runs/{run_id}/artifacts/{path}")
            assert width_of_shown_artifact(page) > 100, path
        page.screenshot(path=pictures / "reproduction_strip.png")
        page.goto(f"{address}/#/models/mnist-cnn-smoke")
        for text in ("champion", "challenger", "Version 1"):
            page.get_by_text(text).first.wait_for(timeout=60_000)
        page.screenshot(path=pictures / "registry.png")
        page.goto(f"{address}/#/models/mnist-cnn-smoke/versions/1")
        for text in ("champion", "recognised_rate", "test_robust_accuracy", "becomes the champion"):
            page.get_by_text(text).first.wait_for(timeout=60_000)
        page.screenshot(path=pictures / "registry_version.png")
    assert "What to look at" not in client.get_experiment("0").tags["mlflow.note.content"]
    assert "test_accuracy" in client.get_experiment("0").tags["mlflow.note.content"]


def documented(start: str) -> str:
    """The first line of the commands in docs/registry.md that begins so."""
    page = (PROJECT / "docs" / "registry.md").read_text()
    return next(line for line in page.splitlines() if line.startswith(start))


@pytest.fixture(scope="module")
def champion(home: Path) -> Path:
    """The readable network of the reproduction as mnist-cnn's champion."""
    status, output = run(
        sys.executable, "-m", "pipelines", "register", "--model", SMOKE, "--dataset", "mnist:1200", "--attacked", "0",
        "--num_images", "0", cwd=home,
    )  # fmt: skip
    assert status == 0 and "champion: version 1" in output, output
    return home


def test_the_champion_answers_over_http_and_says_what_is_wrong(champion: Path) -> None:
    words = shlex.split(documented("mlflow models serve"))
    assert words[:2] == ["mlflow", "models"] and words[-2] == "--port"
    make, curl = documented("python -c"), documented("curl")
    subprocess.run(make, shell=True, cwd=champion, env=environment(), check=True)
    with serving(champion, *words[1:-2]) as address:
        command = curl.replace(f"http://127.0.0.1:{words[-1]}", address)
        assert command != curl
        answered = subprocess.run(
            command, shell=True, cwd=champion, env=environment(), check=True, capture_output=True, text=True
        ).stdout
        ((*probabilities,),) = json.loads(answered)["predictions"]
        assert len(probabilities) == 10 and sum(probabilities) == pytest.approx(1, abs=1e-5)
        digit = json.loads((champion / "digit.json").read_text())["inputs"]
        wrong = [
            {"inputs": [[row[:27] for row in digit[0]]]},
            {"inputs": [[[pixel[0] for pixel in row] for row in digit[0]]]},
            {"inputs": [[[["white"]] * 28] * 28]},
            {"inputs": []},
            {"images": digit},
            "not JSON",
        ]
        for body in wrong:
            sent = body if isinstance(body, str) else json.dumps(body)
            request = urllib.request.Request(
                f"{address}/invocations", sent.encode(), {"Content-Type": "application/json"}
            )
            with pytest.raises(urllib.error.HTTPError) as refusal:
                urllib.request.urlopen(request, timeout=60)
            assert 400 <= refusal.value.code < 500
            assert len(json.loads(refusal.value.read())["message"]) > 20
            refusal.value.close()


def test_the_gallery_uses_the_library_alone(champion: Path, tmp_path: Path) -> None:
    script = PROJECT / "examples" / "gallery.py"
    assert len(script.read_text().splitlines()) <= 60
    status, output = run(sys.executable, script, cwd=tmp_path)
    assert status == 1 and "there is no models:/mnist-cnn@champion" in output and "Traceback" not in output
    status, output = run(sys.executable, script, "models:/mnist-cnn@champion", "mnist:1200", cwd=champion)
    assert status == 0 and re.search(r"a 7 from noise: \d+% recognised", output), output
    assert re.search(r"a 5 turned into a 9: \d+% recognised", output) and "Warning" not in output
    sheet = np.asarray(Image.open(champion / "gallery.png"))
    assert sheet.shape[0] == 1120 and sheet.shape[1] % 112 == 0 and sheet.std() > 10


@pytest.mark.filterwarnings("ignore:no search has reached its target")  # the readable network has learnt little here
@pytest.mark.thorough
def test_every_step_and_the_whole_can_be_done_again_to_the_last_bit(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(home)
    mlflow.set_tracking_uri(None)
    whole = reproduction_of(home)
    for run_id in runs_of_steps(whole):
        call("again", ["--run", run_id])
        printed = capsys.readouterr().out
        assert "equal to the last bit.\n" in printed and "the others are not" not in printed, printed
    call("again", ["--run", whole.info.run_id])
    table = reading.read_json(reproduction_of(home).info.run_id, "again.json")
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    both = [row for row in rows if None not in (row["then"], row["now"])]
    assert len(both) > 200
    # The registry has a champion by now, and the same network anew is no better than that.
    assert {row["metric"] for row in both if not row["is_equal"]} == {"promotion/passed"}
