"""Several commands as one: what is reused, what a failure costs, and what is said on the way."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator

import mlflow
import pytest

from mnist_cnn.reporting import steps
from mnist_cnn.reporting.steps import Outcomes, Step
from mnist_cnn.runtime import processes
from mnist_cnn.settings import ENTRY_POINTS
from mnist_cnn.settings.command_line import Interrupted
from mnist_cnn.tracking import runs


class Process:
    """In place of a process: when its line has been written it makes the run that the command would make."""

    def __init__(self, behave: Callable[[str, list[str]], int]) -> None:
        self.returncode: int | None = None
        self.ended = False
        outer = self

        class Input(io.StringIO):
            def close(self) -> None:
                if not self.closed:
                    outer._be(self.getvalue(), behave)
                super().close()

        self.stdin = Input()

    def _be(self, line: str, behave: Callable[[str, list[str]], int]) -> None:
        if not line:
            return
        program, argv, variables = json.loads(line)
        self.returncode = behave(program, argv)
        client = mlflow.MlflowClient()
        status = {0: "FINISHED", 130: "KILLED"}.get(self.returncode, "FAILED")
        tags = {runs.PARENT_TAG: variables[runs.PARENT_VARIABLE], runs.KIND_TAG: program}
        from mnist_cnn.runtime import fingerprint

        tags[runs.RECIPE_TAG] = fingerprint.recipe_of_command(ENTRY_POINTS[program], argv)
        tags[runs.REASON_TAG] = "" if self.returncode == 0 else "Broken: the disk is full"
        run = client.create_run("0", tags=tags)
        with open(variables[processes.TELL_VARIABLE], "a") as file:
            file.write(json.dumps({"run_id": run.info.run_id}) + "\n" * (self.returncode == 0))
            if self.returncode:
                file.write("\n" + json.dumps({"reason": tags[runs.REASON_TAG]}) + "\n")
        client.set_terminated(run.info.run_id, status)

    def poll(self) -> int | None:
        return self.returncode

    def terminate(self) -> None:
        self.ended = True
        self.returncode = -15 if self.returncode is None else self.returncode

    kill = terminate

    def wait(self, timeout: float | None = None) -> int | None:
        return self.returncode


class Bench:
    """The calls that were made, and how programs behave."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, str]]] = []
        self.codes: dict[str, int] = {}
        self.made: list[Process] = []

    def standby(self) -> Process:
        self.made.append(Process(self._behave))
        return self.made[-1]

    def _behave(self, program: str, argv: list[str]) -> int:
        words = dict(word.removeprefix("--").split("=", 1) for word in argv)
        self.calls.append((program, words))
        return self.codes.get(words.get("seed", ""), 0)


@pytest.fixture
def bench(client, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    bench = Bench()
    monkeypatch.setattr(processes, "standby", bench.standby)
    monkeypatch.setattr(steps, "SECONDS_BETWEEN_LOOKS", 0.0)
    yield bench
    for process in bench.made:
        process.terminate()
        process.stdin.close()
    for run in client.search_runs(["0"]):
        client.delete_run(run.info.run_id)


def step(name: str, seed: int, needs: tuple[str, ...] = (), program: str = "train", always: bool = False) -> Step:
    def words(outcomes: Outcomes) -> dict[str, str]:
        assert all(outcomes[need].is_there for need in needs)
        return {"seed": str(seed), "dataset": "mnist:600"}

    return Step(name, f"Step {name}", program, words, needs, seconds=60, always=always)


def do(*some: Step, **more) -> dict[str, steps.Outcome]:
    with runs.tracked_run("main") as run:
        return steps.do(some, run, **more)


def test_what_is_up_to_date_is_reused_and_said(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    plan = (step("one", 1), step("two", 2, ("one",)))
    first = do(*plan)
    assert [one.state for one in first.values()] == ["done", "done"] and len(bench.calls) == 2
    assert first["two"].command == "mlflow run . -e train -P seed=2 -P dataset=mnist:600"
    again = do(*plan)
    assert [one.state for one in again.values()] == ["reused", "reused"] and len(bench.calls) == 2
    assert [one.run_id for one in again.values()] == [one.run_id for one in first.values()]
    assert f"the run {first['one'].run_id} of the same settings, code and data is reused" in capsys.readouterr().out
    do(*plan, fresh=True)
    assert len(bench.calls) == 4
    do(step("one", 3))
    assert bench.calls[-1] == ("train", {"seed": "3", "dataset": "mnist:600"})
    do(step("register", 1, program="judges", always=True))
    do(step("register", 1, program="judges", always=True))
    assert [program for program, _ in bench.calls[-2:]] == ["judges", "judges"]


def test_the_time_to_go_leaves_out_what_is_up_to_date(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    do(step("one", 1), step("two", 2, ("one",)))
    capsys.readouterr()
    outcomes = do(step("one", 1), step("two", 2, ("one",)), step("three", 3, ("two",)))
    said = capsys.readouterr().out
    assert "[1/3] Step one · 0 s gone, about 1:00 min to go" in said and "[3/3] Step three · " in said
    assert [one.state for one in outcomes.values()] == ["reused", "reused", "done"]


def test_that_nobody_can_be_told_costs_no_step(bench: Bench) -> None:
    def tell(outcomes: Outcomes) -> None:
        raise mlflow.MlflowException("the network is gone")

    assert [one.state for one in do(step("one", 1), step("two", 2), tell=tell).values()] == ["done", "done"]


def test_other_code_or_data_is_not_up_to_date(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from mnist_cnn.runtime import fingerprint

    do(step("one", 1))
    monkeypatch.setattr(fingerprint, "code_digest", lambda program: "changed")
    assert do(step("one", 1))["one"].state == "done" and len(bench.calls) == 2


def test_a_failure_costs_only_what_needs_it(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.codes["2"] = 1
    told: list[list[str]] = []
    outcomes = do(
        step("one", 1), step("two", 2), step("three", 3, ("two",)), step("four", 4, ("three", "one")), step("five", 5),
        tell=lambda some: told.append([one.state for one in some.values()]),
    )  # fmt: skip
    states = {name: one.state for name, one in outcomes.items()}
    assert states == {"one": "done", "two": "failed", "three": "left out", "four": "left out", "five": "done"}
    assert outcomes["two"].reason == "Broken: the disk is full" and outcomes["three"].reason == "it needs: Step two"
    assert told[1] == ["done", "failed"] and len(told) == 5
    said = capsys.readouterr().out
    assert "[1/5] Step one · 0 s gone, about 5:00 min to go" in said
    assert "[2/5] Step two: FAILED: Broken: the disk is full" in said
    assert "[4/5] Step four: left out: it needs: Step three" in said
    # The next call does what is missing.
    bench.codes.clear()
    again = do(step("one", 1), step("two", 2), step("three", 3, ("two",)))
    assert [one.state for one in again.values()] == ["reused", "done", "done"]


def test_a_process_that_made_no_run_has_failed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "told", lambda path: {})
    outcome = do(step("one", 1))["one"]
    assert outcome.state == "failed"
    assert outcome.reason == "train ended with status 0, and said why on the terminal"


def test_a_killed_process_is_said_to_be(bench: Bench) -> None:
    bench.codes["1"] = -9
    assert do(step("one", 1))["one"].reason == "its process was killed by SIGKILL"


def test_a_store_that_fails_costs_only_the_step(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(outcomes: Outcomes) -> dict[str, str]:
        raise mlflow.MlflowException("the network is gone\nand more")

    bad = Step("bad", "Bad", "train", broken)
    outcomes = do(bad, step("one", 1))
    assert [one.state for one in outcomes.values()] == ["failed", "done"]
    assert outcomes["bad"].reason == "the network is gone"


def test_a_run_that_has_lost_what_the_page_reads_is_not_up_to_date(bench: Bench) -> None:
    import dataclasses

    reads = dataclasses.replace(step("one", 1), leaves=("figures/some.png",))
    first = do(reads)["one"]
    assert do(reads)["one"].state == "done"
    mlflow.MlflowClient().log_text(do(reads)["one"].run_id, "x", "figures/some.png")
    assert do(reads)["one"].state == "reused" and first.state == "done"


def test_an_interrupted_training_is_gone_on_with(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.codes["1"] = 130
    assert do(step("one", 1))["one"].state == "failed"
    broken_off = mlflow.MlflowClient().search_runs(["0"], "attributes.status = 'KILLED'")[0].info.run_id
    monkeypatch.setattr(runs, "_checkpoint_paths", lambda run_id: ["checkpoints/epoch-00001.npz"])
    do(step("one", 1))
    assert bench.calls[-1] == ("train", {"resume": broken_off})


def test_an_interrupt_ends_the_step_and_the_next_ones_process(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, client
) -> None:
    def interrupted() -> None:
        raise Interrupted(2)

    class Deferring:
        def __enter__(self):
            return interrupted

        def __exit__(self, *details) -> None:
            pass

    monkeypatch.setattr(Process, "poll", lambda self: -15 if self.ended else None)
    monkeypatch.setattr(runs, "deferring_interrupts", Deferring)
    with pytest.raises(Interrupted):
        do(step("one", 1))
    assert all(process.ended for process in bench.made) and len(bench.made) == 2
    (run,) = client.search_runs(["0"], "tags.kind = 'main'")
    assert run.info.status == "KILLED"
