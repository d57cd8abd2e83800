"""What a run's page says in words: results in, Markdown out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from mnist_cnn.data.dataset import LabelledImages
from mnist_cnn.input_optimization.ascent import AscentResult
from mnist_cnn.input_optimization.starts import SearchPlan
from mnist_cnn.judging import ablation
from mnist_cnn.judging.ablation import Searched
from mnist_cnn.judging.judges import Trained
from mnist_cnn.judging.nearest_digits import Neighbours
from mnist_cnn.judging.promotion import Decision, Origin, Version
from mnist_cnn.judging.scorecard import Scorecard
from mnist_cnn.settings import STARTS, AnswerSettings, AscentSettings, RegisterSettings, TrainSettings
from mnist_cnn.settings.experiments import Experiment
from mnist_cnn.training.attacks import RobustAccuracy
from mnist_cnn.training.evaluation import EvaluationResult
from mnist_cnn.training.loop import TrainingResult


def accuracy(result: EvaluationResult, name: str) -> str:
    """One line: accuracy with its interval."""
    return (
        f"{name} accuracy {result.accuracy:.2%} "
        f"(95 % interval {result.accuracy_low:.2%} to {result.accuracy_high:.2%}, {len(result.labels):,} images)"
    )


def robustness(result: RobustAccuracy | None) -> str:
    """One line of its own before the next, or nothing where nothing was attacked."""
    if result is None:
        return ""
    return (
        f"\nunder attack within {result.epsilon:g} {result.accuracy:.2%} "
        f"({result.low:.2%} to {result.high:.2%}, {result.total:,} images; {result.clean:.2%} of them without attack)"
    )


def of_training(
    settings: TrainSettings,
    training: TrainingResult,
    test: EvaluationResult,
    model_uri: str,
    robust: RobustAccuracy | None = None,
) -> str:
    last = training.history[-1]
    rows = [
        ("test", f"**{test.accuracy:.2%}** ({test.accuracy_low:.2%} to {test.accuracy_high:.2%})", f"{test.loss:.4f}"),
        *(
            [
                (
                    f"{robust.total:,} test images, attacked",
                    f"{robust.accuracy:.2%} ({robust.low:.2%} to {robust.high:.2%})",
                    "",
                )
            ]
            if robust
            else []
        ),
        ("validation", f"{last.validation_accuracy:.2%}", f"{last.validation_loss:.4f}"),
        ("training (running mean)", f"{last.accuracy:.2%}", f"{last.loss:.4f}"),
    ]
    table = "\n".join(f"| {name} | {share} | {loss} |" for name, share, loss in rows)
    epochs = f"{settings.epochs} epoch" + ("s" if settings.epochs > 1 else "")
    return f"""\
The **{settings.network}** network, trained for {epochs} in {training.seconds:.1f} s on `{settings.dataset}` \
(preset `{settings.preset}`, seed {settings.seed}).

| images | accuracy | loss |
|---|---|---|
{table}

**What to look at**

- `figures/learning_curves.png`: training against validation; `step/…` among the metrics moves within the epoch.
- `figures/most_wrong.png`: the test images in which the network was surest and wrong. Would you have read them?
- `figures/confusion_matrix.png`, `per_class_accuracy.png`, `calibration.png`: which digits, and how far to trust it.
- `model_summary.txt`: the layers. `settings.json`: everything needed to train it again.

**Use it**

```python
import mlflow
network = mlflow.keras.load_model("{model_uri}")
network.predict(images)  # (n, 28, 28, 1) in [0, 1] -> (n, 10) probabilities
```

Evaluate it on other images: `mlflow run . -e evaluate -P model={model_uri} -P dataset=FILE.npz`
"""


def of_evaluation(
    model_uri: str, data: LabelledImages, result: EvaluationResult, robust: RobustAccuracy | None = None
) -> str:
    rows = "\n".join(
        f"| {number} | {precision:.2%} | {recall:.2%} |"
        for number, (precision, recall) in enumerate(zip(result.precision, result.recall, strict=True))
    )
    return f"""\
`{model_uri}` on the {len(data):,} test images of **{data.name}** (digest `{data.digest}`): \
{accuracy(result, "test")}; loss {result.loss:.4f}; expected calibration error {result.calibration_error:.2%}.
{robustness(robust)}

| class | precision | recall |
|---|---|---|
{rows}

Look at `figures/most_wrong.png` first.
"""


def ascent_table(result: AscentResult, plan: SearchPlan, card: Scorecard) -> str:
    """A line for each kind: how sure the network is of the last images, and what judges see, as a Markdown table."""
    labels = np.array([kind.label for kind in plan.kinds])
    lines = [
        "| start → target | searches | first choices | recognised | probability of the target | KL divergence, nats "
        "| loss |",
        "|---|---|---|---|---|---|---|",
    ]
    for label in dict.fromkeys(labels):
        own = labels == label
        sure = result.target_probabilities[-1, own]
        hits = result.targets[own, result.probabilities[-1, own].argmax(axis=1)] > 0
        lines.append(
            f"| {label} | {own.sum()} | {hits.sum()} | {card.recognised[own].sum() if card.single[own].all() else '–'} "
            f"| {np.median(sure):.3f} ({sure.min():.3f} to {sure.max():.3f}) "
            f"| {np.median(result.kl_divergences[-1, own]):.3g} | {np.median(result.losses[-1, own]):.3g} |"
        )
    return "\n".join(lines)


def searches(result: AscentResult, plan: SearchPlan, neighbours: Neighbours, card: Scorecard) -> dict[str, list[Any]]:
    """A line for each search, as columns."""
    last = result.probabilities[-1]
    return {
        "search": list(range(len(plan.kinds))),
        "target": [kind.target.word for kind in plan.kinds],
        "start": [kind.start for kind in plan.kinds],
        "start_class": plan.starts.labels.tolist(),
        "start_image": plan.starts.indices.tolist(),
        "seed": plan.seeds.tolist(),
        "steps": [int(result.steps[-1])] * len(plan.kinds),
        "loss": _rounded(result.losses[-1]),
        "cross_entropy": _rounded(result.cross_entropies[-1]),
        "kl_divergence": _rounded(result.kl_divergences[-1]),
        "penalty": _rounded(result.penalties[-1]),
        "target_probability": _rounded(result.target_probabilities[-1]),
        "first_choice": last.argmax(axis=1).tolist(),
        "first_choice_probability": _rounded(last.max(axis=1)),
        "best_step": result.best_steps.tolist(),
        "best_loss": _rounded(result.best_losses),
        "recognised": card.recognised.tolist(),
        **{f"judge_{kind}": choices.tolist() for kind, choices in zip(card.judges, card.choices, strict=True)},
        "distance_to_class": _rounded(card.distances),
        "distance_allowed": _rounded(card.limits),
        "nearest_digit": neighbours.labels.tolist(),
        "nearest_image": neighbours.indices.tolist(),
        "nearest_distance": _rounded(neighbours.distances),
        **{f"p({number})": _rounded(last[:, number]) for number in range(last.shape[1])},
    }


def _rounded(values: Any) -> list[float]:
    """Six significant digits, which is what float32 holds."""
    return [float(f"{value:.6g}") for value in values]


def of_optimization(
    model_uri: str, settings: AscentSettings, result: AscentResult, plan: SearchPlan, card: Scorecard
) -> str:
    return f"""\
Input images for `{model_uri}`, found by {settings.steps:,} steps of gradient descent on the pixels \
(objective `{settings.objective}`; medians over searches, lowest to highest in brackets).

{ascent_table(result, plan, card)}

Recognised: at least five of six judges that took no part name the target, and the image is no farther from real \
digits of that class than 95 % of held-out ones are.

**What to look at**

- `figures/film_strip.png`: from start to end, with step and loss; the last picture is the nearest real training digit.
- `figures/finals.png`: every last image beside its nearest real digit. Would you have read it?
- The cards `optimisation/…` on top of *Model metrics*: the way there, under a slider. This run's settings stand \
above a card's picture: scroll inside it, or switch off *Show run parameters* (⋮, *Configure*).
- `animation.gif`: the same of all searches at once.
- `figures/curves.png`; the same curves are this run's metrics.
- `searches.json`: a line for each search. `arrays.npz`: every snapshot and number.
"""


def of_experiments(model_uri: str, finished: list[tuple[Experiment, AscentResult, SearchPlan, Scorecard]]) -> str:
    parts = [
        f"### {experiment.number}. {experiment.title}\n\nThe report saw: {experiment.finding}.\n\n"
        f"{ascent_table(result, plan, card)}"
        for experiment, result, plan, card in finished
    ]
    return (
        f"The reference report's input-optimisation experiments on `{model_uri}`; a child run holds each one's "
        "pictures, and `figures/` here has their film strips.\n\n" + "\n\n".join(parts)
    )


def judges_table(trained: list[Trained], tests: list[EvaluationResult]) -> str:
    """A line for each judge, as a Markdown table. tests: of the same judges in the same order, or none."""
    measured = [each.validation for each in trained], tests
    lines = ["| panel | judge | validation accuracy | test accuracy | seconds |", "|---|---|---|---|---|"]
    for number, each in enumerate(trained):
        shares = [
            f"{own[number].accuracy:.2%} ({own[number].accuracy_low:.2%} to {own[number].accuracy_high:.2%})"
            if own
            else "not taken"
            for own in measured
        ]
        lines.append(f"| {each.panel} | {each.judge.kind} | {' | '.join(shares)} | {each.seconds:.1f} |")
    return "\n".join(lines)


def of_judges(trained: list[Trained], tests: list[EvaluationResult]) -> str:
    return f"""\
Classifiers that take no part in optimising images, and say what digit an optimised image shows. Each panel learnt \
from its own half of the training images: A is for choosing, B for the last word. (Accuracy on real digits, with its \
95 % interval.)

{judges_table(trained, tests)}

Each judge is a logged model of this run: an `.npz` of plain arrays, verified by its tag `sha256` before it is used.
"""


def score_line(card: Scorecard) -> str:
    """`recognised 98.6 % (97.4 to 99.4), diversity 0.52`."""
    low, high = card.interval()
    diversity = card.metrics().get("diversity", math.nan)
    return f"recognised {100 * card.rate:.1f} % ({100 * low:.1f} to {100 * high:.1f}), diversity {diversity:.2f}"


def answer_table(table: ablation.Table) -> str:
    """Recognised rates with 95 % intervals, and diversity, as a Markdown table."""
    lines = [
        "| network | regularisation | from noise | diversity | from a noisy digit | conversion |",
        "|---|---|---|---|---|---|",
    ]
    for (network, column), changes in table.chosen.items():
        cards = {start: table.cells[network, column, start].card for start in STARTS}
        rates = {start: with_interval(card.rate, *card.interval()) for start, card in cards.items()}
        lines.append(
            f"| {network} | {column}: {ablation.described(changes)} | {rates['noise']} "
            f"| {cards['noise'].metrics().get('diversity', math.nan):.2f} | {rates['noisy_digit']} | {rates['digit']} |"
        )
    return "\n".join(lines)


def cell_metrics(network: str, column: str, cell: Searched) -> dict[str, float]:
    """A cell's numbers by the names under which the run holds them: `recognised_rate/readable/tuned L2/noise`."""
    place = f"{network}/{column}/{cell.start}"
    return {f"{name}/{place}": value for name, value in cell.card.metrics().items() if "agreement" not in name}


def with_interval(*shares: float) -> str:
    """`98.6 (97.4 to 99.4)`, percent, of a share and its interval's ends."""
    rate, low, high = (100 * share for share in shares)
    return f"{rate:.1f} ({low:.1f} to {high:.1f})"


def answer_values(settings: AnswerSettings, table: ablation.Table, controls: Mapping[str, Scorecard]) -> dict[str, Any]:
    """Everything the answer rests on, to be kept as JSON."""
    return {
        "settings": {"num_images": settings.num_images, "steps": settings.steps, "seed": settings.seed},
        "controls": {name: card.metrics() for name, card in controls.items()},
        "tried": [
            {"network": network, "regularisation": column, "changes": dict(each.changes), **each.card.metrics()}
            for network, columns in table.tried.items()
            for column, every in columns.items()
            for each in every
        ],
        "cells": [
            {
                "network": network,
                "regularisation": column,
                "start": start,
                "changes": dict(table.chosen[network, column]),
                "images": len(cell.images),
                **cell.card.metrics(),
            }
            for (network, column, start), cell in table.cells.items()
        ],
    }


def of_answer(table: str, controls: Mapping[str, Scorecard]) -> str:
    checks = "\n".join(f"| {name} | {with_interval(card.rate, *card.interval())} |" for name, card in controls.items())
    return f"""\
The reference report's open question: would stronger regularisation make the optimised images readable?

Recognised, % (95 % interval): at least five of six judges that took no part name the target, and the image is no
farther from real digits of that class than 95 % of held-out ones are. Diversity: mean distance between images of one
class, as a share of that between real digits.

{table}

| control | recognised, % |
|---|---|
{checks}

**What to look at**

- `figures/answer.png`: ten digits from noise in each cell. `figures/readable_digits.png`: the best one.
- `figures/recognised_against_diversity.png`: what one costs of the other.
- `answer.json`: every number. `images.npz`: every image.
"""


def of_decision(settings: RegisterSettings, decision: Decision, made: tuple[Version, bool] | None) -> str:
    """What was done with the registry, or would have been, line by line."""
    if made is None:
        would = "would be this model" if decision.promoted and not decision.is_champion else "would not change"
        return f"Dry run: nothing was registered; {settings.name}@champion {would}."
    version, is_new = made
    lines = [
        f"Version  {version.name} {version.number} ({version.uri}), {'new' if is_new else 'there already'}",
        f"Aliases  challenger: version {version.number}",
    ]
    if decision.is_champion or not decision.promoted:
        before = "none" if decision.champion is None else f"version {decision.champion}"
        lines.append(f"         champion: {before}, as before")
    else:
        before = f" (was version {decision.champion})" if decision.champion is not None else ""
        lines.append(f"         champion: version {version.number}{before}")
    return "\n".join(lines)


def version_tags(origin: Origin, digest: str, decision: Decision, measured: Mapping[str, float]) -> dict[str, str]:
    """What stands on a version of a registered model, as tags."""
    numbers = {"validation_accuracy": decision.accuracy.rate, **measured}
    shown = {name: f"{value:.4f}" for name, value in numbers.items() if not name.endswith(("_low", "_high"))}
    known = {
        "run_id": origin.run_id,
        "commit": origin.commit,
        "data_digest": digest,
        "network": origin.network,
        "regime": origin.regime,
        "decision": decision.word,
    }
    return {**{name: word for name, word in known.items() if word}, **shown}


def _measured_lines(measured: Mapping[str, float]) -> str:
    """A Markdown list of what was measured, with intervals."""
    said = {
        "test_accuracy": "test accuracy",
        "test_robust_accuracy": "test accuracy under attack (Euclidean distance 2)",
        "recognised_rate": "digits searched from noise that panel A recognises",
    }
    return "\n".join(
        f"- {words}: {with_interval(measured[name], measured[f'{name}_low'], measured[f'{name}_high'])} %"
        for name, words in said.items()
        if name in measured
    )


def of_version(origin: Origin, decision: Decision, measured: Mapping[str, float]) -> str:
    """The description of a version of a registered model, as Markdown."""
    made_by = f"The run `{origin.run_id}`" if origin.run_id else "A run that is not known"
    network = f" ({origin.network}, {origin.regime})" if origin.network else ""
    return f"""\
{made_by} trained this network{network}{f" at commit `{origin.commit[:12]}`" if origin.commit else ""}.

{decision.sentence}

{_measured_lines(measured)}
"""


def of_registration(
    settings: RegisterSettings, decision: Decision, made: tuple[Version, bool] | None, measured: Mapping[str, float]
) -> str:
    """The description of a registration's run, as Markdown."""
    return f"""\
**{decision.word}**. {decision.sentence}

{_measured_lines(measured)}

```
{of_decision(settings, decision, made)}
```

The decision rests on validation images alone; the test images were opened after it. Versions, their tags and aliases
stand under *Models* → {settings.name}.
"""


def of_move(settings: RegisterSettings, version: Version, before: Version | None) -> str:
    was = f"version {before.number}" if before else "none"
    if settings.dry_run:
        return f"Dry run: {settings.name}@{settings.alias} is {was}, and would be version {version.number}."
    if before is not None and before.number == version.number:
        return f"{settings.name}@{settings.alias} is version {version.number} already."
    return f"{settings.name}@{settings.alias} was {was}, and is version {version.number} now, moved by hand."
