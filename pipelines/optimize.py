"""Search for input images that a trained network assigns to a target; log the way there and what came out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mnist_cnn.data import dataset
from mnist_cnn.settings import PANEL_A, ExperimentsSettings, OptimizeSettings, experiments
from pipelines import enter, judges

if TYPE_CHECKING:
    from mnist_cnn.judging.scorecard import Scorecard, Scorer
    from mnist_cnn.judging.search import Searches
    from mnist_cnn.tracking import runs


def main(argv: Sequence[str] | None = None) -> None:
    settings, given = OptimizeSettings.from_command_line(argv)
    if settings.from_trial:
        from mnist_cnn.tracking import sweep_runs

        settings = OptimizeSettings.resolve({**sweep_runs.settings_of_trial(settings.from_trial), **given})
    data = dataset.split(dataset.load_train(settings.dataset))
    from mnist_cnn.tracking import runs

    model = runs.resolve_model(settings.model)
    from mnist_cnn.runtime import hardware

    device = hardware.start_tensorflow()
    from mnist_cnn.models import networks
    from mnist_cnn.reporting import descriptions

    kinds = experiments.kinds(settings.targets, settings.start, settings.start_class)
    with runs.tracked_run(
        "optimize", name=settings.run_name, otherwise=f"optimize-{settings.targets}-from-{settings.start}"
    ) as run:
        run.log_settings(settings, {"digest": data.validation.digest, "model_id": model.model_id})
        run.set_tags({**hardware.describe(device), "model_id": model.model_id})
        run.log_used_model(model)
        print(f"Run {run.name} ({run.run_id}) on {device}\nSearching in {model.uri}.")
        network = runs.load_model(model)
        networks.refuse_misfit(network, dataset.IMAGE_SHAPE, dataset.NUM_CLASSES, logits=True)
        scorer = judges.scorer(PANEL_A, data)
        found, card, _ = search(run, network, kinds, settings, data, scorer, "Search")
        run.describe(descriptions.of_optimization(model.uri, settings, found.result, found.plan, card))

    print(f"\n{descriptions.ascent_table(found.result, found.plan, card)}\n{runs.signpost(run, model)}")


def search(
    run: runs.TrackedRun,
    network: Any,
    kinds: Sequence[experiments.SearchKind],
    settings: OptimizeSettings | ExperimentsSettings,
    data: dataset.Split,
    scorer: Scorer,
    title: str,
) -> tuple[Searches, Scorecard, Any]:
    """Run the searches, score them, and log all about them to `run`; with their score and the film strip.

    Starts are drawn from the images that did not train.
    """
    from mnist_cnn.input_optimization import starts
    from mnist_cnn.judging import nearest_digits
    from mnist_cnn.judging import search as judged
    from mnist_cnn.reporting import descriptions, figures
    from mnist_cnn.reporting.progress import AscentProgress

    found = judged.search(
        network, kinds, data.validation, settings,
        num_images=settings.num_images, sigma=settings.sigma, scorer=scorer, on_progress=AscentProgress(),
    )  # fmt: skip
    plan, result, card = found.plan, found.result, found.card
    assert card is not None
    if (plan.starts.indices != starts.NONE).any():
        run.log_data(data.validation, "starts")
    run.log_data(data.train, "nearest digits")
    run.log_arrays({**vars(result), "starts": plan.starts.indices, "seeds": plan.seeds}, "arrays.npz")
    for snapshot, step in enumerate(result.steps):
        run.log_metrics(result.metrics(snapshot), int(step))
    run.log_metrics(card.metrics(), int(result.steps[-1]))
    nearest = nearest_digits.nearest(result.final, data.train)
    strip = figures.film_strip(result, plan, nearest, title)
    run.log_figure(strip, "figures/film_strip.png")
    run.log_figure(figures.finals(result, plan, nearest, title), "figures/finals.png")
    run.log_figure(figures.ascent_curves(result, title), "figures/curves.png")
    for still in figures.timeline(result, plan):
        run.log_image(still.pixels, still.series, still.step)
    run.log_bytes(figures.animation(figures.frames(result, plan, title)), "animation.gif")
    run.log_table(descriptions.searches(result, plan, nearest, card), "searches.json")
    return found, card, strip


if __name__ == "__main__":
    enter(main, "optimize")
