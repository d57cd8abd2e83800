"""A part of a page that holds a network and its arithmetic, so that a person can draw, dream and turn digits."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

import keras
from markupsafe import Markup

from mnist_cnn.data.dataset import DIGITS
from mnist_cnn.judging import ablation
from mnist_cnn.models import plain_layers
from mnist_cnn.models.plain_layers import PlainNetwork
from mnist_cnn.reporting.rendering import render
from mnist_cnn.settings.errors import SettingError
from mnist_cnn.settings.fields import cut

MOST_LETTERS = 11
"""Of a class's name in a line of a button: longer words are broken."""

SETTINGS = {"steps": 200, "learning_rate": 0.05, **ablation.READABLE}
"""Where the page begins: what was chosen for the readable network, with as many steps as a person likes to wait for."""


def section(
    network: keras.Model | PlainNetwork,
    settings: Mapping[str, float] | None = None,
    class_names: Sequence[str] = DIGITS,
    which: str = "",
) -> Markup:
    """The part as HTML that needs no other file. settings: in place of some of `SETTINGS`. class_names: k texts.

    which: what the network is, in words, if that shall be said.

    Raises `SettingError` for a network whose layers the page does not know, or that is too large for it, and for
    another number of names than the network has outputs.
    """
    held = network if isinstance(network, PlainNetwork) else plain_layers.plain(network)
    num_classes = held.layers[-1]["output"][-1]
    if len(class_names) != num_classes:
        names = ", ".join(map(repr, class_names))
        raise SettingError(
            f"`class_names`: the network has {num_classes} outputs and needs a name for each; got {len(class_names)}: "
            f"{cut(names)}. Give the names of the classes in their order."
        )
    weights = base64.b64encode(held.weights.astype("<f4").tobytes()).decode()
    values = {"layers": list(held.layers), "weights": weights, "settings": {**SETTINGS, **(settings or {})}}
    are_digits = tuple(class_names) == DIGITS
    named = [f"{'an' if name == '8' else 'a'} {name}" for name in DIGITS] if are_digits else list(class_names)
    letters = min(MOST_LETTERS, max((len(word) for name in class_names for word in name.split()), default=1))
    values = {**values, "names": named}
    shown = {"class_names": class_names, "are_digits": are_digits, "letters": letters, "which": which}
    return Markup(render("play.html", values=values, **shown))


def page(
    network: keras.Model | PlainNetwork,
    settings: Mapping[str, float] | None = None,
    class_names: Sequence[str] = DIGITS,
) -> str:
    """The part on a page of its own. Parameters and errors are those of `section`."""
    return render(
        "play_page.html",
        title="Play with the network",
        subtitle="Draw a picture, or watch the network dream one.",
        play=section(network, settings, class_names),
    )
