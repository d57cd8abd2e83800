"""What can be asked of sweeps, and of the comparison of several."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import pydantic
from pydantic.fields import FieldInfo

from mnist_cnn.settings import fields, search_space, targets
from mnist_cnn.settings.errors import SettingError
from mnist_cnn.settings.fields import (
    ADDRESS,
    DATASET,
    RUN_NAME,
    Count,
    Grammar,
    RunName,
    Seed,
    SweepName,
    setting,
    show,
    shown,
)
from mnist_cnn.settings.search_space import Range, Space
from mnist_cnn.settings.searching import OptimizeSettings
from mnist_cnn.settings.settings import Settings
from mnist_cnn.settings.training import TrainSettings

ASCENT_GOALS = ("recognised", "diversity", "merit", "probability", "loss")
TRAINING_GOALS = ("validation_accuracy", "validation_loss", "robust_accuracy")

MAXIMISED = {goal: not goal.endswith("loss") for goal in (*ASCENT_GOALS, *TRAINING_GOALS)}
"""The goals of sweeps, and whether more of one is better."""

JUDGED = frozenset(("recognised", "diversity", "merit"))
"""Goals that need judges."""

PAIRED = frozenset(("diversity", "merit"))
"""Goals that compare the images of a target, and so need two of them."""


DATABASES = ("postgresql", "sqlite")
STORAGE_FORMS = "the path of a journal file, or begin with postgresql:// or sqlite:///, or be grpc://HOST:PORT"

_IN_MEMORY = re.compile(r"^/*(\?|$)|:memory:|mode=memory")
"""In the address of an SQLite database that ends with its process."""

_READ_PROXY = re.compile(r"grpc://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})").fullmatch


def place_of_proxy(word: str) -> tuple[str, int] | None:
    """Host and port of `grpc://HOST:PORT`, which is Optuna's proxy of a database; an IPv6 address with its brackets."""
    found = _READ_PROXY(word)
    return (found[1], int(found[2])) if found and 1 <= int(found[2]) <= 65_535 else None


def is_storage(word: str) -> bool:
    """Whether a word is a path, or the address of a database that may hold a sweep, or of a proxy of one."""
    scheme, slashes, place = word.partition("://")
    if scheme.partition("+")[0] == "sqlite" and slashes:
        return _IN_MEMORY.search(place) is None
    return not slashes or scheme.partition("+")[0] in DATABASES or place_of_proxy(word) is not None


_STORAGE = Grammar(is_storage, STORAGE_FORMS)

SAMPLERS_PACKAGES = {"gp": "torch", "cmaes": "cmaes"}
"""What a sampler needs besides Optuna."""


def sign(goal: str) -> int:
    """What a goal's value is multiplied by so that more of it is better."""
    return 1 if MAXIMISED[goal] else -1


def goals(word: str) -> tuple[str, ...]:
    """The one or two goals of `recognised` or `recognised,probability`."""
    return tuple(part.strip() for part in word.split(","))


def _goals_of(known: tuple[str, ...]) -> Grammar:
    def read(word: str) -> tuple[str, ...]:
        named = goals(word)
        for name in named:
            if name not in known:
                raise ValueError(f"{name!r} is not one of them")
        if len(named) > 2 or len(set(named)) < len(named):
            raise ValueError("give one goal, or two different ones")
        return named

    return Grammar(read, f"one or two of {', '.join(known)}, separated by a comma")


def _goal(default: str) -> Any:
    return setting(default, "What the sweep improves. Two goals give a Pareto front.")


class SweepSettings(Settings, command="sweep"):
    """Tune how input images are optimised: many trials, each a child run of the sweep's run, with its pictures."""

    MOVED: ClassVar[Mapping[str, str]] = {"file": "sweep_file -P file=PATH"}
    TRIAL: ClassVar[type[Settings]] = OptimizeSettings
    SPACE: ClassVar[Mapping[str, str]] = {
        "start": "noise,noisy_digit", "num_images": "5", "steps": "200", "snapshot_every": "50",
        "learning_rate": "0.01..0.3:log", "l2_weight": "1e-5..1e-1:log", "tv_weight": "1e-5..1e-1:log",
        "smoothness_weight": "1e-5..1e-1:log", "border_weight": "1e-5..1:log", "temperature": "1..8:log",
        "shift": "0..2", "degrees": "0..15",
    }  # fmt: skip
    CONSTANT: ClassVar[frozenset[str]] = frozenset(
        ("num_images", "sigma", "dataset", "steps", "snapshot_every", "seed", "memory_gib")
    )

    n_trials: Count = setting(30, "Trials in all, with those of earlier calls. Each process but the first may add one.")
    goal: Annotated[str, _goals_of(ASCENT_GOALS)] = _goal("recognised")
    sampler: Literal["tpe", "random", "grid", "qmc", "gp", "cmaes"] = setting(
        "tpe", "What proposes trials. grid is every combination; gp needs the package torch, cmaes the package cmaes."
    )
    pruner: Literal["median", "hyperband", "none"] = setting(
        "median", "What ends trials early that fall behind. With two goals it must be none."
    )
    workers: int = setting(1, "Processes on this machine that share the sweep.", ge=1, le=1024)
    sweep: SweepName = setting(
        "", "Name of the sweep. The same name continues it. Without it, the settings make the name."
    )
    storage: Annotated[str, ADDRESS, _STORAGE] = setting(
        "",
        "Path of a journal file, postgresql://... for many machines, or grpc://HOST:PORT for hundreds of workers. "
        "Without it, sweeps.journal.",
    )
    space: pydantic.InstanceOf[Space] = setting(..., "What a trial is made of.")
    """Python callers give a `Space`, or a mapping of words or values, which is merged over `SPACE`."""

    if TYPE_CHECKING:  # `space` may be a mapping, and settings of a trial may be given beside it

        def __init__(self, **values: Any) -> None: ...

    @classmethod
    def names(cls) -> list[str]:
        own = [name for name in cls.model_fields if name != "space"]
        return [*own, *(name for name in cls.TRIAL.names() if name not in ("run_name", "trust"))]

    @classmethod
    def fields_of(cls, words: Mapping[str, str]) -> Mapping[str, FieldInfo]:
        return {**cls.TRIAL.model_fields, **cls.model_fields}

    @classmethod
    def _completed(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        own = {name: value for name, value in values.items() if name in cls.model_fields}
        loose = {name: value for name, value in values.items() if name not in own}
        space = values.get("space", {})
        if isinstance(space, Space):
            named = {**space.fixed, **space.varied, **loose}
        elif isinstance(space, Mapping):
            cls._refuse_unknown(space, cls.TRIAL.names())
            named = {**loose, **space}
            named = {**({} if "preset" in named else cls.SPACE), **named}
        else:
            raise SettingError(f"`space` must be a mapping of settings of `{cls.TRIAL.COMMAND}`; got {shown(space)}.")
        own["space"] = search_space.read(cls.TRIAL, named, cls.CONSTANT)
        if "pruner" not in own and len(goals(str(own.get("goal", "")))) > 1:
            own["pruner"] = "none"
        return own

    @classmethod
    def _names_in(cls, values: Mapping[str, Any]) -> frozenset[str]:
        space = values.get("space", {})
        named = {*space.fixed, *space.varied} if isinstance(space, Space) else {*space}
        return frozenset(values) - {"space"} | named

    @pydantic.model_validator(mode="after")
    def _fits_together(self) -> Self:
        space, named = self.space, goals(self.goal)
        if not space.varied:
            reason = f"every setting is one value; give one as {search_space.FORMS}"
            raise SettingError(f"the sweep has nothing to try: {reason}.")
        if self.sampler == "grid" and space.num_points() is None:
            endless = next(name for name, tried in space.varied.items() if isinstance(tried, Range))
            raise SettingError(
                f"`{endless}` must be one value or several, for `sampler` is grid; got {space.words()[endless]!r}."
            )
        package = SAMPLERS_PACKAGES.get(self.sampler)
        if package and find_spec(package) is None:
            raise SettingError(
                f"`sampler`: {self.sampler} needs the package {package}; install it: pip install {package}"
            )
        if self.sampler == "cmaes" and len(named) > 1:
            raise SettingError("`sampler`: cmaes knows one goal, and `goal` names two; take another.")
        if self.sampler == "cmaes" and sum(isinstance(tried, Range) for tried in space.varied.values()) < 2:
            raise SettingError("`sampler`: cmaes needs two ranges or more.")
        if len(named) > 1 and self.pruner != "none":
            raise SettingError(f"`pruner` must be none, for `goal` names two; got {self.pruner!r}.")
        if place_of_proxy(self.storage) and find_spec("grpc") is None:
            raise SettingError(
                "`storage`: grpc:// needs the package grpcio; install it: pip install -c constraints.txt -e '.[grpc]'"
            )
        if self.workers > 1 and self.storage.startswith("sqlite"):
            raise SettingError(
                f"`storage` must be a journal file or a server's database for {self.workers} `workers`: SQLite locks; "
                f"got {shown(self.storage)}."
            )
        first = space.at({n: t.low if isinstance(t, Range) else t.values[0] for n, t in space.varied.items()})
        if PAIRED & {*named} and first.num_images < 2:
            raise SettingError(
                f"`num_images` must be at least 2, for `goal` is {self.goal}, which compares the images of a target; "
                f"got {first.num_images}."
            )
        if "targets" in space.fixed and JUDGED & {*named}:
            if all(len(target.shares) > 1 for target in targets.parse(space.fixed["targets"])):
                raise SettingError(
                    f"`goal` must be {' or '.join(name for name in ASCENT_GOALS if name not in JUDGED)} where all "
                    f"`targets` are mixes, which judges cannot recognise; got {self.goal!r}."
                )
        return self

    def values(self, *, secrets: bool = False) -> dict[str, Any]:
        """Every value by name, the space as a mapping of words."""
        return {**super().values(secrets=secrets), "space": self.space.words()}

    def _usual_words(self) -> dict[str, str]:
        usual = type(self)().as_words()
        preset = self.space.fixed.get("preset", usual.get("preset"))
        if preset != usual.get("preset"):
            usual |= Space(self.TRIAL, {"preset": preset}, {}).words() | {"preset": usual["preset"]}
        return usual

    @classmethod
    def help(cls) -> str:
        usual = {name: show(field.default) for name, field in cls.TRIAL.model_fields.items() if name in cls.names()}
        lines = [f"  --{name:<22} {word or '(the newest)'}" for name, word in {**usual, **cls.SPACE}.items()]
        heading = f"what a trial is made of, with the defaults; each is {search_space.FORMS}:"
        return "\n".join([f"{super().help()}\n", *textwrap.wrap(heading, 100), *lines])


class SweepTrainingSettings(SweepSettings, command="sweep_training"):
    """Tune the training of networks: many trials, each a training, pruned epoch by epoch on validation images.

    With a `preset` a sweep tries only what you give.
    """

    TRIAL: ClassVar[type[Settings]] = TrainSettings
    SPACE: ClassVar[Mapping[str, str]] = {
        "epochs": "2", "learning_rate": "1e-3..0.1:log", "weight_decay": "1e-5..0.1:log", "dropout": "0..0.5",
    }  # fmt: skip
    CONSTANT: ClassVar[frozenset[str]] = frozenset(("preset", "dataset", "validation_fraction", "seed", "epochs"))

    goal: Annotated[str, _goals_of(TRAINING_GOALS)] = _goal("validation_accuracy")

    if TYPE_CHECKING:

        def __init__(self, **values: Any) -> None: ...


class SweepFileSettings(Settings, command="sweep_file"):
    """Run a sweep whose settings stand in a TOML file. Any setting of a sweep that is given besides overrules the file.

    The file holds lines of `name = value`. `command = "sweep_training"` makes it a sweep of trainings.
    """

    SWEEPS: ClassVar[Mapping[str, type[SweepSettings]]] = {
        cls.COMMAND: cls for cls in (SweepSettings, SweepTrainingSettings)
    }

    file: str = setting(..., "Path of the TOML file.")
    resolved: pydantic.InstanceOf[SweepSettings] = setting(..., "The sweep of the file and of what overrules it.")

    @property
    def sweep(self) -> SweepSettings:
        """A `SweepSettings` or a `SweepTrainingSettings`."""
        return self.resolved

    @classmethod
    def names(cls) -> list[str]:
        return ["file", *dict.fromkeys(name for sweep in cls.SWEEPS.values() for name in sweep.names())]

    @classmethod
    def _completed(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        path = values.get("file")
        if not isinstance(path, str):
            return dict(values)
        others = {name: value for name, value in values.items() if name not in cls.model_fields}
        if isinstance(resolved := values.get("resolved"), SweepSettings):
            return {"file": path, "resolved": resolved.replace(**others)}
        command, words = search_space.read_file(path, {name: sweep.names() for name, sweep in cls.SWEEPS.items()})
        return {"file": path, "resolved": cls.SWEEPS[command](**{**words, **others})}

    @classmethod
    def _names_in(cls, values: Mapping[str, Any]) -> frozenset[str]:
        return SweepSettings._names_in(values) - {"resolved"}

    def values(self, *, secrets: bool = False) -> dict[str, Any]:
        return {"file": self.file, **self.sweep.values(secrets=secrets)}

    def named_words(self) -> dict[str, str]:
        return {name: word for name, word in self.as_words().items() if name in self.given}


def _read_number_setting(word: str) -> str:
    known = {**TrainSettings.model_fields, **OptimizeSettings.model_fields}
    if word not in known or not fields.is_number(known[word]):
        raise ValueError(f"{word!r} is not one")
    return word


class CompareSettings(Settings, command="compare"):
    """Compare sweeps: the best trial of each with its images, scores along a weight, and the intervals."""

    sweeps: str = setting(
        "", "Names of sweeps, or ids of their runs, separated by commas. Without it, every sweep of the store."
    )
    along: Annotated[str, Grammar(_read_number_setting, "a number among the settings of optimize or train")] = setting(
        "l2_weight", "The setting that scores are drawn against."
    )
    confirm: int = setting(
        10, "Searches for each target that score each sweep's best trial again, from new starts.", ge=0, le=10_000
    )
    seed: Seed = setting(1, "Seed of those starts, beside the sweeps' own.")
    dataset: str = DATASET
    run_name: RunName = RUN_NAME
