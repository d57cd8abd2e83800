from __future__ import annotations

import numpy as np

from mnist_cnn.judging import handcrafted


def stroke(slant: float, column: float = 13.5) -> np.ndarray:
    """A bar, sheared and moved sideways: (1, 28, 28, 1)."""
    rows, columns = np.mgrid[:28, :28]
    distance = np.abs(columns - column - slant * (rows - 13.5))
    return (np.clip(2 - distance, 0, 1) * (np.abs(rows - 13.5) < 9)).astype(np.float32)[np.newaxis, ..., np.newaxis]


def test_a_slanted_bar_is_set_upright_in_the_middle() -> None:
    straight = handcrafted.upright(stroke(0.0))
    np.testing.assert_allclose(straight, stroke(0.0), atol=1e-4)
    for slant, column in ((0.3, 13.5), (-0.4, 13.5), (0.2, 17.0)):
        assert (
            np.abs(stroke(slant, column) - straight).mean()
            > 5 * np.abs(handcrafted.upright(stroke(slant, column)) - straight).mean()
        )


def test_empty_and_full_images_stay_finite() -> None:
    for grey in (0.0, 1.0):
        images = np.full((2, 28, 28, 1), grey, np.float32)
        np.testing.assert_allclose(handcrafted.upright(images), images, atol=1e-3)
        assert not handcrafted.edge_directions(images, 4, 8).any()


def test_an_edge_is_counted_in_its_direction_and_place() -> None:
    image = np.zeros((1, 28, 28, 1), np.float32)
    image[:, :, 14:] = 1  # grows to the right at columns 13 and 14, which are in cells 3 of each row
    blocks = handcrafted.edge_directions(image, 4, 8).reshape(6, 6, 4, 8)
    strongest = np.unravel_index(blocks.argmax(), blocks.shape)
    assert strongest[3] == 0 and strongest[1] in (2, 3)
    assert blocks[..., 4].max() == 0  # nothing grows to the left
    assert not blocks[:, [0, 1, 4, 5]].any()
    turned = handcrafted.edge_directions(image.transpose(0, 2, 1, 3), 4, 8).reshape(6, 6, 4, 8)
    assert turned.argmax() % 8 == 2


def test_noise_on_an_empty_image_is_not_blown_up() -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, (1, 28, 28, 1)).astype(np.float32)
    assert handcrafted.edge_directions(noise, 4, 8).max() < 0.3
