"""Say which digits a person's own pictures show: each is brought to the form of the data, and classified."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_cnn.data import dataset, pictures
from mnist_cnn.data.pictures import PictureError
from mnist_cnn.reporting import descriptions, picture_figures, tables
from mnist_cnn.reporting.formats import counted
from mnist_cnn.reporting.rendering import on_terminal
from mnist_cnn.runtime import hardware
from mnist_cnn.settings import PredictSettings, SettingError
from mnist_cnn.settings.errors import printable
from mnist_cnn.tracking import models, networks, runs
from mnist_cnn.tracking.models import LoggedModel
from mnist_cnn.training import evaluation

MOST_NAMED = 20
"""Files that the terminal names; the table of the run has them all."""


@dataclass(frozen=True)
class PredictResult:
    """What a network sees in n pictures.

    files: (n,) names. images: (n, 28, 28, 1) float32, as prepared. probabilities: (n, k). done: (n,) what was done to
    each, in words. skipped: name and reason of each file that could not be used. class_names: k texts.
    """

    run_id: str
    model: LoggedModel
    files: tuple[str, ...]
    images: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    done: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    class_names: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        pictures = [
            {"file": file, "choice": self.class_names[row.argmax()], "probability": float(row.max()), "done": done}
            for file, row, done in zip(self.files, self.probabilities, self.done, strict=True)
        ]
        return {"pictures": pictures, "skipped": dict(self.skipped)}


def run(settings: PredictSettings) -> PredictResult:
    """Prepare, classify and log. Raises `SettingError` for a folder without a picture that can be used."""
    paths = pictures.find(settings)
    folder = Path(settings.images).resolve()
    class_names = dataset.load_train(settings.dataset).class_names
    model = models.resolve(settings.model, settings.dataset, trust=settings.trust)
    models.refuse_other_data(model, settings.dataset)
    read, skipped = _read(paths)
    device = hardware.start_tensorflow()
    with runs.tracked_run("predict", name=settings.run_name, otherwise=f"predict-{folder.name}") as run:
        run.log_settings(settings.replace(images=str(folder)), {"model_id": model.model_id}, device)
        run.log_used_model(model)
        print(f"Reading {counted(len(read), 'picture')} with {model.uri}.")
        images = np.stack([each.image for each in read])
        probabilities = evaluation.predict(networks.load(model, len(class_names)), images)
        files, done = [each.file for each in read], [each.done for each in read]
        result = PredictResult(
            run.run_id, model, tuple(files), images, probabilities, tuple(done), tuple(skipped), class_names
        )  # fmt: skip
        run.log_table(tables.predictions(files, probabilities, done, class_names), "predictions.json")
        if skipped:
            run.log_json(dict(skipped), "skipped.json")
        run.log_arrays({"images": images, "probabilities": probabilities}, "pictures.npz")
        sure = probabilities.max(axis=1)
        run.log_metrics({"pictures": len(read), "skipped": len(skipped), "mean_probability": float(sure.mean())})
        given = [each.thumbnail for each in read]
        run.log_figure(
            picture_figures.surest_and_least(given, images, probabilities, files, class_names), "figures/pictures.png"
        )
        run.describe(descriptions.prediction(model.uri, files, probabilities, skipped, class_names))
    return result


def main(settings: PredictSettings) -> None:
    result = run(settings)
    table = tables.predicted(result.files[:MOST_NAMED], result.probabilities, result.class_names)
    print(f"\n{on_terminal(table)}")
    if len(result.files) > MOST_NAMED:
        print(f"and {len(result.files) - MOST_NAMED} more; all are in predictions.json")
    print("\n".join(f"Skipped {name}: {reason}." for name, reason in result.skipped[:MOST_NAMED]))
    if len(result.skipped) > MOST_NAMED:
        print(f"and {len(result.skipped) - MOST_NAMED} more; all are in skipped.json")
    print(runs.signpost(result.run_id, result.model))


@dataclass(frozen=True)
class _Read:
    """A picture. thumbnail: as given. image: as prepared. done: what was done to it, in words."""

    file: str
    thumbnail: NDArray[np.uint8]
    image: NDArray[np.float32]
    done: str


def _read(paths: Sequence[Path]) -> tuple[list[_Read], list[tuple[str, str]]]:
    """Each picture, and the name of each file that cannot be used, with the reason."""
    read, skipped = [], []
    for path in paths:
        try:
            picture = pictures.read(path)
            prepared = pictures.prepare(picture)
            done = "; ".join(prepared.done)
            read.append(_Read(printable(path.name), picture_figures.thumbnail(picture.pixels), prepared.image, done))
        except PictureError as error:
            skipped.append((printable(path.name), str(error)))
    if not read:
        name, reason = skipped[0]
        raise SettingError(
            f"`images`: none of {counted(len(paths), 'file')} can be used. {name[:60]}: {reason}. Give a folder with "
            "pictures of a digit each."
        )
    return read, skipped
