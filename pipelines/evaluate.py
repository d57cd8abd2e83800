"""Evaluate a logged model on the test images; the numbers are linked to that model."""

from __future__ import annotations

from dataclasses import dataclass

from mnist_cnn.data import dataset
from mnist_cnn.data.dataset import LabelledImages
from mnist_cnn.reporting import descriptions, training_figures
from mnist_cnn.runtime import hardware
from mnist_cnn.settings import EvaluateSettings
from mnist_cnn.tracking import models, networks, runs
from mnist_cnn.tracking.models import LoggedModel
from mnist_cnn.tracking.records import CHOICES_FILE
from mnist_cnn.training import attacks, evaluation
from mnist_cnn.training.attacks import RobustAccuracy
from mnist_cnn.training.evaluation import EvaluationResult


@dataclass(frozen=True)
class EvaluateResult:
    """What a model gets right of the test images. robust: under attack; None where `epsilon` is 0."""

    run_id: str
    model: LoggedModel
    test: EvaluationResult
    robust: RobustAccuracy | None


def run(settings: EvaluateSettings) -> EvaluateResult:
    """Evaluate and log. Raises `SettingError` for a model or data that cannot be used."""
    test = dataset.load_test(settings.dataset)
    model = models.resolve(settings.model, settings.dataset, trust=settings.trust)
    device = hardware.start_tensorflow()
    with runs.tracked_run("evaluate", name=settings.run_name, otherwise=f"evaluate-{test.name}") as run:
        run.log_settings(settings, {"digest": test.digest, "model_id": model.model_id}, device)
        run.log_data(test, "testing")
        run.log_used_model(model)
        print(f"Evaluating {model.uri} on the {len(test):,} test images of {test.name}.")
        network = networks.load(model, test.num_classes)
        scores = evaluation.evaluate(network, test, settings.batch_size)
        log_test(run, scores, model, test, f"Test images of {test.name}")
        robust = None
        if settings.epsilon > 0:
            robust = attacks.robust_accuracy(network, test, settings.epsilon)
            run.log_metrics(robust.metrics("test"), model=model, data=test)
        run.describe(descriptions.evaluation(model.uri, test, scores, robust))
    return EvaluateResult(run.run_id, model, scores, robust)


def log_test(
    run: runs.TrackedRun, scores: EvaluationResult, model: LoggedModel, test: LabelledImages, title: str, step: int = 0
) -> None:
    """Log what a network gets right of test images: numbers, a line for each class, each choice, figures."""
    run.log_metrics(scores.metrics("test"), step, model=model, data=test)
    run.log_table(scores.classes(), "classes.json")
    run.log_arrays(scores.choices(), CHOICES_FILE)
    for name, figure in training_figures.evaluation(scores, test.images, title).items():
        run.log_figure(figure, f"figures/{name}.png")


def main(settings: EvaluateSettings) -> None:
    result = run(settings)
    accuracy = descriptions.accuracy_line(result.test, "test")
    print(f"\n{accuracy}{descriptions.robustness_line(result.robust)}{runs.signpost(result.run_id, result.model)}")
