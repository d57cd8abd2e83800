"""What can be said of a digit without learning: the digit set upright, and the directions of its edges."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mnist_cnn.models import transforms

LEAST_SPREAD = 1.0
"""Pixels^2 that are added to a digit's height, so that a dash or an empty image is not sheared without bound."""

FAINT = 0.5
"""Grey levels of edges that a block of cells is compared to: fainter ones, such as noise, are not blown up."""


def upright(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shear each digit until its lines of writing stand upright, and put its centre of mass in the middle.

    images: (n, height, width, 1) float32 of at least 0; the result has the same form. What comes in from outside is 0.
    The slant is that of the second moments (LeCun et al., "Gradient-based learning applied to document recognition",
    Proc. IEEE 86(11), 1998, section III.A). An empty image stays as it is.
    """
    count, height, width, _ = images.shape
    y, x = np.mgrid[:height, :width].reshape(2, -1).astype(np.float32)
    # Squares, since faint grey everywhere would else outweigh the strokes.
    mass = images.reshape(count, -1) ** 2 + np.float32(1e-9)
    mass /= mass.sum(axis=1, keepdims=True)
    mean_x, mean_y = mass @ x, mass @ y
    covariance = mass @ (x * y) - mean_x * mean_y
    slant = covariance / (mass @ (y * y) - mean_y**2 + LEAST_SPREAD)
    ones, zeros = np.ones_like(slant), np.zeros_like(slant)
    # `project` maps each pixel of the result to the place that it is read from.
    offset_x = mean_x - (width - 1) / 2 - slant * np.float32((height - 1) / 2)
    offset_y = mean_y - (height - 1) / 2
    matrices = np.stack([ones, slant, offset_x, zeros, ones, offset_y, zeros, zeros], axis=1).astype(np.float32)
    return transforms.project(images, matrices).numpy()


def edge_directions(images: NDArray[np.float32], cell: int, num_directions: int) -> NDArray[np.float32]:
    """How strongly edges run in each direction, place by place: (n, features) float32 in [0, 1].

    images: (n, height, width, 1) float32; sides are multiples of `cell`, the side of a cell in pixels.
    The gradient's parts along `num_directions` directions of the whole circle, as far as they are positive, summed over
    each cell and divided by the length of their block of 2 x 2 cells. Histograms of oriented gradients (Dalal & Triggs,
    CVPR 2005) share a gradient between the two nearest directions instead, which takes ten times as long.
    """
    count, height, width, _ = images.shape
    rises_y, rises_x = np.gradient(images[..., 0], axis=(1, 2))
    cells = np.empty((count, height // cell, width // cell, num_directions), np.float32)
    for number in range(num_directions):
        angle = 2 * np.pi * number / num_directions
        along = np.maximum(rises_x * np.float32(np.cos(angle)) + rises_y * np.float32(np.sin(angle)), 0)
        cells[..., number] = along.reshape(count, height // cell, cell, width // cell, cell).sum(axis=(2, 4))
    corners = [cells[:, i : i - 1 or None, j : j - 1 or None] for i in (0, 1) for j in (0, 1)]
    blocks = np.concatenate(corners, axis=-1)
    blocks /= np.sqrt((blocks**2).sum(axis=-1, keepdims=True) + FAINT**2)
    return blocks.reshape(count, -1)
