"""`again`: a run done once more, with every number compared; and what a changed working tree leaves with a run."""

from __future__ import annotations

import subprocess
from pathlib import Path

import git
import mlflow
import numpy as np
import pytest
from PIL import Image

from mnist_cnn.settings import (
    AgainSettings,
    CompareSettings,
    EvaluateSettings,
    ExperimentsSettings,
    ReproduceSettings,
    SeedsSettings,
    SweepTrainingSettings,
    VerdictSettings,
)
from mnist_cnn.settings.errors import SettingError
from mnist_cnn.tracking import commit, reading, repeating, runs
from mnist_cnn.tracking.repeating import AGAIN_TAG, Compared
from pipelines import again
from pipelines.__main__ import call


def newest(client) -> mlflow.entities.Run:
    return client.search_runs(["0"], max_results=1)[0]


@pytest.fixture(scope="module")
def trained(store: Path, small_dataset: Path) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(store)
        mlflow.set_tracking_uri(None)
        call("train", ["--dataset", str(small_dataset), "--run_name", "the first | `name`"])
        return newest(mlflow.MlflowClient()).info.run_id


def test_a_training_done_again_gives_every_number_to_the_last_bit(client, trained: str, capsys) -> None:
    call("again", ["--run", trained])
    run, said = newest(client), capsys.readouterr().out
    assert run.info.run_id != trained and run.data.tags[AGAIN_TAG] == trained
    assert "equal to the last bit." in said and "the others are not" not in said
    table = reading.read_json(run.info.run_id, "again.json")
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert {"test_accuracy", "loss_by_step", "validation_loss"} <= {row["metric"] for row in rows}
    assert all(row["then"] == row["now"] and row["is_equal"] for row in rows)
    assert not any("second" in row["metric"] for row in rows)


@pytest.mark.slow
def test_a_setting_that_is_changed_is_named_and_so_is_each_number_that_differs(client, trained: str, capsys) -> None:
    call("again", ["--run", trained, "--seed", "1"])
    said = capsys.readouterr().out
    assert "Not as it was: the setting seed: 0 then, 1 now." in said
    assert "the others are not." in said and "test_loss: " in said
    assert newest(client).data.params["seed"] == "1"


def test_what_is_not_as_it_was_is_said_before_it_starts(client, trained: str, monkeypatch) -> None:
    found = repeating.original(trained, {})
    assert not [line for line in repeating.differences(found) if "committed" not in line]
    made_of = {**found.made_of, "versions": {**found.made_of["versions"], "keras": "3.0"}, "code": "other"}
    other = repeating.Original(found.run, found.settings, made_of)
    lines = "\n".join(repeating.differences(other))
    assert "the version of keras: 3.0 then, 3." in lines and "the code of this command is not the same" in lines
    lost = repeating.Original(found.run, found.settings, {})
    assert "was not noted" in repeating.differences(lost)[0]


def test_another_preset_brings_its_own_settings(client, trained: str) -> None:
    found = repeating.original(trained, {"preset": "accurate"})
    assert found.settings.network == "wide" and found.settings.epochs > 1
    assert found.settings.dataset == reading.get_run(trained).data.params["dataset"], "what was given stays"
    assert any("the setting epochs: 1 then" in line for line in repeating.differences(found))


def test_every_setting_that_is_overruled_is_said(client, trained: str) -> None:
    def said(run_id: str, **changes: str) -> list[str]:
        return [line for line in repeating.differences(repeating.original(run_id, changes)) if "setting" in line]

    assert said(trained) == said(trained, seed="0") == []
    assert said(trained, seed="1", run_name="b") == [
        "the setting run_name: the first | `name` then, b now", "the setting seed: 0 then, 1 now",
    ]  # fmt: skip
    model = f"models:/{client.get_run(trained).outputs.model_outputs[0].model_id}"
    with runs.tracked_run("other") as evaluated:
        evaluated.log_settings(EvaluateSettings(), {"model_id": model.removeprefix("models:/")})
    assert said(evaluated.run_id) == said(evaluated.run_id, model=model) == []
    assert said(evaluated.run_id, model="models:/m-2") == [f"the setting model: {model} then, models:/m-2 now"]
    with runs.tracked_run("other") as of_sweep:
        of_sweep.log_settings(SweepTrainingSettings(sweep="two"), {})
    assert said(of_sweep.run_id) == []
    assert said(of_sweep.run_id, workers="2", sweep="three") == [
        "the setting sweep: two then, three now", "the setting workers: 1 then, 2 now",
    ]  # fmt: skip
    with runs.tracked_run("other") as compared:
        compared.log_settings(CompareSettings(), {"sweeps": {"id": "two"}})
    assert said(compared.run_id) == []
    assert said(compared.run_id, sweeps="one") == ["the setting sweeps: two then, one now"]
    with runs.tracked_run("other") as whole:
        whole.log_settings(ReproduceSettings(), {})
    assert said(whole.run_id) == []
    with runs.tracked_run("other") as one:
        one.log_settings(ExperimentsSettings(), {"experiment": 5, "model_id": "m-1"})
    assert said(one.run_id) == []
    assert said(one.run_id, experiments="1") == ["the setting experiments: 5 then, 1 now"]
    with runs.tracked_run("other") as page:
        page.log_settings(VerdictSettings(), {"model_id.ordinary": "m-1"})
    assert said(page.run_id) == []
    with runs.tracked_run("other") as several:
        several.log_settings(SeedsSettings(seeds=2), {})
    assert said(several.run_id, preset="accurate") == ["the setting preset: not given then, accurate now"]


def test_files_that_changed_are_named_and_the_same_changes_are_none(client, trained, checkout, monkeypatch) -> None:
    folder = Path(checkout.working_dir)
    (folder / "kept.py").write_text("one = 2\n")
    with runs.tracked_run("other") as dirty:
        dirty.log_settings(EvaluateSettings(), {})
        with runs.tracked_run("other") as below:
            below.log_settings(EvaluateSettings(), {})
    monkeypatch.setattr(repeating, "code_files", lambda command: [folder / "kept.py", folder / "same.py"])
    found = [repeating.original(run.run_id, {}) for run in (dirty, below)]
    assert [repeating.differences(each) for each in found] == [[], []]
    (folder / "kept.py").write_text("one = 3\n")
    for each in found:
        assert "not committed" in "".join(repeating.differences(each))
    made_of = {**found[0].made_of, "code": "other"}
    first = checkout.head.commit.hexsha
    checkout.git.commit("-a", "-m", "second")
    lines = repeating.differences(repeating.Original(found[0].run, found[0].settings, made_of))
    assert lines[0] == (
        f"the code of this command is not the same; it was commit {first[:12]}, from which these differ now: kept.py"
    )
    assert commit.changed_since("0" * 40, [folder / "kept.py"]) == []


def test_what_was_given_to_several_seeds_can_be_changed() -> None:
    settings = AgainSettings(run="0" * 32, seeds="7", of="train")
    assert settings.changes == {"seeds": "7", "of": "train"}


def test_what_cannot_be_done_again_is_refused(client, trained: str) -> None:
    with pytest.raises(SettingError, match="`epoch` is not a setting of `again`.*Did you mean `epochs`"):
        call("again", ["--run", trained, "--epoch", "2"])
    with pytest.raises(SettingError, match="`goal` is not a setting of `train`"):
        call("again", ["--run", trained, "--goal", "merit"])
    with pytest.raises(SettingError, match="`run` must be the id of a run in sqlite"):
        call("again", ["--run", "0" * 32])
    with pytest.raises(SettingError, match="`run` must be the id of a run, 32 of the digits"):
        call("again", ["--run", "the newest"])
    plain = client.create_run("0", run_name="another's", tags={runs.PARENT_TAG: trained})
    client.set_terminated(plain.info.run_id)
    with pytest.raises(SettingError, match=f"holds no settings of a command to be done again. Take .*{trained}"):
        call("again", ["--run", plain.info.run_id])


@pytest.mark.slow
def test_an_evaluation_uses_the_model_of_then(client, trained: str, small_dataset) -> None:
    call("evaluate", ["--dataset", str(small_dataset)])
    evaluated = newest(client)
    call("train", ["--dataset", str(small_dataset), "--seed", "5"])  # the newest model is another one now
    call("again", ["--run", evaluated.info.run_id])
    run = newest(client)
    assert run.data.tags["model_id"] == evaluated.data.tags["model_id"]
    assert run.data.tags["again"].startswith("All ")


def is_done_again_to_the_last_bit(client, run_id: str, capsys) -> None:
    capsys.readouterr()
    call("again", ["--run", run_id])
    said = capsys.readouterr().out
    assert "equal to the last bit." in said and "the others are not" not in said, said
    assert not [line for line in said.splitlines() if "Not as it was" in line and "committed" not in line], said


@pytest.mark.slow
def test_one_of_the_six_experiments_is_done_again_alone(client, trained: str, small_dataset, capsys) -> None:
    short = ["--num_images=2", "--steps=4", "--snapshot_every=2", f"--dataset={small_dataset}"]
    call("experiments", [*short, "--experiments=5,1"])
    (first, second) = client.search_runs(["0"], "tags.kind = 'experiment'")
    is_done_again_to_the_last_bit(client, second.info.run_id, capsys)
    again = newest(client)
    assert "the 6 experiments" not in again.info.run_name and again.data.tags["mlflow.parentRunId"]
    assert len(client.search_runs(["0"], "tags.kind = 'experiment'")) == 3, "the other one was not done again"
    assert first.info.run_id != second.info.run_id


@pytest.mark.slow
def test_sweeps_and_their_trials_are_done_again_to_the_last_bit(client, trained: str, small_dataset, capsys) -> None:
    short = [f"--dataset={small_dataset}", "--n_trials=2", "--pruner=none"]
    call("sweep", [*short, "--steps=4", "--snapshot_every=2", "--num_images=2", "--sweep=one"])
    call("sweep_training", [*short, "--batch_size=128", "--sweep=two"])
    for name in ("one", "two"):
        (of_sweep,) = client.search_runs(["0"], f"tags.kind = 'sweep' AND tags.sweep = '{name}'")
        children = reading.runs_below(of_sweep.info.run_id).values()
        trial = next(run for run in children if run.data.tags["kind"] == "trial")
        is_done_again_to_the_last_bit(client, of_sweep.info.run_id, capsys)
        is_done_again_to_the_last_bit(client, trial.info.run_id, capsys)
    call("compare", [f"--dataset={small_dataset}", "--sweeps=one", "--confirm=2"])
    is_done_again_to_the_last_bit(client, newest(client).info.run_id, capsys)
    (of_sweep,) = client.search_runs(["0"], "tags.kind = 'sweep' AND tags.sweep = 'one'")
    assert newest(client).data.params["sweeps"] == of_sweep.info.run_id, "whatever bears the name now"
    call("replay", ["--trial=one:1"])
    is_done_again_to_the_last_bit(client, newest(client).info.run_id, capsys)


@pytest.mark.slow
def test_judges_predictions_and_registrations_are_done_again(client, trained, small_dataset, tmp_path, capsys) -> None:
    data, model = f"--dataset={small_dataset}", f"--model={trained}"
    with np.load(small_dataset) as arrays:
        for number in range(3):
            Image.fromarray(arrays["x_test"][number]).save(tmp_path / f"{number}.png")
    for command, words in (
        ("judges", ["--panel=A"]),
        ("predict", [model, f"--images={tmp_path}"]),
        ("register", [model, "--attacked=50", "--num_images=0"]),
    ):
        call(command, [data, *words])
        first = newest(client)
        assert first.data.tags["kind"] == command
        is_done_again_to_the_last_bit(client, first.info.run_id, capsys)
        assert newest(client).data.tags[AGAIN_TAG] == first.info.run_id
    call("rollback", ["--version=1"])
    first = newest(client)
    call("again", ["--run", first.info.run_id])
    again = newest(client)
    assert (again.data.tags["kind"], again.data.tags["version"]) == ("rollback", "1")
    assert (again.data.tags[AGAIN_TAG], again.data.tags["again"]) == (first.info.run_id, "There is no number.")


def test_each_network_of_an_ablation_is_that_of_then(monkeypatch) -> None:
    stored = {"model_id.noise-trained": "m-1", "model_id.readable": "m-2", "model_id": ""}
    kept = repeating._kept_apart(
        {"noise_trained": "", "readable": "", "steps": 3}, stored, {"noise_trained", "readable"}
    )
    assert kept == {"noise_trained": "models:/m-1", "readable": "models:/m-2", "steps": 3}


def test_the_page_of_a_run_holds_the_exact_command(client, trained: str) -> None:
    note = client.get_run(trained).data.tags["mlflow.note.content"]
    assert f"`mlflow run . -e again -P run={trained}`" in note
    assert "\n~~~\nmlflow run . -e train -P dataset=" in note and "-P 'run_name=the first | `name`'\n~~~" in note


def test_judges_that_only_one_of_two_runs_had_to_train_are_no_difference(client) -> None:
    def run(*below: str) -> str:
        above = client.create_run("0")
        for kind in below:
            child = client.create_run(
                "0", run_name=kind, tags={runs.PARENT_TAG: above.info.run_id, runs.KIND_TAG: kind}
            )
            client.log_metric(child.info.run_id, f"of_{kind}", 1.0)
        return above.info.run_id

    first = run("judges", "optimize")
    for other in (run("optimize"), run("judges", "optimize")):
        assert all(row.is_equal for row in repeating.compare(first, other)), other
    assert [row.metric for row in repeating.compare(first, run("optimize"))] == ["of_optimize"]
    assert {row.metric for row in repeating.compare(first, run("judges", "optimize"))} == {"of_judges", "of_optimize"}
    assert not all(row.is_equal for row in repeating.compare(first, run("judges")))


def test_numbers_are_equal_or_they_are_not() -> None:
    assert Compared("", "loss", float("nan"), float("nan")).is_equal
    assert not Compared("", "loss", 1.0, None).is_equal and not Compared("", "loss", None, float("nan")).is_equal
    assert not Compared("", "loss", 1.0, 1.0 + 2**-52).is_equal
    rows = [Compared("", "loss", 1.0, 1.0), Compared("", "loss", 1.0, 2.0)]
    assert again.verdict(rows[:1]) == "All 1 number are equal to the last bit."
    assert again.verdict(rows) == "1 of 2 numbers are equal to the last bit; the others are not."
    one_sided = [Compared("", "loss", None, 1.0), Compared("", "accuracy", None, 0.5), Compared("", "rate", 0.5, None)]
    missing = "2 were not measured then. 1 was not measured now."
    assert again.verdict([rows[0], *one_sided]) == f"All 1 number are equal to the last bit. {missing}"
    assert again.verdict(one_sided) == f"There is no number to compare. {missing}" and again.verdict([]) != ""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> git.Repo:
    """A repository that stands in the project's place, with one commit."""
    repository = git.Repo.init(tmp_path)
    with repository.config_writer() as configuration:
        configuration.set_value("user", "name", "test").set_value("user", "email", "test@localhost")
    (tmp_path / "kept.py").write_text("one = 1\n")
    (tmp_path / ".gitignore").write_text("*.secret\n")
    repository.git.add("-A")
    repository.git.commit("-m", "first")
    monkeypatch.setattr(commit, "ROOT", tmp_path)
    return repository


def test_what_was_not_committed_makes_the_same_files_again(checkout: git.Repo, tmp_path: Path) -> None:
    folder = Path(checkout.working_dir)
    assert commit.tags()["git.uncommitted_changes"] == "false" and commit.patch() == b""
    with checkout.config_writer() as configuration:
        configuration.set_value("diff", "noprefix", "true")  # a person's own taste
    (folder / "kept.py").write_text("one = 2\n")
    (folder / "new é.py").write_text("two = 2\n")
    (folder / "picture.bin").write_bytes(bytes(range(256)))
    (folder / "password.secret").write_text("never shown\n")
    assert commit.tags()["git.uncommitted_changes"] == "true"
    patch = commit.patch()
    assert b"never shown" not in patch
    other = tmp_path / "clone"
    checkout.clone(str(other))
    (tmp_path / "the.patch").write_bytes(patch)
    subprocess.run(["git", "apply", str(tmp_path / "the.patch")], cwd=other, check=True)
    for name in ("kept.py", "new é.py", "picture.bin"):
        assert (other / name).read_bytes() == (folder / name).read_bytes()


def test_code_of_two_commits_is_told_apart(checkout: git.Repo) -> None:
    folder, first = Path(checkout.working_dir), checkout.head.commit.hexsha
    (folder / "pipelines").mkdir()
    (folder / "pipelines" / "é.py").write_text("one = 2\n")
    (folder / "kept.py").write_text("no code of a command\n")
    checkout.git.add("--all")
    checkout.git.commit("-m", "second")
    patch = commit.between(first, checkout.head.commit.hexsha)
    assert "+one = 2" in patch and "no code" not in patch and len(commit.files_in(patch)) == 1
    assert commit.between(first, first) == commit.between(first, "0" * 40) == commit.between(first, "--help") == ""


def test_a_patch_is_at_most_a_megabyte_and_names_what_it_leaves_out(checkout: git.Repo) -> None:
    folder = Path(checkout.working_dir)
    (folder / "a.txt").write_text("x" * 2**20)
    (folder / "b.txt").write_text("small\n")
    patch = commit.patch()
    assert len(patch) < 2**20 and patch.startswith(b"Left out, since the patch would be too large: 'a.txt'")
    assert b"+small" in patch
    (folder / "large.npz").write_bytes(bytes(2 * 2**20))
    for number in range(250):
        (folder / f"new {number}.txt").write_text("new\n")
    patch = commit.patch()
    assert b"'large.npz'" in patch and b"more files" in patch and len(patch) < 2**20
    assert patch.count(b"+new") == commit.MOST_NEW - 2  # a.txt and b.txt are two of them


def test_without_a_checkout_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "ROOT", tmp_path)
    assert commit.tags() == {} and commit.patch() == b""
    git.Repo.init(tmp_path)  # without a first commit
    assert commit.tags() == {}


def test_what_the_machine_did_is_with_a_run_however_short(client, trained: str) -> None:
    run = client.get_run(trained)
    assert 0 <= run.data.metrics["system/cpu_utilization_percentage"] <= 100
    assert 0 < run.data.metrics["system/system_memory_usage_percentage"] <= 100
