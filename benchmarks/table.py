"""The README's results, made from benchmarks/results: `python -m benchmarks.table` writes them into it."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from benchmarks import RESULTS, spread
from mnist_cnn.data.reference_report import EPOCHS, TEST_ACCURACY
from mnist_cnn.judging.ablation import described
from mnist_cnn.reporting.descriptions import with_interval
from mnist_cnn.settings import SCHEDULES, TrainSettings

README = Path(__file__).parents[1] / "README.md"
START, END = "-->\n", "\n<!-- end of results -->"


def load(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}.json").read_text())


def machine(results: dict[str, Any]) -> str:
    tags = results["environment"]
    return f"{tags['hardware.device']}, {tags['hardware.cores']} cores, TensorFlow {tags['version.tensorflow']}"


def presets() -> str:
    lines = ["| preset | network | epochs | test accuracy, % | training time, s | seeds |", "|---|---|---|---|---|---|"]
    for name in ("quick", "accurate", "report"):
        if not (RESULTS / f"preset-{name}.json").exists():
            continue
        results = load(f"preset-{name}")
        runs, settings = results["runs"], results["settings"]
        accuracy = spread([100 * run["test_accuracy"] for run in runs])
        seconds = spread([run["training_seconds"] for run in runs], ".0f")
        if len(runs) == 1:
            accuracy, seconds = (cell.split(" (")[0] for cell in (accuracy, seconds))
        lines.append(
            f"| `{name}` | {settings['network']} | {settings['epochs']} | {accuracy} | {seconds} | {len(runs)} |"
        )
    return "\n".join(lines)


def speed() -> str:
    if not (RESULTS / "time-to-accuracy.json").exists():
        return ""
    results = load("time-to-accuracy")
    ours, example = results["results"]["quick"], results["results"]["example"]
    reached = sum(run["test_accuracy"] >= 0.99 for run in ours)
    return (
        f"Time to 99.0 % test accuracy: preset `quick` {spread([run['seconds'] for run in ours], '.1f')} s, "
        f'Keras\' "Simple MNIST convnet" example {spread([run["seconds"] for run in example], ".1f")} s '
        f"({spread([run['epochs'] for run in example], '.0f')} epochs): "
        f"**{spread(results['ratios'], '.1f')} times shorter**, seed by seed in one run, {len(ours)} seeds, "
        f"of which {reached} reached 99.0 % in their one epoch."
    )


def schedules() -> str:
    """The best peak of each schedule, and the default."""
    rows = load("schedules")["rows"]

    def said(row: dict[str, Any]) -> str:
        return f"{spread(row['validation_accuracies'])} % at {row['learning_rate']:g}"

    def of(schedule: str) -> list[dict[str, Any]]:
        return [row for row in rows if row["schedule"] == schedule]

    best = {name: max(of(name), key=lambda row: statistics.median(row["validation_accuracies"])) for name in SCHEDULES}
    (default,) = [row for row in of("one_cycle") if row["learning_rate"] == TrainSettings().learning_rate]
    return (
        "How the learning rate moves, by the validation accuracy of `quick` (`python -m benchmarks.schedules`, "
        f"{len(default['validation_accuracies'])} seeds): one cycle {said(default)}, the default, and "
        f"{said(best['one_cycle'])}, its best peak; a constant rate at best {said(best['constant'])}."
    )


def report() -> str:
    results = load("preset-report")
    (run,) = results["runs"]
    lines = [
        "| | epoch | accuracy | loss | validation accuracy | validation loss | test accuracy |",
        "|---|---|---|---|---|---|---|",
    ]
    for epoch, accuracy, loss, validation_accuracy, validation_loss in EPOCHS:
        test = f"{TEST_ACCURACY:.2%}".replace("%", " %") if epoch == len(EPOCHS) else ""
        lines.append(
            f"| the report | {epoch} | {accuracy:.4f} | {loss:.4f} | {validation_accuracy:.4f} | {validation_loss:.4f} "
            f"| {test} |"
        )
    for epoch in run["history"]:
        test = f"**{run['test_accuracy']:.2%}**".replace("%", " %") if epoch["epoch"] == len(run["history"]) else ""
        lines.append(
            f"| ours | {epoch['epoch']} | {epoch['accuracy']:.4f} | {epoch['loss']:.4f} "
            f"| {epoch['validation_accuracy']:.4f} | {epoch['validation_loss']:.4f} | {test} |"
        )
    return "\n".join(lines)


def search_speed() -> str:
    """Milliseconds per image and step of each contender, and how many times slower than ours, round by round."""
    lines = [
        "| network | contender | ms per image and step | times ours |",
        "|---|---|---|---|",
    ]
    notes = []
    for name in ("compact", "report"):
        results = load(f"input-optimization-{name}")
        for contender, milliseconds in results["milliseconds"].items():
            ratio = results["ratios"][contender]
            times = "" if set(ratio) == {1.0} else spread(ratio, ".1f")
            lines.append(f"| {name} | {contender} | {spread(milliseconds, '.3f')} | {times} |")
        notes.append(f"{spread(results['gflops'], '.0f')} GFLOP/s on {name} ({spread(results['peak'], '.0f')})")
    rounds = len(load("input-optimization-compact")["peak"])
    half = load("input-optimization-compact")["bfloat16"]
    halves = [
        f"{statistics.median(ratio):.1f} (on {name})"
        for name in ("compact", "report")
        for contender, ratio in load(f"input-optimization-{name}")["ratios"].items()
        if "bfloat16" in contender
    ]
    return (
        "\n".join(lines)
        + f"\n\nMedian (lowest to highest) of {rounds} rounds, the contenders taking turns. Of the arithmetic that a "
        f"matrix product of 1,024 x 1,024 reaches in the same rounds (in brackets), ours does {' and '.join(notes)}. "
        f"`mixed_bfloat16` takes {' and '.join(halves)} times as long, and finds other images: after "
        f"{half['steps']} steps on compact the pixels differ by {half['mean_difference']:.3f} on average, and the "
        f"float32 network gives those images' target a probability of {half['probability_in_float32']:.3f} (its own: "
        f"{half['own_probability']:.3f})."
    )


def logging_cost() -> str:
    results = load("logging-cost")
    return (
        f"Tracking takes {spread(results['share_percent'], '.1f')} % of a default run's "
        f"{spread(results['whole_seconds'], '.1f')} s ({len(results['whole_seconds'])} runs, "
        "`python -m benchmarks.logging_cost`)."
    )


def experiments() -> str:
    results = load("experiments")
    by_number = results["searches"]
    every = [search for searches in by_number.values() for search in searches]
    near = sum(search["target"] == str(search["nearest_digit"]) for search in by_number["4"])
    mixes = ", ".join(
        f"{word} {spread([one['cross_entropy'] for one in by_number['5'] if one['target'] == word], '.3f')}"
        for word in dict.fromkeys(one["target"] for one in by_number["5"])
    )
    return (
        f"The six experiments (`python -m benchmarks.experiments`), {len(every)} searches of {every[0]['steps']} steps "
        f"with all their pictures, took {results['seconds']:.0f} s, once. In the end the network gives the target a "
        f"probability of {spread([search['target_probability'] for search in every], '.3f')}. The cross-entropy of the "
        f"mixes is {mixes}. Of the {len(by_number['4'])} images of experiment 4, {near} have a digit of the target's "
        "class as the nearest real one."
    )


STARTS = {"noise": "from noise", "noisy_digit": "from a noisy digit", "digit": "conversion"}


def percent(values: dict[str, float]) -> str:
    return with_interval(*(values[f"recognised_rate{part}"] for part in ("", "_low", "_high")))


def answer() -> str:
    """The table of networks, regularisations and starts, what each ingredient adds, and the controls."""
    results = load("answer")
    rows: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for cell in results["cells"]:
        rows.setdefault((cell["network"], cell["regularisation"]), {})[cell["start"]] = cell
    lines = [
        f"| network | regularisation | {' | '.join(STARTS.values())} | diversity from noise |",
        "|---|---|---|---|---|---|",
    ]
    for (network, column), cells in rows.items():
        rates = " | ".join(percent(cells[start]) for start in STARTS)
        lines.append(
            f"| {network} | {column}: {described(cells['noise']['changes'])} | {rates} "
            f"| {cells['noise']['diversity']:.2f} |"
        )
    ingredients = ["| on the readable network | recognised, % | diversity | least diverse class |", "|---|---|---|---|"]
    for each in results["tried"]:
        if each["network"] == "readable":
            ingredients.append(
                f"| {described(each['changes'])} | {percent(each)} | {each['diversity']:.2f} "
                f"| {each['least_diversity']:.2f} |"
            )
    left_out = load("penalties")
    penalties = ["| on the ordinary network | recognised, % | diversity |", "|---|---|---|"]
    for name, each in left_out["rows"].items():
        penalties.append(f"| {name} | {percent(each)} | {each['diversity']:.2f} |")
    controls = ["| control | recognised, % | diversity |", "|---|---|---|"]
    for name, values in results["controls"].items():
        controls.append(f"| {name} | {percent(values)} | {values['diversity']:.2f} |")
    return "\n\n".join(
        [
            "Recognised, % (95 % interval), by panel B; "
            f"{results['settings']['num_images']} images and more for each digit in each cell:",
            "\n".join(lines),
            "What each ingredient adds, by panel A, from pure noise (this is where the settings above were chosen):",
            "\n".join(ingredients),
            "What each penalty adds on an ordinary network, from pure noise, by panel A, beside "
            f"{described(left_out['common'])} (`python -m benchmarks.penalties`, {left_out['num_images']} images for "
            "each digit, weights as above):",
            "\n".join(penalties),
            "The score where the answer is known, by panel B, on real test digits and what was made of them:",
            "\n".join(controls),
        ]
    )


def section() -> str:
    """Everything between the README's two marks."""
    return f"""\
Median (lowest to highest) over seeds, on {machine(load("preset-quick"))}, a shared machine. Nothing was chosen by the
test images. `python -m benchmarks.presets PRESET` measures a line, `python -m benchmarks.time_to_accuracy` the ratio.

{presets()}

{speed()}

{schedules()}

The report's network (62,735,658 parameters) at full size, one epoch of 422 steps with our schedule (one cycle to Adam
{load("preset-report")["settings"]["learning_rate"]:g}, BatchNorm recalibrated at the end) beside the report's five.
The machine did other work during those minutes, so the time is an upper bound:

{report()}

### Speed of the search

`python -m benchmarks.input_optimization NETWORK`, the report's settings. The plain loop is the report's: eager Keras,
one image at a time. tf-keras-vis 0.8.7 is given the same network without its jitter and rotation.

{search_speed()}

{experiments()}

{logging_cost()}"""


def between_marks(text: str) -> dict[str, str]:
    """The README's two measured parts, as they stand in it."""
    return {name: text.split(start, 1)[1].split(end, 1)[0] for name, (start, end, _) in PARTS.items()}


def sweeps() -> str:
    cost, stores, real = load("sweeps_cost"), load("sweeps_stores"), load("sweeps_workers")
    ms, low, high = cost["milliseconds"], *cost["milliseconds_5_to_95_percent"]
    search = 1000 * real["trial_seconds"] - ms
    slower = (search + cost["last_tenth"]) / (search + cost["first_tenth"])
    more = real["rates"]["2"] / real["rates"]["1"]
    mean = cost["milliseconds_mean_with_pictures"]
    lines = [
        f"Measured on {machine(cost)}, by `python -m benchmarks.sweeps` `cost`, `workers` and `stores`.",
        "",
        f"Optuna and MLflow, film strip and images included, take **{ms:.0f} ms a trial** (median of "
        f"{cost['trials']:,}; nine in ten from {low:.0f} to {high:.0f}), and {mean:.0f} "
        "ms in the mean with the sweep's own pictures, which are drawn as often as that takes a twentieth of the time. "
        f"The first hundred cost {cost['first_tenth']:.0f} ms each and the last hundred {cost['last_tenth']:.0f} (TPE "
        f"looks at all trials before), {slower:.2f} times as long with the search itself. A trial of the default sweep "
        f"takes {real['trial_seconds']:.1f} s (median of {real['trials'] - 1}): the cost is "
        f"{ms / 10 / real['trial_seconds']:.1f} % of it. Two workers on the two cores do {more:.2f} times as many "
        "trials in the same time as one that has both (one run).",
        "",
        f"What the stores can hold, in trials a second ({stores['trials']} trials in each cell, one run; trials that "
        "do everything but search; PostgreSQL, tracking server and workers on the same two cores):",
        "",
        "| workers | " + " | ".join(stores["rates"]) + " |",
        "|---" * (1 + len(stores["rates"])) + "|",
    ]
    for workers in next(iter(stores["rates"].values())):
        cells = [f"{rates[workers]:.1f}" for rates in stores["rates"].values()]
        lines.append(f"| {workers} | {' | '.join(cells)} |")
    return "\n".join(lines)


PARTS = {
    "sweeps": (
        "<!-- sweeps: benchmarks/results/sweeps_cost.json and sweeps_stores.json -->\n",
        "\n<!-- end of sweeps -->",
        sweeps,
    ),
    "results": (START, END, section),
    "answer": ("<!-- answer: benchmarks/results/answer.json -->\n", "\n<!-- end of answer -->", answer),
}
"""What is written into the README: the marks before and after, and what makes the text."""

if __name__ == "__main__":
    text = README.read_text()
    for start, end, make in PARTS.values():
        before, rest = text.split(start, 1)
        text = before + start + make() + end + rest.split(end, 1)[1]
    README.write_text(text)
