"""Every default, unit and limit of the project, each written once; the dataclasses are the command line.

Only the standard library is imported here, so that `--help` and every refusal are instant.
"""

from __future__ import annotations

import re
import textwrap
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

from mnist_cnn.settings import experiments, search_space, targets
from mnist_cnn.settings.command_line import SettingError, Settings, choice, number, show, switch, text

NETWORKS = ("compact", "wide", "smooth", "report")
"""Names of the networks: each is a function of that name in `mnist_cnn.networks`."""

PRECISIONS = ("float32", "mixed_bfloat16")
SCHEDULES = ("one_cycle", "constant")

ROBUSTNESS = ("none", "noise", "l2")
REGIMES = ("ordinary", "noise-trained", "robust", "readable")
"""What a network was trained to withstand: nothing, noise, attacks, or attacks with doubt off the digits' manifold."""

PANEL_A, PANEL_B = "A", "B"
"""Two panels of judges: A serves whatever is chosen by a verdict, B says the last word, and nothing is chosen by it."""

PANELS = (PANEL_A, PANEL_B)

OBJECTIVES = ("cross_entropy", "logit", "margin")
"""Names of the objectives: each is a function of that name in `mnist_cnn.input_optimization.objectives`."""

STARTS = ("noise", "noisy_digit", "digit")
ASCENT_SCHEDULES = ("constant", "cosine")


def _read_class(word: str) -> None:
    if word not in [str(number) for number in range(10)]:
        raise ValueError


_MODEL = text(
    "",
    "Id of a run, `runs:/RUN_ID/model`, `models:/NAME/VERSION`, `models:/NAME@ALIAS` or `models:/m-ID`; else the "
    "newest.",
)
_DATASET = text(
    "mnist",
    "`mnist`, which ships with the package, `mnist:6000` for its first so many training images and a sixth as many "
    "test images, or the path of an .npz of the same form.",
)


def _regime(name: str) -> Any:
    return text("", f"URI of a network of the regime {name}; else the newest of them.")


_RUN_NAME = text("", "Name of the run in MLflow; else it is named after what it does.")


@dataclass(frozen=True)
class TrainSettings(Settings):
    """Train a network on MNIST and log everything about it to MLflow."""

    PROGRAM: ClassVar[str] = "train"
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {},
        "accurate": {"network": "wide", "epochs": 24, "augmentation": 0.7, "label_smoothing": 0.1},
        "readable": {
            "network": "smooth",
            "epochs": 7,
            "learning_rate": 0.002,
            "label_smoothing": 0.0,
            "robustness": "l2",
            "off_manifold": 0.5,
        },
        "report": {"network": "report", "learning_rate": 0.0004, "label_smoothing": 0.0},
        "report_recipe": {
            "network": "report",
            "epochs": 5,
            "learning_rate": 0.001,
            "schedule": "constant",
            "label_smoothing": 0.0,
            "recalibrate": False,
        },
    }

    preset: str = choice("quick", "A named set of defaults; see the list below.", tuple(PRESETS))
    network: str = choice("compact", "The network to train.", NETWORKS)
    dataset: str = _DATASET
    epochs: int = number(1, "Passes over the training images.", minimum=1, maximum=10_000)
    batch_size: int = number(128, "Images a step.", minimum=1, maximum=65_536)
    learning_rate: float = number(0.02, "Adam's step size at its peak.", above=0, maximum=10)
    schedule: str = choice(
        "one_cycle", "How the learning rate moves: linear warm-up, then down a cosine to 0; or not at all.", SCHEDULES
    )
    weight_decay: float = number(0.0, "Decoupled weight decay of AdamW (kernels only).", minimum=0, maximum=10)
    label_smoothing: float = number(
        0.05, "Share of the label's weight that is spread evenly over all classes.", minimum=0, below=1
    )
    augmentation: float = number(
        0.0,
        "Strength of random shift, rotation and scaling of the training images: 0 is none, 1 is up to 2 pixels, "
        "15 degrees and 15 %.",
        minimum=0,
        maximum=3,
    )
    robustness: str = choice(
        "none",
        "What the network learns to withstand: nothing, Gaussian noise, or the worst image within an L2 ball.",
        ROBUSTNESS,
    )
    epsilon: float = number(
        2.0, "Radius of the ball of robustness l2, in grey levels; also where it is tested.", above=0, maximum=28
    )
    attack_steps: int = number(4, "Gradient steps to the worst image in the ball.", minimum=1, maximum=1000)
    ramp: float = number(
        0.5, "Share of the training in which radius and noise grow from 0 to what is set.", minimum=0, maximum=1
    )
    noise: float = number(
        0.3,
        "Largest standard deviation of the noise that robustness noise adds to every image, and l2 to every third.",
        minimum=0,
        maximum=10,
    )
    off_manifold: float = number(
        0.0,
        "Weight of the cross-entropy to doubt (all classes alike) on noise and shuffled digits that have been made "
        "confident.",
        minimum=0,
        maximum=100,
    )
    dropout: float = number(
        0.0,
        "Share of the features below the logits that is left out at each step, besides what the network drops itself.",
        minimum=0,
        below=1,
    )
    recalibrate: bool = switch(
        True, "Recompute BatchNorm's means and variances from the training images when training has ended."
    )
    validation_fraction: float = number(
        0.1, "Share of the training images, taken from their end, that validates.", above=0, below=1
    )
    precision: str = choice("float32", "Number format of the layers' arithmetic.", PRECISIONS)
    seed: int = number(0, "Seed of weights, order of images and all else that is drawn.", minimum=0, maximum=2**31 - 1)
    resume: str = text("", "Id of an interrupted run: go on from its last finished epoch, with its settings.")
    run_name: str = _RUN_NAME

    @property
    def regime(self) -> str:
        """One of `REGIMES`, or `other` for a combination that none of them is."""
        if self.off_manifold and self.robustness != "l2":
            return "other"
        if self.robustness == "l2":
            return "readable" if self.off_manifold else "robust"
        return "noise-trained" if self.robustness == "noise" else "ordinary"


@dataclass(frozen=True)
class EvaluateSettings(Settings):
    """Evaluate a logged model on the test images and log the result, linked to the model."""

    PROGRAM: ClassVar[str] = "evaluate"

    model: str = _MODEL
    dataset: str = _DATASET
    batch_size: int = number(1000, "Images a step; bounds the memory, changes no number.", minimum=1, maximum=65_536)
    epsilon: float = number(
        0.0,
        "Radius within which images are attacked, in grey levels (Euclidean), for a robust accuracy; 0 is none.",
        minimum=0,
        maximum=28,
    )
    run_name: str = _RUN_NAME


@dataclass(frozen=True)
class JudgesSettings(Settings):
    """Train the judges, which say what digit an optimised image shows, and log them as models."""

    PROGRAM: ClassVar[str] = "judges"

    panel: str = choice("both", "Which panel of judges to train; each learns from its own half.", (*PANELS, "both"))
    dataset: str = _DATASET
    seed: int = number(0, "Seed of weights, order of images and all else that is drawn.", minimum=0, maximum=2**31 - 1)
    run_name: str = _RUN_NAME


if typing.TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    PerImage = float | Sequence[float] | NDArray[np.floating]
    PerImageInt = int | Sequence[int] | NDArray[np.integer]
else:  # On a command line it is one number for all images.
    PerImage, PerImageInt = float, int


@dataclass(frozen=True, eq=False)
class AscentSettings(Settings):
    """How input images are optimised. A weight of 0 leaves its term out, and out of the arithmetic as well."""

    steps: int = number(500, "Steps of gradient descent on the pixels.", minimum=1, maximum=1_000_000)
    snapshot_every: int = number(
        25, "Steps between two snapshots; step 0 and the last are kept always.", minimum=1, maximum=1_000_000
    )
    learning_rate: PerImage = number(0.05, "Adam's step size, in grey levels.", above=0, maximum=10, per_image=True)
    schedule: str = choice(
        "constant", "How the learning rate moves: not at all, or down a half cosine to 0.", ASCENT_SCHEDULES
    )
    objective: str = choice(
        "cross_entropy",
        "What is minimised: cross-entropy to the target, the target's negative logit, or its negative margin over "
        "the best class outside of the target.",
        OBJECTIVES,
    )
    temperature: PerImage = number(
        1.0,
        "What the objective divides the logits by: above 1 the search goes on when the network is sure.",
        above=0,
        maximum=1000,
        per_image=True,
    )
    l2_weight: PerImage = number(
        1e-4, "Weight of the sum of squared grey levels (the report's).", minimum=0, maximum=1e6, per_image=True
    )
    tv_weight: PerImage = number(
        0.0, "Weight of total variation, the sum of steps between neighbours.", minimum=0, maximum=1e6, per_image=True
    )
    smoothness_weight: PerImage = number(
        0.0, "Weight of the sum of squared steps between neighbours.", minimum=0, maximum=1e6, per_image=True
    )
    border_weight: PerImage = number(
        0.0, "Weight of squared grey levels in the outer seventh on each side.", minimum=0, maximum=1e6, per_image=True
    )
    feature_weight: PerImage = number(
        0.0,
        "Weight of a random direction, one for each image, in the network's last feature map: for different drawings.",
        minimum=0,
        maximum=1e6,
        per_image=True,
    )
    pose: PerImage = number(
        0.0,
        "Strength of a slant, rotation, scaling and shift that each image keeps throughout: 1 is up to a quarter, "
        "12 degrees, 12 % and 1 pixel.",
        minimum=0,
        maximum=8,
        per_image=True,
    )
    shift: PerImage = number(
        0.0, "Random shift at each step, up to so many pixels.", minimum=0, maximum=100, per_image=True
    )
    degrees: PerImage = number(
        0.0, "Random rotation at each step, up to so many degrees.", minimum=0, maximum=180, per_image=True
    )
    scale: PerImage = number(
        0.0, "Random change of size at each step, up to this share.", minimum=0, below=1, per_image=True
    )
    noise: PerImage = number(
        0.0, "Standard deviation of the noise added at each step.", minimum=0, maximum=10, per_image=True
    )
    seed: PerImageInt = number(
        0, "Seed of starts and of all that is drawn on the way.", minimum=0, maximum=2**31 - 1, per_image=True
    )
    memory_gib: float = number(
        1.0, "Memory that the arithmetic may take, in GiB; decides how many images share a batch.", above=0, maximum=1e4
    )


@dataclass(frozen=True, eq=False)
class _Searches(Settings):
    """What all that searches has in common, besides how it descends."""

    model: str = _MODEL
    num_images: int = number(8, "Searches for each target, each from a start of its own.", minimum=1, maximum=100_000)
    sigma: float = number(0.3, "Standard deviation of the noise on a noisy digit, in grey levels.", above=0, maximum=10)
    dataset: str = _DATASET
    run_name: str = _RUN_NAME


@dataclass(frozen=True, eq=False)
class _Wishes(Settings):
    targets: str = text("all", "What the network shall see.", allowed=targets.ALLOWED, read=targets.parse)
    start: str = choice(
        "noise",
        "Where the search begins: uniform grey noise, a real digit with Gaussian noise, or a real digit as it is.",
        STARTS,
    )
    start_class: str = text(
        "target",
        "Which digit a search from a digit begins with; `target` is the target's own, the largest share of a mix.",
        allowed="target, or a class from 0 to 9",
        read=_read_class,
    )


# A dataclass lists the fields of its last base first: targets, model, ..., and then how to descend.
@dataclass(frozen=True, eq=False)
class OptimizeSettings(AscentSettings, _Searches, _Wishes):
    """Search for images that a trained network assigns to a target, and log them with the way there."""

    PROGRAM: ClassVar[str] = "optimize"

    from_trial: str = text(
        "", "SWEEP:NUMBER or the run id of a trial: search with its settings, but for those that are given besides."
    )


@dataclass(frozen=True, eq=False)
class _Experiments(Settings):
    experiments: str = text("all", "Which to run.", allowed=experiments.ALLOWED, read=experiments.parse)


@dataclass(frozen=True, eq=False)
class ExperimentsSettings(AscentSettings, _Searches, _Experiments):
    """Repeat the reference report's six input-optimisation experiments, in one run with a child run for each."""

    PROGRAM: ClassVar[str] = "experiments"


def _read_regimes(word: str) -> tuple[str, ...]:
    """The regimes of `all` or `ordinary,readable`, in their own order."""
    named = REGIMES if word == "all" else [part.strip() for part in word.split(",")]
    unknown = [name for name in named if name not in REGIMES]
    if unknown or len(set(named)) < len(named):
        raise ValueError(f"{unknown[0]!r} is not one" if unknown else "one is named twice")
    return tuple(name for name in REGIMES if name in named)


@dataclass(frozen=True)
class AnswerSettings(Settings):
    """Does regularisation make the images readable? A table: networks x regularisations x starts, with proof."""

    PROGRAM: ClassVar[str] = "answer"

    networks: str = text(
        "all",
        "Which networks stand in the table.",
        allowed=f"all, or some of {', '.join(REGIMES)}, separated by commas",
        read=_read_regimes,
    )
    ordinary: str = _regime("ordinary")
    noise_trained: str = _regime("noise-trained")
    robust: str = _regime("robust")
    readable: str = _regime("readable")
    num_images: int = number(50, "Searches for each digit in each cell of the table.", minimum=2, maximum=10_000)
    tuning_images: int = number(20, "Searches for each digit in each setting that is tried.", minimum=2, maximum=10_000)
    steps: int = number(200, "Steps of gradient descent on the pixels.", minimum=1, maximum=1_000_000)
    dataset: str = _DATASET
    seed: int = number(0, "Seed of all that is drawn.", minimum=0, maximum=2**31 - 1)
    run_name: str = _RUN_NAME

    @property
    def regimes(self) -> tuple[str, ...]:
        return _read_regimes(self.networks)


SAMPLERS = ("tpe", "random", "grid", "qmc", "gp", "cmaes")
PRUNERS = ("median", "hyperband", "none")

MAXIMISED = {
    "recognised": True,
    "diversity": True,
    "merit": True,
    "probability": True,
    "loss": False,
    "validation_accuracy": True,
    "validation_loss": False,
    "robust_accuracy": True,
}
"""What a sweep can be for, and whether more of it is better."""

JUDGED = frozenset(("recognised", "diversity", "merit"))
"""Goals that need judges."""


def sign(goal: str) -> int:
    """What a goal's value is multiplied by so that more of it is better."""
    return 1 if MAXIMISED[goal] else -1


ASCENT_GOALS = ("recognised", "diversity", "merit", "probability", "loss")
TRAINING_GOALS = ("validation_accuracy", "validation_loss", "robust_accuracy")


def goals(word: str) -> tuple[str, ...]:
    """The one or two goals of `recognised` or `recognised,probability`."""
    return tuple(part.strip() for part in word.split(","))


def _reads_goals(known: tuple[str, ...]) -> Callable[[str], None]:
    def read(word: str) -> None:
        named = goals(word)
        for name in named:
            if name not in known:
                raise ValueError(f"{name!r} is not one of them")
        if len(named) > 2 or len(set(named)) < len(named):
            raise ValueError("one goal, or two different ones")

    return read


def _goal(default: str, known: tuple[str, ...]) -> Any:
    return text(
        default,
        "What the sweep is for; two at once give a Pareto front.",
        allowed=f"one or two of {', '.join(known)}, separated by a comma",
        read=_reads_goals(known),
    )


@dataclass(frozen=True)
class SweepSettings(Settings):
    """Tune how input images are optimised: many trials, each a run below the sweep's own, with its pictures.

    What each trial is made of stands below as well: every setting of `optimize`, as one value, several or a range.
    """

    PROGRAM: ClassVar[str] = "sweep"
    TRIAL: ClassVar[type[Settings]] = OptimizeSettings
    SPACE: ClassVar[Mapping[str, str]] = {
        "start": "noise,noisy_digit",
        "num_images": "5",
        "steps": "200",
        "snapshot_every": "50",
        "learning_rate": "0.01..0.3:log",
        "l2_weight": "1e-5..1e-1:log",
        "tv_weight": "1e-5..1e-1:log",
        "smoothness_weight": "1e-5..1e-1:log",
        "border_weight": "1e-5..1:log",
        "temperature": "1..8:log",
        "shift": "0..2",
        "degrees": "0..15",
    }
    CONSTANT: ClassVar[frozenset[str]] = frozenset(
        ("num_images", "sigma", "dataset", "steps", "snapshot_every", "seed", "memory_gib")
    )
    NO_PART: ClassVar[frozenset[str]] = frozenset(("run_name", "resume", "from_trial"))

    n_trials: int = number(30, "Trials in all, those of earlier calls included.", minimum=1, maximum=1_000_000)
    goal: str = _goal("recognised", ASCENT_GOALS)
    sampler: str = choice(
        "tpe",
        "What proposes trials: Parzen estimators, chance, every combination, a low-discrepancy sequence, a Gaussian "
        "process (needs torch), CMA-ES (needs cmaes).",
        SAMPLERS,
    )
    pruner: str = choice("median", "What ends trials early that fall behind; with two goals nothing can.", PRUNERS)
    workers: int = number(1, "Processes on this machine that share the sweep.", minimum=1, maximum=1024)
    sweep: str = text("", "Name of the sweep; else one that its settings make. The same name goes on with it.")
    file: str = text("", "Path of a TOML file that gives any of these settings; the command line overrules it.")
    storage: str = text(
        "",
        "Where Optuna keeps the trials: path of a journal file for one machine, postgresql://... for many; else "
        "sweeps.journal beside the tracking database.",
    )

    @classmethod
    def names(cls) -> list[str]:
        of_trial = [setting.name for setting in fields(cls.TRIAL) if setting.name not in cls.NO_PART]
        return [*super().names(), *of_trial]

    @classmethod
    def parse(cls, words: Mapping[str, str]) -> dict[str, Any]:
        """The sweep's own settings, and under `space` what its trials are made of."""
        own = set(super().names())
        path = words.get("file", "")
        words = {**(search_space.read_file(path, frozenset(cls.names())) if path else {}), **words}
        of_trial = {name: word for name, word in words.items() if name in set(cls.names()) - own}
        values = super().parse({name: word for name, word in words.items() if name not in of_trial})
        made_of = cls.SPACE if "preset" not in of_trial else {}
        return {**values, "space": search_space.read(cls.TRIAL, {**made_of, **of_trial}, cls.CONSTANT)}

    @classmethod
    def from_command_line(cls, argv: Sequence[str] | None = None) -> tuple[Self, dict[str, Any]]:
        """The sweep's own settings, and what was given: under `space` a `Space`."""
        given = cls.words_given(argv)
        values = cls.parse(given)
        made_of: search_space.Space = values.pop("space")
        settings = cls(**values)
        settings.refuse_misfit(made_of, given)
        return settings, {**values, "space": made_of}

    def refuse_misfit(self, made_of: search_space.Space, given: Mapping[str, str]) -> None:
        """Raise `SettingError` for settings that do not go together."""
        if not made_of.varied:
            raise SettingError(
                f"the sweep has nothing to try: every setting is one value; give one as {search_space.FORMS}."
            )
        if self.sampler == "grid" and made_of.num_points() is None:
            endless = next(name for name, one in made_of.varied.items() if isinstance(one, search_space.Range))
            raise SettingError(
                f"`{endless}` must be one value or several, for `sampler` is grid; got {made_of.words()[endless]!r}."
            )
        if len(goals(self.goal)) > 1 and given.get("pruner", "none") != "none":
            raise SettingError(f"`pruner` must be none, for `goal` names two; got {self.pruner!r}.")
        if self.workers > 1 and self.storage.startswith("sqlite"):
            raise SettingError(
                f"`storage` must be a journal file or a server's database for {self.workers} `workers`: SQLite locks; "
                f"got {self.storage!r}."
            )
        targets_word = made_of.fixed.get("targets", "")
        if targets_word and JUDGED & set(goals(self.goal)):
            if all(len(target.shares) > 1 for target in targets.parse(targets_word)):
                raise SettingError(
                    f"`goal` must be {' or '.join(name for name in ASCENT_GOALS if name not in JUDGED)} where all "
                    f"`targets` are mixes, of which judges cannot say that they are recognised; got {self.goal!r}."
                )
        made_of.at(
            {
                name: one.low if isinstance(one, search_space.Range) else one.values[0]
                for name, one in made_of.varied.items()
            }
        )

    @property
    def prunes(self) -> str:
        return self.pruner if len(goals(self.goal)) == 1 else "none"

    @classmethod
    def help(cls) -> str:
        defaults = {name: cls.SPACE.get(name) or show(default) for name, default in cls._trial_defaults().items()}
        lines = [f"  --{name:<22} {word or '(the newest)'}" for name, word in defaults.items()]
        heading = f"what a trial is made of, and what is tried unless you say otherwise; each is {search_space.FORMS}:"
        return "\n".join([f"{super().help()}\n", *textwrap.wrap(heading, 100), *lines])

    @classmethod
    def _trial_defaults(cls) -> dict[str, Any]:
        return {s.name: s.default for s in fields(cls.TRIAL) if s.name not in cls.NO_PART}


@dataclass(frozen=True)
class SweepTrainingSettings(SweepSettings):
    """Tune the training of networks: many trials, each a training, pruned epoch by epoch on validation images.

    What each trial is made of stands below as well: every setting of `train`, as one value, several or a range.
    """

    PROGRAM: ClassVar[str] = "sweep_training"
    TRIAL: ClassVar[type[Settings]] = TrainSettings
    SPACE: ClassVar[Mapping[str, str]] = {
        "epochs": "2",
        "learning_rate": "1e-3..0.1:log",
        "weight_decay": "1e-5..0.1:log",
        "dropout": "0..0.5",
    }
    CONSTANT: ClassVar[frozenset[str]] = frozenset(("preset", "dataset", "validation_fraction", "seed", "epochs"))

    goal: str = _goal("validation_accuracy", TRAINING_GOALS)


@dataclass(frozen=True)
class CompareSettings(Settings):
    """Put sweeps side by side: the best of each with its images, scores along a weight, and what is more than noise."""

    PROGRAM: ClassVar[str] = "compare"

    sweeps: str = text(
        "", "Names of sweeps, or ids of their runs, separated by commas; else all that the tracking store holds."
    )
    along: str = text(
        "l2_weight",
        "The setting that scores are drawn against.",
        allowed="a number among the settings of optimize or train",
        read=lambda word: _read_number_setting(word),
    )
    confirm: int = number(
        10,
        "Searches for each target, from starts that no sweep has seen, in which the best of each sweep is scored once "
        "more: a best of many was lucky too. 0 leaves it out.",
        minimum=0,
        maximum=10_000,
    )
    seed: int = number(1, "Seed of those starts, besides the sweeps' own.", minimum=0, maximum=2**31 - 1)
    dataset: str = _DATASET
    run_name: str = _RUN_NAME


def _read_number_setting(word: str) -> None:
    kinds = {**typing.get_type_hints(TrainSettings), **typing.get_type_hints(OptimizeSettings)}
    if kinds.get(word) not in (int, float):
        raise ValueError(f"{word!r} is not one")


ALIASES = ("champion", "challenger")
"""What versions of a registered model are called: the one to use, and the one that was registered last."""


def _read_metric(word: str) -> None:
    if word.startswith("test"):
        raise ValueError("what is chosen by the test images is tested by them no more")


def _read_alias(word: str) -> None:
    if word not in ALIASES:
        raise ValueError


def _read_model_name(word: str) -> None:
    if not re.fullmatch(r"\w[\w .-]{0,199}", word):
        raise ValueError


@dataclass(frozen=True)
class RegisterSettings(Settings):
    """Register a model as a version, and make it the champion if it passes the gate; or move an alias back."""

    PROGRAM: ClassVar[str] = "register"

    model: str = _MODEL
    experiment: str = text("", "In place of `model`: the best model of the experiment of this name, by `metric`.")
    metric: str = text(
        "validation_accuracy",
        "What is best in `experiment`: the highest, or the lowest of a loss or an error.",
        allowed="the name of a metric that is not of the test images",
        read=_read_metric,
    )
    margin: float = number(
        0.005,
        "So much of its accuracy the champion may be ahead: the gate is passed if the 95 % interval of the difference, "
        "on the same validation images, lies above minus this.",
        minimum=0,
        maximum=1,
    )
    name: str = text(
        "mnist-cnn",
        "Name of the registered model.",
        allowed="of letters, digits, _ . - and spaces, at most 200",
        read=_read_model_name,
    )
    attacked: int = number(
        1000,
        "Test images that are attacked for the version's robust accuracy, where the model's run has none; 0 is none.",
        minimum=0,
        maximum=1_000_000,
    )
    num_images: int = number(
        10,
        "Searches from noise for each digit, for the version's recognised rate; 0 is none.",
        minimum=0,
        maximum=10_000,
    )
    dataset: str = _DATASET
    dry_run: bool = switch(False, "Evaluate and decide, but change nothing in the registry.")
    alias: str = text(
        "", "With `version`: point this alias to it, without a gate.", allowed=" or ".join(ALIASES), read=_read_alias
    )
    version: int = number(0, "With `alias`: the version to point it to.", minimum=0, maximum=2**31 - 1)
    run_name: str = _RUN_NAME

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.alias) != bool(self.version):
            given, missing = ("alias", "version") if self.alias else ("version", "alias")
            raise SettingError(f"`{given}` goes with `{missing}`, which was not given: -P alias=champion -P version=3.")
        if self.alias and (self.model or self.experiment):
            other = "model" if self.model else "experiment"
            raise SettingError(f"`alias` moves an alias to a version that is there; `{other}` does not go with it.")
        if self.model and self.experiment:
            raise SettingError("`model` and `experiment` both say which model; give one of them.")


SCALES = ("full", "smoke")


@dataclass(frozen=True)
class MainSettings(Settings):
    """The whole story in one command: networks, judges, experiments, sweeps, the answer, a version; and its page."""

    PROGRAM: ClassVar[str] = "main"

    scale: str = choice(
        "full",
        "How much of it: full takes up to half an hour on two cores; smoke, three minutes, shows no digit.",
        SCALES,
    )
    dataset: str = text("", "As for `train`; else mnist, and mnist:1200 for smoke.")
    fresh: bool = switch(False, "Do every step again, also those of which there is a run that is up to date.")
    seed: int = number(0, "Seed of all that is drawn.", minimum=0, maximum=2**31 - 1)
    run_name: str = _RUN_NAME


ENTRY_POINTS: dict[str, type[Settings]] = {
    cls.PROGRAM: cls
    for cls in (
        TrainSettings,
        EvaluateSettings,
        OptimizeSettings,
        ExperimentsSettings,
        JudgesSettings,
        AnswerSettings,
        SweepSettings,
        SweepTrainingSettings,
        CompareSettings,
        RegisterSettings,
        MainSettings,
    )
}
"""Settings of each entry point of MLproject, by its name."""
