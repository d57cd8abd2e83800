"""Who works, whether that process still lives, and whether this one was asked to stop."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress

import psutil

from mnist_cnn.settings.command_line import Interrupted

RUN_ID_VARIABLE = "MLFLOW_RUN_ID"
"""By which MLflow says which run to open; `mlflow run` sets it for its command, whose steps have runs of their own."""

PARENT_VARIABLE = "MNIST_CNN_PARENT_PROCESS"
"""Set for a process by the one that starts it and waits for it: that one's id."""

TELL_VARIABLE = "MNIST_CNN_TELL"
"""Set for a process by the one that wants to know its run and why it ended: the file that it is told in."""

_NOTED: list[int] = []


def this_process() -> str:
    """`HOST PID SECONDS`, the last since the epoch when it began: process ids are given out again."""
    process = psutil.Process()
    return f"{socket.gethostname()} {process.pid} {process.create_time():.0f}"


def is_of_this_machine(word: str) -> bool:
    return word.partition(" ")[0] == socket.gethostname()


def is_alive(word: str) -> bool:
    """Whether the process of a word runs on this machine; one on another machine is taken to."""
    try:
        _, pid, created = word.split()
    except ValueError:
        return False
    if not is_of_this_machine(word):
        return True
    try:
        process = psutil.Process(int(pid))
        return abs(process.create_time() - float(created)) < 2 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def has_environment(name: str, value: str) -> bool:
    """Whether a process of this machine, which may be looked at, began with a variable of that value."""
    for process in psutil.process_iter():
        try:
            if process.environ().get(name) == value:
                return True
        except (psutil.Error, OSError):
            continue
    return False


def standby() -> subprocess.Popen[str]:
    """A process that imports what takes seconds, and becomes an entry point by a line that is written to it.

    It ends with this process. In a session of its own: Ctrl-C reaches this process alone, which passes it on once.
    """
    known = {**os.environ, PARENT_VARIABLE: str(os.getpid())}
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.standby"],
        env={name: word for name, word in known.items() if name != RUN_ID_VARIABLE},
        stdin=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def tell(**words: str) -> None:
    """Tell who started this process, if it asked, of the run that was opened, or of the reason for the end."""
    path = os.environ.get(TELL_VARIABLE)
    if path:
        with suppress(OSError), open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(words) + "\n")


def told(path: str) -> dict[str, str]:
    """What has been told in a file, the last of each."""
    words: dict[str, str] = {}
    with suppress(OSError), open(path, encoding="utf-8") as file:
        for line in file:
            words |= json.loads(line)
    return words


def parent() -> int | None:
    """The id of the process that started this one and waits for it, if it said so."""
    word = os.environ.get(PARENT_VARIABLE)
    return int(word) if word else None


def end_with_parent(parent: int | None = None) -> None:
    """Be sent SIGTERM when the process that started this one ends, or it would work on without anybody waiting for it.

    parent: its id, if that is known: this process ends at once where another one has inherited it by now.
    Linux only (prctl's PR_SET_PDEATHSIG); elsewhere nothing happens.
    """
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)
        if parent is not None and os.getppid() != parent:
            raise SystemExit(1)


def note_signal(number: int) -> None:
    """Remember a SIGINT or SIGTERM. An exception alone may be lost: Python drops what is raised in a destructor."""
    _NOTED.append(number)


def forget_signals() -> None:
    _NOTED.clear()


def check_signals() -> None:
    """Raise `Interrupted` if a signal was noted, unless that is what is being handled."""
    if _NOTED and not isinstance(sys.exception(), KeyboardInterrupt):
        raise Interrupted(_NOTED[0])
