"""What comes of runs when processes are killed, stores vanish and files break: many faults, and a table of their ends.

python -m benchmarks.faults [--kills N] [--seed S] [--only KIND ...]

Each fault meets a small command in a store of its own, and the same command is given once more. It survived if that
succeeds; nothing may be lost, doubled, or left RUNNING. Writes benchmarks/results/faults.json. Exit status 1 if
anything did not survive. About 20 s a fault on two cores.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import mlflow
import optuna
import psutil

from benchmarks import keep
from mnist_cnn.runtime import hardware
from mnist_cnn.sweeps import outcomes
from mnist_cnn.tracking import heartbeat

PROJECT = Path(__file__).resolve().parents[1]
LONGEST = 400.0
DATA = "mnist:1000"

TINY = "--steps=6 --snapshot_every=2 --num_images=1"
SWEEP = f"{TINY} --goal=probability --start=noise --pruner=none --sampler=random"
COMMANDS = {
    "train": "train --epochs=6",
    "evaluate": "evaluate --epsilon=0.5",
    "optimize": "optimize --steps=60 --snapshot_every=20 --num_images=2 --targets=1,2+3",
    "experiments": f"experiments {TINY}",
    "judges": "judges --panel=A",
    "ablation": "ablation --networks=ordinary --num_images=2 --tuning_images=2 --steps=10",
    "sweep": f"sweep {SWEEP} --n_trials=8",
    "sweep by two workers": f"sweep {SWEEP} --n_trials=8 --workers=2",
    "sweep_training": "sweep_training --epochs=1 --n_trials=3 --learning_rate=0.001..0.1:log",
    "register": "register --attacked=20 --num_images=0",
    "reproduce": "reproduce --scale=smoke",
}
"""What is killed."""

SIGNALS: dict[str, Sequence[signal.Signals]] = {
    "kill -9": (signal.SIGKILL,),
    "kill -9 of its group": (signal.SIGKILL,),
    "kill -9 of a worker": (signal.SIGKILL,),
    "SIGTERM": (signal.SIGTERM,),
    "SIGHUP": (signal.SIGHUP,),
    "Ctrl-C twice": (signal.SIGINT, signal.SIGINT),
}


@dataclass
class Row:
    """Of one kind of fault. reasons: of what did not survive."""

    tried: int = 0
    survived: int = 0
    lost: int = 0
    doubled: int = 0
    left_running: int = 0
    reasons: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return self.tried == self.survived and not self.lost + self.doubled + self.left_running


class Home:
    """A folder with a store that holds a network trained on a thousand images."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
        self.must("train --epochs=1 --network=smooth")

    def start(self, command: str, **environment: str) -> subprocess.Popen[str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        name, *words = command.split()
        given = [] if name in ("resume", "replay", "rollback", "send") else [f"--dataset={DATA}"]
        given += ["--batch_size=64"] if name in ("train", "sweep_training") else []
        return subprocess.Popen(
            [sys.executable, "-m", "pipelines", name, *words, *given],
            cwd=self.folder, env={**clean, "PYTHONPATH": str(PROJECT), **environment},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip

    def call(self, command: str, **environment: str) -> tuple[int, str]:
        process = self.start(command, **environment)
        output, _ = process.communicate(timeout=LONGEST)
        return process.returncode, output

    def must(self, command: str, **environment: str) -> str:
        status, output = self.call(command, **environment)
        if status:
            raise RuntimeError(f"{command} ended with status {status}: {output[-600:]}")
        return output

    def newest(self, kind: str) -> mlflow.entities.Run:
        return self.client.search_runs(["0"], f"tags.kind = '{kind}'", max_results=1)[0]

    def trials(self, sweep: str) -> dict[int, tuple[str, tuple[float, ...], str]]:
        """State, values and settings of the sweep's finished trials, as Optuna has them."""
        journal = self.folder / "sweeps.journal"
        with contextlib.suppress(KeyError, OSError):
            storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(journal)))
            found = optuna.load_study(study_name=sweep, storage=storage).trials if journal.exists() else []
            return {
                trial.number: (outcomes.state_of(trial), outcomes.values_of(trial), str(sorted(trial.params.items())))
                for trial in found
                if trial.state.is_finished()
            }
        return {}

    def running(self) -> list[str]:
        return [run.info.run_name for run in self.client.search_runs(["0"], "attributes.status = 'RUNNING'")]


# Kills


def kill(home: Home, how: str, command: str, moment: float, number: int) -> tuple[str, int, int]:
    """Kill a command after a share of its usual time, and give it again. What went wrong; trials lost and doubled."""
    words = COMMANDS[command] + (f" --sweep=s{number}" if command.startswith("sweep") else "")
    process = home.start(words)
    time.sleep(moment)
    target = process.pid
    with contextlib.suppress(psutil.Error, IndexError):
        if how.endswith("worker"):
            target = psutil.Process(process.pid).children()[0].pid
    for sent in SIGNALS[how]:
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if how.endswith("group") else os.kill)(target, sent)
        time.sleep(0.3)
    output, _ = process.communicate(timeout=LONGEST)
    before = home.trials(f"s{number}")
    if "Traceback" in output:
        return f"a traceback: {output[-400:]}", 0, 0
    status, again = home.call(_again(home, command, words))
    if status:
        return f"given again it ended with status {status}: {again[-400:]}", 0, 0
    after = home.trials(f"s{number}")
    lost = sum(after.get(key) != value for key, value in before.items())
    complete = [params for state, _, params in after.values() if state == "complete"]
    doubled = len(complete) - len(set(complete))
    wanted = 8 if command in ("sweep", "sweep by two workers") else 0
    return ("" if len(complete) >= wanted else f"{len(complete)} complete trials"), lost, doubled


def _again(home: Home, command: str, words: str) -> str:
    """A training that left a checkpoint is resumed; all else is given again."""
    if command == "train":
        run = home.newest("train")
        if run.info.status != "FINISHED" and home.client.list_artifacts(run.info.run_id, "checkpoints"):
            return f"resume --run={run.info.run_id}"
    return words


def kills(home: Home, count: int, seed: int) -> Iterator[tuple[str, Callable[[], tuple[str, int, int]]]]:
    """Every way to end a process, with every command in turn, at random moments of its usual time.

    Five of six are kill -9. The whole of it takes minutes, and has its turn in every fifth round alone.
    """
    turns = (name for turn in itertools.count() for name in COMMANDS if name != "reproduce" or turn % 5 == 0)
    moments = random.Random(seed)
    usual: dict[str, float] = {}
    gentle = itertools.cycle(how for how in SIGNALS if not how.startswith("kill"))
    for number, command in zip(range(count), turns, strict=False):
        how = next(gentle) if number % 6 == 2 else ("kill -9", "kill -9 of its group")[number % 2]
        if command.endswith("workers") and number % 3 == 0:
            how = "kill -9 of a worker"
        if command not in usual:
            started = time.monotonic()
            home.must(COMMANDS[command] + (f" --sweep=usual-{number}" if command.startswith("sweep") else ""))
            usual[command] = time.monotonic() - started
        moment = moments.uniform(0.2, 1.0) * usual[command]

        yield how, partial(kill, home, how, command, moment, number)


# Stores and files


def locked_database(home: Home) -> str:
    """Another process holds the database for 40 s while a training ends."""
    process = home.start("train --epochs=2")
    time.sleep(8)
    other = sqlite3.connect(home.folder / "mlflow.db", check_same_thread=False, timeout=30)
    other.execute("BEGIN EXCLUSIVE")
    timer = threading.Timer(40, other.rollback)
    timer.start()
    output, _ = process.communicate(timeout=LONGEST)
    timer.join()
    other.close()
    return "" if process.returncode == 0 else output[-400:]


def server_restarted(home: Home) -> str:
    """The tracking server is killed during a training, and comes back after 15 s."""
    with tempfile.TemporaryDirectory() as folder:
        port, variables = _server_address()
        process, client = _training_whose_server_is_killed(home, folder, port, variables)
        time.sleep(15)
        server = _serve(folder, port)
        output, _ = process.communicate(timeout=LONGEST)
        runs = client.search_runs(["0"])
        _end(server)
        states = [run.info.status for run in runs]
        return "" if process.returncode == 0 and states == ["FINISHED"] else f"{states}: {output[-400:]}"


def server_gone(home: Home) -> str:
    """The tracking server is killed during a training and comes back after its end; `send`, then `resume`."""
    with tempfile.TemporaryDirectory() as folder:
        port, variables = _server_address()
        variables["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "1"
        process, client = _training_whose_server_is_killed(home, folder, port, variables)
        output, _ = process.communicate(timeout=LONGEST)
        server = _serve(folder, port)
        try:
            (run,) = client.search_runs(["0"])
            home.must("send", **variables)
            home.must(f"resume --run={run.info.run_id}", **variables)
        finally:
            _end(server)
        return "" if "Traceback" not in output else output[-400:]


def _server_address() -> tuple[int, dict[str, str]]:
    """A free port, and the variables by which a command finds a tracking server there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    return port, {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}


def _training_whose_server_is_killed(
    home: Home, folder: str, port: int, variables: dict[str, str]
) -> tuple[subprocess.Popen[str], mlflow.MlflowClient]:
    """A training that goes on, and a client of its tracking server, which was killed after the first numbers."""
    server = _serve(folder, port)
    process = home.start("train --epochs=60", **variables)
    client = mlflow.MlflowClient(tracking_uri=variables["MLFLOW_TRACKING_URI"])
    while process.poll() is None and not any(run.data.metrics for run in client.search_runs(["0"])):
        time.sleep(0.2)
    _end(server)
    return process, client


def _serve(folder: str, port: int) -> subprocess.Popen[bytes]:
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    for _ in range(300):
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
            return server
        time.sleep(0.2)
    raise RuntimeError("the tracking server does not start")


def _end(server: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def full_disk(home: Home) -> str:
    """No file may grow above 3 MB: the training fails in one line, and is not FINISHED; the next start says so."""
    limited = f"ulimit -f 3000; exec {sys.executable} -m pipelines train --epochs=1 --dataset={DATA}"
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
        done = subprocess.run(["bash", "-c", limited], cwd=folder, env=environment, capture_output=True, text=True)
        if done.returncode == 0:
            return ""
        states = [run.info.status for run in mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db").search_runs(["0"])]
        is_silent = "Traceback" not in done.stderr and "FINISHED" not in states
        return "" if is_silent else f"{states}: {done.stderr[-400:]}"


def other_host_looks_on(home: Home) -> str:
    """A command in another container (other process ids, another host name) leaves a training to itself."""
    space = ["unshare", "--pid", "--uts", "--fork", "--mount-proc"]
    if subprocess.run([*space, "true"], capture_output=True).returncode:
        return "not tried: this machine lets nobody make a namespace"
    process = home.start("train --epochs=60")
    time.sleep(12)
    look = f"hostname other; exec {sys.executable} -m pipelines evaluate --dataset={DATA}"
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    subprocess.run([*space, "bash", "-c", look], cwd=home.folder, env=environment, capture_output=True, check=True)
    status = home.newest("train").info.status
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=LONGEST)
    return "" if status == "RUNNING" else f"the training was {status} while it went on"


def _artifact(home: Home, run: mlflow.entities.Run, path: str) -> Path:
    return Path(run.info.artifact_uri.removeprefix("file://"), path)


def torn_journal(home: Home) -> str:
    """The last line of the journal is cut in the middle."""
    home.must(f"sweep {SWEEP} --sweep=torn --n_trials=2")
    journal = home.folder / "sweeps.journal"
    journal.write_bytes(journal.read_bytes()[:-20])
    status, output = home.call(f"sweep {SWEEP} --sweep=torn --n_trials=3")
    states = [state for state, *_ in home.trials("torn").values()]
    return "" if status == 0 and states.count("complete") == 3 else output[-400:]


def broken_trial_images(home: Home) -> str:
    """A byte of a trial's images is another: the sweep and its comparison go on."""
    home.must(f"sweep {SWEEP} --sweep=broken --n_trials=2")
    trial = home.client.search_runs(["0"], "tags.kind = 'trial' AND tags.sweep = 'broken'", max_results=1)[0]
    images = _artifact(home, trial, "images.npz")
    content = bytearray(images.read_bytes())
    content[len(content) // 2] ^= 0xFF
    images.write_bytes(content)
    for command in (f"sweep {SWEEP} --sweep=broken --n_trials=3", "compare --sweeps=broken --confirm=1"):
        status, output = home.call(command)
        if status:
            return output[-400:]
    return ""


def broken_checkpoint(home: Home) -> str:
    """The newest checkpoint of a killed training is cut: the one before it is taken."""
    process = home.start("train --epochs=60")
    for _ in range(400):
        with contextlib.suppress(Exception):
            if len(home.client.list_artifacts(home.newest("train").info.run_id, "checkpoints")) > 1:
                break
        time.sleep(0.2)
    process.kill()
    process.communicate()
    run = home.newest("train")
    newest = max(_artifact(home, run, "checkpoints").iterdir())
    newest.write_bytes(zlib.compress(newest.read_bytes())[:2000])
    status, output = home.call(f"resume --run={run.info.run_id}")
    return "" if status == 0 and "taking the one before it" in output else output[-400:]


def broken_model(home: Home) -> str:
    """A byte of a network's file is another: one line says so."""
    home.must("train --epochs=1")
    run = home.newest("train")
    model = run.outputs.model_outputs[-1].model_id
    (file,) = home.folder.glob(f"mlruns/*/models/{model}/**/*.keras")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
    status, output = home.call(f"evaluate --model=models:/{model}")
    home.client.delete_logged_model(model)
    return "" if status in (0, 2) and "Traceback" not in output else output[-400:]


OTHERS: dict[str, Callable[[Home], str]] = {
    "database locked for 40 s": locked_database,
    "tracking server restarted": server_restarted,
    "tracking server gone": server_gone,
    "files may not grow": full_disk,
    "command of another container": other_host_looks_on,
    "journal torn": torn_journal,
    "images of a trial broken": broken_trial_images,
    "checkpoint cut": broken_checkpoint,
    "network's file broken": broken_model,
}


def _alone(fault: Callable[[Home], str], home: Home) -> tuple[str, int, int]:
    """A fault that can lose and double nothing."""
    return fault(home), 0, 0


def table(rows: dict[str, Row]) -> str:
    """Markdown."""
    lines = ["| fault | tried | survived | lost | doubled | left RUNNING |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {kind} | {row.tried} | {row.survived} | {row.lost} | {row.doubled} | {row.left_running} |"
        for kind, row in rows.items()
    ]
    return "\n".join(lines)


def campaign(home: Home, num_kills: int, seed: int, only: Sequence[str]) -> dict[str, Row]:
    """All faults, one after another; each line says what came of one."""
    rows: dict[str, Row] = {}
    faults = itertools.chain(
        ((kind, partial(_alone, fault, home)) for kind, fault in OTHERS.items() if kind in only or not only),
        kills(home, num_kills, seed),
    )
    for kind, fault in faults:
        row = rows.setdefault(kind, Row())
        row.tried += 1
        try:
            reason, lost, doubled = fault()
        except Exception as error:
            reason, lost, doubled = f"{type(error).__name__}: {error}"[-600:], 0, 0
        row.survived, row.lost, row.doubled = row.survived + (not reason), row.lost + lost, row.doubled + doubled
        row.reasons += [reason] if reason else []
        print(f"{sum(row.tried for row in rows.values())}: {kind}: {reason or 'survived'}", flush=True)
    if home.running():  # the next command closes them, once their heartbeat has been away for long enough
        time.sleep(heartbeat.SECONDS_UNTIL_DEAD + 5)
        home.must("evaluate")
    if left := home.running():
        rows.setdefault("kill -9", Row()).left_running += len(left)
        print(f"left RUNNING: {', '.join(left)}")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[], choices=OTHERS, help="of the faults that are no kills")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    try:
        with contextlib.chdir(folder):  # MLflow keeps artifacts where the database is made
            home = Home(folder)
            home.must("judges --panel=both")
            rows = campaign(home, options.kills, options.seed, options.only)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"\n{table(rows)}")
    own = {kind: asdict(row) for kind, row in rows.items()}
    keep("faults", hardware.start_tensorflow(), {"seed": options.seed, "faults": own})
    sys.exit(0 if all(row.is_good for row in rows.values()) else 1)


if __name__ == "__main__":
    main()
