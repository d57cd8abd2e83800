"""The trials of a sweep, one after another, and the sweep's run that follows them.

Of each trial the run says how it ended before the study does. Whatever is killed in between is found and told later.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from optuna.trial import Trial

from mnist_cnn.reporting import figures, sweep_charts, sweep_page
from mnist_cnn.settings.command_line import WorkStopped, is_of_a_store, show
from mnist_cnn.sweeps import study, trials
from mnist_cnn.sweeps.study import Study
from mnist_cnn.sweeps.trials import TrialResult
from mnist_cnn.tracking import runs, sweep_runs

FAILURES_IN_A_ROW = 10
SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_IN_A_HURRY = 5.0
MOST_LOSSES = 3
"""Settings whose process was killed more often count as failed, and are not tried again."""

SHARE_FOR_PICTURES = 0.05
"""Of the time, so many pictures of the whole sweep are drawn on the way; all are drawn at the end."""

Evaluate = Callable[[Any, TrialResult, Callable[[int, Mapping[str, float]], None], Callable[[], None]], None]
"""A trial: its settings, the result to fill, whom to tell of each step, what to call now and then. See `trials`."""


class SweepStopped(WorkStopped):
    """Too many trials failed one after another."""


def work(one: Study, total: int, parent: str, evaluate: Evaluate, tell: Callable[[], None]) -> None:
    """Trials until there are `total`. Waits for those in others' hands, to take them over should they be lost."""
    with runs.deferring_interrupts() as check:
        _work_unless(check, one, total, parent, evaluate, tell)


def _work_unless(
    check: Callable[[], None], one: Study, total: int, parent: str, evaluate: Evaluate, tell: Callable[[], None]
) -> None:
    while True:
        check()
        tidy(one, parent)
        trial = one.claim(total)
        if trial is None:
            if one.is_finished(total):
                return
            time.sleep(SECONDS_BETWEEN_LOOKS)
            continue
        started = time.perf_counter()
        state = one_trial(one, trial, parent, evaluate, check)
        print(_line(one, trial.number, total, state, time.perf_counter() - started), flush=True)
        tell()
        if state == "failed" and one.failures_in_a_row() >= FAILURES_IN_A_ROW:
            reason = one.trials()[trial.number].user_attrs.get(study.REASON, "")
            raise SweepStopped(f"{FAILURES_IN_A_ROW} trials in a row failed, the last with: {reason}")


def one_trial(one: Study, trial: Trial, parent: str, evaluate: Evaluate, check: Callable[[], None]) -> str:
    """Do one trial; its run says how it ended before the study does."""
    with one.heartbeat(trial):
        return _one_trial(one, trial, parent, evaluate, check)


def _one_trial(one: Study, trial: Trial, parent: str, evaluate: Evaluate, check: Callable[[], None]) -> str:
    values = one.suggest(trial)
    settings = one.space.at(values)
    run = sweep_runs.start_trial(parent, one.name, trial.number, settings.as_words())
    trial.set_user_attr(study.RUN_ID, run.run_id)
    result = trials.TrialResult()
    end = trials.last_step(settings)  # what has come so far is not thrown away

    def report(step: int, metrics: Mapping[str, float]) -> None:
        run.log_metrics(metrics, step)
        value = metrics.get(trials.METRICS[one.goals[0]], math.nan)
        if len(one.goals) == 1 and math.isfinite(value) and one.should_prune(trial, value, step) and step < end:
            raise trials.Pruned(f"fell behind other trials at step {step:,}")

    state, reason, values_of_goals = "complete", "", []
    try:
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
        if is_of_a_store(error):
            raise  # not the setting's fault: the trial is found and tried again when the store is back
        state, values_of_goals = "failed", []
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    if result.strip is not None:
        files = {"film_strip.png": figures.strip(result.strip)}
        run.log_files(files, {"finals": (255 * result.strip.images[:, -1]).round().astype("uint8")})
    run.finish(state, reason, values_of_goals)
    if not _tell(one, trial.number, state, values_of_goals, reason):
        state = "lost"
        run.mark_lost("others took it over, for nothing was heard of this process")
    return state


def _tell(one: Study, number: int, state: str, values: Sequence[float], reason: str) -> bool:
    if state == "complete":
        return one.complete(number, values)
    return one.prune(number) if state == "pruned" else one.fail(number, reason)


def tidy(one: Study, parent: str) -> None:
    """See to trials whose process has gone: tell the study what their runs say, or have them tried again."""
    for number in one.lost():
        run = sweep_runs.find_trial_run(parent, number)
        ended = sweep_runs.outcome(run) if run else None
        if run and ended:
            run.finish(ended.state, ended.reason, ended.values)
            _tell(one, number, ended.state, ended.values, ended.reason)
            continue
        reason = "its process ended without a word (killed, or the machine stopped)"
        if one.num_losses(number) >= MOST_LOSSES:  # perhaps it is these settings that kill, by the memory they take
            reason = f"{reason}, for the {MOST_LOSSES + 1}th time"
            if one.fail(number, reason):
                run = run or _run_for(one, number, parent)
                run.finish("failed", reason, [])
        elif one.give_up(number, f"{reason}; tried again"):
            run = run or _run_for(one, number, parent)
            run.mark_lost(f"{reason}; tried again")


def _run_for(one: Study, number: int, parent: str) -> sweep_runs.TrialRun:
    """A run for a trial that had none when its process was killed, with the settings as far as they were drawn."""
    drawn = {name: show(value) for name, value in one.trials()[number].params.items()}
    fixed = {name: word for name, word in one.space.words().items() if name not in one.space.varied}
    return sweep_runs.start_trial(
        parent, one.name, number, {**dict.fromkeys(one.space.varied, "none"), **fixed, **drawn}
    )


def reconcile(one: Study, parent: str) -> None:
    """Where a process was killed between two calls: trials line up again, and their runs say what the study says."""
    one.repair()
    runs = sweep_runs.trial_runs(parent)
    for trial in one.trials():
        state = study.state_of(trial)
        if state in ("running", "waiting"):
            continue
        run = runs.get(trial.number)
        if run is None or not sweep_runs.says(run, state):
            reason = trial.user_attrs.get(study.REASON, trial.user_attrs.get(study.LOST, ""))
            tracked = sweep_runs.TrialRun(run) if run else _run_for(one, trial.number, parent)
            if state == "lost":
                tracked.mark_lost(reason)
            else:
                tracked.finish(state, reason, study.values_of(trial))


def _line(one: Study, number: int, total: int, state: str, seconds: float) -> str:
    """`Trial 7 of 30: recognised 0.84 (best 0.912, trial 3), l2_weight 0.003, ...; 4.2 s`."""
    trial = one.trials()[number]
    if values := study.values_of(trial):
        came_to = ", ".join(f"{goal} {value:.4g}" for goal, value in zip(one.goals, values, strict=True))
    else:
        came_to = state + (f" ({reason})" if (reason := trial.user_attrs.get(study.REASON, "")) else "")
    best = one.best()
    record = f" (best {best[0].values[0]:.4g}, trial {best[0].number})" if len(best) == 1 else ""
    made_of = ", ".join(
        f"{name} {f'{value:.3g}' if isinstance(value, float) else value}" for name, value in trial.params.items()
    )
    return f"Trial {number} ({one.num_finished()} of {total}): {came_to}{record}; {made_of}; {seconds:.1f} s"


class Board:
    """Keeps the sweep's run up to date: best values at once, pictures as often as they do not slow the sweep down."""

    def __init__(self, run: runs.TrackedRun, one: Study, storage: str) -> None:
        self._run, self._one, self._storage = run, one, storage
        self._done = -1
        self._images: dict[str, Mapping[str, Any]] = {}
        self._drawn, self._cost = time.monotonic(), 1.0

    def update(self) -> None:
        done = self._one.num_finished()
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
        if not in_a_hurry or self._cost < SECONDS_IN_A_HURRY:
            self._draw()

    def _draw(self) -> None:
        started = time.monotonic()
        try:
            pictures = sweep_charts.of_sweep(self._one, self._images_of)
        except Exception as error:  # A picture must not end a sweep.
            print(f"The sweep's pictures could not be drawn ({type(error).__name__}: {error}).", file=sys.stderr)
            pictures = {}
        for name, picture in pictures.items():
            self._run.log_bytes(picture, f"figures/{name}.png")
        self._run.replace_table(sweep_page.trials_table(self._one), "trials.json")
        self._run.log_text(sweep_page.page(self._one, pictures, self._images_of), "sweep.html")
        self._run.describe(sweep_page.of_sweep(self._one, _how_to_open(self._storage)))
        self._drawn = time.monotonic()
        self._cost = self._drawn - started

    def _images_of(self, run_id: str) -> Mapping[str, Any]:
        if run_id not in self._images:
            self._images[run_id] = sweep_runs.images_of(run_id)
        return self._images[run_id]


def _how_to_open(storage: str) -> str:
    return f"Optuna's own page of it: `optuna-dashboard {study.hide_password(storage)}`."
