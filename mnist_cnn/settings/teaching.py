"""What can be asked of images that teach: how they are searched for, and how many students learn from them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic

from mnist_cnn.settings.fields import (
    DATASET,
    MODEL,
    READ_RUN,
    RUN_NAME,
    TRUST,
    Count,
    Grammar,
    Model,
    PerImage,
    RunName,
    setting,
)
from mnist_cnn.settings.searching import AscentSettings, Share, Weight

_RUN = Grammar(lambda word: word == "" or READ_RUN(word), "the id of a run of `teach`, or nothing")


def _but(name: str, default: Any) -> Any:
    """A field of `AscentSettings` with another default."""
    return setting(default, str(AscentSettings.model_fields[name].description))


class _Lesson(AscentSettings):
    model: Model = MODEL
    trust: bool = TRUST
    num_images: int = setting(1000, "Images of each class.", ge=10, le=6000)
    students: int = setting(5, "Students of each kind, each with a seed of its own.", ge=1, le=100)
    images_of: Annotated[str, _RUN] = setting(
        "", "Id of an earlier run of `teach` whose images are taken, also of an interrupted one."
    )
    dataset: str = DATASET
    run_name: RunName = RUN_NAME


class TeachSettings(_Lesson, command="teach"):
    """Search for varied digits from noise, teach students by them alone, and test these on real digits.

    The accuracy of the students is the Classification Accuracy Score (arXiv:1905.10887).
    """

    steps: Count = _but("steps", 400)
    snapshot_every: Count = _but("snapshot_every", 400)
    schedule: Literal["constant", "cosine"] = _but("schedule", "cosine")
    l2_weight_first: Weight = _but("l2_weight_first", 6e-2)
    l2_weight: Weight = _but("l2_weight", 1e-3)
    tv_weight: Weight = _but("tv_weight", 1.5e-3)
    inversion_weight: Weight = _but("inversion_weight", 4.0)
    inversion_components: Count = _but("inversion_components", 100)
    l2_until: Share = _but("l2_until", 0.7)
    inversion_from: Share = _but("inversion_from", 0.3)
    inversion_until: Share = _but("inversion_until", 0.6)
    temperature: Annotated[PerImage, pydantic.Field(gt=0, le=1000)] = _but("temperature", 1.0)
