"""One seed, many streams: what is drawn depends on the seed and the purpose, never on what was drawn before.

This is what lets an interrupted training go on with the same numbers: epoch 7 shuffles as epoch 7 does,
whether or not epochs 1 to 6 ran in this process.
"""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(seed: int, *purpose: str | int) -> int:
    """A seed in [0, 2**31) for one purpose, e.g. `derive_seed(0, "order", epoch)`; stable across machines."""
    words = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:4], "little") >> 1


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """A numpy generator for one purpose."""
    return np.random.default_rng(derive_seed(seed, *purpose))
