from __future__ import annotations

import numpy as np
import pytest

from mnist_cnn.data import dataset
from mnist_cnn.input_optimization import starts
from mnist_cnn.settings.errors import SettingError


@pytest.fixture(scope="module")
def data(small_dataset) -> dataset.LabelledImages:
    return dataset.load_train(str(small_dataset))


def test_noise_is_uniform_grey_and_belongs_to_its_seed() -> None:
    drawn = starts.uniform_noise([5, 6, 5])
    assert drawn.images.shape == (3, 28, 28, 1) and drawn.images.dtype == np.float32
    assert drawn.images.min() >= 0 and drawn.images.max() <= 1
    assert np.abs(np.histogram(drawn.images, 4, (0, 1))[0] / drawn.images.size - 0.25).max() < 0.05
    np.testing.assert_array_equal(drawn.images[0], drawn.images[2])
    assert not np.array_equal(drawn.images[0], drawn.images[1])
    assert (drawn.indices == -1).all() and (drawn.labels == -1).all()
    assert starts.uniform_noise([1], (32, 32, 3)).images.shape == (1, 32, 32, 3)


def test_a_digit_is_of_its_class_as_it_is_and_which_one_is_recorded(data) -> None:
    drawn = starts.digits(data, [5, 2, 5, 5], [0, 0, 1, 0])
    assert list(drawn.labels) == [5, 2, 5, 5]
    np.testing.assert_array_equal(drawn.images, data.images[drawn.indices])
    np.testing.assert_array_equal(data.labels[drawn.indices], drawn.labels)
    assert drawn.indices[0] == drawn.indices[3] != drawn.indices[2]


def test_a_noisy_digit_is_its_digit_with_noise_of_sigma_clipped(data) -> None:
    plain, noisy = (starts.digits(data, [8] * 50, range(50), sigma) for sigma in (0.0, 0.3))
    np.testing.assert_array_equal(plain.indices, noisy.indices)
    assert noisy.images.min() == 0 and noisy.images.max() == 1
    inside = (noisy.images > 0) & (noisy.images < 1) & (plain.images == 0)
    # Noise that is above 0 and not clipped: half a normal distribution of sigma 0.3, whose median is 0.2 .
    assert np.median(noisy.images[inside]) == pytest.approx(0.3 * 0.6745, rel=0.05)


def test_a_class_without_images_is_refused(data) -> None:
    few = dataset.LabelledImages(data.images[:1], data.labels[:1], "", "few.npz", "few")
    absent = (int(data.labels[0]) + 1) % 10
    with pytest.raises(SettingError, match=f"few.npz holds no image of class {absent}"):
        starts.digits(few, [absent], [0])
