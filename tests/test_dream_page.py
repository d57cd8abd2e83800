"""A page with a network inside: a person draws, dreams and turns digits, by mouse, finger and keyboard."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pytest
from commands import browser_page, pictures_folder, wait_for
from keras import layers
from numpy.typing import NDArray

from mnist_cnn.models import networks, plain_layers
from mnist_cnn.reporting import play_section
from mnist_cnn.settings.errors import SettingError
from tests import reporting_examples
from tests.test_dream_arithmetic import MATHS

if TYPE_CHECKING:
    from playwright.sync_api import Page

FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
LONG = tuple(f"aNameOfThirtyLetters{number:010}" for number in range(47))
STOP_AT_THE_FIRST_STEP = """
  const step = document.getElementById("play-step"), button = document.getElementById("play-start");
  const watch = new MutationObserver(() => { if (step.textContent) { watch.disconnect(); button.click(); } });
  button.click();
  watch.observe(step, { childList: true });
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browser_page() as page:
        yield page.context.browser


def reading(page: Page) -> str:
    return page.locator("#play-verdict").inner_text()


def pixels(page: Page) -> NDArray[np.int64]:
    """(28, 28) grey levels from 0 to 255 of the picture."""
    script = """() => [...document.getElementById("play-canvas").getContext("2d").getImageData(0, 0, 28, 28).data]"""
    return np.array(page.evaluate(script)).reshape(28, 28, 4)[..., 0]


def dream(page: Page, digit: int) -> None:
    page.locator(f"input[name=target][value='{digit}']").check()
    page.get_by_role("button", name="Dream").press("Enter")
    page.get_by_role("button", name="Dream").wait_for()
    wait_for(lambda: f"The dream of {'an' if digit == 8 else 'a'} {digit} has ended" in said(page), 60)


def said(page: Page) -> str:
    return page.locator("#play-said").inner_text()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, browser: Any) -> Iterator[Page]:
    """The page of a network that tells digits apart: templates as in a dense layer, one for each class."""
    inputs = keras.Input((28, 28, 1))
    network = keras.Model(inputs, layers.Dense(10, activation="softmax")(layers.Flatten()(inputs)))
    data = reporting_examples.digits()
    means = np.stack([data.images[data.labels == number].mean(axis=0).ravel() for number in range(10)], axis=1)
    network.layers[-1].set_weights([means, -0.5 * (means**2).sum(axis=0)])  # the nearest mean
    path = tmp_path_factory.mktemp("desk") / "play.html"
    path.write_text(play_section.page(network, {"temperature": 1.0, "l2_weight": 0.01}), encoding="utf-8")
    page = browser.new_page(viewport={"width": 1400, "height": 900}, has_touch=True)
    asked: list[str] = []
    faults: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(path.as_uri())
    yield page
    page.close()
    assert (
        not faults and {url.partition(":")[0] for url in asked} <= {"file", "blob"} and asked.count(path.as_uri()) == 1
    )


@pytest.mark.slow
def test_a_digit_is_drawn_by_mouse_and_by_keyboard_and_read(desk: Page) -> None:
    desk.get_by_role("button", name="Clear").click()
    assert pixels(desk).max() == 0
    canvas = desk.locator("#play-canvas")
    box = canvas.bounding_box()
    assert box is not None
    middle = box["x"] + box["width"] / 2
    desk.mouse.move(middle, box["y"] + 0.15 * box["height"])
    desk.mouse.down()
    desk.mouse.move(middle, box["y"] + 0.85 * box["height"], steps=5)
    desk.mouse.up()
    wait_for(lambda: reading(desk).lower().startswith(("a 1", "perhaps a 1")), 10)
    assert 60 < (pixels(desk) > 0).sum() < 120
    assert desk.locator("input[name=start][value=picture]").is_checked(), "a dream would begin with the drawing"
    desk.locator("#play-seed").fill("3")
    desk.locator("#play-seed").blur()
    assert 60 < (pixels(desk) > 0).sum() < 120, "another seed leaves a drawing as it is"
    desk.get_by_role("button", name="Clear").click()
    canvas.focus()
    for key in ("ArrowDown", " ", *["ArrowDown"] * 15, " ", "ArrowRight"):
        desk.keyboard.press(key)
    wait_for(lambda: "a 1" in said(desk), 10)
    column = pixels(desk)[:, 14]
    assert column[8:22].min() == 255 and column[25] == 0 and pixels(desk)[:, 20].max() == 0


def touch(desk: Page, *events: tuple[str, list[tuple[float, float]]]) -> None:
    """Touch the canvas: what happens, and where each finger is then, from (0, 0) to (1, 1)."""
    box = desk.locator("#play-canvas").bounding_box()
    assert box is not None
    session = desk.context.new_cdp_session(desk)
    for kind, places in events:
        points = [
            {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"], "id": number}
            for number, (x, y) in enumerate(places)
        ]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    session.detach()


@pytest.mark.slow
def test_a_finger_draws_and_the_page_does_not_scroll(desk: Page) -> None:
    desk.get_by_role("button", name="Clear").click()
    down, on, lower = ([(0.5, share)] for share in (0.1, 0.5, 0.9))
    touch(desk, ("touchStart", down), ("touchMove", on), ("touchMove", lower), ("touchEnd", []))
    wait_for(lambda: "a 1" in reading(desk).lower(), 10)
    assert desk.evaluate("scrollY") == 0 and (pixels(desk)[:, 13:15].max(axis=1) > 0).sum() > 20


@pytest.mark.slow
def test_a_second_finger_draws_nothing(desk: Page) -> None:
    desk.get_by_role("button", name="Clear").click()
    touch(
        desk, ("touchStart", [(0.1, 0.1)]), ("touchStart", [(0.1, 0.3), (0.9, 0.9)]),
        ("touchMove", [(0.1, 0.5), (0.9, 0.7)]), ("touchMove", [(0.1, 0.6)]), ("touchEnd", []),
    )  # fmt: skip
    drawn = pixels(desk)
    assert drawn[:, 6:].max() == 0, "neither a dot of its own nor a line from finger to finger"
    assert (drawn[:, :6].max(axis=1) > 0).sum() > 12


@pytest.mark.slow
def test_a_drawing_is_fitted_as_the_training_digits_were(desk: Page) -> None:
    desk.get_by_role("button", name="Clear").click()
    box = desk.locator("#play-canvas").bounding_box()
    assert box is not None
    desk.mouse.move(box["x"] + 0.1 * box["width"], box["y"] + 0.1 * box["height"])
    desk.mouse.down()
    desk.mouse.move(box["x"] + 0.1 * box["width"], box["y"] + 0.4 * box["height"], steps=5)
    desk.mouse.up()
    desk.get_by_role("button", name="Fit").click()
    drawn = pixels(desk).astype(float)
    rows = np.flatnonzero(drawn.max(axis=1) > 50)
    centre = (drawn.sum(axis=0) @ np.arange(28), drawn.sum(axis=1) @ np.arange(28))
    np.testing.assert_allclose(np.array(centre) / drawn.sum(), 13.5, atol=0.2)
    assert 18 <= len(rows) <= 22


@pytest.mark.slow
def test_a_digit_is_dreamed_from_the_noise_of_a_seed_and_turned_into_another(desk: Page) -> None:
    desk.locator("input[name=start][value=noise]").check()
    desk.locator("#play-seed").fill("7")
    desk.locator("#play-seed").blur()
    noise = pixels(desk)
    assert noise.std() > 60
    dream(desk, 3)
    assert reading(desk).startswith("A 3") and desk.locator("#play-step").inner_text() == "step 200 of 200"
    three = pixels(desk)
    assert np.corrcoef(three.ravel(), noise.ravel())[0, 1] < 0.8
    assert desk.locator("input[name=start][value=picture]").is_checked()
    dream(desk, 8)
    assert reading(desk).startswith("An 8")
    desk.locator("input[name=start][value=noise]").check()
    np.testing.assert_array_equal(pixels(desk), noise)
    dream(desk, 3)
    np.testing.assert_array_equal(pixels(desk), three)  # the same seed dreams the same
    desk.locator("#play-seed").fill("6")
    desk.locator("#play-seed").blur()
    dream(desk, 3)
    assert not np.array_equal(pixels(desk), three)
    desk.locator("#play-seed").fill("7")
    desk.locator("#play-seed").blur()
    assert desk.locator("input[name=start][value=noise]").is_checked(), "after a dream, another seed begins anew"
    dream(desk, 3)
    np.testing.assert_array_equal(pixels(desk), three)
    desk.get_by_role("button", name="New noise").click()
    assert desk.locator("#play-seed").input_value() == "8" and not np.array_equal(pixels(desk), noise)


@pytest.mark.slow
def test_the_sliders_are_obeyed_and_a_dream_is_stopped(desk: Page) -> None:
    desk.locator("input[name=start][value=noise]").check()
    desk.get_by_label("steps", exact=True).fill("20")
    desk.get_by_label("L2 weight").fill("0.05")
    assert desk.locator("output[for=play-l2_weight]").inner_text() == "0.05"
    dream(desk, 4)
    dark = pixels(desk).mean()
    assert desk.locator("#play-step").inner_text() == "step 20 of 20"
    desk.get_by_label("L2 weight").fill("0")
    desk.locator("input[name=start][value=noise]").check()
    dream(desk, 4)
    assert pixels(desk).mean() > dark + 10
    desk.evaluate("document.getElementById('play-steps').max = 50000")  # this small network is quick
    desk.get_by_label("steps", exact=True).fill("50000")
    step = desk.locator("#play-step")
    at_once = desk.evaluate(f"() => {{ {STOP_AT_THE_FIRST_STEP} return step.textContent; }}")
    assert at_once == "", "the count of the dream before is gone"
    wait_for(lambda: said(desk).startswith("The dream was stopped. The network reads: "), 10)
    stopped, picture = step.inner_text(), pixels(desk)
    assert re.fullmatch(r"step \d+ of 50000", stopped) and stopped != "step 50000 of 50000"
    desk.wait_for_timeout(500)  # in which a dream that goes on shows a dozen more
    assert step.inner_text() == stopped
    np.testing.assert_array_equal(pixels(desk), picture)
    desk.get_by_label("steps", exact=True).fill("200")


@pytest.mark.slow
@pytest.mark.parametrize(("typed", "used"), [("-5", "0"), ("99999999999", "2147483647"), ("2.7", "2"), ("", "0")])
@pytest.mark.parametrize("start", ["noise", "picture"])
def test_the_field_shows_the_seed_that_is_used(desk: Page, typed: str, used: str, start: str) -> None:
    desk.locator(f"input[name=start][value={start}]").check()
    field = desk.locator("#play-seed")
    field.fill("8")
    field.blur()
    field.fill(typed)
    field.blur()
    assert field.input_value() == used
    desk.locator("input[name=start][value=noise]").check()
    shown = desk.evaluate(f"(seed) => {{ {MATHS} return [...maths.noise(seed)]; }}", int(used))
    np.testing.assert_allclose(pixels(desk).ravel(), 255 * np.array(shown), atol=1)


@pytest.mark.slow
def test_it_works_in_the_frame_in_which_mlflow_shows_a_page(desk: Page) -> None:
    """MLflow's own is `sandbox="allow-scripts"`: no form is submitted there, and the page has no origin."""
    browser = desk.context.browser
    assert browser is not None
    page = browser.new_page()
    page.evaluate(
        """(text) => { const frame = document.createElement("iframe");
          frame.sandbox = "allow-scripts"; frame.srcdoc = text; document.body.append(frame); }""",
        desk.content(),
    )
    inside = page.frame_locator("iframe")
    inside.get_by_role("button", name="Dream").click()
    wait_for(lambda: "has ended" in inside.locator("#play-said").inner_text(), 60)
    page.close()


@pytest.mark.slow
@pytest.mark.parametrize("names", [play_section.DIGITS, FASHION, LONG], ids=["digits", "fashion", "long"])
@pytest.mark.parametrize("width", [1400, 390])
def test_names_of_any_length_fit_and_cover_nothing(
    names: tuple[str, ...], width: int, browser: Any, tmp_path: Path
) -> None:
    inputs = keras.Input((28, 28, 1))
    path = tmp_path / "play.html"
    network = keras.Model(inputs, layers.Dense(len(names))(layers.Flatten()(inputs)))
    path.write_text(play_section.page(network, class_names=names), encoding="utf-8")
    page = browser.new_page(viewport={"width": width, "height": 844})
    page.goto(path.as_uri())
    wait_for(lambda: page.locator("#play-verdict").inner_text().strip() != "", 10)
    page.screenshot(path=pictures_folder(tmp_path) / f"names_{len(names[-1])}_{width}.png", full_page=True)
    found = page.evaluate("""() => {
      const all = (name) => [...document.querySelectorAll(name)], box = (part) => part.getBoundingClientRect();
      const fits = (part) => part.scrollWidth <= part.clientWidth;
      const apart = (one, other) => one.right <= other.left || other.right <= one.left
        || one.bottom <= other.top || other.bottom <= one.top;
      return {
        page: fits(document.documentElement) && document.documentElement.scrollHeight < 2400,
        names: all(".play-bars > div > :first-child, .play-digits span").every(fits),
        bars: all(".play-bars > div").every(
          ({ children: [name, bar] }) => apart(box(name), box(bar)) && box(bar).width > 15),
        buttons: all(".play-digits label").every(
          (label) => box(label).right <= box(document.querySelector("#play")).right),
        in_first_row: all(".play-digits label").filter((label, _, [first]) => box(label).top === box(first).top).length,
      }; }""")
    page.close()
    assert found.pop("in_first_row") == 10 if names == play_section.DIGITS else found.pop("in_first_row") < 5
    assert all(found.values()), found


@pytest.mark.slow
def test_it_fits_a_phone_and_the_dark_and_every_control_has_a_name(desk: Page, tmp_path: Path) -> None:
    before = desk.viewport_size
    for scheme in ("light", "dark"):
        for width in (1400, 390):
            desk.emulate_media(color_scheme=scheme)
            desk.set_viewport_size({"width": width, "height": 844})
            assert desk.evaluate("document.documentElement.scrollWidth") == width
            desk.screenshot(path=pictures_folder(tmp_path) / f"play_{scheme}_{width}.png", full_page=True)
    frame = desk.locator(".play-frame").bounding_box()
    assert frame and (frame["x"], frame["width"]) == (59, 272), "a thumb scrolls the page beside the picture"
    top, bottom = desk.locator("#play-canvas").bounding_box(), desk.locator("#play-start").bounding_box()
    assert top and bottom and bottom["y"] + bottom["height"] - top["y"] < 844, "a dream is seen from its button"
    desk.set_viewport_size(before)
    names = desk.locator("#play").aria_snapshot()
    assert names.count("- radio ") == 12 and names.count("- slider ") == 4
    assert not re.search(r"- (?:button|slider|spinbutton|radio|application)(?!.*\")", names)


def held(text: str) -> str:
    return re.findall(r'id="play-network">(.*?)</script>', text, re.DOTALL)[0]  # type: ignore[no-any-return]


def test_the_part_is_closed_and_nothing_of_it_ends_its_script() -> None:
    text = play_section.section(networks.build("compact", 0))
    assert not re.findall(r"(?:src|href)=[\"'](?!data:)|url\(|@import", text)
    assert text.count("</script>") == 3 and text.count("<script") == 3
    assert [layer["kind"] for layer in json.loads(held(text))["layers"]] == [
        "order", *["convolution", "relu"] * 3, "dense",
    ]  # fmt: skip


def test_a_page_with_the_largest_network_has_at_most_four_megabytes() -> None:
    inputs = keras.Input((28, 28, 1))
    units = (plain_layers.MOST_WEIGHTS - 10) // (784 + 1 + 10)
    hidden = layers.Dense(units, activation="relu")(layers.Flatten()(inputs))
    network = keras.Model(inputs, layers.Dense(10)(hidden))
    assert 0.99 * plain_layers.MOST_WEIGHTS < network.count_params() and len(play_section.page(network)) < 4e6


def test_classes_are_named_and_each_output_has_one() -> None:
    network = networks.build("compact", 0)
    text = play_section.page(network, class_names=FASHION)
    assert text.count("<span>Sneaker</span>") == 2 and json.loads(held(text))["names"] == list(FASHION)
    assert json.loads(held(play_section.page(network, class_names=list("0123456789"))))["names"][8] == "an 8"
    with pytest.raises(SettingError, match="outputs and needs a name for each") as refusal:
        play_section.page(network, class_names=("shirt", "bag"))
    assert str(refusal.value) == (
        "`class_names`: the network has 10 outputs and needs a name for each; got 2: 'shirt', 'bag'. "
        "Give the names of the classes in their order."
    )
    with pytest.raises(SettingError, match=r"has 10 outputs .* got 47: .* in their order\.$"):
        play_section.section(network, class_names=LONG)
