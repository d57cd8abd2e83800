"""The tracking store: where it is, how it is opened, and how a person looks at it."""

from __future__ import annotations

import fcntl
import logging
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException

from mnist_cnn.settings.errors import SettingError, hide_password, one_line

_opened: set[str] = set()


class TrackingError(SettingError):
    """A run, model or store that was asked for cannot be used; the message says which and why."""


STORE_ERRORS = (TrackingError, MlflowException, OSError)
"""What is raised where a store, or a run that has lost a part of what it held, cannot be read."""


def uri() -> str:
    return str(mlflow.get_tracking_uri())


def shown_uri() -> str:
    """The same without a password."""
    return hide_password(uri())


def folder() -> Path:
    """The folder of the tracking database; the working folder where it is a server's.

    `mlflow run` calls its command in the project's folder, whichever folder, and database, the person is in.
    """
    address = uri()
    is_file = address.startswith("sqlite:///")
    return Path(address.removeprefix("sqlite:///")).absolute().parent if is_file else Path.cwd()


def open_store() -> None:
    """Have the tables of a fresh database made by one process at a time: of several at once all but one would fail."""
    quiet_logs()
    address = uri()
    if address in _opened or not address.startswith("sqlite:///"):
        return
    if folder().is_dir():
        with locked(folder()), suppress(MlflowException):  # who opens a run next says it better
            mlflow.MlflowClient().search_experiments(max_results=1)
    _opened.add(address)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file or folder, which one process at a time has, and which goes with it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)  # and with it the lock


def quiet_logs() -> None:
    """Warnings and errors only: a fresh database otherwise greets with forty lines of schema migrations."""
    # A bar for each file, gone before it can be read; who wants it sets the variable.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # With a server two lines at each run's end, also at each trial's; `signpost` says it once.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    for name in ("alembic", "mlflow.tracking.fluent"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # It logs each error of the database with its traceback, and raises it all the same.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def how_to_look() -> str:
    """The command that shows the store of this process in a browser, or its address."""
    address = uri()
    if address.startswith("http"):
        return f"open {hide_password(address)}"
    default = f"sqlite:///{Path.cwd() / 'mlflow.db'}"
    is_default = address in (default, "sqlite:///mlflow.db")
    return "mlflow ui" if is_default else f"mlflow ui --backend-store-uri {shlex.quote(hide_password(address))}"


def first_line(error: Exception) -> str:
    """What an error says, in one line of at most 300 printable characters."""
    return one_line(str(error).strip().partition("\n")[0] or type(error).__name__)
