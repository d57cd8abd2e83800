"""Do a run again, and prove it: every number then and now."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mnist_cnn.reporting.formats import counted, number
from mnist_cnn.runtime import hardware
from mnist_cnn.settings import AgainSettings
from mnist_cnn.tracking import repeating, runs
from mnist_cnn.tracking.repeating import Compared

MOST_LINES = 20


@dataclass(frozen=True)
class AgainResult:
    """run_id: of the new run. result: the command's own. compared: each number then and now."""

    run_id: str
    result: Any
    differences: tuple[str, ...]
    compared: tuple[Compared, ...]

    def as_json(self) -> dict[str, Any]:
        numbers = [{**asdict(row), "is_equal": row.is_equal} for row in self.compared]
        return {"differences": self.differences, "numbers": numbers}


def run(settings: AgainSettings) -> AgainResult:
    """Say what is different now, do it, and compare. Raises `SettingError` for a run that cannot be done again."""
    original = repeating.original(settings.run, settings.changes)
    differences = repeating.differences(original)
    print(f"Again: {original.settings.command_line()}")
    print("\n".join(f"Not as it was: {line}." for line in differences) or "All is as it was.", flush=True)
    hardware.start_tensorflow()
    result = importlib.import_module(f"pipelines.{original.settings.COMMAND}").run(original.settings)
    compared = repeating.compare(settings.run, repeating.counterpart(original.run, result.run_id))
    repeating.note(result.run_id, settings.run, compared, verdict(compared))
    return AgainResult(result.run_id, result, tuple(differences), tuple(compared))


def main(settings: AgainSettings) -> None:
    result = run(settings)
    others = [row for row in result.compared if row.is_of_both and not row.is_equal]
    lines = [f"  {_name(row)}: {number(row.then)} then, {number(row.now)} now" for row in others[:MOST_LINES]]
    lines += [f"  and {len(others) - MOST_LINES} more; all are in again.json"] if len(others) > MOST_LINES else []
    print("\n".join(["", verdict(result.compared), *lines, runs.signpost(result.run_id)]))


def verdict(compared: Sequence[Compared]) -> str:
    """`All 25 numbers are equal to the last bit. 2 were not measured then.`"""
    both = [row for row in compared if row.is_of_both]
    equal = sum(row.is_equal for row in both)
    if equal < len(both):
        said = f"{equal} of {counted(len(both), 'number')} are equal to the last bit; the others are not."
    elif both:
        said = f"All {counted(equal, 'number')} are equal to the last bit."
    else:
        said = "There is no number to compare." if compared else "There is no number."
    for when, lacking in (("then", [row.then for row in compared]), ("now", [row.now for row in compared])):
        if count := lacking.count(None):
            said += f" {count} {'was' if count == 1 else 'were'} not measured {when}."
    return said


def _name(row: Compared) -> str:
    return f"{row.run}: {row.metric}" if row.run else row.metric
