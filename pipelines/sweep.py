"""Tune how input images are optimised, trial by trial, with as many processes as there are; go on where it stopped."""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mnist_cnn import dataset, processes
from mnist_cnn.command_line import show
from mnist_cnn.settings import PANEL_A, REGIMES, SweepSettings, goals
from mnist_cnn.space import Choices, Space
from pipelines import enter

if TYPE_CHECKING:
    from optuna.trial import Trial

    from mnist_cnn import tracking
    from mnist_cnn.study import Study
    from mnist_cnn.trials import TrialResult

WORKER_OF = "MNIST_CNN_WORKER_OF"
"""Set in the environment of a worker: the id of the sweep's run."""

FAILURES_IN_A_ROW = 10
SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_TO_END = 10.0
SHARE_FOR_PICTURES = 0.05
"""Of the time, so many pictures of the whole sweep are drawn on the way; all are drawn at the end."""

Evaluate = Callable[[Any, "TrialResult", Callable[[int, Mapping[str, float]], None], Callable[[], None]], None]
"""A trial: its settings, the result to fill, whom to tell of each step, what to call now and then. See `trials`."""


class SweepStopped(ArithmeticError):
    """Too many trials failed one after another."""


def main(argv: Sequence[str] | None = None) -> None:
    settings, given = SweepSettings.from_command_line(argv)
    words = SweepSettings.words_given(argv)
    data = dataset.split(dataset.load_train(given["space"].fixed.get("dataset", "mnist")))
    from mnist_cnn import tracking

    space = _with_models(given["space"])

    def prepare() -> Evaluate:
        from mnist_cnn import networks, trials
        from pipelines import judges

        def load(uri: str) -> Any:
            network = tracking.load_model(tracking.resolve_model(uri))
            networks.refuse_misfit(network, dataset.IMAGE_SHAPE, dataset.NUM_CLASSES, logits=True)
            return network

        judged = trials.JUDGED & set(goals(settings.goal))
        return trials.AscentTrials(data, load, judges.scorer(PANEL_A, data) if judged else None)

    run_sweep(settings, space, words, data, prepare)


def run_sweep(
    settings: SweepSettings,
    space: Space,
    words: Mapping[str, str],
    data: dataset.Split,
    prepare: Callable[[], Evaluate],
) -> None:
    """Open the study and its run, do what is left of the trials, here or in workers, and draw what came out."""
    from mnist_cnn import hardware, study, tracking

    fingerprint = _fingerprint(settings, space, data)
    name = settings.sweep or f"{settings.PROGRAM}-{hashlib.sha256(json.dumps(fingerprint).encode()).hexdigest()[:8]}"
    storage = settings.storage or str(tracking.store_folder() / "sweeps.journal")
    one, _ = study.open_study(
        storage, name, space, goals(settings.goal), sampler=settings.sampler, pruner=settings.prunes,
        seed=space.fixed.get("seed", 0), fingerprint=fingerprint,
    )  # fmt: skip
    total = (
        min(settings.n_trials, space.num_points() or settings.n_trials)
        if settings.sampler == "grid"
        else settings.n_trials
    )
    if WORKER_OF in os.environ:
        processes.end_with_parent()
        hardware.start_tensorflow()
        with tracking.interruptible():
            _work(one, total, os.environ[WORKER_OF], prepare(), lambda: None)
        return

    parent = _parent_of(one)
    device = hardware.start_tensorflow()
    from mnist_cnn import report

    try:
        with tracking.tracked_run("sweep", name="", resume=parent) as run:
            run.is_shared = lambda: one.is_worked_on()
            _begin(run, one, settings, space, data, device, new=not parent)
            left = total - sum(1 for trial in one.trials() if study.counts(trial) and trial.state.is_finished())
            print(f"Sweep {name} ({run.run_id}) on {device}\n{_what_is_left(left, total)}", flush=True)
            board = _Board(run, one, storage)
            try:
                if settings.workers > 1:
                    prepare()  # what the workers would each train for themselves
                    _watch(_start_workers(settings, space, words, name, run.run_id), board, one, total)
                else:
                    _work(one, total, run.run_id, prepare(), board.update)
            except KeyboardInterrupt:
                _tidy(one, run.run_id)
                board.finish(in_a_hurry=True)
                raise
            _tidy(one, run.run_id)
            board.finish()
    except KeyboardInterrupt:
        print(f"\nThe same command goes on with {name}; nothing that is finished is done again.", file=sys.stderr)
        raise
    print(f"\n{report.best_table(one)}\n{tracking.signpost(run)}")


def _fingerprint(settings: SweepSettings, space: Space, data: dataset.Split) -> dict[str, str]:
    """What makes two sweeps the same: everything but the number of trials, the workers and the place."""
    own = {"goal": settings.goal, "sampler": settings.sampler, "pruner": settings.prunes}
    return {"kind": settings.PROGRAM, **own, **space.words(), "digest": data.train.digest}


def _with_models(space: Space) -> Space:
    """The space with each `model` as the URI of one network, so that a newer one does not change a sweep."""
    from mnist_cnn import tracking

    def uri(word: str) -> str:
        found = tracking.resolve_model("", regime=word) if word in REGIMES else tracking.resolve_model(word)
        return f"models:/{found.model_id}" if found.model_id else found.uri

    several = space.varied.get("model")
    if isinstance(several, Choices):
        chosen = Choices(tuple(uri(str(word)) for word in several.values))
        return Space(space.trial, space.fixed, {**space.varied, "model": chosen})
    return Space(space.trial, {**space.fixed, "model": uri(space.fixed.get("model", ""))}, space.varied)


def _parent_of(one: Study) -> str:
    """Id of the run of a sweep that is gone on with; empty for a new one."""
    from mnist_cnn import sweep_runs, tracking

    known = one.attribute("run_id")
    if known is None:
        found = sweep_runs.sweep_run(one.name)
        return found.info.run_id if found else ""
    if not sweep_runs.is_there(known):
        raise tracking.TrackingError(
            f"`sweep`: the run {known} of {one.name} is not in {tracking.tracking_uri()}; give the tracking store it "
            "was made in, or another name."
        )
    return str(known)


def _begin(
    run: tracking.TrackedRun,
    one: Study,
    settings: SweepSettings,
    space: Space,
    data: dataset.Split,
    device: str,
    *,
    new: bool,
) -> None:
    from mnist_cnn import hardware

    if new:
        run.set_tags({"sweep": one.name})
        run.suggest_name(one.name)
        run.log_settings(settings, {"digest": data.validation.digest, "space": space.words()})
        run.log_words(space.words())
        run.log_data(data.validation, "starts")
    run.set_tags(hardware.describe(device))
    one.set_attribute("run_id", run.run_id)


def _what_is_left(left: int, total: int) -> str:
    if left <= 0:
        return f"All {total} trials are done."
    return f"{left} of {total} trials to go." if left < total else f"{total} trials."


def _work(one: Study, total: int, parent: str, evaluate: Evaluate, tell: Callable[[], None]) -> None:
    """Trials until there are `total`. Waits for those in others' hands, to take them over should they be lost."""
    from mnist_cnn import tracking

    with tracking.deferring_interrupts() as check:
        _work_unless(check, one, total, parent, evaluate, tell)


def _work_unless(
    check: Callable[[], None], one: Study, total: int, parent: str, evaluate: Evaluate, tell: Callable[[], None]
) -> None:
    while True:
        check()
        _tidy(one, parent)
        trial = one.claim(total)
        if trial is None:
            if one.is_finished(total):
                return
            time.sleep(SECONDS_BETWEEN_LOOKS)
            continue
        started = time.perf_counter()
        state = _one_trial(one, trial, parent, evaluate, check)
        print(_line(one, trial.number, total, state, time.perf_counter() - started), flush=True)
        tell()
        if one.failures_in_a_row() >= FAILURES_IN_A_ROW:
            reason = one.trials()[trial.number].user_attrs.get("reason", "")
            raise SweepStopped(f"{FAILURES_IN_A_ROW} trials in a row failed, the last with: {reason}")


def _one_trial(one: Study, trial: Trial, parent: str, evaluate: Evaluate, check: Callable[[], None]) -> str:
    """Do one trial; its run says how it ended before the study does."""
    from mnist_cnn import figures, sweep_runs, trials

    values = one.suggest(trial)
    settings = one.space.at(values)
    run = sweep_runs.start_trial(parent, one.name, trial.number, settings.as_words())
    trial.set_user_attr("run_id", run.run_id)
    result = trials.TrialResult()
    last = 0

    def report(step: int, metrics: Mapping[str, float]) -> None:
        nonlocal last
        last = step
        run.log_metrics(metrics, step)
        value = metrics.get(trials.METRICS[one.goals[0]], math.nan)
        if len(one.goals) == 1 and math.isfinite(value) and one.should_prune(trial, value, step):
            raise trials.Pruned(f"fell behind other trials at step {step:,}")

    state, reason, values_of_goals = "complete", "", []
    try:
        with one.heartbeat(trial):
            evaluate(settings, result, report, check)
        values_of_goals = [result.metrics.get(trials.METRICS[goal], math.nan) for goal in one.goals]
        if not all(map(math.isfinite, values_of_goals)):
            raise ArithmeticError(f"{' and '.join(one.goals)} came to {values_of_goals}")
    except trials.Pruned as error:
        state, reason, values_of_goals = "pruned", str(error), []
    except KeyboardInterrupt as error:
        reason = str(error) or "interrupted"
        one.give_up(trial.number, reason)
        run.mark_lost(reason)
        raise
    except Exception as error:  # One bad setting must not end a night's work; ten in a row do.
        state, values_of_goals = "failed", []
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    if result.strip is not None:
        files = {"film_strip.png": figures.strip(result.strip)}
        run.log_files(files, {"finals": (255 * result.strip.images[:, -1]).round().astype("uint8")})
    run.finish(state, reason, values_of_goals, {}, last)
    if not _tell(one, trial.number, state, values_of_goals, reason):
        state = "lost"
        run.mark_lost("others took it over, for nothing was heard of this process")
    return state


def _tell(one: Study, number: int, state: str, values: Sequence[float], reason: str) -> bool:
    if state == "complete":
        return one.complete(number, values)
    return one.prune(number) if state == "pruned" else one.fail(number, reason)


def _tidy(one: Study, parent: str) -> None:
    """See to trials whose process has gone: tell the study what their runs say, or have them tried again."""
    from mnist_cnn import sweep_runs

    for number in one.lost():
        run = sweep_runs.find_trial_run(parent, number)
        ended = sweep_runs.outcome(run) if run else None
        if run and ended:
            if _tell(one, number, ended.state, ended.values, ended.reason):
                run.finish(ended.state, ended.reason, ended.values, {}, 0)
            continue
        reason = "its process ended without a word (killed, or the machine stopped); tried again"
        if one.give_up(number, reason):
            run = run or sweep_runs.start_trial(parent, one.name, number, {})
            run.mark_lost(reason)


def _line(one: Study, number: int, total: int, state: str, seconds: float) -> str:
    """`Trial 7 of 30: recognised 0.84 (best 0.912, trial 3), l2_weight 0.003, ...; 4.2 s`."""
    trial = one.trials()[number]
    if trial.values:
        came_to = ", ".join(f"{goal} {value:.4g}" for goal, value in zip(one.goals, trial.values, strict=True))
    else:
        came_to = state + (f" ({trial.user_attrs['reason']})" if "reason" in trial.user_attrs else "")
    best = one.best()
    record = f" (best {best[0].values[0]:.4g}, trial {best[0].number})" if len(best) == 1 else ""
    made_of = ", ".join(
        f"{name} {f'{value:.3g}' if isinstance(value, float) else value}" for name, value in trial.params.items()
    )
    return f"Trial {number} ({_done(one)} of {total}): {came_to}{record}; {made_of}; {seconds:.1f} s"


def _done(one: Study) -> int:
    from mnist_cnn import study

    return sum(1 for trial in one.trials() if study.counts(trial) and trial.state.is_finished())


class _Board:
    """Keeps the sweep's run up to date: best values at once, pictures as often as they do not slow the sweep down."""

    def __init__(self, run: tracking.TrackedRun, one: Study, storage: str) -> None:
        self._run, self._one, self._storage = run, one, storage
        self._done = -1
        self._images: dict[str, Mapping[str, Any]] = {}
        self._drawn, self._cost = time.monotonic(), 1.0

    def update(self) -> None:
        from mnist_cnn import study

        done = _done(self._one)
        if done == self._done:
            return
        self._done = done
        states = [study.state_of(trial) for trial in self._one.trials()]
        numbers = {f"trials_{state}": float(states.count(state)) for state in ("complete", "pruned", "failed")}
        best = self._one.best()
        if len(best) == 1:
            trial = best[0]
            numbers[f"best_{self._one.goals[0]}"] = trial.values[0]
            best_words = {f"best.{name}": show(value) for name, value in trial.params.items()}
            self._run.set_tags({"best.trial": str(trial.number), **best_words})
        self._run.log_metrics(numbers, done)
        if time.monotonic() - self._drawn > self._cost / SHARE_FOR_PICTURES:
            self._draw()

    def finish(self, in_a_hurry: bool = False) -> None:
        self._done = -1
        self.update()
        if not in_a_hurry or self._cost < SECONDS_TO_END / 2:
            self._draw()

    def _draw(self) -> None:
        from mnist_cnn import charts, report

        started = time.monotonic()
        pictures = charts.of_sweep(self._one, self._images_of)
        for name, picture in pictures.items():
            self._run.log_bytes(picture, f"figures/{name}.png")
        self._run.log_table(report.trials_table(self._one), "trials.json")
        self._run.log_text(report.page(self._one, pictures, self._images_of), "sweep.html")
        self._run.describe(report.of_sweep(self._one, _how_to_open(self._storage)))
        self._drawn = time.monotonic()
        self._cost = self._drawn - started

    def _images_of(self, run_id: str) -> Mapping[str, Any]:
        from mnist_cnn import sweep_runs

        if run_id not in self._images:
            self._images[run_id] = sweep_runs.images_of(run_id)
        return self._images[run_id]


def _how_to_open(storage: str) -> str:
    from mnist_cnn.study import hide_password

    return f"Optuna's own page of it: `optuna-dashboard {hide_password(storage)}`."


def _start_workers(
    settings: SweepSettings, space: Space, words: Mapping[str, str], name: str, run_id: str
) -> list[subprocess.Popen[bytes]]:
    """The same command in processes of their own, which share the cores among themselves."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = str(max(1, cores // settings.workers))
    variables = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = {
        **os.environ,
        **{name: threads for name in variables},
        "TF_NUM_INTEROP_THREADS": "1",
        WORKER_OF: run_id,
    }
    environment.pop("MLFLOW_RUN_ID", None)
    given = {**words, "sweep": name, "workers": "1"}
    given |= {key: word for key, word in space.words().items() if key == "model"}
    command = [
        sys.executable,
        "-m",
        f"pipelines.{settings.PROGRAM}",
        *(f"--{key}={word}" for key, word in given.items()),
    ]
    print(f"{settings.workers} workers with {threads} thread{'s' * (threads != '1')} each.", flush=True)
    return [subprocess.Popen(command, env=environment) for _ in range(settings.workers)]


def _watch(workers: list[subprocess.Popen[bytes]], board: _Board, one: Study, total: int) -> None:
    """Wait for the workers; one that ends before the sweep does is told of, and the others do its work."""
    from mnist_cnn import tracking

    reported: set[int] = set()
    try:
        with tracking.deferring_interrupts() as check:
            while True:
                check()
                codes = {worker.pid: worker.poll() for worker in workers}
                for pid, code in codes.items():
                    if code and pid not in reported:
                        reported.add(pid)
                        print(f"Worker {pid} ended with status {code}; its trial is tried again.", file=sys.stderr)
                if all(code is not None for code in codes.values()):
                    break
                board.update()
                time.sleep(SECONDS_BETWEEN_LOOKS)
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.terminate()
        for worker in workers:
            with suppress(subprocess.TimeoutExpired):
                worker.wait(SECONDS_TO_END)
            worker.kill()
            worker.wait()
    if not one.is_finished(total):
        raise SweepStopped("all workers ended before the sweep did; what they said stands above")


if __name__ == "__main__":
    enter(main, "sweep")
