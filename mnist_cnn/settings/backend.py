"""Which backend Keras has, or will take when it is imported: anything but TensorFlow is refused before it loads."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path

from mnist_cnn.settings.errors import SettingError

NEEDED = "tensorflow"


def refuse_other() -> None:
    """Raise `SettingError` unless Keras works, or will work, on TensorFlow."""
    name, place = _wanted()
    if name != NEEDED:
        raise SettingError(
            f"{place} must name the backend `{NEEDED}`, which is all that this project has; got {name[:40]!r}. "
            f"Set KERAS_BACKEND={NEEDED} for it."
        )


def _wanted() -> tuple[str, str]:
    """The backend and what names it, as Keras looks for it: what is loaded, the environment, keras.json."""
    loaded = sys.modules.get("keras")
    if loaded is not None and hasattr(loaded, "config"):
        return str(loaded.config.backend()), "Keras, which is imported already,"
    if named := os.environ.get("KERAS_BACKEND"):
        return named, "KERAS_BACKEND"
    folder = os.environ.get("KERAS_HOME") or os.path.join("~", ".keras")
    path = Path(folder, "keras.json").expanduser()
    with suppress(OSError, ValueError, AttributeError):
        return str(json.loads(path.read_text()).get("backend", NEEDED)), str(path)
    return NEEDED, ""
