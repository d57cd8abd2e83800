"""Ask a frozen network what it wants to see: gradient descent on the pixels of many images at once.

A file an idea: `targets` (what the network shall say), `starts` (where the search begins), `objectives` and
`penalties` (what is minimised), `ascent` (the compiled loop). Importing this package imports no TensorFlow; its
`ascend`, `AscentResult` and `AscentSettings` are fetched when they are asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from mnist_cnn.settings import backend

backend.refuse_other()

_PLACES = {"ascend": "ascent", "AscentResult": "result", "AscentDiverged": "ascent", "AscentSettings": "ascent"}
__all__ = tuple(_PLACES)


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__} has no attribute {name}")
