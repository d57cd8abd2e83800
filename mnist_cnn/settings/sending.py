"""What can be asked of writes that a store did not take."""

from __future__ import annotations

from mnist_cnn.settings.fields import RUN_NAME, RunName, setting
from mnist_cnn.settings.settings import Settings


class SendSettings(Settings, command="send"):
    """Send what a store did not take, once the store is back."""

    folder: str = setting("unsent", "The folder that the interrupted command named, or the one above it.")
    run_name: RunName = RUN_NAME
