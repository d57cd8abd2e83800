"""python -m pipelines COMMAND [--json] [--setting value ...]: parse the settings, import the command and call it.

--json prints the result as one JSON document on standard output; all else goes to standard error.

Exit status: 0 done, 1 failed, 2 refused, 129, 130 or 143 interrupted. A user's mistake is one line and no traceback.
"""

from __future__ import annotations

import contextlib
import difflib
import gc
import importlib
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from mnist_cnn.runtime import output, signals
from mnist_cnn.settings import (
    ENTRY_POINTS,
    OptimizeSettings,
    PredictSettings,
    SeedsSettings,
    Settings,
    SweepSettings,
    VerdictSettings,
    backend,
)
from mnist_cnn.settings.errors import (
    Notice,
    SettingError,
    WorkStopped,
    hide_password,
    is_of_a_store,
    is_out_of_memory,
    one_line,
    printable,
)
from mnist_cnn.settings.experiments import kinds
from mnist_cnn.settings.fields import cut, shown

OTHER_NAMES = {"answer": "ablation", "main": "reproduce"}
"""Names that are accepted for a command: an earlier one, and MLproject's for the whole."""

WITH_SEEDS = ("train", "optimize", "replay", "ablation")
"""Commands that take `--seeds=N`, which makes them N runs below one."""

WITHOUT_TENSORFLOW = ("again", "rollback", "send")
"""Commands that compute nothing, or start it themselves once they know what."""


def main(argv: Sequence[str]) -> None:
    """Call a command as a shell does, and leave by its exit status."""
    output.forgive()
    if not argv or argv[0] in ("-h", "--help"):
        print(overview())
        return
    warnings.formatwarning = _format_warning
    command = argv[0]
    try:
        with signals.interruptible():
            call(command, argv[1:])
    except SettingError as error:
        _leave(2, one_line(f"{cut(command)}: {error}"), "FAILED", str(error))
    except KeyboardInterrupt as error:
        reason = str(error) or "interrupted"
        _leave(getattr(error, "exit_status", 130), f"\n{command}: {reason}.", "KILLED", reason)
    except Exception as error:
        if is_out_of_memory(error):
            _leave(1, f"\n{command}: {(reason := _what_to_lower(command))}", "FAILED", reason)
        if not _is_expected(error):
            _end_unopened("FAILED", printable(f"{type(error).__name__}: {error}"))
            raise
        reason = one_line(str(error).strip().partition("\n")[0])
        _leave(1, f"\n{command}: {type(error).__name__}: {reason}.", "FAILED", reason)


def call(command: str, words: Sequence[str]) -> None:
    """Parse a command line, refuse what cannot work, and call the command. Raises `SettingError`."""
    as_json, words = _wants_json(words)
    name = OTHER_NAMES.get(command, command)
    if name in WITH_SEEDS and any(word.partition("=")[0] == "--seeds" for word in words):
        name, words = "seeds", [f"--of={name}", *words]
    if name not in ENTRY_POINTS:
        close = difflib.get_close_matches(name, ENTRY_POINTS, n=1)
        hint = f"Did you mean {close[0]}?" if close else f"Known are: {', '.join(ENTRY_POINTS)}."
        raise SettingError(f"there is no command {shown(command)}. {hint}")
    settings = ENTRY_POINTS[name].from_command_line(words)
    backend.refuse_other()
    _refuse_files(settings)
    gc.disable()  # while TensorFlow and MLflow are imported, collections take a fifth of the time and find nothing
    if name not in WITHOUT_TENSORFLOW:
        importlib.import_module("mnist_cnn.runtime.hardware").start_tensorflow()  # quietly, before others import it
    pipeline = importlib.import_module(f"pipelines.{name}")
    signals.check()  # an import may have lost it
    gc.freeze()
    gc.enable()
    if not as_json:
        pipeline.main(settings)
        return
    with contextlib.redirect_stdout(sys.stderr):
        result = pipeline.run(settings)
        document = importlib.import_module("mnist_cnn.tracking.records").document(result.run_id)
        # What a command found beside the numbers of its run.
        document["result"] = result.as_json() if hasattr(result, "as_json") else {}
    finite = importlib.import_module("mnist_cnn.reporting.formats").finite
    print(json.dumps(finite(document), allow_nan=False))
    if output.has_lost(sys.stdout):
        raise OSError(f"the result cannot be written to standard output; it is in the run {result.run_id}")


def _wants_json(words: Sequence[str]) -> tuple[bool, list[str]]:
    """Whether the result is asked for as JSON (`--json`, `--json=true`, `--json true`), and the other words."""
    rest = list(words)
    for number, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name != "--json":
            continue
        following = words[number + 1 : number + 2]
        takes_next = not equals and following and not following[0].startswith("--")
        value = following[0] if takes_next else value if equals else "true"
        if value not in ("true", "false"):
            raise SettingError(f"`json` must be true or false; got {shown(value)}.")
        del rest[number : number + 1 + bool(takes_next)]
        return value == "true", rest
    return False, rest


def overview() -> str:
    """What `python -m pipelines` prints: a line for each command."""
    lines = [f"  {name:<16}{(settings.__doc__ or '').splitlines()[0]}" for name, settings in ENTRY_POINTS.items()]
    usage = (
        "usage: python -m pipelines COMMAND [--json] [--setting value ...]\n       python -m pipelines COMMAND --help"
    )
    return "\n".join([f"{usage}\n", *lines])


def _refuse_files(settings: Settings) -> None:
    """Refuse files and a proxy that cannot be used before TensorFlow loads; what was read of data is kept."""
    if isinstance(settings, SeedsSettings):
        settings = settings.first
    words = settings.as_words(secrets=True)
    if word := words.get("dataset", ""):
        dataset = importlib.import_module("mnist_cnn.data.dataset")
        images = dataset.load_train(word)
        if "validation_fraction" in words:
            dataset.split(images, float(words["validation_fraction"]))
        for each in _searches(settings):
            kinds(each.targets, each.start, each.start_class, num_classes=images.num_classes)
    if isinstance(settings, PredictSettings):
        importlib.import_module("mnist_cnn.data.pictures").find(settings)
    if isinstance(settings, VerdictSettings) and settings.answers:
        settings.answers_text()
    word = words.get("storage", "")
    if os.environ.get("MLFLOW_RUN_ID") and hide_password(word) != word:
        advice = "Change it, and give the next one by PGPASSWORD or ~/.pgpass."
        print(
            f"`mlflow run` has written the password of `storage` into the run's parameters. {advice}", file=sys.stderr
        )
    if word:
        importlib.import_module("mnist_cnn.sweeps.storage").refuse_storage(word)


def _searches(settings: Settings) -> Iterable[OptimizeSettings]:
    """Settings of all searches that are asked for, as far as they name classes."""
    if isinstance(settings, OptimizeSettings):
        return [settings]
    if isinstance(settings, SweepSettings) and "targets" in settings.space.trial.names():
        return settings.space.each("targets", "start", "start_class")
    return []


def _what_to_lower(command: str) -> str:
    known = ENTRY_POINTS[OTHER_NAMES.get(command, command)].names()
    lower = [f"`{name}`" for name in ("batch_size", "memory_gib", "num_images", "workers") if name in known]
    return f"out of memory. Lower {' or '.join(lower) or 'what this machine does besides'}, or take fewer images."


_usual_format = warnings.formatwarning


def _format_warning(message: Warning | str, category: type[Warning], *place: Any, **line: Any) -> str:
    """A `Notice` as one line without its place in the code."""
    return f"Notice: {message}\n" if issubclass(category, Notice) else _usual_format(message, category, *place, **line)


def _is_expected(error: Exception) -> bool:
    """Whether it is the world's fault (disk, network, tracking store, numbers) and not this program's."""
    return isinstance(error, ArithmeticError | WorkStopped) or is_of_a_store(error)


def _leave(exit_status: int, line: str, run_status: str, reason: str) -> NoReturn:
    print(line, file=sys.stderr)
    _end_unopened(run_status, reason)
    raise SystemExit(exit_status) from None


def _end_unopened(status: str, reason: str) -> None:
    """Say why in the run that `mlflow run` made for a command that did not come to open it.

    A fresh Python does it: what a signal broke off may be an import, and NumPy cannot be imported a second time.
    """
    if "MLFLOW_RUN_ID" in os.environ:
        write = (
            "import json, sys; from mnist_cnn.tracking.runs import end_unopened; end_unopened(*json.load(sys.stdin))"
        )
        # Signals stay ignored in it. Should it fail, `mlflow run` ends the run, without the reason.
        with signals.ignored(), contextlib.suppress(OSError):
            words, quiet = json.dumps([status, reason]), subprocess.DEVNULL
            subprocess.run(
                [sys.executable, "-c", write], input=words, text=True, stdout=quiet, stderr=quiet, check=False
            )


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    finally:
        gc.freeze()  # else Python's last collection goes through all that TensorFlow made: three seconds
