"""The measured numbers of README.md and docs/, made from benchmarks/results: `python -m benchmarks.table` writes them.

Each block stands between two marks, `<!-- NAME: made by python -m benchmarks.table -->` and `<!-- end of NAME -->`.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import RESULTS, spread
from mnist_cnn.data.reference_report import EPOCHS, PARAMETERS, TEST_ACCURACY
from mnist_cnn.judging.ablation import described
from mnist_cnn.settings import SCHEDULES, TrainSettings

PROJECT = Path(__file__).parents[1]
STARTS = {"noise": "from noise", "noisy_digit": "from a noisy digit", "digit": "conversion"}


@dataclass(frozen=True)
class Block:
    """Generated text of one page. page: its path from the project's folder. make: gives the text between the marks."""

    name: str
    page: str
    make: Callable[[], str]

    @property
    def marks(self) -> tuple[str, str]:
        return f"<!-- {self.name}: made by python -m benchmarks.table -->", f"<!-- end of {self.name} -->"

    def read(self) -> str:
        """What stands between the marks now. Raises ValueError where a mark is missing."""
        return self._parts()[1]

    def write(self) -> None:
        before, _, after = self._parts()
        start, end = self.marks
        (PROJECT / self.page).write_text(f"{before}{start}\n{self.make()}\n{end}{after}", encoding="utf-8")

    def _parts(self) -> tuple[str, str, str]:
        text = (PROJECT / self.page).read_text(encoding="utf-8")
        start, end = self.marks
        before, found, rest = text.partition(start)
        inside, ended, after = rest.partition(end)
        if not (found and ended):
            raise ValueError(f"{self.page} lacks the marks {start} and {end}.")
        return before, inside.strip("\n"), after


def load(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}.json").read_text())


def machine(results: Mapping[str, Any]) -> str:
    tags = results["environment"]
    return f"{tags['hardware.device']}, {tags['hardware.cores']} cores, TensorFlow {tags['version.tensorflow']}"


def percent(values: Mapping[str, float]) -> str:
    """The recognised rate with its 95 % interval, in percent."""
    rate, low, high = (100 * values[f"recognised_rate{part}"] for part in ("", "_low", "_high"))
    return f"{rate:.1f} ({low:.1f} to {high:.1f})"


def accuracies(preset: str) -> tuple[str, str, int]:
    """Test accuracy in percent and training time in seconds, each with its spread, and the number of seeds."""
    runs = load(f"preset-{preset}")["runs"]
    accuracy = spread([100 * run["test_accuracy"] for run in runs])
    seconds = spread([run["training_seconds"] for run in runs], ".0f")
    if len(runs) == 1:
        accuracy, seconds = (cell.split(" (")[0] for cell in (accuracy, seconds))
    return accuracy, seconds, len(runs)


def headline() -> str:
    """The README's seven lines."""
    ablation, search = load("ablation"), load("input-optimization-compact")
    quick, accurate, report = (accuracies(preset) for preset in ("quick", "accurate", "report"))
    ours, plain = search["milliseconds"]["ours, batch 256"], spread(search["ratios"]["plain loop"], ".0f")
    from_noise = {
        (cell["network"], cell["regularisation"]): cell for cell in ablation["cells"] if cell["start"] == "noise"
    }
    best, reports = from_noise["readable", "tuned L2 and others"], from_noise["ordinary", "report L2"]
    noise_images, taught = 10 * ablation["settings"]["num_images"], load("teaching")["taught"][-1]
    dreams, posed = taught["table"]["images from noise"], taught["table"]["control: one posed digit a class"]
    networks = load("report-search")["networks"]
    own = {name: [of["recognised_rate"] for of in networks if of["preset"] == name] for name in ("quick", "templates")}
    rows = [
        ("test accuracy, preset `quick`, one epoch", f"{quick[0]} %", f"{quick[1]} s of training", f"{quick[2]} seeds"),
        (
            "test accuracy, preset `accurate`, 24 epochs",
            f"{accurate[0]} %",
            f"{accurate[1]} s of training",
            f"{accurate[2]} seeds",
        ),
        (
            "test accuracy, the reference report's network, one epoch",
            f"{report[0]} %",
            f"the report: {100 * TEST_ACCURACY:.2f} % after five epochs",
            f"{report[2]} seed",
        ),
        (
            "time for each image and step of a search",
            f"{spread(ours, '.3f')} ms",
            f"a plain Keras loop: {plain} times as long",
            f"{len(ours)} rounds",
        ),
        (
            "digits from noise that judges recognise, readable network",
            f"{percent(best)} %",
            f"ordinary network, the report's settings: {percent(reports)} %",
            f"{noise_images} images",
        ),
        (
            "the same by the report's own search, network of `templates`",
            f"{spread([100 * rate for rate in own['templates']], '.1f')} %",
            f"network of `quick`: {spread([100 * rate for rate in own['quick']], '.1f')} %",
            f"{len(own['quick'])} networks",
        ),
        (
            f"accuracy on real digits of a student that saw {10 * taught['num_images']:,} images from noise alone",
            f"{100 * dreams['cas_augmented']:.1f} %",
            f"that saw one real digit a class, in many poses: {100 * posed['cas_augmented']:.1f} %",
            f"{taught['students']} students",
        ),
    ]
    lines = [
        f"Measured on {machine(load('preset-quick'))}. Brackets hold the lowest and the highest value.",
        "In the line of the judges they hold the 95 % interval.",
        "",
        "| what | result | beside it | n |",
        "|---|---|---|---|",
        *(f"| {what} | **{result}** | {beside} | {count} |" for what, result, beside, count in rows),
    ]
    return "\n".join(lines)


def presets() -> str:
    lines = ["| preset | network | epochs | test accuracy, % | training time, s | seeds |", "|---|---|---|---|---|---|"]
    for name in ("quick", "accurate", "report"):
        settings = load(f"preset-{name}")["settings"]
        accuracy, seconds, seeds = accuracies(name)
        lines.append(f"| `{name}` | {settings['network']} | {settings['epochs']} | {accuracy} | {seconds} | {seeds} |")
    return "\n".join(lines)


def time_to_accuracy() -> str:
    results = load("time-to-accuracy")
    ours, example = results["results"]["quick"], results["results"]["example"]
    reached = sum(run["test_accuracy"] >= 0.99 for run in ours)
    return (
        f"Preset `quick` reaches 99.0 % test accuracy in {spread([run['seconds'] for run in ours], '.1f')} s. "
        f'Keras\' "Simple MNIST convnet" example takes {spread([run["seconds"] for run in example], ".1f")} s, '
        f"which is {spread([run['epochs'] for run in example], '.0f')} epochs. "
        f"`quick` is **{spread(results['ratios'], '.1f')} times faster**, seed by seed in one run of {len(ours)} "
        "seeds. "
        f"In its one epoch, {reached} of these {len(ours)} seeds reached 99.0 %."
    )


def schedules() -> str:
    """The best peak of each schedule, and the default."""
    rows = load("schedules")["rows"]

    def accuracy(row: dict[str, Any]) -> str:
        return f"{spread(row['validation_accuracies'])} % at {row['learning_rate']:g}"

    def of(schedule: str) -> list[dict[str, Any]]:
        return [row for row in rows if row["schedule"] == schedule]

    best = {name: max(of(name), key=lambda row: statistics.median(row["validation_accuracies"])) for name in SCHEDULES}
    (default,) = [row for row in of("one_cycle") if row["learning_rate"] == TrainSettings().learning_rate]
    return (
        "The schedules of the learning rate, compared by the validation accuracy of `quick`"
        f" ({len(default['validation_accuracies'])} seeds, `python -m benchmarks.schedules`):\n\n"
        f"- one cycle, the default: {accuracy(default)};\n"
        f"- one cycle, its best peak: {accuracy(best['one_cycle'])};\n"
        f"- a constant rate, its best: {accuracy(best['constant'])}.\n\n"
        "They were measured with the former `compact`, whose first convolution read pixels, not blocks of them."
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
    arithmetic, halves = [], []
    for name in ("compact", "report"):
        results = load(f"input-optimization-{name}")
        for contender, milliseconds in results["milliseconds"].items():
            ratio = results["ratios"][contender]
            times = "" if set(ratio) == {1.0} else spread(ratio, ".1f")
            lines.append(f"| {name} | {contender} | {spread(milliseconds, '.3f')} | {times} |")
            if "bfloat16" in contender:
                halves.append(f"{statistics.median(ratio):.1f} (on {name})")
        arithmetic.append(
            f"- on {name}: {spread(results['gflops'], '.0f')} GFLOP/s of {spread(results['peak'], '.0f')}"
        )
    rounds = len(load("input-optimization-compact")["peak"])
    half = load("input-optimization-compact")["bfloat16"]
    return (
        "\n".join(lines)
        + f"\n\nMedian (lowest to highest) of {rounds} rounds, the contenders taking turns. `compact` is the "
        "former one, which did more arithmetic: [below](#what-became-faster) is what became faster.\n\n"
        "The arithmetic that our search does, beside what a matrix product of 1,024 x 1,024 reaches in the same "
        "rounds:\n\n" + ";\n".join(arithmetic) + ".\n\n"
        f"`mixed_bfloat16` takes {' and '.join(halves)} times as long, and finds other images. "
        f"After {half['steps']} steps on compact the pixels differ by {half['mean_difference']:.3f} on average. "
        f"The float32 network gives those images' target a probability of "
        f"{half['probability_in_float32']:.3f} (its own: {half['own_probability']:.3f})."
    )


def speed_since() -> str:
    """What an older commit and this one take, in turn, and the ratios of the rounds."""
    results = load("speed_since")
    lines = [f"| what | at `{results['commit']}` | now | then / now | rounds |", "|---|---|---|---|---|"]
    for measure, row in results["measures"].items():
        digits = ".3f" if measure.endswith("ms") else ".2f" if "%" in measure or "cores" in measure else ".1f"
        *cells, ratio = (
            spread(row[column], form) for column, form in (("then", digits), ("now", digits), ("ratio", ".1f"))
        )
        ratio = "" if "%" in measure or "cores" in measure else f"**{ratio}**"
        lines.append(f"| {measure} | {' | '.join(cells)} | {ratio} | {len(row['now'])} |")
    return "\n".join(lines)


def logging_cost() -> str:
    results = load("logging-cost")
    return (
        f"Tracking takes {spread(results['share_percent'], '.1f')} % of a default run's "
        f"{spread(results['whole_seconds'], '.1f')} s ({len(results['whole_seconds'])} runs, "
        "`python -m benchmarks.logging_cost`). "
        f"System metrics take {spread(results['system_percent'], '.2f')} % of a run's time."
    )


def experiments() -> str:
    results = load("experiments")
    by_number = results["searches"]
    searches = [search for of_one in by_number.values() for search in of_one]
    near = sum(search["target"] == str(search["nearest_digit"]) for search in by_number["4"])
    mixed: dict[str, list[float]] = {}
    for search in by_number["5"]:
        mixed.setdefault(search["target"], []).append(search["cross_entropy"])
    mixes = ", ".join(f"{target} {spread(values, '.3f')}" for target, values in mixed.items())
    return (
        f"{len(searches)} searches of {searches[0]['steps']} steps with all their pictures took "
        f"{results['seconds']:.0f} s, once (`python -m benchmarks.experiments`). "
        "In the end the network gives the target a probability of "
        f"{spread([search['target_probability'] for search in searches], '.3f')}. "
        f"The cross-entropy of the mixes is {mixes}. "
        f"Of the {len(by_number['4'])} images of experiment 4, {near} have a digit of the target's class as the "
        "nearest real one."
    )


def ablation() -> str:
    """The table of networks, regularisations and starts, what each ingredient adds, and the controls."""
    results = load("ablation")
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
    for tried in results["tried"]:
        if tried["network"] == "readable":
            ingredients.append(
                f"| {described(tried['changes'])} | {percent(tried)} | {tried['diversity']:.2f} "
                f"| {tried['least_diversity']:.2f} |"
            )
    left_out = load("penalties")
    penalties = ["| on the ordinary network | recognised, % | diversity |", "|---|---|---|"]
    for name, values in left_out["rows"].items():
        penalties.append(f"| {name} | {percent(values)} | {values['diversity']:.2f} |")
    controls = ["| control | recognised, % | diversity |", "|---|---|---|"]
    for name, values in results["controls"].items():
        controls.append(f"| {name} | {percent(values)} | {values['diversity']:.2f} |")
    return "\n\n".join(
        [
            "Share that panel B recognises, in % (95 % interval); "
            f"at least {results['settings']['num_images']} images for each digit in each cell:",
            "\n".join(lines),
            "### What each ingredient adds",
            "By panel A, from pure noise; the settings of the table above were chosen here:",
            "\n".join(ingredients),
            "### What each penalty adds on an ordinary network",
            f"By panel A, from pure noise, beside {described(left_out['common'])}. The weights are those of the table "
            f"above; {left_out['num_images']} images for each digit (`python -m benchmarks.penalties`):",
            "\n".join(penalties),
            "### Controls: images whose class is known",
            "By panel B, on real test digits and on images that were made of them:",
            "\n".join(controls),
        ]
    )


TAUGHT = {
    "recognised_rate": ("recognised, %", 100), "near_real_share": ("near real, %", 100),
    "cas_plain": ("CAS, %", 100), "cas_augmented": ("CAS augmented, %", 100), "learned/recall": ("recall", 1),
    "learned/coverage": ("coverage", 1), "learned/vendi_ratio": ("Vendi ratio", 1),
    "deskewed_diversity": ("deskewed diversity", 1), "memorised_share": ("memorised, %", 100),
}  # fmt: skip
"""Numbers of images that teach: their headings, and what they are multiplied by."""


def teaching() -> str:
    """What students learn from images from noise, and what each ingredient of the search adds."""
    kept = load("teaching")

    def cell(values: Mapping[str, float], name: str) -> str:
        factor = TAUGHT[name][1]
        low = None if name.startswith("cas") else values.get(f"{name}_low")  # of few students an interval says little
        text = f"{factor * values[name]:.1f}" if factor == 100 else f"{values[name]:.2f}"
        return text if low is None else f"{text} ({factor * low:.1f} to {factor * values[f'{name}_high']:.1f})"

    def table(rows: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> str:
        lines = [f"| images | {' | '.join(TAUGHT[name][0] for name in names)} |", "|---" * (1 + len(names)) + "|"]
        lines += [f"| {row} | {' | '.join(cell(values, name) for name in names)} |" for row, values in rows.items()]
        return "\n".join(lines)

    return "\n\n".join([
        f"Measured on {machine(kept)}, by `mlflow run . -e teach`. The students' accuracies are means of each kind. "
        "Panel B judges, and the students are tested on the 10,000 test images.",
        *(
            f"With {taught['num_images']:,} images of each class and {taught['students']} students of each kind:\n\n"
            + table(taught["table"], list(TAUGHT))
            for taught in kept["taught"]
        ),
        f"What each ingredient adds, with {kept['num_images']} images of each class and one student of each kind. "
        "The last row draws its features from a mixture of Gaussians, the others from one Gaussian for each class. "
        "Panel A judges, and the students are tested on validation images (`python -m benchmarks.teaching`):",
        table(kept["choices"], [name for name in TAUGHT if name not in ("near_real_share", "memorised_share")]),
        student_recipes(),
    ])  # fmt: skip


def report_search(name: str = "report-search", options: str = "") -> str:
    """What the report's own search finds, by preset."""
    kept = load(name)
    columns = {
        "recognised by panel B, %": ("recognised_rate", 100, ".1f"), "diversity": ("diversity", 1, ".2f"),
        "test accuracy, %": ("test_accuracy", 100, ".1f"),
        "under attack within 2, %": ("robust_accuracy", 100, ".1f"), "training, s": ("training_seconds", 1, ".0f"),
    }  # fmt: skip
    rows = []
    for preset in dict.fromkeys(of["preset"] for of in kept["networks"]):
        own = [of for of in kept["networks"] if of["preset"] == preset]
        cells = [spread([times * of[name] for of in own], form) for name, times, form in columns.values()]
        rows.append(f"| `{preset}` | {' | '.join(cells)} |")
    count = len({of["seed"] for of in kept["networks"]})
    networks, numbers = "network", ""
    if count > 1:
        networks, numbers = "networks", "Numbers are the median (lowest to highest). "
    return "\n".join([
        f"{count} {networks} of each preset, trained anew, and {10 * kept['num_images']} images from noise in each. "
        f"{numbers}Measured by `python -m benchmarks.report_search{options}`:",
        "",
        f"| preset | {' | '.join(columns)} |",
        "|---" * (1 + len(columns)) + "|",
        *rows,
    ])  # fmt: skip


def student_recipes() -> str:
    """What students learn from real digits, by recipe."""
    kept = load("student-recipes")
    lines = [
        f"| {name} | {spread([100 * value for value in of['plain']])} "
        f"| {spread([100 * value for value in of['augmented']])} |"
        for name, of in kept["accuracies"].items()
    ]
    return "\n".join([
        f"The students' recipe was chosen by real digits alone, {kept['num_images']} of each class. The accuracies are "
        f"those of {len(next(iter(kept['accuracies'].values()))['plain'])} students on validation digits "
        "(`python -m benchmarks.student_recipes`). Every student has the last recipe, whose mean of both kinds is the "
        "highest:",
        "",
        "| recipe | plain, % | augmented, % |",
        "|---|---|---|",
        *lines,
    ])  # fmt: skip


def results() -> str:
    return f"""\
Measured on {machine(load("preset-quick"))}, a shared machine. Numbers are the median (lowest to highest) over seeds.
Nothing was chosen by the test images. `python -m benchmarks.presets PRESET` measures a line of this table:

{presets()}

{time_to_accuracy()}
`python -m benchmarks.time_to_accuracy` measures these ratios. They were measured with a former `compact`, which did
more arithmetic.

{schedules()}

## The report's network

The report's network ({PARAMETERS:,} parameters) at full size: one epoch of 422 steps with our schedule.
The schedule is one cycle to Adam {load("preset-report")["settings"]["learning_rate"]:g}.
BatchNorm is recalibrated at the end.
The machine did other work in those minutes, so the training time above is an upper bound.

{report()}

## Speed of the search

`python -m benchmarks.input_optimization NETWORK` measures the search with the report's settings.
The plain loop is the report's: eager Keras, one image at a time.
tf-keras-vis 0.8.7 is given the same network without its jitter and rotation.

{search_speed()}

## What became faster

Both commits in turn, on {machine(load("speed_since"))}. `python -m benchmarks.speed_since` measures it:

{speed_since()}

## The six experiments

{experiments()}

## Cost of tracking

{logging_cost()}"""


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
        f"Optuna and MLflow take **{ms:.0f} ms a trial**, film strip and images included "
        f"(median of {cost['trials']:,}; nine in ten from {low:.0f} to {high:.0f}). "
        f"With the sweep's own pictures the mean is {mean:.0f} ms. "
        "These pictures are drawn so rarely that they take a twentieth of the time.",
        "",
        f"The first hundred trials cost {cost['first_tenth']:.0f} ms each and the last hundred "
        f"{cost['last_tenth']:.0f}, because TPE looks at all trials before. "
        f"With the search itself that is {slower:.2f} times as long.",
        "",
        f"A trial of the default sweep takes {real['trial_seconds']:.1f} s (median of {real['trials'] - 1}), so the "
        f"cost is {ms / 10 / real['trial_seconds']:.1f} % of it. Two workers on the two cores do {more:.2f} times as "
        "many trials as one worker that has both cores (one run).",
        "",
        "What the stores can hold, in trials a second, where a trial does everything but search "
        f"({stores['trials']} trials in each cell, one run). "
        "PostgreSQL, the tracking server and the workers share the two cores.",
        "",
        "| workers | " + " | ".join(stores["rates"]) + " |",
        "|---" * (1 + len(stores["rates"])) + "|",
    ]
    for workers in next(iter(stores["rates"].values())):
        cells = [f"{rates[workers]:.1f}" for rates in stores["rates"].values()]
        lines.append(f"| {workers} | {' | '.join(cells)} |")
    return "\n".join(lines)


def faults() -> str:
    kept = load("faults")
    rows = kept["faults"]
    tried = sum(row["tried"] for row in rows.values())
    columns = {name: name for name in ("tried", "survived", "lost", "doubled")} | {"left_running": "left RUNNING"}
    lines = [
        f"{tried} faults, measured on {machine(kept)}, by `python -m benchmarks.faults` (seed {kept['seed']}).",
        "",
        f"| fault | {' | '.join(columns.values())} |",
        "|---" * (1 + len(columns)) + "|",
        *(f"| {fault} | {' | '.join(str(row[column]) for column in columns)} |" for fault, row in rows.items()),
    ]
    return "\n".join(lines)


def own_data() -> str:
    kept = load("own-data-fashion")
    runs, networks = kept["quick"], kept.get("reproduction", {}).get("networks", {})
    command = f"python -m benchmarks.own_data fashion.npz --seeds {len(runs)}" + " --reproduce page" * bool(networks)
    lines = [
        f"Fashion-MNIST, all {kept['images']:,} training images, measured on {machine(kept)}, by `{command}`.",
        "Brackets hold the lowest and the highest value of seeds, or the 95 % interval of a share.",
        "",
        "| what | result, % | n |",
        "|---|---|---|",
        f"| test accuracy, preset `quick`, one epoch | {spread([100 * run['test_accuracy'] for run in runs])} | "
        f"{len(runs)} seeds |",
    ]
    for name, found in networks.items():
        lines += [
            f"| test accuracy, {name} network | {100 * found['test_accuracy']:.2f} | 1 seed |",
            f"| images from noise that panel B recognises, {name} network | {percent(found)} | "
            f"{found['images']} images |",
        ]
    searches = report_search("report-search-fashion", " --dataset fashion.npz --seeds 1")
    return "\n".join([*lines, "", "The report's own search, unchanged, in the network of `templates`:", "", searches])


def photographs() -> str:
    kept = load("photographs")
    count = kept["num_images"]
    return "\n".join([
        f"Of {count} validation digits each, as computed photographs, with the default network, measured on "
        f"{machine(kept)}, by `python -m benchmarks.photographs`.",
        "",
        f"| photographs | read rightly, of {count} |",
        "|---|---|",
        *(f"| {name} | {right} |" for name, right in kept["right"].items()),
    ])  # fmt: skip


BLOCKS = (
    Block("headline", "README.md", headline),
    Block("results", "docs/results.md", results),
    Block("ablation", "docs/readable_digits.md", ablation),
    Block("teaching", "docs/readable_digits.md", teaching),
    Block("report's search", "docs/readable_digits.md", report_search),
    Block("sweeps", "docs/sweeps.md", sweeps),
    Block("faults", "docs/faults.md", faults),
    Block("own data", "docs/your_data.md", own_data),
    Block("photographs", "docs/pictures.md", photographs),
)

if __name__ == "__main__":
    for block in BLOCKS:
        block.write()
