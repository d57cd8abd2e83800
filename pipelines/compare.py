"""Compare sweeps: the best of each with its images, scores along a weight, and what is more than noise."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mnist_cnn.data import dataset, intervals
from mnist_cnn.data.intervals import Difference
from mnist_cnn.reporting import comparison_page, sweep_charts
from mnist_cnn.reporting.chart_lines import lines_of_records
from mnist_cnn.reporting.comparison_page import Compared
from mnist_cnn.reporting.rendering import on_terminal
from mnist_cnn.runtime import hardware
from mnist_cnn.runtime.randomness import derive_seed
from mnist_cnn.settings import CompareSettings, OptimizeSettings
from mnist_cnn.sweeps import trials
from mnist_cnn.sweeps.records import SweepRecord
from mnist_cnn.tracking import models, runs, store, sweep_runs
from pipelines import sweep


@dataclass(frozen=True)
class CompareResult:
    """Sweeps with the best of each scored again on new starts, and the differences of those scores, pair by pair."""

    run_id: str
    compared: tuple[Compared, ...]
    differences: tuple[Difference, ...]

    def as_json(self) -> dict[str, Any]:
        sweeps = [
            {"name": sweep.record.name, "run_id": sweep.record.run_id, "best": sweep.record.best.as_json(),
             "confirmed": asdict(sweep.confirmed) if sweep.confirmed else None}
            for sweep in self.compared
        ]  # fmt: skip
        return {"sweeps": sweeps, "differences": [asdict(difference) for difference in self.differences]}


def run(settings: CompareSettings) -> CompareResult:
    """Read sweeps, score the best of each again, and log tables, pictures and a page. Raises `TrackingError`."""
    data = dataset.split(dataset.load_train(settings.dataset))
    if settings.confirm:
        dataset.refuse_missing_classes(data)
    store.open_store()
    records = sweep_runs.read_sweeps(settings.sweeps)
    device = hardware.start_tensorflow()
    name = "compare-" + "-".join(record.name for record in records)[:80]
    with runs.tracked_run("compare", name=settings.run_name, otherwise=name) as run:
        run.log_settings(settings, {"sweeps": {record.name: record.run_id for record in records}}, device)
        print(f"Run {run.name} ({run.run_id}): {len(records)} sweeps")
        compared = _compared(records, settings, data)
        names = runs.metric_names([sweep.record.name for sweep in compared])
        run.log_metrics({
            f"confirmed_recognised_rate.{name}": sweep.confirmed.rate
            for name, sweep in zip(names, compared, strict=True) if sweep.confirmed is not None
        })  # fmt: skip
        differences = [
            intervals.difference(a.record.name, b.record.name, a.confirmed, b.confirmed)
            for a, b in itertools.combinations(compared, 2)
            if a.confirmed is not None and b.confirmed is not None
        ]
        pictures = _pictures(compared, settings.along)
        for picture_name, picture in pictures.items():
            run.log_bytes(picture, f"figures/{picture_name}.png")
        run.log_table(comparison_page.columns(compared), "sweeps.json")
        run.log_text(comparison_page.page(compared, differences, pictures, sweep_runs.images_of), "compare.html")
        run.describe(comparison_page.description(compared, differences))
    return CompareResult(run.run_id, tuple(compared), tuple(differences))


def main(settings: CompareSettings) -> None:
    result = run(settings)
    lines = "\n".join(f"- {line}" for line in comparison_page.difference_lines(result.differences))
    table = on_terminal(comparison_page.table(result.compared))
    print(f"\n{table}\n\n{lines}\n{runs.signpost(result.run_id)}")


def _pictures(compared: Sequence[Compared], along: str) -> dict[str, bytes]:
    """The best of each sweep side by side, and for each goal the scores along a setting where it differs."""
    records = [sweep.record for sweep in compared]
    best = [(comparison_page.best_line(sweep), sweep_runs.images_of(sweep.record.best.run_id)) for sweep in compared]
    pictures = {"best_side_by_side": sweep_charts.side_by_side(best)}
    networks = {trial.settings.get("model", "") for record in records for trial in record.trials} - {""}
    names = {model: models.name_of(model) for model in networks}
    for goal in dict.fromkeys(record.goals[0] for record in records):
        same = [record for record in records if record.goals[0] == goal]
        if drawn := sweep_charts.goal_along(lines_of_records(same, along, names), goal, along):
            pictures[f"{goal}_against_{along}"] = drawn
    return pictures


def _compared(records: Sequence[SweepRecord], settings: CompareSettings, data: dataset.Split) -> list[Compared]:
    """Each sweep, its best scored once more on starts that no sweep has seen where it can be."""
    of_images = [record for record in records if record.kind == OptimizeSettings.COMMAND]
    if not settings.confirm or not of_images:
        return [Compared(record, None) for record in records]
    score = sweep.ascent_trials(data, judged=True)
    return [
        Compared(record, _confirmed(record, settings, score) if record in of_images else None) for record in records
    ]


def _confirmed(record: SweepRecord, settings: CompareSettings, score: trials.AscentTrials) -> intervals.Share | None:
    """The share recognised from new starts; None on other data, and where all targets are mixes."""
    if record.best.settings.get("dataset") != settings.dataset:
        return None
    known = set(OptimizeSettings.names())
    best = OptimizeSettings.from_words({name: word for name, word in record.best.settings.items() if name in known})
    # Starts of its own for each sweep: the intervals of differences are those of independent shares.
    seed = derive_seed(settings.seed, "confirm", record.name)
    result = trials.TrialResult()
    score(best.replace(num_images=settings.confirm, seed=seed), result, lambda step, metrics: None, lambda: None)
    if "recognised_rate" not in result.metrics:
        return None
    confirmed = intervals.Share(*(result.metrics[f"recognised_rate{end}"] for end in ("", "_low", "_high")))
    share = comparison_page.share(confirmed)
    print(f"{record.name}: the best trial on new starts: {share} % recognised", flush=True)
    return confirmed
