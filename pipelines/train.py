"""Train a network and leave a run that a person enjoys reading: curves, data, model, test result, pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mnist_cnn.data import dataset
from mnist_cnn.models import networks
from mnist_cnn.reporting import descriptions, training_figures
from mnist_cnn.reporting.progress import TrainingProgress
from mnist_cnn.runtime import hardware
from mnist_cnn.settings import TrainSettings
from mnist_cnn.settings.errors import SettingError
from mnist_cnn.tracking import heartbeat, reading, runs, trainings
from mnist_cnn.tracking.models import TRAINED_ON_TAG, LoggedModel
from mnist_cnn.tracking.networks import log_network
from mnist_cnn.training import attacks, evaluation, loop
from mnist_cnn.training.attacks import RobustAccuracy
from mnist_cnn.training.evaluation import EvaluationResult
from mnist_cnn.training.loop import TrainingResult, TrainingState
from pipelines.evaluate import log_test

if TYPE_CHECKING:
    import keras  # not before this project's rooms have looked at its backend

STEP_METRICS = ("loss_by_step", "accuracy_by_step", "training_learning_rate_by_step")
VALIDATION_METRICS = ("loss_by_step_validation", "accuracy_by_step_validation")


@dataclass(frozen=True)
class TrainResult:
    """A trained network, the run that holds it, and what it gets right.

    robust: accuracy on attacked test images; None where the network was not trained to withstand anything.
    """

    run_id: str
    model: LoggedModel
    network: keras.Model
    training: TrainingResult
    test: EvaluationResult
    robust: RobustAccuracy | None


def run(settings: TrainSettings, *, resumed_from: str = "") -> TrainResult:
    """Train, log and evaluate a network.

    resumed_from: id of an interrupted run with the same settings, whose last checkpoint is the beginning. The new run
    comes to the same numbers as an uninterrupted one.
    """
    images = dataset.load_train(settings.dataset)
    data = dataset.split(images, settings.validation_fraction)
    device = hardware.start_tensorflow()
    name = f"train-{settings.network}-{settings.preset}"
    with runs.tracked_run("train", name=settings.run_name, otherwise=name) as run:
        run.log_settings(settings, {"digest": images.digest}, device)
        run.log_data(data.train, "training")
        run.log_data(data.validation, "validation")
        network = networks.for_training(settings, images.num_classes)
        run.log_text(networks.summary(network), "model_summary.txt")
        print(f"Run {run.name} ({run.run_id}) on {device}")
        num_steps = loop.steps_per_epoch(len(data.train), settings.batch_size)
        state = _resume(run, resumed_from, num_steps) if resumed_from else None
        result = _train(run, network, data, settings, state)

        tags = {"kind": "train", "network": settings.network, "regime": settings.regime,
                TRAINED_ON_TAG: dataset.origin(settings.dataset)}  # fmt: skip
        model = log_network(network, data.validation.images[:2], tags)
        last = result.history[-1].metrics()
        for part, part_images in (("train", data.train), ("validation", data.validation)):
            values = {key: last[key] for key in (f"{part}_loss", f"{part}_accuracy")}
            run.log_metrics(values, settings.epochs, model=model, data=part_images)
        run.log_metrics({"training_seconds": result.seconds}, settings.epochs, model=model, data=data.train)
        test, robust = _evaluate(run, network, model, data, settings)
        run.describe(descriptions.training(settings, result, test, model.uri, robust))
        for finished in (run.run_id, *([resumed_from] if resumed_from else [])):
            trainings.delete_checkpoints(finished)
    return TrainResult(run.run_id, model, network, result, test, robust)


def main(settings: TrainSettings) -> None:
    print_result(run(settings))


def print_result(result: TrainResult) -> None:
    """What stands on the terminal in the end."""
    accuracy = descriptions.accuracy_line(result.test, "test")
    print(f"\n{accuracy}{descriptions.robustness_line(result.robust)}{runs.signpost(result.run_id, result.model)}")


def _resume(run: runs.TrackedRun, resumed_from: str, num_steps: int) -> TrainingState | None:
    """The state to go on from; what the interrupted run had logged until then is logged once more.

    num_steps: of an epoch.
    """
    heartbeat.take_over(resumed_from, run.run_id)
    state = trainings.newest_checkpoint(resumed_from)
    run.set_tags({runs.RESUMED_FROM_TAG: resumed_from})
    if state is None:
        print(f"The run {resumed_from} has no finished epoch; the training begins anew.")
        return None
    for result in state.history:
        run.log_metrics(result.metrics(), step=result.epoch)
    for name, points in reading.history(resumed_from, (*STEP_METRICS, *VALIDATION_METRICS)).items():
        for step, value in points.items():
            if step <= state.epoch * num_steps:  # later ones are computed, and logged, again
                run.log_metrics({name: value}, step=step)
    print(f"Resuming the run {resumed_from} after epoch {state.epoch}.")
    return state


def _train(
    run: runs.TrackedRun,
    network: keras.Model,
    data: dataset.Split,
    settings: TrainSettings,
    state: TrainingState | None,
) -> TrainingResult:
    """The training itself, logged while it goes on, with its curves in the end."""
    num_steps = loop.steps_per_epoch(len(data.train), settings.batch_size)
    progress = TrainingProgress(settings.epochs, num_steps)
    curve = loop.StepCurve(num_steps)
    validation: list[tuple[float, float, float]] = []

    def on_steps(steps: loop.StepResults) -> None:
        progress.steps(steps)
        for step, *values in curve.add(steps):
            run.log_metrics(dict(zip(STEP_METRICS, values, strict=True)), step=step)

    def on_validation(step: int, result: EvaluationResult) -> None:
        validation.append((step / num_steps, result.loss, result.accuracy))
        run.log_metrics(dict(zip(VALIDATION_METRICS, (result.loss, result.accuracy), strict=True)), step=step)

    def on_epoch(result: loop.EpochResult, state: Callable[[], TrainingState]) -> None:
        progress.epoch(result)
        run.log_metrics(result.metrics(), step=result.epoch)
        run.flush()
        trainings.save_checkpoint(run, state())

    result = loop.train(
        network, data, settings, state=state, on_steps=on_steps, on_validation=on_validation, on_epoch=on_epoch
    )
    curves = training_figures.learning_curves(result.history, curve.points(), np.array(validation).reshape(-1, 3))
    run.log_figure(curves, "figures/learning_curves.png")
    return result


def _evaluate(
    run: runs.TrackedRun, network: keras.Model, model: LoggedModel, data: dataset.Split, settings: TrainSettings
) -> tuple[EvaluationResult, RobustAccuracy | None]:
    """Open the test images: everything was chosen on validation data, and from here on nothing is."""
    test = dataset.load_test(settings.dataset)
    scores = evaluation.evaluate(network, test)
    run.log_data(test, "testing")
    log_test(run, scores, model, test, "Test images", settings.epochs)
    robust = None
    if settings.robustness != "none":
        print(f"Attacking {attacks.ATTACKED} validation and as many test images within {settings.epsilon:g}.")
        within = attacks.robust_accuracy(network, data.validation, settings.epsilon)
        run.log_metrics(within.metrics("validation"), settings.epochs, model=model, data=data.validation)
        robust = attacks.robust_accuracy(network, test, settings.epsilon)
        run.log_metrics(robust.metrics("test"), settings.epochs, model=model, data=test)
    return scores, robust


def stored_settings(run_id: str) -> TrainSettings:
    """The settings of an interrupted training. Raises `SettingError` where its data has changed, or it has none."""
    stored = trainings.stored_settings(run_id)
    settings = TrainSettings(**stored["settings"])
    images = dataset.load_train(settings.dataset)
    if images.digest != stored["digest"]:
        raise SettingError(f"`dataset`: {images.source} has changed since the run {run_id} began.")
    return settings
