"""What a run's page says: results in, a filled-in template out (Markdown, `templates/descriptions`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from mnist_cnn.data import dataset
from mnist_cnn.data.dataset import LabelledImages
from mnist_cnn.judging.ablation import Table
from mnist_cnn.judging.judges import Trained
from mnist_cnn.judging.promotion import Decision, Origin, Version
from mnist_cnn.judging.scorecard import Scorecard
from mnist_cnn.judging.search import Searches
from mnist_cnn.judging.teaching import Taught
from mnist_cnn.reporting import tables
from mnist_cnn.reporting.formats import interval
from mnist_cnn.reporting.rendering import render
from mnist_cnn.settings import AscentSettings, RegisterSettings, SeedsSettings, TeachSettings, TrainSettings
from mnist_cnn.settings.experiments import Experiment
from mnist_cnn.training.attacks import RobustAccuracy
from mnist_cnn.training.evaluation import EvaluationResult
from mnist_cnn.training.loop import TrainingResult

MEASURED = {
    "test_accuracy": "test accuracy",
    "test_robust_accuracy": "test accuracy under attack (Euclidean distance 2)",
    "recognised_rate": "digits searched from noise that panel A recognises",
}
"""What is measured of a version after the promotion check."""


def accuracy_line(result: EvaluationResult, name: str) -> str:
    """One line: accuracy with its interval."""
    return (
        f"{name} accuracy {result.accuracy:.2%} "
        f"(95 % interval {result.accuracy_low:.2%} to {result.accuracy_high:.2%}, {len(result.labels):,} images)"
    )


def robustness_line(result: RobustAccuracy | None) -> str:
    """A line break and the accuracy under attack; empty where nothing was attacked."""
    if result is None:
        return ""
    return (
        f"\nunder attack within {result.epsilon:g} {result.accuracy:.2%} "
        f"({result.low:.2%} to {result.high:.2%}, {result.total:,} images; {result.clean:.2%} of them without attack)"
    )


def score_line(card: Scorecard) -> str:
    """`recognised 98.6 % (97.4 to 99.4), diversity 0.52`."""
    diversity = card.metrics().get("diversity", math.nan)
    return f"recognised {interval(card.rate, *card.interval(), ' %')}, diversity {diversity:.2f}"


def training(
    settings: TrainSettings,
    training: TrainingResult,
    test: EvaluationResult,
    model_uri: str,
    robust: RobustAccuracy | None = None,
) -> str:
    """Of a training's run. robust: on test images, None where they were not attacked."""
    return render(
        "descriptions/training.md", settings=settings, training=training, last=training.history[-1], test=test,
        model_uri=model_uri, robust=robust,
    )  # fmt: skip


def evaluation(
    model_uri: str, data: LabelledImages, result: EvaluationResult, robust: RobustAccuracy | None = None
) -> str:
    """Of an evaluation's run. data: the test images."""
    classes = zip(result.class_names, result.precision.tolist(), result.recall.tolist(), strict=True)
    rows = [(name, f"{precision:.2%}", f"{recall:.2%}") for name, precision, recall in classes]
    return render(
        "descriptions/evaluation.md", model_uri=model_uri, data=data, num_images=len(data), result=result,
        accuracy=accuracy_line(result, "test"), robustness=robustness_line(robust).strip(),
        table=tables.as_markdown(["class", "precision", "recall"], rows),
    )  # fmt: skip


MOST_PICTURES = 30


def prediction(
    model_uri: str,
    files: Sequence[str],
    probabilities: NDArray[np.float32],
    skipped: Sequence[tuple[str, str]],
    class_names: Sequence[str],
) -> str:
    """Of a run that read pictures. files: (n,). probabilities: (n, k). skipped: files that could not be used."""
    least = np.argsort(probabilities.max(axis=1), kind="stable")[:MOST_PICTURES]
    return render(
        "descriptions/prediction.md", model_uri=model_uri, count=len(files), shown=len(least), skipped=skipped,
        table=tables.predicted([files[number] for number in least], probabilities[least], class_names),
    )  # fmt: skip


def optimization(model_uri: str, settings: AscentSettings, searches: Searches) -> str:
    """Of a search's run."""
    table = tables.ascent(searches)
    return render("descriptions/optimization.md", model_uri=model_uri, settings=settings, table=table)


def experiments(model_uri: str, finished: Sequence[tuple[Experiment, Searches]]) -> str:
    """Of the run above the six experiments."""
    parts = [(experiment, tables.ascent(searches)) for experiment, searches in finished]
    return render("descriptions/experiments.md", model_uri=model_uri, parts=parts)


def judges(trained: Sequence[Trained], tests: Sequence[EvaluationResult]) -> str:
    """Of the run that holds judges. tests: of the same judges in the same order, or none."""
    return render("descriptions/judges.md", table=tables.judges(trained, tests))


def ablation(table: Table, controls: Mapping[str, Scorecard]) -> str:
    """Of the ablation's run. controls: scores of images whose right verdict is known."""
    rows = [(name, interval(card.rate, *card.interval())) for name, card in controls.items()]
    checks = tables.as_markdown(["control", "recognised, %"], rows)
    return render("descriptions/ablation.md", table=tables.ablation_cells(table), controls=checks)


def registration_lines(settings: RegisterSettings, decision: Decision, made: tuple[Version, bool] | None) -> str:
    """What changed in the registry, or would have, line by line. made: the version and whether it is new; or None."""
    return render("descriptions/registration_lines.txt", settings=settings, decision=decision, made=made)


def registration(
    settings: RegisterSettings, decision: Decision, made: tuple[Version, bool] | None, measured: Mapping[str, float]
) -> str:
    """Of a registration's run. made: as in `registration_lines`. measured: shares with `_low` and `_high`."""
    return render(
        "descriptions/registration.md", settings=settings, decision=decision, measured=_measured(measured),
        lines=registration_lines(settings, decision, made).splitlines(),
    )  # fmt: skip


def version_text(origin: Origin, decision: Decision, measured: Mapping[str, float]) -> str:
    """Of a version of a registered model."""
    return render("descriptions/version.md", origin=origin, decision=decision, measured=_measured(measured))


def seeds(settings: SeedsSettings, seeds: Sequence[int], numbers: Mapping[str, Any]) -> str:
    """Of a command with several seeds. numbers: each with mean, low and high."""
    rows = [(name, f"{over.mean:.4g} ({over.low:.4g} to {over.high:.4g})") for name, over in numbers.items()]
    return render(
        "descriptions/seeds.md", settings=settings, seeds=seeds, table=tables.as_markdown(["number", "mean"], rows)
    )


def teaching(settings: TeachSettings, model_uri: str, student_uri: str, rows: Mapping[str, Taught]) -> str:
    """Of students that learned from images alone. rows: each set of images, by name."""
    return render(
        "descriptions/teaching.md", settings=settings, model=model_uri, student=student_uri, rows=rows,
        table=tables.taught(rows),
    )  # fmt: skip


MOST_ERRORS = 10


def model_card(
    version: Version, origin: Origin, decision: Decision, images: LabelledImages, test: EvaluationResult,
    measured: Mapping[str, float], command: str,
) -> str:  # fmt: skip
    """A card for a version, with a YAML head (Mitchell et al., arXiv:1810.03993; the head is Hugging Face's).

    images: all that it was trained on. test: on test images, of which the surest errors are named. command: registers.
    """
    shares = {"validation_accuracy": decision.accuracy.rate, **measured}
    metrics = [
        {"type": "accuracy" if "accuracy" in name else name, "name": name, "value": round(value, 6)}
        for name, value in shares.items()
    ]
    sure = test.probabilities.max(axis=1)
    wrong = [number for number in (-sure).argsort(kind="stable").tolist() if not test.hits[number]][:MOST_ERRORS]
    choices, names = test.probabilities.argmax(axis=1), test.class_names
    errors = [
        {"image": number, "label": names[test.labels[number]], "choice": names[choices[number]],
         "probability": float(sure[number])}
        for number in wrong
    ]  # fmt: skip
    return render(
        "descriptions/model_card.md", name=version.name, number=version.number, origin=origin,
        num_images=len(images), num_test=len(test.labels),
        about=Markup(version_text(origin, decision, {})), data=images.name, digest=images.digest, metrics=metrics,
        class_names=images.class_names, is_mnist=dataset.is_mnist(images),
        measured=_measured(measured), errors=errors, command=command,
    )  # fmt: skip


def version_tags(origin: Origin, digest: str, decision: Decision, measured: Mapping[str, float]) -> dict[str, str]:
    """The tags of a version of a registered model."""
    numbers = {"validation_accuracy": decision.accuracy.rate, **measured}
    tags = {
        "run_id": origin.run_id,
        "commit": origin.commit,
        "data_digest": digest,
        "network": origin.network,
        "regime": origin.regime,
        "decision": decision.word,
    }
    shares = {name: f"{value:.4f}" for name, value in numbers.items() if not name.endswith(("_low", "_high"))}
    return {**{name: tag for name, tag in tags.items() if tag}, **shares}


def _measured(measured: Mapping[str, float]) -> list[tuple[str, str]]:
    """What was measured, with intervals in percent."""
    return [
        (title, interval(measured[name], measured[f"{name}_low"], measured[f"{name}_high"]))
        for name, title in MEASURED.items()
        if name in measured
    ]
