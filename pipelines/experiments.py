"""The reference report's six input-optimisation experiments: one run, with a child run for each of them."""

from __future__ import annotations

from dataclasses import dataclass

from mnist_cnn.data import dataset
from mnist_cnn.input_optimization import starts
from mnist_cnn.judging.search import Searches, search
from mnist_cnn.reporting import descriptions, tables
from mnist_cnn.reporting.progress import AscentProgress
from mnist_cnn.reporting.rendering import on_terminal
from mnist_cnn.runtime import hardware
from mnist_cnn.settings import PANEL_A, ExperimentsSettings
from mnist_cnn.settings.experiments import Experiment, parse
from mnist_cnn.tracking import models, networks, runs
from mnist_cnn.tracking.models import LoggedModel
from pipelines import judges
from pipelines.optimize import log_searches


@dataclass(frozen=True)
class ExperimentResult:
    """One of the six, its searches, and the run that holds them."""

    run_id: str
    experiment: Experiment
    searches: Searches


@dataclass(frozen=True)
class ExperimentsResult:
    """The experiments that were asked for, in their order, below one run."""

    run_id: str
    model: LoggedModel
    experiments: tuple[ExperimentResult, ...]


def run(settings: ExperimentsSettings) -> ExperimentsResult:
    """Run the experiments on one network, each in a child run, and log them."""
    data = dataset.split(dataset.load_train(settings.dataset))
    chosen = parse(settings.experiments, data.train.num_classes)
    starts.refuse_missing([kind for experiment in chosen for kind in experiment.kinds], data.validation)
    dataset.refuse_missing_classes(data)
    model = models.resolve(settings.model, settings.dataset, trust=settings.trust)
    device = hardware.start_tensorflow()
    finished = []
    with runs.tracked_run("experiments", name=settings.run_name, otherwise="experiments") as run:
        run.log_settings(settings, {"digest": data.validation.digest, "model_id": model.model_id}, device)
        run.log_used_model(model)
        print(f"Run {run.name} ({run.run_id}) on {device}\nSearching in {model.uri}.")
        network = networks.load(model, data.train.num_classes, logits=True)
        scorer = judges.scorer(PANEL_A, data)
        for experiment in chosen:
            title = f"{experiment.number}. {experiment.title}"
            print(f"\n{title}", flush=True)
            with runs.tracked_run("experiment", name=title) as child:
                extra = {"experiment": experiment.number, "model_id": model.model_id}
                child.log_settings(settings, extra, device)
                child.log_used_model(model)
                searches = search(
                    network, experiment.kinds, data.validation, settings,
                    num_images=settings.num_images, sigma=settings.sigma, scorer=scorer, on_progress=AscentProgress(),
                )  # fmt: skip
                strip = log_searches(child, searches, data, title)
                child.describe(descriptions.optimization(model.uri, settings, searches))
            run.log_figure(strip, f"figures/experiment_{experiment.number}.png")
            print(on_terminal(tables.ascent(searches)))
            finished.append(ExperimentResult(child.run_id, experiment, searches))
        run.describe(descriptions.experiments(model.uri, [(done.experiment, done.searches) for done in finished]))
    return ExperimentsResult(run.run_id, model, tuple(finished))


def main(settings: ExperimentsSettings) -> None:
    result = run(settings)
    print(runs.signpost(result.run_id, result.model))
