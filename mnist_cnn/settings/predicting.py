"""What can be asked of pictures that a person brings along."""

from __future__ import annotations

import os
from pathlib import Path

from mnist_cnn.settings.fields import DATASET, MODEL, RUN_NAME, TRUST, Model, RunName, setting
from mnist_cnn.settings.settings import Settings

ENDINGS = (".png", ".jpg", ".jpeg")


class PredictSettings(Settings, command="predict"):
    """Say which digits the pictures of a folder show, and how sure the network is."""

    images: str = setting(..., "Folder of PNG and JPEG files, one digit each, of any size, with light or dark ink.")
    model: Model = MODEL
    trust: bool = TRUST
    dataset: str = DATASET
    run_name: RunName = RUN_NAME

    def files(self) -> list[Path]:
        """The PNG and JPEG files of the folder, by their endings, in the order of their names."""
        if not os.path.isdir(self.images):  # which is False for a name that no folder can have
            return []
        entries = Path(self.images).iterdir()
        return sorted(entry for entry in entries if entry.suffix.lower() in ENDINGS and entry.is_file())
