"""What a run was made of, what is different now, and whether doing it again gave the same numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import mlflow
from mlflow.entities import Run

from mnist_cnn.runtime.fingerprint import NO_PART, code_files, made_of
from mnist_cnn.settings import ENTRY_POINTS, Settings
from mnist_cnn.tracking import commit, reading, store, sweep_runs
from mnist_cnn.tracking.heartbeat import HEARTBEAT_OF_TAG
from mnist_cnn.tracking.runs import KIND_TAG, PARENT_TAG, SETTINGS_FILE
from mnist_cnn.tracking.store import TrackingError

AGAIN_TAG = "again_of"
TIMES = re.compile(r"second|system/|^exported_runs$")
"""In the names of metrics that say how fast a machine was, or how many runs a store held."""

OF_SWEEP = re.compile("Goal |merit$")
"""In the names of a trial's metrics, those that its sweep adds to the command's own."""

OWN_WAY = ("sweep", "fresh")
"""Settings that differ whenever a run is done again, so that something is done: no line where nobody changed them."""

MOST_FILES = 5
"""Named where the code has changed."""

Metrics = dict[str, float]


@dataclass(frozen=True)
class Original:
    """A run to be done again. settings: its own, and what overrules them.

    made_of: what they stood for then; empty where it was not noted. then: its own as words, with the models and sweeps
    that it used. changed: names of what overrules them.
    """

    run: Run
    settings: Settings
    made_of: Mapping[str, Any]
    then: Mapping[str, str] = field(default_factory=dict)
    changed: frozenset[str] = frozenset()


def original(run_id: str, changes: Mapping[str, str]) -> Original:
    """The run of that id with its settings, `changes` over them. Raises `SettingError` where it cannot be repeated."""
    store.open_store()
    run = reading.required_run(run_id)
    if run.data.tags.get(KIND_TAG) == "trial":
        command, words = sweep_runs.words_of_trial(run)
        above = reading.read_json(run.data.tags.get(PARENT_TAG, ""), SETTINGS_FILE).get("made_of", {})
        made = {name: above[name] for name in ("data", "versions") if name in above}
        own = ENTRY_POINTS[command].from_words(words).as_words()
        then = _then(own, own, {name: word for name, word in words.items() if name not in NO_PART})
        settings = ENTRY_POINTS[command].from_words({**words, **changes})
        return Original(run, settings, made, then, frozenset(changes))
    stored = reading.read_json(run_id, SETTINGS_FILE)
    command = stored.get("made_of", {}).get("command") or run.data.tags.get(KIND_TAG, "")
    if command not in ENTRY_POINTS or not stored:
        above = run.data.tags.get(PARENT_TAG, "")
        hint = f" Take the one above it: {above}." if above else ""
        if command in ENTRY_POINTS:
            raise TrackingError(f"`run`: the files of {run_id} cannot be read; {SETTINGS_FILE} says what it did.{hint}")
        raise TrackingError(f"`run`: {run_id} holds no settings of a command to be done again.{hint}")
    known = set(ENTRY_POINTS[command].names())
    settings = ENTRY_POINTS[command](**_kept_apart(stored["settings"], stored, known))
    if "experiment" in stored:  # a run of one of the six, which `experiments` did
        settings = settings.replace(experiments=str(stored["experiment"]))
    made = stored.get("made_of", {})
    plain = ENTRY_POINTS[command](**stored["settings"]).as_words()
    then = _then(settings.as_words(), plain, made.get("settings"))
    words = {name: word for name, word in settings.as_words().items() if word}
    if "sweep" in stored["settings"]:  # the same name would go on with the sweep that is there
        words["sweep"] = sweep_runs.free_name(f"{words.get('sweep', 'sweep')}-again")
    if changes.get("preset", words.get("preset")) != words.get("preset"):
        words = {name: word for name, word in words.items() if name in _beside_preset(settings)}
    if command == "reproduce":
        words["fresh"] = "true"  # else the steps of then are reused, and nothing is done again
    return Original(run, ENTRY_POINTS[command].from_words({**words, **changes}), made, then, frozenset(changes))


def _then(own: Mapping[str, str], plain: Mapping[str, str], noted: Mapping[str, str] | None) -> dict[str, str]:
    """The words of then. own: with the models that were used; plain: without. noted: what numbers depended on then."""
    if noted is None:
        return dict(own)
    kept = {name: word for name, word in own.items() if name in NO_PART or word != plain.get(name)}
    return {**noted, **kept}


def _beside_preset(settings: Settings) -> set[str]:
    """Settings that say something else than their preset does."""
    own = settings.as_words()
    plain = type(settings)(**{name: word for name, word in own.items() if name == "preset"}).as_words()
    return {name for name, word in own.items() if word and word != plain.get(name)}


def _kept_apart(values: dict[str, Any], stored: Mapping[str, Any], known: set[str]) -> dict[str, Any]:
    """The settings with the models and sweeps that were used then, whichever are the newest now."""
    used = {key.partition(".")[2].replace("-", "_") or "model": f"models:/{value}" for key, value in stored.items()
            if key.partition(".")[0] == "model_id" and value}  # fmt: skip
    if isinstance(stored.get("sweeps"), dict):
        used["sweeps"] = ",".join(stored["sweeps"].values())
    return {**values, **{name: value for name, value in used.items() if name in known and name in values}}


def differences(original: Original) -> list[str]:
    """What is not as it was, line by line: data, code, versions, and each setting that has another value."""
    then, now = original.made_of, made_of(original.settings)
    lines = [] if "versions" in then else ["what code, data and versions it was made of was not noted"]
    if "data" in then and then["data"] != now["data"]:
        lines.append("the data is not the same")
    lines += _code_lines(original, "code" in then and then["code"] != now["code"])
    if "versions" in then:
        lines += _lines("the version of ", then["versions"], now["versions"])
    if original.then:
        lines += _lines("the setting ", original.then, original.settings.as_words(), {*OWN_WAY} - original.changed)
    return lines


def _lines(about: str, then: Mapping[str, str], now: Mapping[str, str], left_out: Collection[str] = ()) -> list[str]:
    """A line for each entry that is not the same. What is empty was not given."""
    names = [name for name in sorted({*then, *now} - {*left_out}) if then.get(name, "") != now.get(name, "")]
    word = "not given"
    return [f"{about}{name}: {then.get(name) or word} then, {now.get(name) or word} now" for name in names]


def _code_lines(original: Original, is_other: bool) -> list[str]:
    """is_other: whether the command's code is another one now."""
    lines, tags = [], original.run.data.tags
    of_then = tags.get("mlflow.source.git.commit", "")
    if is_other:
        files = commit.changed_since(of_then, code_files(original.settings.COMMAND))
        more = f" and {len(files) - MOST_FILES} more" if len(files) > MOST_FILES else ""
        since = f"; it was commit {of_then[:12]}" if of_then else ""
        since += f", from which these differ now: {', '.join(files[:MOST_FILES])}{more}" if files else ""
        lines.append(f"the code of this command is not the same{since}")
    if tags.get("git.uncommitted_changes") == "true":
        above = tags.get(HEARTBEAT_OF_TAG, original.run.info.run_id)
        is_same = of_then == commit.tags().get("mlflow.source.git.commit")
        if not is_same or reading.read_bytes(above, commit.PATCH) != commit.patch():
            lines.append("it ran with changes that were not committed; they are in its uncommitted.patch")
    return lines


@dataclass(frozen=True)
class Compared:
    """A number then and now. None where one of the runs lacks it. run: the name of the run below that holds it."""

    run: str
    metric: str
    then: float | None
    now: float | None

    @property
    def is_of_both(self) -> bool:
        return self.then is not None and self.now is not None

    @property
    def is_equal(self) -> bool:
        both_nan = self.is_of_both and math.isnan(self.then or 0) and math.isnan(self.now or 0)
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
