"""Sweeps in processes of their own, killed, interrupted, joined; each time Optuna and MLflow must say the same."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import optuna
import psutil
import pytest
import sqlalchemy
from commands import (
    Service,
    browser_page,
    client_of,
    mlflow_run,
    optuna_proxy,
    pictures_folder,
    postgresql,
    run,
    serving,
    start,
    wait_for,
)

from mnist_cnn.sweeps import outcomes
from mnist_cnn.sweeps.storage import close_storage, quiet
from mnist_cnn.tracking import sweep_runs

pytestmark = pytest.mark.slow

SWEEP = (sys.executable, "-m", "pipelines", "sweep")
TINY = ["--steps=2", "--snapshot_every=1", "--num_images=1", "--goal=probability", "--pruner=none", "--sampler=random"]
ONE_OPEN = [
    "--start=noise", "--learning_rate=0.05", "--tv_weight=0", "--smoothness_weight=0", "--border_weight=0",
    "--temperature=1", "--shift=0", "--degrees=0",
]  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, fresh_store: Callable[[Path], Path], small_dataset: Path) -> Path:
    """A folder with a store that holds a network."""
    folder = fresh_store(tmp_path_factory.mktemp("sweeps"))
    status, output = run(
        sys.executable, "-m", "pipelines", "train", "--dataset", small_dataset, "--batch_size=64", cwd=folder
    )
    assert status == 0, output
    return folder


@pytest.fixture
def words(small_dataset: Path) -> list[str]:
    return [*TINY, *ONE_OPEN, f"--dataset={small_dataset}"]


def direct(url: str) -> optuna.storages.RDBStorage:
    """A database without our own code around it, and with no connection that outlives a restart."""
    return optuna.storages.RDBStorage(url, engine_kwargs={"poolclass": sqlalchemy.pool.NullPool})


def agreeing(client: mlflow.MlflowClient, storage: optuna.storages.BaseStorage, name: str) -> list[str]:
    """The states of the trials, once it is sure that each has exactly one run that says the same."""
    found = optuna.load_study(study_name=name, storage=storage).trials
    (parent,) = client.search_runs(["0"], f"tags.kind = 'sweep' AND tags.sweep = '{name}'")
    assert parent.info.status == "FINISHED"
    below = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}' AND tags.kind = 'trial'"
    children = client.search_runs(["0"], below, max_results=1000)
    by_number = {int(child.data.tags["trial"]): child for child in children}
    assert len(by_number) == len(children) == len(found)
    for trial in found:
        child, state = by_number[trial.number], outcomes.state_of(trial)
        assert (child.data.tags["state"], child.info.status) == (state, sweep_runs.STATUS[state])
        if state == "complete":
            assert json.loads(child.data.tags["values"]) == trial.values
            assert child.data.metrics["target_probability"] == trial.value
    finished = [trial.params["l2_weight"] for trial in found if outcomes.state_of(trial) == "complete"]
    assert len(set(finished)) == len(finished), "a trial was repeated"
    assert not client.search_runs(["0"], "attributes.status = 'RUNNING'")
    return [outcomes.state_of(trial) for trial in found]


def journal(folder: Path) -> optuna.storages.BaseStorage:
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "sweeps.journal"))
    return optuna.storages.JournalStorage(backend)


@pytest.mark.thorough
def test_kill_9_at_any_moment_loses_and_repeats_nothing(home: Path, words: list[str]) -> None:
    command = [*SWEEP, *words, "--sweep=killed", "--n_trials=60"]
    moments = random.Random(5)

    def kill_once() -> bool:
        """Whether a trial was going on when the kill came."""
        process = start(*command, cwd=home)
        began = len((home / "sweeps.journal").read_bytes()) if (home / "sweeps.journal").exists() else 0
        if moments.random() < 0.75:  # among its trials; else wherever it is on its way there
            wait_for(lambda: (home / "sweeps.journal").exists()
                     and len((home / "sweeps.journal").read_bytes()) > began + 2000)  # fmt: skip
            time.sleep(moments.uniform(0, 0.4))
        else:
            time.sleep(moments.uniform(1, 6))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        try:
            trials = optuna.load_study(study_name="killed", storage=journal(home)).trials
        except KeyError:
            return False
        return any(outcomes.state_of(trial) == "running" for trial in trials)

    hits = 0
    for kills in range(1, 13):  # eight at least, and on until two have hit a trial
        hits += kill_once()
        if kills >= 8 and hits >= 2:
            break
    assert hits >= 2, "no two kills of twelve hit a trial"
    done = [outcomes.state_of(trial) for trial in optuna.load_study(study_name="killed", storage=journal(home)).trials]
    assert "complete" in done
    status, output = run(*command, cwd=home)
    assert status == 0, output
    states = agreeing(client_of(home), journal(home), "killed")
    assert states.count("complete") == 60
    assert set(states) == {"complete", "lost"}


@pytest.mark.alone
def test_ctrl_c_ends_all_workers_within_seconds_and_the_same_command_goes_on(home: Path, words: list[str]) -> None:
    command = [*SWEEP, *words, "--sweep=interrupted", "--workers=2", "--n_trials=40", "--steps=40"]
    command = [word for word in command if word != "--steps=2"]
    process = start(*command, cwd=home)
    family = psutil.Process(process.pid)

    def works() -> bool:
        try:
            found = optuna.load_study(study_name="interrupted", storage=journal(home)).trials
        except KeyError:
            return False
        return sum(trial.state.is_finished() for trial in found) > 2

    wait_for(works, 400)
    workers = family.children(recursive=True)
    asked = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert time.monotonic() - asked < 10
    assert process.returncode == 130 and "The same command continues interrupted" in output, output
    assert "Traceback" not in output
    assert not any(worker.is_running() for worker in workers)
    assert not client_of(home).search_runs(["0"], "attributes.status = 'RUNNING'")
    status, output = run(*command, cwd=home)
    assert status == 0 and "Traceback" not in output, output
    states = agreeing(client_of(home), journal(home), "interrupted")
    assert states.count("complete") in (40, 41)  # two workers may each start the last one


@pytest.mark.thorough
def test_two_sweeps_at_once_on_one_store(home: Path, words: list[str]) -> None:
    pair = [start(*SWEEP, *words, f"--sweep=side-{side}", f"--seed={side}", "--n_trials=15", cwd=home) for side in "12"]
    for process in pair:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
    for side in "12":
        assert agreeing(client_of(home), journal(home), f"side-{side}") == ["complete"] * 15


def test_two_that_begin_the_same_sweep_at_once_share_one_run(home: Path, words: list[str]) -> None:
    pair = [start(*SWEEP, *words, "--sweep=twins", "--n_trials=16", cwd=home) for _ in range(2)]
    outputs = [process.communicate(timeout=300)[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0], outputs
    states = agreeing(client_of(home), journal(home), "twins")
    assert len(states) in (16, 17) and set(states) == {"complete"}


def test_sweeps_that_begin_at_once_in_a_fresh_folder_share_its_store(tmp_path: Path, small_dataset: Path) -> None:
    command = [sys.executable, "-m", "pipelines", "sweep_training", f"--dataset={small_dataset}", "--epochs=1",
               "--batch_size=64", "--n_trials=4", "--pruner=none"]  # fmt: skip
    trio = [start(*command, f"--sweep={name}", cwd=tmp_path) for name in ("first", "first", "second")]
    outputs = [process.communicate(timeout=300)[0] for process in trio]
    assert [process.returncode for process in trio] == [0, 0, 0], outputs
    for name in ("first", "second"):
        (parent,) = client_of(tmp_path).search_runs(["0"], f"tags.kind = 'sweep' AND tags.sweep = '{name}'")
        assert parent.info.status == "FINISHED" and parent.data.metrics["trials_complete"] in (4, 5)


def test_mlflow_run_continues_in_the_same_run(home: Path, small_dataset: Path) -> None:
    plain = [word.removeprefix("--") for word in [*TINY, *ONE_OPEN]]
    for total in (2, 4):
        settings = [*plain, f"dataset={small_dataset}", "sweep=by-mlflow", f"n_trials={total}"]
        status, output = mlflow_run("sweep", *settings, cwd=home)
        assert status == 0, output
        assert agreeing(client_of(home), journal(home), "by-mlflow") == ["complete"] * total
    (continuation,) = client_of(home).search_runs(["0"], "tags.kind = 'continuation'")
    assert (continuation.info.run_name, continuation.info.status) == ("continues by-mlflow", "FINISHED")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A PostgreSQL server, and a tracking server that keeps its runs in it: Optuna's URL and the server's address."""
    folder = tmp_path_factory.mktemp("server")
    with postgresql("optuna", "mlflow") as database:
        address = database.url
        backend = ["--backend-store-uri", f"{address}/mlflow", "--artifacts-destination", str(folder / "artifacts")]
        with serving(folder, "server", *backend) as tracking:
            # Any password will do: the server trusts everybody. It must be seen nowhere.
            yield f"{address.replace('@', ':hush-hush@')}/optuna", tracking


def test_workers_on_postgresql_share_a_study_though_one_is_killed_and_one_comes_late(
    servers: tuple[str, str], tmp_path_factory, small_dataset: Path, words: list[str]
) -> None:
    url, tracking = servers
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = direct(url)
    folder, other = (tmp_path_factory.mktemp(name) for name in ("one", "other"))
    remote = {"MLFLOW_TRACKING_URI": tracking, "TF_NUM_INTRAOP_THREADS": "1"}
    status, output = run(
        sys.executable, "-m", "pipelines", "train", "--dataset", small_dataset, "--batch_size=64", cwd=folder, **remote
    )
    assert status == 0, output
    command = [*SWEEP, *words, "--sweep=many", "--n_trials=200", f"--storage={url}"]
    first = start(*command, "--workers=3", cwd=folder, **remote)

    def finished() -> int:
        try:
            found = optuna.load_study(study_name="many", storage=storage).trials
        except KeyError:
            return 0
        return sum(trial.state.is_finished() for trial in found)

    wait_for(lambda: finished() > 5, 400)
    late = start(*command, cwd=other, **remote)
    wait_for(lambda: finished() > 15, 400)
    psutil.Process(first.pid).children()[0].kill()
    outputs = [process.communicate(timeout=400)[0] for process in (first, late)]
    assert (first.returncode, late.returncode) == (0, 0), outputs
    assert "ended with status -9" in outputs[0]
    assert "Trial" in outputs[1], "the late one did its share"
    client = mlflow.MlflowClient(tracking_uri=tracking)
    states = agreeing(client, storage, "many")
    assert 200 <= states.count("complete") <= 203, "four processes start at most three trials too many"
    assert states.count("lost") <= 1  # the kill may have come between two trials
    assert not list(other.iterdir()), "nothing is written beside remote stores"
    (parent,) = client.search_runs(["0"], "tags.kind = 'sweep'")
    settings = client.download_artifacts(parent.info.run_id, "settings.json", str(folder))
    for place in (str(parent.data), Path(settings).read_text(), *outputs):
        assert "hush-hush" not in place
    assert "sweeper@127.0.0.1" in parent.data.params["storage"]
    close_storage(storage)


def outliving_a_restart(sweep: subprocess.Popen[str], finished: Callable[[], int], service: Service) -> str:
    """What a sweep printed whose database, or its proxy, is away for 8 s after the first five trials."""
    wait_for(lambda: finished() > 5, 200)
    service.stop()
    time.sleep(8)
    service.start()
    return sweep.communicate(timeout=200)[0]


def test_a_database_that_is_restarted_is_waited_for(home: Path, words: list[str]) -> None:
    with postgresql("optuna") as database:
        url = f"{database.url}/optuna"
        storage = direct(url)
        sweep = start(*SWEEP, *words, "--sweep=restarted", "--n_trials=25", f"--storage={url}", cwd=home)

        def finished() -> int:
            with contextlib.suppress(KeyError):
                return len(optuna.load_study(study_name="restarted", storage=storage).trials)
            return 0

        output = outliving_a_restart(sweep, finished, database)
        assert sweep.returncode == 0 and "database" in output, output
        states = agreeing(client_of(home), storage, "restarted")
        assert states.count("complete") == 25 and set(states) <= {"complete", "lost"}
        close_storage(storage)


def test_a_proxy_of_a_database_that_is_restarted_is_waited_for(home: Path, words: list[str]) -> None:
    with postgresql("optuna") as database, optuna_proxy(f"{database.url}/optuna") as proxy:
        address = f"--storage={proxy.url}"
        sweep = start(*SWEEP, *words, "--sweep=proxied", "--n_trials=25", "--workers=2", address, cwd=home)
        with quiet():
            host, port = proxy.url.removeprefix("grpc://").split(":")
            there = optuna.storages.GrpcStorageProxy(host=host, port=int(port))

        def finished() -> int:
            with contextlib.suppress(KeyError):
                found = optuna.load_study(study_name="proxied", storage=there).trials
                return sum(trial.state.is_finished() for trial in found)
            return 0

        output = outliving_a_restart(sweep, finished, proxy)
        assert sweep.returncode == 0 and f"does not answer at {proxy.url}" in output, output
        there.wait_server_ready(60)
        states = agreeing(client_of(home), there, "proxied")
        assert 25 <= states.count("complete") <= 26 and set(states) <= {"complete", "lost"}
        there.close()
    status, output = run(*SWEEP, *words, address, cwd=home)
    assert status == 2 and output.count("\n") == 1 and f"{proxy.url} does not answer. Start" in output, output


IMPATIENT = """
import sys
from mnist_cnn.sweeps import storage
from pipelines.__main__ import main
storage.SECONDS_OF_A_RESTART = 5.0
main(sys.argv[1:])
"""


@pytest.mark.thorough
def test_a_proxy_that_stays_away_fails_the_run_and_the_same_command_continues(home: Path, words: list[str]) -> None:
    with postgresql("optuna") as database, optuna_proxy(f"{database.url}/optuna") as proxy:
        command = ["sweep", *words, "--sweep=failed", "--n_trials=25", f"--storage={proxy.url}"]
        sweep = start(sys.executable, "-c", IMPATIENT, *command, cwd=home)
        client = client_of(home)

        def trials() -> list[mlflow.entities.Run]:
            return client.search_runs(["0"], "tags.kind = 'trial' AND tags.sweep = 'failed'")

        wait_for(lambda: len(trials()) > 3, 200)
        proxy.stop()
        output = sweep.communicate(timeout=100)[0]
        assert sweep.returncode == 1 and f"sweep: StorageInternalError: {proxy.url} failed (UNAVAILABLE" in output, (
            output
        )
        (parent,) = client.search_runs(["0"], "tags.kind = 'sweep' AND tags.sweep = 'failed'")
        assert parent.info.status == "FAILED" and "UNAVAILABLE" in str(parent.data.tags)
        proxy.start()
        status, output = run(sys.executable, "-m", "pipelines", *command, cwd=home)
        assert status == 0, output
        there = direct(f"{database.url}/optuna")
        assert agreeing(client, there, "failed").count("complete") == 25
        close_storage(there)


def test_a_person_compares_trials_in_a_browser(home: Path, small_dataset: Path) -> None:
    status, output = run(
        *SWEEP, *TINY, f"--dataset={small_dataset}", "--sweep=shown", "--n_trials=10", cwd=home
    )  # fmt: skip
    assert status == 0, output
    client = client_of(home)
    (parent,) = client.search_runs(["0"], "tags.kind = 'sweep' AND tags.sweep = 'shown'")
    children = client.search_runs(["0"], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    pictures = pictures_folder(home)
    with serving(home, "ui") as address, browser_page() as page:
        page.goto(f"{address}/#/experiments/0/runs/{parent.info.run_id}")
        page.get_by_text("What to look at").first.wait_for(timeout=60_000)
        page.screenshot(path=pictures / "sweep_run.png")
        page.goto(f"{address}/#/experiments/0/runs/{parent.info.run_id}/artifacts/sweep.html")
        shown = page.frame_locator("iframe").first
        shown.get_by_text("Sweep shown").first.wait_for(timeout=60_000)
        assert shown.locator("tbody tr").count() == 10
        page.screenshot(path=pictures / "sweep_page.png")
        ids = json.dumps([child.info.run_id for child in children])
        page.goto(f'{address}/#/compare-runs?runs={ids}&experiments=["0"]')
        plot = page.locator(".js-plotly-plot").first
        plot.wait_for(timeout=60_000)
        # A line through the axes for each trial, and the settings of each below.
        page.get_by_text("target_probability").first.wait_for(timeout=60_000)
        page.get_by_text("l2_weight").first.wait_for(timeout=60_000)
        page.screenshot(path=pictures / "compare_parallel_coordinates.png", full_page=True)
        for tab in ("Scatter Plot", "Contour Plot"):
            page.get_by_role("tab", name=tab).click(timeout=60_000)
            page.locator(".js-plotly-plot:visible").first.wait_for(timeout=60_000)
            page.screenshot(path=pictures / f"compare_{tab.split()[0].lower()}.png")
