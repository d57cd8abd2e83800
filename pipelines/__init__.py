"""One file an entry point: read settings, call, log. What they share on the way in and out stands here."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NoReturn

from mnist_cnn.runtime import processes
from mnist_cnn.settings.command_line import Interrupted, SettingError, WorkStopped, is_of_a_store


def enter(main: Callable[[Sequence[str]], None], program: str) -> None:
    """Call an entry point with the command line's words; a user's mistake or a failure is one line, no traceback.

    Exit status: 0 done, 1 failed, 2 refused, 130 or 143 interrupted.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        main(sys.argv[1:])
    except SettingError as error:
        refuse(program, str(error))
    except KeyboardInterrupt as error:
        print(f"\n{program}: {error or 'interrupted'}.", file=sys.stderr)
        processes.tell(reason=str(error) or "interrupted")
        if "MLFLOW_RUN_ID" in os.environ:  # nobody has opened that run yet, so nobody has closed it
            from mnist_cnn.tracking import runs

            runs.mark_interrupted(str(error) or "interrupted")
        raise SystemExit(getattr(error, "exit_status", 130)) from None
    except Exception as error:
        if not _is_expected(error):
            raise
        reason = str(error).partition("\n")[0]
        processes.tell(reason=reason)
        print(f"\n{program}: {type(error).__name__}: {reason}.", file=sys.stderr)
        raise SystemExit(1) from None


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise Interrupted(number)


def _is_expected(error: Exception) -> bool:
    """Whether it is the world's fault (disk, network, tracking store, numbers) and not this program's."""
    return isinstance(error, ArithmeticError | OSError | WorkStopped) or is_of_a_store(error)


def refuse(program: str, reason: str) -> NoReturn:
    print(f"{program}: {reason}", file=sys.stderr)
    processes.tell(reason=reason)
    if "MLFLOW_RUN_ID" in os.environ:
        from mnist_cnn.tracking import runs

        runs.mark_refused(reason)
    raise SystemExit(2)
