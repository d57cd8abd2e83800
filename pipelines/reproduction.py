"""Read back from the runs of a reproduction what its page shows; what is not there is named with the reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from mnist_cnn.reporting.reproduction_page import (
    Ablation,
    Comparison,
    FinishedExperiment,
    Missing,
    Registration,
    Reproduction,
    StepResult,
    Sweep,
    Training,
)
from mnist_cnn.settings import ReproduceSettings
from mnist_cnn.settings.experiments import EXPERIMENTS
from mnist_cnn.tracking import reading, registry, sweep_runs
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


class _NotThere(TrackingError):
    """A run has lost a part of what it held."""


def read_reproduction(settings: ReproduceSettings, run_id: str, steps: Mapping[str, StepResult]) -> Reproduction:
    """All that the page shows. run_id: of the reproduction's own run. steps: by name."""
    experiments = _of_step(steps["experiments"], _experiments)
    return Reproduction(
        scale=settings.scale,
        run_id=run_id,
        tags=reading.get_run(run_id).data.tags,
        steps=list(steps.values()),
        ablation=_of_step(steps["ablation"], _ablation),
        trainings=[_of_step(steps[name], _training) for name in ("ordinary", "readable")],
        experiments=[experiments] if isinstance(experiments, Missing) else experiments,
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


def _required(step: StepResult, path: str) -> bytes:
    content = reading.read_bytes(step.run_id, path)
    if content is None:
        raise _NotThere(f"it holds no {path}")
    return content


def _ablation(step: StepResult) -> Ablation:
    values = reading.read_json(step.run_id, "ablation.json")
    images = reading.read_arrays(step.run_id, "images.npz")
    if not values or not images:
        raise _NotThere("it holds no ablation.json or no images.npz")
    return Ablation(values, images, reading.read_bytes(step.run_id, "figures/recognised_against_diversity.png"))


def _training(step: StepResult) -> Training:
    points = reading.history(step.run_id, list(EPOCH_METRICS.values()))
    history = [
        EpochResult(epoch, **{field: points[name][epoch] for field, name in EPOCH_METRICS.items()})
        for epoch in sorted(points["train_loss"])
    ]
    if not history:
        raise _NotThere("it holds no epoch")
    return Training(step.name, step.title, history, reading.get_run(step.run_id).data.metrics["test_accuracy"])


def _experiments(step: StepResult) -> list[FinishedExperiment | Missing]:
    runs = {run.info.run_name: run for run in reading.runs_below(step.run_id).values()}
    parts: list[FinishedExperiment | Missing] = []
    for experiment in EXPERIMENTS:
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
    return Comparison(
        along_l2_weight=_required(step, "figures/recognised_against_l2_weight.png"),
        best_side_by_side=_required(step, "figures/best_side_by_side.png"),
    )


def _sweep(step: StepResult) -> Sweep:
    (record,) = sweep_runs.read_sweeps(step.run_id)
    arrays = {trial.run_id: sweep_runs.images_of(trial.run_id) for trial in record.trials}
    finals = {run_id: images["finals"] for run_id, images in arrays.items() if "finals" in images}
    return Sweep(step.title, record, finals)


def _registration(step: StepResult) -> Registration:
    run = reading.get_run(step.run_id)
    version = registry.get_version(run.data.params.get("name", "mnist-cnn"), int(run.data.tags["version"]))
    accuracy = run.data.metrics.get("promotion/validation_accuracy")
    return Registration(version, run.data.tags.get("decision", ""), accuracy)
