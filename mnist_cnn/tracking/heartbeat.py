"""A run says in the store that it is alive, so that everybody can tell a run that goes on from one that was killed.

While a command works, a thread writes the time to the tag `heartbeat` of its outermost run; the runs below that one
name it in the tag `heartbeat_of`. A run that is RUNNING and whose heartbeat is old has ended without a word
(`kill -9`, a power cut): the next command that starts marks it KILLED. Host names, process ids and their start times
are not asked, since containers share the first, and clocks move the last.

A run that was taken for dead (its process was stopped for minutes) opens itself again with its next heartbeat, unless
another run has resumed it by then: in that case its process stops.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import mlflow
from mlflow.entities import Run, RunTag
from mlflow.exceptions import MlflowException

from mnist_cnn.runtime import signals
from mnist_cnn.tracking.machine import Machine
from mnist_cnn.tracking.store import TrackingError

HEARTBEAT_TAG, HEARTBEAT_OF_TAG = "heartbeat", "heartbeat_of"
REASON_TAG, NOTE_TAG = "reason", "mlflow.note.content"
LONGEST_TAG = 5000
RESUMED_BY = "resumed_by"
"""Begins the parameters of an interrupted run that name the runs which resumed it, in their order."""

ENTRY_POINT_TAG = "mlflow.project.entryPoint"
"""By which `mlflow run` marks a run that it made."""

SECONDS_BETWEEN_BEATS = 12.0
SECONDS_UNTIL_DEAD = 60.0
"""Five beats: neither a store that is busy for a moment nor a clock that is set by half a minute makes a run dead."""

SECONDS_OF_A_LOOK = 26.0
"""Two beats and a little: who resumes a run watches it for so long, and needs no clock for it."""

SECONDS_CERTAIN = 3600.0
"""A run that was silent for so long is not watched."""

SECONDS_TO_START = 120.0
"""A command that `mlflow run` started has opened its run by then, or never will."""

KILLED = "it ended without a word: it was killed, or its machine stopped"


@contextmanager
def beating(run_id: str, open_runs: Callable[[], Sequence[str]]) -> Iterator[None]:
    """Keep the heartbeat of an outermost run until this context ends.

    open_runs: the ids of this run and of those below it that are open now; none of them may be resumed by others.
    """
    over = threading.Event()

    def beat() -> None:
        client, machine = mlflow.MlflowClient(), Machine()
        while not over.wait(SECONDS_BETWEEN_BEATS):
            with suppress(Exception):  # the store is gone for a moment, or for good: the work itself will say so
                client.log_batch(run_id, metrics=machine.metrics(), tags=[RunTag(HEARTBEAT_TAG, now())])
                for own in open_runs():
                    run = client.get_run(own)
                    if over.is_set():
                        return
                    if heir := resumed_by(run):
                        signals.stop(f"the run {heir} has resumed {own}, which gave no sign of life")
                        return
                    if own == run_id and run.info.status == "KILLED":  # a pause of this process was taken for its end
                        client.update_run(own, status="RUNNING")
        if not machine.num_samples:
            with suppress(Exception):
                client.log_batch(run_id, metrics=machine.metrics())

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


def refuse_if_alive(run_id: str) -> None:
    """Raise `TrackingError` for a run that gives a sign of life while it is watched, unless it has ended by itself.

    One that is silent is marked KILLED.
    """
    run = mlflow.get_run(run_id)
    source = _heartbeats_of(run)
    may_go_on = run.info.status == "RUNNING" or run.data.tags.get(REASON_TAG) == KILLED
    if not may_go_on or _seconds_silent(source) > SECONDS_CERTAIN:
        return
    seconds = SECONDS_OF_A_LOOK
    print(f"The run {run_id} did not say that it ended. Looking for {seconds:.0f} s if it goes on.", flush=True)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(min(1.0, seconds))
        beat = _heartbeats_of(mlflow.get_run(run_id)).data.tags.get(HEARTBEAT_TAG)
        if beat != source.data.tags.get(HEARTBEAT_TAG):
            raise TrackingError(f"`run`: the run {run_id} is still running; stop it first, or wait for its end.")
    run = mlflow.get_run(run_id)
    if run.info.status == "FINISHED":
        raise TrackingError(f"`run`: the run {run_id} has finished; there is nothing to resume.")
    if run.info.status == "RUNNING":
        end(run, "KILLED", KILLED)


def take_over(run_id: str, heir: str) -> None:
    """Note in an interrupted run that the run `heir` resumes it. Raises `TrackingError` where another run does.

    A parameter is written once: of two that resume a run at the same time the store lets one in. A run whose heir was
    interrupted too can be resumed again.
    """
    client = mlflow.MlflowClient()
    while True:
        run = client.get_run(run_id)
        refuse_if_resumed(run)
        try:
            return client.log_param(run_id, f"{RESUMED_BY}.{len(_heirs(run)) + 1}", heir)
        except MlflowException:
            if len(_heirs(client.get_run(run_id))) == len(_heirs(run)):
                raise  # not since another was faster


def refuse_if_resumed(run: Run) -> None:
    """Raise `TrackingError` for a run that another has resumed, unless that was interrupted too."""
    if heir := resumed_by(run):
        status = mlflow.get_run(heir).info.status
        if status == "FINISHED" or is_alive(mlflow.get_run(heir)):
            does = "has resumed it and finished" if status == "FINISHED" else "is resuming it"
            raise TrackingError(f"`run`: the run {heir} {does}; there is nothing to resume in {run.info.run_id}.")


def resumed_by(run: Run) -> str:
    """The id of the run that resumed a run last; empty where none did."""
    return ["", *_heirs(run)][-1]


def _heirs(run: Run) -> list[str]:
    number = len(f"{RESUMED_BY}.")
    names = [name for name in run.data.params if name.startswith(f"{RESUMED_BY}.")]
    return [run.data.params[name] for name in sorted(names, key=lambda name: int(name[number:]))]


def mark_ended(run: Run, status: str, reason: str) -> None:
    """Say of a run that did not finish why it ended, as a tag and at the head of its description."""
    described, ended = run.data.tags.get(NOTE_TAG, ""), f"{status.capitalize()}: {reason[:1000]}."
    note = described if described.startswith(ended) else f"{ended}\n\n{described}".strip()
    tags = {REASON_TAG: reason[:LONGEST_TAG], NOTE_TAG: note}
    mlflow.MlflowClient().log_batch(run.info.run_id, tags=[RunTag(name, text) for name, text in tags.items()])


def end(run: Run, status: str, reason: str) -> None:
    """End a run that no process has open, and say why where it did not finish."""
    if reason:
        mark_ended(run, status, reason)
    else:
        mlflow.MlflowClient().set_tag(run.info.run_id, REASON_TAG, "")
    mlflow.MlflowClient().set_terminated(run.info.run_id, status)


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
    condition = "attributes.status = 'RUNNING'"
    for run in mlflow.search_runs(filter_string=condition, output_format="list", search_all_experiments=True):
        is_ours = {HEARTBEAT_TAG, HEARTBEAT_OF_TAG, ENTRY_POINT_TAG} & set(run.data.tags)
        if is_ours and not is_alive(run):
            end(run, "KILLED", KILLED)
