"""`export`: the store as a static site, complete, safe to open, and never over other files."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pytest
from commands import browser_page, pictures_folder
from markupsafe import escape

from mnist_cnn.settings import SettingError, TrainSettings
from mnist_cnn.tracking import frames, reading, runs
from pipelines.__main__ import call

NAME = "</script><script>document.title='taken'</script> <b>x</b>"


@pytest.fixture
def home(client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fresh_store: Callable[[Path], Path]) -> Path:
    """A folder with a store of its own: a run, one below it, and a deleted one."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(fresh_store(tmp_path))
    mlflow.set_tracking_uri(None)
    with runs.tracked_run("train", name=NAME) as run:
        run.log_settings(TrainSettings(epochs=3), {})
        for step in range(3):
            run.log_metrics({"train_loss": 1 / (step + 1), "odd": float("nan")}, step)
        run.log_bytes(b"\x89PNG", "figures/curves 1 & 2.png")
        run.log_bytes(bytes(2_000_000), "large.bin")
        run.describe(f"# Note {NAME}")
        with runs.tracked_run("trial", name="below"):
            pass
    with runs.tracked_run("sweep", name="<i>L2</i>") as run:
        run.set_tags({"goals": "merit"})
        run.log_metrics({"best_merit": 0.25, "trials_complete": 4})
        run.log_text("charts", "sweep.html")
    deleted = mlflow.MlflowClient().create_run("0", run_name="deleted one")
    mlflow.MlflowClient().delete_run(deleted.info.run_id)
    return tmp_path


def data_of(page: str) -> list[dict]:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_a_site_has_every_run_with_its_files(home: Path, capsys) -> None:
    call("export", ["--to", "site", "--largest_file", "1"])
    page = (home / "site" / "index.html").read_text()
    rows = {row["name"]: row for row in data_of(page)}
    assert rows.keys() == {NAME, "below", "<i>L2</i>"}
    own = rows[NAME]
    assert own["params"]["epochs"] == "3" and own["metrics"]["odd"] is None
    assert rows["below"]["parent"] == own["run_id"]
    sweep = rows["<i>L2</i>"]["run_id"]
    assert re.search(rf'<a href="runs/{sweep}/index.html">&lt;i&gt;L2&lt;/i&gt;</a>.*?merit.*?0\.25', page, re.DOTALL)
    page_of_sweep = (home / "site" / "runs" / sweep / "index.html").read_text()
    assert '<a href="files/sweep.html">Open sweep.html</a>' in page_of_sweep
    assert "taken'</script>" not in page and "<b>x</b>" not in page
    folder = home / "site" / "runs" / own["run_id"]
    assert (folder / "files" / "figures" / "curves 1 & 2.png").read_bytes() == b"\x89PNG"
    assert not (folder / "files" / "large.bin").exists()
    one = (folder / "index.html").read_text()
    assert "taken'</script>" not in one and 'src="files/figures/curves%201%20%26%202.png"' in one
    assert (
        re.search(r"large\.bin <span class=\"quiet\">not copied: larger than 1 MB<", one)
        and "../" + rows["below"]["run_id"] in one
    )
    assert json.loads(re.search(r'id="points">(.*?)</script>', one)[1])["train_loss"] == [
        [0, 1.0],
        [1, 0.5],
        [2, 1 / 3],
    ]
    assert f"Page     {(home / 'site' / 'index.html').as_uri()}" in capsys.readouterr().out
    for file in (home / "site").rglob("*.html"):
        assert not re.search(r'(src|href)="(https?:)?//', file.read_text())


def test_the_next_export_replaces_an_export_and_nothing_else(home: Path) -> None:
    call("export", ["--to", "site"])
    (home / "site" / "runs" / "stale.html").write_text("old")
    (home / "site" / "CNAME").write_text("where it is published")
    (home / "link").symlink_to("site")
    call("export", ["--to", "link"])
    (home / "link").unlink()
    assert not (home / "site" / "runs" / "stale.html").exists() and (home / "site" / "index.html").exists()
    assert (home / "site" / "CNAME").read_text() == "where it is published"
    (home / "mine").mkdir()
    (home / "mine" / "thesis.txt").write_text("years of work")
    for word, why in (
        ("mine", "holds other things"), ("mlflow.db", "holds other things"), ("a/b/c", "does not exist; make it first"),
    ):  # fmt: skip
        with pytest.raises(SettingError, match=f"`to`: .*{why}"):
            call("export", ["--to", word])
    assert (home / "mine" / "thesis.txt").read_text() == "years of work"
    assert {path.name for path in home.iterdir()} <= {"site", "mine", "mlflow.db", "mlruns", ".mnist_cnn.lock"}


def test_every_version_of_every_model_is_exported_whatever_its_name(home: Path) -> None:
    client = mlflow.MlflowClient()
    for name in ["a student's <b>", *(f"m{number}" for number in range(101))]:
        client.create_registered_model(name)
        client.create_model_version(name, "file:///nowhere")
    call("export", ["--to", "site"])
    page = (home / "site" / "index.html").read_text()
    assert "a student&#39;s &lt;b&gt;" in page and all(f">m{number}<" in page for number in range(101))


def test_experiments_are_chosen_by_name(home: Path) -> None:
    mlflow.create_experiment("other, with comma")
    mlflow.create_experiment("mine")
    with pytest.raises(SettingError, match="`experiments` must be names of experiments; got 'theirs'. There are: "):
        call("export", ["--to", "site", "--experiments", "theirs"])
    call("export", ["--to", "site", "--experiments", "mine"])
    assert data_of((home / "site" / "index.html").read_text()) == []
    call("export", ["--to", "site", "--experiments", "other, with comma,Default"])
    found = data_of((home / "site" / "index.html").read_text())
    assert [run["kind"] for run in found] == ["export", "sweep", "trial", "train"]
    page = (home / "site" / "runs" / found[-1]["run_id"] / "index.html").read_text()
    assert f"train · FINISHED · Default · {found[-1]['run_id']}" in page
    assert found[-1]["made_by"].keys() >= {"git.uncommitted_changes", "mlflow.source.git.commit"}
    assert "reason" not in found[-1]["made_by"]


def test_a_run_whose_files_are_gone_says_so(home: Path) -> None:
    with runs.tracked_run("train") as run:
        run.log_settings(TrainSettings(), {})
    shutil.rmtree(Path(mlflow.get_run(run.run_id).info.artifact_uri.removeprefix("file://")))
    call("export", ["--to", "site"])
    page = (home / "site" / "runs" / run.run_id / "index.html").read_text()
    assert 'all files <span class="quiet">not copied: none is there</span>' in page
    with pytest.raises(SettingError, match="`run`: the files of .* cannot be read; settings.json says what it did"):
        call("again", ["--run", run.run_id])


def test_no_password_leaves_the_store(home: Path, capsys) -> None:
    client, address = mlflow.MlflowClient(), "postgresql://u:{}@host/x"
    for word in ("SECRETPW", "OTHERPW"):
        run = client.create_run("0", tags={"kind": "sweep", "reason": f"Failed: {address.format(word)}"})
        for name in ("storage", "not known"):
            client.log_param(run.info.run_id, name, f"'{address.format(word)}'")
        client.set_tag(run.info.run_id, "mlflow.note.content", f"of `{address.format(word)}`\n\nand more")
        client.set_terminated(run.info.run_id)
    call("export", ["--to", "site"])
    exported = "".join(file.read_text() for file in (home / "site").rglob("*.html"))
    call("diff", ["--runs", ",".join(run.info.run_id for run in client.search_runs(["0"], "tags.kind = 'sweep'")[:2])])
    compared = reading.read_bytes(client.search_runs(["0"], max_results=1)[0].info.run_id, "diff.html").decode()
    table = frames.runs("sweep").to_csv()
    for shown in (exported, compared, capsys.readouterr().out, table):
        assert "SECRETPW" not in shown and "OTHERPW" not in shown
    assert exported.count("postgresql://u@host/x") >= 8 and "u@host" in table


def test_a_run_below_a_deleted_one_stands_by_itself(home: Path) -> None:
    client = mlflow.MlflowClient()
    (above,) = client.search_runs(["0"], "tags.kind = 'train'")
    client.delete_run(above.info.run_id)
    call("export", ["--to", "site"])
    rows = {row["name"]: row for row in data_of((home / "site" / "index.html").read_text())}
    assert rows.keys() == {"below", "<i>L2</i>"} and rows["below"]["parent"] == ""


def test_figures_are_shown_and_the_timeline_is_a_list_of_files(home: Path) -> None:
    client = mlflow.MlflowClient()
    with runs.tracked_run("optimize", name="search") as run:
        run.log_bytes(b"\x89PNG", "figures/finals.png")
        for step in range(3):
            run.log_image(np.zeros((28, 28), np.uint8), "7", step)
        run.describe(
            "of class &lt;b&gt; <i>seven</i>, **bold** ![x](https://example.org/x.png) [y](javascript:alert(1))\n\n"
            "| a | b |\n| --- | --- |\n| 1 | <script>2</script> |"
        )
    names = [file.path for file in client.list_artifacts(run.run_id, "images")]
    call("export", ["--to", "site"])
    page = (home / "site" / "runs" / run.run_id / "index.html").read_text()
    assert '<div class="note"><p>of class &lt;b&gt; &lt;i&gt;seven&lt;/i&gt;, <strong>bold</strong>' in page
    assert "<td>1</td>" in page and "<td>&lt;script&gt;2&lt;/script&gt;</td>" in page
    assert 'src="http' not in page and 'href="javascript' not in page
    assert re.findall(r'<img [^>]*src="([^"]*)"', page) == ["files/figures/finals.png"]
    assert f"{len(names)} files of the timeline</summary>" in page and len(names) >= 3
    for name in names:
        assert page.count(f">{name}</a>") == 1 and (home / "site" / "runs" / run.run_id / "files" / name).exists()


def test_files_that_cannot_be_reached_are_named_with_the_reason(home: Path, capsys) -> None:
    client = mlflow.MlflowClient()
    elsewhere = client.create_experiment("elsewhere", artifact_location="s3://bucket/x")
    lost = [client.create_run(elsewhere, run_name=name).info.run_id for name in "ab"]
    with pytest.raises(ImportError, match="No module named '[a-z0-9]+'$") as caught:
        client.list_artifacts(lost[0])
    call("export", ["--to", "site"])
    assert f"the pages of their runs say why, for example: {caught.value}\n" in capsys.readouterr().out
    page = (home / "site" / "runs" / lost[0] / "index.html").read_text()
    assert f'all files <span class="quiet">not copied: {escape(str(caught.value))}</span>' in page
    mlflow.set_experiment("Default")
    call("diff", ["--runs", ",".join(lost)])
    said = capsys.readouterr().out
    for letter in "AB":
        assert f"\n{letter}: its files cannot be read ({caught.value}), so no picture of it is shown.\n" in said
    compared = client.search_runs(["0"], "tags.kind = 'diff'")[0].info.run_id
    assert (reading.read_bytes(compared, "diff.html") or b"").count(b"cannot be read (No module named") == 2


@pytest.mark.slow
def test_nothing_sticks_out_of_the_page_of_a_run(home: Path, tmp_path: Path) -> None:
    long = "training_recognised_share_of_a_very_long_name/readable/tuned_L2/noisy_digit_high"
    with runs.tracked_run("optimize", name="n" * 100) as run:
        run.log_params({"dataset": f"/home/somebody/{'folder/' * 20}my.npz", "learning_rate": "0.001"})
        run.log_metrics({long: 0.123456, "recognised_rate": 0.5})
        run.log_bytes(bytes(3), f"figures/{long.replace('/', '_')}_of_{'x' * 60}.txt")
        run.log_bytes(bytes(3_000_000), f"{'y' * 120}.bin")
        run.log_image(np.zeros((28, 28), np.uint8), "z" * 80, 0)
        names = [f"a heading of column {number}" for number in range(20)]
        run.describe("\n".join(f"| {' | '.join(line)} |" for line in (names, ["---"] * 20, ["0.5"] * 20)))
    mlflow.create_experiment("another")
    mlflow.MlflowClient().create_run(mlflow.get_experiment_by_name("another").experiment_id, tags={"kind": "train"})
    call("export", ["--to", "site", "--largest_file", "2"])
    with browser_page() as page:
        for width in (1200, 390):
            page.set_viewport_size({"width": width, "height": 1600})
            page.goto((home / "site" / "runs" / run.run_id / "index.html").as_uri())
            page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
            page.screenshot(path=pictures_folder(tmp_path) / f"exported_run_{width}.png", full_page=True)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            hidden = "[...document.querySelectorAll('.wide')].filter((each) => each.scrollWidth > each.clientWidth)"
            lines = page.locator("td[data-value='0.123456']").evaluate(
                "(each) => { const area = document.createRange(); area.selectNodeContents(each);"
                " return area.getClientRects().length; }"
            )
            assert lines == 1, "a number stands on one line"
            assert page.evaluate(f"{hidden}.map((each) => each.innerText)") == []
            page.goto((home / "site" / "index.html").as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert "another" in page.locator("#runs").inner_text()
            for number in (0, 1):
                page.get_by_role("checkbox", name=re.compile("^compare ")).nth(number).check()
            page.screenshot(path=pictures_folder(tmp_path) / f"exported_runs_{width}.png", full_page=True)
            assert "mlflow.source.git.commit" in page.locator("#compared").inner_text()


@pytest.mark.slow
@pytest.mark.alone
def test_runs_take_less_than_a_minute_for_each_thousand(home: Path) -> None:
    client = mlflow.MlflowClient()
    for number in range(250):
        run = client.create_run("0", run_name=f"run {number}", tags={"kind": "trial"})
        metrics = [mlflow.entities.Metric(name, np.sin(step), 0, step) for name in "abcdef" for step in range(20)]
        client.log_batch(run.info.run_id, metrics=metrics)
        client.log_text(run.info.run_id, "text", "note.txt")
        client.set_terminated(run.info.run_id)
    began = time.monotonic()
    call("export", ["--to", "site"])
    assert time.monotonic() - began < 60 / 4
    assert len(data_of((home / "site" / "index.html").read_text())) == 253
