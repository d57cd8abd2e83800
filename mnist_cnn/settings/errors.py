"""What ends a command on purpose: a setting that is refused, work that cannot continue, an interrupt."""

from __future__ import annotations

import signal


class SettingError(ValueError):
    """A setting has a value that cannot be used. The message names the field, the value and what is allowed."""


class Notice(UserWarning):
    """Something that works, and is likely not what was meant. The message says what, and the way out."""


class WorkStopped(RuntimeError):
    """Work of many parts ends because too many of them failed. The message says which and why."""


class Interrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM reached this process, or stands for `reason`. exit_status: 128 plus the signal's number."""

    def __init__(self, number: int, reason: str = "") -> None:
        super().__init__(reason or f"interrupted by {signal.Signals(number).name}")
        self.exit_status = 128 + number


STORES = ("mlflow", "optuna", "sqlalchemy", "requests")
"""Packages whose errors come from a store, and not from what the user asked for."""


def is_of_a_store(error: BaseException) -> bool:
    return type(error).__module__.partition(".")[0] in STORES
