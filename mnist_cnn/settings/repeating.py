"""What can be asked of runs that are there: one to be done again, several to be told apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import pydantic
from pydantic.fields import FieldInfo

from mnist_cnn.settings import fields
from mnist_cnn.settings.errors import SettingError
from mnist_cnn.settings.exporting import ExportSettings
from mnist_cnn.settings.fields import RUN_NAME, Grammar, RunId, RunName, setting
from mnist_cnn.settings.judging import AblationSettings, JudgesSettings
from mnist_cnn.settings.predicting import PredictSettings
from mnist_cnn.settings.registering import RegisterSettings, RollbackSettings
from mnist_cnn.settings.reproducing import ReproduceSettings
from mnist_cnn.settings.searching import ExperimentsSettings, OptimizeSettings, ReplaySettings
from mnist_cnn.settings.settings import Settings
from mnist_cnn.settings.sweeps import CompareSettings, SweepSettings, SweepTrainingSettings
from mnist_cnn.settings.teaching import TeachSettings
from mnist_cnn.settings.training import EvaluateSettings, TrainSettings
from mnist_cnn.settings.verdict import VerdictSettings

MOST_RUNS = 8
"""On one page."""


def _read_runs(word: str) -> list[str]:
    ids = [part.strip() for part in word.split(",")]
    if not all(fields.READ_RUN(one) for one in ids):
        raise ValueError("an id has 32 of the digits 0 to 9 and a to f")
    if not 2 <= len({*ids}) == len(ids) <= MOST_RUNS:
        raise ValueError(f"it names {len({*ids})} runs" if len({*ids}) == len(ids) else "it names a run twice")
    return ids


class DiffSettings(Settings, command="diff"):
    """Tell runs apart: one page with what differs in settings, code, data and versions, with numbers and pictures."""

    runs: Annotated[str, Grammar(_read_runs, f"the ids of 2 to {MOST_RUNS} runs, separated by commas")] = setting(
        ..., "Ids of the runs. The first is what the others are compared with."
    )
    run_name: RunName = RUN_NAME

    @property
    def ids(self) -> list[str]:
        return _read_runs(self.runs)


class _WithChanges(Settings):
    """Settings of another command may be given besides, as words; `OTHERS` are those commands."""

    OTHERS: ClassVar[tuple[type[Settings], ...]] = ()

    changes: dict[str, str] = setting({}, "Settings of the other command, as words.")

    @classmethod
    def _own(cls) -> list[str]:
        return [name for name in cls.model_fields if name != "changes"]

    @classmethod
    def names(cls) -> list[str]:
        return list(dict.fromkeys([*cls._own(), *(name for other in cls.OTHERS for name in other.names())]))

    @classmethod
    def _completed(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Whether a change is one of the other command, and what is allowed, is said once that is known."""
        changes = dict(values.get("changes", {}))
        for name, value in values.items():
            if name in cls.model_fields:
                continue
            changes[name] = word = str(value) if isinstance(value, fields.Word) else fields.show(fields.plain(value))
            if not word.isprintable() or len(word) > fields.LONGEST_TEXT:
                raise SettingError(f"`{name}` must be printable and not too long; got {fields.shown(word)}.")
        return {**{name: value for name, value in values.items() if name in cls.model_fields}, "changes": changes}

    @classmethod
    def _names_in(cls, values: Mapping[str, Any]) -> frozenset[str]:
        return frozenset(values) - {"changes"} | frozenset(values.get("changes", ()))

    @classmethod
    def fields_of(cls, words: Mapping[str, str]) -> Mapping[str, FieldInfo]:
        found = [other.model_fields for other in cls.OTHERS if other.COMMAND == words.get("of")]
        return {**(found[0] if found else {}), **cls.model_fields}

    def values(self, *, secrets: bool = False) -> dict[str, Any]:
        return {**{name: getattr(self, name) for name in type(self)._own()}, **self.changes}

    def named_words(self) -> dict[str, str]:
        return self.as_words()


class SeedsSettings(_WithChanges, command="seeds"):
    """Run a command with several seeds, each a run below one that holds means and 95 % intervals.

    `train -P seeds=5` is another spelling. Any setting of the command may be given besides; `seed` is the first.
    """

    OTHERS: ClassVar[tuple[type[Settings], ...]] = (TrainSettings, OptimizeSettings, ReplaySettings, AblationSettings)

    of: Literal["train", "optimize", "replay", "ablation"] = setting("train", "The command.")
    seeds: int = setting(5, "How many seeds.", ge=2, le=1000)

    @pydantic.model_validator(mode="after")
    def _can_be_run(self) -> Self:
        first = self.first
        for seed in self.all_seeds:
            first.replace(seed=seed)
        return self

    @property
    def first(self) -> Settings:
        """The settings of the command, with the first seed."""
        own = next(other for other in self.OTHERS if self.of == other.COMMAND)
        return own.from_words(self.changes)

    @property
    def all_seeds(self) -> tuple[int, ...]:
        first: Any = self.first
        return tuple(range(first.seed, first.seed + self.seeds))


class AgainSettings(_WithChanges, command="again"):
    """Do a run again, with its own settings, and compare each number with that run's.

    Any setting of the run's command that is given besides overrules its own.
    """

    OTHERS: ClassVar[tuple[type[Settings], ...]] = (
        TrainSettings, EvaluateSettings, OptimizeSettings, ExperimentsSettings, JudgesSettings, AblationSettings,
        TeachSettings, SweepSettings, SweepTrainingSettings, CompareSettings, RegisterSettings, RollbackSettings,
        ReproduceSettings, ReplaySettings, SeedsSettings, DiffSettings, ExportSettings, PredictSettings,
        VerdictSettings,
    )  # fmt: skip

    run: RunId = setting(..., "Id of the run.")
