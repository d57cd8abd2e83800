"""What can be asked of a verdict by people: a page that asks them, and a run of what they answered."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Self

import pydantic

from mnist_cnn.settings.errors import SettingError
from mnist_cnn.settings.fields import (
    DATASET,
    READ_RUN,
    RUN_NAME,
    TRUST,
    Grammar,
    Model,
    RunName,
    Seed,
    setting,
    shown,
)
from mnist_cnn.settings.settings import Settings

LARGEST = 10**7
"""Bytes of a file of answers: those of 80,000 people."""

_RUN = Grammar(lambda word: word == "" or READ_RUN(word), "the id of a run of `optimize` or `teach`, or nothing")


class VerdictSettings(Settings, command="verdict"):
    """Have people say what images from noise show: make a page that asks them, or log what they answered.

    Without `answers` the page is made. It shows dreamed digits, real ones and controls, and knows not which is which.
    """

    answers: str = setting("", "File with the lines that people got from the page. Without it, the page is made.")
    run: Annotated[str, _RUN] = setting(
        "", "Id of the run whose images are shown. Without it, the newest with enough images from noise."
    )
    ordinary: Model = setting("", "URI of the network that draws the controls. Without it, the newest ordinary one.")
    dreamed: int = setting(30, "Images from noise on the page.", ge=1, le=1000)
    real: int = setting(20, "Real digits on the page.", ge=1, le=1000)
    controls: int = setting(10, "Images on the page that the network reads, and judges do not.", ge=1, le=1000)
    dataset: str = DATASET
    trust: bool = TRUST
    seed: Seed = setting(0, "Seed of which images are shown, and in which order.")
    run_name: RunName = RUN_NAME

    @pydantic.model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if self.answers and self.run:
            raise SettingError("`run` says what the page shows, and `answers` name their page; give one of them.")
        return self

    def files(self) -> list[Path]:
        return [Path(self.answers)] if self.answers and os.path.isfile(self.answers) else []

    def answers_text(self) -> str:
        """What the file of answers holds; bytes that are no UTF-8 are replaced. Raises `SettingError`."""
        path = Path(self.answers)
        if not os.path.isfile(path):  # which is False for a name that no file can have
            raise SettingError(
                f"`answers` must be a file; there is none at {shown(self.answers)} (looked for in {os.getcwd()}; give "
                "the whole path)."
            )
        if path.stat().st_size > LARGEST:
            raise SettingError(f"`answers`: {shown(self.answers)} has more than 10 MB; give the lines of answers.")
        return path.read_text("utf-8", "replace")
