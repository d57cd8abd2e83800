"""A command with several seeds: a run for each below one that holds means, 95 % intervals and bands in the curves."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mnist_cnn.data import intervals
from mnist_cnn.reporting import descriptions, training_figures
from mnist_cnn.reporting.formats import counted, limits
from mnist_cnn.runtime import hardware
from mnist_cnn.settings import AblationSettings, OptimizeSettings, ReplaySettings, SeedsSettings, Settings
from mnist_cnn.tracking import models, reading, runs
from mnist_cnn.tracking.machine import PREFIX
from mnist_cnn.tracking.models import LoggedModel
from mnist_cnn.tracking.records import records_of
from pipelines import ablation, replay


@dataclass(frozen=True)
class OverSeeds:
    """A number over n seeds: each value, in the order of the seeds, their mean, and the mean's 95 % interval."""

    values: tuple[float, ...]
    mean: float
    low: float
    high: float
    deviation: float


@dataclass(frozen=True)
class SeedsResult:
    """The runs, one for each seed, and every number that all of them have, by name."""

    run_id: str
    seeds: tuple[int, ...]
    run_ids: tuple[str, ...]
    numbers: dict[str, OverSeeds]


def run(settings: SeedsSettings) -> SeedsResult:
    """Run the command with each seed, below one run. Raises what the command raises; finished seeds stay."""
    first = _first(settings)
    pipeline = importlib.import_module(f"pipelines.{first.COMMAND}")
    device, used = hardware.start_tensorflow(), _networks(settings)
    if used:  # the same for every seed, whichever are the newest by then
        settings = settings.replace(**{name: f"models:/{model.model_id}" for name, model in used.items()})
        first = _first(settings)
    seeds, name = settings.all_seeds, settings.changes.get("run_name", "")
    with runs.tracked_run("seeds", name=name, otherwise=f"{settings.of}-{settings.seeds}-seeds") as run:
        run.log_settings(settings, {}, device)
        print(f"Run {run.name} ({run.run_id}) on {device}")
        run_ids = []
        for number, seed in enumerate(seeds, 1):
            print(f"\n[{number}/{len(seeds)}] seed {seed}", flush=True)
            run_ids.append(pipeline.run(first.replace(seed=seed, run_name=f"seed {seed}")).run_id)
        numbers = over_seeds([reading.get_run(run_id).data.metrics for run_id in run_ids])
        ends = (intervals.named(name, over.mean, over.low, over.high) for name, over in numbers.items())
        run.log_metrics({name: value for each in ends for name, value in each.items()})
        run.log_table(columns(seeds, numbers), "seeds.json")
        curves = [records_of(run_id).curves for run_id in run_ids]
        if (figure := training_figures.bands(curves)) is not None:
            run.log_figure(figure, "figures/curves.png")
        run.describe(descriptions.seeds(settings, seeds, numbers))
    return SeedsResult(run.run_id, seeds, tuple(run_ids), numbers)


def _first(settings: SeedsSettings) -> Settings:
    """The settings of the first seed; of a replay, those of the command that its trial is of."""
    first = settings.first
    return replay.own_settings(first) if isinstance(first, ReplaySettings) else first


def _networks(settings: SeedsSettings) -> dict[str, LoggedModel]:
    """The networks that the command works on, by the setting that names each."""
    first = settings.first
    if isinstance(first, AblationSettings):
        return {name.replace("-", "_"): model for name, model in ablation.find_networks(first).items()}
    if isinstance(first, OptimizeSettings) and not isinstance(first, ReplaySettings):
        return {"model": models.resolve(first.model, first.dataset, trust=first.trust)}
    return {}


def main(settings: SeedsSettings) -> None:
    result = run(settings)
    print(f"\n{counted(len(result.seeds), 'seed')}, mean with its 95 % interval:")
    for name, over in result.numbers.items():
        print(f"  {name}: {over.mean:.4g} ({over.low:.4g} to {over.high:.4g})")
    print(runs.signpost(result.run_id))


def over_seeds(metrics: list[Mapping[str, float]]) -> dict[str, OverSeeds]:
    """Of the numbers that all seeds have, but those of the machine and the ends of each seed's own intervals."""
    names = sorted(set.intersection(*(set(each) for each in metrics)))
    found = {}
    for name in names:
        values = np.array([each[name] for each in metrics])
        if name.startswith(PREFIX) or name.endswith(("_low", "_high")) or not np.isfinite(values).all():
            continue
        low, high = intervals.mean_interval(values, *limits(name))
        found[name] = OverSeeds(tuple(values.tolist()), float(values.mean()), low, high, float(values.std(ddof=1)))
    return found


def columns(seeds: tuple[int, ...], numbers: Mapping[str, OverSeeds]) -> dict[str, list[Any]]:
    """A line for each number: mean, interval, standard deviation, and its value with each seed."""
    own = {name: [getattr(over, name) for over in numbers.values()] for name in ("mean", "low", "high", "deviation")}
    each = {f"seed {seed}": [over.values[place] for over in numbers.values()] for place, seed in enumerate(seeds)}
    return {"metric": list(numbers), **own, **each}
