"""Tables of a run: as Markdown for its description and the terminal, or as columns to be logged."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from mnist_cnn.judging import ablation
from mnist_cnn.judging.judges import Trained
from mnist_cnn.judging.nearest_digits import Neighbours
from mnist_cnn.judging.scorecard import Scorecard
from mnist_cnn.judging.search import Searches
from mnist_cnn.judging.teaching import Taught
from mnist_cnn.reporting.formats import interval, is_share
from mnist_cnn.reporting.rendering import markdown
from mnist_cnn.settings import STARTS, AblationSettings
from mnist_cnn.training.evaluation import EvaluationResult


def as_markdown(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> Markup:
    """A Markdown table. Cells are escaped, so that no text ends a cell or a row; `Markup` stays as it is."""
    lines = [headings, ["---"] * len(headings), *rows]
    return Markup("\n".join(f"| {' | '.join(map(markdown, cells))} |" for cells in lines))


TAUGHT = {
    "recognised_rate": "recognised", "near_real_share": "near real", "cas_plain": "CAS",
    "cas_augmented": "CAS, augmented", "learned/recall": "recall", "learned/precision": "precision",
    "learned/coverage": "coverage", "learned/vendi_ratio": "Vendi ratio", "diversity": "diversity",
    "deskewed_diversity": "deskewed", "memorised_share": "memorised",
}  # fmt: skip
"""The numbers of the table of students, and their headings."""


def taught(rows: Mapping[str, Taught]) -> Markup:
    """A line for each set of images: what its students get right, and how varied and legible it is."""
    lines = [[name, *(_taught_cell(key, row.metrics()) for key in TAUGHT)] for name, row in rows.items()]
    return as_markdown(["images", *TAUGHT.values()], lines)


def _taught_cell(key: str, metrics: Mapping[str, float]) -> str:
    value = metrics.get(key, math.nan)
    if not math.isfinite(value):
        return "–"
    return f"{100 * value:.1f} %" if is_share(key) else f"{value:.2f}"


def ascent(searches: Searches) -> Markup:
    """A line for each kind: how sure the network is of the last images, and what judges see."""
    result, card = searches.result, searches.card
    labels = np.array([kind.label for kind in searches.plan.kinds])
    named = {kind.label: kind.named(searches.plan.class_names) for kind in searches.plan.kinds}
    rows = []
    for label in dict.fromkeys(labels):
        own = labels == label
        sure = result.target_probabilities[-1, own]
        hits = result.targets[own, result.probabilities[-1, own].argmax(axis=1)] > 0
        judged = card is not None and card.single[own].all()
        rows.append([
            named[label], own.sum(), hits.sum(), card.recognised[own].sum() if card is not None and judged else "–",
            f"{np.median(sure):.3f} ({sure.min():.3f} to {sure.max():.3f})",
            f"{np.median(result.kl_divergences[-1, own]):.3g}", f"{np.median(result.losses[-1, own]):.3g}",
        ])  # fmt: skip
    headings = ["start → target", "searches", "first choices", "recognised", "probability of the target"]
    return as_markdown([*headings, "KL divergence, nats", "loss"], rows)


def searches(found: Searches, nearest: Neighbours) -> dict[str, list[Any]]:
    """A line for each search, as columns. Those of the judges are left out where nothing was scored."""
    plan, result, card = found.plan, found.result, found.card
    last = result.probabilities[-1]
    judged = {} if card is None else {
        "recognised": card.recognised.tolist(),
        **{f"judge_{kind}": choices.tolist() for kind, choices in zip(card.judges, card.choices, strict=True)},
        "distance_to_class": _rounded(card.distances),
        "distance_allowed": _rounded(card.limits),
    }  # fmt: skip
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
        **judged,
        "nearest_digit": nearest.labels.tolist(),
        "nearest_image": nearest.indices.tolist(),
        "nearest_distance": _rounded(nearest.distances),
        **{f"p({number})": _rounded(last[:, number]) for number in range(last.shape[1])},
    }


def _rounded(values: Any) -> list[float]:
    """Six significant digits, which is what float32 holds."""
    return [float(f"{value:.6g}") for value in values]


def predictions(
    files: Sequence[str], probabilities: NDArray[np.float32], done: Sequence[str], class_names: Sequence[str]
) -> dict[str, list[Any]]:
    """A line for each picture, as columns. probabilities: (n, k). done: what was done to each. class_names: k texts."""
    order = np.argsort(-probabilities, axis=1, kind="stable")
    sorted_ = np.take_along_axis(probabilities, order, axis=1)
    return {
        "file": list(files),
        "choice": [class_names[number] for number in order[:, 0]],
        "probability": _rounded(sorted_[:, 0]),
        "second_choice": [class_names[number] for number in order[:, 1]],
        "second_probability": _rounded(sorted_[:, 1]),
        "done": list(done),
    }


def predicted(files: Sequence[str], probabilities: NDArray[np.float32], class_names: Sequence[str]) -> Markup:
    """The same without what was done, as Markdown."""
    columns = predictions(files, probabilities[: len(files)], [""] * len(files), class_names)
    rows = zip(*(columns[name] for name in list(columns)[:-1]), strict=True)
    headings = ["file", "choice", "probability", "second choice", "its probability"]
    return as_markdown(headings, [[name, first, f"{p:.1%}", second, f"{q:.1%}"] for name, first, p, second, q in rows])


def judges(trained: Sequence[Trained], tests: Sequence[EvaluationResult]) -> Markup:
    """A line for each judge. tests: of the same judges in the same order, or none."""

    def share(result: EvaluationResult) -> str:
        return f"{result.accuracy:.2%} ({result.accuracy_low:.2%} to {result.accuracy_high:.2%})"

    return as_markdown(
        ["panel", "judge", "validation accuracy", "test accuracy", "seconds"],
        [
            [judge.panel, judge.judge.kind, share(judge.validation), share(tests[i]) if tests else "not measured",
             f"{judge.seconds:.1f}"]
            for i, judge in enumerate(trained)
        ],
    )  # fmt: skip


def ablation_cells(table: ablation.Table) -> Markup:
    """A line for each network and regularisation: recognised rates with 95 % intervals, and diversity."""
    rows = []
    for (network, column), changes in table.chosen.items():
        cards = {start: table.cells[network, column, start].card for start in STARTS}
        rates = {start: interval(card.rate, *card.interval()) for start, card in cards.items()}
        diversity = f"{cards['noise'].metrics().get('diversity', math.nan):.2f}"
        regularisation = f"{column}: {ablation.described(changes)}"
        rows.append([network, regularisation, rates["noise"], diversity, rates["noisy_digit"], rates["digit"]])
    return as_markdown(
        ["network", "regularisation", "from noise", "diversity", "from a noisy digit", "conversion"], rows
    )


def ablation_metrics(place: ablation.Place, card: Scorecard) -> dict[str, float]:
    """A cell's numbers by the names under which the run holds them: `recognised_rate/readable/tuned L2/noise`."""
    ending = "/".join(place)
    return {f"{name}/{ending}": value for name, value in card.metrics().items() if "agreement" not in name}


def ablation_values(
    settings: AblationSettings, table: ablation.Table, controls: Mapping[str, Scorecard]
) -> dict[str, Any]:
    """Every number of the ablation, to be kept as JSON."""
    return {
        "settings": {"num_images": settings.num_images, "steps": settings.steps, "seed": settings.seed},
        "controls": {name: card.metrics() for name, card in controls.items()},
        "tried": [
            {"network": network, "regularisation": column, "changes": dict(tried.changes), **tried.card.metrics()}
            for network, columns in table.tried.items()
            for column, choices in columns.items()
            for tried in choices
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
