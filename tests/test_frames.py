"""`mnist_cnn.runs`: runs as a DataFrame."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import PROJECT

import mnist_cnn
from mnist_cnn.reporting.formats import finite
from mnist_cnn.settings import (
    ENTRY_POINTS,
    ExperimentsSettings,
    SeedsSettings,
    SettingError,
    Settings,
    SweepSettings,
    SweepTrainingSettings,
    TrainSettings,
)
from mnist_cnn.tracking import runs
from mnist_cnn.tracking.frames import MADE_AS
from mnist_cnn.tracking.heartbeat import ENTRY_POINT_TAG
from mnist_cnn.tracking.models import LoggedModel
from pipelines.__main__ import _wants_json, call
from pipelines.predict import PredictResult


def test_runs_have_typed_settings_and_last_numbers(client, store: Path) -> None:
    started = []
    for epochs, rate in ((1, 0.02), (3, 0.5)):
        with runs.tracked_run("train", name=f"<b>{epochs}</b>") as run:
            run.log_settings(TrainSettings(epochs=epochs, learning_rate=rate, recalibrate=epochs == 1), {})
            run.log_metrics({"test_accuracy": 0.5}, 1)
            run.log_metrics({"test_accuracy": 0.25 * epochs}, 2)
            started.append(run.run_id)
    with runs.tracked_run("sweep", name="mine") as run:
        run.log_settings(SweepSettings(), {})
    frame = mnist_cnn.runs(kind="train").set_index("run_id").loc[started]
    assert frame["name"].tolist() == ["<b>1</b>", "<b>3</b>"] and frame["status"].unique() == ["FINISHED"]
    assert frame["params.epochs"].tolist() == [1, 3] and str(frame["params.epochs"].dtype) == "Int64"
    assert frame["params.learning_rate"].tolist() == [0.02, 0.5]
    assert str(frame["params.weight_decay"].dtype) == str(frame["params.dropout"].dtype) == "Float64"  # whole so far
    assert frame["params.recalibrate"].tolist() == [True, False]
    assert frame["metrics.test_accuracy"].tolist() == [0.25, 0.75]
    assert str(frame["started"].dtype).startswith("datetime64") and (frame["seconds"] >= 0).all()
    sweep = mnist_cnn.runs(kind="sweep").to_dict("records")[0]
    assert sweep["run_id"] == run.run_id
    assert sweep["params.l2_weight"] == "1e-05..0.1:log" and sweep["params.n_trials"] == 30
    everything = mnist_cnn.runs(experiment="Default")
    assert {*started} < {*everything["run_id"]} and everything["started"].is_monotonic_decreasing


def test_settings_of_every_kind_are_typed(client) -> None:
    def row(kind: str, settings: Settings, **tags: str) -> dict[str, Any]:
        with runs.tracked_run(kind) as run:
            run.log_settings(settings, {})
            run.set_tags(tags)
        return next(row for row in mnist_cnn.runs(kind=kind).to_dict("records") if row["run_id"] == run.run_id)

    several = row("seeds", SeedsSettings(seeds=2, epochs=3, dropout=0.25, recalibrate=False))
    assert (several["params.epochs"], several["params.seeds"], several["params.dropout"]) == (3, 2, 0.25)
    assert several["params.recalibrate"] is False and several["params.of"] == "train"
    searches = row("seeds", SeedsSettings(seeds=2, of="optimize", steps=7, trust=True))
    assert (searches["params.steps"], searches["params.trust"]) == (7, True)
    one = row("experiment", ExperimentsSettings(steps=3, temperature=2.0))
    assert (one["params.steps"], one["params.trust"], one["params.temperature"]) == (3, False, 2.0)
    trainings = row("sweep", SweepTrainingSettings(n_trials=4, epochs="3"), sweep_of="train")
    assert trainings["params.n_trials"] == 4 and trainings["params.epochs"] == 3
    assert trainings["params.learning_rate"] == "0.001..0.1:log"


def test_what_mlflow_run_has_quoted_for_a_shell_is_read(client) -> None:
    tags = {runs.KIND_TAG: "train", ENTRY_POINT_TAG: "train"}
    words = {"dataset": "/tmp/my 'own' set.npz", "epochs": "3", "run_name": "'quoted'", "seed": "0"}
    made = client.create_run("0", tags=tags).info.run_id
    plain = client.create_run("0", tags={runs.KIND_TAG: "train"}).info.run_id
    for name, word in words.items():
        client.log_param(made, name, shlex.quote(word))
        client.log_param(plain, name, word)
    frame = mnist_cnn.runs(kind="train").set_index("run_id")
    for run_id in (made, plain):
        row = frame.loc[run_id]
        assert (row["params.dataset"], row["params.epochs"]) == (words["dataset"], 3)
        assert (row["params.run_name"], row["params.seed"]) == ("'quoted'", 0)


def test_a_kind_that_no_run_can_have_is_refused_with_those_that_are_there(client) -> None:
    with runs.tracked_run("train"):
        pass
    for kind, made_as in (("resume", "train"), ("sweep_training", "sweep"), ("replay", "that of the trial's"),
                          ("again", "that of the run")):  # fmt: skip
        with pytest.raises(SettingError, match=f"got '{kind}'. .* are of the kind {made_as}.* There are: .*train"):
            mnist_cnn.runs(kind=kind)
    assert set(MADE_AS) < set(ENTRY_POINTS)


def test_nothing_there_is_an_empty_table(client) -> None:
    frame = mnist_cnn.runs(kind="rollback")
    assert len(frame) == 0 and [*frame.columns[:3]] == ["run_id", "name", "kind"]


def test_what_does_not_exist_is_refused(client) -> None:
    with pytest.raises(SettingError, match="`kind` must be a command or `trial`; got \"train' OR 1"):
        mnist_cnn.runs(kind="train' OR 1")
    with pytest.raises(
        SettingError, match="`experiment` must be the name of one; got 'no such one'. There are: Default"
    ):
        mnist_cnn.runs(experiment="no such one")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        mnist_cnn.nothing  # noqa: B018


def test_importing_the_package_imports_nothing_else() -> None:
    code = "import sys, mnist_cnn; print(*(name for name in ('numpy', 'pandas', 'mlflow') if name in sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=PROJECT, text=True).split() == []


def test_a_command_prints_its_result_as_one_json_document(client, small_dataset: Path, capfd) -> None:
    call("train", ["--json", "--dataset", str(small_dataset), "--run_name", "as JSON"])
    out, error = capfd.readouterr()
    document = json.loads(out)
    run = client.get_run(document["run_id"])
    assert out.count("\n") == 1 and "Epoch 1/1" in error
    assert (document["status"], document["name"], document["kind"]) == ("FINISHED", "as JSON", "train")
    assert document["metrics"] == dict(sorted(run.data.metrics.items())) and document["settings"]["epochs"] == 1
    assert document["models"] == [f"models:/{run.outputs.model_outputs[0].model_id}"] and document["result"] == {}


def test_the_json_of_a_command_holds_what_it_found(client, tmp_path: Path, capfd) -> None:
    with runs.tracked_run("train") as run:
        run.log_metrics({"test_accuracy": float("nan")})
    call("export", ["--json", "--to", str(tmp_path / "site")])
    document = json.loads(capfd.readouterr().out)
    num_runs = len(mnist_cnn.runs()) - 1  # all but its own
    assert document["result"] == {"num_runs": num_runs, "page": str(tmp_path / "site" / "index.html")}
    call("diff", ["--json", "--runs", f"{run.run_id},{document['run_id']}"])
    result = json.loads(capfd.readouterr().out)["result"]
    assert result["differences"] == [] and result["page"].endswith("/diff.html")


def test_the_json_of_predictions_names_each_picture_and_what_was_skipped() -> None:
    probabilities = np.array([[0.25, 0.75], [0.5, 0.125]], np.float32)
    images = np.zeros((2, 28, 28, 1), np.float32)
    model = LoggedModel("m-1", "models:/m-1")
    found = PredictResult(
        "run", model, ("a.png", "b.png"), images, probabilities, ("", "turned"), (("c", "why"),), ("x", "y")
    )
    assert json.loads(json.dumps(finite(found.as_json()))) == {
        "pictures": [
            {"file": "a.png", "choice": "y", "probability": 0.75, "done": ""},
            {"file": "b.png", "choice": "x", "probability": 0.5, "done": "turned"},
        ],
        "skipped": {"c": "why"},
    }
    assert finite({"a": [1.0, float("nan"), (float("inf"), "b")]}) == {"a": [1.0, None, [None, "b"]]}


@pytest.mark.parametrize("words", [["--json"], ["--json", "true"], ["--json=true"], ["--json=false"]])
def test_json_stands_anywhere_among_the_settings(words: list[str]) -> None:
    for place in range(2):
        found = _wants_json(["--seed=1"][:place] + words + ["--seed=1"][place:])
        assert found == (words != ["--json=false"], ["--seed=1"])
    with pytest.raises(SettingError, match="`json` must be true or false; got 'maybe'"):
        _wants_json(["--json=maybe"])
    assert _wants_json(["--name", "json"]) == (False, ["--name", "json"])
