"""How many photographs of digits `predict` reads: on good paper, under shadows, and where it is known to fail.

python -m benchmarks.photographs [--num-images 48]

The digits are of the validation images. The photographs are computed from them: 640 x 480 pixels, light that falls
off to the right by a third, grain. The network is the default one, trained anew.
"""

# ruff: noqa: E402

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from benchmarks import fresh_store, keep
from mnist_cnn.runtime import hardware

DEVICE = hardware.start_tensorflow()  # quietly, before what follows imports it

from mnist_cnn.data import dataset, pictures
from mnist_cnn.settings import TrainSettings
from mnist_cnn.tracking import models, networks
from mnist_cnn.training import evaluation
from pipelines import train

HEIGHT, WIDTH = 480, 640
SOFT: dict[str, Any] = {"shadow": 0.45, "edge": 14}
HARD: dict[str, Any] = {"shadow": 0.4, "edge": 2}
CASES: dict[str, dict[str, Any]] = {
    "no shadow": {},
    "no shadow, bold": {"bold": 26},
    "no shadow, bright ink": {"bright": True},
    "no shadow, faintly ruled paper": {"ruled": True},
    "soft shadow": SOFT,
    "soft shadow, small digit": {**SOFT, "side": 130},
    "soft shadow, bold": {**SOFT, "bold": 26},
    "soft shadow, bright ink": {**SOFT, "bright": True},
    "soft shadow, faintly ruled paper": {**SOFT, "ruled": True},
    "hard shadow": HARD,
    "hard shadow, bold": {**HARD, "bold": 26},
    "hard shadow, bright ink": {**HARD, "bright": True},
    "hard shadow, faintly ruled paper": {**HARD, "ruled": True},
    "hard shadow that takes 60 % of the light": {**HARD, "shadow": 0.6},
    "edge of a table": {"table": True},
}


def photograph(
    digit: NDArray[np.floating],
    *,
    side: int = 260,
    shadow: float = 0.0,
    edge: float = 2,
    bold: int = 0,
    bright: bool = False,
    ruled: bool = False,
    table: bool = False,
) -> Image.Image:
    """A digit, (28, 28) in [0, 1], on paper. side, edge, bold: in pixels of the photograph. shadow: share of the light.

    The shadow falls on the right and its edge is slanted. edge: the standard deviation of the blur. bold: what strokes
    are made wider by. ruled: lines a third as dark as ink.
    """
    large = Image.fromarray(np.round(255 * digit).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    strokes = np.clip(4 * (np.asarray(large, np.float64) / 255 - 0.35), 0, 1)
    if bold:
        strokes = ndimage.grey_dilation(strokes, (bold, bold))
    ink = np.zeros((HEIGHT, WIDTH))
    top, left = (HEIGHT - side) // 2, (WIDTH - side) // 2
    ink[top : top + side, left : left + side] = strokes
    y, x = np.mgrid[:HEIGHT, :WIDTH] / HEIGHT
    if ruled:
        ink = np.maximum(ink, 0.33 * (np.arange(HEIGHT) % 48 < 2)[:, None])
    light = ndimage.gaussian_filter((0.85 - 0.25 * x) * np.where(x + 0.5 * y > 0.9, 1 - shadow, 1.0), edge)
    if table:
        light[:, :96] = 0.25
    grain = 0.012 * np.random.default_rng(int(1000 * digit.sum())).standard_normal(ink.shape)
    grey = light * (0.25 + 0.7 * ink if bright else 1 - 0.7 * ink) + grain
    return Image.fromarray(np.round(255 * np.clip(grey, 0, 1)).astype(np.uint8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-images", type=int, default=48)
    count = parser.parse_args().num_images

    digits = dataset.split(dataset.load_train()).validation
    images, labels = digits.images[:count, ..., 0], digits.labels[:count]
    with fresh_store():
        network = networks.load(models.resolve(train.run(TrainSettings()).run_id))
        right = {"the images themselves": _right(network, digits.images[:count], labels)}
        for name, case in CASES.items():
            right[name] = _right(network, np.stack([_prepared(photograph(digit, **case)) for digit in images]), labels)
            print(f"{name}: {right[name]} of {count}", flush=True)
    keep("photographs", DEVICE, {"num_images": count, "right": right})


def _prepared(photograph: Image.Image) -> NDArray[np.float32]:
    """As `predict` shows it to the network; black where it would skip the picture."""
    photograph.save("photograph.png")
    try:
        return pictures.prepare(pictures.read(Path("photograph.png"))).image
    except pictures.PictureError:
        return np.zeros((28, 28, 1), np.float32)


def _right(network: Any, images: NDArray[np.float32], labels: NDArray[np.integer]) -> int:
    return int((evaluation.predict(network, images).argmax(axis=1) == labels).sum())


if __name__ == "__main__":
    main()
