"""The arithmetic of a page with a network inside is that of Keras and of `ascend`, and it is quick."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from commands import browser_page
from keras import layers
from numpy.typing import NDArray

from mnist_cnn.input_optimization import ascend, objectives, penalties
from mnist_cnn.input_optimization.ascent import POSE
from mnist_cnn.models import networks, plain_layers, transforms
from mnist_cnn.reporting import play_section
from mnist_cnn.settings import AscentSettings
from mnist_cnn.settings.errors import SettingError

if TYPE_CHECKING:
    from playwright.sync_api import Page

SETTINGS = {name: value for name, value in play_section.SETTINGS.items() if name != "steps"}
LONGEST = 9000
"""Milliseconds that 200 steps may take, where two to three thousand were measured: machines are shared."""
MATHS = """
  const text = document.getElementById("play-dream").textContent;
  const maths = new Function(`${text}\\nreturn { makeNetwork, makeSearch, noise, draws };`)();
  const held = JSON.parse(document.getElementById("play-network").textContent);
  const bytes = Uint8Array.from(atob(held.weights), (letter) => letter.charCodeAt(0));
  const network = maths.makeNetwork(held.layers, new Float32Array(bytes.buffer));
"""
"""The page's own arithmetic, for a script of a test."""


def moved(network: keras.Model, seed: int) -> keras.Model:
    """The network with weights as a training may leave them: no bias is 0, no batch normalisation without effect."""
    random = np.random.default_rng(seed)
    for layer in network.layers:
        weights = layer.get_weights()
        noise = [random.normal(0, 0.1, weight.shape) for weight in weights]
        layer.set_weights([weight + np.abs(more) if weight.ndim == 1 else weight + 0.2 * more
                           for weight, more in zip(weights, noise, strict=True)])  # fmt: skip
    return network


def valid_and_odd() -> keras.Model:
    """What the networks of the project do not have: uneven strides and sizes, a folded dense layer."""
    inputs = keras.Input((28, 28, 1))
    features = layers.Conv2D(6, (3, 4), strides=(1, 3), padding="valid", activation="silu")(inputs)
    features = layers.Conv2D(5, (4, 2), strides=(3, 1), padding="same")(features)
    features = layers.Flatten()(layers.Dropout(0.5)(layers.BatchNormalization(scale=False)(features)))
    features = layers.ReLU()(layers.BatchNormalization(center=False)(layers.Dense(17)(features)))
    return keras.Model(inputs, layers.Softmax()(layers.Dense(10, name=networks.LOGITS)(features)))


BUILT = {
    "smooth": lambda: networks.build("smooth", 3),
    "compact": lambda: networks.build("compact", 4),
    "wide": lambda: networks.build("wide", 5),
    "odd": valid_and_odd,
}


def images(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(1).random((count, 28, 28, 1), np.float32)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browser_page() as page:
        yield page.context.browser


@pytest.fixture(scope="module", params=BUILT)
def opened(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, browser: Any
) -> Iterator[tuple[keras.Model, Page]]:
    """A network, and its page in a browser."""
    network = moved(BUILT[request.param](), 7)
    path = tmp_path_factory.mktemp("play") / "play.html"
    path.write_text(play_section.page(network), encoding="utf-8")
    page = browser.new_page()
    page.goto(path.as_uri())
    yield network, page
    page.close()


@pytest.mark.slow
def test_the_logits_are_those_of_keras(opened: tuple[keras.Model, Page]) -> None:
    network, page = opened
    given = images(5)
    script = f"(images) => {{ {MATHS} return images.map((image) => [...network.forward(Float32Array.from(image))]); }}"
    logits = np.array(page.evaluate(script, given.reshape(5, -1).tolist()))
    np.testing.assert_allclose(logits, networks.with_logits(network)(given).numpy(), atol=1e-4, rtol=0)
    assert np.ptp(logits) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"pose": 1.5}, {"pose": 0, "temperature": 1}], ids=str)
def test_the_gradient_is_that_of_keras(opened: tuple[keras.Model, Page], changes: dict[str, float]) -> None:
    network, page = opened
    settings = {**SETTINGS, "feature_weight": 0, **changes}
    given, target, seed = images(1), 6, 11
    pixels, pose = tf.constant(given), settings["pose"]
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        draws = transforms.draws_of_images(tf.constant([seed]), POSE, transforms.NUM_AFFINE_DRAWS)
        seen = transforms.random_pose(pixels, draws, tf.constant([pose], tf.float32)) if pose else pixels
        logits = networks.with_logits(network)(seen) / settings["temperature"]
        loss = objectives.cross_entropy(logits, tf.one_hot([target], 10)) + settings["l2_weight"] * penalties.l2(pixels)
    expected = tape.gradient(loss, pixels).numpy().ravel()
    script = f"""({{ image, target, seed, settings }}) => {{ {MATHS}
      return [...maths.makeSearch(network, Float32Array.from(image), target, seed, settings).gradient()]; }}"""
    found = page.evaluate(
        script, {"image": given.ravel().tolist(), "target": target, "seed": seed, "settings": settings}
    )
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max(), rtol=0)


@pytest.mark.slow
def test_a_dream_is_the_search_that_python_does(opened: tuple[keras.Model, Page]) -> None:
    """With penalty, pose, direction, temperature and Adam, from the same start and seed."""
    network, page = opened
    given, target, seed = images(1), 3, 2**31 - 1
    settings = AscentSettings(steps=25, snapshot_every=25, seed=seed, **SETTINGS)
    expected = ascend(network, given, np.eye(10)[target], settings).final.ravel()
    script = f"""({{ image, target, seed, settings }}) => {{ {MATHS}
      const search = maths.makeSearch(network, Float32Array.from(image), target, seed, settings);
      while (search.steps < 25) search.advance();
      return [...search.pixels]; }}"""
    found = page.evaluate(
        script, {"image": given.ravel().tolist(), "target": target, "seed": seed, "settings": SETTINGS}
    )
    # Adam divides by the size of a gradient, so a pixel whose gradient is nearly 0 may go either way.
    assert np.mean(np.abs(np.array(found) - expected) > 1e-3) < 0.01
    assert np.abs(expected - given.ravel()).mean() > 0.1


@pytest.mark.slow
def test_the_draws_are_those_of_python(opened: tuple[keras.Model, Page]) -> None:
    _, page = opened
    found = page.evaluate(f"() => {{ {MATHS} return [...maths.draws(5, -2, 300), ...maths.noise(5)]; }}")
    expected = transforms.draws_of_images(tf.constant([5]), -2, 300).numpy().ravel()
    np.testing.assert_array_equal(np.array(found[:300], np.float32), expected)
    assert 0 <= min(found[300:]) < 0.02 and 0.98 < max(found[300:]) < 1 and len(found) == 300 + 784


CLICK_UNTIL_SHOWN = """async () => {
  document.querySelector("input[name=start][value=noise]").click();
  const step = document.getElementById("play-step"), began = performance.now(), shown = new Set();
  document.getElementById("play-start").click();
  while (step.textContent !== "step 200 of 200" && performance.now() - began < 20000) {
    await new Promise(requestAnimationFrame);
    shown.add(step.textContent);
  }
  return [performance.now() - began, shown.size]; }"""


@pytest.mark.slow
@pytest.mark.alone
def test_two_hundred_steps_take_seconds(opened: tuple[keras.Model, Page], request: pytest.FixtureRequest) -> None:
    """From the click on Dream until the last step is shown: what a person waits for, and the work of the processor.

    The work depends less on what else a machine does. For `smooth`, the least of three was 2.3 s on two cores with a
    load of 5, and 2.8 s with a load of 10. With nothing else to do, three dreams took 5.4 s in all, waits included.
    """
    _, page = opened
    session = page.context.browser.new_browser_cdp_session()  # type: ignore[union-attr]

    def worked() -> float:
        """Seconds of the processor that pages have used, their workers included."""
        processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
        return float(sum(process["cpuTime"] for process in processes if process["type"] == "renderer"))

    waits, work = [], []
    for _ in range(3):
        before = worked()
        wait, pictures = page.evaluate(CLICK_UNTIL_SHOWN)
        work.append(worked() - before)
        waits.append(wait)
        assert 1 < pictures < 3 + wait / 60, "a picture about every 60 ms"
    session.detach()
    assert min(waits) < LONGEST
    if request.node.callspec.params["opened"] == "smooth":
        assert 0.1 < min(work) < 4


def refused(make: Any) -> str:
    inputs = keras.Input((28, 28, 1))
    with pytest.raises(SettingError) as refusal:
        plain_layers.plain(keras.Model(inputs, make(inputs), name="mine"))
    return str(refusal.value)


def test_other_layers_are_refused_by_name() -> None:
    def dense(features: Any, **more: Any) -> Any:
        return layers.Dense(10, name="last", **more)(layers.Flatten()(features))

    pooled = refused(lambda images: dense(layers.MaxPooling2D(2, name="pool")(images)))
    assert pooled == (
        "`model`: the network mine cannot be put into a page: its layer pool (MaxPooling2D) is not known here. "
        "Networks such as smooth and compact can."
    )
    for said, make in {
        "pool (MaxPooling2D) is not known here": lambda images: dense(layers.MaxPooling2D(2, name="pool")(images)),
        "last (Dense) has the activation sigmoid": lambda images: dense(images, activation="sigmoid"),
        "norm (BatchNormalization) does not stand right after": lambda images: dense(
            layers.BatchNormalization(name="norm")(layers.Conv2D(2, 3, activation="relu")(images))
        ),
        "rows (BatchNormalization) normalises along axis 1, and not along the last": lambda images: dense(
            layers.BatchNormalization(axis=1, name="rows")(layers.Conv2D(28, 3, padding="same")(images))
        ),
        "sum (Add) does not follow": lambda images: dense(layers.Add(name="sum")([images, layers.ReLU()(images)])),
        "over (Dense) stands after the softmax": lambda images: layers.Dense(10, name="over")(
            dense(images, activation="softmax")
        ),
        "wide (Conv2D) reads channels first, in groups, or with gaps": lambda images: dense(
            layers.Conv2D(2, 3, dilation_rate=2, name="wide")(images)
        ),
        "soft (ReLU) is not known": lambda images: dense(layers.ReLU(negative_slope=0.1, name="soft")(images)),
        "ends in a row of logits": lambda images: layers.Conv2D(2, 3)(images),
        "at most 600,000 can be put into a page": lambda images: layers.Dense(900)(layers.Flatten()(images)),
    }.items():
        assert said in refused(make), said


def test_a_network_that_is_not_built_is_refused_in_words_and_once_built_is_taken() -> None:
    network = keras.Sequential([layers.Flatten(), layers.Dense(10)], name="mine")
    with pytest.raises(SettingError) as refusal:
        plain_layers.plain(network)
    assert str(refusal.value) == (
        "`model`: the network mine is not built, so its layers have no weights and no sizes. "
        "Build it first: network.build((None, 28, 28, 1)), or begin it with keras.Input((28, 28, 1))."
    )
    network.build((None, 28, 28, 1))
    assert [layer["kind"] for layer in plain_layers.plain(network).layers] == ["dense"]
    with pytest.raises(SettingError, match="no chain of layers that ends in a row of logits"):
        plain_layers.plain(keras.Sequential([keras.Input((28, 28, 1)), layers.Flatten()]))
    first, second = keras.Input((28, 28, 1)), keras.Input((28, 28, 1))
    with pytest.raises(SettingError, match="no chain of layers that ends in a row of logits"):
        plain_layers.plain(
            keras.Model([first, second], layers.Dense(10)(layers.Flatten()(layers.Add()([first, second]))))
        )
