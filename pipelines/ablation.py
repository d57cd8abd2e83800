"""Does regularisation make the images readable? Networks x regularisations x starts, and a panel kept to judge them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mnist_cnn.data import dataset
from mnist_cnn.judging import ablation
from mnist_cnn.judging.ablation import Place, Table, Tried
from mnist_cnn.judging.scorecard import Scorecard
from mnist_cnn.reporting import ablation_figures, descriptions, tables
from mnist_cnn.reporting.rendering import on_terminal
from mnist_cnn.runtime import hardware
from mnist_cnn.settings import PANEL_A, PANEL_B, REGIMES, STARTS, AblationSettings
from mnist_cnn.tracking import models, runs
from mnist_cnn.tracking.models import LoggedModel
from mnist_cnn.tracking.networks import load
from pipelines import judges


@dataclass(frozen=True)
class AblationResult:
    """The table, and the scores where the answer is known. controls: by name."""

    run_id: str
    table: Table
    controls: dict[str, Scorecard]


def run(settings: AblationSettings) -> AblationResult:
    """Fill the table and log it. Raises `SettingError` where a network of a regime is missing, with the cure."""
    data = dataset.split(dataset.load_train(settings.dataset))
    dataset.refuse_missing_classes(data)
    used = find_networks(settings)
    device = hardware.start_tensorflow()
    with runs.tracked_run("ablation", name=settings.run_name, otherwise="ablation") as run:
        ids = {f"model_id.{name}": model.model_id for name, model in used.items()}
        run.log_settings(settings, {"digest": data.validation.digest, **ids}, device)
        run.set_tags(ids)
        for model in used.values():
            run.log_used_model(model)
        print(f"Run {run.name} ({run.run_id}) on {device}")
        choosing, proving = (judges.scorer(name, data) for name in (PANEL_A, PANEL_B))
        networks = {name: load(model, data.train.num_classes) for name, model in used.items()}
        test = dataset.load_test(settings.dataset)  # as real digits for the controls: nothing is chosen by them
        checks = ablation.controls(data.train, test, next(iter(networks.values())), proving, settings.num_images)
        for name, card in checks.items():
            print(f"Control, {name}: recognised {card.rate:.1%}", flush=True)
        run.log_json({name: card.metrics() for name, card in checks.items()}, "controls.json")

        def on_tried(name: str, tried: Tried) -> None:
            setting, score = ablation.described(tried.changes), descriptions.score_line(tried.card)
            print(f"  tried on {name}: {setting}: {score}", flush=True)

        def on_cell(table: Table, place: Place) -> None:
            name, column, start = place
            run.log_metrics(tables.ablation_metrics(place, table.cells[place].card))
            if start == STARTS[-1]:  # each regularisation once: every cell so far is summed up anew
                run.log_json(tables.ablation_values(settings, table, checks), "ablation.json")
            print(f"{name}, {column}, from {start}: {descriptions.score_line(table.cells[place].card)}", flush=True)

        table = ablation.fill(
            networks, settings, data.validation, choosing, proving, on_tried=on_tried, on_cell=on_cell
        )
        _log(run, table, list(networks)[-1], data.train.class_names)
        run.describe(descriptions.ablation(table, checks))
    return AblationResult(run.run_id, table, checks)


def find_networks(settings: AblationSettings) -> dict[str, LoggedModel]:
    """By regime, of one design, so that training alone differs. Raises `SettingError` where one is missing."""
    given = (settings.ordinary, settings.noise_trained, settings.robust, settings.readable)
    return {
        name: models.resolve(uri, settings.dataset, regime=name, network="smooth", trust=settings.trust)
        for name, uri in zip(REGIMES, given, strict=True)
        if name in settings.regimes
    }


def main(settings: AblationSettings) -> None:
    result = run(settings)
    print(f"\n{on_terminal(tables.ablation_cells(result.table))}\n{runs.signpost(result.run_id)}")


def _log(run: runs.TrackedRun, table: Table, shown: str, class_names: Sequence[str]) -> None:
    """Pictures and images of the whole table. shown: the network whose best digits have a picture of their own."""
    run.log_text(tables.ablation_cells(table), "ablation.md")
    run.log_figure(ablation_figures.ablation_strip(table.cells), "figures/ablation.png")
    run.log_figure(ablation_figures.ablation_curve(table), "figures/recognised_against_diversity.png")
    best = table.cells[shown, "tuned L2 and others", "noise"]
    run.log_figure(ablation_figures.digits(best, class_names), "figures/readable_digits.png")
    arrays = {}
    for place, cell in table.cells.items():
        arrays["-".join(place)] = np.round(255 * cell.images).astype(np.uint8)
        arrays["-".join((*place, "targets"))] = cell.targets.argmax(axis=1).astype(np.uint8)
    run.log_arrays(arrays, "images.npz")
