from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import optuna
import psycopg
import pytest
from commands import Service, free_port, optuna_proxy, postgresql, wait_for
from conftest import PROJECT
from optuna.exceptions import StorageInternalError
from test_study import opened, start_and_die, states, work

from mnist_cnn.settings import SettingError, SweepSettings, sweeps
from mnist_cnn.sweeps import outcomes, proxy, storage, study
from mnist_cnn.sweeps.outcomes import Outcome


@pytest.mark.parametrize("place", ["127.0.0.1:13000", "proxy-0.sweeps.svc:1", "[::1]:65535", "my_host:80"])
def test_a_proxy_has_a_host_and_a_port(place: str) -> None:
    host, _, port = place.rpartition(":")
    assert sweeps.place_of_proxy(f"grpc://{place}") == (host, int(port))
    assert SweepSettings(storage=f"grpc://{place}", workers=4).storage == f"grpc://{place}"


@pytest.mark.parametrize(
    "address",
    ["grpc://", "grpc://host", "grpc://host:", "grpc://:13000", "grpc://host:0", "grpc://host:65536", "grpc://h:1/db",
     "grpc://me:secret@host:1", "grpc://::1:13000", "grpc://host:١", "GRPC://host:1", "grpc+tls://host:1"],
)  # fmt: skip
def test_an_address_without_host_or_port_is_refused(address: str) -> None:
    with pytest.raises(SettingError, match="^`storage` must be .*, or be grpc://HOST:PORT; got [^\n]*$") as refusal:
        SweepSettings(storage=address)
    assert "secret" not in str(refusal.value)
    with pytest.raises(study.StudyError, match="grpc://HOST:PORT"):
        storage.open_storage(address)


def test_a_proxy_without_its_package_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(sweeps, "find_spec", lambda name: None)
    with pytest.raises(SettingError, match=r"needs the package grpcio; install it: pip install .*'\.\[grpc\]'"):
        SweepSettings(storage="grpc://host:13000")


@pytest.mark.parametrize("is_listening", [False, True])
def test_a_proxy_that_does_not_answer_is_refused_within_seconds(monkeypatch, is_listening: bool) -> None:
    """Nobody listens there, or something that speaks another language."""
    monkeypatch.setattr(proxy, "SECONDS_TO_ANSWER", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1] if is_listening else free_port()
        started = time.monotonic()
        with pytest.raises(
            study.StudyError, match=f"grpc://127.0.0.1:{port} does not answer. Start .*many_machines.md"
        ):
            storage.refuse_storage(f"grpc://127.0.0.1:{port}")
    assert time.monotonic() - started < 5


class Cut(grpc.RpcError):
    """How gRPC says that a call failed."""

    def __init__(self, code: str, details: str) -> None:
        self._code, self._details = grpc.StatusCode[code], details

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details


AWAY, BROKEN = Cut("UNAVAILABLE", "connection refused"), Cut("UNKNOWN", "Exception calling application: of SQLAlchemy")
NO_METHOD = Cut("UNIMPLEMENTED", "Method not found!")


class Server:
    """Stands for Optuna's client and what is behind it. failures: what each call raises until it answers."""

    failures: list[Exception] = []
    num_closed = 0

    def __init__(self, **place: object) -> None:
        pass

    def wait_server_ready(self, timeout: float) -> None:
        pass

    def get_study_id_from_name(self, name: str) -> int:
        raise KeyError

    def get_all_studies(self) -> list[str]:
        if self.failures:
            raise self.failures.pop()
        return ["a study"]

    def close(self) -> None:
        Server.num_closed += 1


@pytest.fixture
def server(monkeypatch) -> type[Server]:
    monkeypatch.setattr(proxy, "GrpcStorageProxy", Server)
    monkeypatch.setattr(proxy.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(Server, "num_closed", 0)
    return Server


def test_a_proxy_that_went_away_is_waited_for(server: type[Server], capsys) -> None:
    there = proxy.Proxy("host", 1, patience=60)
    before = there.back_since
    server.failures = [BROKEN] * (proxy.ATTEMPTS - 1) + [AWAY] * 9
    assert there.get_all_studies() == ["a study"]
    assert there.back_since > before
    assert server.num_closed == 9, "a new channel each time: an old one waits ever longer"
    said = "The sweep's database does not answer at grpc://host:1; waiting for it, 1 minutes at most.\n"
    assert capsys.readouterr().out == said
    server.failures = [AWAY]
    there.get_all_studies()
    assert capsys.readouterr().out == said, "once each time"


def test_a_proxy_that_stays_away_is_given_up_once(server: type[Server]) -> None:
    there = proxy.Proxy("host", 1, patience=0.05)
    server.failures = [AWAY] * 10**6
    with pytest.raises(StorageInternalError, match=r"^grpc://host:1 failed \(UNAVAILABLE: connection refused\)$"):
        there.get_all_studies()
    left = len(server.failures)
    with pytest.raises(StorageInternalError):
        there.get_all_studies()
    assert len(server.failures) == left - 1, "what is still to be said does not wait as long again"
    server.failures = []
    assert there.get_all_studies() == ["a study"]
    server.failures = [AWAY]
    assert there.get_all_studies() == ["a study"], "it was there again, so it is waited for again"


@pytest.mark.parametrize(("error", "calls"), [(BROKEN, proxy.ATTEMPTS), (NO_METHOD, 1)])
def test_what_fails_in_the_proxy_is_not_tried_for_ever(server: type[Server], error: Cut, calls: int) -> None:
    there = proxy.Proxy("host", 1, patience=60)
    server.failures = [error] * 100
    with pytest.raises(StorageInternalError, match=error.details()):
        there.get_all_studies()
    assert len(server.failures) == 100 - calls


def test_a_call_on_a_channel_that_another_thread_has_replaced_is_made_again(server: type[Server], monkeypatch) -> None:
    there = proxy.Proxy("host", 1, patience=60)
    first = there._proxy

    def cut(self: Server) -> list[str]:
        if self is first:
            there._reopen(first)
            raise ValueError("Cannot invoke RPC on closed channel!")
        return ["a study"]

    monkeypatch.setattr(server, "get_all_studies", cut)
    assert there.get_all_studies() == ["a study"]
    monkeypatch.setattr(server, "get_all_studies", lambda self: int("no number"))
    with pytest.raises(ValueError, match="no number"):
        there.get_all_studies()


def test_beats_move_as_long_as_the_trial_runs(tmp_path: Path) -> None:
    sweep, seen = opened(tmp_path / "a"), []

    def objective(trial: optuna.Trial) -> float:
        before = threading.active_count()
        with proxy.beating(trial, 0.01):
            wait_for(lambda: not seen.append(sweep.trials()[0].user_attrs[proxy.BEAT]) and seen[-1] > 2, 20)
        assert threading.active_count() == before
        return 1.0

    sweep.run_one(objective)
    assert seen[0] < 3 and seen == sorted(seen) and states(sweep) == ["complete"]


def test_beats_end_with_a_trial_that_others_have_ended(tmp_path: Path) -> None:
    sweep = opened(tmp_path / "a")

    def objective(trial: optuna.Trial) -> float:
        before = threading.active_count()
        with proxy.beating(trial, 0.01):
            sweep.tell(0, Outcome("lost"))
            wait_for(lambda: threading.active_count() == before, 20)
        raise study.TrialFailed

    with pytest.raises(ValueError, match="Cannot tell a FAIL trial"):
        sweep.run_one(objective)
    assert states(sweep) == ["lost", "waiting"]


@pytest.fixture(scope="module")
def database() -> Iterator[Service]:
    with postgresql("one", "shared", "restarted") as server:
        yield server


@pytest.mark.slow
def test_a_trial_whose_beats_stand_still_is_retried_and_what_was_said_is_believed(
    database: Service, monkeypatch
) -> None:
    monkeypatch.setattr(study, "SECONDS_BETWEEN_HEARTBEATS", 0.2)
    monkeypatch.setattr(study, "SECONDS_WITHOUT_HEARTBEAT", 2.0)
    with optuna_proxy(f"{database.url}/one") as there:
        sweep, other = opened(there.url), opened(there.url)
        assert sweep.settle() == []

        def slow(trial: optuna.Trial) -> float:
            trial.set_user_attr(outcomes.RUN_ID, "r")
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline:
                assert other.settle() == [], "it beats"
                time.sleep(0.3)
            return 1.0

        sweep.run_one(slow)
        start_and_die(sweep, outcome=Outcome("complete", (0.25,)))
        lost = start_and_die(sweep)
        start_and_die(sweep, process="", drawn=False)
        assert sweep.settle() == [], "others may be about to tell"
        assert other.settle() == []
        there.stop()
        back = threading.Timer(2.5, there.start)
        back.start()
        assert other.settle() == [], "after it was away, all have as long again"
        back.join()
        time.sleep(2.5)
        third = opened(there.url)
        assert third.settle() == [1], "it has not looked for long enough at the others"
        assert sorted(other.settle()) == [2, 3]
        assert states(other) == ["complete", "complete", "lost", "lost", "waiting", "waiting"]
        assert other.trials()[1].value == 0.25 and other.trials()[4].params == lost
        assert work(other, 4)[0] == lost
        direct = opened(f"{database.url}/one")
        assert direct.settle() == [] and states(direct).count("complete") == 4, "the database itself says the same"
        for each in (sweep, other, third, direct):
            each.close()


WORKER = """
import os, sys, time
from mnist_cnn.settings import AscentSettings, search_space
from mnist_cnn.sweeps import proxy, samplers, outcomes, study

address, total, hangs = sys.argv[1], int(sys.argv[2]), len(sys.argv) > 3
study.SECONDS_BETWEEN_HEARTBEATS, study.SECONDS_WITHOUT_HEARTBEAT = 0.5, 6.0
proxy.SECONDS_TO_ANSWER = 3.0
space = search_space.read(AscentSettings, {"l2_weight": "1e-5..1e-1:log"}, frozenset())
plan = {"total": total, "sampler": "random", "pruner": "none", "seed": 0, "fingerprint": {}}
sweep, _ = study.open_study(address, "s", space, ["loss"], **plan)

def objective(trial):
    global number
    number = trial.number
    trial.set_user_attr("pid", os.getpid())
    value = samplers.suggest(trial, space)["l2_weight"]
    trial.set_user_attr(outcomes.RUN_ID, f"{os.getpid()} {trial.number}")
    time.sleep(600 if hangs and trial.number > 20 else 0.2)
    outcomes.set_outcome(trial, outcomes.Outcome("complete", (value,)))
    return value

while not sweep.is_finished():
    sweep.settle()
    if sweep.needs_a_trial():
        try:
            sweep.run_one(objective)
        except Exception:  # another process was first to tell Optuna how it ended
            if not sweep.trials()[number].state.is_finished():
                raise
    else:
        time.sleep(0.2)
while sweep.run_by_others():  # it is seen how they end
    sweep.settle()
    time.sleep(0.2)
sweep.close()
"""


def worker(address: str, total: int, *hangs: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-c", WORKER, address, str(total), *hangs]
    return subprocess.Popen(command, cwd=PROJECT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def check(trials: list[optuna.trial.FrozenTrial], total: int, num_workers: int) -> list[str]:
    """None is lost or doubled; returns how each ended."""
    ended = [outcomes.state_of(trial) for trial in trials]
    assert [trial.number for trial in trials] == list(range(len(trials)))
    assert total <= ended.count("complete") <= total + num_workers - 1
    assert set(ended) <= {"complete", "lost"}, Counter(ended)
    drawn = [trial.params["l2_weight"] for trial in trials if outcomes.state_of(trial) == "complete"]
    assert len(set(drawn)) == len(drawn), "none is done twice"
    retried = Counter(trial.user_attrs.get(outcomes.RETRY_OF) for trial in trials)
    lost = [number for number, state in enumerate(ended) if state == "lost"]
    # Workers that start trials at the same moment may do more than is missing; then nothing is left to retry.
    is_retry = [outcomes.RETRY_OF in trial.user_attrs for trial in trials]
    without_retries = sum(state == "complete" and not own for state, own in zip(ended, is_retry, strict=True))
    assert all(retried[number] == 1 or (retried[number] == 0 and without_retries >= total) for number in lost), retried
    return ended


@pytest.mark.slow
def test_eight_workers_share_a_study_through_a_proxy_though_one_is_killed(database: Service) -> None:
    url = f"{database.url}/shared"
    with optuna_proxy(url) as there:
        # So many that it is seen that one was killed, after 6 s, while there are still some to do.
        workers = [worker(there.url, 350, *["hangs"] * (number == 0)) for number in range(8)]
        try:
            sweep = opened(there.url, {"l2_weight": "1e-5..1e-1:log"}, fingerprint={}, sampler="random")

            def hanging() -> list[int]:
                trials = sweep.trials()
                running = [trial for trial in trials if trial.state == optuna.trial.TrialState.RUNNING]
                mine = [trial.number for trial in running if trial.user_attrs.get("pid") == workers[0].pid]
                return mine if len(trials) > 50 else []

            wait_for(hanging)
            (lost,) = hanging()
            with psycopg.connect(url) as connection:
                (count,) = connection.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = 'shared' AND pid <> pg_backend_pid()"
                ).fetchone()
            assert 1 <= count <= 15, "fewer connections than workers that have two each"
            workers[0].send_signal(signal.SIGKILL)
            outputs = [process.communicate(timeout=200)[0] for process in workers]
            assert [process.returncode for process in workers] == [-9, *[0] * 7], outputs
            trials = sweep.trials()
            assert check(trials, 350, 8)[lost] == "lost"
            (again,) = [trial for trial in trials if trial.user_attrs.get(outcomes.RETRY_OF) == lost]
            assert again.params == trials[lost].params and outcomes.state_of(again) == "complete"
            assert len({trial.user_attrs.get("pid") for trial in trials}) == 8, "all did their share"
            sweep.close()
        finally:
            for process in workers:
                process.kill()
                process.wait()


@pytest.mark.slow
def test_a_proxy_and_its_database_that_are_restarted_lose_nothing(database: Service) -> None:
    with optuna_proxy(f"{database.url}/restarted") as there:
        workers = [worker(there.url, 150) for _ in range(3)]
        try:
            sweep = opened(there.url, {"l2_weight": "1e-5..1e-1:log"}, fingerprint={}, sampler="random")
            wait_for(lambda: sweep.num_finished() > 20)
            there.stop()
            time.sleep(8)  # longer than a beat may stand still
            there.start()
            wait_for(lambda: sweep.num_finished() > 60)
            database.stop()
            time.sleep(8)
            database.start()
            outputs = [process.communicate(timeout=200)[0] for process in workers]
            assert [process.returncode for process in workers] == [0] * 3, outputs
            assert all(output.count("does not answer") == 1 for output in outputs), outputs
            trials = sweep.trials()
            lost = [trials[number] for number, state in enumerate(check(trials, 150, 3)) if state == "lost"]
            assert all(outcomes.RUN_ID not in trial.user_attrs for trial in lost), "but what was cut off in its making"
            assert len(lost) <= 6
            sweep.close()
        finally:
            for process in workers:
                process.kill()
                process.wait()
