"""Locks of files: they keep processes apart and tell which are alive, and they go with the process however it ends.

Process ids, host names and clocks are not asked: containers share the first two, and clocks are set. A lock is one of
`flock` on a file that is open for writing, as NFS wants it.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which one process at a time has. The file is made where there is none, and stays.

    Where the file system has no locks a line on stderr says so, and the work goes on without.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            print(f"{path} cannot be locked ({error.strerror}): start one command at a time here.", file=sys.stderr)
        yield
    finally:
        os.close(handle)  # and with it the lock


_held: dict[Path, tuple[int, str]] = {}
"""By folder: the file that this process keeps locked there as long as it lives, and its name."""


def sign_of_life(folder: Path) -> str:
    """The name of a file in `folder` that stays locked until this process ends; always the same in one process."""
    if folder not in _held:
        folder.mkdir(exist_ok=True)
        name = uuid.uuid4().hex
        handle = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o666)
        with suppress(OSError):  # without locks every process counts as alive
            fcntl.flock(handle, fcntl.LOCK_EX)
        _held[folder] = handle, name
        atexit.register((folder / name).unlink, missing_ok=True)
    return _held[folder][1]


def is_alive(folder: Path, name: str) -> bool:
    """Whether the process that called `sign_of_life` runs, in whichever container; its file is deleted if it does not.

    Where the file system has no locks, a process counts as alive until it deletes its file.
    """
    path = folder / Path(name).name
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        path.unlink(missing_ok=True)
        return False
    finally:
        os.close(handle)
