"""A loop over steps: what is reused, what a failure costs, and what a person reads on the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import mlflow
import numpy as np
import pytest

from mnist_cnn.judging.ablation import READABLE
from mnist_cnn.reporting.reproduction_page import StepResult
from mnist_cnn.runtime import fingerprint
from mnist_cnn.settings import JudgesSettings, ReproduceSettings, Settings, TrainSettings
from mnist_cnn.settings.errors import Interrupted, SettingError
from mnist_cnn.tracking import runs, trainings
from mnist_cnn.training.loop import EpochResult, TrainingState
from pipelines import reproduce, resume
from pipelines.reproduce import Step, StepResults


@dataclass(frozen=True)
class Result:
    run_id: str


class Bench:
    """Stands in for the commands: opens the run that a command would open, and behaves as it is told."""

    def __init__(self) -> None:
        self.calls: list[Settings] = []
        self.errors: dict[int, BaseException] = {}

    def run(self, settings: TrainSettings | JudgesSettings, **more: str) -> Result:
        self.calls.append(settings)
        with runs.tracked_run(settings.COMMAND) as run:
            run.log_settings(settings, {})
            if settings.seed in self.errors:
                raise self.errors[settings.seed]
        return Result(run.run_id)


@pytest.fixture
def bench(client) -> Iterator[Bench]:
    yield Bench()
    for run in client.search_runs(["0"]):
        client.delete_run(run.info.run_id)


def step(bench: Bench, name: str, seed: int, needs: tuple[str, ...] = (), **more) -> Step:
    def settings(done: StepResults) -> Settings:
        assert all(done[need].is_there for need in needs)
        return TrainSettings(seed=seed, dataset="mnist:600")

    return Step(name, f"Step {name}", settings, bench.run, needs, seconds=60, **more)


def do(*steps: Step, **more) -> dict[str, StepResult]:
    with runs.tracked_run("reproduce"):
        return reproduce.do(steps, **more)


def test_what_is_up_to_date_is_reused(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    plan = (step(bench, "a", 1), step(bench, "b", 2, ("a",)))
    first = do(*plan)
    assert [result.state for result in first.values()] == ["done", "done"] and len(bench.calls) == 2
    assert first["b"].command == "mlflow run . -e train -P dataset=mnist:600 -P seed=2"
    again = do(*plan)
    assert [result.state for result in again.values()] == ["reused", "reused"] and len(bench.calls) == 2
    assert [result.run_id for result in again.values()] == [result.run_id for result in first.values()]
    assert f"the run {first['a'].run_id} of the same settings, code and data is reused" in capsys.readouterr().out
    do(*plan, fresh=True)
    assert len(bench.calls) == 4
    do(step(bench, "a", 3))
    assert bench.calls[-1] == TrainSettings(seed=3, dataset="mnist:600")
    for _ in range(2):
        do(step(bench, "a", 1, always=True))
    assert [settings.seed for settings in bench.calls[-2:]] == [1, 1]


def test_a_step_is_a_run_below_the_whole(bench: Bench, client) -> None:
    with runs.tracked_run("reproduce") as run:
        result = reproduce.do([step(bench, "a", 1)])["a"]
    assert client.get_run(result.run_id).data.tags["mlflow.parentRunId"] == run.run_id


def test_the_time_to_go_leaves_out_what_is_up_to_date(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    do(step(bench, "a", 1), step(bench, "b", 2, ("a",)))
    capsys.readouterr()
    results = do(step(bench, "a", 1), step(bench, "b", 2, ("a",)), step(bench, "c", 3, ("b",)))
    printed = capsys.readouterr().out
    assert "[1/3] Step a · 0 s gone, about 1:00 min to go" in printed and "[3/3] Step c · " in printed
    assert [result.state for result in results.values()] == ["reused", "reused", "done"]


def test_progress_that_cannot_be_kept_costs_no_step(bench: Bench) -> None:
    def on_step(results: StepResults) -> None:
        raise mlflow.MlflowException("the network is gone")

    results = do(step(bench, "a", 1), step(bench, "b", 2), on_step=on_step)
    assert [result.state for result in results.values()] == ["done", "done"]


def test_other_code_is_not_up_to_date(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    do(step(bench, "a", 1))
    monkeypatch.setattr(fingerprint, "code_digest", lambda command: "changed")
    assert do(step(bench, "a", 1))["a"].state == "done" and len(bench.calls) == 2


def test_a_failure_costs_only_what_needs_it(bench: Bench, capsys: pytest.CaptureFixture[str], client) -> None:
    bench.errors[2] = OSError(28, "No space left on device")
    states: list[list[str]] = []
    results = do(
        step(bench, "a", 1), step(bench, "b", 2), step(bench, "c", 3, ("b",)), step(bench, "d", 4, ("c", "a")),
        step(bench, "e", 5),
        on_step=lambda results: states.append([result.state for result in results.values()]),
    )  # fmt: skip
    found = {name: result.state for name, result in results.items()}
    assert found == {"a": "done", "b": "failed", "c": "skipped", "d": "skipped", "e": "done"}
    assert "No space left on device" in results["b"].reason and results["c"].reason == "it needs: Step b"
    assert states[1] == ["done", "failed"] and len(states) == 5
    printed = capsys.readouterr()
    assert "[1/5] Step a · 0 s gone, about 5:00 min to go" in printed.out
    assert "[2/5] Step b: FAILED: OSError: [Errno 28] No space left on device" in printed.out
    assert "[4/5] Step d: skipped: it needs: Step c" in printed.out and "Traceback" not in printed.err
    # The next call does what is missing.
    bench.errors.clear()
    again = do(step(bench, "a", 1), step(bench, "b", 2), step(bench, "c", 3, ("b",)))
    assert [result.state for result in again.values()] == ["reused", "done", "done"]


def test_a_fault_of_the_program_is_shown_in_full_and_costs_one_step(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.errors[1] = KeyError("a typing error")
    results = do(step(bench, "a", 1), step(bench, "b", 2))
    assert [result.state for result in results.values()] == ["failed", "done"]
    assert results["a"].reason == "KeyError: 'a typing error'" and "Traceback" in capsys.readouterr().err


def test_settings_that_cannot_be_made_cost_only_the_step(bench: Bench) -> None:
    def broken(done: StepResults) -> Settings:
        raise mlflow.MlflowException("the network is gone\nand more")

    results = do(Step("bad", "Bad", broken, bench.run), step(bench, "a", 1))
    assert [result.state for result in results.values()] == ["failed", "done"]
    assert results["bad"].reason == "MlflowException: the network is gone"


def test_a_run_that_has_lost_what_the_page_reads_is_not_up_to_date(bench: Bench, client) -> None:
    reads = step(bench, "a", 1, files=("figures/some.png",))
    assert do(reads)["a"].state == "done"
    second = do(reads)["a"]
    assert second.state == "done"
    client.log_text(second.run_id, "x", "figures/some.png")
    assert do(reads)["a"].state == "reused"


def test_an_interrupted_training_is_resumed(bench: Bench, client, monkeypatch: pytest.MonkeyPatch) -> None:
    state = TrainingState(1, [np.zeros(1)], [np.zeros(1)], [EpochResult(1, *[0.5] * 7)])

    def interrupted(settings: TrainSettings) -> Result:
        with runs.tracked_run("train") as run:
            run.log_settings(settings, {"digest": "x"})
            trainings.save_checkpoint(run, state)
            raise Interrupted(15)

    settings = TrainSettings(seed=9, dataset="mnist:600")
    with pytest.raises(Interrupted):
        do(Step("a", "A", lambda done: settings, interrupted))
    (run,) = client.search_runs(["0"], "tags.kind = 'train'")
    assert run.info.status == "KILLED"
    assert client.search_runs(["0"], "tags.kind = 'reproduce'")[0].info.status == "KILLED"
    resumed: list[str] = []
    monkeypatch.setattr(resume, "run", lambda settings: resumed.append(settings.run) or Result("new"))
    result = do(Step("a", "A", lambda done: settings, bench.run))["a"]
    assert (result.state, result.run_id, resumed) == ("done", "new", [run.info.run_id]) and not bench.calls


def test_every_step_of_both_scales_has_settings_that_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reproduce.reading, "get_run", lambda run_id: None)
    monkeypatch.setattr(reproduce.models, "of_run", lambda run: "m-1")
    for scale in ("full", "smoke"):
        steps = reproduce.plan(ReproduceSettings(scale=scale, seed=3))
        done = {step.name: StepResult(step.name, step.title, "done", run_id="r") for step in steps}
        made = {step.name: step.settings(done) for step in steps}
        assert list(made) == [step.name for step in steps] and len(made) == 10
        assert made["judges"].seed == 0 and made["ordinary"].seed == 3  # the same judges for every seed
        assert made["ablation"].networks == "ordinary,readable" and made["sweep_readable"].space.fixed["seed"] == 3
        on_readable = made["experiments_readable"]
        assert {
            name: getattr(on_readable, name) for name in READABLE
        } == READABLE and on_readable.model == "models:/m-1"
        assert {made[name].COMMAND for name in made} == {
            "train", "judges", "experiments", "sweep", "compare", "ablation", "register"
        }  # fmt: skip


def test_a_page_that_cannot_be_written_beside_the_store_is_in_the_run(
    tmp_path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = reproduce._write("<p>x", tmp_path / "report.html")
    assert place == str(tmp_path / "report.html") and (tmp_path / "report.html").read_text() == "<p>x"
    assert reproduce._write("<p>x", tmp_path / "none" / "report.html") == "report.html among the artifacts of the run"
    assert "cannot be written" in capsys.readouterr().err


def test_a_refused_setting_is_a_reason(bench: Bench) -> None:
    bench.errors[1] = SettingError("`model`: there is none")
    assert do(step(bench, "a", 1))["a"].reason == "SettingError: `model`: there is none"
