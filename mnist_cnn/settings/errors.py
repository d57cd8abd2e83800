"""What ends a command on purpose: a setting that is refused, work that cannot continue, an interrupt."""

from __future__ import annotations

import re
import signal

LONGEST = 300
"""Characters of a line that says what went wrong."""


def printable(text: object) -> str:
    """A text in one line: no password of an address, and no character by which a terminal is driven."""
    line = hide_passwords(re.sub(r"\s*\n\s*", " ", str(text)))
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in line)


def one_line(text: object, longest: int = LONGEST) -> str:
    """The same, cut in its middle: the field stands at its beginning, the way out at its end."""
    line = printable(text)
    end = longest // 2
    return line if len(line) <= longest else f"{line[: longest - end - 1]}…{line[-end:]}"


def hide_passwords(text: str) -> str:
    """A text of any length without the passwords of the addresses in it."""
    return re.sub(r"\S+", lambda word: hide_password(word[0]), text)


def hide_password(address: str) -> str:
    """The URL of a database or server without its password; a path as it is.

    Rather hides too much: a password may hold `@` and `/`, and may stand among the parameters as well. The name before
    the host of a web address may be a token.
    """
    if "://" not in address:
        return address
    address = re.sub(r"(https?://)([^/:@?]*:.*|[^/:@?]+)@", r"\1***@", address, flags=re.IGNORECASE | re.DOTALL)
    address = re.sub(r"(://[^/:@?]*):.*@", r"\1@", address, flags=re.DOTALL)
    return re.sub(r"([?&][\w-]*(?:password|passwd|token|secret)=)[^&]*", r"\1***", address, flags=re.IGNORECASE)


class SettingError(ValueError):
    """A setting has a value that cannot be used. The message names the field, the value and what is allowed.

    It is one line of at most 300 printable characters, whatever is quoted in it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class Notice(UserWarning):
    """Something that works, and is likely not what was meant. The message says what, and the way out."""


class WorkStopped(RuntimeError):
    """Work of many parts ends because too many of them failed. The message says which and why."""


class Interrupted(KeyboardInterrupt):
    """A signal that ends work reached this process, or stands for `reason`. exit_status: 128 plus its number."""

    def __init__(self, number: int, reason: str = "") -> None:
        super().__init__(reason or f"interrupted by {signal.Signals(number).name}")
        self.exit_status = 128 + number


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the machine, or its accelerator, has less memory than was asked for."""
    return isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError"


STORES = ("mlflow", "optuna", "sqlalchemy", "requests")
"""Packages whose errors come from a store, and not from what the user asked for."""


def is_of_a_store(error: BaseException) -> bool:
    """Whether it came from a store, or from the disk or the network below one."""
    return type(error).__module__.partition(".")[0] in STORES or isinstance(error, OSError)
