"""The page that tells the whole story, read back from the runs that made it, and the words that go with it."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_cnn.data import reference_report
from mnist_cnn.judging import ablation
from mnist_cnn.reporting import figures, pages, steps
from mnist_cnn.reporting.pages import cell
from mnist_cnn.reporting.steps import Outcome, Outcomes
from mnist_cnn.settings import STARTS, MainSettings
from mnist_cnn.settings.experiments import EXPERIMENTS
from mnist_cnn.tracking import registry, runs, sweep_runs
from mnist_cnn.training.loop import EpochResult

SHARES = ("validation_accuracy", "test_accuracy", "test_robust_accuracy", "recognised_rate")
TITLE = "Can a person read what a network dreams?"
REPORTS, BEST = "report L2", "tuned L2 and others"
COLUMNS = 10
"""Images in a row of the page."""

VERSION_TAGS = {
    "validation_accuracy": "validation accuracy",
    "test_accuracy": "test accuracy",
    "test_robust_accuracy": "test accuracy under attack within 2",
    "recognised_rate": "recognised from noise, by panel A",
    "diversity": "diversity of those",
    "regime": "trained to be",
    "run_id": "trained by the run",
    "commit": "at commit",
    "data_digest": "digest of its data",
}


def page(settings: MainSettings, run_id: str, outcomes: Outcomes) -> str:
    """One HTML page without any other file. What is missing is named where it would stand."""
    sections: list[tuple[str, tuple[str, ...], Callable[[Outcomes], str]]] = [
        ("The answer", ("answer",), _answer),
        ("Training", ("ordinary", "readable"), _training),
        ("The six experiments", ("experiments",), _experiments),
        ("What regularisation does", ("sweep_ordinary", "sweep_readable", "compare"), _sweeps),
        ("What each ingredient adds", ("answer",), _ablation),
        ("The registered version", ("register",), _version),
    ]
    parts = []
    if settings.scale != "full":
        parts.append('<p class="missing"><b>Smoke.</b> A few images, steps and trials: it shows that all works, and no '
                     "number of it means anything.</p>")  # fmt: skip
    for title, needed, make in sections:
        absent = [outcomes[name] for name in needed if not outcomes[name].is_there]
        body = _made_or_missing(title, make, outcomes) if len(absent) < len(needed) else ""
        body += "".join(pages.missing(one.title, one.reason) for one in absent)
        parts.append(f"<section><h2>{title}</h2>{body}</section>")
    parts.append(f"<section><h2>How it was made</h2>{_made(run_id, outcomes)}</section>")
    return pages.document(
        TITLE,
        "A network is frozen, and its input is searched by gradient descent from pure noise until it sees a digit.",
        parts,
    )


def _made_or_missing(title: str, make: Callable[[Outcomes], str], outcomes: Outcomes) -> str:
    try:
        return make(outcomes)
    except Exception as error:  # whatever a store, or a run that has lost a part of what it held, may come to
        return pages.missing(title, f"what it is made of cannot be read ({type(error).__name__}: {error})")


def _answer(outcomes: Outcomes) -> str:
    values = runs.read_json(outcomes["answer"].run_id, "answer.json")
    images = runs.read_arrays(outcomes["answer"].run_id, "images.npz")
    found = {(one["network"], one["regularisation"], one["start"]): one for one in values["cells"]}
    ordinary, readable = found["ordinary", REPORTS, "noise"], found["readable", BEST, "noise"]
    rows = [
        _strip("An ordinary network, the reference report's regularisation", ordinary, images),
        _strip("A network trained to withstand attacks and to doubt what is no digit", readable, images),
    ]
    most = max(found["ordinary", column, "noise"]["recognised_rate"] for column in ablation.REGULARISATIONS)
    verdict = ""
    if readable["recognised_rate_low"] > 0.9 and most < 0.7:
        verdict = "<b>Yes, if the network was trained for it; regularisation alone does not do it.</b> "
    lead = (
        f"<p>{verdict}Of {ordinary['images']} images each, searched from uniform noise, judges that took no part "
        f"recognise {_rate(ordinary)} where the network is an ordinary one, and {_rate(readable)} where it was trained "
        f"to be readable; the latter differ {readable.get('diversity', 0):.2f} times as much from each other as real "
        "digits of a class do.</p>"
    )
    below = (
        '<p class="quiet">The first search for each digit, none picked. Recognised: at least five of six judges name '
        "the digit, and the image is no farther from real digits of its class than 95 % of held-out ones are; 95 % "
        "interval in brackets. The settings were chosen by another panel of judges.</p>"
    )
    return f"{lead}{''.join(rows)}{below}{_cells(values)}"


def _strip(title: str, one: Mapping[str, Any], images: Mapping[str, NDArray[np.uint8]]) -> str:
    place = f"{one['network']}-{one['regularisation']}-{one['start']}"
    shown = _firsts(images[place], images[f"{place}-targets"], rows=2)
    rate = f"<b>{100 * one['recognised_rate']:.1f} %</b>"
    return (
        f'<div class="strip"><div class="said">{rate} recognised<br><span class="quiet">{html.escape(title)}: '
        f"{html.escape(ablation.described(one['changes']))}</span></div>"
        f"<div>{''.join(pages.row_of_images(row) for row in shown)}{pages.names([str(n) for n in range(10)])}</div>"
        "</div>"
    )


def _firsts(images: NDArray[np.uint8], targets: NDArray[np.uint8], rows: int) -> list[NDArray[np.floating]]:
    """The first images of each class, (10, 28, 28) for each row."""
    places = [np.flatnonzero(targets == number) for number in range(10)]
    rows = min(rows, *(len(each) for each in places))
    return [images[[each[row] for each in places], ..., 0] / 255 for row in range(rows)]


def _rate(one: Mapping[str, Any]) -> str:
    ends = f"{100 * one['recognised_rate_low']:.1f} to {100 * one['recognised_rate_high']:.1f}"
    return f"{100 * one['recognised_rate']:.1f} % ({ends})"


def _cells(values: Mapping[str, Any]) -> str:
    found = {(one["network"], one["regularisation"], one["start"]): one for one in values["cells"]}
    rows = []
    for network, column in dict.fromkeys((one["network"], one["regularisation"]) for one in values["cells"]):
        cards = [found[network, column, start] for start in STARTS]
        best = network == "readable" and column == BEST
        cells = [cell(network), pages.long_cell(ablation.described(cards[0]["changes"]))]
        cells += [f'<td data-value="{one["recognised_rate"]}">{_rate(one)}</td>' for one in cards]
        rows.append(("strong" if best else "", [*cells, cell(round(cards[0].get("diversity", float("nan")), 2))]))
    heads = ["network", "regularisation", "from noise", "from a noisy digit", "conversion", "diversity from noise"]
    return pages.table(heads, rows)


def _training(outcomes: Outcomes) -> str:
    parts = []
    rows = []
    for reported in reference_report.EPOCHS:
        test = _test(reference_report.TEST_ACCURACY) if reported[0] == len(reference_report.EPOCHS) else ""
        rows.append(("", [cell("the reference report"), *map(cell, reported), cell(test)]))
    for name in ("ordinary", "readable"):
        if not outcomes[name].is_there:
            continue
        run = runs.get_run(outcomes[name].run_id)
        epochs = _history(outcomes[name].run_id)
        svg = figures.as_svg(figures.learning_curves(epochs))
        attacked = " Its training images are attacked, hence the low training accuracy." if name == "readable" else ""
        parts.append(f"<h3>{outcomes[name].title}</h3>")
        parts.append(pages.drawing(svg, f"Training against validation, epoch by epoch.{attacked}"))
        for one in epochs:
            test = _test(run.data.metrics["test_accuracy"]) if one.epoch == len(epochs) else ""
            numbers = (one.epoch, one.accuracy, one.loss, one.validation_accuracy, one.validation_loss)
            rows.append(("", [cell(name), *map(cell, numbers), cell(test)]))
    heads = ["network", "epoch", "accuracy", "loss", "validation accuracy", "validation loss", "test accuracy"]
    note = f'<p class="quiet">The report\'s network has {reference_report.PARAMETERS:,} parameters.</p>'
    return f"{''.join(parts)}<h3>Beside the reference report</h3>{pages.table(heads, rows)}{note}"


def _test(accuracy: float) -> str:
    return f"{100 * accuracy:.2f} %"


def _history(run_id: str) -> list[EpochResult]:
    names = {
        "loss": "train_loss",
        "accuracy": "train_accuracy",
        "validation_loss": "validation_loss",
        "validation_accuracy": "validation_accuracy",
        "learning_rate": "learning_rate",
        "seconds": "seconds_per_epoch",
        "images_per_second": "images_per_second",
    }
    points = runs.history(run_id, list(names.values()))
    epochs = sorted(points["train_loss"])
    return [EpochResult(epoch, **{field: points[name][epoch] for field, name in names.items()}) for epoch in epochs]


def _experiments(outcomes: Outcomes) -> str:
    parts = [
        '<p class="quiet">The reference report\'s six, with its settings, on the ordinary network. Each strip can be '
        "played; below it stands the way there.</p>"
    ]
    below = runs.runs_below(outcomes["experiments"].run_id)
    by_name = {run.info.run_name: run for run in below.values()}
    for experiment in EXPERIMENTS:
        run = by_name.get(f"{experiment.number}. {experiment.title}")
        arrays = runs.read_arrays(run.info.run_id, "arrays.npz") if run is not None else {}
        if run is None or not arrays:
            parts.append(pages.missing(experiment.title, "its run is not there"))
            continue
        each = len(arrays["targets"]) // len(experiment.kinds)
        count = max(1, min(each, COLUMNS // len(experiment.kinds)))
        places = [kind * each + k for kind in range(len(experiment.kinds)) for k in range(count)]
        words = [
            kind.label if kind.start == "digit" else kind.target.word for kind in experiment.kinds for _ in range(count)
        ]
        film = pages.Film(arrays["snapshots"][:, places][..., 0], arrays["steps"].tolist(), words)
        shares = np.where(arrays["targets"] > 0, arrays["probabilities"][-1], 0).sum(axis=1)
        rate = run.data.metrics.get("recognised_rate")
        judged = f"; panel A recognises {rate:.0%}" if rate is not None else ""
        parts.append(
            f"<h3>{experiment.number}. {experiment.title}</h3>"
            f"<p>The report saw: {html.escape(experiment.finding)}. Here the network gives the target "
            f"{shares.mean():.3f} in the mean of {_count(len(shares), 'search')}{judged}.</p>{pages.player(film)}"
        )
    return "".join(parts)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'es' * (number != 1)}"


def _sweeps(outcomes: Outcomes) -> str:
    parts = []
    compared = outcomes["compare"]
    if compared.is_there:
        for path, caption in (
            ("figures/recognised_against_l2_weight.png", "Share recognised by panel A against the L2 weight, trial by "
             "trial, from noise; the line joins the best in each ninth of the axis. The other settings vary along."),
            ("figures/best_side_by_side.png", "The last images of the best trial of each sweep, target by target."),
        ):  # fmt: skip
            picture = runs.read_bytes(compared.run_id, path)
            parts.append(pages.chart(picture, path, caption) if picture else pages.missing(path, "it was not drawn"))
    for name in ("sweep_readable", "sweep_ordinary"):
        if outcomes[name].is_there:
            (record,) = sweep_runs.read_sweeps([outcomes[name].run_id])
            best = record.best
            rows = [
                ("strong" if trial is best else trial.state, [
                    cell(trial.number),
                    pages.images_cell(sweep_runs.images_of(trial.run_id).get("finals")),
                    cell(trial.values[0] if trial.state == "complete" else trial.state),
                    *(cell(pages.number_or_word(trial.settings.get(setting, ""))) for setting in SHOWN),
                ])
                for trial in sorted(record.trials, key=lambda one: -one.values[0] if one.state == "complete" else 1)
            ]  # fmt: skip
            heads = [
                "trial",
                "last images",
                record.goals[0],
                *(word.removesuffix("_weight").replace("_", " ") for word in SHOWN),
            ]
            parts.append(f"<h3>{outcomes[name].title}</h3>{pages.table(heads, rows[:MOST_TRIALS])}")
    return "".join(parts)


SHOWN = ("l2_weight", "tv_weight", "smoothness_weight", "border_weight", "temperature", "learning_rate")
MOST_TRIALS = 8


def _percent(share: float | None) -> str:
    return cell("") if share is None else f'<td data-value="{share}">{100 * share:.1f}</td>'


def _ablation(outcomes: Outcomes) -> str:
    run_id = outcomes["answer"].run_id
    values = runs.read_json(run_id, "answer.json")
    by_settings: dict[str, dict[str, Mapping[str, Any]]] = {}
    for one in values["tried"]:
        by_settings.setdefault(ablation.described(one["changes"]), {})[one["network"]] = one
    networks = list(dict.fromkeys(one["network"] for one in values["tried"]))
    heads = ["regularisation", *(f"{name}: {what}" for name in networks for what in ("recognised, %", "diversity"))]
    rows = []
    for said, found in by_settings.items():
        cells = [pages.long_cell(said)]
        for name in networks:
            one = found.get(name, {})
            cells += [_percent(one.get("recognised_rate")), cell(round(one.get("diversity", math.nan), 2))]
        rows.append(("", cells))
    picture = runs.read_bytes(run_id, "figures/recognised_against_diversity.png")
    drawn = pages.chart(picture, "recognised against diversity", "Every setting that was tried (small, panel A), and "
                        "those of the table above (large, panel B).") if picture else ""  # fmt: skip
    lead = (
        '<p class="quiet">From pure noise, by panel A: this is where the settings above were chosen. A network that '
        "draws one image of a class again and again is recognised and has no diversity: hence both numbers.</p>"
    )
    return f"{lead}{drawn}{pages.table(heads, rows)}"


def _version(outcomes: Outcomes) -> str:
    run = runs.get_run(outcomes["register"].run_id)
    name = run.data.params.get("name", "mnist-cnn")
    one = registry.version(name, int(run.data.tags["version"]))
    rows = []
    for tag, words in VERSION_TAGS.items():
        word = one.tags.get(tag, "")
        if word:
            rows.append(("", [cell(words), cell(f"{100 * float(word):.2f} %" if tag in SHARES else word)]))
    aliases = ", ".join(f"<code>{alias}</code>" for alias in one.aliases) or "none"
    use = f"""\
network = mlflow.keras.load_model("models:/{name}@champion")
network.predict(images)  # (n, 28, 28, 1) float32 from 0 to 1 -> (n, 10) probabilities"""
    return (
        f"<p><b>{html.escape(name)}, version {one.number}</b>, with the aliases {aliases}. "
        f"{html.escape(_sentence(run))}</p>{pages.table(['', ''], rows)}<pre>{html.escape(use)}</pre>"
    )


def _sentence(run: Any) -> str:
    decision = run.data.tags.get("decision", "")
    accuracy = run.data.metrics.get("gate/validation_accuracy")
    said = {
        "promoted": "It passed the gate against the champion before it.",
        "not promoted": "It did not pass the gate; the champion stayed.",
        "is the champion": "It was the champion already.",
        "the first champion": "There was no champion before it.",
    }.get(decision, "")
    return f"Validation accuracy {accuracy:.2%}. {said}" if accuracy is not None else said


def _made(run_id: str, outcomes: Outcomes) -> str:
    run = runs.get_run(run_id)
    rows = []
    for one in outcomes.values():
        state = f"{one.state}: {one.reason}" if one.reason else one.state
        cells = [cell(one.title), cell(state), _time(one), f'<td class="text"><code>{one.run_id[:8]}</code></td>']
        rows.append(
            (
                "" if one.is_there else "failed",
                [*cells, f'<td class="text long"><code>{html.escape(one.command)}</code></td>'],
            )
        )
    tags = run.data.tags
    commit = tags.get("mlflow.source.git.commit", "not in a git checkout")
    changed = " with changes that are not committed" if tags.get("git.uncommitted_changes") == "true" else ""
    versions = ", ".join(
        f"{name.removeprefix('version.')} {word}" for name, word in sorted(tags.items()) if name.startswith("version.")
    )
    words = [
        f"Commit <code>{html.escape(commit)}</code>{changed}.",
        f"{html.escape(tags.get('hardware.device', ''))}, {tags.get('hardware.cores', '?')} cores, "
        f"{tags.get('hardware.memory_gib', '?')} GiB.",
        f"{html.escape(versions)}.",
        f"Run <code>{run_id}</code> in MLflow holds this page; each step is a run below it, or, where it was "
        "reused, below the earlier one that did it.",
    ]
    return (
        f"{pages.table(['step', 'state', 'time', 'run', 'command'], rows)}<ul>"
        + "".join(f"<li>{word}</li>" for word in words)
        + "</ul>"
    )


def _time(one: Outcome) -> str:
    return f'<td data-value="{one.seconds}">{steps.clock(one.seconds) if one.seconds else ""}</td>'
