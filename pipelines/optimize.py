"""Search for input images that a trained network assigns to a target; log the way there and what came out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mnist_cnn.data import dataset
from mnist_cnn.input_optimization import starts
from mnist_cnn.judging import nearest_digits
from mnist_cnn.judging.search import Searches, search
from mnist_cnn.reporting import descriptions, search_figures, tables
from mnist_cnn.reporting.progress import AscentProgress
from mnist_cnn.reporting.rendering import on_terminal
from mnist_cnn.runtime import hardware
from mnist_cnn.settings import PANEL_A, OptimizeSettings
from mnist_cnn.settings.experiments import kinds
from mnist_cnn.tracking import models, networks, runs
from mnist_cnn.tracking.models import LoggedModel
from pipelines import judges


@dataclass(frozen=True)
class OptimizeResult:
    """n searches in a network, scored by panel A, and the run that holds them."""

    run_id: str
    model: LoggedModel
    searches: Searches


def run(settings: OptimizeSettings) -> OptimizeResult:
    """Search, score and log. Starts are drawn from the images that did not train."""
    data = dataset.split(dataset.load_train(settings.dataset))
    classes = data.train.num_classes
    asked = kinds(settings.targets, settings.start, settings.start_class, num_classes=classes)
    starts.refuse_missing(asked, data.validation)
    dataset.refuse_missing_classes(data)
    model = models.resolve(settings.model, settings.dataset, trust=settings.trust)
    device = hardware.start_tensorflow()
    name = f"optimize-{settings.targets}-from-{settings.start}"
    with runs.tracked_run("optimize", name=settings.run_name, otherwise=name) as run:
        run.log_settings(settings, {"digest": data.validation.digest, "model_id": model.model_id}, device)
        run.log_used_model(model)
        print(f"Run {run.name} ({run.run_id}) on {device}\nSearching in {model.uri}.")
        network = networks.load(model, classes, logits=True)
        searches = search(
            network, asked, data.validation, settings,
            num_images=settings.num_images, sigma=settings.sigma,
            scorer=judges.scorer(PANEL_A, data), on_progress=AscentProgress(),
        )  # fmt: skip
        log_searches(run, searches, data, "Search")
        run.describe(descriptions.optimization(model.uri, settings, searches))
    return OptimizeResult(run.run_id, model, searches)


def main(settings: OptimizeSettings) -> None:
    print_result(run(settings))


def print_result(result: OptimizeResult) -> None:
    """What stands on the terminal in the end."""
    print(f"\n{on_terminal(tables.ascent(result.searches))}\n{runs.signpost(result.run_id, result.model)}")


def log_searches(run: runs.TrackedRun, searches: Searches, data: dataset.Split, title: str) -> Any:
    """Log all about searches to `run`: arrays, numbers, pictures, tables. The film strip is given back."""
    plan, result, card = searches.plan, searches.result, searches.card
    if (plan.starts.indices != starts.NONE).any():
        run.log_data(data.validation, "starts")
    run.log_data(data.train, "nearest digits")
    run.log_arrays({**vars(result), "starts": plan.starts.indices, "seeds": plan.seeds}, "arrays.npz")
    for snapshot, step in enumerate(result.steps):
        run.log_metrics(result.metrics(snapshot), int(step))
    if card is not None:
        run.log_metrics(card.metrics(), int(result.steps[-1]))
    nearest = nearest_digits.nearest(result.final, data.train)
    strip = search_figures.film_strip(searches, nearest, title)
    run.log_figure(strip, "figures/film_strip.png")
    run.log_figure(search_figures.finals(searches, nearest, title), "figures/finals.png")
    run.log_figure(search_figures.ascent_curves(searches, title), "figures/curves.png")
    for still in search_figures.timeline(searches):
        run.log_image(still.pixels, still.series, still.step)
    run.log_bytes(search_figures.animation(search_figures.frames(searches, title)), "animation.gif")
    run.log_table(tables.searches(searches, nearest), "searches.json")
    return strip
