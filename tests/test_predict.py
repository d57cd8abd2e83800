"""People's own pictures: each brought to the form of the data, whatever it is, and read about as well as the data."""

from __future__ import annotations

import base64
import io
import json
import os
import struct
import subprocess
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pytest
from commands import environment, serving
from conftest import PROJECT
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from benchmarks.photographs import HARD, SOFT, photograph
from mnist_cnn.data import dataset, pictures
from mnist_cnn.data.pictures import PictureError, Prepared
from mnist_cnn.reporting import image_sheet, picture_figures
from mnist_cnn.settings import PredictSettings, SettingError, TrainSettings
from mnist_cnn.tracking import models, networks, runs
from mnist_cnn.training import evaluation
from pipelines import predict, train
from pipelines.__main__ import call

DATA = dataset.split(dataset.load_train()).validation
ORIENTATION = 0x0112


def as_picture(grey: NDArray[np.floating]) -> Image.Image:
    return Image.fromarray(np.round(255 * np.clip(grey, 0, 1)).astype(np.uint8))


def enlarged(digit: NDArray[np.floating], side: int) -> NDArray[np.float64]:
    return np.asarray(as_picture(digit).resize((side, side), Image.Resampling.BICUBIC), np.float64) / 255


def prepared(picture: Image.Image, tmp_path: Path, name: str = "own.png", **options: object) -> Prepared:
    picture.save(tmp_path / name, **options)
    return pictures.prepare(pictures.read(tmp_path / name))


def digit(number: int = 0) -> NDArray[np.float32]:
    return DATA.images[number, ..., 0]


def distance(image: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    return float(np.abs(image[..., 0] - other).mean())


def on_paper(digit: NDArray[np.floating]) -> Image.Image:
    """A photograph: dark ink, small and not in the middle, on paper that light falls on unevenly, with grain."""
    random = np.random.default_rng(int(digit.sum() * 1000))
    side, whole = int(random.integers(120, 260)), 400
    top, left = random.integers(0, whole - side, 2)
    ink = np.zeros((whole, whole))
    ink[top : top + side, left : left + side] = enlarged(digit, side)
    light = ndimage.zoom(random.standard_normal((3, 3)), whole / 3, order=1, mode="nearest", grid_mode=True)
    paper = 0.72 + 0.18 * light / np.abs(light).max()
    return as_picture(paper * (1 - 0.7 * ink) + 0.02 * random.standard_normal(ink.shape))


def see_through(digit: NDArray[np.floating], grey: int) -> Image.Image:
    """Ink of one grey on nothing."""
    alpha = np.round(255 * enlarged(digit, 90)).astype(np.uint8)
    return Image.fromarray(np.dstack([np.full((90, 90, 3), grey, np.uint8), alpha]))


LIGHT = np.linspace(0.35, 1, 200) * np.ones((200, 1))
SETS: dict[str, Callable[[NDArray[np.float32]], Image.Image]] = {
    "inverted": lambda digit: as_picture(1 - digit),
    "200 pixels": lambda digit: as_picture(1 - enlarged(digit, 200)),
    "600 pixels": lambda digit: as_picture(enlarged(digit, 600)),
    "dark ink, light from the right": lambda digit: as_picture(LIGHT * (1 - 0.8 * enlarged(digit, 200))),
    "bright ink, light from the left": lambda digit: as_picture(0.6 * (1 - LIGHT) + 0.4 * enlarged(digit, 200)),
    "black on nothing": lambda digit: see_through(digit, 0),
    "white on nothing": lambda digit: see_through(digit, 255),
    "on paper": on_paper,
    "soft shadow": lambda digit: photograph(digit, **SOFT),
    "soft shadow, small": lambda digit: photograph(digit, **SOFT, side=130),
}
SHADOWS: dict[str, Callable[[NDArray[np.float32]], Image.Image]] = {
    "hard shadow": lambda digit: photograph(digit, **HARD),
    "soft shadow, faintly ruled paper": lambda digit: photograph(digit, **SOFT, ruled=True),
}
"""Read a little worse than the others, because strokes lose some of their form."""


def test_a_digit_of_the_data_stays_as_it_is(tmp_path: Path) -> None:
    distances = [distance(prepared(as_picture(digit(i)), tmp_path).image, digit(i)) for i in range(30)]
    assert np.mean(distances) < 0.006 and max(distances) < 0.05


@pytest.mark.parametrize("name", SETS)
def test_a_picture_of_a_digit_becomes_that_digit(name: str, tmp_path: Path) -> None:
    """Next to it among twenty digits, for nearly all."""
    found = [prepared(SETS[name](digit(i)), tmp_path).image for i in range(20)]
    distances = np.array([[distance(image, digit(i)) for i in range(20)] for image in found])
    assert (distances.argmin(axis=1) == np.arange(20)).mean() >= 0.9


def test_the_longer_side_has_20_pixels_and_the_mass_is_in_the_middle(tmp_path: Path) -> None:
    for number in range(20):
        image = prepared(SETS["200 pixels"](digit(number)), tmp_path).image
        assert image.shape == (28, 28, 1) and image.dtype == np.float32 and image.min() == 0 and image.max() == 1
        sides = [np.ptp(np.flatnonzero((image[..., 0] > 0.1).any(axis=axis))) + 1 for axis in (0, 1)]
        assert 18 <= max(sides) <= 20
        np.testing.assert_allclose(ndimage.center_of_mass(image[..., 0]), 14, atol=0.51)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA", "1", "CMYK", "I;16"])
def test_every_mode_gives_the_same_image(mode: str, tmp_path: Path) -> None:
    plain = SETS["200 pixels"](digit(3))
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(plain, np.uint16) * 257)
        assert picture.mode == mode
    else:
        picture = plain.convert(mode, dither=Image.Dither.NONE)
    name = "own.jpg" if mode == "CMYK" else "own.png"
    assert distance(prepared(picture, tmp_path, name).image, prepared(plain, tmp_path).image[..., 0]) < (
        0.06 if mode == "1" else 0.02
    )


@pytest.mark.parametrize("orientation", range(10))
def test_a_picture_is_turned_as_its_tag_says(orientation: int, tmp_path: Path) -> None:
    upright = SETS["200 pixels"](digit(3)).resize((150, 200))
    undone = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    stored = upright.transpose(undone[orientation]) if orientation in undone else upright
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    found = prepared(stored, tmp_path, "own.jpg", exif=exif, quality=95)
    assert distance(found.image, prepared(upright, tmp_path).image[..., 0]) < 0.02
    assert ("turned as its EXIF tag says" in found.done) == (1 < orientation < 9)


def test_what_was_done_is_said(tmp_path: Path) -> None:
    assert prepared(as_picture(digit(1)), tmp_path).done == ("28 x 28 pixels", "bright ink")
    assert "dark ink, made bright" in prepared(SETS["200 pixels"](digit(1)), tmp_path).done
    assert "uneven paper taken away" in prepared(SETS["dark ink, light from the right"](digit(1)), tmp_path).done
    assert "transparency filled" in prepared(SETS["black on nothing"](digit(1)), tmp_path).done
    thin = np.ones((300, 300))
    thin[50:250, 148:152] = 0
    found = prepared(as_picture(thin), tmp_path)
    assert "strokes made thicker" in found.done and 20 < found.image.sum() < 60
    thin[10:14, 10:14] = 0
    assert "a spot removed" in prepared(as_picture(thin), tmp_path).done


def bomb(side: int = 30_000) -> bytes:
    """A PNG of so many pixels a side in a few bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    )


def as_bytes(picture: Image.Image, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no PNG or JPEG file, or it was cut short"),
        (b"\x89PNG\r\n\x1a\n", "no PNG or JPEG file, or it was cut short"),
        (as_bytes(SETS["200 pixels"](digit(0)))[:900], "it cannot be read"),
        (as_bytes(as_picture(digit(0)), "GIF"), "no PNG or JPEG file"),
        (bomb(10_000), "too many pixels"),
        (bomb(), "too many pixels; at most 89 million are unpacked"),
        (as_bytes(Image.new("L", (50, 50), 200)), "nothing is drawn on it"),
        (as_bytes(Image.new("RGBA", (50, 50), (0, 0, 0, 0))), "nothing is drawn on it"),
        (as_bytes(Image.new("L", (1, 1), 200)), "nothing is drawn on it"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_picture_of_a_digit_is_refused_with_the_reason(content: bytes, reason: str, tmp_path) -> None:
    (tmp_path / "own.png").write_bytes(content)
    with pytest.raises(PictureError, match=reason):
        pictures.prepare(pictures.read(tmp_path / "own.png"))


@pytest.mark.parametrize("size", [(1, 400), (400, 1), (3, 3), (5, 2000)])
def test_a_picture_of_any_form_is_prepared_or_refused(size: tuple[int, int], tmp_path: Path) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, size, np.uint8))
    try:
        assert prepared(picture, tmp_path).image.shape == (28, 28, 1)
    except PictureError as error:
        assert str(error) == "nothing is drawn on it"


def test_a_folder_is_refused_in_a_line_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "folder.png").mkdir()
    for word, reason in (
        (tmp_path / "none", "`images` must be a folder; there is none at "),
        (tmp_path / "notes.txt", "`images` must be a folder; "),
        (tmp_path, "holds no file that ends in .png, .jpg, .jpeg"),
        ("\0", "`images` must be"),
    ):
        with pytest.raises(SettingError) as error:
            call("predict", ["--images", str(word)])
        assert reason in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) <= 300


def test_files_are_found_by_their_endings_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpeg", "c.jpg", "d.gif"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in pictures.find(PredictSettings(images=str(tmp_path)))] == ["a.jpeg", "b.PNG", "c.jpg"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, store: Path) -> str:
    """The id of a run that trained a small network in the tests' store."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(store)
        mlflow.set_tracking_uri(None)
        return train.run(TrainSettings(dataset="mnist:10000", epochs=1)).run_id


@pytest.mark.parametrize(
    ("trained_on", "asked", "right"),
    [
        ("mnist", "", "mnist"),
        ("0123456789abcdef", "mnist:600", "/data/fashion.npz"),
        ("mnist", "mnist:600", ""),
        ("", "mnist", ""),
    ],
)
def test_a_network_of_other_data_is_refused(
    trained_on: str, asked: str, right: str, client, small_dataset: Path, tmp_path: Path, monkeypatch
) -> None:
    """It named clothes as digits."""
    with runs.tracked_run("train") as run:
        run.log_params({"dataset": "/data/fashion.npz"})
    tags = {models.TRAINED_ON_TAG: trained_on} if trained_on else {}
    logged = client.create_logged_model("0", name="model", source_run_id=run.run_id, tags=tags)
    model = models.LoggedModel(logged.model_id, "models:/m-1")
    monkeypatch.setattr(models, "resolve", lambda *_, **__: model)
    as_picture(digit(1)).save(tmp_path / "1.png")
    argv = ["--images", str(tmp_path), "--dataset", asked or str(small_dataset)]
    if right:
        with pytest.raises(SettingError, match=f"learned from other images than .*dataset={right}$") as error:
            call("predict", argv)
        assert len(str(error.value)) <= 300
    else:
        models.refuse_other_data(model, asked)


def test_a_name_that_is_no_utf8_is_shown_with_its_bytes(client, trained, tmp_path: Path, capsys) -> None:
    with open(os.fsencode(tmp_path) + b"/odd\xff.png", "wb") as file:
        SETS["200 pixels"](digit(0)).save(file, "PNG")
    call("predict", ["--images", str(tmp_path), "--model", trained])
    assert r"odd\udcff.png" in capsys.readouterr().out
    (run,) = client.search_runs(["0"], "tags.kind = 'predict'")
    table = json.loads(Path(client.download_artifacts(run.info.run_id, "predictions.json", str(tmp_path))).read_text())
    assert [row[0] for row in table["data"]] == [r"odd\udcff.png"]


@pytest.mark.slow
def test_a_folder_becomes_a_table_and_what_cannot_be_read_is_named(client, trained, tmp_path: Path, capsys) -> None:
    for number in range(5):
        SETS["200 pixels"](digit(number)).save(tmp_path / f"{number}.png")
    (tmp_path / "broken.png").write_bytes(b"")
    call("predict", ["--images", f"{os.path.relpath(tmp_path)}/.", "--model", trained])
    printed = capsys.readouterr().out
    assert "Skipped broken.png: it is no PNG or JPEG file, or it was cut short.\n" in printed
    (run,) = client.search_runs(["0"], "tags.kind = 'predict'")
    assert run.info.run_name == f"predict-{tmp_path.name}" and run.data.params["images"] == str(tmp_path.resolve())
    assert run.info.status == "FINISHED" and run.data.metrics["pictures"] == 5 and run.data.metrics["skipped"] == 1
    folder = Path(client.download_artifacts(run.info.run_id, "", str(tmp_path)))
    table = json.loads((folder / "predictions.json").read_text())
    assert table["columns"] == ["file", "choice", "probability", "second_choice", "second_probability", "done"]
    assert [row[0] for row in table["data"]] == [f"{number}.png" for number in range(5)]
    assert [row[1] for row in table["data"]] == [str(label) for label in DATA.labels[:5]]
    assert all(1 >= row[2] >= row[4] >= 0 and "dark ink, made bright" in row[5] for row in table["data"])
    assert json.loads((folder / "skipped.json").read_text()) == {
        "broken.png": "it is no PNG or JPEG file, or it was cut short"
    }
    assert np.asarray(Image.open(folder / "figures" / "pictures.png")).std() > 10
    with np.load(folder / "pictures.npz") as arrays:
        assert arrays["images"].shape == (5, 28, 28, 1) and arrays["probabilities"].shape == (5, 10)


def test_names_of_files_and_classes_stand_in_the_figure_as_they_are(monkeypatch) -> None:
    drawn: list[image_sheet.Row] = []
    monkeypatch.setattr(picture_figures, "draw_sheet", lambda rows, title, scale: drawn.extend(rows))
    picture_figures.surest_and_least(
        [np.zeros((112, 112), np.uint8)], digit()[None, ..., None], np.float32([[0.75, 0.25]]),
        ["for $5$.png"], ["a $", "b"],
    )  # fmt: skip
    assert [cell.caption for row in drawn for cell in row.cells] == ["a $ (75.0%), b (25.0%)\nfor $5$.png"]


def answered(address: str, body: object) -> tuple[int, dict]:
    """Status and answer of a served model."""
    request = urllib.request.Request(
        f"{address}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, json.loads(reply.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


@pytest.mark.slow
def test_a_served_model_takes_pngs_over_http(store: Path, trained: str, tmp_path: Path) -> None:
    page = (PROJECT / "docs" / "registry.md").read_text()
    for line in [line for line in page.splitlines() if line.startswith("python -c")]:
        subprocess.run(line, shell=True, cwd=tmp_path, env=environment(), check=True)
    digits, pngs = (json.loads((tmp_path / f"{name}.json").read_text())["inputs"] for name in ("digit", "png"))
    with serving(store, "models", "serve", "-m", f"runs:/{trained}/model", "--env-manager", "local") as address:
        status, expected = answered(address, {"inputs": digits})
        assert status == 200 and sum(expected["predictions"][0]) == pytest.approx(1, abs=1e-5)
        for body in ({"inputs": pngs}, {"dataframe_split": {"columns": ["png"], "data": [pngs]}}):
            status, found = answered(address, body)
            assert status == 200
            np.testing.assert_allclose(found["predictions"], expected["predictions"], atol=1e-5)
        wrong = base64.b64encode(as_bytes(Image.new("RGB", (28, 28)))).decode()
        for body, reason in (
            ({"inputs": [wrong]}, "number 0 has the mode RGB and 28 x 28 pixels"),
            ({"inputs": [*pngs, "white"]}, "number 1 is none"),
            ({"inputs": []}, "numpy array input"),
            ({"inputs": [digits[0][:27]]}, "got 1 x 27 x 28 x 1"),
        ):
            status, refused = answered(address, body)
            assert status == 400 and reason in refused["message"], refused


@pytest.mark.slow
def test_a_folder_of_which_nothing_can_be_used_is_refused(client, trained, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(bomb())
    with pytest.raises(SettingError, match="none of 1 file can be used. broken.png: it has too many pixels"):
        predict.run(PredictSettings(images=str(tmp_path), model=trained))


@pytest.mark.slow
@pytest.mark.thorough
def test_pictures_are_read_nearly_as_well_as_the_data(client, trained, tmp_path: Path) -> None:
    count = 100
    images, labels = DATA.images[:count], DATA.labels[:count]
    network = networks.load(networks.LoggedModel("", f"runs:/{trained}/model"))

    def accuracy(images: NDArray[np.float32]) -> float:
        return float((evaluation.predict(network, images).argmax(axis=1) == labels).mean())

    originals, found = accuracy(images), {}
    for name, made in {**SETS, **SHADOWS}.items():
        found[name] = accuracy(np.stack([prepared(made(image[..., 0]), tmp_path).image for image in images]))
    print(originals, found)
    assert originals > 0.9
    assert min(found[name] for name in SETS) >= 0.95 * originals, (originals, found)
    assert min(found[name] for name in SHADOWS) >= 0.9 * originals, (originals, found)
