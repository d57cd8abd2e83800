"""Read back from the runs of a reproduction what its page shows; what is not there is named with the reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

from mnist_cnn.data import dataset
from mnist_cnn.models import plain_layers
from mnist_cnn.models.plain_layers import PlainNetwork
from mnist_cnn.reporting.reproduction_page import (
    Ablation,
    Comparison,
    ExperimentsOn,
    FinishedExperiment,
    Missing,
    Registration,
    Reproduction,
    StepResult,
    Sweep,
    Training,
)
from mnist_cnn.settings import ReproduceSettings
from mnist_cnn.settings.errors import SettingError
from mnist_cnn.settings.experiments import for_classes
from mnist_cnn.tracking import models, networks, reading, registry, sweep_runs
from mnist_cnn.tracking.store import STORE_ERRORS, TrackingError, first_line
from mnist_cnn.training.loop import EpochResult

Part = TypeVar("Part")

EPOCH_METRICS = {
    "loss": "train_loss",
    "accuracy": "train_accuracy",
    "validation_loss": "validation_loss",
    "validation_accuracy": "validation_accuracy",
    "learning_rate": "training_learning_rate",
    "seconds": "training_seconds_per_epoch",
    "images_per_second": "training_images_per_second",
}
"""The metric that each field of an `EpochResult` is."""


EXPERIMENTS_ON = {
    "experiments": "The ordinary network, the report's settings",
    "experiments_readable": "The readable network, its own settings",
}
"""The steps whose experiments stand side by side."""


CONFIRMED = "confirmed_recognised_rate."
"""How the metrics begin of which each is the share for a sweep, which is called `NETWORK-FINGERPRINT`."""


class _NotThere(TrackingError):
    """A run has lost a part of what it held."""


def data_of(settings: ReproduceSettings) -> str:
    """The data set of all steps, as a `dataset` setting."""
    return settings.dataset or ("mnist" if settings.scale == "full" else "mnist:1200")


def read_reproduction(settings: ReproduceSettings, run_id: str, steps: Mapping[str, StepResult]) -> Reproduction:
    """All that the page shows. run_id: of the reproduction's own run. steps: by name."""
    class_names = dataset.load_train(data_of(settings)).class_names
    read_experiments = partial(_experiments, len(class_names))
    return Reproduction(
        scale=settings.scale,
        run_id=run_id,
        tags=reading.get_run(run_id).data.tags,
        class_names=class_names,
        steps=list(steps.values()),
        network=_of_step(steps["readable"], partial(_network, len(class_names))),
        ablation=_of_step(steps["ablation"], _ablation),
        trainings=[_of_step(steps[name], _training) for name in ("ordinary", "readable")],
        experiments=[
            ExperimentsOn(title, _of_step(steps[name], read_experiments)) for name, title in EXPERIMENTS_ON.items()
        ],
        comparison=_of_step(steps["compare"], _comparison),
        sweeps=[_of_step(steps[name], _sweep) for name in ("sweep_readable", "sweep_ordinary")],
        registration=_of_step(steps["register"], _registration),
    )


def _of_step(step: StepResult, read: Callable[[StepResult], Part]) -> Part | Missing:
    """What is read of a step's run, or why it is missing: the step was not done, or the store has lost it."""
    if not step.is_there:
        return Missing(step.title, step.reason)
    try:
        return read(step)
    except STORE_ERRORS as error:
        return Missing(step.title, f"its run {step.run_id} cannot be read: {first_line(error)}")


def _network(num_classes: int, step: StepResult) -> PlainNetwork | Missing:
    model = models.resolve(f"models:/{models.of_run(reading.get_run(step.run_id))}")
    try:
        return plain_layers.plain(networks.load(model, num_classes))
    except SettingError as error:
        return Missing("The network to play with", str(error))


def _ablation(step: StepResult) -> Ablation:
    values = reading.read_json(step.run_id, "ablation.json")
    images = reading.read_arrays(step.run_id, "images.npz")
    if not values or not images:
        raise _NotThere("it holds no ablation.json or no images.npz")
    return Ablation(values, images)


def _training(step: StepResult) -> Training:
    points = reading.history(step.run_id, list(EPOCH_METRICS.values()))
    history = [
        EpochResult(epoch, **{field: points[name][epoch] for field, name in EPOCH_METRICS.items()})
        for epoch in sorted(points["train_loss"])
    ]
    if not history:
        raise _NotThere("it holds no epoch")
    return Training(step.name, step.title, history, reading.get_run(step.run_id).data.metrics["test_accuracy"])


def _experiments(num_classes: int, step: StepResult) -> list[FinishedExperiment | Missing]:
    runs = {run.info.run_name: run for run in reading.runs_below(step.run_id).values()}
    parts: list[FinishedExperiment | Missing] = []
    for experiment in for_classes(num_classes):
        run = runs.get(f"{experiment.number}. {experiment.title}")
        arrays = reading.read_arrays(run.info.run_id, "arrays.npz") if run is not None else {}
        if run is None or not arrays:
            parts.append(Missing(experiment.title, "its run, or the arrays of it, are not there"))
            continue
        shown = {name: arrays[name] for name in ("steps", "snapshots", "probabilities", "targets")}
        rate = run.data.metrics.get("recognised_rate")
        parts.append(FinishedExperiment(experiment, **shown, recognised_rate=rate))
    return parts


def _comparison(step: StepResult) -> Comparison:
    metrics = reading.get_run(step.run_id).data.metrics
    rates = {name.removeprefix(CONFIRMED): rate for name, rate in metrics.items() if name.startswith(CONFIRMED)}
    return Comparison({name.rpartition("-")[0] or name: rate for name, rate in rates.items()})


def _sweep(step: StepResult) -> Sweep:
    (record,) = sweep_runs.read_sweeps(step.run_id)
    arrays = {trial.run_id: sweep_runs.images_of(trial.run_id) for trial in record.trials}
    finals = {run_id: images["finals"] for run_id, images in arrays.items() if "finals" in images}
    return Sweep(step.title, record, finals)


def _registration(step: StepResult) -> Registration:
    run = reading.get_run(step.run_id)
    version = registry.get_version(reading.params_of(run).get("name", "mnist-cnn"), int(run.data.tags["version"]))
    accuracy = run.data.metrics.get("promotion/validation_accuracy")
    champion = registry.holder(version.name, "champion")
    decision, number = run.data.tags.get("decision", ""), champion.number if champion else None
    return Registration(version, decision, accuracy, number)
