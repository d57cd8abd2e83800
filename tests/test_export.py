"""`export`: the store as a static site, complete, safe to open, and never over other files."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pytest

from mnist_cnn.settings import SettingError, TrainSettings
from mnist_cnn.tracking import runs
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
    assert re.search(r"large\.bin <span class=\"quiet\">not copied", one) and "../" + rows["below"]["run_id"] in one
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
