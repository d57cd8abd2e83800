"""Where Optuna keeps its trials: a journal file for the processes of one machine, or a database for many machines."""

from __future__ import annotations

import json
import logging
import os
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
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

SECONDS_BETWEEN_HEARTBEATS = 10
SECONDS_WITHOUT_HEARTBEAT = 60
"""On a database: a trial whose process sent no heartbeat for so long is lost."""

SECONDS_OF_A_RESTART = 600.0
"""A database that was there when the sweep began is waited for so long."""

SECONDS_OF_A_LOCK = 10
"""A journal's lock that is older was left by a process that was killed while it wrote."""

DATABASES = ("postgresql", "sqlite")
FORMS = "the path of a journal file, or begin with postgresql:// or sqlite:///"
ATTEMPTS = 5

_OWN_NAME = uuid.uuid4().hex
"""Of this process, for databases."""

Lost = Callable[[optuna.Study, FrozenTrial], None]
"""Called by Optuna with a trial that it has marked as failed, since its process sent no heartbeat any more."""


class StudyError(SettingError):
    """A study cannot be opened, or was made with other settings."""


def open_storage(storage: str, on_lost: Lost | None = None) -> BaseStorage:
    """Open a journal file by its path, or a database by its URL; either is made where there is none.

    Raises `StudyError` where it cannot be opened. A file that is no journal of Optuna's is never written to.
    """
    for logger in ("optuna", "alembic"):
        logging.getLogger(logger).setLevel(logging.WARNING)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    scheme = storage.partition("://")[0].partition("+")[0]
    if "://" in storage and scheme not in DATABASES:
        raise StudyError(f"`storage` must be {FORMS}; got {hide_password(storage)!r}.")
    try:
        with quiet():
            return _database(storage, on_lost) if "://" in storage else JournalStorage(_Journal(Path(storage)))
    except StudyError:
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        cure = " Install the driver: pip install -c constraints.txt -e '.[postgresql]'" if "psycopg" in reason else ""
        raise StudyError(f"`storage`: {hide_password(storage)} cannot be opened ({reason}).{cure}") from error


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
    """A journal whose last line may be torn, since the process that wrote it was killed.

    Optuna would glue the next line to it, and could read neither. It is cut off, and kept in a file beside the journal.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._own_lock = JournalFileOpenLock(str(self._path), grace_period=SECONDS_OF_A_LOCK)
        if not self._path.parent.is_dir():
            raise FileNotFoundError(f"there is no folder {self._path.parent}")
        _refuse_other_files(self._path)
        super().__init__(str(self._path), self._own_lock)
        self.append_logs([])

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


def _refuse_other_files(path: Path) -> None:
    """Raise `StudyError` for a file that holds something else than a journal."""
    if not path.exists() or not path.stat().st_size:
        return
    with path.open("rb") as file:
        first = file.readline(1_000_000)
    try:
        record = json.loads(first)
    except ValueError:  # of which UnicodeDecodeError is one
        record = None
    if not isinstance(record, dict) or "op_code" not in record:
        raise StudyError(
            f"`storage` must be {FORMS}; {path} is no journal of Optuna's; it was left as it is. Give another path."
        )
