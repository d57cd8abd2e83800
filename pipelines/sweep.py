"""Tune how input images are optimised, trial by trial, in as many processes as there are; continue where it stopped."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from mnist_cnn.data import dataset
from mnist_cnn.input_optimization import starts
from mnist_cnn.reporting import search_figures, sweep_charts, sweep_page
from mnist_cnn.reporting.rendering import on_terminal
from mnist_cnn.runtime import hardware, signals
from mnist_cnn.settings import JUDGED, PANEL_A, REGIMES, Interrupted, SweepSettings, goals, hide_password, show
from mnist_cnn.settings.experiments import kinds
from mnist_cnn.settings.search_space import Choices, Space
from mnist_cnn.settings.sweeps import place_of_proxy
from mnist_cnn.sweeps import outcomes, study, trials, worker
from mnist_cnn.sweeps.records import SweepRecord, TrialRecord
from mnist_cnn.sweeps.study import Study
from mnist_cnn.tracking import models, networks, reading, runs, store, sweep_runs
from mnist_cnn.tracking.store import TrackingError
from pipelines import judges

if TYPE_CHECKING:
    import keras  # not before this project's rooms have looked at its backend

WORKER_OF = "MNIST_CNN_WORKER_OF"
"""Set in the environment of a worker: the id of the sweep's run, and that of the process that started the worker."""

SECONDS_TO_END = 10.0
"""So long workers that were asked to end are waited for, before they are killed."""

MOST_REPLACEMENTS = 5
"""So many killed workers are replaced, for each worker there is."""

SHARE_FOR_PICTURES = 0.05
"""Of the time, so many pictures of the whole sweep are drawn on the way; all are drawn at the end."""

SECONDS_IN_A_HURRY = 3.0
"""After Ctrl-C, pictures that take longer are left out, as those are that were not drawn before."""


@dataclass(frozen=True)
class SweepResult:
    """A sweep as it stands: its trials by number, and `best`, the best one or the Pareto front of two goals.

    table: the best trials, as Markdown. commands: that repeat the best ones.
    """

    run_id: str
    name: str
    goals: tuple[str, ...]
    trials: tuple[TrialRecord, ...]
    best: tuple[TrialRecord, ...]
    table: str
    commands: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        best = [trial.as_json() for trial in self.best]
        return {"name": self.name, "goals": self.goals, "best": best, "commands": self.commands}


def run(settings: SweepSettings) -> SweepResult:
    """Run what is left of `n_trials` trials of `optimize`, or continue the sweep of that name.

    Several processes may end with more trials than `n_trials`: at most one for each process but the first.
    """
    data = dataset.split(dataset.load_train(settings.space.at({}).dataset))
    for each in settings.space.each("targets", "start", "start_class"):
        asked = kinds(each.targets, each.start, each.start_class, num_classes=data.train.num_classes)
        starts.refuse_missing(asked, data.validation)
    judged = bool(JUDGED & set(goals(settings.goal)))
    if judged:
        dataset.refuse_missing_classes(data)
    return run_sweep(settings, data, lambda: ascent_trials(data, judged=judged))


def main(settings: SweepSettings) -> None:
    print_result(run(settings))


def print_result(result: SweepResult) -> None:
    """What stands on the terminal in the end. A worker leaves it to the process that started it."""
    if WORKER_OF in os.environ:
        return
    again = "".join(f"\nAgain    {command}" for command in result.commands)
    print(f"\n{on_terminal(result.table)}\n{runs.signpost(result.run_id)}{again}")


def ascent_trials(data: dataset.Split, *, judged: bool) -> trials.AscentTrials:
    """Trials of `optimize` on logged networks, scored by panel A where they are to be judged."""

    def load(uri: str) -> keras.Model:
        return networks.load(models.resolve(uri), data.train.num_classes, logits=True)

    return trials.AscentTrials(data, load, judges.scorer(PANEL_A, data) if judged else None)


def run_sweep(settings: SweepSettings, data: dataset.Split, prepare: Callable[[], worker.Evaluate]) -> SweepResult:
    """Open the study and its run, run what is left of the trials, here or in workers, and draw what came out.

    prepare: makes what runs a trial; called only where there is a trial to run.
    """
    if not settings.storage and runs.is_in_a_temporary_clone():
        raise TrackingError(
            "`storage` is needed: `mlflow run` works in a temporary clone here, and the sweep's trials would go with "
            "it. Give the path of a journal that stays, or a database."
        )
    storage = settings.storage or str(store.folder() / "sweeps.journal")
    settings, fingerprint = _resolved(settings, storage, data)
    space, total = settings.space, settings.n_trials
    if settings.sampler == "grid":
        total = min(total, space.num_points() or total)
    open_study = partial(
        study.open_study, storage, settings.sweep, space, goals(settings.goal), total=total, sampler=settings.sampler,
        pruner=settings.pruner, seed=space.fixed.get("seed", 0), fingerprint=fingerprint,
    )  # fmt: skip
    sweep, made = open_study()
    if not made and _is_without_its_run(sweep):
        kept = f"Optuna keeps the old trials as {sweep.retire()!r}"
        print(f"The run of {sweep.name} was deleted for good. A new sweep begins; {kept}.", flush=True)
        sweep.close()
        sweep, made = open_study()
    try:
        if WORKER_OF in os.environ:
            run_id = _be_a_worker(sweep, prepare)
        else:
            run_id = _lead(sweep, settings, storage, data, prepare, "" if made else _run_to_continue(sweep))
        record = SweepRecord(sweep.name, run_id, space.trial.COMMAND, sweep.goals, sweep.records())
        table, commands = sweep_page.best_table(sweep), tuple(sweep_page.how_to_repeat(sweep))
        return SweepResult(run_id, sweep.name, sweep.goals, record.trials, record.front, table, commands)
    finally:
        sweep.close()


def _lead(
    sweep: Study,
    settings: SweepSettings,
    storage: str,
    data: dataset.Split,
    prepare: Callable[[], worker.Evaluate],
    continued: str,
) -> str:
    """Run the trials below the sweep's run, whose id is returned. continued: id of that run, where there is one."""
    device = hardware.start_tensorflow()
    try:
        with runs.tracked_run("sweep", otherwise=sweep.name, resume=continued) as run:
            run.is_shared = lambda: bool(sweep.run_by_others())
            _begin(run, sweep, settings, data, device)
            log = sweep_runs.SweepRuns(run.run_id, sweep.name)
            worker.reconcile(sweep, log)
            left = sweep.total - sweep.num_finished()
            print(f"Sweep {sweep.name} ({run.run_id}) on {device}\n{_what_is_left(left, sweep.total)}", flush=True)
            board = _Board(run, sweep, storage)
            try:
                if left > 0:
                    evaluate = prepare()  # for workers too: judges that each of them would train for itself
                    if settings.workers > 1:
                        _Workers(settings, run.run_id).watch(sweep, board.update)
                    else:
                        _work(sweep, log, evaluate, lambda: None, board.update)
                    worker.await_others(sweep, log)
            except KeyboardInterrupt:
                worker.reconcile(sweep, log)
                board.finish(in_a_hurry=True)
                raise
            worker.reconcile(sweep, log)
            board.finish()
            return run.run_id
    except KeyboardInterrupt:
        print(f"\nThe same command continues {sweep.name}; finished trials are not repeated.", file=sys.stderr)
        raise


def _work(
    sweep: Study,
    log: worker.SweepLog,
    evaluate: worker.Evaluate,
    look: Callable[[], None],
    on_trial: Callable[[], None],
) -> None:
    """Run trials in this process. look: called as often as signals are looked for."""
    with signals.deferring() as raise_noted:

        def check() -> None:
            raise_noted()
            look()

        worker.work(sweep, log, evaluate, search_figures.strip, check=check, on_trial=on_trial)


def _be_a_worker(sweep: Study, prepare: Callable[[], worker.Evaluate]) -> str:
    """Run trials until there are as many as were asked for, or the process that started this one is gone."""
    run_id, parent = os.environ[WORKER_OF].split()

    def look() -> None:
        if os.getppid() != int(parent):
            raise Interrupted(signal.SIGTERM)

    with signals.interruptible():
        look()
        log = sweep_runs.SweepRuns(run_id, sweep.name)
        _work(sweep, log, prepare(), look, lambda: None)
    return run_id


def _resolved(settings: SweepSettings, storage: str, data: dataset.Split) -> tuple[SweepSettings, dict[str, str]]:
    """The settings with the sweep's name and with its networks' addresses, and what makes two sweeps the same.

    The name that the settings make holds the network only where it was given: with a newer network the same command
    continues the sweep on the network that it began with.
    """
    space = settings.space
    has_network, is_given = "model" in space.trial.names(), "model" in {*space.fixed, *space.varied}
    if has_network and is_given:
        space = _with_addresses(space, space.at({}).dataset)
    own = {"goal": settings.goal, "sampler": settings.sampler, "pruner": settings.pruner}
    parts = {"kind": settings.COMMAND, **own, **space.words(), "digest": data.train.digest}
    name = settings.sweep or f"{settings.COMMAND}-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]}"
    if has_network and not is_given:
        space = Space(
            space.trial, {**space.fixed, "model": _kept_network(storage, name, space.at({}).dataset)}, space.varied
        )
    own_settings = settings.replace(sweep=name, space=space)
    return own_settings, {"kind": settings.COMMAND, **own, **space.words(), "digest": data.train.digest}


def _with_addresses(space: Space, data: str) -> Space:
    """The space with each network as the address of one model, so that a newer one does not change the sweep."""
    several = space.varied.get("model")
    if isinstance(several, Choices):
        addresses = Choices(tuple(_address(str(word), data) for word in several.values))
        return Space(space.trial, space.fixed, {**space.varied, "model": addresses})
    return Space(space.trial, {**space.fixed, "model": _address(space.fixed["model"], data)}, space.varied)


def _address(word: str, data: str) -> str:
    """`models:/m-ID` of a model by its URI, a regime (the newest of it), or nothing (the newest of all)."""
    found = models.resolve("", data, regime=word) if word in REGIMES else models.resolve(word, data)
    return f"models:/{found.model_id}" if found.model_id else found.uri


def _kept_network(storage: str, name: str, data: str) -> str:
    """The network of the sweep of that name; the newest for a new sweep."""
    kept = study.remembered(storage, name).get("model", "")
    newest = ""
    with suppress(*([TrackingError] if kept else [])):
        newest = _address("", data)
    if kept and newest not in ("", kept) and WORKER_OF not in os.environ:
        print(f"This sweep keeps its network {kept}; a newer one exists: give model={newest} to sweep that.")
    return kept or newest


def _run_to_continue(sweep: Study) -> str:
    """Id of the run of a sweep that exists; empty where it has none yet and this process is to open it."""
    if WORKER_OF in os.environ:
        return ""
    store.open_store()
    known = sweep.await_run_id()
    if not known:
        return sweep_runs.run_id_of(sweep.name)
    if reading.is_gone(known):
        raise TrackingError(
            f"`sweep`: the run {known} of {sweep.name} is not in {store.shown_uri()}; give the tracking store "
            "it was made in, or another name."
        )
    if sweep_runs.restore(known):
        print(f"The run {known} of {sweep.name} had been deleted; it is restored with its trials.", flush=True)
    return known


def _is_without_its_run(sweep: Study) -> bool:
    """Whether the run was deleted for good (`mlflow gc`) in this very store, and its trials with it."""
    store.open_store()
    is_of_here = sweep.tracking_store == store.shown_uri()
    return is_of_here and WORKER_OF not in os.environ and reading.is_gone(sweep.run_id)


def _begin(run: runs.TrackedRun, sweep: Study, settings: SweepSettings, data: dataset.Split, device: str) -> None:
    """Log what the sweep is made of, unless it is there, and say to other processes which run is the sweep's."""
    run.repeated_by(settings)
    if not sweep.run_id:
        sweep_runs.tag_sweep(run, sweep.name, sweep.space.trial.COMMAND, sweep.goals)
        run.log_settings(settings, {"digest": data.validation.digest, "space": sweep.space.words()})
        run.log_data(data.validation, "starts")
    run.set_tags(hardware.describe(device))
    sweep.set_run(run.run_id, store.shown_uri())


def _what_is_left(left: int, total: int) -> str:
    if left <= 0:
        return f"All {total} trials are done."
    return f"{left} of {total} trials to go." if left < total else f"{total} trials."


class _Board:
    """Keeps the sweep's run up to date: best values at once, pictures as often as they do not slow the sweep down."""

    def __init__(self, run: runs.TrackedRun, sweep: Study, storage: str) -> None:
        self._run, self._sweep = run, sweep
        address = "DATABASE" if place_of_proxy(storage) else shlex.quote(hide_password(storage))
        self._how_to_open = f"Optuna's own page: `optuna-dashboard {address}`."
        self._done = -1
        self._images: dict[str, Mapping[str, NDArray[Any]]] = {}
        self._drawn, self._cost = time.monotonic(), SECONDS_IN_A_HURRY

    def update(self) -> None:
        """Log the best values if a trial has ended since, and now and then the pictures."""
        if self._log_best() and time.monotonic() - self._drawn > self._cost / SHARE_FOR_PICTURES:
            self._draw()

    def finish(self, in_a_hurry: bool = False) -> None:
        self._done = -1  # trials that were reconciled may have changed what is best without being more
        self._log_best()
        if not in_a_hurry or self._cost < SECONDS_IN_A_HURRY:
            self._draw()

    def _log_best(self) -> bool:
        """Log the best values; False where no trial has ended since."""
        done = self._sweep.num_finished()
        if done == self._done:
            return False
        self._done = done
        states = [outcomes.state_of(trial) for trial in self._sweep.trials()]
        numbers = {f"trials_{state}": float(states.count(state)) for state in ("complete", "pruned", "failed")}
        best = self._sweep.best()
        if len(self._sweep.goals) > 1:
            self._run.set_tags({"pareto_front": ", ".join(str(trial.number) for trial in best)})
        elif best:
            numbers[f"best_{self._sweep.goals[0]}"] = best[0].values[0]
            settings = {f"best.{name}": show(value) for name, value in best[0].params.items()}
            self._run.set_tags({"best.trial": str(best[0].number), **settings})
        self._run.log_metrics(numbers, done)
        return True

    def _draw(self) -> None:
        started = time.monotonic()
        pictures: dict[str, bytes] = {}
        try:
            pictures = sweep_charts.draw_all(self._sweep, self._images_of)
        except Exception as error:  # A picture must not end a sweep.
            print(f"The sweep's pictures could not be drawn ({type(error).__name__}: {error}).", file=sys.stderr)
        for name, picture in pictures.items():
            self._run.log_bytes(picture, f"figures/{name}.png")
        self._run.replace_table(sweep_page.trials_columns(self._sweep), "trials.json")
        self._run.log_text(sweep_page.page(self._sweep, pictures, self._images_of), "sweep.html")
        self._run.describe(sweep_page.description(self._sweep, pictures, self._how_to_open))
        self._drawn = time.monotonic()
        self._cost = self._drawn - started

    def _images_of(self, run_id: str) -> Mapping[str, NDArray[Any]]:
        if run_id not in self._images:
            self._images[run_id] = sweep_runs.images_of(run_id)
        return self._images[run_id]


class _Workers:
    """The same command in processes of their own, which share the cores, and are replaced when they are killed."""

    def __init__(self, settings: SweepSettings, run_id: str) -> None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        threads = str(max(1, cores // settings.workers))
        variables = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        self._environment = {**os.environ, **dict.fromkeys(variables, threads), "TF_NUM_INTEROP_THREADS": "1"}
        self._environment |= {WORKER_OF: f"{run_id} {os.getpid()}", "MLFLOW_TRACKING_URI": store.uri()}
        self._environment.pop(runs.RUN_ID_VARIABLE, None)
        words = settings.replace(workers=1).as_words(secrets=True)
        self._command = [sys.executable, "-m", "pipelines", settings.COMMAND]
        self._command += [f"--{name}={word}" for name, word in words.items() if word != ""]
        print(f"{settings.workers} workers with {threads} thread{'s' * (threads != '1')} each.", flush=True)
        self._working = [self._start() for _ in range(settings.workers)]
        self._replacements_left = MOST_REPLACEMENTS * settings.workers

    def _start(self) -> subprocess.Popen[bytes]:
        # In a session of its own: Ctrl-C reaches this process alone, which passes it on once.
        # With --json all but the document goes to standard error, also what workers say.
        output = sys.stderr if sys.stdout is sys.stderr else None
        return subprocess.Popen(self._command, env=self._environment, start_new_session=True, stdout=output)

    def watch(self, sweep: Study, on_look: Callable[[], None]) -> None:
        """Wait until all have ended; one that was killed is replaced. Raises `SweepStopped` if trials are left."""
        try:
            with signals.deferring() as check:
                while self._working:
                    check()
                    for process in list(self._working):
                        code = process.poll()
                        if code is None:
                            continue
                        self._working.remove(process)
                        if code:
                            print(f"Worker {process.pid} ended with status {code}.", file=sys.stderr)
                        if code < 0 and self._replacements_left and not sweep.is_finished():
                            self._replacements_left -= 1
                            self._working.append(self._start())
                    try:
                        on_look()
                    except Exception as error:
                        if not sweep.recover(error):
                            raise
                    time.sleep(worker.SECONDS_BETWEEN_LOOKS)
        finally:
            self._end()
        if not sweep.is_finished():
            raise worker.SweepStopped("all workers ended before the sweep did; their messages stand above")

    def _end(self) -> None:
        for process in self._working:
            process.terminate()
        for process in self._working:
            with suppress(subprocess.TimeoutExpired):
                process.wait(SECONDS_TO_END)
            process.kill()
            process.wait()
