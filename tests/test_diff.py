"""`diff`: runs told apart on one page, with intervals, curves and pictures."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pytest

from mnist_cnn.data import intervals
from mnist_cnn.reporting import diff_page, formats
from mnist_cnn.settings import DiffSettings, TrainSettings
from mnist_cnn.settings.errors import SettingError
from mnist_cnn.tracking import reading, records, runs
from pipelines import diff
from pipelines.__main__ import call
from tests.reporting_examples import HOSTILE

NAME = "<b>four</b> $x$ | `y`"


@pytest.fixture(scope="module")
def pair(store: Path, small_dataset: Path) -> list[str]:
    """Two trainings of another seed and learning rate, on the same images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(store)
        mlflow.set_tracking_uri(None)
        call("train", ["--dataset", str(small_dataset), "--run_name", NAME])
        call("train", ["--dataset", str(small_dataset), "--learning_rate", "0.01", "--epochs", "2"])
        return [run.info.run_id for run in mlflow.MlflowClient().search_runs(["0"], max_results=2)][::-1]


def test_the_page_shows_what_differs_and_nothing_else(client, pair: list[str], capsys) -> None:
    call("diff", ["--runs", ",".join(pair)])
    run, said = client.search_runs(["0"], max_results=1)[0], capsys.readouterr().out
    assert "| settings | epochs | 1 | 2 |" in said and "| settings | learning_rate | 0.02 | 0.01 |" in said
    assert said.count("| settings |") == 2 and "| data |" not in said
    page = (reading.read_bytes(run.info.run_id, "diff.html") or b"").decode()
    assert re.search(r"Page     file://.*/diff\.html\n", said)
    assert "<b>four</b>" not in page and "&lt;b&gt;four&lt;/b&gt; $x$ | `y`" in page
    assert "The same in all: code, data, versions and hardware." in page
    assert page.count("<svg") >= 6 and page.count("data:image/png;base64,") == 2 * 5
    assert set(re.findall(r'(?:src|href)="(data:|#)?', page)) == {"data:", "#"}
    assert run.data.tags["kind"] == "diff" and "&lt;b&gt;" in run.data.tags["mlflow.note.content"]


def test_what_was_not_committed_is_shown_with_the_names_of_its_files(client) -> None:
    many = "".join(f"diff --git a/{number}.py b/{number}.py\n+one = <2>\n" for number in range(9))
    patches = ["diff --git a/a.py b/a.py\n+one = <1>\n", many]
    made = []
    for patch in patches:
        with runs.tracked_run("train") as run:
            run.log_settings(TrainSettings(), {})
            run.log_text(patch, "uncommitted.patch")
        made.append(run.run_id)
    result = diff.run(DiffSettings(runs=",".join(made)))
    assert [(change.about, change.patch) for change in result.code] == [
        ("Not committed in A", patches[0]), ("Not committed in B", patches[1])
    ]  # fmt: skip
    assert result.code[1].title == "Not committed in B: 0.py, 1.py, 2.py, 3.py, 4.py and 4 more"
    page = (reading.read_bytes(result.run_id, "diff.html") or b"").decode()
    assert "<summary>Not committed in A: a.py</summary><pre>diff --git a/a.py b/a.py\n+one = &lt;1&gt;\n</pre>" in page
    assert "Not committed in A: a.py\n" in diff_page.summary(result.runs, result.differences, result.code)


def test_a_run_without_its_files_is_named_and_nothing_is_called_equal(client, pair: list[str]) -> None:
    with runs.tracked_run("train") as run:
        run.log_settings(TrainSettings(), {})
    shutil.rmtree(Path(client.get_run(run.run_id).info.artifact_uri.removeprefix("file://")))
    with runs.tracked_run("train") as whole:
        whole.log_settings(TrainSettings(), {})
    result = diff.run(DiffSettings(runs=f"{whole.run_id},{run.run_id}"))
    said = diff_page.summary(result.runs, result.differences, result.code)
    assert "B: its files cannot be read (there is no settings.json)" in said
    assert diff_page.NO_DIFFERENCE not in said


def test_shares_of_the_same_images_are_compared_in_pairs(client, pair: list[str]) -> None:
    found = [records.records_of(run_id) for run_id in pair]
    a, b = (each.hits["test_accuracy"] for each in found)
    assert a.images == b.images and len(a.hits) == 300
    result = diff.run(DiffSettings(runs=",".join(pair)))
    (own,) = [difference for metric, difference in result.differences if metric == "test_accuracy, same images"]
    assert own == intervals.paired_difference("A", "B", a.hits, b.hits)
    assert own.difference == pytest.approx(a.hits.mean() - b.hits.mean())


@pytest.mark.slow
def test_shares_of_other_images_are_compared_as_independent_ones(client, pair: list[str], tmp_path: Path) -> None:
    other = tmp_path / "other.npz"
    with np.load(Path(reading.read_json(pair[0], "settings.json")["settings"]["dataset"])) as arrays:
        np.savez(other, **{**dict(arrays), "x_test": arrays["x_test"][:, ::-1]})
    call("evaluate", ["--model", pair[0], "--dataset", str(other)])
    evaluated = client.search_runs(["0"], max_results=1)[0]
    result = diff.run(DiffSettings(runs=f"{pair[0]},{evaluated.info.run_id}"))
    assert [metric for metric, _ in result.differences] == ["test_accuracy"]
    assert result.differences[0][1].is_more_than_noise


def test_numbers_that_are_no_shares_are_not_written_in_percent() -> None:
    numbers = {"test_loss": 0.031, "test_loss_low": 0.028, "test_loss_high": 0.034,
               "test_accuracy": 0.9, "test_accuracy_low": 0.8, "test_accuracy_high": 1.0}  # fmt: skip
    runs = [
        diff_page.RunShown("0" * 32, "a", "seeds", "FINISHED", 1.0, {"settings": {"seed": seed}}, numbers, {}, {})
        for seed in ("123456", "123457")
    ]
    cells = {row.cells[0].text: row.cells[1].text for row in diff_page.metrics(runs)}
    assert cells["test_loss"] == "0.031 (0.028 to 0.034)" and cells["test_accuracy"] == "90.0 % (80.0 to 100.0)"
    named = [dataclasses.replace(run, made_of={"settings": {"<b>": run.made_of["settings"]["seed"]}}) for run in runs]
    assert "| settings | <b> | 123456 | 123457 |" in diff_page.summary(named, [])
    (seed,) = diff_page.differing(runs, "settings")
    assert [cell.text for cell in seed.cells] == ["seed", "123456", "123457"]


def test_quotes_of_the_shell_and_what_one_run_did_not_note_are_no_difference(client, small_dataset: Path) -> None:
    made = []
    for number, word in enumerate(("'/tmp/my set.npz'", "/tmp/my set.npz")):
        with runs.tracked_run("train", name=f"run {number}") as run:
            client.log_param(run.run_id, "dataset", word)
            run.log_settings(TrainSettings(dataset=str(small_dataset), seed=number), {})
            run.log_params({"json": "true"} if number else {"epochs": "3"})
            run.set_tags({"version.keras": "3", **({"version.other": "1", "hardware.gpu": "none"} if number else {})})
            made.append(run.run_id)
    result = diff.run(DiffSettings(runs=",".join(made)))
    rows = {group: [row.cells[0].text for row in diff_page.differing(result.runs, group)] for group in diff_page.GROUPS}
    assert rows == {"settings": ["seed"], "code": [], "data": [], "versions and hardware": []}
    page = (reading.read_bytes(result.run_id, "diff.html") or b"").decode()
    assert "The same in all: code." in page
    assert "Not noted by every run, and the same in those that did: data, versions and hardware." in page
    client.log_text(made[0], "{}", "settings.json")
    assert records.records_of(made[0]).made_of["settings"]["dataset"] == "'/tmp/my set.npz'"


def test_a_long_description_keeps_its_command_and_says_how_much_more_the_page_has() -> None:
    shown = [
        diff_page.RunShown(
            f"{number:032x}", HOSTILE * 4, "train", "FINISHED", 1.0,
            {"settings": {"long": str(number) * 9000, "seed": str(number),
                          **{f"of_{number}_{n}": "a|b" for n in range(40)}}},
            {}, {}, {},
        )
        for number in range(8)
    ]  # fmt: skip
    half = intervals.Share(0.5, 0.4, 0.6)
    differences = [(f"share_{n}_accuracy", intervals.difference("A", "B", half, half)) for n in range(140)]
    note = diff_page.description(shown, differences)
    assert 5000 < len(note) <= 6500 and note.endswith("`diff.html` has it all, with curves and pictures.")
    assert "| settings | seed | 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 |" in note and "99999" not in note
    rows = note.count("| settings |")
    more = [int(number) for number in re.findall(r"^(\d+) more in `diff.html`.$", note, re.MULTILINE)]
    assert rows > 5 and note.count("- `share_") > 3
    assert more == [322 - rows, 140 - note.count("- `share_")]


def test_a_note_of_any_length_keeps_the_command_below_it(client) -> None:
    with runs.tracked_run("train", name="long") as run:
        run.log_settings(TrainSettings(epochs=3), {})
        run.describe("one line\n" * 2000)
    note = client.get_run(run.run_id).data.tags["mlflow.note.content"]
    assert 7900 < len(note) <= 8000 and "one line\n\nThe rest is longer than" in note
    assert note.endswith("Its command was:\n~~~\nmlflow run . -e train -P epochs=3\n~~~\n")


def test_a_learning_rate_is_no_share() -> None:
    shares = ("recognised_rate", "recognised_rate/readable/noise", "test_accuracy", "near_real_share", "cas_plain")
    assert all(map(formats.is_share, shares))
    assert not any(map(formats.is_share, ("training_learning_rate", "learning_rate", "learning_rate/a", "test_loss")))


def test_any_run_can_be_shown(client, pair: list[str]) -> None:
    bare = client.create_run("0", run_name="another's").info.run_id
    deleted = client.create_run("0", run_name="deleted").info.run_id
    client.set_terminated(bare)
    client.delete_run(deleted)
    result = diff.run(DiffSettings(runs=f"{bare},{pair[0]},{deleted}"))
    assert [run.kind for run in result.runs] == ["unknown", "train", "unknown"]
    assert result.runs[2].state == "deleted" and not result.differences
    client.delete_run(bare)


def test_what_cannot_be_told_apart_is_refused(client, pair: list[str]) -> None:
    for word, why in (
        (pair[0], "it names 1 runs"), (f"{pair[0]},{pair[0]}", "it names a run twice"), ("a,b", "an id has 32"),
        (",".join(f"{number:032x}" for number in range(9)), "it names 9 runs"),
    ):  # fmt: skip
        with pytest.raises(SettingError, match=f"(?i)`runs` must be the ids of 2 to 8 runs.*{why}"):
            call("diff", ["--runs", word])
    with pytest.raises(SettingError, match="holds no run '0000"):
        call("diff", ["--runs", f"{pair[0]},{'0' * 32}"])
    with runs.tracked_run("train", name="has lost its files") as run:
        run.log_bytes(b"no array", records.CHOICES_FILE)
        run.log_metrics({"test_accuracy": 1.0})
    assert records.records_of(run.run_id).hits == {}
