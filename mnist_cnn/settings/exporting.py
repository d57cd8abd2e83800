"""What can be asked of a copy of the store that needs no server."""

from __future__ import annotations

from mnist_cnn.settings.fields import RUN_NAME, RunName, setting
from mnist_cnn.settings.settings import Settings


class ExportSettings(Settings, command="export"):
    """Write the store as a static site: runs, curves, pictures, files, registry. It opens without a server."""

    to: str = setting(..., "Folder that the site is written to. It must be empty, new, or an earlier export.")
    experiments: str = setting("", "Names of experiments, separated by commas. Without it, all.")
    largest_file: float = setting(20.0, "Megabytes; larger files are named and not copied.", ge=0, le=100_000)
    run_name: RunName = RUN_NAME
