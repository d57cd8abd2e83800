"""Several commands as one: each a process and a run of its own; what is up to date is reused, what fails costs no more.

A step that failed keeps those from being done that need it, and no other.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NamedTuple

from mnist_cnn.runtime import fingerprint, processes
from mnist_cnn.settings import ENTRY_POINTS
from mnist_cnn.settings.command_line import SettingError, WorkStopped, is_of_a_store
from mnist_cnn.tracking import runs
from mnist_cnn.tracking.runs import TrackedRun

SECONDS_TO_END = 20.0
"""So long a step is waited for that was asked to end, before it is killed."""

SECONDS_BETWEEN_LOOKS = 0.2

TRUST = 60.0
"""Seconds of expected work that weigh as much as what has been seen of this machine's speed."""


@dataclass(frozen=True)
class Outcome:
    """What became of a step. state: done, reused, failed, left out. seconds: that it took, now or when it was done.

    run_id: of the step's run; empty where there is none. command: as a person would type it. reason: why it failed.
    """

    name: str
    title: str
    state: str
    seconds: float = 0.0
    run_id: str = ""
    command: str = ""
    reason: str = ""

    @property
    def is_there(self) -> bool:
        return self.state in ("done", "reused")


class StepsFailed(WorkStopped):
    """Some of the steps could not be done; the message names them."""


Outcomes = Mapping[str, Outcome]


@dataclass(frozen=True)
class Step:
    """A command. words: its settings, made from the outcomes of the steps it needs.

    seconds: how long it takes on two cores, by which the time to go is told. leaves: files of its run without which it
    is not up to date. always: it is done even if it was before, since it asks for the state of things.
    """

    name: str
    title: str
    program: str
    words: Callable[[Outcomes], Mapping[str, str]]
    needs: tuple[str, ...] = ()
    seconds: float = 10.0
    always: bool = False
    leaves: tuple[str, ...] = ()


def do(
    steps: Sequence[Step],
    run: TrackedRun,
    *,
    fresh: bool = False,
    first: subprocess.Popen[str] | None = None,
    tell: Callable[[Outcomes], None] = lambda outcomes: None,
) -> dict[str, Outcome]:
    """Do the steps in their order, below `run`.

    first: a standby process that has begun to import. tell: called with the outcomes so far after each step.

    Raises `Interrupted`, when the step that goes on has ended.
    """
    outcomes: dict[str, Outcome] = {}
    reusable = {} if fresh else _reusable(steps)
    began = time.monotonic()
    expected = spent = 0.0
    ready = _Ready(run, first)
    try:
        for number, step in enumerate(steps, 1):
            left = sum(each.seconds for each in steps[number - 1 :] if each.name not in reusable)
            to_go = left * (spent + TRUST) / (expected + TRUST)
            head = f"[{number}/{len(steps)}] {step.title}"
            print(f"\n{head} · {clock(time.monotonic() - began)} gone, about {clock(to_go)} to go", flush=True)
            missing = [name for name in step.needs if not outcomes[name].is_there]
            if missing:
                titles = " and ".join(outcomes[name].title for name in missing)
                outcome = Outcome(step.name, step.title, "left out", reason=f"it needs: {titles}")
            else:
                try:
                    outcome = reusable.get(step.name) or _do(step, outcomes, fresh, ready)
                except Exception as error:
                    if not _is_of_the_world(error):
                        raise
                    outcome = Outcome(step.name, step.title, "failed", reason=str(error).partition("\n")[0])
                if outcome.state == "done":
                    expected, spent = expected + step.seconds, spent + outcome.seconds
            outcomes[step.name] = outcome
            said = {
                "done": f"done in {clock(outcome.seconds)}",
                "reused": f"up to date: the run {outcome.run_id} of the same settings, code and data is reused",
                "failed": f"FAILED: {outcome.reason}",
                "left out": f"left out: {outcome.reason}",
            }
            print(f"{head}: {said[outcome.state]}", flush=True)
            with _forgiving():
                tell(outcomes)
    finally:
        ready.close()
    return outcomes


def _is_of_the_world(error: Exception) -> bool:
    """Whether it is the store's, the disk's or a setting's fault, and not this program's."""
    return isinstance(error, SettingError | OSError) or is_of_a_store(error)


@contextmanager
def _forgiving() -> Iterator[None]:
    """For what no step should fail for."""
    try:
        yield
    except Exception as error:
        if not _is_of_the_world(error):
            raise


def _reusable(steps: Sequence[Step]) -> dict[str, Outcome]:
    """The steps that are up to date, as far as that can be said before the others are done."""
    found: dict[str, Outcome] = {}
    for step in steps:
        with _forgiving():
            if all(name in found for name in step.needs) and (outcome := _up_to_date(step, _words(step, found))):
                found[step.name] = outcome
    return found


def _words(step: Step, outcomes: Outcomes) -> _Words:
    words = step.words(outcomes)
    argv = [f"--{name}={word}" for name, word in words.items()]
    options = (f"-P {shlex.quote(f'{name}={word}')}" for name, word in words.items())
    recipe = fingerprint.recipe_of_command(ENTRY_POINTS[step.program], argv)
    return _Words(argv, " ".join(["mlflow run . -e", step.program, *options]), recipe)


def _up_to_date(step: Step, words: _Words) -> Outcome | None:
    """The outcome of a step that was done before with the same settings, code and data, and left all that is read."""
    if step.always:
        return None
    found = runs.run_of_recipe(step.program, words.recipe)
    if found is None or not runs.has_artifacts(found.info.run_id, step.leaves):
        return None
    seconds = ((found.info.end_time or found.info.start_time) - found.info.start_time) / 1000
    return Outcome(step.name, step.title, "reused", seconds, found.info.run_id, words.command)


def _do(step: Step, outcomes: Outcomes, fresh: bool, ready: _Ready) -> Outcome:
    argv, command, recipe = words = _words(step, outcomes)
    if not step.always and not fresh:
        outcome = _up_to_date(step, words)
        if outcome is not None:
            return outcome
        broken_off = runs.interrupted_run_of_recipe(recipe)
        if broken_off is not None:
            print(f"Going on with the interrupted run {broken_off.info.run_id}.", flush=True)
            argv = [f"--resume={broken_off.info.run_id}"]
    start = time.monotonic()
    code, told = ready.call(step.program, argv)
    seconds = time.monotonic() - start
    run_id = told.get("run_id", "")
    if code == 0 and run_id:
        return Outcome(step.name, step.title, "done", seconds, run_id, command)
    if code < 0:
        runs.close_stale_runs()
    killed = f"its process was killed by {signal.Signals(-code).name}" if code < 0 else ""
    reason = killed or told.get("reason") or f"{step.program} ended with status {code}, and said why on the terminal"
    return Outcome(step.name, step.title, "failed", seconds, run_id, command, reason)


class _Words(NamedTuple):
    """A step's settings as a command line, the command as a person would type it, and the recipe of both."""

    argv: list[str]
    command: str
    recipe: str


class _Ready:
    """A process for each command; the next one's imports what takes seconds while the one before works."""

    def __init__(self, run: TrackedRun, first: subprocess.Popen[str] | None) -> None:
        self._run_id = run.run_id
        self._next = first

    def call(self, program: str, argv: Sequence[str]) -> tuple[int, dict[str, str]]:
        """The exit status of a command, and what it told: its run, the reason for its end."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "told")
            code = self._call(program, argv, {processes.TELL_VARIABLE: path, runs.PARENT_VARIABLE: self._run_id})
            return code, processes.told(path)

    def _call(self, program: str, argv: Sequence[str], variables: Mapping[str, str]) -> int:
        process, self._next = self._next or processes.standby(), None
        line = json.dumps([program, list(argv), variables])
        try:
            with runs.deferring_interrupts() as check:
                assert process.stdin is not None
                with suppress(OSError):  # it has ended: its status says so
                    process.stdin.write(f"{line}\n")
                    process.stdin.close()
                self._next = processes.standby()
                while process.poll() is None:
                    check()
                    time.sleep(SECONDS_BETWEEN_LOOKS)
        finally:
            _end(process)
        return int(process.returncode)

    def close(self) -> None:
        if self._next is not None:
            _end(self._next)


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(SECONDS_TO_END)
        process.kill()
        process.wait()
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()


def summary(outcomes: Outcomes) -> str:
    """The steps as a Markdown table."""
    lines = ["| step | | time |", "|---|---|---|"]
    for one in outcomes.values():
        said = one.state if one.is_there else f"**{one.state}**: {one.reason}"
        lines.append(f"| {one.title} | {said} | {clock(one.seconds) if one.seconds else ''} |")
    return "\n".join(lines)


def clock(seconds: float) -> str:
    """`7 s`, `3:05 min`."""
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60}:{whole % 60:02d} min"
