"""What a run was made of, what is different now, and whether doing it again gave the same numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mlflow
from mlflow.entities import Run

from mnist_cnn.runtime.fingerprint import NO_PART, made_of
from mnist_cnn.settings import ENTRY_POINTS, Settings
from mnist_cnn.tracking import reading, store, sweep_runs
from mnist_cnn.tracking.runs import KIND_TAG, PARENT_TAG, SETTINGS_FILE
from mnist_cnn.tracking.store import TrackingError

AGAIN_TAG = "again_of"
TIMES = re.compile(r"second|system/")
"""In the names of metrics that say how fast a machine was."""

OF_SWEEP = re.compile("Goal |merit$")
"""In the names of a trial's metrics, those that its sweep adds to the command's own."""

Metrics = dict[str, float]


@dataclass(frozen=True)
class Original:
    """A run to be done again. settings: its own. made_of: what they stood for then; empty where it was not noted."""

    run: Run
    settings: Settings
    made_of: Mapping[str, Any]


def original(run_id: str, changes: Mapping[str, str]) -> Original:
    """The run of that id with its settings, `changes` over them. Raises `SettingError` where it cannot be repeated."""
    store.open_store()
    run = reading.required_run(run_id)
    if run.data.tags.get(KIND_TAG) == "trial":
        command, words = sweep_runs.words_of_trial(run)
        above = reading.read_json(run.data.tags.get(PARENT_TAG, ""), SETTINGS_FILE).get("made_of", {})
        made = {name: above[name] for name in ("data", "versions") if name in above}
        made["settings"] = {name: word for name, word in words.items() if name not in NO_PART}
        return Original(run, ENTRY_POINTS[command].from_words({**words, **changes}), made)
    stored = reading.read_json(run_id, SETTINGS_FILE)
    command = stored.get("made_of", {}).get("command") or run.data.tags.get(KIND_TAG, "")
    if command not in ENTRY_POINTS or not stored:
        above = run.data.tags.get(PARENT_TAG, "")
        hint = f" Take the one above it: {above}." if above else ""
        raise TrackingError(f"`run`: {run_id} holds no settings of a command to be done again.{hint}")
    known = set(ENTRY_POINTS[command].names())
    settings = ENTRY_POINTS[command](**_kept_apart(stored["settings"], stored, known))
    words = {name: word for name, word in settings.as_words(secrets=True).items() if word}
    if "experiment" in stored:  # a run of one of the six, which `experiments` did
        words["experiments"] = str(stored["experiment"])
    if changes.get("preset", words.get("preset")) != words.get("preset"):
        words = {name: word for name, word in words.items() if name in _beside_preset(settings)}
    if command == "reproduce":
        words["fresh"] = "true"  # else the steps of then are reused, and nothing is done again
    return Original(run, ENTRY_POINTS[command].from_words({**words, **changes}), stored.get("made_of", {}))


def _beside_preset(settings: Settings) -> set[str]:
    """Settings that say something else than their preset does."""
    plain, own = type(settings)(preset=settings.as_words()["preset"]).as_words(), settings.as_words()
    return {name for name, word in own.items() if word and word != plain.get(name)}


def _kept_apart(values: dict[str, Any], stored: Mapping[str, Any], known: set[str]) -> dict[str, Any]:
    """The settings with the models and sweeps that were used then, whichever are the newest now."""
    used = {key.partition(".")[2].replace("-", "_") or "model": f"models:/{value}" for key, value in stored.items()
            if key.partition(".")[0] == "model_id" and value}  # fmt: skip
    if isinstance(stored.get("sweeps"), dict):
        used["sweeps"] = ",".join(stored["sweeps"].values())
    kept = {**values, **{name: value for name, value in used.items() if name in known and name in values}}
    if "sweep" in kept:  # the same name would go on with the sweep that is there
        kept["sweep"] = sweep_runs.free_name(f"{kept['sweep'] or 'sweep'}-again")
    return kept


def differences(original: Original) -> list[str]:
    """What is not as it was, line by line: code, data, versions, settings that were changed, and the processor."""
    then, now = original.made_of, made_of(original.settings)
    tags = original.run.data.tags
    lines = [] if "versions" in then else ["what code, data and versions it was made of was not noted"]
    for name, about in (("data", "the data"), ("code", "the code of this command")):
        if name in then and then[name] != now[name]:
            commit = tags.get("mlflow.source.git.commit", "")
            since = f"; it was commit {commit[:12]}" if name == "code" and commit else ""
            lines.append(f"{about} is not the same{since}")
    if tags.get("git.uncommitted_changes") == "true":
        lines.append("it ran with changes that were not committed; they are in its uncommitted.patch")
    for kind, own in (("versions", "the version of "), ("settings", "the setting ")):
        before, after = then.get(kind, {}), now[kind]
        for name in sorted({*before, *after}) if kind in then else []:
            if before.get(name) != after.get(name) and name not in ("model", "sweep", "sweeps", "fresh"):
                lines.append(f"{own}{name}: {before.get(name, 'not given')} then, {after.get(name, 'not given')} now")
    return lines


@dataclass(frozen=True)
class Compared:
    """A number then and now. None where one of the runs lacks it. run: the name of the run below that holds it."""

    run: str
    metric: str
    then: float | None
    now: float | None

    @property
    def is_equal(self) -> bool:
        both_nan = None not in (self.then, self.now) and math.isnan(self.then or 0) and math.isnan(self.now or 0)
        return self.then == self.now or both_nan


def counterpart(then: Run, now: str) -> str:
    """The run that is to be compared with `then`: `now`, or the one below it, where `then` is one of the six."""
    if not _is(then, "experiment"):
        return now
    return next(run_id for run_id, run in reading.runs_below(now).items() if _is(run, "experiment"))


def compare(then: str, now: str) -> list[Compared]:
    """Every last value of two runs and of the runs below them, but times: those below in the order they began.

    Judges that only one of the two had to train are left out: the other used the same judges, which were there.
    """
    pairs = [(reading.get_run(then), reading.get_run(now)), *_pairs_below(then, now)]
    found = []
    for number, (old, new) in enumerate(pairs):
        before, after = (_metrics(run) for run in (old, new))
        if old and new and old.data.tags.get(KIND_TAG) != new.data.tags.get(KIND_TAG):  # a trial, and its command
            before = {key: value for key, value in before.items() if not OF_SWEEP.match(key)}
        name = str((new or old).info.run_name) if number else ""
        found += [Compared(name, key, before.get(key), after.get(key)) for key in sorted({*before, *after})]
    return found


def _metrics(run: Run | None) -> Metrics:
    return {} if run is None else {key: value for key, value in run.data.metrics.items() if not TIMES.search(key)}


def _pairs_below(then: str, now: str) -> list[tuple[Run | None, Run | None]]:
    old, new = (
        sorted(reading.runs_below(parent).values(), key=lambda run: (run.info.start_time, run.info.run_name))
        for parent in (then, now)
    )
    if sum(_is(run, "judges") for run in old) != sum(_is(run, "judges") for run in new):
        old, new = ([run for run in below if not _is(run, "judges")] for below in (old, new))
    count = max(len(old), len(new))
    return list(zip([*old, *[None] * (count - len(old))], [*new, *[None] * (count - len(new))], strict=True))


def _is(run: Run, kind: str) -> bool:
    return bool(run.data.tags.get(KIND_TAG) == kind)


def note(run_id: str, of: str, compared: list[Compared], verdict: str) -> None:
    """Keep with the new run what it repeats, and each number then and now."""
    client = mlflow.MlflowClient()
    client.set_tag(run_id, AGAIN_TAG, of)
    client.set_tag(run_id, "again", verdict)
    rows = {name: [getattr(row, name) for row in compared] for name in ("run", "metric", "then", "now", "is_equal")}
    client.log_table(run_id, rows, "again.json")
