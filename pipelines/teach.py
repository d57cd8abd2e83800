"""Do the images of a network teach? Search for varied digits, teach students by them alone, test on real digits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import keras
import numpy as np

from mnist_cnn.data import dataset
from mnist_cnn.data.dataset import LabelledImages, Split
from mnist_cnn.input_optimization import inversion
from mnist_cnn.input_optimization.inversion import FeatureStatistics
from mnist_cnn.judging import teaching
from mnist_cnn.judging.feature_spaces import FeatureSpaces
from mnist_cnn.judging.search import search
from mnist_cnn.judging.teaching import Taught
from mnist_cnn.reporting import ablation_figures, descriptions, tables
from mnist_cnn.reporting.progress import AscentProgress
from mnist_cnn.reporting.rendering import on_terminal
from mnist_cnn.runtime import hardware
from mnist_cnn.settings import PANEL_B, AscentSettings, SettingError, TeachSettings
from mnist_cnn.settings.experiments import kinds
from mnist_cnn.tracking import models, networks, reading, runs
from mnist_cnn.tracking.models import LoggedModel
from mnist_cnn.tracking.networks import log_network
from pipelines import judges

IMAGES, POSED, REAL = "images from noise", "control: one posed digit a class", "real digits"
"""The rows of the table."""


@dataclass(frozen=True)
class TeachResult:
    """Each row of the table, by name, and the first augmented student of the images as a logged model."""

    run_id: str
    rows: dict[str, Taught]
    student: LoggedModel


def run(settings: TeachSettings) -> TeachResult:
    """Search, teach, test and log. Nothing is chosen by the test images."""
    data = dataset.split(dataset.load_train(settings.dataset))
    dataset.refuse_missing_classes(data)
    if (
        settings.images_of
        and reading.required_run(settings.images_of, "images_of").data.tags.get(runs.KIND_TAG) != "teach"
    ):
        raise SettingError(f"`images_of`: the run {settings.images_of} is none of `teach`.")
    model = models.resolve(settings.model, settings.dataset, trust=settings.trust)
    device = hardware.start_tensorflow()
    with runs.tracked_run("teach", name=settings.run_name, otherwise=f"teach-{settings.num_images}") as run:
        run.log_settings(settings, {"digest": data.validation.digest, "model_id": model.model_id}, device)
        run.log_used_model(model)
        print(f"Run {run.name} ({run.run_id}) on {device}\nSearching in {model.uri}.")
        images = _images(run, settings, networks.load(model, data.train.num_classes, logits=True), data)
        scorer, spaces = judges.scorer(PANEL_B, data), FeatureSpaces()
        test = dataset.load_test(settings.dataset)
        run.log_data(test, "testing")
        sets = {
            IMAGES: images,
            POSED: teaching.posed_digits(data.train, settings.num_images),
            REAL: teaching.real_digits(data.validation, settings.num_images),
        }
        rows, kept = {}, {}
        for name, own in sets.items():

            def on_student(kind: str, seed: int, network: keras.Model, accuracy: float, name: str = name) -> None:
                print(f"{name}, {kind} student {seed}: test accuracy {accuracy:.2%}", flush=True)
                if (name, kind, seed) == (IMAGES, "augmented", 0):
                    kept["student"] = network

            rows[name] = teaching.taught(own, data, test, scorer, spaces, settings.students, on_student)
            run.log_json({each: row.metrics() for each, row in rows.items()}, "teach.json")
        student = log_network(kept["student"], images.images[:2], {"kind": "teach", "network": "compact"})
        run.log_metrics(rows[IMAGES].metrics())
        run.log_figure(ablation_figures.side_by_side(images, data.validation), "figures/digits.png")
        run.describe(descriptions.teaching(settings, model.uri, student.uri, rows))
    return TeachResult(run.run_id, rows, student)


def main(settings: TeachSettings) -> None:
    result = run(settings)
    print(f"\n{on_terminal(tables.taught(result.rows))}\n{runs.signpost(result.run_id, result.student)}")


def _images(run: runs.TrackedRun, settings: TeachSettings, network: keras.Model, data: Split) -> LabelledImages:
    """Images of each class in turn, logged as soon as they are there; those of an earlier run where they are named."""
    parts: list[np.ndarray] = []
    classes = np.unique(data.train.labels).tolist()
    ascent = AscentSettings(**{name: getattr(settings, name) for name in AscentSettings.model_fields})

    @cache
    def known() -> FeatureStatistics | None:
        """Of all classes at once, as soon as one is searched for: an interrupted run may have the images of some."""
        if not settings.inversion_weight:
            return None
        return inversion.statistics(network, data.train, settings.inversion_components)

    for number in classes:
        path = f"images/{number}.npz"
        own = reading.read_arrays(settings.images_of, path).get("images") if settings.images_of else None
        if own is not None and len(own) < settings.num_images:
            raise SettingError(
                f"`images_of`: the run {settings.images_of} has {len(own)} images of each class; lower `num_images`."
            )
        if own is None:
            print(f"Searching for {settings.num_images:,} images of class {number}.", flush=True)
            found = search(
                network, kinds(str(number), "noise", num_classes=data.train.num_classes), data.validation, ascent,
                num_images=settings.num_images, known=known(), on_progress=AscentProgress(),
            )  # fmt: skip
            own = np.round(255 * found.result.final[..., 0]).astype(np.uint8)
        run.log_arrays({"images": own}, path)
        parts.append(own[: settings.num_images])
    images = (np.concatenate(parts)[..., np.newaxis] / 255).astype(np.float32)
    labels = np.repeat(classes, settings.num_images).astype(np.int32)
    return LabelledImages(images, labels, "", "images from noise", "from noise", data.train.class_names)
