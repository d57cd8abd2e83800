"""Where Optuna keeps its trials: a journal file for the processes of one machine, or a database for many machines."""

from __future__ import annotations

import itertools
import json
import logging
import os
import sys
import time
import uuid
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import optuna
import sqlalchemy
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial

from mnist_cnn.runtime import locks
from mnist_cnn.settings import hide_password
from mnist_cnn.settings.errors import SettingError
from mnist_cnn.settings.fields import cut, shown
from mnist_cnn.settings.sweeps import STORAGE_FORMS, is_storage, place_of_proxy
from mnist_cnn.sweeps.proxy import Proxy

SECONDS_BETWEEN_HEARTBEATS = 10
SECONDS_WITHOUT_HEARTBEAT = 60
"""On a database: a trial whose process sent no heartbeat for so long is lost."""

SECONDS_OF_A_RESTART = 600.0
"""A database that was there when the sweep began is waited for so long."""

SECONDS_OF_A_LOCK = 10
"""A journal's lock that is older was left by a process that was killed while it wrote."""

ATTEMPTS = 5

_OWN_NAME = uuid.uuid4().hex
"""Of this process, for databases."""

CREATE_STUDY, SET_STUDY_USER_ATTR, CREATE_TRIAL = 0, 2, 4
"""Codes of what a line of a journal does."""

SAID = {
    code: frozenset(("op_code", "worker_id", *names.split()))
    for code, names in enumerate((
        "study_name directions", "study_id", "study_id user_attr", "study_id system_attr", "study_id datetime_start",
        "trial_id param_name param_value_internal distribution", "trial_id state values",
        "trial_id step intermediate_value", "trial_id user_attr", "trial_id system_attr",
    ))
}  # fmt: skip
"""What a line says, by its code."""

OPTUNA_TABLES = ("studies", "study_", "trials", "trial_", "version_info", "alembic_version")
"""How the names of its tables begin, in a database."""

OPTUNA_COLUMNS = {"studies": {"study_id", "study_name"}, "version_info": {"schema_version", "library_version"}}
"""By which its tables are told from another program's of the same names."""

Lost = Callable[[optuna.Study, FrozenTrial], None]
"""Called by Optuna with a trial that it has marked as failed, since its process sent no heartbeat any more."""


class StudyError(SettingError):
    """A study cannot be opened, or was made with other settings."""


def open_storage(storage: str, on_lost: Lost | None = None) -> BaseStorage:
    """Open a journal file by its path, or a database by its URL; either is made where there is none. Or its proxy.

    Raises `StudyError` where it cannot be opened. A file that is no journal of Optuna's is never written to.
    """
    for logger in ("optuna", "alembic"):
        logging.getLogger(logger).setLevel(logging.WARNING)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if not is_storage(storage):
        raise StudyError(f"`storage` must be {STORAGE_FORMS}; got {shown(storage)}.")
    try:
        with quiet():
            if place := place_of_proxy(storage):
                return Proxy(*place, SECONDS_OF_A_RESTART)
            return _database(storage, on_lost) if "://" in storage else JournalStorage(_Journal(Path(storage)))
    except StudyError:
        raise
    except ConnectionError as error:
        raise StudyError(
            f"`storage`: {storage} does not answer. Start Optuna's proxy there (`run_grpc_proxy_server`), by the "
            "command in docs/many_machines.md, or give another."
        ) from error
    except Exception as error:
        reason = cut(str(error).strip().partition("\n")[0] or type(error).__name__, 120)
        cure = " Install the driver: pip install -c constraints.txt -e '.[postgresql]'" if "psycopg" in reason else ""
        raise StudyError(
            f"`storage`: {hide_password(storage)} cannot be opened ({reason}). Give another.{cure}"
        ) from error


def close_storage(storage: BaseStorage) -> None:
    """Free the connections of a database, or to its proxy."""
    if isinstance(storage, RDBStorage):
        storage.remove_session()
        storage.engine.dispose()
    elif isinstance(storage, Proxy):
        storage.close()


def refuse_storage(storage: str) -> None:
    """Raise `StudyError` for a file that is no journal, and for a proxy that does not answer."""
    if "://" not in storage:
        refuse_other_files(Path(storage))
    elif place_of_proxy(storage):
        close_storage(open_storage(storage))


class Processes:
    """The processes that work on a study. Of a journal's it can be told which are alive, for one kernel runs them."""

    def __init__(self, storage: str) -> None:
        path = Path(storage).absolute()
        self._folder = None if "://" in storage else path.with_name(f"{path.name}.processes")

    @property
    def this(self) -> str:
        """The name of this process."""
        return locks.sign_of_life(self._folder) if self._folder else _OWN_NAME

    def is_alive(self, name: str) -> bool:
        """Whether that process runs; True on a database, whose trials have heartbeats instead."""
        return not self._folder or locks.is_alive(self._folder, name)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings that heartbeats, journals and some samplers are experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def _database(url: str, on_lost: Lost | None) -> RDBStorage:
    """Several processes that open a fresh database at once all make its tables; those that come second try again."""
    _refuse_other_tables(url)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            storage = RDBStorage(
                url,
                engine_kwargs={"pool_pre_ping": True},
                heartbeat_interval=SECONDS_BETWEEN_HEARTBEATS,
                grace_period=SECONDS_WITHOUT_HEARTBEAT,
                heartbeat_stale_trial_callback=on_lost,
            )
            sqlalchemy.event.listen(storage.engine, "do_connect", _connect_in_the_end)
            return storage
        except (sqlalchemy.exc.IntegrityError, sqlalchemy.exc.ProgrammingError):
            if attempt == ATTEMPTS:
                raise
            time.sleep(0.5 * attempt)
    raise AssertionError


def _refuse_other_tables(url: str) -> None:
    """Raise `StudyError` for a database of another program, which Optuna would make its tables in. Nothing is written.

    One that has whole tables of Optuna's may have others beside them.
    """
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool)
    try:
        found = sqlalchemy.inspect(engine)
        names = set(found.get_table_names())
        columns = {
            name: {column["name"] for column in found.get_columns(name)} for name in names & OPTUNA_COLUMNS.keys()
        }
    finally:
        engine.dispose()
    is_optunas = all(OPTUNA_COLUMNS[name] <= columns[name] for name in columns)
    others = sorted(name for name in names if not name.startswith(OPTUNA_TABLES))
    if not is_optunas or (others and not OPTUNA_COLUMNS.keys() <= names):
        first = ", ".join(others[:3] or sorted(columns))
        raise StudyError(
            f"`storage`: {hide_password(url)} holds tables of another program ({cut(first)}); it was left as it is. "
            "Give a database of its own."
        )


def _connect_in_the_end(dialect: Any, record: Any, arguments: Any, options: Any) -> Any:
    """Connect to a database that was there once; one that is being restarted is waited for."""
    deadline = time.monotonic() + SECONDS_OF_A_RESTART
    has_said = False
    while True:
        try:
            return dialect.connect(*arguments, **options)
        except dialect.loaded_dbapi.OperationalError:
            if time.monotonic() > deadline:
                raise
            if not has_said:
                limit = f"{SECONDS_OF_A_RESTART / 60:.0f} minutes at most"
                print(f"The sweep's database does not answer; waiting for it, {limit}.", flush=True)
            has_said = True
            time.sleep(1)


class _Journal(JournalFileBackend):
    """A journal of which lines may be damaged.

    The last one may be torn, since the process that wrote it was killed. Optuna would glue the next line to it, and
    could read neither. It is cut off, and kept in a file beside the journal. Others are left, and gone round.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._own_lock = JournalFileOpenLock(str(self._path), grace_period=SECONDS_OF_A_LOCK)
        self._starts = {0: 0}
        self._num_damaged = 0
        refuse_other_files(self._path)
        super().__init__(str(self._path), self._own_lock)
        self.append_logs([])

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """What whole lines say, from that one on."""
        known = log_number_from if log_number_from in self._starts else 0
        with self._path.open("rb") as file:
            file.seek(self._starts[known])
            lines = file.read().split(b"\n")[:-1]  # what follows the last line's end may be half written
        records = [_record(line) for line in lines]
        if known and None in records:
            self._starts = {0: 0}  # to see all that the journal says of what is lost
            yield from self.read_logs(log_number_from)
            return
        for number, line in enumerate(lines, known):
            self._starts[number + 1] = self._starts[number] + len(line) + 1
        damaged = [number for number, record in enumerate(records, known + 1) if record is None]
        if len(damaged) > self._num_damaged:
            self._num_damaged = len(damaged)
            which = cut(", ".join(map(str, damaged)))
            print(
                f"{self._path}: of {len(lines)} lines {len(damaged)} cannot be read ({which}). What they said is lost, "
                "all else is used; the file is left as it is.",
                file=sys.stderr,
            )
        yield from itertools.islice(_gone_round(records), log_number_from - known, None)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        self._own_lock.acquire()
        try:
            with self._path.open("rb+") as file:
                self._cut_torn_line(file)
                if lines:
                    file.write(lines.encode())
                    file.flush()
                    os.fsync(file.fileno())
        finally:
            self._own_lock.release()

    def _cut_torn_line(self, file: BinaryIO) -> None:
        """Leave `file` at its end, which is that of a whole line."""
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        if file.read(1) in (b"\n", b""):
            return
        start = max(0, size - 1_000_000)
        file.seek(start)
        end_of_whole_lines = start + file.read().rfind(b"\n") + 1
        file.seek(end_of_whole_lines)
        with self._path.with_name(f"{self._path.name}.torn").open("ab") as kept:
            kept.write(file.read() + b"\n")
        file.truncate(end_of_whole_lines)
        file.seek(end_of_whole_lines)


def refuse_other_files(path: Path) -> None:
    """Raise `StudyError` for a file that holds something else than a journal, or has no folder to be made in."""
    if not os.path.isdir(path.absolute().parent):
        raise StudyError(f"`storage`: there is no folder {path.absolute().parent}; make it, or give another path.")
    if os.path.isdir(path):
        raise StudyError(f"`storage` must be {STORAGE_FORMS}; {path} is a folder. Give a file in it.")
    if os.path.exists(path) and not os.path.isfile(path):
        raise StudyError(f"`storage` must be {STORAGE_FORMS}; {path} is a device or a pipe, and no ordinary file.")
    if not os.path.exists(path) or not path.stat().st_size:
        return
    try:
        with path.open("rb") as file:
            lines = file.read(1_000_000).split(b"\n")
    except OSError as error:
        raise StudyError(f"`storage`: {path} cannot be read ({error.strerror}); give another path.") from error
    if not any(map(_record, lines)):
        raise StudyError(
            f"`storage` must be {STORAGE_FORMS}; {path} is no journal of Optuna's; it was left as it is. Give another "
            "path."
        )


def _record(line: bytes) -> dict[str, Any] | None:
    """What a line of a journal says; None of one that is damaged."""
    try:
        record = json.loads(line.decode())
        return record if SAID[record["op_code"]] <= record.keys() else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _gone_round(records: Sequence[dict[str, Any] | None]) -> Iterator[dict[str, Any]]:
    """The records, with another in place of each that is damaged: Optuna counts them.

    It also counts studies and trials as they are made. Where a later record is of one that no record makes, a damaged
    one was to make it, and such a one stands in its place; else one that says nothing.
    """
    missing = {"study_id": 0, "trial_id": 0}
    made = {"study_id": 0, "trial_id": 0}
    names = set()
    for record in filter(None, records):
        for key in made:
            missing[key] = max(missing[key], record.get(key, -1) + 1 - made[key])
        made["study_id"] += record["op_code"] == CREATE_STUDY and record["study_name"] not in names
        made["trial_id"] += record["op_code"] == CREATE_TRIAL
        names.add(record.get("study_name"))
    study = 0
    for number, found in enumerate(records, 1):
        study = found.get("study_id", study) if found else study
        if found is not None:
            record = found
        elif missing["study_id"]:
            missing["study_id"] -= 1
            record = {"op_code": CREATE_STUDY, "study_name": f"lost in line {number}", "directions": [1]}
        elif missing["trial_id"]:
            missing["trial_id"] -= 1
            record = {"op_code": CREATE_TRIAL, "study_id": study, "datetime_start": None}
        else:
            record = {"op_code": SET_STUDY_USER_ATTR, "study_id": -1, "user_attr": {}}
        yield {"worker_id": "", **record}
