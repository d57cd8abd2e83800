"""What comes from a store or goes to a server: a damaged or foreign model runs nothing, and is refused in one line."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import keras
import mlflow
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import yaml
from mlflow.exceptions import MlflowException
from PIL import Image
from test_bad_input import CUT_OR_CHANGED, damaged, every

from mnist_cnn.settings import SettingError
from mnist_cnn.tracking import models, networks
from mnist_cnn.tracking.models import LoggedModel
from mnist_cnn.tracking.runs import tracked_run

IMAGES = np.random.default_rng(0).random((3, 28, 28, 1), np.float32)


def small(*extra: keras.Layer) -> keras.Model:
    layers = [keras.layers.Flatten(), *extra, keras.layers.Dense(10, activation="softmax")]
    return keras.Sequential([keras.Input((28, 28, 1)), *layers])


def logged(network: keras.Model) -> tuple[LoggedModel, Path]:
    with tracked_run("other"):
        model = networks.log_network(network, IMAGES[:1], {"kind": "other"})
    return model, Path(mlflow.get_logged_model(model.model_id).artifact_location.removeprefix("file://"))


@pytest.fixture
def fresh(client) -> Iterator[None]:
    networks._load.cache_clear()
    yield
    networks._load.cache_clear()


def load(model: LoggedModel, trust: bool = False) -> keras.Model:
    networks._load.cache_clear()
    return networks.load(models.resolve(model.uri, trust=trust), 10)


def refusal(model: LoggedModel) -> str:
    with pytest.raises(SettingError) as error:
        load(model)
    line = str(error.value)
    assert line.isprintable() and len(line) <= 300
    return line


THOROUGH = [pytest.mark.slow, pytest.mark.thorough]


@pytest.mark.parametrize("count", [pytest.param(15, id="few"), pytest.param(500, id="many", marks=THOROUGH)])
def test_a_damaged_network_is_loaded_or_refused_in_one_short_line(fresh, count: int) -> None:
    model, folder = logged(small())
    path = folder / "data" / "model.keras"
    whole = path.read_bytes()

    def check(how: tuple[str, float, int]) -> None:
        path.write_bytes(damaged(whole, how))
        try:
            load(model)
        except SettingError as error:
            assert str(error).isprintable() and len(str(error)) <= 300
            assert "trust" not in str(error)  # which would not help

    every(CUT_OR_CHANGED, count, check)


def test_weights_that_are_not_finite_are_the_reason_and_not_the_softmax(fresh) -> None:
    network = small()
    network.set_weights([np.full_like(weights, np.nan) for weights in network.get_weights()])
    model, _ = logged(network)
    assert "it gives numbers that are not finite" in refusal(model)


def test_out_of_memory_is_not_the_networks_fault(fresh, monkeypatch) -> None:
    def fails(*given: object, **how: object) -> None:
        raise MemoryError

    model, _ = logged(small())
    monkeypatch.setattr(keras.saving, "load_model", fails)
    with pytest.raises(MemoryError):
        load(model)


class Writes(tf.Module):
    """A saved model that writes a file when it is called, or loaded."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = str(path)

    @tf.function(input_signature=[tf.TensorSpec((None, 28, 28, 1))])
    def serve(self, images):  # noqa: ANN001, ANN201
        tf.io.write_file(self.path, "it ran")
        return images


def test_a_model_of_another_form_is_refused_and_nothing_of_it_runs(fresh, tmp_path: Path, monkeypatch) -> None:
    model, folder = logged(small())
    tf.saved_model.save(Writes(tmp_path / "ran"), str(folder / "data" / "model"))
    described = yaml.safe_load((folder / "MLmodel").read_text())
    described["flavors"]["keras"]["save_exported_model"] = True
    (folder / "MLmodel").write_text(yaml.safe_dump(described))
    monkeypatch.setattr(tf.saved_model, "load", lambda *arguments: pytest.fail("it was loaded"))
    assert "is no .keras file, and a model of another form may run code of its own" in refusal(model)
    assert "trust=true" in refusal(model)


def test_a_network_that_brings_code_is_loaded_only_by_who_trusts_it(fresh) -> None:
    model, _ = logged(small(keras.layers.Lambda(lambda x: 2 * x)))
    assert "cannot be loaded" in (line := refusal(model)) and "trust=true" in line
    assert load(model, trust=True)(IMAGES).shape == (3, 10)


def test_a_file_that_unpacks_to_too_much_is_not_unpacked(fresh, monkeypatch) -> None:
    model, _ = logged(small())
    monkeypatch.setattr(networks, "LARGEST", 1000)
    assert "GiB unpacked; at most" in refusal(model)


def test_a_served_network_answers_as_itself_and_refuses_what_is_no_image(fresh) -> None:
    network = small()
    model, _ = logged(network)
    served = mlflow.pyfunc.load_model(model.uri)
    np.testing.assert_allclose(served.predict(IMAGES), network.predict(IMAGES, verbose=0), rtol=1e-6)
    for value in (np.nan, np.inf, -0.1, 1.5):
        wrong = IMAGES.copy()
        wrong[1, 2, 3] = value
        with pytest.raises(MlflowException, match="must hold numbers from 0 to 1; 1 are not") as error:
            served.predict(wrong)
        assert error.value.get_http_status_code() == 400


def as_png(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def test_a_served_network_takes_pngs_and_refuses_what_does_not_fit(fresh) -> None:
    network = small()
    served = mlflow.pyfunc.load_model(logged(network)[0].uri)
    grey = np.random.default_rng(0).integers(0, 256, (2, 28, 28), np.uint8)
    texts = [as_png(Image.fromarray(image)) for image in grey]
    expected = network.predict(grey[..., np.newaxis] / np.float32(255), verbose=0)
    np.testing.assert_allclose(served.predict(np.array(texts)), expected, rtol=1e-6)
    np.testing.assert_allclose(served.predict(pd.DataFrame({"png": texts})), expected, rtol=1e-6)
    with_transparency = Image.fromarray(grey[1])
    with_transparency.info["transparency"] = 0
    uri = [f"data:image/png;base64,{text}" for text in texts]
    np.testing.assert_allclose(served.predict(np.array(uri, object)), expected, rtol=1e-6)
    for wrong, reason in (
        ([texts[0], as_png(Image.new("L", (27, 28)))], "28 x 28 pixels; number 1 has the mode L and 27 x 28 pixels"),
        ([as_png(Image.new("RGB", (28, 28)))], r"must be grey \(mode L\), .* number 0 has the mode RGB"),
        ([as_png(Image.new("L", (20_000, 20_000)))[:400]], "number 0"),
        ([texts[0][:40] + "\n" + texts[0][40:], as_png(with_transparency)], "without transparency, .* number 1"),
        ([base64.b64encode(b"GIF89a" + bytes(40)).decode()], "must be a PNG in base64; number 0 is another file"),
        (["white"], "must be a PNG in base64; number 0 is none"),
        ([texts[0][:80]], "must be a PNG in base64; number 0 is none"),
        ([texts[0], 1], "must have the shape n x 28 x 28 x 1, n at least 1; got 2"),
        ([], "must have the shape n x 28 x 28 x 1, n at least 1; got 0"),
    ):
        with pytest.raises(MlflowException, match=reason) as error:
            served.predict(np.array(wrong, object))
        assert error.value.get_http_status_code() == 400
    for array in (IMAGES[:, :27], IMAGES[..., 0], np.full((1, 28, 28, 1), "white", object)):
        with pytest.raises(MlflowException, match="Images must h"):
            served.predict(array)
