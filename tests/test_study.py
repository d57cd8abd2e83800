from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import optuna
import pytest
from conftest import PROJECT
from optuna.trial import TrialState

from mnist_cnn.settings import AscentSettings, TrainSettings, search_space
from mnist_cnn.sweeps import study

RANGES = {"l2_weight": "1e-5..1e-1:log", "shift": "0..2"}
GRID = {"l2_weight": "0.1,0.2,0.3", "shift": "0,1"}


def opened(storage: Path | str, words: dict[str, str] = RANGES, name: str = "s", **how) -> study.Study:
    made_of = search_space.read(AscentSettings, words, frozenset())
    goals = how.pop("goals", ("loss",))
    plan = {"sampler": "tpe", "pruner": "none", "seed": 0, "fingerprint": made_of.words(), **how}
    return study.open_study(str(storage), name, made_of, goals, **plan)[0]


def work(one: study.Study, total: int, upto: int = 10_000) -> list[dict]:
    done = []
    while len(done) < upto and (trial := one.claim(total)) is not None:
        values = one.suggest(trial)
        assert one.complete(trial.number, [values["l2_weight"] + values.get("shift", 0)] * len(one.goals))
        done.append(values)
    return done


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


def test_plain_optuna_opens_the_study(tmp_path: Path) -> None:
    work(opened(tmp_path / "a"), 3)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / "a")))
    plain = optuna.load_study(study_name="s", storage=storage)
    assert [trial.state for trial in plain.trials] == [TrialState.COMPLETE] * 3
    assert set(plain.best_params) == {"l2_weight", "shift"}


def test_a_lost_trial_is_tried_again_with_the_same_settings_and_does_not_count(tmp_path: Path) -> None:
    one = opened(tmp_path / "a")
    trial = one.claim(3)
    wanted = one.suggest(trial)
    assert one.lost() == []
    trial.set_user_attr(study.PROCESS, f"{study.processes.this_process().split()[0]} 999999999 1")
    other = opened(tmp_path / "a")
    assert other.lost() == [0]
    assert other.give_up(0, "its process is gone")
    assert not other.give_up(0, "its process is gone")
    assert not one.complete(0, [1.0])
    tried = work(other, 3)
    assert tried[0] == wanted
    assert [study.state_of(each) for each in other.trials()] == ["lost", "complete", "complete", "complete"]
    assert other.trials()[1].system_attrs["retry_history"] == [0]


def test_a_trial_that_nobody_put_a_name_to_is_lost_after_a_while(tmp_path: Path, monkeypatch) -> None:
    one = opened(tmp_path / "a")
    one._study.ask()
    assert one.lost() == []
    monkeypatch.setattr(study, "SECONDS_TO_OWN", 0.0)
    time.sleep(0.01)
    assert one.lost() == [0]


def test_no_more_than_the_total_is_claimed_though_all_claim_at_once(tmp_path: Path) -> None:
    """Eight threads, each with the study open for itself, want ten trials and look again and again."""
    total, claimed = 10, []
    each_own = [opened(tmp_path / "a", sampler="random") for _ in range(8)]

    def claim(one: study.Study) -> None:
        while (trial := one.claim(total)) is not None:
            claimed.append(trial.number)

    threads = [threading.Thread(target=claim, args=(one,)) for one in each_own]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == list(range(total))
    assert len(each_own[0].trials()) == total


def test_failed_trials_count_and_their_row_is_seen(tmp_path: Path) -> None:
    one = opened(tmp_path / "a")
    work(one, 2)
    for number in (2, 3):
        one.claim(10)
        one.fail(number, "NaN")
    assert one.failures_in_a_row() == 2
    assert one.trials()[3].user_attrs["reason"] == "NaN"
    work(one, 5)
    assert one.failures_in_a_row() == 0
    assert one.is_finished(5) and not one.is_finished(6)


def test_two_goals_have_a_front_and_one_has_a_best(tmp_path: Path) -> None:
    two = opened(tmp_path / "a", goals=("recognised", "probability"))
    assert two.best() == []
    for values in ([0.5, 0.5], [0.9, 0.1], [0.4, 0.4]):
        two.complete(two.claim(3).number, values)
    assert [trial.number for trial in two.best()] == [0, 1]
    least = opened(tmp_path / "a", name="least")
    for value in (2.0, 1.0, 1.0):
        least.complete(least.claim(3).number, [value])
    assert [trial.number for trial in least.best()] == [1]


@pytest.mark.parametrize("who", ["the one that has it open", "another"])
def test_a_line_that_was_cut_short_is_dropped(tmp_path: Path, who: str) -> None:
    one = opened(tmp_path / "a")
    work(one, 2)
    with (tmp_path / "a").open("ab") as file:
        file.write(b'{"op_code": 4, "wor')
    assert len(work(one if who.startswith("the one") else opened(tmp_path / "a"), 3)) == 1
    assert [study.state_of(trial) for trial in opened(tmp_path / "a").trials()] == ["complete"] * 3


def test_a_trial_that_was_lost_before_it_could_line_up_again_is_repaired(tmp_path: Path, monkeypatch) -> None:
    one = opened(tmp_path / "a", GRID, sampler="grid")
    lost = one.suggest(one.claim(6))
    with monkeypatch.context() as patch:
        patch.setattr(study.Study, "_line_up", lambda self, trial: None)  # killed in that moment
        assert one.give_up(0, "gone")
    again = opened(tmp_path / "a", GRID, sampler="grid")
    again.repair()
    again.repair()
    tried = work(again, 6)
    assert tried[0] == lost
    assert len({tuple(values.items()) for values in tried}) == 6


def test_a_trial_that_ended_in_the_moment_it_was_given_up_counts(tmp_path: Path) -> None:
    one = opened(tmp_path / "a")
    trial = one.claim(1)
    one.suggest(trial)
    trial.set_user_attr(study.LOST, "nothing was heard")
    one.complete(0, [1.0])
    assert study.state_of(one.trials()[0]) == "complete" and one.is_finished(1)


def test_on_a_journal_a_process_of_another_machine_is_gone(tmp_path: Path) -> None:
    one = opened(tmp_path / "a")
    one.claim(1).set_user_attr(study.PROCESS, "another-machine 7 1700000000")
    assert one.lost() == [0]


def test_a_database_counts_on_heartbeats_alone(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(study, "SECONDS_BETWEEN_HEARTBEATS", 1)
    monkeypatch.setattr(study, "SECONDS_WITHOUT_HEARTBEAT", 1)
    one = opened(f"sqlite:///{tmp_path}/a.db")
    trial = one.claim(2)
    trial.set_user_attr(study.PROCESS, f"{study.processes.this_process().split()[0]} 999999999 1")
    assert one.lost() == []  # a machine of the same name may be at work on it
    with one.heartbeat(trial):
        time.sleep(2.5)
        assert one.lost() == []
    time.sleep(2.5)
    assert one.lost() == [0]
    study._engine(one._storage).dispose()


@pytest.mark.parametrize(("sampler", "package"), [("gp", "torch"), ("cmaes", "cmaes")])
def test_a_sampler_without_its_package_is_refused(monkeypatch, sampler: str, package: str) -> None:
    monkeypatch.setattr(study, "find_spec", lambda name: None)
    with pytest.raises(study.StudyError, match=f"pip install {package}"):
        study.make_sampler(sampler, search_space.read(AscentSettings, RANGES, frozenset()), 0, 1)


def test_a_storage_that_cannot_be_opened_is_refused_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(study.StudyError, match="there is no folder"):
        study.open_storage(str(tmp_path / "none" / "a"))
    with pytest.raises(study.StudyError) as refusal:
        study.open_storage("postgresql://me:secret@127.0.0.1:1/nothing")
    with pytest.raises(study.StudyError, match="must be the path of a journal file"):
        study.open_storage("redis://127.0.0.1/0")
    assert "secret" not in str(refusal.value) and "me@127.0.0.1:1/nothing" in str(refusal.value)


WORKER = """
import sys
from mnist_cnn import space, study
from mnist_cnn.settings import AscentSettings
made_of = search_space.read(AscentSettings, {"l2_weight": "1e-5..1e-1:log"}, frozenset())
one, _ = study.open_study(sys.argv[1], "s", made_of, ["loss"], sampler="random", pruner="none", seed=0, fingerprint={})
while True:
    for number in one.lost():
        one.give_up(number, "gone")
    trial = one.claim(int(sys.argv[2]))
    if trial is None:
        break
    values = one.suggest(trial)
    one.complete(trial.number, [values["l2_weight"]])
"""


@pytest.mark.slow
def test_workers_that_are_killed_at_any_moment_lose_nothing(tmp_path: Path, monkeypatch) -> None:
    """Twelve kills at moments spread over a worker's life; two workers at once; then the total is there exactly."""
    monkeypatch.setattr(study, "SECONDS_TO_OWN", 0.1)
    command = [sys.executable, "-c", WORKER, str(tmp_path / "a"), "60"]
    for kill in range(12):
        pair = [subprocess.Popen(command, cwd=PROJECT) for _ in range(2)]
        time.sleep(1.2 + 0.037 * kill)
        pair[0].send_signal(signal.SIGKILL)
        for process in pair[::-1] if kill == 11 else pair[:1]:
            process.wait()
        pair[1].send_signal(signal.SIGKILL)
        pair[1].wait()
    one = opened(tmp_path / "a", {"l2_weight": "1e-5..1e-1:log"}, fingerprint={}, sampler="random")
    assert len(one.trials()) > 20, "the workers were killed before they did anything"
    deadline = time.monotonic() + 60
    while not one.is_finished(60) and time.monotonic() < deadline:
        for number in one.lost():
            one.give_up(number, "gone")
        work(one, 60)
    states = [study.state_of(trial) for trial in one.trials()]
    assert states.count("complete") == 60
    assert "running" not in states


def test_hyperband_begins_at_the_first_snapshot_or_epoch() -> None:
    ascents = search_space.read(AscentSettings, {**RANGES, "steps": "200", "snapshot_every": "50"}, frozenset())
    trainings = search_space.read(TrainSettings, {"learning_rate": "0.01..0.1", "epochs": "9"}, frozenset())
    for made_of, first, last in ((ascents, 50, 200), (trainings, 1, 9)):
        pruner = study.make_pruner("hyperband", made_of)
        assert (pruner._min_resource, pruner._max_resource) == (first, last)
