"""Commands and servers for tests, as a person has them; each on loopback, in a folder of its own, and stopped."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
from conftest import PROJECT

if TYPE_CHECKING:
    from playwright.sync_api import Page


def environment(**changes: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    # `mlflow run` calls `python`, as a person with an activated environment has it.
    path = f"{Path(sys.executable).parent}{os.pathsep}{clean['PATH']}"
    return {**clean, "PATH": path, "PYTHONPATH": str(PROJECT), "GIT_PYTHON_REFRESH": "quiet", **changes}


def start(*words: object, cwd: Path, **changes: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(word) for word in words], cwd=cwd, env=environment(**changes), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def run(*words: object, cwd: Path, **changes: str) -> tuple[int, str]:
    process = start(*words, cwd=cwd, **changes)
    output, _ = process.communicate(timeout=500)
    return process.returncode, output


def mlflow_run(entry_point: str, *settings: object, cwd: Path, options: tuple[str, ...] = ()) -> tuple[int, str]:
    words = [word for setting in settings for word in ("-P", setting)]
    return run("mlflow", "run", PROJECT, "-e", entry_point, *options, *words, cwd=cwd)


def client_of(folder: Path) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@contextlib.contextmanager
def serving(folder: Path, *words: str, workers: int = 1, port: int = 0) -> Iterator[str]:
    """`mlflow ...`; gives its address. port: one that was free before."""
    port = port or free_port()
    address = f"http://127.0.0.1:{port}"
    log = (folder / "server.log").open("w+")
    server = subprocess.Popen(
        ["mlflow", *words, "--host", "127.0.0.1", "--port", str(port), "--workers", str(workers)],
        cwd=folder, env=environment(), stdout=log, stderr=log, start_new_session=True,
    )  # fmt: skip

    def answers() -> bool:
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(f"{address}/health", timeout=1).status == 200
        assert server.poll() is None, (folder / "server.log").read_text()
        return False

    try:
        wait_for(answers)
        yield address
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
        log.close()


@dataclass(frozen=True)
class Service:
    """A server that runs. start: also after it was stopped, at the same address."""

    url: str
    start: Callable[[], None]
    stop: Callable[[], None]


@contextlib.contextmanager
def postgresql(*databases: str) -> Iterator[Service]:
    """A PostgreSQL server with empty databases. url: `postgresql://USER@HOST:PORT`, to which `/DATABASE` is added."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    found = shutil.which("initdb")
    assert folders or found, "the test needs PostgreSQL: apt-get install postgresql"
    programs = folders[-1] if folders else Path(found or "").resolve().parent
    # The server refuses to be root; its folder must be one that its own user can reach.
    user = "postgres" if os.getuid() == 0 else None
    home = Path(tempfile.mkdtemp(prefix="postgresql-"))
    if user:
        shutil.chown(home, user)
    port = free_port()
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={home} -c fsync=off"

    def call(*words: str) -> None:
        done = subprocess.run(words, user=user, cwd=home, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    control = (str(programs / "pg_ctl"), "-D", str(home / "data"))
    # pg_ctl's server inherits its pipes, which would then never end: hence a log of its own.
    start = partial(call, *control, "-o", options, "-w", "-l", str(home / "log"), "start")
    stop = partial(call, *control, "-m", "immediate", "stop")
    try:
        call(
            str(programs / "initdb"),
            "-D",
            str(home / "data"),
            "-U",
            "sweeper",
            "--auth=trust",
            "-E",
            "UTF8",
            "--no-sync",
        )
        start()
        try:
            for database in databases:
                call(str(programs / "createdb"), "-h", "127.0.0.1", "-p", str(port), "-U", "sweeper", database)
            yield Service(f"postgresql://sweeper@127.0.0.1:{port}", start, stop)
        finally:
            stop()
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def optuna_proxy(database: str) -> Iterator[Service]:
    """The command of docs/many_machines.md, on loopback, in front of a database. url: `grpc://HOST:PORT`."""
    page = (PROJECT / "docs" / "many_machines.md").read_text()
    (line,) = re.findall(r'^python -c "(.*run_grpc_proxy_server.*)"$', page, re.MULTILINE)
    port = free_port()
    code = line
    for shown, own in (("postgresql://USER@DATABASE/optuna", database), ("0.0.0.0", "127.0.0.1"), ("13000", str(port))):
        assert shown in code
        code = code.replace(shown, own)
    running: list[subprocess.Popen[str]] = []

    def answers() -> bool:
        assert running[-1].poll() is None
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        return False

    def start_one() -> None:
        command = [sys.executable, "-W", "ignore", "-c", code]
        running.append(subprocess.Popen(command, cwd=PROJECT, env=environment(), text=True, start_new_session=True))
        wait_for(answers)

    def stop() -> None:
        running[-1].kill()
        running[-1].wait()

    try:
        start_one()
        yield Service(f"grpc://127.0.0.1:{port}", start_one, stop)
    finally:
        stop()


@contextlib.contextmanager
def browser_page() -> Iterator[Page]:
    """A page of a real browser, without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
                  "--disable-component-update", "--disable-sync", "--disable-quic"],
        )  # fmt: skip
        try:
            yield browser.new_page(viewport={"width": 1500, "height": 1000})
        finally:
            browser.close()


def width_of_shown_artifact(page: Page) -> int:
    """Pixels of the picture that the artifact viewer shows."""
    image = page.locator("img[src^='blob:'], img[src*='get-artifact']").first
    image.wait_for(timeout=60_000)
    return int(image.evaluate("picture => picture.naturalWidth"))


def pictures_folder(otherwise: Path) -> Path:
    """Where screenshots are kept for a person to look at: the folder that SCREENSHOTS names."""
    return Path(os.environ.get("SCREENSHOTS", otherwise))
