"""Search for input images that a trained network assigns to a target; log the way there and what came out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from mnist_cnn.data import dataset
from mnist_cnn.settings import PANEL_A, ExperimentsSettings, OptimizeSettings, experiments
from pipelines import enter, judges

if TYPE_CHECKING:
    from mnist_cnn.input_optimization.ascent import AscentResult
    from mnist_cnn.input_optimization.starts import Panel
    from mnist_cnn.judging.scorecard import Scorecard
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

    wishes = experiments.wishes(settings.targets, settings.start, settings.start_class)
    with runs.tracked_run(
        "optimize", name=settings.run_name, otherwise=f"optimize-{settings.targets}-from-{settings.start}"
    ) as run:
        run.log_settings(settings, {"digest": data.validation.digest, "model_id": model.model_id})
        run.set_tags({**hardware.describe(device), "model_id": model.model_id})
        run.log_used_model(model)
        print(f"Run {run.name} ({run.run_id}) on {device}\nSearching in {model.uri}.")
        network = runs.load_model(model)
        networks.refuse_misfit(network, dataset.IMAGE_SHAPE, dataset.NUM_CLASSES, logits=True)
        score = judges.scorer(PANEL_A, data)
        found = search(run, network, wishes, settings, data, score, "Search")
        run.describe(descriptions.of_optimization(model.uri, settings, found.result, found.panel, found.card))

    print(f"\n{descriptions.ascent_table(found.result, found.panel, found.card)}\n{runs.signpost(run, model)}")


class Found(NamedTuple):
    """What a set of searches came to: the result, the panel of starts and targets, the score, the film strip."""

    result: AscentResult
    panel: Panel
    card: Scorecard
    strip: Any


def search(
    run: runs.TrackedRun,
    network: Any,
    wishes: Sequence[experiments.Wish],
    settings: OptimizeSettings | ExperimentsSettings,
    data: dataset.Split,
    score: Callable[..., Scorecard],
    title: str,
) -> Found:
    """Run the searches, score them, and log all about them to `run`.

    Starts are drawn from the images that did not train.
    """
    from mnist_cnn.input_optimization import ascent, starts
    from mnist_cnn.judging import nearest_digits
    from mnist_cnn.reporting import descriptions, figures
    from mnist_cnn.reporting.progress import AscentProgress

    seed = cast(int, settings.seed)  # A command line gives one for all.
    panel = starts.draw(wishes, settings.num_images, seed, data.validation, dataset.NUM_CLASSES, settings.sigma)
    if (panel.starts.indices != starts.NONE).any():
        run.log_data(data.validation, "starts")
    run.log_data(data.train, "nearest digits")
    own_seeds = dataclasses.replace(settings, seed=panel.seeds)
    result = ascent.ascend(network, panel.starts.images, panel.targets, own_seeds, on_progress=AscentProgress())

    run.log_arrays({**vars(result), "starts": panel.starts.indices, "seeds": panel.seeds}, "arrays.npz")
    for snapshot, step in enumerate(result.steps):
        run.log_metrics(result.metrics(snapshot), int(step))
    origin = {"starts": panel.starts.images, "start_labels": panel.starts.labels}
    card = score(result.final, panel.targets, **origin)
    run.log_metrics(card.metrics(), int(result.steps[-1]))
    nearest = nearest_digits.nearest(result.final, data.train)
    strip = figures.film_strip(result, panel, nearest, title)
    run.log_figure(strip, "figures/film_strip.png")
    run.log_figure(figures.finals(result, panel, nearest, title), "figures/finals.png")
    run.log_figure(figures.ascent_curves(result, title), "figures/curves.png")
    for still in figures.timeline(result, panel):
        run.log_image(still.pixels, still.series, still.step)
    run.log_bytes(figures.animation(figures.frames(result, panel, title)), "animation.gif")
    run.log_table(descriptions.searches(result, panel, nearest, card), "searches.json")
    return Found(result, panel, card, strip)


if __name__ == "__main__":
    enter(main, "optimize")
