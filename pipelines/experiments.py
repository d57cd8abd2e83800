"""The reference report's six input-optimisation experiments: one run, with a child run for each of them."""

from __future__ import annotations

from collections.abc import Sequence

from mnist_cnn.data import dataset
from mnist_cnn.settings import PANEL_A, ExperimentsSettings, experiments
from pipelines import enter, judges
from pipelines.optimize import search


def main(argv: Sequence[str] | None = None) -> None:
    settings, _ = ExperimentsSettings.from_command_line(argv)
    chosen = experiments.parse(settings.experiments)
    data = dataset.split(dataset.load_train(settings.dataset))
    from mnist_cnn.tracking import runs

    model = runs.resolve_model(settings.model)
    from mnist_cnn.runtime import hardware

    device = hardware.start_tensorflow()
    from mnist_cnn.models import networks
    from mnist_cnn.reporting import descriptions

    finished = []
    with runs.tracked_run("experiments", name=settings.run_name, otherwise="experiments") as run:
        run.log_settings(settings, {"digest": data.validation.digest, "model_id": model.model_id})
        run.set_tags({**hardware.describe(device), "model_id": model.model_id})
        run.log_used_model(model)
        print(f"Run {run.name} ({run.run_id}) on {device}\nSearching in {model.uri}.")
        network = runs.load_model(model)
        networks.refuse_misfit(network, dataset.IMAGE_SHAPE, dataset.NUM_CLASSES, logits=True)
        scorer = judges.scorer(PANEL_A, data)
        for experiment in chosen:
            print(f"\n{experiment.number}. {experiment.title}", flush=True)
            title = f"{experiment.number}. {experiment.title}"
            with runs.tracked_run("experiment", name=title, child=True) as child:
                child.log_settings(settings, {"experiment": experiment.number, "model_id": model.model_id})
                child.log_used_model(model)
                found, card, strip = search(child, network, experiment.kinds, settings, data, scorer, title)
                child.describe(descriptions.of_optimization(model.uri, settings, found.result, found.plan, card))
            run.log_figure(strip, f"figures/experiment_{experiment.number}.png")
            print(descriptions.ascent_table(found.result, found.plan, card))
            finished.append((experiment, found.result, found.plan, card))
        run.describe(descriptions.of_experiments(model.uri, finished))

    print(runs.signpost(run, model))


if __name__ == "__main__":
    enter(main, "experiments")
