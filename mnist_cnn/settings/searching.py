"""What can be asked of the search for input images: how it descends, towards what, and from where."""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, TypeVar

import pydantic

from mnist_cnn.settings import experiments, targets
from mnist_cnn.settings.fields import (
    DATASET,
    MODEL,
    RUN_NAME,
    TRUST,
    Count,
    Grammar,
    Model,
    PerImage,
    PerImageInt,
    RunName,
    setting,
)
from mnist_cnn.settings.settings import Settings

Objective = Literal["cross_entropy", "logit", "margin"]
Start = Literal["noise", "noisy_digit", "digit"]

OBJECTIVES: tuple[Objective, ...] = typing.get_args(Objective)
"""Names of the objectives: each is a function of that name in `mnist_cnn.input_optimization.objectives`."""

STARTS: tuple[Start, ...] = typing.get_args(Start)
Own = TypeVar("Own", bound=Settings)
Weight = Annotated[PerImage, pydantic.Field(ge=0, le=1e6)]
Share = Annotated[PerImage, pydantic.Field(ge=0, le=1)]


class AscentSettings(Settings):
    """How input images are optimised. A weight of 0 leaves its term out of the arithmetic."""

    steps: Count = setting(500, "Steps of gradient descent on the pixels.")
    snapshot_every: Count = setting(25, "Steps between two snapshots; the first and the last step are always kept.")
    learning_rate: PerImage = setting(0.05, "Adam's step size, in grey levels.", gt=0, le=10)
    schedule: Literal["constant", "cosine"] = setting("constant", "Learning rate: constant, or half a cosine to 0.")
    objective: Objective = setting(
        "cross_entropy", "What to minimise: cross-entropy to the target, or minus its logit, or minus its margin."
    )
    temperature: PerImage = setting(
        1.0, "Divides the logits; above 1 the search continues when the network is sure.", gt=0, le=1000
    )
    l2_weight: Weight = setting(1e-4, "Weight of the sum of squared grey levels (the report's).")
    tv_weight: Weight = setting(0.0, "Weight of total variation: steps between neighbours.")
    smoothness_weight: Weight = setting(0.0, "Weight of squared steps between neighbours.")
    border_weight: Weight = setting(0.0, "Weight of squared grey levels in the outer seventh.")
    feature_weight: Weight = setting(
        0.0, "Weight of a random direction in the last feature map, which makes drawings differ."
    )
    l2_weight_first: Weight = setting(
        0.0, "L2 weight at the first step, from which it falls in a line to `l2_weight`; 0: it is `l2_weight` always."
    )
    l2_until: Share = setting(0.7, "Share of the steps after which the L2 weight is `l2_weight`.")
    inversion_weight: Weight = setting(
        0.0, "Weight of the distance to features that each image draws from the distribution of its class."
    )
    inversion_components: Count = setting(1, "Gaussians that this distribution is a mixture of, for each class.")
    inversion_from: Share = setting(0.3, "Share of the steps after which that weight rises in a line from 0.")
    inversion_until: Share = setting(0.6, "Share of the steps after which it has its full height.")
    pose: PerImage = setting(
        0.0, "A lasting slant, turn, scaling and shift; 1 is up to 1/4, 12 degrees, 12 % and 1 pixel.", ge=0, le=8
    )
    shift: PerImage = setting(0.0, "Largest random shift at each step, in pixels.", ge=0, le=100)
    degrees: PerImage = setting(0.0, "Largest random rotation at each step, in degrees.", ge=0, le=180)
    scale: PerImage = setting(0.0, "Largest random change of size at each step, as a share.", ge=0, lt=1)
    noise: PerImage = setting(0.0, "Standard deviation of the noise added at each step.", ge=0, le=10)
    seed: PerImageInt = setting(0, "Seed of the starts and of everything that is drawn on the way.", ge=0, le=2**31 - 1)
    memory_gib: float = setting(1.0, "Memory for the arithmetic, in GiB; sets the batch size.", gt=0, le=1e4)


class _Searches(Settings):
    model: Model = MODEL
    trust: bool = TRUST
    num_images: int = setting(8, "Searches for each target, each from its own start.", ge=1, le=100_000)
    sigma: float = setting(0.3, "Standard deviation of the noise on a noisy digit, in grey levels.", gt=0, le=10)
    dataset: str = DATASET
    run_name: RunName = RUN_NAME


_TRIAL = Grammar(re.compile(r".+:[0-9]{1,9}|[0-9a-f]{32}").fullmatch, "SWEEP:NUMBER, or the id of a trial's run")
_TARGETS = Grammar(targets.parse, targets.ALLOWED)
_EXPERIMENTS = Grammar(experiments.parse, experiments.ALLOWED)
_CLASSES = range(targets.MOST_CLASSES)
_CLASS = Grammar(lambda word: word in ("target", *map(str, _CLASSES)), f"target, or a class from 0 to {_CLASSES[-1]}")


class _Targets(Settings):
    targets: Annotated[str, _TARGETS] = setting("all", "What the network shall see.")
    start: Start = setting(
        "noise", "Where the search begins: uniform grey noise, a real digit with Gaussian noise, or a real digit."
    )
    start_class: Annotated[str, _CLASS] = setting(
        "target", "The class of a digit that a search begins with. `target` is the target's own, the largest of a mix."
    )


# The fields of the last base stand first: targets, model, ..., and then how to descend.
class OptimizeSettings(AscentSettings, _Searches, _Targets, command="optimize"):
    """Search for images that a trained network assigns to a target, and log every search."""

    MOVED: ClassVar[Mapping[str, str]] = {"from_trial": "replay -P trial=SWEEP:NUMBER"}


class ReplaySettings(OptimizeSettings, command="replay"):
    """Search, or train, again with the settings of a sweep's trial. What is given besides overrules them."""

    trial: Annotated[str, _TRIAL] = setting(..., "SWEEP:NUMBER, or the run id of a trial.")

    def over(self, of_trial: Own) -> Own:
        """The settings of the trial, overruled by what was given here."""
        return of_trial.replace(**{name: getattr(self, name) for name in self.given if name != "trial"})

    def named_words(self) -> dict[str, str]:
        return {name: word for name, word in self.as_words().items() if name in self.given}


class _Experiments(Settings):
    experiments: Annotated[str, _EXPERIMENTS] = setting("all", "Which ones to run.")


class ExperimentsSettings(AscentSettings, _Searches, _Experiments, command="experiments"):
    """Repeat the six input-optimisation experiments of the reference report, each in its own child run."""
