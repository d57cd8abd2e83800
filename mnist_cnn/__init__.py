"""MNIST, tracked: train a network, and ask it what it wants to see.

The package is a house of floors; a file imports only from floors below its own. docs/architecture.md has the map, a
test keeps it. Importing this package imports nothing else.
"""

import importlib
from typing import Any

__version__ = "0.2.0"

_PUBLIC = {"runs": "mnist_cnn.tracking.frames"}


def __getattr__(name: str) -> Any:
    """`mnist_cnn.runs(kind=..., experiment=...)`: runs as a DataFrame, imported when it is first asked for."""
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
