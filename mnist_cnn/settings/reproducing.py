"""What can be asked of the whole project in one command."""

from __future__ import annotations

from typing import Literal

from mnist_cnn.settings.fields import RUN_NAME, SEED, RunName, Seed, setting
from mnist_cnn.settings.settings import Settings


class ReproduceSettings(Settings, command="reproduce"):
    """Do everything in order: networks, judges, experiments, sweeps, ablation and a version, with one report page."""

    scale: Literal["full", "smoke"] = setting(
        "full",
        "How much of it. full takes up to half an hour on two cores; smoke takes three minutes and shows no digit.",
    )
    dataset: str = setting("", "As for `train`. Without it, mnist, and mnist:1200 for smoke.")
    fresh: bool = setting(False, "Do every step again, also the steps that have a run that is up to date.")
    seed: Seed = SEED
    run_name: RunName = RUN_NAME
