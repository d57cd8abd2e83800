from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import optuna
import pytest
from conftest import PROJECT
from optuna.trial import TrialState

from mnist_cnn.settings import AscentSettings, SettingError, SweepSettings, TrainSettings, search_space, sweeps
from mnist_cnn.sweeps import outcomes, samplers, storage, study
from mnist_cnn.sweeps.outcomes import Outcome
from mnist_cnn.sweeps.study import Study

RANGES = {"l2_weight": "1e-5..1e-1:log", "shift": "0..2"}
GRID = {"l2_weight": "0.1,0.2,0.3", "shift": "0,1"}
DEAD = "f" * 32


class Killed(BaseException):
    """Stands for kill -9: Optuna is told nothing."""


def space_of(words: dict[str, str], trial=AscentSettings) -> search_space.Space:
    return search_space.read(trial, words, frozenset())


def opened(where: Path | str, words: dict[str, str] = RANGES, name: str = "s", **how) -> Study:
    space = space_of(words)
    goals = how.pop("goals", ("loss",))
    plan = {"total": 1000, "sampler": "tpe", "pruner": "none", "seed": 0, "fingerprint": space.words(), **how}
    return study.open_study(str(where), name, space, goals, **plan)[0]


def work(sweep: Study, total: int, failing: tuple[int, ...] = ()) -> list[dict]:
    """Run trials until there are `total`; those with a number in `failing` fail."""
    done = []

    def objective(trial: optuna.Trial) -> list[float]:
        trial.set_user_attr(outcomes.PROCESS, sweep.processes.this)
        values = samplers.suggest(trial, sweep.space)
        if trial.number in failing:
            outcomes.set_outcome(trial, Outcome("failed", reason="NaN"))
            raise study.TrialFailed
        done.append(values)
        return [values["l2_weight"] + values.get("shift", 0)] * len(sweep.goals)

    sweep.total = total
    while sweep.needs_a_trial():
        sweep.run_one(objective)
    return done


def start_and_die(sweep: Study, process: str = DEAD, outcome: Outcome | None = None, drawn: bool = True) -> dict:
    """What kill -9 leaves behind: a running trial of a process that is gone. Returns its settings."""
    found: dict = {}

    def objective(trial: optuna.Trial) -> float:
        if process:
            trial.set_user_attr(outcomes.PROCESS, process)
        if drawn:
            found.update(samplers.suggest(trial, sweep.space))
        if outcome:
            outcomes.set_outcome(trial, outcome)
        raise Killed

    with pytest.raises(Killed):
        sweep.run_one(objective)
    return found


def states(sweep: Study) -> list[str]:
    return [outcomes.state_of(trial) for trial in sweep.trials()]


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "cmaes"])
def test_a_seed_gives_the_same_trials_again_with_and_without_a_break(tmp_path: Path, sampler: str) -> None:
    whole = work(opened(tmp_path / "a", sampler=sampler), 15)
    parts = [work(opened(tmp_path / "b", sampler=sampler), total) for total in (4, 11, 15)]
    assert [len(part) for part in parts] == [4, 7, 4]
    assert sum(parts, []) == whole
    assert len({values["shift"] for values in whole}) == 15
    assert work(opened(tmp_path / "c", sampler=sampler, seed=1), 15) != whole


def test_a_grid_tries_every_combination_once(tmp_path: Path) -> None:
    tried = [work(opened(tmp_path / "a", GRID, sampler="grid"), total) for total in (2, 6)]
    assert len(tried[0]) == 2
    assert sorted((v["l2_weight"], v["shift"]) for v in sum(tried, [])) == [
        (l2, shift) for l2 in (0.1, 0.2, 0.3) for shift in (0.0, 1.0)
    ]


def test_a_study_that_was_made_with_other_settings_is_refused(tmp_path: Path) -> None:
    opened(tmp_path / "a")
    with pytest.raises(study.StudyError, match="`shift` was 0..2"):
        opened(tmp_path / "a", {**RANGES, "shift": "0..3"})
    assert study.remembered(str(tmp_path / "a"), "s")["shift"] == "0..2"
    assert study.remembered(str(tmp_path / "a"), "another") == {}


def test_plain_optuna_opens_the_study(tmp_path: Path) -> None:
    work(opened(tmp_path / "a"), 3)
    where = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / "a")))
    plain = optuna.load_study(study_name="s", storage=where)
    assert [trial.state for trial in plain.trials] == [TrialState.COMPLETE] * 3
    assert set(plain.best_params) == {"l2_weight", "shift"}


def test_a_lost_trial_is_retried_with_the_same_settings_and_does_not_count(tmp_path: Path) -> None:
    lost = start_and_die(opened(tmp_path / "a"))
    sweep, other = opened(tmp_path / "a"), opened(tmp_path / "a")
    assert sweep.settle() == [0]
    assert other.settle() == [] and not other.tell(0, Outcome("lost")), "one process alone retries it"
    assert work(sweep, 3)[0] == lost
    assert states(sweep) == ["lost", "complete", "complete", "complete"]
    assert sweep.trials()[1].user_attrs[outcomes.RETRY_OF] == 0
    assert "its settings are retried" in outcomes.reason_of(sweep.trials()[0])


@pytest.mark.parametrize("state", ["complete", "pruned", "failed"])
def test_a_trial_that_said_how_it_ended_before_its_process_was_killed_ended_so(tmp_path: Path, state: str) -> None:
    outcome = Outcome(state, (0.25,) if state == "complete" else (), "why")
    start_and_die(opened(tmp_path / "a"), outcome=outcome)
    sweep = opened(tmp_path / "a")
    assert sweep.settle() == [0]
    (trial,) = sweep.trials()
    assert (outcomes.state_of(trial), outcomes.values_of(trial), outcomes.reason_of(trial)) == (
        state,
        outcome.values,
        "why",
    )
    assert sweep.num_finished() == 1


def test_settings_that_were_lost_four_times_have_failed(tmp_path: Path) -> None:
    sweep = opened(tmp_path / "a")
    lost = []
    for _ in range(outcomes.MOST_LOSSES + 1):
        lost.append(start_and_die(sweep))
        sweep.settle()
    assert lost == [lost[0]] * 4
    assert states(sweep) == ["lost", "lost", "lost", "failed"] and sweep.num_finished() == 1
    assert "for the 4th time" in outcomes.reason_of(sweep.trials()[3])


def test_interruptions_are_not_held_against_the_settings(tmp_path: Path) -> None:
    sweep = opened(tmp_path / "a")
    for _ in range(outcomes.MOST_LOSSES + 3):
        start_and_die(sweep, outcome=Outcome("lost", reason="interrupted"))
        sweep.settle()
    assert states(sweep) == [*["lost"] * 6, "waiting"]


def test_a_trial_that_no_process_signed_is_lost_after_a_while(tmp_path: Path, monkeypatch) -> None:
    start_and_die(opened(tmp_path / "a", GRID, sampler="grid"), process="", drawn=False)
    sweep = opened(tmp_path / "a", GRID, sampler="grid")
    assert sweep.settle() == []
    monkeypatch.setattr(study, "SECONDS_TO_SIGN", 0.0)
    time.sleep(0.01)
    assert sweep.settle() == [0]
    assert len({tuple(values.items()) for values in work(sweep, 6)}) == 6, "no combination is lost with it"


def test_a_trial_of_a_living_process_is_left_to_it(tmp_path: Path) -> None:
    sweep = opened(tmp_path / "a")
    start_and_die(sweep, process=sweep.processes.this)
    assert opened(tmp_path / "a").settle() == [] and states(sweep) == ["running"]


HOLDER = """
import sys
from mnist_cnn.sweeps.storage import Processes
print(Processes(sys.argv[1]).this, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("unshare", [(), ("unshare", "--pid", "--uts", "--fork", "--mount-proc")])
def test_on_a_journal_a_process_lives_as_long_as_it_holds_its_lock(tmp_path: Path, unshare: tuple[str, ...]) -> None:
    """In the same container or another, whatever its host name, process ids and clock say."""
    if unshare and subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody make a namespace")
    words = [*unshare, sys.executable, "-c", HOLDER, str(tmp_path / "a")]
    sweep = opened(tmp_path / "a")
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT) as process:
        start_and_die(sweep, process=process.stdout.readline().strip())
        assert opened(tmp_path / "a").settle() == [] and states(sweep) == ["running"]
        process.stdin.close()
    assert opened(tmp_path / "a").settle() == [0]


def test_a_process_that_never_signed_here_is_gone(tmp_path: Path) -> None:
    start_and_die(opened(tmp_path / "a"), process="another-machine 7 1700000000")
    assert opened(tmp_path / "a").settle() == [0]


def test_the_run_of_a_study_is_opened_by_its_maker_or_by_who_takes_its_place(tmp_path: Path, monkeypatch) -> None:
    sweep = opened(tmp_path / "journal")
    attributes, me = sweep.optuna_study, sweep.processes.this
    assert sweep.await_run_id() == "", "it has made the study, and opens the run"
    attributes.set_user_attr(study.MAKER, DEAD)
    assert sweep.await_run_id() == "" and attributes.user_attrs[study.MAKER] == me
    monkeypatch.setattr(sweep.processes, "is_alive", lambda process: True)
    attributes.set_user_attr(study.MAKER, DEAD)
    opening = threading.Timer(0.2, sweep.set_run, ("a run", "a store"))
    opening.start()
    assert sweep.await_run_id() == "a run" and attributes.user_attrs[study.MAKER] == DEAD
    opening.join()
    attributes.set_user_attr(outcomes.RUN_ID, "")
    monkeypatch.setattr(study, "SECONDS_TO_OPEN", 0.1)
    assert sweep.await_run_id() == "" and attributes.user_attrs[study.MAKER] == me


def test_who_sees_the_store_of_a_sweeps_run_sees_the_run_too(tmp_path: Path, monkeypatch) -> None:
    """Else the run would be taken for deleted while it is being made."""
    sweep, other, seen = opened(tmp_path / "a"), opened(tmp_path / "a"), []
    write = sweep.optuna_study.set_user_attr

    def look_after(name: str, value: str) -> None:
        write(name, value)
        seen.append((other.tracking_store, other.run_id))

    monkeypatch.setattr(sweep.optuna_study, "set_user_attr", look_after)
    sweep.set_run("a run", "a store")
    assert seen == [("", "a run"), ("a store", "a run")]


@pytest.mark.parametrize("is_lost", [True, False])
def test_a_database_that_was_lost_for_a_moment_is_told_from_other_errors(tmp_path: Path, capsys, is_lost: bool) -> None:
    error, cause = RuntimeError("of Optuna"), Exception("of SQLAlchemy")
    cause.connection_invalidated = is_lost
    error.__cause__ = cause
    assert opened(tmp_path / "journal").recover(error) is is_lost
    assert ("the sweep continues" in capsys.readouterr().out) is is_lost


def test_what_was_lost_before_it_could_be_retried_is_retried_once(tmp_path: Path, monkeypatch) -> None:
    sweep = opened(tmp_path / "a", GRID, sampler="grid")
    lost = start_and_die(sweep)
    with monkeypatch.context() as patch:
        patch.setattr(Study, "retry", lambda self, number: None)  # killed in that moment
        assert sweep.settle() == [0]
    again = opened(tmp_path / "a", GRID, sampler="grid")
    again.retry_lost()
    again.retry_lost()
    tried = work(again, 6)
    assert tried[0] == lost
    assert len({tuple(values.items()) for values in tried}) == 6 and len(again.trials()) == 7


def test_in_a_study_that_needs_no_more_trials_nothing_waits_to_be_retried(tmp_path: Path) -> None:
    sweep, other = opened(tmp_path / "a"), opened(tmp_path / "a")
    lost = start_and_die(sweep)
    sweep.total = 2
    work(other, 3)  # one more than needed: processes that look at the same moment may do so
    assert sweep.settle() == [0]
    sweep.retry_lost()
    assert states(sweep) == ["lost", "complete", "complete"]
    sweep.total = 3
    sweep.retry_lost()
    assert work(sweep, 3) == [lost], "once more are asked for, it is the first"


def test_of_two_retries_of_the_same_settings_the_second_is_known(tmp_path: Path) -> None:
    sweep = opened(tmp_path / "a")
    start_and_die(sweep)
    sweep.settle()
    sweep.retry(0)  # as a second process would that starts in this moment
    assert [sweep.is_retried_twice(trial) for trial in sweep.trials()] == [False, False, True]


def test_eight_threads_start_at_most_seven_trials_too_many(tmp_path: Path) -> None:
    total = 10
    own = [opened(tmp_path / "a", sampler="random") for _ in range(8)]
    threads = [threading.Thread(target=work, args=(sweep, total)) for sweep in own]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert total <= own[0].num_finished() <= total + 7
    assert set(states(own[0])) == {"complete"}


def test_a_storage_that_fails_at_the_end_of_a_trial_says_so(tmp_path: Path, monkeypatch) -> None:
    sweep, cause = opened(tmp_path / "a"), OSError("the connection was lost")
    where = sweep._storage

    def fail(*arguments: object) -> None:
        raise optuna.exceptions.StorageInternalError("no answer") from cause

    def objective(trial: optuna.Trial) -> float:
        monkeypatch.setattr(where, "set_trial_state_values", fail)
        monkeypatch.setattr(where, "get_trial", fail)
        return 1.0

    with pytest.raises(optuna.exceptions.StorageInternalError, match="no answer") as failure:
        sweep.run_one(objective)
    assert failure.value.__cause__ is cause
    monkeypatch.undo()
    with pytest.raises(UnboundLocalError):  # what Optuna itself says; else `run_one` need not look behind it
        sweep.optuna_study.optimize(objective, n_trials=1)


def test_a_journal_that_cannot_be_written_at_the_end_of_a_trial_says_so(tmp_path: Path, monkeypatch) -> None:
    sweep = opened(tmp_path / "a")

    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    def objective(trial: optuna.Trial) -> float:
        monkeypatch.setattr(storage._Journal, "append_logs", fail)
        return 1.0

    with pytest.raises(OSError, match="No space left"):
        sweep.run_one(objective)
    monkeypatch.undo()
    with pytest.raises(AssertionError):  # what Optuna itself says; else `run_one` need not look behind it
        sweep.optuna_study.optimize(objective, n_trials=1)


def test_failed_trials_count_and_their_row_is_seen(tmp_path: Path) -> None:
    sweep = opened(tmp_path / "a")
    work(sweep, 4, failing=(2, 3))
    assert states(sweep) == ["complete", "complete", "failed", "failed"]
    assert sweep.failures_in_a_row() == 2
    assert outcomes.reason_of(sweep.trials()[3]) == "NaN"
    work(sweep, 5)
    assert sweep.failures_in_a_row() == 0
    assert sweep.num_finished() == 5


def test_two_goals_have_a_front_and_one_has_a_best(tmp_path: Path) -> None:
    two, least = opened(tmp_path / "a", goals=("recognised", "probability")), opened(tmp_path / "a", name="least")
    assert two.best() == []
    for values in ([0.5, 0.5], [0.9, 0.1], [0.4, 0.4]):
        two.run_one(lambda trial, values=values: values)
    assert [trial.number for trial in two.best()] == [0, 1]
    for value in (2.0, 1.0, 1.0):
        least.run_one(lambda trial, value=value: value)
    assert [trial.number for trial in least.best()] == [1]


@pytest.mark.parametrize("who", ["the process that has it open", "another"])
def test_a_torn_line_is_cut_off_and_kept_beside_the_journal(tmp_path: Path, who: str) -> None:
    sweep = opened(tmp_path / "a")
    work(sweep, 2)
    for _ in range(2):
        with (tmp_path / "a").open("ab") as file:
            file.write(b'{"op_code": 4, "wor')
        sweep = sweep if who.startswith("the process") else opened(tmp_path / "a")
        work(sweep, sweep.num_finished() + 1)
    assert states(opened(tmp_path / "a")) == ["complete"] * 4
    assert (tmp_path / "a.torn").read_bytes() == 2 * b'{"op_code": 4, "wor\n'


@pytest.mark.parametrize("kind", ["database", "text", "text without an end", "JSON", "bytes"])
def test_a_file_that_is_no_journal_is_refused_and_left_as_it_is(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "precious"
    if kind == "database":
        with sqlite3.connect(tmp_path / "made") as connection:
            connection.execute("CREATE TABLE runs (name TEXT)")
        connection.close()
        shutil.copy(tmp_path / "made", path)
    else:
        content = {"text": b"my notes\n", "text without an end": b"my notes", "JSON": json.dumps([1]).encode()}
        path.write_bytes(content.get(kind, b"\xff\x00\xfe"))
    before = path.read_bytes()
    with pytest.raises(study.StudyError, match="`storage` must be .*precious is no journal of Optuna's"):
        storage.open_storage(str(path))
    assert path.read_bytes() == before
    assert not list(tmp_path.glob("precious.*"))


@pytest.mark.parametrize(
    "table", ["runs (name TEXT)", "studies (name TEXT)", "alembic_version (v TEXT), users (a TEXT)"]
)
def test_a_database_of_another_program_is_refused_and_left_as_it_is(tmp_path: Path, table: str) -> None:
    path = tmp_path / "precious.db"
    with sqlite3.connect(path) as connection:
        for each in re.split(r"(?<=\)), ", table):
            connection.execute(f"CREATE TABLE {each}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(study.StudyError, match="precious.db holds tables of another program .*left as it is"):
        storage.open_storage(f"sqlite:///{path}")
    assert path.read_bytes() == before


def test_tables_of_others_may_stand_beside_those_of_optuna(tmp_path: Path) -> None:
    opened(f"sqlite:///{tmp_path}/a.db").close()
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("CREATE TABLE runs (name TEXT)")
    connection.close()
    opened(f"sqlite:///{tmp_path}/a.db").close()


@pytest.mark.parametrize("kind", ["/dev/zero", "/dev/null", "pipe"])
def test_a_device_or_a_pipe_is_no_storage(tmp_path: Path, kind: str) -> None:
    if kind == "pipe":
        os.mkfifo(tmp_path / "pipe")
    with pytest.raises(study.StudyError, match="is a device or a pipe"):
        storage.refuse_storage(str(tmp_path / kind))


@pytest.mark.slow
def test_a_database_retries_what_sends_no_heartbeats_and_believes_what_was_said(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(storage, "SECONDS_BETWEEN_HEARTBEATS", 1)
    monkeypatch.setattr(storage, "SECONDS_WITHOUT_HEARTBEAT", 2)
    url = f"sqlite:///{tmp_path}/a.db"
    sweep = opened(url)

    def slow(trial: optuna.Trial) -> float:
        trial.set_user_attr(outcomes.PROCESS, DEAD)  # of another machine that has the same name: only heartbeats count
        trial.set_user_attr(outcomes.RUN_ID, "r")
        time.sleep(3.5)
        other = opened(url)
        assert other.settle() == [], "it sends heartbeats"
        other.close()
        return 1.0

    assert sweep.settle() == []
    sweep.run_one(slow)
    start_and_die(sweep, outcome=Outcome("complete", (0.25,)))
    lost = start_and_die(sweep)
    assert sweep.settle() == [], "others may be about to tell"
    time.sleep(3.5)
    other = opened(url)
    assert sorted(other.settle()) == [1, 2]
    assert states(other) == ["complete", "complete", "lost", "waiting"] and other.trials()[1].value == 0.25
    assert other.trials()[3].params == lost and outcomes.PROCESS not in other.trials()[3].user_attrs
    for each in (sweep, other):
        each.close()


@pytest.mark.parametrize(("sampler", "package"), [("gp", "torch"), ("cmaes", "cmaes")])
def test_a_sampler_without_its_package_is_refused(monkeypatch, sampler: str, package: str) -> None:
    monkeypatch.setattr(sweeps, "find_spec", lambda name: None)
    with pytest.raises(SettingError, match=f"pip install {package}"):
        SweepSettings(sampler=sampler)


def test_a_storage_that_cannot_be_opened_is_refused_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(study.StudyError, match="there is no folder"):
        storage.open_storage(str(tmp_path / "none" / "a"))
    with pytest.raises(study.StudyError) as refusal:
        storage.open_storage("postgresql://me:secret@127.0.0.1:1/nothing")
    with pytest.raises(study.StudyError, match="must be the path of a journal file"):
        storage.open_storage("redis://127.0.0.1/0")
    assert "secret" not in str(refusal.value) and "me@127.0.0.1:1/nothing" in str(refusal.value)


def test_hyperband_begins_at_the_first_snapshot_or_epoch(monkeypatch) -> None:
    monkeypatch.setattr(samplers, "HyperbandPruner", dict)
    ascents = space_of({**RANGES, "steps": "200", "snapshot_every": "50"})
    trainings = space_of({"learning_rate": "0.01..0.1", "epochs": "9"}, TrainSettings)
    for space, first, last in ((ascents, 50, 200), (trainings, 1, 9)):
        assert samplers.make_pruner("hyperband", space) == {"min_resource": first, "max_resource": last}


WORKER = """
import sys, time
from mnist_cnn.settings import AscentSettings, search_space
from mnist_cnn.sweeps import samplers, outcomes, study

study.SECONDS_TO_SIGN = 1.0
space = search_space.read(AscentSettings, {"l2_weight": "1e-5..1e-1:log"}, frozenset())
plan = {"total": 100, "sampler": "random", "pruner": "none", "seed": 0, "fingerprint": {}}
sweep, _ = study.open_study(sys.argv[1], "s", space, ["loss"], **plan)

def objective(trial):
    trial.set_user_attr(outcomes.PROCESS, sweep.processes.this)
    value = samplers.suggest(trial, space)["l2_weight"]
    time.sleep(0.05)
    return value

while sweep.num_finished() < 100:
    sweep.settle()
    sweep.run_one(objective)
"""


@pytest.mark.slow
def test_workers_that_are_killed_at_any_moment_lose_nothing(tmp_path: Path, monkeypatch) -> None:
    """Kills at moments spread over a worker's life, two workers at once; then the total is there."""
    monkeypatch.setattr(study, "SECONDS_TO_SIGN", 0.1)
    command = [sys.executable, "-c", WORKER, str(tmp_path / "a")]
    for kill in range(8):
        pair = [subprocess.Popen(command, cwd=PROJECT) for _ in range(2)]
        size = (tmp_path / "a").stat().st_size if (tmp_path / "a").exists() else 0
        deadline = time.monotonic() + 120
        while (not (tmp_path / "a").exists() or (tmp_path / "a").stat().st_size < size + 2000) and kill < 7:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.037 * kill)
        for process in pair:
            process.send_signal(signal.SIGKILL)
            process.wait()
    sweep = opened(tmp_path / "a", {"l2_weight": "1e-5..1e-1:log"}, fingerprint={}, sampler="random")
    assert len(sweep.trials()) > 8, "the workers were killed before they did anything"
    deadline = time.monotonic() + 60
    sweep.retry_lost()
    while sweep.num_finished() < 100 and time.monotonic() < deadline:
        sweep.settle()
        work(sweep, 100)
    assert states(sweep).count("complete") in (100, 101)
    assert "running" not in states(sweep)
