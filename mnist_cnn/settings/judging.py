"""What can be asked of the judges, and of the ablation that they decide."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from mnist_cnn.settings.fields import (
    DATASET,
    REGIMES,
    RUN_NAME,
    SEED,
    TRUST,
    Count,
    Grammar,
    Model,
    RunName,
    Seed,
    setting,
)
from mnist_cnn.settings.settings import Settings

PANEL_A, PANEL_B = "A", "B"
"""Two panels of judges. A serves every choice by a verdict. B gives the last verdict, and nothing is chosen by it."""

PANELS = (PANEL_A, PANEL_B)


class JudgesSettings(Settings, command="judges"):
    """Train the judges, which say what digit an optimised image shows, and log them as models."""

    panel: Literal["A", "B", "both"] = setting("both", "Which panel to train. Each learns from its own half.")
    dataset: str = DATASET
    seed: Seed = setting(0, "Seed of weights, order of images and everything else that is drawn.")
    run_name: RunName = RUN_NAME


def _read_regimes(word: str) -> tuple[str, ...]:
    """The regimes of `all` or `ordinary,readable`, in the order of `REGIMES`."""
    named = REGIMES if word == "all" else tuple(part.strip() for part in word.split(","))
    unknown = [name for name in named if name not in REGIMES]
    if unknown or len(set(named)) < len(named):
        raise ValueError(f"{unknown[0]!r} is not one" if unknown else "one is named twice")
    return tuple(name for name in REGIMES if name in named)


_REGIMES = Grammar(_read_regimes, f"all, or several of {', '.join(REGIMES)}, separated by commas")


def _regime(name: str) -> Any:
    return setting("", f"URI of a network of the regime {name}. Without it, the newest of them.")


class AblationSettings(Settings, command="ablation"):
    """Does regularisation make the images readable? Compare networks, regularisations and starts, with intervals."""

    networks: Annotated[str, _REGIMES] = setting("all", "Which networks stand in the table.")
    ordinary: Model = _regime("ordinary")
    noise_trained: Model = _regime("noise-trained")
    robust: Model = _regime("robust")
    readable: Model = _regime("readable")
    num_images: int = setting(50, "Searches for each digit in each cell of the table.", ge=2, le=10_000)
    tuning_images: int = setting(20, "Searches for each digit in each setting that is tried.", ge=2, le=10_000)
    steps: Count = setting(200, "Steps of gradient descent on the pixels.")
    dataset: str = DATASET
    trust: bool = TRUST
    seed: Seed = SEED
    run_name: RunName = RUN_NAME

    @property
    def regimes(self) -> tuple[str, ...]:
        return _read_regimes(self.networks)
