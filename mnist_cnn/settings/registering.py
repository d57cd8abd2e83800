"""What can be asked of the model registry: a new version, and an alias that moves back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

import pydantic

from mnist_cnn.settings.errors import SettingError
from mnist_cnn.settings.fields import DATASET, MODEL, RUN_NAME, TRUST, ExperimentName, Grammar, Model, RunName, setting
from mnist_cnn.settings.settings import Settings


def _read_metric(word: str) -> str:
    if len(word) > 250:
        raise ValueError("it has more than 250 characters")
    if word.startswith("test"):
        raise ValueError("a model that was chosen by the test images cannot be tested by them")
    return word


Metric = Annotated[str, Grammar(_read_metric, "the name of a metric that is not of the test images")]
_READ_NAME = re.compile(r"\w[\w .-]{0,199}").fullmatch
ModelName = Annotated[str, Grammar(_READ_NAME, "of letters, digits, _ . - and spaces, at most 200")]
_MODEL_NAME = setting("mnist-cnn", "Name of the registered model.")


class RegisterSettings(Settings, command="register"):
    """Register a model as a version, and make it the champion if it passes the promotion check."""

    MOVED: ClassVar[Mapping[str, str]] = dict.fromkeys(("alias", "version"), "rollback -P version=N")

    model: Model = MODEL
    trust: bool = TRUST
    experiment: ExperimentName = setting(
        "", "In place of `model`: the best model by `metric` in the experiment of this name."
    )
    metric: Metric = setting(
        "validation_accuracy", "What is best in `experiment`: the highest, or the lowest of a loss or an error."
    )
    margin: float = setting(
        0.005, "The 95 % interval of the gain in validation accuracy must lie above minus this.", ge=0, le=1
    )
    name: ModelName = _MODEL_NAME
    attacked: int = setting(
        1000, "Test images to attack for a robust accuracy that the model's run lacks; 0 is none.", ge=0, le=1_000_000
    )
    num_images: int = setting(
        10, "Searches from noise for each digit, for the version's recognised rate. 0 is none.", ge=0, le=10_000
    )
    min_seeds: int = setting(
        0, "Refuse a model whose training was not run with so many seeds (see the command seeds).", ge=0, le=1000
    )
    dataset: str = DATASET
    dry_run: bool = setting(False, "Evaluate and decide, but change nothing in the registry.")
    run_name: RunName = RUN_NAME

    @pydantic.model_validator(mode="after")
    def _names_the_model_once(self) -> Self:
        if self.model and self.experiment:
            raise SettingError("`model` and `experiment` both say which model; give one of them.")
        return self


class RollbackSettings(Settings, command="rollback"):
    """Point an alias of the registered model to a version that exists, without a promotion check."""

    version: int = setting(..., "The version that the alias shall point to.", ge=1, le=2**31 - 1)
    alias: Literal["champion", "challenger"] = setting("champion", "The alias to move.")
    name: ModelName = _MODEL_NAME
    dry_run: bool = setting(False, "Say what would change, but change nothing in the registry.")
    run_name: RunName = RUN_NAME
