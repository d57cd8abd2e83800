"""The only door to Optuna: one study that many processes share, and go on with whenever they like.

A trial is claimed, and told complete, pruned or failed. One whose process has gone is lost: it is told failed, and its
settings wait to be tried again. Trials count towards the total unless they are lost, and one process claims at a time,
so that the total is exact however many there are and whoever is killed.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages._heartbeat import get_heartbeat_thread  # `Study.optimize` has it, ask and tell do not.
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.storages.journal._file import get_lock_file  # what `append_logs` holds while it writes
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from mnist_cnn.runtime import processes
from mnist_cnn.runtime.randomness import derive_seed
from mnist_cnn.settings import MAXIMISED, sign
from mnist_cnn.settings.command_line import SettingError
from mnist_cnn.settings.search_space import Choices, Range, Space

SECONDS_BETWEEN_HEARTBEATS = 10
SECONDS_WITHOUT_HEARTBEAT = 60
"""On a database: a trial whose process was not heard of for so long is lost."""

SECONDS_TO_OWN = 20.0
"""A trial that nobody has put a name to for so long was claimed by a process that died in that moment."""

SECONDS_OF_A_LOCK = 10
"""A journal's lock that is older was left by a process that died while it wrote."""

PROCESS, LOST, REASON, RUN_ID = "process", "lost", "reason", "run_id"
"""Attributes of a trial: who works on it, why it is lost, why it failed, the run that shows it."""

MAKER = "maker"
"""Attribute of a study: the process that made it, which opens the sweep's run as well."""

SECONDS_TO_OPEN = 120.0
"""So long it may take for that: TensorFlow loads in between."""


DATABASES = ("postgresql", "sqlite")


class StudyError(SettingError):
    """A study cannot be opened, or was made with other settings."""


class Study:
    """A study of the trials of one sweep. Made by `open_study`."""

    def __init__(self, study: optuna.Study, space: Space, goals: Sequence[str]) -> None:
        self._study = study
        self._storage: BaseStorage = study._storage
        self.space, self.goals = space, tuple(goals)
        self._first_seen: dict[int, float] = {}

    @property
    def name(self) -> str:
        return str(self._study.study_name)

    @property
    def optuna_study(self) -> optuna.Study:
        """For `charts`, which draws with Optuna."""
        return self._study

    @property
    def run_id(self) -> str:
        """Of the sweep's run; empty before there is one."""
        return str(self._study.user_attrs.get(RUN_ID, ""))

    @run_id.setter
    def run_id(self, run_id: str) -> None:
        self._study.set_user_attr(RUN_ID, run_id)

    def await_run_id(self) -> str:
        """The same, once the process that made the study has opened the run; empty if it died before it could."""
        maker, deadline = "", 0.0
        while not self.run_id:
            if self._study.user_attrs.get(MAKER, "") != maker:  # somebody else has taken it over, and has as long
                maker, deadline = self._study.user_attrs.get(MAKER, ""), time.monotonic() + SECONDS_TO_OPEN
            if not processes.is_alive(maker) or time.monotonic() > deadline:
                with self._alone():
                    if self._study.user_attrs.get(MAKER, "") == maker:
                        self._study.set_user_attr(MAKER, processes.this_process())
                        return self.run_id
            time.sleep(0.2)
        return self.run_id

    def trials(self) -> list[FrozenTrial]:
        """All trials by number, as they stand. Not to be changed."""
        return self._study.get_trials(deepcopy=False)

    def claim(self, total: int) -> Trial | None:
        """A trial to work on, or None where `total` are finished or in somebody's hands."""
        with self._alone():
            if sum(counts(trial) for trial in self.trials()) >= total:
                return None
            with _quiet():
                trial = self._study.ask()
            if self._beats:
                beating: Any = self._storage
                beating.record_heartbeat(trial._trial_id)
            trial.set_user_attr(PROCESS, processes.this_process())
        return trial

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes from claiming or giving up: they would look at once, and claim one trial too many.

        The lock is the system's (of the journal's file) or the database's, which free it when a process is killed.
        """
        if isinstance(self._storage, JournalStorage):
            backend: Any = self._storage._backend
            with open(backend._file_path, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield
            return
        engine = _engine(self._storage)
        if engine.dialect.name != "postgresql":
            yield  # SQLite, which has one worker
            return
        with engine.begin() as connection:
            key = derive_seed(0, "claim", self.name)
            connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
            yield

    @contextmanager
    def heartbeat(self, trial: Trial) -> Iterator[None]:
        """Let other machines know that this process works on `trial`; on a journal nothing needs to be known."""
        with get_heartbeat_thread(trial._trial_id, self._storage):
            yield

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """The value of each varied setting."""
        return {name: trial._suggest(name, _distribution(one)) for name, one in self.space.varied.items()}

    def should_prune(self, trial: Trial, value: float, step: int) -> bool:
        trial.report(value, step)
        return trial.should_prune()

    def complete(self, number: int, values: Sequence[float]) -> bool:
        """False if others took the trial for lost, and the result comes too late."""
        return self._tell(number, TrialState.COMPLETE, values)

    def prune(self, number: int) -> bool:
        return self._tell(number, TrialState.PRUNED)

    def fail(self, number: int, reason: str) -> bool:
        with suppress(UpdateFinishedTrialError):
            self._storage.set_trial_user_attr(self._trial(number)._trial_id, REASON, reason)
        return self._tell(number, TrialState.FAIL)

    def give_up(self, number: int, reason: str) -> bool:
        """Say that a trial is lost, and have its settings tried again. False if somebody else has."""
        trial = self._trial(number)
        with self._alone():
            try:
                self._storage.set_trial_user_attr(trial._trial_id, LOST, reason)
                self._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
            except UpdateFinishedTrialError:
                return False
            self._line_up(trial)
        return True

    def _line_up(self, trial: FrozenTrial) -> None:
        """What RetryHeartbeatStaleTrialCallback adds, but without the attributes of the one that was lost."""
        history = [*trial.system_attrs.get("retry_history", []), trial.number]
        attributes = {**trial.system_attrs, "failed_trial": history[0], "retry_history": history}
        again = optuna.create_trial(
            state=TrialState.WAITING, params=trial.params, distributions=trial.distributions, system_attrs=attributes
        )
        self._study.add_trial(again)

    def num_losses(self, number: int) -> int:
        """How often the settings of a trial were lost before."""
        return len(self._trial(number).system_attrs.get("retry_history", []))

    def lost(self) -> list[int]:
        """Numbers of trials that nobody works on any more, though they are said to be running."""
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        if not running:
            return []
        now = time.monotonic()
        storage: Any = self._storage
        stale = set(storage._get_stale_trial_ids(self._study._study_id)) if self._beats else set()

        def is_lost(trial: FrozenTrial) -> bool:
            owner = trial.user_attrs.get(PROCESS, "")
            if not owner:  # claimed by a process that died in that moment, or that is about to sign
                return now - self._first_seen.setdefault(trial.number, now) > SECONDS_TO_OWN
            if self._beats:  # machines may share a name: what counts is that nothing was heard
                return trial._trial_id in stale
            return not (processes.is_of_this_machine(owner) and processes.is_alive(owner))

        return [trial.number for trial in running if is_lost(trial)]

    @property
    def _beats(self) -> bool:
        """Whether processes send heartbeats; a journal is for one machine, where it can be seen who lives."""
        return not isinstance(self._storage, JournalStorage)

    def repair(self) -> None:
        """Put in line again the settings of trials that were lost in the moment before they could be."""
        with self._alone():
            trials = self.trials()
            again = {number for trial in trials for number in trial.system_attrs.get("retry_history", [])}
            for trial in trials:
                if is_lost(trial) and trial.number not in again:
                    self._line_up(trial)

    def num_finished(self) -> int:
        """How many trials of the total are done, whatever came out."""
        return sum(counts(trial) for trial in self.trials() if trial.state.is_finished())

    def is_finished(self, total: int) -> bool:
        return self.num_finished() >= total

    def is_worked_on_by_others(self) -> bool:
        me = processes.this_process()
        return any(t.state == TrialState.RUNNING and t.user_attrs.get(PROCESS) != me for t in self.trials())

    def best(self) -> list[FrozenTrial]:
        """The best trial; with two goals those that no other one beats in both. Empty before the first."""
        complete = [trial for trial in self.trials() if trial.state == TrialState.COMPLETE]
        if not complete:
            return []
        if len(self.goals) > 1:
            return sorted(self._study.best_trials, key=lambda trial: trial.number)
        return [max(complete, key=lambda trial: (sign(self.goals[0]) * trial.values[0], -trial.number))]

    def failures_in_a_row(self) -> int:
        """How many of the trials that ended last failed of themselves."""
        ended = [trial for trial in self.trials() if trial.state.is_finished() and not is_lost(trial)]
        row = 0
        for trial in sorted(ended, key=lambda trial: trial.datetime_complete or datetime.min, reverse=True):
            if trial.state != TrialState.FAIL:
                break
            row += 1
        return row

    def _trial(self, number: int) -> FrozenTrial:
        return self.trials()[number]

    def _tell(self, number: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        try:
            with _quiet():
                self._study.tell(number, values, state=state)
        except (UpdateFinishedTrialError, ValueError) as error:
            if isinstance(error, ValueError) and not self._trial(number).state.is_finished():
                raise
            return False
        return True


def counts(trial: FrozenTrial) -> bool:
    """Whether a trial counts towards the total: all but those that wait and those that were lost."""
    return trial.state != TrialState.WAITING and not is_lost(trial)


def is_lost(trial: FrozenTrial) -> bool:
    """Whether it was given up; one that came to an end in the very moment was not."""
    return trial.state == TrialState.FAIL and LOST in trial.user_attrs


def values_of(trial: FrozenTrial) -> list[float]:
    """What a complete trial came to; empty for others. (Optuna gives a pruned one the last value it reported.)"""
    return list(trial.values or ()) if trial.state == TrialState.COMPLETE else []


def state_of(trial: FrozenTrial) -> str:
    """`complete`, `pruned`, `failed`, `running`, `waiting`, or `lost` for one that was tried again."""
    if is_lost(trial):
        return "lost"
    return {TrialState.FAIL: "failed"}.get(trial.state, trial.state.name.lower())


def open_study(
    storage: str,
    name: str,
    space: Space,
    goals: Sequence[str],
    *,
    sampler: str,
    pruner: str,
    seed: int,
    fingerprint: Mapping[str, str],
) -> tuple[Study, bool]:
    """The study of that name, made where there is none; and whether it was made.

    storage: path of a journal file, or the URL of a database. fingerprint: what a study was made with, as words; it
    must be the same when it is opened again. Raises `StudyError`.
    """
    where = open_storage(storage)
    directions = [StudyDirection.MAXIMIZE if MAXIMISED[goal] else StudyDirection.MINIMIZE for goal in goals]
    with _quiet():
        plan: dict[str, Any] = {
            "study_name": name,
            "storage": where,
            "sampler": make_sampler(sampler, space, seed, len(goals)),
            "pruner": make_pruner(pruner, space),
        }
        try:
            found = optuna.create_study(directions=directions, **plan)
            found.set_metric_names(list(goals))
            found.set_user_attr(MAKER, processes.this_process())
            found.set_user_attr("fingerprint", dict(fingerprint))
            return Study(found, space, goals), True
        except optuna.exceptions.DuplicatedStudyError:
            found = optuna.load_study(**plan)
    known = found.user_attrs.get("fingerprint")
    deadline = time.monotonic() + SECONDS_TO_OWN
    while known is None and time.monotonic() < deadline:  # its maker is about to say
        time.sleep(0.2)
        known = found.user_attrs.get("fingerprint")
    if known is None:  # its maker died in that moment
        found.set_metric_names(list(goals))
        found.set_user_attr("fingerprint", known := dict(fingerprint))
    differing = [key for key in {**known, **fingerprint} if known.get(key) != fingerprint.get(key)]
    if differing:
        others = "; ".join(f"`{key}` was {known.get(key, 'not tried')}" for key in differing[:5])
        raise StudyError(
            f"`sweep`: {name} in {hide_password(storage)} was made with other settings ({others}); give the same, or "
            "another name."
        )
    return Study(found, space, goals), False


def open_storage(storage: str) -> BaseStorage:
    """Raises `StudyError` where it cannot be opened."""
    for logger in ("optuna", "alembic"):
        logging.getLogger(logger).setLevel(logging.WARNING)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    scheme = storage.partition("://")[0].partition("+")[0]
    if "://" in storage and scheme not in DATABASES:
        raise StudyError(
            f"`storage` must be the path of a journal file, or begin with postgresql:// or sqlite:///; got "
            f"{hide_password(storage)!r}."
        )
    try:
        with _quiet():
            return JournalStorage(_journal(Path(storage))) if "://" not in storage else _database(storage)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        cure = " Install the driver: pip install -c constraints.txt -e '.[postgresql]'" if "psycopg" in reason else ""
        raise StudyError(f"`storage`: {hide_password(storage)} cannot be opened ({reason}).{cure}") from error


def _engine(storage: BaseStorage) -> sqlalchemy.Engine:
    """Of a database; Optuna wraps the storage into one that caches."""
    inner: Any = getattr(storage, "_backend", storage)
    engine: sqlalchemy.Engine = inner.engine
    return engine


def hide_password(storage: str) -> str:
    """A URL without its password."""
    scheme, separator, rest = storage.rpartition("://")
    user, at, place = rest.rpartition("@")
    return f"{scheme}{separator}{user.partition(':')[0]}{at}{place}"


def _database(url: str) -> RDBStorage:
    """Several processes that open a fresh database at once all make its tables; who comes second tries again."""
    for attempt in range(5):
        try:
            return RDBStorage(
                url,
                engine_kwargs={"pool_pre_ping": True},
                heartbeat_interval=SECONDS_BETWEEN_HEARTBEATS,
                grace_period=SECONDS_WITHOUT_HEARTBEAT,
            )
        except (sqlalchemy.exc.IntegrityError, sqlalchemy.exc.ProgrammingError):
            if attempt == 4:
                raise
            time.sleep(0.5 * (attempt + 1))
    raise AssertionError


class _Journal(JournalFileBackend):
    """Cuts off a last line that a process was killed over, or the next one would be glued to it, and all be lost."""

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with get_lock_file(self._lock), open(self._file_path, "rb+") as file:
            _cut_torn_line(file)
            file.write(lines.encode())
            file.flush()
            os.fsync(file.fileno())


def _cut_torn_line(file: BinaryIO) -> None:
    """Leave `file` at its end, which is that of a whole line."""
    size = file.seek(0, os.SEEK_END)
    if not size:
        return
    file.seek(size - 1)
    if file.read(1) == b"\n":
        return
    start = max(0, size - 1_000_000)
    file.seek(start)
    file.truncate(start + file.read().rfind(b"\n") + 1)
    file.seek(0, os.SEEK_END)


def _journal(path: Path) -> JournalFileBackend:
    """The journal, ending in a whole line."""
    path = path.absolute()
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent}")
    lock = JournalFileOpenLock(str(path), grace_period=SECONDS_OF_A_LOCK)
    backend = _Journal(str(path), lock)
    with get_lock_file(lock), path.open("rb+") as file:
        _cut_torn_line(file)
    return backend


def make_pruner(name: str, space: Space) -> BasePruner:
    """What ends trials early. Hyperband's resource is a step of the search or an epoch of the training."""
    settings: Any = space.trial.resolve(space.fixed)
    first, last = getattr(settings, "snapshot_every", 1), getattr(settings, "steps", None) or settings.epochs
    return {
        "median": lambda: MedianPruner(n_startup_trials=5),
        "hyperband": lambda: HyperbandPruner(min_resource=min(first, last), max_resource=last),
        "none": NopPruner,
    }[name]()


def make_sampler(name: str, space: Space, seed: int, num_goals: int) -> BaseSampler:
    """Raises `StudyError` where its package is missing, or it cannot serve two goals."""
    samplers = optuna.samplers
    package = {"gp": "torch", "cmaes": "cmaes"}.get(name)
    if package and find_spec(package) is None:
        raise StudyError(f"`sampler`: {name} needs the package {package}; install it: pip install {package}")
    if name == "cmaes" and num_goals > 1:
        raise StudyError("`sampler`: cmaes knows one goal, and `goal` names two; take another.")
    if name == "cmaes" and sum(isinstance(one, Range) for one in space.varied.values()) < 2:
        raise StudyError("`sampler`: cmaes needs two ranges or more.")
    make: dict[str, Callable[[int], BaseSampler]] = {
        "tpe": lambda seed: samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True),
        "random": lambda seed: samplers.RandomSampler(seed=seed),
        "gp": lambda seed: samplers.GPSampler(seed=seed),
        "cmaes": lambda seed: samplers.CmaEsSampler(seed=seed, independent_sampler=samplers.RandomSampler(seed)),
    }
    if name == "qmc":  # One sequence, whose scrambling must stay; what has no order is drawn trial by trial.
        chance = _SeededByTrial(make["random"], seed)
        return samplers.QMCSampler(
            scramble=True, seed=seed, independent_sampler=chance, warn_independent_sampling=False
        )
    if name == "grid":  # The seed is the order of the combinations, which must stay too.
        return _Grid({name: list(one.values) for name, one in space.varied.items() if isinstance(one, Choices)}, seed)
    whole = {name: _distribution(one) for name, one in sorted(space.varied.items())}
    return _SeededByTrial(make[name], seed, known=whole if name == "tpe" else None)


class _Grid(optuna.samplers.GridSampler):
    """Does not end `Study.optimize` after the last combination, since there is none: the total ends the sweep."""

    def after_trial(self, *arguments: Any) -> None:
        return


class _SeededByTrial(BaseSampler):
    """A sampler made anew for each trial, its seed from the sweep's and the trial's number.

    A study that is gone on with so draws what it would have drawn without a break, and workers draw differently.
    """

    def __init__(
        self, make: Callable[[int], BaseSampler], seed: int, known: dict[str, BaseDistribution] | None = None
    ) -> None:
        """known: the search space, where it need not be worked out from all trials so far, for each trial anew."""
        self._make, self._seed, self._known = make, seed, known
        self._sampler, self._number = make(seed), -1

    def _at(self, trial: FrozenTrial) -> BaseSampler:
        if trial.number != self._number:
            self._sampler, self._number = self._make(derive_seed(self._seed, "trial", trial.number)), trial.number
        return self._sampler

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        if self._known is not None:
            return self._known
        return self._at(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._at(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._at(trial).sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._at(trial).before_trial(study, trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self._at(trial).after_trial(study, trial, state, values)


def _distribution(dimension: Range | Choices) -> BaseDistribution:
    if isinstance(dimension, Choices):
        return CategoricalDistribution(dimension.values)
    if dimension.whole:
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings that what is used here is experimental, or is meant for `Study.optimize`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.filterwarnings("ignore", "Heartbeat of storage is supposed to be used")
        yield
