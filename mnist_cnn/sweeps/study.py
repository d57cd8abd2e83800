"""One study that many processes share, and continue whenever they like.

A trial ends complete, pruned, failed or lost. How it ended stands in its own attributes before anybody else is told,
so that a process which is killed in between loses nothing. A lost trial (its process was killed or interrupted, or a
store failed) does not count towards the total: its settings wait to be retried.

Nothing is locked. Processes that look at the same moment may each start the last trial, so that a sweep of several
processes may end with more trials than were asked for: at most one for each process but the first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from mnist_cnn.settings import MAXIMISED, hide_password, show, sign
from mnist_cnn.settings.errors import SettingError
from mnist_cnn.settings.search_space import Space
from mnist_cnn.sweeps import samplers
from mnist_cnn.sweeps.outcomes import (
    OUTCOME,
    PROCESS,
    RETRY_OF,
    RUN_ID,
    Outcome,
    counts,
    not_retried,
    outcome_of,
    reason_of,
    retried_twice,
    retry_of,
    state_of,
    values_of,
)
from mnist_cnn.sweeps.proxy import BEAT, Proxy, beating
from mnist_cnn.sweeps.records import TrialRecord
from mnist_cnn.sweeps.storage import (
    SECONDS_BETWEEN_HEARTBEATS,
    SECONDS_WITHOUT_HEARTBEAT,
    Processes,
    StudyError,
    close_storage,
    open_storage,
    quiet,
)

SECONDS_TO_SIGN = 20.0
"""A trial that no process has signed for so long was started by one that was killed in that moment."""

SECONDS_TO_END = 20.0
"""So long a process on a database may take between saying how its trial ended and telling Optuna."""

SECONDS_TO_OPEN = 120.0
"""So long the process that made a study may take to open the sweep's run: it starts TensorFlow in between."""

MAKER, FINGERPRINT, TRACKING_STORE = "maker", "fingerprint", "tracking_store"
"""Attributes of a study: the process that made it, which opens the sweep's run too; what it was made with; and the
store that holds its run."""

Objective = Callable[[Trial], Sequence[float]]


class TrialFailed(Exception):
    """Raised to Optuna for a trial that failed, or that others have ended: the study continues."""


class Study:
    """The study of one sweep. Made by `open_study`."""

    def __init__(
        self,
        study: optuna.Study,
        storage: BaseStorage,
        processes: Processes,
        space: Space,
        goals: Sequence[str],
        total: int,
        found_lost: list[int],
    ) -> None:
        """total: of the trials that are asked for; settings are retried as long as that needs them.

        found_lost: to which Optuna's callback adds the numbers of trials that it has marked as failed.
        """
        self._study, self._storage, self.processes, self._found_lost = study, storage, processes, found_lost
        self.space, self.goals, self.total = space, tuple(goals), total
        self._last_changes: dict[int, tuple[tuple[bool, int | None], float]] = {}
        self._has_looked = False

    @property
    def name(self) -> str:
        return str(self._study.study_name)

    @property
    def optuna_study(self) -> optuna.Study:
        """For Optuna's own charts."""
        return self._study

    @property
    def run_id(self) -> str:
        """Id of the sweep's MLflow run; empty before there is one."""
        return str(self._study.user_attrs.get(RUN_ID, ""))

    @property
    def tracking_store(self) -> str:
        """The address of the store that holds that run, without a password; empty before there is one."""
        return str(self._study.user_attrs.get(TRACKING_STORE, ""))

    def set_run(self, run_id: str, tracking_store: str) -> None:
        """Say which run is the sweep's. The store comes last: who sees it there sees the run too."""
        self._study.set_user_attr(RUN_ID, run_id)
        self._study.set_user_attr(TRACKING_STORE, tracking_store)

    def retire(self) -> str:
        """Keep the trials under another name, which is returned, so that a study can be made anew under this one."""
        kept = f"{self.name}, until {datetime.now():%Y-%m-%d %H:%M:%S}"
        with quiet():
            optuna.copy_study(
                from_study_name=self.name, from_storage=self._storage, to_storage=self._storage, to_study_name=kept
            )
            optuna.delete_study(study_name=self.name, storage=self._storage)
        return kept

    def await_run_id(self) -> str:
        """The same, once the process that made the study has opened the run; empty if that is up to this process now.

        It is where the maker was killed before it could, or takes too long.
        """
        me, maker, deadline = self.processes.this, "", 0.0
        while not (run_id := self.run_id):
            current = self._study.user_attrs.get(MAKER, "")
            if current == me:
                return ""
            if current != maker:  # another process has taken over, and has as long
                maker, deadline = current, time.monotonic() + SECONDS_TO_OPEN
            if not self.processes.is_alive(maker) or time.monotonic() > deadline:
                self._study.set_user_attr(MAKER, me)  # of several that do the last one is the maker
            time.sleep(0.5)
        return run_id

    def recover(self, error: Exception) -> bool:
        """After an error: whether it came from a database that was lost for a moment; it is waited for."""
        if not getattr(error.__cause__, "connection_invalidated", False):
            return False
        self.trials()
        print("The sweep's database is back; the sweep continues.", flush=True)
        return True

    def close(self) -> None:
        """Free the database's connections."""
        close_storage(self._storage)

    # Reading

    def trials(self) -> list[FrozenTrial]:
        """All trials by number, as they stand. Not to be changed."""
        return self._study.get_trials(deepcopy=False)

    def records(self) -> tuple[TrialRecord, ...]:
        """The same as plain records, without metrics."""
        return tuple(
            TrialRecord(
                trial.number,
                trial.user_attrs.get(RUN_ID, ""),
                state_of(trial),
                values_of(trial),
                self.words_of(trial.params),
                reason=reason_of(trial),
            )
            for trial in self.trials()
        )

    def words_of(self, params: Mapping[str, Any]) -> dict[str, str]:
        """The settings of a trial as words, from what was drawn; a trial that was lost early has not drawn all."""
        if set(params) >= set(self.space.varied):
            try:
                return dict(self.space.at(params).as_words())
            except SettingError:  # they do not fit each other, so the trial has failed
                pass
        fixed = {name: word for name, word in self.space.words().items() if name not in self.space.varied}
        drawn = {name: show(value) for name, value in params.items()}
        return {**dict.fromkeys(self.space.varied, "none"), **fixed, **drawn}

    def num_finished(self) -> int:
        """How many trials of the total are finished: complete, pruned or failed."""
        return sum(counts(trial) for trial in self.trials() if trial.state.is_finished())

    def is_finished(self) -> bool:
        return self.num_finished() >= self.total

    def needs_a_trial(self) -> bool:
        """Whether to run one now: settings wait to be retried, or too few trials are finished, running or lost.

        A trial that is lost keeps its place for those who retry it, so that no other settings are drawn meanwhile.
        """
        trials = self.trials()
        if sum(map(counts, trials)) + len(not_retried(trials)) < self.total:
            return True
        return any(trial.state == TrialState.WAITING for trial in trials) and not self.is_finished()

    def run_by_others(self) -> list[int]:
        """The numbers of the trials that other processes run, or left behind when they were killed just now."""
        me = self.processes.this
        return [t.number for t in self.trials() if t.state == TrialState.RUNNING and t.user_attrs.get(PROCESS) != me]

    def best(self) -> list[FrozenTrial]:
        """The best trial; with two goals the Pareto front, by number. Empty before a trial is complete."""
        complete = [trial for trial in self.trials() if trial.state == TrialState.COMPLETE]
        if len(self.goals) > 1:
            return sorted(self._study.best_trials, key=lambda trial: trial.number)
        ranked = sorted(complete, key=lambda trial: (-sign(self.goals[0]) * trial.values[0], trial.number))
        return ranked[:1]

    def failures_in_a_row(self) -> int:
        """How many of the trials that ended last have failed."""
        ended = [trial for trial in self.trials() if trial.state.is_finished() and state_of(trial) != "lost"]
        row = 0
        for trial in sorted(ended, key=lambda trial: trial.datetime_complete or datetime.min, reverse=True):
            if trial.state != TrialState.FAIL:
                break
            row += 1
        return row

    # Writing

    def run_one(self, objective: Objective) -> None:
        """Run one trial: settings that wait to be retried, or new ones. A `TrialFailed` does not end the study."""

        def with_beats(trial: Trial) -> Sequence[float]:
            with beating(trial, SECONDS_BETWEEN_HEARTBEATS):
                return objective(trial)

        run = with_beats if isinstance(self._storage, Proxy) else objective
        try:
            with quiet():
                self._study.optimize(run, n_trials=1, catch=(TrialFailed,))
        except (UnboundLocalError, AssertionError) as error:
            # Optuna's own, where its storage fails at the end of a trial: https://github.com/optuna/optuna/issues/5280
            if isinstance(failure := error.__context__, Exception):
                raise failure from failure.__cause__
            raise

    def tell(self, number: int, outcome: Outcome) -> bool:
        """Tell Optuna how a running trial ended, and have it retried if it is lost. False if others were first."""
        state = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED}.get(outcome.state, TrialState.FAIL)
        try:
            self._study.tell(number, outcome.values if state == TrialState.COMPLETE else None, state=state)
        except (UpdateFinishedTrialError, ValueError):
            if not self.trials()[number].state.is_finished():
                raise
            return False
        self.retry(number)
        return True

    def settle(self) -> list[int]:
        """See to running trials whose process is gone: tell Optuna how they ended, or have them retried.

        Returns the numbers of those that this process has settled since it was called last.
        """
        settled = []
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if self._is_abandoned(trial) and self.tell(trial.number, outcome_of(trial) or Outcome("lost")):
                settled.append(trial.number)
        self._has_looked = True
        with quiet():
            optuna.storages.fail_stale_trials(self._study)  # on a database
        while self._found_lost:
            settled.append(number := self._found_lost.pop())
            self.retry(number)
        return settled

    def retry(self, number: int) -> None:
        """Let the settings of a lost trial wait to be tried again; those of any other trial are left.

        Where enough other trials are finished, run or wait, nothing is retried: it would wait for ever.
        """
        trials = self.trials()
        num_others = sum(counts(trial) or trial.state == TrialState.WAITING for trial in trials)
        if state_of(trials[number]) == "lost" and num_others < self.total:
            self._study.add_trial(retry_of(trials[number]))

    def retry_lost(self) -> None:
        """Have retried what was lost in the moment before it could be, or with a store that failed."""
        for trial in not_retried(self.trials()):
            self.retry(trial.number)

    def settle_own(self) -> None:
        """The same for trials of this process, which runs none: an earlier call could not say how they ended."""
        me = self.processes.this
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial.user_attrs.get(PROCESS) == me:
                self.tell(trial.number, outcome_of(trial) or Outcome("lost"))

    def is_retried_twice(self, trial: FrozenTrial | Trial) -> bool:
        """Whether an earlier trial retries the same settings, since two processes found them lost at once."""
        return RETRY_OF in trial.user_attrs and trial.number in retried_twice(self.trials())

    def _is_abandoned(self, trial: FrozenTrial) -> bool:
        """Whether a running trial's process is gone, or has said how it ended and not told Optuna.

        On a journal, which is for one machine, it can be seen which processes run. On a database Optuna looks for
        heartbeats, and marks trials without any as failed: those that have ended must be told of before. A process
        behind a proxy has beats of our own instead.
        """
        now, has_ended = time.monotonic(), OUTCOME in trial.user_attrs
        sign = (has_ended, trial.user_attrs.get(BEAT))
        if self._last_changes.get(trial.number, (None, now))[0] != sign:
            self._last_changes[trial.number] = (sign, now)
        # After a proxy was away, the others have as long again to find it.
        back_since = self._storage.back_since if isinstance(self._storage, Proxy) else 0.0
        age = now - max(self._last_changes[trial.number][1], back_since)
        if isinstance(self._storage, RDBStorage | Proxy):
            if has_ended:
                return not self._has_looked or age > SECONDS_TO_END
            has_own_beats = BEAT in trial.user_attrs or RUN_ID not in trial.user_attrs  # or was killed before the first
            return has_own_beats and age > SECONDS_WITHOUT_HEARTBEAT
        process = trial.user_attrs.get(PROCESS, "")
        return not self.processes.is_alive(process) if process else age > SECONDS_TO_SIGN


def remembered(storage: str, name: str) -> dict[str, str]:
    """What the study of that name was made with; empty where there is none. Raises `StudyError`."""
    where = open_storage(storage)
    try:
        with quiet():
            known = optuna.load_study(study_name=name, storage=where).user_attrs.get(FINGERPRINT, {})
        return dict(known)
    except KeyError:
        return {}
    finally:
        close_storage(where)


def open_study(
    storage: str,
    name: str,
    space: Space,
    goals: Sequence[str],
    *,
    total: int,
    sampler: str,
    pruner: str,
    seed: int,
    fingerprint: Mapping[str, str],
) -> tuple[Study, bool]:
    """The study of that name, made where there is none; and whether it was made.

    storage: path of a journal file, or the URL of a database. total: of the trials that are asked for. fingerprint:
    what a study was made with, as words; it must be the same when it is opened again. Raises `StudyError`.
    """
    found_lost: list[int] = []

    def on_lost(_: optuna.Study, trial: FrozenTrial) -> None:
        found_lost.append(trial.number)

    where, processes = open_storage(storage, on_lost), Processes(storage)
    directions = [StudyDirection.MAXIMIZE if MAXIMISED[goal] else StudyDirection.MINIMIZE for goal in goals]
    with quiet():
        plan: dict[str, Any] = {
            "study_name": name,
            "storage": where,
            "sampler": samplers.make_sampler(sampler, space, seed),
            "pruner": samplers.make_pruner(pruner, space),
        }
        try:
            found, made = optuna.create_study(directions=directions, **plan), True
            found.set_user_attr(MAKER, processes.this)
        except optuna.exceptions.DuplicatedStudyError:
            found, made = optuna.load_study(**plan), False
        known = None if made else _fingerprint_of(found)
        if known is None:  # it was made just now, or by a process that was killed in that moment
            found.set_metric_names(list(goals))
            found.set_user_attr(FINGERPRINT, known := dict(fingerprint))
    differing = [key for key in {**known, **fingerprint} if known.get(key) != fingerprint.get(key)]
    if differing:
        others = "; ".join(f"`{key}` was {known.get(key, 'not tried')}" for key in differing[:5])
        raise StudyError(
            f"`sweep`: {name} in {hide_password(storage)} was made with other settings ({others}); give the same, or "
            "another name."
        )
    return Study(found, where, processes, space, goals, total, found_lost), made


def _fingerprint_of(study: optuna.Study) -> dict[str, str] | None:
    """What a study was made with, once the process that made it has said so."""
    deadline = time.monotonic() + SECONDS_TO_SIGN
    while (known := study.user_attrs.get(FINGERPRINT)) is None and time.monotonic() < deadline:
        time.sleep(0.2)
    return known
