"""A run says in the store that it is alive, so that everybody can tell a run that goes on from one that was killed.

While a command works, a thread writes the time to the tag `heartbeat` of its outermost run; the runs below that one
name it in the tag `heartbeat_of`. A run that is RUNNING and whose heartbeat is old has ended without a word
(`kill -9`, a power cut): the next command that starts marks it KILLED. Host names, process ids and their start times
are not asked, since containers share the first, and clocks move the last.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import mlflow
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from mnist_cnn.tracking.store import TrackingError

HEARTBEAT_TAG, HEARTBEAT_OF_TAG = "heartbeat", "heartbeat_of"
REASON_TAG = "reason"
ENTRY_POINT_TAG = "mlflow.project.entryPoint"

SECONDS_BETWEEN_BEATS = 12.0
SECONDS_UNTIL_DEAD = 40.0
"""Three beats and a little: a store that is busy for a moment makes no run dead."""

SECONDS_TO_START = 120.0
"""A command that `mlflow run` started has opened its run by then, or never will."""

KILLED = "it ended without a word: it was killed, or its machine stopped"


@contextmanager
def beating(run_id: str) -> Iterator[None]:
    """Keep the heartbeat of an outermost run until this context ends."""
    over = threading.Event()

    def beat() -> None:
        client = mlflow.MlflowClient()
        while not over.wait(SECONDS_BETWEEN_BEATS):
            with suppress(Exception):  # the store is gone for a moment, or for good: the work itself will say so
                client.set_tag(run_id, HEARTBEAT_TAG, now())
                if client.get_run(run_id).info.status == "KILLED" and not over.is_set():
                    client.update_run(run_id, status="RUNNING")  # somebody took a pause of this process for its end

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(SECONDS_BETWEEN_BEATS)


def now() -> str:
    """The time as a heartbeat holds it: whole seconds since the epoch."""
    return f"{time.time():.0f}"


def is_alive(run: Run) -> bool:
    """Whether a run is RUNNING, and it, or the outermost run above it, gave a sign of life a short while ago."""
    source = _heartbeats_of(run)
    if {run.info.status, source.info.status} != {"RUNNING"}:
        return False
    is_waited_for = ENTRY_POINT_TAG in source.data.tags and HEARTBEAT_TAG not in source.data.tags
    return _seconds_silent(source) < (SECONDS_TO_START if is_waited_for else SECONDS_UNTIL_DEAD)


def wait_until_dead(run_id: str) -> None:
    """Return once a run has ended, or been silent for so long that it has. Raises `TrackingError` if it is alive."""
    first = mlflow.get_run(run_id)
    if not is_alive(first):
        return
    source = _heartbeats_of(first)
    rest = SECONDS_UNTIL_DEAD - _seconds_silent(source)
    print(f"The run {run_id} gave a sign of life a moment ago. Waiting {rest:.0f} s to see if it goes on.", flush=True)
    while is_alive(run := mlflow.get_run(run_id)):
        if _heartbeats_of(run).data.tags.get(HEARTBEAT_TAG) != source.data.tags.get(HEARTBEAT_TAG):
            raise TrackingError(f"`run`: the run {run_id} is still running; stop it first, or wait for its end.")
        time.sleep(1)


def _heartbeats_of(run: Run) -> Run:
    """The run that holds the heartbeat of a run: the outermost one above it, or itself."""
    outermost = run.data.tags.get(HEARTBEAT_OF_TAG)
    with suppress(MlflowException):
        return mlflow.get_run(outermost) if outermost else run
    return run


def _seconds_silent(source: Run) -> float:
    return abs(time.time() - float(source.data.tags.get(HEARTBEAT_TAG, source.info.start_time / 1000)))


def close_dead_runs() -> None:
    """Mark RUNNING runs of all experiments KILLED that nobody works on any more."""
    client = mlflow.MlflowClient()
    condition = "attributes.status = 'RUNNING'"
    for run in mlflow.search_runs(filter_string=condition, output_format="list", search_all_experiments=True):
        is_ours = {HEARTBEAT_TAG, HEARTBEAT_OF_TAG, ENTRY_POINT_TAG} & set(run.data.tags)
        if is_ours and not is_alive(run):
            client.set_tag(run.info.run_id, REASON_TAG, KILLED)
            client.set_terminated(run.info.run_id, "KILLED")
