"""Whether a model may become the champion: it must not be worse than the one that is, by more than a margin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mnist_cnn.data.intervals import Difference, Share, paired_difference, wilson_interval


@dataclass(frozen=True)
class Version:
    """A version of a registered model. aliases: that point to it. run_id: of the run that trained it, if known."""

    name: str
    number: int
    model_id: str
    source: str
    run_id: str
    aliases: tuple[str, ...]
    tags: Mapping[str, str]

    @property
    def uri(self) -> str:
        return f"models:/{self.name}/{self.number}"


@dataclass(frozen=True)
class Origin:
    """What is known of how a model was made; empty or None where nothing is.

    digest: of all its training images. validation_fraction: share of them, the last ones, that it did not learn from.
    dataset: the word it was given for them. epsilon: radius within which its run attacked it. metrics: of its run.
    """

    run_id: str = ""
    commit: str = ""
    digest: str = ""
    validation_fraction: float | None = None
    regime: str = ""
    network: str = ""
    dataset: str = ""
    epsilon: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """What was decided, and by what.

    accuracy: of the model, on `num_images` validation images. champion: version number of the champion there was.
    difference: the model's accuracy minus the champion's on the same images; None without another champion.
    """

    accuracy: Share
    num_images: int
    champion: int | None
    difference: Difference | None
    margin: float
    objection: str = ""
    """Why the model may not become the champion whatever its accuracy."""

    @property
    def is_champion(self) -> bool:
        """Whether the model is the champion already."""
        return self.champion is not None and self.difference is None and not self.objection

    @property
    def promoted(self) -> bool:
        """Whether it may be the champion: even the lower end of the difference's interval is above minus the margin."""
        return not self.objection and (self.difference is None or self.difference.low > -self.margin)

    @property
    def word(self) -> str:
        if self.is_champion:
            return "is the champion"
        if self.champion is None and not self.objection:
            return "the first champion"
        return "promoted" if self.promoted else "not promoted"

    @property
    def sentence(self) -> str:
        """What was found, and why it decides so."""
        found = f"Validation accuracy {_percent(self.accuracy)} on {self.num_images:,} images"
        if self.objection:
            return f"{found}. {self.objection}: it stays a challenger."
        if self.is_champion:
            return f"{found}. The model is the champion already, as version {self.champion}."
        if self.difference is None:
            return f"{found}. There is no champion to compare it with, so it becomes the champion."
        one = self.difference
        points = f"{100 * one.difference:+.2f} points (95 % interval {100 * one.low:+.2f} to {100 * one.high:+.2f})"
        against = f"{found}, {points} against the champion, version {self.champion}"
        allowed = f"{-100 * self.margin:+.2f}"
        if self.promoted:
            return f"{against}. The whole interval is above {allowed}: it becomes the champion."
        if one.high <= -self.margin:
            return f"{against}. The whole interval is at or below {allowed}: it is worse, and stays a challenger."
        if one.difference <= -self.margin:
            return f"{against}. That is at or below {allowed}: it stays a challenger."
        return (
            f"{against}. The interval reaches to {allowed} and below, so it may be worse than is allowed: "
            "it stays a challenger."
        )

    def metrics(self) -> dict[str, float]:
        """The numbers by the names under which a run holds them."""
        numbers = {
            "promotion/validation_accuracy": self.accuracy.rate,
            "promotion/images": float(self.num_images),
            "promotion/passed": float(self.promoted),
        }
        if self.difference is not None:
            one = self.difference
            numbers |= {"promotion/difference": one.difference, "promotion/difference_low": one.low}
            numbers |= {"promotion/difference_high": one.high, "promotion/margin": self.margin}
        return numbers


def decide(
    hits: NDArray[np.bool_],
    champion: int | None,
    champions_hits: NDArray[np.bool_] | None,
    margin: float,
    objection: str = "",
) -> Decision:
    """hits, champions_hits: (n,), which of the same n images the model and the champion get right.

    champion: its version number, None where there is none. champions_hits: None where it is the model itself, or none.
    """
    accuracy = Share(float(hits.mean()), *wilson_interval(int(hits.sum()), len(hits)))
    difference = None
    if champions_hits is not None:
        difference = paired_difference("challenger", "champion", hits, champions_hits)
    return Decision(accuracy, len(hits), champion, difference, margin, objection)


def _percent(one: Share) -> str:
    return f"{100 * one.rate:.2f} % ({100 * one.low:.2f} to {100 * one.high:.2f})"
