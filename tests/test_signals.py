"""A signal is raised outside each database's call, once, and is never lost."""

from __future__ import annotations

import os
import signal
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from mnist_cnn.runtime import signals
from mnist_cnn.settings.errors import Interrupted


def within_a_database(call: Callable[[], None]) -> None:
    """Call it while SQLAlchemy carries out a statement, and return when the statement has ended."""
    engine = sa.create_engine("sqlite://")
    sa.event.listen(engine, "before_cursor_execute", lambda *statement: call())
    with engine.connect() as connection:
        assert connection.execute(sa.text("select 1")).scalar() == 1
    engine.dispose()


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_within_a_database_call_is_raised_after_it() -> None:
    steps = []
    with pytest.raises(Interrupted), signals.interruptible():
        within_a_database(terminate)
        steps.append("the statement has ended")
        time.sleep(30)
        steps.append("never reached")
    assert steps == ["the statement has ended"]


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU])
def test_what_batch_systems_send_ends_the_work(number: int) -> None:
    with pytest.raises(Interrupted, match=signal.Signals(number).name) as found, signals.interruptible():
        os.kill(os.getpid(), number)
        time.sleep(30)
    assert found.value.exit_status == 128 + number


def test_a_signal_while_a_pool_starts_a_thread_is_raised_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the pool does not know the thread, and the process never ends."""
    steps, wait = [], threading.Event.wait

    def interrupted(event: threading.Event, timeout: float | None = None) -> bool:
        if not steps:
            steps.append("the thread is being started")
            terminate()
        return wait(event, timeout)

    with ThreadPoolExecutor(1) as pool, pytest.raises(Interrupted), signals.interruptible():
        monkeypatch.setattr(threading.Event, "wait", interrupted)
        pool.submit(steps.append, "it works")
        monkeypatch.undo()
        steps.append("the pool knows it")
        time.sleep(30)
        steps.append("never reached")
    assert steps[0] == "the thread is being started" and {*steps[1:]} == {"it works", "the pool knows it"}


class Freed:
    """Something that is interrupted while it is freed."""

    def __del__(self) -> None:
        terminate()


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_while_something_is_freed_is_raised_after_it() -> None:
    kept, steps = weakref.WeakKeyDictionary({(thing := Freed()): 1}), []
    with pytest.raises(Interrupted), signals.interruptible():
        del thing
        steps.append("it is freed")
        time.sleep(30)
        steps.append("never reached")
    assert steps == ["it is freed"] and not kept


def test_a_signal_within_a_database_call_is_raised_by_the_next_check_and_not_again() -> None:
    with pytest.raises(Interrupted), signals.interruptible():
        within_a_database(terminate)
        signals.check()
        pytest.fail("nothing was raised")
    time.sleep(3 * signals.AGAIN_S)  # a signal that is sent again now would end pytest


def test_a_signal_within_the_last_database_call_is_raised_at_the_end() -> None:
    with pytest.raises(Interrupted), signals.interruptible():
        within_a_database(terminate)


def test_a_second_signal_breaks_deferred_work_off_but_not_within_a_database_call() -> None:
    steps = []
    with pytest.raises(Interrupted), signals.deferring():
        terminate()
        within_a_database(terminate)
        steps.append("the statement has ended")
        terminate()
        steps.append("never reached")
    assert steps == ["the statement has ended"]
