"""A verdict by people: make a page that asks them what they see; log what they answered, beside the judges' verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mnist_cnn.data import dataset
from mnist_cnn.data.dataset import LabelledImages, Split
from mnist_cnn.judging import verdict
from mnist_cnn.judging.search import search
from mnist_cnn.judging.verdict import Answers, Exhibit, GroupVerdict
from mnist_cnn.reporting import verdict_page
from mnist_cnn.reporting.formats import counted
from mnist_cnn.reporting.progress import AscentProgress
from mnist_cnn.reporting.rendering import on_terminal
from mnist_cnn.runtime import hardware
from mnist_cnn.settings import PANEL_A, PANEL_B, AscentSettings, SettingError, VerdictSettings
from mnist_cnn.settings.experiments import kinds
from mnist_cnn.tracking import dreams, models, networks, reading, runs, store
from mnist_cnn.tracking.models import LoggedModel
from pipelines import judges

PAGE, EXHIBIT = "verdict.html", "exhibit.npz"
PAGE_TAG = "verdict_page"
"""The page's id, on the run that made it."""

STEPS = 200
"""Of a search for a control."""

Part = tuple[NDArray[np.uint8], NDArray[np.int64]]


@dataclass(frozen=True)
class PageResult:
    """A page that asks people. place: where a person opens it. exhibit: what it shows, with the truth."""

    run_id: str
    page_id: str
    place: str
    exhibit: Exhibit


@dataclass(frozen=True)
class VerdictResult:
    """What people said. groups: by their names. page_run: the run that made the page."""

    run_id: str
    page_run: str
    answers: Answers
    groups: Mapping[str, GroupVerdict]


def run(settings: VerdictSettings) -> PageResult | VerdictResult:
    """Make the page, or log answers. Raises `SettingError` for images or answers that cannot be used."""
    return log_answers(settings) if settings.answers else make_page(settings)


def make_page(settings: VerdictSettings) -> PageResult:
    """Choose images, have judges see them, and log the page and, apart from it, the truth."""
    data = dataset.split(dataset.load_train(settings.dataset))
    dataset.refuse_missing_classes(data)
    if data.train.num_classes != verdict.KEYS:
        raise SettingError(
            f"`dataset`: the page has {verdict.KEYS} keys, and {data.train.name} {data.train.num_classes} classes."
        )
    images_of, (images, targets) = dreams.dreams(settings.run, settings.dreamed, data.validation)
    ordinary = models.resolve(settings.ordinary, settings.dataset, "ordinary", trust=settings.trust)
    device = hardware.start_tensorflow()
    with runs.tracked_run("verdict", name=settings.run_name, otherwise="verdict-page") as run:
        extra = {"digest": data.validation.digest, "model_id.ordinary": ordinary.model_id}
        run.log_settings(settings.replace(run=images_of), extra, device)  # so that the same are shown again
        run.log_used_model(ordinary)
        run.log_data(data.validation, "real digits")
        print(f"Run {run.name} ({run.run_id}) on {device}\nImages from noise: run {images_of}.", flush=True)
        dreamed = verdict.choose(images, targets, settings.dreamed, settings.seed, "dreamed")
        real = _chosen(data.validation, settings.real, settings.seed, "real")
        pixels = np.round(255 * data.validation.images[real, ..., 0]).astype(np.uint8)
        parts = {
            "dreamed": (images[dreamed], targets[dreamed]),
            "real": (pixels, data.validation.labels[real].astype(np.int64)),
            "controls": _controls(settings, ordinary, data),
        }
        exhibit = Exhibit.of(parts, settings.seed, data.train.class_names)
        page_id = exhibit.page_id(run.run_id)
        shown = (exhibit.images[..., np.newaxis] / 255).astype(np.float32)
        card = judges.scorer(PANEL_B, data)(shown, np.eye(verdict.KEYS, dtype=np.float32)[exhibit.targets])
        run.set_tags({PAGE_TAG: page_id})
        run.log_arrays({**vars(exhibit), "recognised": card.recognised}, EXHIBIT)
        choices = {f"judge_{name}": own.tolist() for name, own in zip(card.judges, card.choices, strict=True)}
        run.log_table({**verdict.truth(exhibit, card.recognised), **choices}, "truth.json")
        run.log_text(verdict_page.page(exhibit.images, page_id, exhibit.class_names), PAGE)
        counts = {name: len(own) for name, (own, _) in parts.items()}
        run.describe(verdict_page.page_description(images_of, ordinary.uri, page_id, counts))
        place = run.place(PAGE)
    return PageResult(run.run_id, page_id, place, exhibit)


def log_answers(settings: VerdictSettings) -> VerdictResult:
    """Read the lines of people, and log how often they are right beside how often the judges are."""
    text = settings.answers_text()
    page_run, exhibit, recognised, answers = _read_answers(text)
    with runs.tracked_run("verdict", name=settings.run_name, otherwise="verdict-answers") as run:
        whole = settings.replace(answers=str(Path(settings.answers).resolve()))
        run.log_settings(whole, {"page_run": page_run})
        run.set_tags({"verdict_of": page_run})
        groups = verdict.verdicts(exhibit, answers.said, recognised)
        for name, own in groups.items():
            run.log_metrics(own.metrics(name))
        run.log_metrics({"people": len(answers.people), "skipped_lines": len(answers.skipped)})
        run.log_table(verdict.by_image(exhibit, answers.said, recognised), "images.json")
        run.log_json({"answers": dict(zip(answers.people, answers.said.tolist(), strict=True))}, "answers.json")
        run.log_json({name: own.confusion.tolist() for name, own in groups.items()}, "confusions.json")
        run.log_figure(
            verdict_page.confusions(groups, len(answers.people), exhibit.class_names), "figures/confusions.png"
        )
        run.describe(verdict_page.description(groups, answers, page_run))
    return VerdictResult(run.run_id, page_run, answers, groups)


def main(settings: VerdictSettings) -> None:
    result = run(settings)
    if isinstance(result, PageResult):
        print(f"\n{counted(len(result.exhibit.images), 'image')} in an order that was drawn.")
        print(f"{runs.signpost(result.run_id)}\nPage     {result.place}")
        print("Then     mlflow run . -e verdict -P answers=FILE, with the lines that people got, one a line")
        return
    print("\n".join(["", *verdict_page.skipped_lines(result.answers.skipped)]))
    people = counted(len(result.answers.people), "person", "people")
    print(f"Answers of {people}.\n\n{on_terminal(verdict_page.table(result.groups))}\n{runs.signpost(result.run_id)}")


def _chosen(images: LabelledImages, count: int, seed: int, name: str) -> NDArray[np.int64]:
    try:
        return verdict.choose(images.images, images.labels, count, seed, name)
    except ValueError as error:
        raise SettingError(f"`{name}`: {error}. Lower `{name}`.") from error


def _controls(settings: VerdictSettings, ordinary: LoggedModel, data: Split) -> Part:
    """Images from noise that an ordinary network is searched for and panel A of the judges does not recognise."""
    found = search(
        networks.load(ordinary, verdict.KEYS, logits=True),
        kinds("all", "noise", num_classes=verdict.KEYS), data.validation,
        AscentSettings(steps=STEPS, snapshot_every=STEPS, seed=settings.seed),
        num_images=math.ceil(settings.controls / 5), scorer=judges.scorer(PANEL_A, data), on_progress=AscentProgress(),
    )  # fmt: skip
    assert found.card is not None
    unread = np.flatnonzero(~found.card.recognised)
    targets = found.plan.targets.argmax(axis=1)
    if len(unread) < settings.controls:
        raise SettingError(
            f"`controls`: of {len(targets)} images that {ordinary.uri} is searched for, judges recognise all but "
            f"{len(unread)}. Lower `controls`, or name another network by `ordinary`."
        )
    images, targets = np.round(255 * found.result.final[unread, ..., 0]).astype(np.uint8), targets[unread]
    own = verdict.choose(images, targets, settings.controls, settings.seed, "controls")
    return images[own], targets[own]


def _read_answers(text: str) -> tuple[str, Exhibit, NDArray[np.bool_], Answers]:
    """The run of the page that the first whole line is of, what it shows, what judges recognise, and the answers."""
    page = verdict.page_of(text)
    if page is None:
        raise SettingError(
            f"`answers` must hold a whole line of answers, {verdict.FORM}.PAGE.PERSON.ANSWERS.CHECKSUM, as the page "
            "gives it; there is none. Copy the line again."
        )
    store.open_store()
    made = reading.search(f"tags.{PAGE_TAG} = '{page}'")
    if not made:
        raise SettingError(
            f"`answers`: no run in {store.shown_uri()} made their page, {page}. Name the store that did by "
            "MLFLOW_TRACKING_URI."
        )
    found = made[0].info.run_id
    stored = reading.read_arrays(found, EXHIBIT)
    if not {"images", "groups", "targets", "recognised"} <= stored.keys():
        raise SettingError(f"`answers`: the run {found} made their page, and its {EXHIBIT} is gone. Make another page.")
    names = tuple(stored["class_names"].tolist()) if "class_names" in stored else dataset.DIGITS
    exhibit = Exhibit(stored["images"], stored["groups"], stored["targets"], names)
    answers = verdict.read_answers(text, page, len(exhibit.images))
    if not answers.people:
        reasons = " ".join(verdict_page.skipped_lines(answers.skipped[:2]))
        more = f" So are {len(answers.skipped) - 2} more." if len(answers.skipped) > 2 else ""
        raise SettingError(f"`answers`: no line counts. {reasons}{more} Copy the lines again, from the page.")
    return found, exhibit, stored["recognised"], answers
