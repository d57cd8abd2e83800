"""Does regularisation make the images readable? Networks x regularisations x starts, and a panel kept to judge them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mnist_cnn.data import dataset
from mnist_cnn.settings import PANEL_A, PANEL_B, REGIMES, STARTS, AnswerSettings
from pipelines import enter


def main(argv: Sequence[str] | None = None) -> None:
    settings, _ = AnswerSettings.from_command_line(argv)
    data = dataset.split(dataset.load_train(settings.dataset))
    from mnist_cnn.tracking import runs

    given = (settings.ordinary, settings.noise_trained, settings.robust, settings.readable)
    models = {
        name: runs.resolve_model(uri, regime=name, network="smooth")  # of one design: training alone differs
        for name, uri in zip(REGIMES, given, strict=True)
        if name in settings.regimes
    }
    from mnist_cnn.runtime import hardware

    device = hardware.start_tensorflow()
    from mnist_cnn.judging import ablation
    from mnist_cnn.models.networks import refuse_misfit
    from mnist_cnn.reporting import descriptions, figures
    from pipelines import judges

    with runs.tracked_run("answer", name=settings.run_name, otherwise="answer") as run:
        used = {f"model_id.{name}": model.model_id for name, model in models.items()}
        run.log_settings(settings, {"digest": data.validation.digest, **used})
        run.set_tags({**hardware.describe(device), **used})
        for model in models.values():
            run.log_used_model(model)
        print(f"Run {run.name} ({run.run_id}) on {device}")
        choosing, proving = (judges.scorer(name, data) for name in (PANEL_A, PANEL_B))

        networks = {name: runs.load_model(model) for name, model in models.items()}
        for network in networks.values():
            refuse_misfit(network, dataset.IMAGE_SHAPE, dataset.NUM_CLASSES)
        test = dataset.load_test(settings.dataset)  # as real digits for the controls: nothing is chosen by them
        checks = ablation.controls(data.train, test, next(iter(networks.values())), proving, settings.num_images)
        for name, card in checks.items():
            print(f"Control, {name}: recognised {card.rate:.1%}", flush=True)
        run.log_json({name: card.metrics() for name, card in checks.items()}, "controls.json")

        def tell_tried(name: str, each: ablation.Tried) -> None:
            print(
                f"  tried on {name}: {ablation.described(each.changes)}: {descriptions.score_line(each.card)}",
                flush=True,
            )

        def keep(table: ablation.Table, place: ablation.Place) -> None:
            name, column, start = place
            run.log_metrics(descriptions.cell_metrics(name, column, table.cells[place]))
            if start == STARTS[-1]:  # each regularisation once: every cell so far is summed up anew
                run.log_json(descriptions.answer_values(settings, table, checks), "answer.json")
            print(f"{name}, {column}, from {start}: {descriptions.score_line(table.cells[place].card)}", flush=True)

        found = ablation.fill(networks, settings, data.validation, choosing, proving, on_tried=tell_tried, on_cell=keep)
        table = descriptions.answer_table(found)
        run.log_text(table, "answer.md")
        run.log_figure(figures.answer_strip(found.cells), "figures/answer.png")
        run.log_figure(figures.answer_curve(found), "figures/recognised_against_diversity.png")
        best = found.cells[list(networks)[-1], "tuned L2 and others", "noise"]
        run.log_figure(figures.digits(best), "figures/readable_digits.png")
        arrays = {}
        for place, cell in found.cells.items():
            arrays["-".join(place)] = np.round(255 * cell.images).astype(np.uint8)
            arrays["-".join((*place, "targets"))] = cell.targets.argmax(axis=1).astype(np.uint8)
        run.log_arrays(arrays, "images.npz")
        run.describe(descriptions.of_answer(table, checks))

    print(f"\n{table}\n{runs.signpost(run)}")


if __name__ == "__main__":
    enter(main, "answer")
