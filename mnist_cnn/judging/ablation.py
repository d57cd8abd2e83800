"""The report's question, whether stronger regularisation makes its images readable, as a table that can be printed.

Networks x regularisations x starts. What may be chosen is chosen for each network on pure noise by the panel of judges
that is there for it; the cells of the table are then searched from other seeds and judged by others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from mnist_cnn.data.dataset import LabelledImages
from mnist_cnn.judging import scorecard, search
from mnist_cnn.judging.scorecard import Scorecard, Scorer
from mnist_cnn.runtime.randomness import derive_seed
from mnist_cnn.settings import STARTS, AblationSettings, AscentSettings
from mnist_cnn.settings.experiments import SearchKind, kinds
from mnist_cnn.settings.targets import parse as parse_targets
from mnist_cnn.training import attacks

ENOUGH_DIVERSITY = 0.5
"""The mean distance between images of a class, as a share of that between real digits, that is asked for."""

MARGIN = 0.04
"""What is chosen must be so much more diverse than asked for: on other noise it was up to 0.03 less."""

REPORTS: list[dict[str, float]] = [{"l2_weight": 1e-4}]
L2: list[dict[str, float]] = [{"l2_weight": weight} for weight in (1e-4, 1e-3, 3e-3, 1e-2, 3e-2)]


def _posed(l2: float, pose: float, feature: float) -> dict[str, float]:
    return {"l2_weight": l2, "temperature": 2, "pose": pose, "feature_weight": feature}


READABLE = _posed(1.5e-2, 0.65, 0.2)
"""What panel A chose on the readable network."""

OTHERS: list[dict[str, float]] = [
    *(_posed(*each) for each in ((1.0e-2, 0.0, 0.0), (1.5e-2, 0.7, 0.0), (1.5e-2, 0.0, 0.2))),
    READABLE,
    *(_posed(*each) for each in ((1.5e-2, 0.65, 0.25), (2.0e-2, 0.65, 0.25), (2.0e-2, 0.7, 0.3), (1.5e-2, 0.5, 0.4))),
    # Of the kind that a sweep of the ordinary network found: smooth strokes, kept from the border and on the move.
    {"l2_weight": 4e-3, "temperature": 6, "tv_weight": 1e-4, "border_weight": 0.5, "degrees": 13},
    *(
        {"l2_weight": 1e-4, "temperature": 4, "tv_weight": tv, "smoothness_weight": smoothness, "border_weight": 0.3,
         "shift": shift, "degrees": degrees, "pose": pose}
        for tv, smoothness, shift, degrees, pose in (
            (2.5e-3, 1e-2, 0.3, 0, 0.0), (5e-3, 6e-3, 0.8, 5, 0.0), (2.5e-3, 1e-2, 0.3, 0, 0.6),
        )
    ),
]  # fmt: skip
SOURCES = 9
"""Other classes that are converted to a class, at most: all of ten."""

REGULARISATIONS = {"report L2": REPORTS, "tuned L2": L2, "tuned L2 and others": OTHERS}
"""What each column may choose from."""

Place = tuple[str, str, str]
"""A cell's network, regularisation and start."""


@dataclass(frozen=True)
class Searched:
    """n searches from one kind of start, with what came out and how it is judged. images: (n, 28, 28, 1)."""

    start: str
    images: NDArray[np.float32]
    targets: NDArray[np.float32]
    card: Scorecard


def merit(card: Scorecard) -> float:
    """Recognised rate times diversity, which counts up to what is asked for: neither is worth anything alone.

    Where there is no diversity, as of one image a class, it counts as none.
    """
    diversity = card.metrics().get("diversity", 0.0)
    return card.rate * min(1.0, diversity / (ENOUGH_DIVERSITY + MARGIN))


@dataclass(frozen=True)
class Tried:
    """One setting tried on noise, and its score by the panel that may choose."""

    changes: Mapping[str, float]
    card: Scorecard

    @property
    def merit(self) -> float:
        return merit(self.card)


@dataclass(frozen=True)
class Table:
    """tried: by network and regularisation, where there is a choice. chosen: by both. cells: by start as well."""

    tried: dict[str, dict[str, list[Tried]]] = field(default_factory=dict)
    chosen: dict[tuple[str, str], Mapping[str, float]] = field(default_factory=dict)
    cells: dict[Place, Searched] = field(default_factory=dict)


def fill(
    networks: Mapping[str, keras.Model],
    settings: AblationSettings,
    data: LabelledImages,
    choosing: Scorer,
    proving: Scorer,
    *,
    on_tried: Callable[[str, Tried], None] = lambda network, tried: None,
    on_cell: Callable[[Table, Place], None] = lambda table, place: None,
) -> Table:
    """Fill the table, network by network.

    networks: by name. data: where starts are drawn from. choosing: scores by the judges that say which setting is the
    best of a regularisation; proving: by those that judge the cells. on_tried: called after each setting that was
    tried. on_cell: called after each cell with the table so far.
    """
    table = Table()
    for name, network in networks.items():
        table.tried[name] = {}
        for column, choices in REGULARISATIONS.items():
            changes: Mapping[str, float] = choices[0]
            if len(choices) > 1:
                tried = table.tried[name].setdefault(column, [])
                for each in tune(network, choices, settings, data, choosing):
                    tried.append(each)
                    on_tried(name, each)
                changes = best(tried).changes
            table.chosen[name, column] = changes
            for start in STARTS:
                table.cells[name, column, start] = searched(
                    network, start, changes, data, proving,
                    num_images=settings.num_images, steps=settings.steps, seed=settings.seed,
                )  # fmt: skip
                on_cell(table, (name, column, start))
    return table


def kinds_from(start: str, num_classes: int) -> tuple[SearchKind, ...]:
    """Every class from noise, from a noisy image of its own, or from images of others: the `SOURCES` that follow it."""
    if start != "digit":
        return kinds("all", start, num_classes=num_classes)
    return tuple(
        SearchKind(target, start, source)
        for target in parse_targets("all", num_classes)
        for source in sorted((target.main_class + 1 + i) % num_classes for i in range(min(SOURCES, num_classes - 1)))
    )


def searched(
    network: keras.Model,
    start: str,
    changes: Mapping[str, float],
    data: LabelledImages,
    scorer: Scorer,
    *,
    num_images: int,
    steps: int,
    seed: int,
) -> Searched:
    """At least `num_images` searches for each digit, scored. data: where starts are drawn from."""
    asked = kinds_from(start, data.num_classes)
    of_each = -(-num_images * data.num_classes // len(asked))
    settings = AscentSettings(steps=steps, snapshot_every=steps, seed=seed, **changes)  # type: ignore[arg-type]
    found = search.search(network, asked, data, settings, num_images=of_each, scorer=scorer)
    assert found.card is not None
    return Searched(start, found.result.final, found.plan.targets, found.card)


def tune(
    network: keras.Model,
    choices: Sequence[Mapping[str, float]],
    settings: AblationSettings,
    data: LabelledImages,
    scorer: Scorer,
) -> Iterator[Tried]:
    """Try each choice on pure noise, `settings.tuning_images` for each digit, from seeds the table does not use."""
    how = {"num_images": settings.tuning_images, "steps": settings.steps, "seed": derive_seed(settings.seed, "tuning")}
    for changes in choices:
        yield Tried(changes, searched(network, "noise", changes, data, scorer, **how).card)


def best(tried: Sequence[Tried]) -> Tried:
    return max(tried, key=lambda each: each.merit)


def controls(
    train: LabelledImages, held_out: LabelledImages, network: keras.Model, scorer: Scorer, count: int
) -> dict[str, Scorecard]:
    """What the score says where the answer is known, on `count` held-out digits of each class.

    Real digits of the target's class, the same blurred, class means, real digits of another class, digits that
    `network` takes for another class (L2 attack; that class is the target), uniform noise, nothing.
    """
    num_classes = train.num_classes
    chosen = np.concatenate([np.flatnonzero(held_out.labels == number)[:count] for number in range(num_classes)])
    images, labels = held_out.images[chosen], held_out.labels[chosen].astype(np.int64)
    own, other = (np.eye(num_classes, dtype=np.float32)[shown] for shown in (labels, (labels + 1) % num_classes))
    means = np.stack([train.images[train.labels == number].mean(axis=0) for number in range(num_classes)])
    blurred = scorecard.features(images).reshape(images.shape)
    attacked = attacks.aim(network, images, other, radius=2.0)
    noise = np.random.default_rng(0).random(images.shape, np.float32)
    shown: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {
        "real digits": (images, own),
        "blurred real digits": (blurred, own),
        "class means": (means[labels], own),
        "real digits of another class": (images, other),
        "adversarial digits, as the attack's target": (attacked, other),
        "uniform noise": (noise, own),
        "blank": (np.zeros_like(images), own),
    }
    return {name: scorer(each, targets) for name, (each, targets) in shown.items()}


WORDS = {
    "l2_weight": "L2", "tv_weight": "total variation", "smoothness_weight": "smoothness", "border_weight": "border",
    "temperature": "temperature", "shift": "shift", "degrees": "degrees", "pose": "pose", "feature_weight": "direction",
}  # fmt: skip


def described(changes: Mapping[str, float]) -> str:
    """`L2 0.015, temperature 2, pose 0.65, direction 0.2`."""
    return ", ".join(f"{word} {changes[name]:g}" for name, word in WORDS.items() if changes.get(name))
