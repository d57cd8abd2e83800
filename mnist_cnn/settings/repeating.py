"""What can be asked of a run that is done once more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from mnist_cnn.settings.fields import RunId, setting
from mnist_cnn.settings.settings import Settings


class AgainSettings(Settings, command="again"):
    """Do a run again, with its own settings, and compare each number with that run's.

    Any setting of the run's command that is given besides overrules its own.
    """

    run: RunId = setting(..., "Id of the run.")
    changes: dict[str, str] = setting({}, "Settings that overrule the run's own, as words.")

    @classmethod
    def names(cls) -> list[str]:
        return ["run"]

    @classmethod
    def from_words(cls, words: Mapping[str, str]) -> Self:
        own = {name: word for name, word in words.items() if name in cls.names()}
        return cls(**own, changes={name: word for name, word in words.items() if name not in own})

    def values(self, *, secrets: bool = False) -> dict[str, Any]:
        return {"run": self.run, **self.changes}
