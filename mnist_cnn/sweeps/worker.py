"""The loop over trials: one after another until there are as many as were asked for, each logged as it goes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

import optuna
from numpy.typing import NDArray
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial

from mnist_cnn.settings.errors import WorkStopped, is_of_a_store
from mnist_cnn.sweeps import outcomes, samplers, trials
from mnist_cnn.sweeps.outcomes import Outcome
from mnist_cnn.sweeps.storage import SECONDS_WITHOUT_HEARTBEAT
from mnist_cnn.sweeps.study import Study, TrialFailed

FAILURES_IN_A_ROW = 10
SECONDS_BETWEEN_LOOKS = 0.5
IDLE_LOOKS = 10
"""After so many looks in a row with trials missing and none running, lost settings were forgotten."""

SECONDS_FOR_OTHERS = 2.0 * SECONDS_WITHOUT_HEARTBEAT
TAKEN_OVER = "other processes retry its settings, since they had no sign of this process"

Evaluate = Callable[[Any, trials.TrialResult, trials.Report, trials.Tick], None]
"""A trial: its settings, the result to fill, whom to tell of each step, what to call now and then. See `trials`."""

DrawStrip = Callable[[trials.Strip], bytes]
"""A film strip as a PNG."""


class SweepStopped(WorkStopped):
    """Too many trials failed one after another."""


class TrialLog(Protocol):
    """Where one trial is logged: its run."""

    run_id: str

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None: ...

    def log_files(self, files: Mapping[str, bytes], arrays: Mapping[str, NDArray[Any]]) -> None: ...

    def flush(self) -> None:
        """Send what has not been sent yet."""

    def finish(self, state: str, reason: str, values: Sequence[float]) -> None:
        """Say how the trial ended, and end its run. A second time it overwrites the first."""


class SweepLog(Protocol):
    """Where a sweep is logged: a run for each trial, below the sweep's own."""

    def start_trial(self, number: int, settings: Mapping[str, str]) -> TrialLog: ...

    def trial_log(self, number: int) -> TrialLog | None: ...

    def states(self) -> Mapping[int, str]:
        """How each trial ended by what its run says; empty where the run has not ended so."""


def work(
    sweep: Study,
    log: SweepLog,
    evaluate: Evaluate,
    draw_strip: DrawStrip,
    *,
    check: Callable[[], None],
    on_trial: Callable[[], None] = lambda: None,
) -> None:
    """Run trials until as many are finished as were asked for.

    Waits for those of other processes, to retry them should they be lost.

    check: called between trials and about twice a second within; what it raises ends the work. on_trial: called after
    each trial. Raises `SweepStopped` when ten trials in a row have failed, `WorkStopped` where no trial can be run, and
    what the stores raise.
    """
    idle_looks = 0
    while True:
        check()
        try:
            settle(sweep, log)
            if sweep.is_finished():
                return
            if not sweep.needs_a_trial():
                time.sleep(SECONDS_BETWEEN_LOOKS)
                idle_looks = 0 if sweep.run_by_others() else idle_looks + 1
                if idle_looks == IDLE_LOOKS:  # who found a trial lost was killed before it could have it retried
                    sweep.settle_own()
                    sweep.retry_lost()
                    idle_looks = 0
                continue
            started = time.perf_counter()
            trial = _run_one(sweep, _Objective(sweep, log, evaluate, draw_strip, check))
            print(_line(sweep, trial, time.perf_counter() - started), flush=True)
            on_trial()
        except Exception as error:
            if not sweep.recover(error):
                raise
            continue
        if outcomes.state_of(trial) == "failed" and sweep.failures_in_a_row() >= FAILURES_IN_A_ROW:
            reason = outcomes.reason_of(trial)
            raise SweepStopped(f"{FAILURES_IN_A_ROW} trials in a row failed, the last with: {reason}")


def settle(sweep: Study, log: SweepLog) -> None:
    """See to trials whose process is gone: tell Optuna how they ended, and log it."""
    for number in sweep.settle():
        _log_end(sweep, sweep.trials()[number], log)


def await_others(sweep: Study, log: SweepLog) -> None:
    """Wait until no other process runs a trial: they end it, or it is seen that they were killed.

    After `SECONDS_FOR_OTHERS` they are left to it: what they run they log themselves.
    """
    deadline, has_said = time.monotonic() + SECONDS_FOR_OTHERS, False
    while True:
        try:
            settle(sweep, log)
            left = sweep.run_by_others()
        except Exception as error:
            if not sweep.recover(error):
                raise
            continue
        if not left or time.monotonic() > deadline:
            return
        if not has_said:
            numbers = ", ".join(map(str, left))
            print(
                f"Waiting at most {SECONDS_FOR_OTHERS:.0f} s for what other processes run: trial {numbers}.", flush=True
            )
        has_said = True
        time.sleep(SECONDS_BETWEEN_LOOKS)


def reconcile(sweep: Study, log: SweepLog) -> None:
    """Mend what a killed process left: each trial's run says what the study says, and lost settings are retried."""
    settle(sweep, log)
    sweep.retry_lost()
    logged = log.states()
    for trial in sweep.trials():
        is_deleted = outcomes.RUN_ID in trial.user_attrs and trial.number not in logged  # for good, by a person
        if trial.state.is_finished() and not is_deleted and logged.get(trial.number) != outcomes.state_of(trial):
            _log_end(sweep, trial, log)


def _log_end(sweep: Study, trial: FrozenTrial, log: SweepLog) -> None:
    """Log how a trial ended; one whose process was killed before it had a run gets one."""
    run = log.trial_log(trial.number) or log.start_trial(trial.number, sweep.words_of(trial.params))
    run.finish(outcomes.state_of(trial), outcomes.reason_of(trial), outcomes.values_of(trial))


def _run_one(sweep: Study, objective: _Objective) -> FrozenTrial:
    """Run one trial, and return it as it ended."""
    try:
        sweep.run_one(objective)
    except BaseException as error:
        number = objective.number
        if number is None:
            raise
        if isinstance(error, Exception) and objective.has_ended and sweep.trials()[number].state.is_finished():
            pass  # others were first to tell Optuna of it
        else:
            with suppress(Exception):  # the store may be what failed; the next start of the sweep retries it
                sweep.retry(number)
            raise
    assert objective.number is not None
    return sweep.trials()[objective.number]


class _Objective:
    """What Optuna calls for one trial. Its attributes say how it ended, then its run, and then Optuna."""

    def __init__(
        self, sweep: Study, log: SweepLog, evaluate: Evaluate, draw_strip: DrawStrip, check: Callable[[], None]
    ) -> None:
        self._sweep, self._log, self._check = sweep, log, check
        self._evaluate, self._draw_strip = evaluate, draw_strip
        self.number: int | None = None
        self.has_ended = False

    def __call__(self, trial: Trial) -> Sequence[float]:
        """The goals. Raises `TrialPruned`; `TrialFailed` where the sweep continues; else what ends it."""
        self.number = trial.number
        run: TrialLog | None = None
        try:
            trial.set_user_attr(outcomes.PROCESS, self._sweep.processes.this)
            if self._sweep.is_retried_twice(trial):
                outcomes.set_outcome(trial, Outcome("lost", reason="another trial retries the same settings"))
                self.has_ended = True
                raise TrialFailed
            drawn = samplers.suggest(trial, self._sweep.space)
            run = self._log.start_trial(trial.number, self._sweep.words_of(drawn))
            trial.set_user_attr(outcomes.RUN_ID, run.run_id)
            result = trials.TrialResult()
            outcome = self._outcome(trial, run, result)
            if result.strip is not None:
                finals = (255 * result.strip.images[:, -1]).round().astype("uint8")
                run.log_files({"film_strip.png": self._draw_strip(result.strip)}, {"finals": finals})
            run.flush()
            outcomes.set_outcome(trial, outcome)
            self.has_ended = True
            run.finish(outcome.state, outcome.reason, outcome.values)
        except UpdateFinishedTrialError:
            self.has_ended = True
            if run is not None:
                run.finish("lost", TAKEN_OVER, ())
            raise TrialFailed from None
        except BaseException as error:
            if not self.has_ended and (isinstance(error, KeyboardInterrupt | WorkStopped) or is_of_a_store(error)):
                self._give_up(trial, run, error)
            raise
        if outcome.state == "pruned":
            raise optuna.TrialPruned
        if outcome.state == "failed":
            raise TrialFailed
        return outcome.values

    def _outcome(self, trial: Trial, run: TrialLog, result: trials.TrialResult) -> Outcome:
        """Do the trial's work. Raises only what is not the fault of its settings."""
        goals = self._sweep.goals
        try:
            settings = self._sweep.space.at(trial.params)
            last = trials.last_step(settings)

            def report(step: int, metrics: Mapping[str, float]) -> None:
                reached = {f"Goal {goal}": metrics[name] for goal in goals if (name := trials.METRICS[goal]) in metrics}
                run.log_metrics({**reached, **metrics}, step)  # MLflow's Compare opens with the first of the alphabet
                value = metrics.get(trials.METRICS[goals[0]], math.nan)
                if len(goals) == 1 and math.isfinite(value):
                    trial.report(value, step)
                    if trial.should_prune() and step < last:  # what is finished anyway is not thrown away
                        raise trials.Pruned(f"fell behind other trials at step {step:,}")

            self._evaluate(settings, result, report, self._check)
            values = [result.metrics.get(trials.METRICS[goal], math.nan) for goal in goals]
            if not all(map(math.isfinite, values)):
                raise ArithmeticError(f"{' and '.join(goals)} came to {values}")
        except trials.Pruned as error:
            return Outcome("pruned", reason=str(error))
        except Exception as error:  # One bad setting must not end a night's work; ten in a row do.
            if is_of_a_store(error) or isinstance(error, WorkStopped):
                raise
            return Outcome(
                "failed", reason=f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"[:5000]
            )
        return Outcome("complete", tuple(map(float, values)))

    def _give_up(self, trial: Trial, run: TrialLog | None, error: BaseException) -> None:
        """Say that the trial is lost, and not by its own fault, as far as the stores still work."""
        reason = f"{str(error) or 'interrupted'}; its settings are retried".partition("\n")[0]
        with suppress(Exception):
            outcomes.set_outcome(trial, Outcome("lost", reason=reason))
        if run is not None:
            with suppress(Exception):
                run.finish("lost", reason, ())


def _line(sweep: Study, trial: FrozenTrial, seconds: float) -> str:
    """`Trial 7 (8 of 30): recognised 0.84 (best 0.912, trial 3); l2_weight 0.003, ...; 4.2 s`."""
    if values := outcomes.values_of(trial):
        came_to = ", ".join(f"{goal} {value:.4g}" for goal, value in zip(sweep.goals, values, strict=True))
    else:
        reason = outcomes.reason_of(trial)
        came_to = outcomes.state_of(trial) + (f" ({reason})" if reason else "")
    best = sweep.best()
    record = f" (best {best[0].values[0]:.4g}, trial {best[0].number})" if len(sweep.goals) == 1 and best else ""
    drawn = ", ".join(
        f"{name} {f'{value:.3g}' if isinstance(value, float) else value}" for name, value in trial.params.items()
    )
    return (
        f"Trial {trial.number} ({sweep.num_finished()} of {sweep.total}): {came_to}{record}; {drawn}; {seconds:.1f} s"
    )
