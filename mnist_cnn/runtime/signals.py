"""Signals that end work: raised as `Interrupted`, once, and never while something is half written.

Nothing is raised within a database's call either. The exception would hold its frames, and they the open transaction:
whoever closes the run then waits for the lock that it holds itself. Nor while a thread is started for a pool: the pool
would not know it, and Python would wait for it for ever at the end. Nor while something is freed, since Python drops
what is raised there. Such a signal is sent again a moment later.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from mnist_cnn.settings.errors import Interrupted

# `nohup` has SIGHUP ignored, and so it stays.
IS_HELD_UP = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
NUMBERS = (
    signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU,
    *(() if IS_HELD_UP else (signal.SIGHUP,)),
)  # fmt: skip
Handler = Callable[[int, FrameType | None], object] | signal.Handlers

AGAIN_S = 0.05
"""Seconds until a signal that came at such a moment is sent again."""

STARTS_A_THREAD = {
    ("threading", "start"), ("concurrent.futures.thread", "submit"),
    ("concurrent.futures.thread", "_adjust_thread_count"),
}  # fmt: skip

DROPS_EXCEPTIONS = ("weakref", "_weakrefset")
"""Modules whose callbacks Python calls when something is freed: it prints what they raise, and goes on."""

_received: list[int] = []
_reason = ""


def stop(reason: str) -> None:
    """End the work of the main thread as a SIGTERM does, from another thread."""
    global _reason
    _reason = reason
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)  # it may be asleep


def check() -> None:
    """Raise `Interrupted` if a signal was received, unless that is what is being handled.

    An exception that a handler raises may be lost: Python drops what is raised within a destructor.
    """
    if _received and not isinstance(sys.exception(), KeyboardInterrupt):
        _interrupt(_received[0])


@contextmanager
def interruptible(*, outermost: bool = True) -> Iterator[None]:
    """Raise `Interrupted` at the first signal; further ones are ignored while the work is closed.

    Should the exception be lost, or another be made of it, the next `check` raises it, or the end of this context.
    outermost: at its end the signals that it received are forgotten.
    """
    again: list[threading.Timer] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        _received.append(number)
        if not _is_delicate(frame):
            _interrupt(number)
        again.append(threading.Timer(AGAIN_S, signal.pthread_kill, (threading.main_thread().ident or 0, number)))
        again[-1].daemon = True
        again[-1].start()

    try:
        with _handled_by(interrupt):
            try:
                yield
            finally:
                check()  # also where an import has made another exception of it
    finally:
        for timer in again:
            timer.cancel()
        if outermost:
            _forget()


def _forget() -> None:
    global _reason
    _received.clear()
    _reason = ""


@contextmanager
def deferring() -> Iterator[Callable[[], None]]:
    """Note the first signal and raise nothing; the function given raises `Interrupted` if there was one.

    For work between whose steps a database is written, which must not be broken off. A second signal is raised at once,
    unless a database is at work.
    """
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if noted and not _is_delicate(frame):
            raise Interrupted(number, _reason)
        noted.append(number)

    def raise_noted() -> None:
        if noted:
            raise Interrupted(noted[0], _reason)

    with _handled_by(note):
        yield raise_noted


@contextmanager
def ignored() -> Iterator[None]:
    """Hold signals back for the moment in which a run is closed."""
    with _handled_by(signal.SIG_IGN):
        yield


def _interrupt(number: int) -> NoReturn:
    if threading.current_thread() is threading.main_thread():
        for other in NUMBERS:
            signal.signal(other, signal.SIG_IGN)
    raise Interrupted(number, _reason)


def _is_delicate(frame: FrameType | None) -> bool:
    """Whether a database is called, a thread started, or something freed."""
    while frame is not None:
        module, name = str(frame.f_globals.get("__name__")), frame.f_code.co_name
        if module.split(".")[0] == "sqlalchemy" or (module, name) in STARTS_A_THREAD:
            return True
        if module in DROPS_EXCEPTIONS or name == "__del__":
            return True
        frame = frame.f_back
    return False


@contextmanager
def _handled_by(handler: Handler) -> Iterator[None]:
    """In the main thread, which alone receives signals; elsewhere nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in NUMBERS}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
