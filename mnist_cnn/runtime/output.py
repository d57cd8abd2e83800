"""Standard output and error that stop no work: a character that cannot be shown, a pipe that is gone, a full disk."""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress
from typing import Any, TextIO


class _Forgiving(io.FileIO):
    """A stream of this process. Once nobody reads it any more, all that is written goes to nowhere.

    What cannot be written, since a disk is full, is lost, and what comes later is tried again.
    """

    has_lost = False

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno in (errno.EPIPE, errno.EIO):  # the pipe is closed; the terminal is gone
                _to_nowhere(self.fileno())
            else:
                self.has_lost = True
            return memoryview(data).nbytes


def forgive() -> None:
    """Make this process's output such a stream. What is closed, or belongs to another (a test), stays its own."""
    for number in (0, 1, 2):
        with suppress(OSError):
            os.fstat(number)
            continue
        _to_nowhere(number)  # else the next file that is opened would be taken for it
    sys.stdout = _forgiving(sys.stdout, sys.__stdout__, 1)
    sys.stderr = _forgiving(sys.stderr, sys.__stderr__, 2)


def has_lost(stream: TextIO) -> bool:
    """Whether something that was written to such a stream is lost, since it could not be written."""
    stream.flush()
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return isinstance(raw, _Forgiving) and raw.has_lost


def _forgiving(stream: TextIO | None, own: TextIO | None, number: int) -> TextIO:
    if stream is not own:
        return stream  # type: ignore[return-value]
    raw = io.BufferedWriter(_Forgiving(number, "w", closefd=False))
    if not isinstance(stream, io.TextIOWrapper):
        return io.TextIOWrapper(raw, "utf-8", "backslashreplace")
    stream.flush()
    return io.TextIOWrapper(
        raw,
        stream.encoding,
        "backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _to_nowhere(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)
