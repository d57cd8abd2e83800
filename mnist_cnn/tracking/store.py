"""The tracking store: where it is, how it is opened, and how a person looks at it."""

from __future__ import annotations

import logging
import os
import shlex
import socket
import sqlite3
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import mlflow
import sqlalchemy
from mlflow.exceptions import MlflowException

from mnist_cnn.runtime import locks
from mnist_cnn.settings.errors import SettingError, hide_password, one_line

LOCK = ".mnist_cnn.lock"
"""A file beside the database. The database's own would not do: closing it would end SQLite's locks."""

SECONDS_TO_ANSWER = 10.0
PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306}
"""Of the servers that can be a store, where the address names none."""
"""A tracking server that takes no connection for so long when a command starts is not there."""

WAIT_FOR_LOCKS = "PRAGMA busy_timeout = 300000;"
"""Milliseconds for which a command waits for an SQLite database that another process has locked."""

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
    if not address.startswith("sqlite:///"):
        return Path.cwd()
    path = address.removeprefix("sqlite:///").partition("?")[0]
    return Path(unquote(path)).absolute().parent  # MLflow writes a space as %20


def open_store() -> None:
    """Have the tables of a fresh database made by one process at a time: of several at once all but one would fail."""
    quiet_logs()
    address = uri()
    if address in _opened:
        return
    refuse_silent_server()
    if address.startswith("sqlite:///"):
        try:
            folder().mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrackingError(
                f"{shown_uri()}: its folder cannot be made ({error.strerror}); give another."
            ) from error
    if address.startswith("sqlite:///") and folder().is_dir():
        with alone():
            try:
                mlflow.MlflowClient().search_experiments(max_results=1)
            except MlflowException as error:  # of another kind, who opens a run next says it better
                refuse_other_schema(error)
    _opened.add(address)


def refuse_other_schema(error: MlflowException) -> None:
    """Raise `TrackingError` where MLflow says that another release made the tables of the store."""
    if "database schema" in str(error):
        raise TrackingError(
            f"the tables of {shown_uri()} are of another release of MLflow. Of an older one: back it up, then call "
            "`mlflow db upgrade` with this address. Of a newer one: install that."
        ) from error


def refuse_silent_server() -> None:
    """Say within seconds that nobody answers: MLflow tries for minutes, which is right once there is work to keep."""
    address = uri()
    try:
        server = urlsplit(address)
        usual = PORTS.get(server.scheme.partition("+")[0])
        is_local = not server.hostname and not server.scheme.startswith("http")  # by a socket of this machine
        if usual is None or is_local:
            return
        port = server.port or usual
        socket.create_connection((server.hostname or "", port), timeout=SECONDS_TO_ANSWER).close()
    except (OSError, ValueError) as error:
        raise TrackingError(f"the tracking server {hide_password(address)} does not answer ({error}).") from error


@sqlalchemy.event.listens_for(sqlalchemy.Engine, "connect")
def _wait_for_locks(connection: Any, _record: Any) -> None:
    """Wait minutes for an SQLite database that another process has locked."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute(WAIT_FOR_LOCKS)


@sqlalchemy.event.listens_for(sqlalchemy.Engine, "before_cursor_execute", retval=True)
def _keep_waiting(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> tuple[str, Any]:
    """MLflow sets 20 s in each session (mlflow/store/db/utils.py), with no way to ask for another value."""
    return (WAIT_FOR_LOCKS if statement == "PRAGMA busy_timeout = 20000;" else statement), parameters


def alone() -> AbstractContextManager[None]:
    """Hold the lock of a local store, which one process at a time has; with a server there is none."""
    is_local = uri().startswith("sqlite:///") and folder().is_dir()
    return locks.locked(folder() / LOCK) if is_local else nullcontext()


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


def place(experiment_id: str, run_id: str = "") -> str:
    """Where MLflow's UI shows a run, or the runs of an experiment: what follows the address of the server.

    Without `workflowType` it opens in its view for language models.
    """
    runs = f"#/experiments/{experiment_id}/runs"
    return f"/{runs}{f'/{run_id}' if run_id else ''}?workflowType=machine_learning"


def how_to_look(place: str) -> str:
    """How a person opens a page of MLflow's UI on the store of this process."""
    address = uri()
    if address.startswith("http"):
        return f"{hide_password(address).rstrip('/')}{place}"
    return f"{ui_command()}, then http://127.0.0.1:5000{place}"


def ui_command() -> str:
    """The command that shows a local store in a browser."""
    address = uri()
    default = f"sqlite:///{Path.cwd() / 'mlflow.db'}"
    is_default = unquote(address) in (default, "sqlite:///mlflow.db")
    return "mlflow ui" if is_default else f"mlflow ui --backend-store-uri {shlex.quote(hide_password(address))}"


def first_line(error: Exception) -> str:
    """What an error says, in one line of at most 300 printable characters."""
    return one_line(str(error).strip().partition("\n")[0] or type(error).__name__)
