from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mnist_cnn.data import dataset
from mnist_cnn.data.dataset import DatasetError
from mnist_cnn.settings.errors import Notice


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "x_train": random.integers(0, 256, (20, 28, 28), dtype=np.uint8),
        "y_train": random.integers(0, 10, 20, dtype=np.uint8),
        "x_test": random.integers(0, 256, (8, 28, 28), dtype=np.uint8),
        "y_test": random.integers(0, 10, 8, dtype=np.uint8),
    }


def test_mnist_ships_whole_and_is_split_as_in_the_report() -> None:
    images = dataset.load_train()
    split, test = dataset.split(images), dataset.load_test()
    assert (len(images), len(split.train), len(split.validation), len(test)) == (60_000, 54_000, 6_000, 10_000)
    assert images.images.shape == (60_000, 28, 28, 1) and images.images.dtype == np.float32
    assert images.images.min() == 0 and images.images.max() == 1
    np.testing.assert_array_equal(split.validation.images, images.images[54_000:])
    np.testing.assert_array_equal(split.train.labels, images.labels[:54_000])
    # The first ten labels of either part, as everybody knows them.
    assert images.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert np.bincount(test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_a_changed_pixel_of_the_shipped_file_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with np.load(dataset.MNIST_PATH) as whole:
        changed = {key: whole[key] for key in whole.files}
    changed["x_test"][0, 0, 0] ^= 1
    np.savez(tmp_path / "mnist.npz", **changed)
    monkeypatch.setattr(dataset, "MNIST_PATH", tmp_path / "mnist.npz")
    dataset.load_train()
    with pytest.raises(DatasetError, match="`x_test` is not MNIST's: its SHA-256 is"):
        dataset.load_test()


def test_loading_the_training_images_does_not_open_the_test_images(
    tmp_path: Path, arrays: dict[str, np.ndarray]
) -> None:
    path = tmp_path / "spoilt.npz"
    np.savez(path, **{**arrays, "y_test": arrays["y_test"] + 200})
    assert len(dataset.load_train(str(path))) == 20
    with pytest.raises(DatasetError, match="y_test"):
        dataset.load_test(str(path))


def test_test_images_of_the_wrong_form_are_refused_before_a_training(
    tmp_path: Path, arrays: dict[str, np.ndarray]
) -> None:
    path = tmp_path / "wrong.npz"
    for wrong in ({"x_test": np.zeros((8, 32, 32), np.uint8)}, {"y_test": np.zeros(8)}, {"y_test": np.zeros(7, int)}):
        np.savez(path, **{**arrays, **wrong})
        with pytest.raises(DatasetError, match=f"`{next(iter(wrong))}` must have the"):
            dataset.load_train(str(path))


def test_another_set_of_the_same_form_is_taken(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    path = tmp_path / "mine.npz"
    np.savez_compressed(path, **{**arrays, "y_train": arrays["y_train"].astype(np.int64)})
    mine = dataset.load_train(str(path))
    np.testing.assert_array_equal((mine.images[..., 0] * 255).round(), arrays["x_train"])
    assert (mine.name, len(mine.digest)) == ("mine", 16)
    other = {**arrays, "x_train": 255 - arrays["x_train"]}
    np.savez(path, **other)
    assert dataset.load_train(str(path)).digest != mine.digest


REFUSALS = {
    "missing keys": ({"y_test": None}, "lacks y_test"),
    "wrong shape": ({"x_train": np.zeros((20, 32, 32), np.uint8)}, r"shape \(n, 28, 28\).*got \(20, 32, 32\)"),
    "flat images": ({"x_train": np.zeros((20, 784), np.uint8)}, r"got \(20, 784\)"),
    "colour": ({"x_train": np.zeros((20, 28, 28, 3), np.uint8)}, r"got \(20, 28, 28, 3\)"),
    "no images": ({"x_train": np.zeros((0, 28, 28), np.uint8), "y_train": np.zeros(0, np.uint8)}, "at least 1"),
    "float images": ({"x_train": np.zeros((20, 28, 28))}, "dtype uint8.*got float64"),
    "text": ({"x_train": np.full((20, 28, 28), "a")}, "dtype uint8.*got <U1"),
    "values too large": ({"x_train": np.full((20, 28, 28), 256, np.int32)}, "from 0 to 255; they are from 256 to 256"),
    "values below 0": ({"x_train": np.full((20, 28, 28), -1, np.int16)}, "they are from -1 to -1"),
    "label 47": ({"y_train": np.full(20, 47, np.uint8)}, "labels in `y_train` must be from 0 to 46; they are from 47"),
    "label -1": ({"y_train": np.full(20, -1)}, "they are from -1 to -1"),
    "float labels": ({"y_train": np.zeros(20)}, "`y_train` must have the dtype uint8"),
    "one-hot labels": ({"y_train": np.zeros((20, 10), np.uint8)}, r"shape \(20,\), one label an image; got \(20, 10\)"),
    "too few labels": ({"y_train": np.zeros(19, np.uint8)}, r"got \(19,\)"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_set_of_another_form_is_refused(case: str, tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    changes, message = REFUSALS[case]
    path = tmp_path / "bad.npz"
    np.savez(path, **{key: array for key, array in {**arrays, **changes}.items() if array is not None})
    with pytest.raises(DatasetError, match=message) as refusal:
        dataset.load_train(str(path))
    assert "\n" not in str(refusal.value)


class Explosive:
    """Runs code when it is unpickled."""

    exploded = False

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("import test_dataset; test_dataset.Explosive.exploded = True",))


@pytest.mark.parametrize("form", ["object array", "bare pickle", "pickle under an array's name"])
def test_a_pickle_is_refused_and_not_executed(form: str, tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    path = tmp_path / "evil.npz"
    if form == "object array":
        np.savez(path, **{**arrays, "x_train": np.array([Explosive()], dtype=object)})
    elif form == "bare pickle":
        path.write_bytes(pickle.dumps(Explosive()))
    else:
        np.savez(path, **arrays)
        with zipfile.ZipFile(path) as old:
            members = {name: old.read(name) for name in old.namelist()}
        with zipfile.ZipFile(path, "w") as new:
            for name, content in members.items():
                new.writestr(name, pickle.dumps(Explosive()) if name == "x_train.npy" else content)
    with pytest.raises(DatasetError):
        dataset.load_train(str(path))
    assert not Explosive.exploded


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(kept: float, tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    path = tmp_path / "cut.npz"
    np.savez_compressed(path, **arrays)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(DatasetError, match="is not an .npz file|cannot be read"):
        dataset.load_train(str(path))


def test_a_flipped_byte_is_refused(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    path = tmp_path / "flipped.npz"
    np.savez(path, **arrays)
    content = bytearray(path.read_bytes())
    content[len(content) // 4] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="cannot be read"):
        dataset.load_train(str(path))


@pytest.mark.parametrize("make", [lambda p: p.write_text("x_train"), lambda p: p.write_bytes(b""), lambda p: p.mkdir()])
def test_what_is_not_a_zip_is_refused(make: object, tmp_path: Path) -> None:
    path = tmp_path / "not.npz"
    make(path)  # type: ignore[operator]
    with pytest.raises(DatasetError, match="is not an .npz file|must be a file"):
        dataset.load_train(str(path))


def test_a_missing_file_is_named_with_the_folder_it_was_looked_for_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DatasetError, match=f"there is no file nowhere.npz .looked for in {tmp_path}"):
        dataset.load_train("nowhere.npz")


def test_a_split_that_leaves_a_side_empty_is_refused(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    path = tmp_path / "mine.npz"
    np.savez(path, **arrays)
    with pytest.raises(DatasetError, match="leaves 0 images to train on and 20 to validate on"):
        dataset.split(dataset.load_train(str(path)), 0.99)


def test_dates_in_place_of_pixels_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    path = tmp_path / "dates.npz"
    np.savez(path, **{**arrays, "x_train": np.zeros((20, 28, 28), "datetime64[s]")})
    with pytest.raises(DatasetError, match="`x_train` must have the dtype uint8"):
        dataset.load_train(str(path))


def of_labels(labels: np.ndarray, name: str = "own.npz") -> dataset.LabelledImages:
    images = np.arange(len(labels), dtype=np.float32).reshape(-1, 1, 1, 1) * np.ones((1, 28, 28, 1), np.float32)
    return dataset.LabelledImages(images, labels.astype(np.int32), "digest", name, "own")


SHUFFLED = np.random.default_rng(0).integers(0, 10, 2000)


@pytest.mark.parametrize(
    "labels",
    [np.sort(SHUFFLED), np.sort(SHUFFLED)[::-1], np.concatenate([np.sort(SHUFFLED[:999]), np.sort(SHUFFLED[999:])])],
    ids=["sorted", "backwards", "two sorted halves"],
)
def test_images_that_stand_class_by_class_are_split_by_drawing(labels: np.ndarray) -> None:
    images = of_labels(labels)
    with pytest.warns(Notice, match="own.npz is sorted by label, so the 200 images that validate are drawn"):
        split = dataset.split(images)
    assert len(set(split.validation.labels.tolist())) == 10 and len(split.train) == 1800
    drawn = np.concatenate([part.images[:, 0, 0, 0] for part in (split.train, split.validation)])
    np.testing.assert_array_equal(np.sort(drawn), np.arange(2000))
    with pytest.warns(Notice):
        smaller = dataset.split(images, 0.05).validation
    assert set(smaller.images[:, 0, 0, 0]) < set(split.validation.images[:, 0, 0, 0])
    assert len(set(dataset.first_of(images, 200).labels.tolist())) == 10


def test_images_in_any_order_are_split_as_ever() -> None:
    for labels in (SHUFFLED, SHUFFLED[:8], np.zeros(20, int)):
        images = of_labels(labels)
        np.testing.assert_array_equal(dataset.split(images, 0.2).train.labels, labels[: int(len(labels) * 0.8)])
        np.testing.assert_array_equal(dataset.first_of(images, 5).labels, labels[:5])


def test_a_class_that_is_missing_is_named_with_the_side_that_lacks_it() -> None:
    train = of_labels(np.arange(100) % 10)
    without = train.part(np.flatnonzero(train.labels < 5), "some")
    dataset.refuse_missing_classes(dataset.Split(train, train))
    for sides, words in (((without, without), "that train"), ((train, without), "that do not train")):
        with pytest.raises(DatasetError, match=f"{words} hold none of class 5, 6, 7, 8, 9. Judges need every class"):
            dataset.refuse_missing_classes(dataset.Split(*sides))


def test_a_file_that_was_replaced_by_one_of_the_same_size_and_time_is_read_again(tmp_path: Path, arrays) -> None:
    path, other = tmp_path / "own.npz", tmp_path / "other.npz"
    np.savez(path, **arrays)
    np.savez(other, **{**arrays, "y_train": 9 - arrays["y_train"]})
    before = dataset.load_train(str(path)).labels
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)
    np.testing.assert_array_equal(dataset.load_train(str(path)).labels, 9 - before)
