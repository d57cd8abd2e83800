"""Put sweeps side by side: the best of each with its images, scores along a weight, and what is more than noise."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mnist_cnn.data import dataset
from mnist_cnn.runtime.randomness import derive_seed
from mnist_cnn.settings import CompareSettings, OptimizeSettings
from pipelines import enter

if TYPE_CHECKING:
    from mnist_cnn.reporting.sweep_page import Compared
    from mnist_cnn.tracking.sweep_runs import SweepRecord


def main(argv: Sequence[str] | None = None) -> None:
    settings, _ = CompareSettings.from_command_line(argv)
    data = dataset.split(dataset.load_train(settings.dataset))
    from mnist_cnn.tracking import runs, sweep_runs

    runs.open_store()
    records = sweep_runs.read_sweeps([word.strip() for word in settings.sweeps.split(",") if word.strip()])
    from mnist_cnn.runtime import hardware

    device = hardware.start_tensorflow()
    from mnist_cnn.data import intervals
    from mnist_cnn.reporting import sweep_charts, sweep_page

    with runs.tracked_run(
        "compare", name=settings.run_name, otherwise="compare-" + "-".join(record.name for record in records)[:80]
    ) as run:
        run.log_settings(settings, {"sweeps": {record.name: record.run_id for record in records}})
        run.set_tags(hardware.describe(device))
        print(f"Run {run.name} ({run.run_id}): {len(records)} sweeps")
        compared = _compared(records, settings, data)
        for each in compared:
            if each.confirmed is not None:
                run.log_metrics({f"confirmed_recognised_rate.{each.record.name}": each.confirmed.rate})
        differences = [
            intervals.difference(a.record.name, b.record.name, a.confirmed, b.confirmed)
            for a, b in itertools.combinations(compared, 2)
            if a.confirmed is not None and b.confirmed is not None
        ]
        pictures = {
            "best_side_by_side": sweep_charts.side_by_side(
                [(sweep_page.best_line(each), sweep_runs.images_of(each.record.best.run_id)) for each in compared]
            )
        }
        names = {model: sweep_runs.network_name(model) for record in records for model in _models(record)}
        for goal in dict.fromkeys(record.goals[0] for record in records):
            same = [record for record in records if record.goals[0] == goal]
            drawn = sweep_charts.along(sweep_charts.lines_of(same, settings.along, names), goal, settings.along)
            if drawn:
                pictures[f"{goal}_against_{settings.along}"] = drawn
        for name, picture in pictures.items():
            run.log_bytes(picture, f"figures/{name}.png")
        run.log_table(sweep_page.comparison_columns(compared), "sweeps.json")
        run.log_text(sweep_page.comparison_page(compared, differences, pictures, sweep_runs.images_of), "compare.html")
        run.describe(sweep_page.of_comparison(compared, differences))

    print(
        f"\n{sweep_page.comparison_table(compared)}\n\n{sweep_page.differences_text(differences)}\n{runs.signpost(run)}"
    )


def _compared(records: Sequence[SweepRecord], settings: CompareSettings, data: dataset.Split) -> list[Compared]:
    """Each sweep, its best scored once more on starts that no sweep has seen where it can be."""
    from mnist_cnn.data import intervals
    from mnist_cnn.reporting import sweep_page
    from mnist_cnn.sweeps import trials
    from pipelines.sweep import ascent_trials

    sweeps_of_images = [record for record in records if record.kind == OptimizeSettings.PROGRAM]
    if not settings.confirm or not sweeps_of_images:
        return [sweep_page.Compared(record, None) for record in records]
    trial = ascent_trials(data, judged=True)
    compared = []
    for record in records:
        confirmed = None
        if record in sweeps_of_images and record.best.settings.get("dataset") == settings.dataset:
            known = set(OptimizeSettings.names())
            words = {name: word for name, word in record.best.settings.items() if name in known}
            # Starts of its own for each sweep: the intervals of differences are those of independent shares.
            again = {"num_images": settings.confirm, "seed": derive_seed(settings.seed, "confirm", record.name)}
            result = trials.TrialResult()
            trial(
                OptimizeSettings(**{**OptimizeSettings.parse(words), **again}),
                result,
                lambda step, metrics: None,
                lambda: None,
            )
            numbers = result.metrics
            if "recognised_rate" in numbers:  # not where all targets are mixes
                ends = (numbers[f"recognised_rate{end}"] for end in ("", "_low", "_high"))
                confirmed = intervals.Share(*ends)
                print(
                    f"{record.name}: best again on new starts: {sweep_page.share(confirmed)} % recognised", flush=True
                )
        compared.append(sweep_page.Compared(record, confirmed))
    return compared


def _models(record: SweepRecord) -> set[str]:
    return {trial.settings["model"] for trial in record.trials if "model" in trial.settings}


if __name__ == "__main__":
    enter(main, "compare")
