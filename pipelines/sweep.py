"""Tune how input images are optimised, trial by trial, with as many processes as there are; go on where it stopped."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mnist_cnn.data import dataset
from mnist_cnn.runtime import processes
from mnist_cnn.settings import JUDGED, PANEL_A, REGIMES, SweepSettings, goals
from mnist_cnn.settings.search_space import Choices, Space
from pipelines import enter

if TYPE_CHECKING:
    from mnist_cnn.sweeps.study import Study
    from mnist_cnn.sweeps.worker import Evaluate
    from mnist_cnn.tracking import runs

WORKER_OF = "MNIST_CNN_WORKER_OF"
"""Set in the environment of a worker: the id of the sweep's run."""

SECONDS_TO_END = 10.0
"""So long workers are waited for that were asked to end, before they are killed."""

MOST_REPLACEMENTS = 5
"""So many times for each worker another one is started for one that was killed."""


def main(argv: Sequence[str] | None = None) -> None:
    settings, given = SweepSettings.from_command_line(argv)
    words = SweepSettings.words_given(argv)
    data = dataset.split(dataset.load_train(given["space"].fixed.get("dataset", "mnist")))
    space = _with_models(given["space"])

    def prepare() -> Evaluate:
        return ascent_trials(data, judged=bool(JUDGED & set(goals(settings.goal))))

    run_sweep(settings, space, words, data, prepare)


def ascent_trials(data: dataset.Split, *, judged: bool) -> Evaluate:
    """Trials of `optimize` on logged networks, scored by panel A where they are to be judged."""
    from mnist_cnn.models import networks
    from mnist_cnn.sweeps import trials
    from mnist_cnn.tracking import runs
    from pipelines import judges

    def load(uri: str) -> Any:
        network = runs.load_model(runs.resolve_model(uri))
        networks.refuse_misfit(network, dataset.IMAGE_SHAPE, dataset.NUM_CLASSES, logits=True)
        return network

    return trials.AscentTrials(data, load, judges.scorer(PANEL_A, data) if judged else None)


def run_sweep(
    settings: SweepSettings,
    space: Space,
    words: Mapping[str, str],
    data: dataset.Split,
    prepare: Callable[[], Evaluate],
) -> None:
    """Open the study and its run, do what is left of the trials, here or in workers, and draw what came out."""
    from mnist_cnn.runtime import hardware
    from mnist_cnn.sweeps import study
    from mnist_cnn.tracking import runs

    if WORKER_OF in os.environ:
        processes.end_with_parent(processes.parent())
    fingerprint = _fingerprint(settings, space, data)
    name = settings.sweep or f"{settings.PROGRAM}-{hashlib.sha256(json.dumps(fingerprint).encode()).hexdigest()[:8]}"
    storage = settings.storage or str(runs.store_folder() / "sweeps.journal")
    one, made = study.open_study(
        storage, name, space, goals(settings.goal), sampler=settings.sampler, pruner=settings.prunes,
        seed=space.fixed.get("seed", 0), fingerprint=fingerprint,
    )  # fmt: skip
    total = settings.n_trials
    if settings.sampler == "grid":
        total = min(total, space.num_points() or total)
    if WORKER_OF in os.environ:
        hardware.start_tensorflow()
        from mnist_cnn.sweeps import worker

        with runs.interruptible():
            worker.work(one, total, os.environ[WORKER_OF], prepare(), lambda: None)
        return

    parent = "" if made else _parent_of(one)
    device = hardware.start_tensorflow()
    from mnist_cnn.reporting import sweep_page
    from mnist_cnn.sweeps import worker

    try:
        with runs.tracked_run("sweep", otherwise=one.name, resume=parent) as run:
            run.is_shared = lambda: one.is_worked_on_by_others()
            _begin(run, one, settings, space, data, device)
            left = total - one.num_finished()
            print(f"Sweep {name} ({run.run_id}) on {device}\n{_what_is_left(left, total)}", flush=True)
            worker.reconcile(one, run.run_id)
            board = worker.Board(run, one, storage)
            try:
                if settings.workers > 1:
                    prepare()  # what the workers would each train for themselves
                    workers = _Workers(settings, space, {**words, "sweep": name}, run.run_id)
                    workers.watch(one, total, board.update)
                else:
                    worker.work(one, total, run.run_id, prepare(), board.update)
            except KeyboardInterrupt:
                worker.tidy(one, run.run_id)
                board.finish(in_a_hurry=True)
                raise
            worker.tidy(one, run.run_id)
            board.finish()
    except KeyboardInterrupt:
        print(f"\nThe same command goes on with {name}; nothing that is finished is done again.", file=sys.stderr)
        raise
    print(f"\n{sweep_page.best_table(one)}\n{runs.signpost(run)}\nAgain    {sweep_page.how_to_repeat(one)}")


def _fingerprint(settings: SweepSettings, space: Space, data: dataset.Split) -> dict[str, str]:
    """What makes two sweeps the same: everything but the number of trials, the workers and the place."""
    own = {"goal": settings.goal, "sampler": settings.sampler, "pruner": settings.prunes}
    return {"kind": settings.PROGRAM, **own, **space.words(), "digest": data.train.digest}


def _with_models(space: Space) -> Space:
    """The space with each `model` as the URI of one network, so that a newer one does not change a sweep."""
    from mnist_cnn.tracking import runs

    def uri(word: str) -> str:
        found = runs.resolve_model("", regime=word) if word in REGIMES else runs.resolve_model(word)
        return f"models:/{found.model_id}" if found.model_id else found.uri

    several = space.varied.get("model")
    if isinstance(several, Choices):
        chosen = Choices(tuple(uri(str(word)) for word in several.values))
        return Space(space.trial, space.fixed, {**space.varied, "model": chosen})
    return Space(space.trial, {**space.fixed, "model": uri(space.fixed.get("model", ""))}, space.varied)


def _parent_of(one: Study) -> str:
    """Id of the run of a sweep that is gone on with; empty for a new one."""
    from mnist_cnn.tracking import runs, sweep_runs

    runs.open_store()
    known = one.await_run_id()
    if not known:
        found = sweep_runs.sweep_run(one.name)
        return found.info.run_id if found else ""
    if sweep_runs.brought_back(known):
        print(f"The run {known} of {one.name} had been deleted: it is brought back, and gone on with.", flush=True)
    if not sweep_runs.is_there(known):
        raise runs.TrackingError(
            f"`sweep`: the run {known} of {one.name} is not in {runs.tracking_uri()}; give the tracking store it "
            "was made in, or another name."
        )
    return known


def _begin(
    run: runs.TrackedRun,
    one: Study,
    settings: SweepSettings,
    space: Space,
    data: dataset.Split,
    device: str,
) -> None:
    from mnist_cnn.runtime import hardware
    from mnist_cnn.tracking import sweep_runs

    if not one.run_id:
        made_of = {sweep_runs.OF_TAG: space.trial.PROGRAM, sweep_runs.GOALS_TAG: ",".join(one.goals)}
        run.set_tags({sweep_runs.SWEEP_TAG: one.name, **made_of})
        run.log_settings(settings, {"digest": data.validation.digest, "space": space.words()})
        run.log_words(space.words())
        run.log_data(data.validation, "starts")
    run.set_tags(hardware.describe(device))
    one.run_id = run.run_id


def _what_is_left(left: int, total: int) -> str:
    if left <= 0:
        return f"All {total} trials are done."
    return f"{left} of {total} trials to go." if left < total else f"{total} trials."


class _Workers:
    """The same command in processes of their own, which share the cores, and are replaced when they are killed."""

    def __init__(self, settings: SweepSettings, space: Space, words: Mapping[str, str], run_id: str) -> None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        threads = str(max(1, cores // settings.workers))
        variables = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        self._environment = {**os.environ, **dict.fromkeys(variables, threads), "TF_NUM_INTEROP_THREADS": "1"}
        self._environment |= {WORKER_OF: run_id, processes.PARENT_VARIABLE: str(os.getpid())}
        self._environment.pop("MLFLOW_RUN_ID", None)
        models = {name: word for name, word in space.words().items() if name == "model"}
        given = {**words, **models, "workers": "1"}
        self._command = [sys.executable, "-m", f"pipelines.{settings.PROGRAM}"]
        self._command += [f"--{name}={word}" for name, word in given.items()]
        print(f"{settings.workers} workers with {threads} thread{'s' * (threads != '1')} each.", flush=True)
        self._working = [self._start() for _ in range(settings.workers)]
        self._replacements_left = MOST_REPLACEMENTS * settings.workers

    def _start(self) -> subprocess.Popen[bytes]:
        # In a session of its own: Ctrl-C reaches this process alone, which passes it on once.
        return subprocess.Popen(self._command, env=self._environment, start_new_session=True)

    def watch(self, one: Study, total: int, tell: Callable[[], None]) -> None:
        """Wait until all have ended. One that is killed is told of, and replaced."""
        from mnist_cnn.sweeps import worker as sweep_worker
        from mnist_cnn.tracking import runs

        try:
            with runs.deferring_interrupts() as check:
                while self._working:
                    check()
                    for worker in list(self._working):
                        code = worker.poll()
                        if code is None:
                            continue
                        self._working.remove(worker)
                        if code:
                            print(f"Worker {worker.pid} ended with status {code}.", file=sys.stderr)
                        if code < 0 and self._replacements_left and not one.is_finished(total):
                            self._replacements_left -= 1
                            self._working.append(self._start())
                    tell()
                    time.sleep(sweep_worker.SECONDS_BETWEEN_LOOKS)
        finally:
            self._end()
        if not one.is_finished(total):
            raise sweep_worker.SweepStopped("all workers ended before the sweep did; what they said stands above")

    def _end(self) -> None:
        for worker in self._working:
            worker.terminate()
        for worker in self._working:
            with suppress(subprocess.TimeoutExpired):
                worker.wait(SECONDS_TO_END)
            worker.kill()
            worker.wait()


if __name__ == "__main__":
    enter(main, "sweep")
