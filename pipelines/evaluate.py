"""Evaluate a logged model on the test images; the numbers are linked to that model."""

from __future__ import annotations

from collections.abc import Sequence

from mnist_cnn.data import dataset
from mnist_cnn.settings import EvaluateSettings
from pipelines import enter


def main(argv: Sequence[str] | None = None) -> None:
    settings, _ = EvaluateSettings.from_command_line(argv)
    test = dataset.load_test(settings.dataset)
    from mnist_cnn.tracking import runs

    model = runs.resolve_model(settings.model)
    from mnist_cnn.runtime import hardware

    device = hardware.start_tensorflow()
    from mnist_cnn.models import networks
    from mnist_cnn.reporting import descriptions, figures
    from mnist_cnn.training import attacks, evaluation

    with runs.tracked_run("evaluate", name=settings.run_name, otherwise=f"evaluate-{test.name}") as run:
        run.log_settings(settings, {"digest": test.digest, "model_id": model.model_id})
        run.set_tags({**hardware.describe(device), "model_id": model.model_id})
        run.log_data(test, "testing")
        run.log_used_model(model)
        print(f"Evaluating {model.uri} on the {len(test):,} test images of {test.name}.")
        network = runs.load_model(model)
        networks.refuse_misfit(network, dataset.IMAGE_SHAPE, dataset.NUM_CLASSES)
        scores = evaluation.evaluate(network, test, settings.batch_size)
        run.log_metrics(scores.metrics("test"), model=model, data=test)
        robust = None
        if settings.epsilon > 0:
            robust = attacks.robust_accuracy(network, test, settings.epsilon)
            run.log_metrics(robust.metrics("test"), model=model, data=test)
        for name, figure in figures.evaluation(scores, test.images, f"Test images of {test.name}").items():
            run.log_figure(figure, f"figures/{name}.png")
        run.describe(descriptions.of_evaluation(model.uri, test, scores, robust))

    print(f"\n{descriptions.accuracy(scores, 'test')}{descriptions.robustness(robust)}{runs.signpost(run, model)}")


if __name__ == "__main__":
    enter(main, "evaluate")
