"""Which process works on a trial, and whether it still runs: for a journal, whose processes share one machine."""

from __future__ import annotations

import socket

import psutil


def this_process() -> str:
    """`HOST PID SECONDS`, the last since the epoch when it began: process ids are given out again."""
    process = psutil.Process()
    return f"{socket.gethostname()} {process.pid} {process.create_time():.0f}"


def is_alive(process: str) -> bool:
    """Whether the process that `this_process` named runs on this machine."""
    try:
        host, pid, created = process.split()
        found = psutil.Process(int(pid))
        return (
            host == socket.gethostname()
            and abs(found.create_time() - float(created)) < 2
            and found.status() != psutil.STATUS_ZOMBIE
        )
    except (ValueError, psutil.NoSuchProcess):
        return False
