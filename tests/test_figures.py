"""Figures: what is drawn is what was given, to the pixel where it is an image."""

from __future__ import annotations

import dataclasses
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnist_cnn.data.dataset import numbers
from mnist_cnn.input_optimization.result import AscentResult
from mnist_cnn.reporting import ablation_figures, image_sheet, search_figures, sweep_charts, training_figures
from mnist_cnn.reporting.chart_lines import Axis, Line, lines_of_records, lines_of_study
from mnist_cnn.reporting.figure_style import as_pixels, as_svg
from mnist_cnn.settings.experiments import kinds
from mnist_cnn.sweeps.records import SweepRecord, TrialRecord
from mnist_cnn.sweeps.trials import Strip
from tests import reporting_examples as examples


def places_of(picture: np.ndarray, wanted: np.ndarray) -> int:
    """How often `wanted` (height, width) stands in `picture` (height, width, 3), up to one grey level."""
    grey = picture[..., 0].astype(int)
    windows = np.lib.stride_tricks.sliding_window_view(grey, wanted.shape)
    near = np.abs(windows[:, :, :: wanted.shape[0] // 7, 5] - wanted[:: wanted.shape[0] // 7, 5]).max(axis=2) <= 1
    return sum(np.abs(windows[row, column] - wanted).max() <= 1 for row, column in zip(*np.nonzero(near), strict=True))


def enlarged(image: np.ndarray, scale: int) -> np.ndarray:
    return np.kron((image[..., 0] * 255).astype(int), np.ones((scale, scale), int))


def test_a_sheet_draws_each_pixel_as_a_square_of_its_own_grey() -> None:
    images = examples.digits().images[:3]
    rows = [image_sheet.Row("a row", (image_sheet.Cell(tuple(images[:2]), "two"), image_sheet.Cell((images[2],))))]
    picture = np.asarray(image_sheet.draw_sheet(rows, "A title", scale=3))
    assert [places_of(picture, enlarged(image, 3)) for image in images] == [1, 1, 1]
    empty = np.asarray(image_sheet.draw_sheet([], "Nothing to see", scale=3))
    assert len(empty) == image_sheet.TOP and empty.std() > 5
    assert (empty[:, :5] == 255).all() and (empty[:, -5:] == 255).all()  # the title fits


def test_a_sheet_grows_with_what_its_rows_are_called_whatever_the_letters() -> None:
    image = (np.zeros((28, 28, 1), np.float32),)
    short, long, foreign = (
        image_sheet.draw_sheet([image_sheet.Row(label, (image_sheet.Cell(image),))], "", scale=2)
        for label in ("a", "a" * 40, "袋 \N{DIGIT SEVEN}\nπ → ∞ $x_{")
    )
    assert long.width > short.width + 150 and foreign.width > short.width and long.height == short.height == 80
    assert np.asarray(long)[:, : long.width - 66].min() < 128 and (np.asarray(long)[:, -10:] == 255).all()


def test_a_film_strip_shows_the_way_of_the_first_search_of_each_kind_and_its_nearest_digit() -> None:
    found = examples.searches(kinds("2,7", "noise", num_classes=10), num_images=3)
    nearest = examples.nearest(found)
    picture = np.asarray(search_figures.film_strip(found, nearest, "Search"))
    for search, times in ((0, 1), (3, 1), (1, 0)):
        assert places_of(picture, enlarged(found.result.snapshots[0, search], 4)) == times
    assert places_of(picture, enlarged(found.result.final[0], 4)) == 2  # its nearest digit is the image itself
    single = np.asarray(
        search_figures.film_strip(examples.searches(kinds("2", "noise", num_classes=10), 9), nearest, "Search")
    )
    assert single.shape[0] > picture.shape[0]  # four searches of the only kind


def test_last_images_and_frames_hold_every_kind() -> None:
    found = examples.searches(kinds("all", "noise", num_classes=10), num_images=2)
    picture = np.asarray(search_figures.finals(found, examples.nearest(found), "Search"))
    assert all(places_of(picture, enlarged(found.result.final[search], 3)) >= 1 for search in (0, 7, 19))
    pictures = search_figures.frames(found, "Search")
    assert len(pictures) == len(found.result.steps) and all(frame.size == pictures[0].size for frame in pictures)
    assert pictures[0].width > pictures[0].height
    animation = Image.open(io.BytesIO(search_figures.animation(pictures)))
    assert animation.n_frames == len(pictures) and animation.info["loop"] == 0  # type: ignore[attr-defined]


def test_a_timeline_is_bounded_whatever_is_asked_for() -> None:
    def timeline(targets: str, num_images: int, num_snapshots: int) -> list[search_figures.Still]:
        found = examples.searches(kinds(targets, "noise", num_classes=10), num_images)
        zeros = np.zeros((num_snapshots, len(found.plan.kinds), 28, 28, 1), np.float32)
        result: AscentResult = dataclasses.replace(found.result, steps=np.arange(num_snapshots) * 25, snapshots=zeros)
        return search_figures.timeline(dataclasses.replace(found, result=result))

    many = timeline("all,0+1,2+3,4+5", 3, 1000)
    steps = [still.step for still in many if still.series == "optimisation/noise to 3"]
    assert (steps[0], steps[-1]) == (0, 999 * 25) and set(np.diff(steps)) == {24 * 25, 25 * 25}
    assert len({still.series for still in many}) == 10 and len(many) == 10 * search_figures.MOST_STILLS
    names = [f"optimisation/noise to 2 - search {number}" for number in range(4)]
    assert sorted({still.series for still in timeline("2", 9, 1)}) == names
    assert [(still.series, still.step) for still in timeline("2", 1, 2)] == [(names[0], 0), (names[0], 25)]


def test_a_still_is_the_image_in_a_grey_frame() -> None:
    found = examples.searches(kinds("3", "noise", num_classes=10), num_images=1)
    still = search_figures.timeline(found)[0]
    assert still.pixels.shape == (240, 256) and (still.pixels[:8] == 128).all()
    grey = found.result.snapshots[0, 0, ..., 0] * 255
    squares = still.pixels[8:-8, 16:-16].reshape(28, 8, 28, 8)
    assert np.abs(squares - grey[:, np.newaxis, :, np.newaxis]).max() <= 0.5001


def test_a_trials_strip_has_a_row_a_kind_and_a_column_a_snapshot() -> None:
    images = np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3, 1, 1) * np.ones((28, 28), np.float32)
    strip = Strip(images, ("noise → 1", "noise → 2"), ("step 0", "step 10", "step 20"))
    picture = np.asarray(Image.open(io.BytesIO(search_figures.strip(strip))))
    levels = [[0, 51, 102], [153, 204, 255]]
    squares = [[np.full((84, 84), level) for level in row] for row in levels]
    assert [[places_of(picture, square) for square in row] for row in squares[:1]] == [[1, 1, 1]]
    assert [places_of(picture, square) for square in squares[1][:2]] == [1, 1]  # the last is as white as the ground


def test_curves_are_those_of_the_searches() -> None:
    found = examples.searches(kinds("2,3", "noise", num_classes=10), num_images=4)
    axes = search_figures.ascent_curves(found, "Search").axes
    np.testing.assert_allclose(axes[0].lines[0].get_ydata(), np.median(found.result.losses, axis=1))
    np.testing.assert_allclose(axes[3].lines[0].get_ydata(), np.median(found.result.target_probabilities, axis=1))
    assert axes[0].get_yscale() == "log" and axes[3].get_ylim() == (0, 1.02)


def test_learning_curves_draw_training_and_validation_epoch_by_epoch() -> None:
    steps = np.array([[0.5, 2.0, 0.4], [1.0, 1.0, 0.6]])
    validation = np.array([[1.0, 0.9, 0.7]])
    accuracy, loss = training_figures.learning_curves(examples.HISTORY, steps, validation).axes
    curves = {line.get_label(): list(line.get_ydata()) for line in accuracy.lines}
    assert curves["training, epoch mean"] == [result.accuracy for result in examples.HISTORY]
    assert curves["validation, epoch's end"] == [result.validation_accuracy for result in examples.HISTORY]
    assert curves["training, by step"] == [0.4, 0.6] and list(loss.lines[0].get_ydata()) == [2.0, 1.0]
    assert curves["validation, by step"] == [0.7] and list(loss.lines[1].get_ydata()) == [0.9]
    svg = as_svg(training_figures.learning_curves(examples.HISTORY))
    assert svg.startswith("<svg") and "currentColor" in svg and "#000000" not in svg
    texts = re.findall(r"<text [^>]*font-family: 'DejaVu Sans', 'Verdana', sans-serif[^>]*>(.*?)</text>", svg)
    assert {"epoch", "training, epoch mean"} <= set(texts) and len(texts) == svg.count("<text ")
    assert "<metadata" not in svg and "rdf" not in svg
    assert svg == as_svg(training_figures.learning_curves(examples.HISTORY))


def test_an_evaluations_figures_show_its_errors_the_surest_first() -> None:
    result, images = examples.evaluated(), examples.digits().images[:500]
    figures = training_figures.evaluation(result, images, "Test images")
    assert list(figures) == ["confusion_matrix", "per_class_accuracy", "calibration", "most_wrong"]
    counts = {text.get_text() for text in figures["confusion_matrix"].axes[0].texts}
    assert {str(result.confusion[0, 0]), str(result.confusion[9, 9])} <= counts
    wrong = np.flatnonzero(~result.hits)
    surest = wrong[result.probabilities[wrong].max(axis=1).argmax()]
    picture = np.asarray(figures["most_wrong"])
    assert places_of(picture, enlarged(images[surest], 4)) == 1
    assert as_pixels(figures["calibration"]).std() > 5
    np.testing.assert_array_equal(figures["per_class_accuracy"].axes[0].lines[1].get_ydata(), result.recall)


def test_the_ablations_figures_hold_every_cell() -> None:
    table = examples.ablation_table()
    first = table.cells["ordinary", "report L2", "noise"]
    strip = np.asarray(ablation_figures.ablation_strip(table.cells))
    assert places_of(strip, enlarged(first.images[0], 2)) == 3  # once for each regularisation
    assert places_of(np.asarray(ablation_figures.digits(first, numbers(10))), enlarged(first.images[5], 2)) == 1
    axes = ablation_figures.ablation_curve(table).axes[0]
    small, large = axes.collections[:2]
    tried = [choice.card.metrics() for choices in table.tried["ordinary"].values() for choice in choices]
    np.testing.assert_allclose(small.get_offsets()[:, 1], [card["recognised_rate"] for card in tried])  # type: ignore
    assert len(large.get_offsets()) == 3 and axes.get_legend().get_texts()[1].get_text() == "readable"  # type: ignore


TRIALS = [{"values": [number / 20]} for number in range(12)] + [{"pruned_at": 0.1}, {"reason": "ZeroDivisionError"}]


def sizes(charts: dict[str, bytes]) -> dict[str, tuple[int, int]]:
    opened = {name: Image.open(io.BytesIO(chart)).convert("L") for name, chart in charts.items()}
    assert all(np.asarray(picture).std() > 5 for picture in opened.values())
    return {name: picture.size for name, picture in opened.items()}


@pytest.mark.slow
def test_a_sweep_has_every_chart_that_its_trials_allow(tmp_path: Path) -> None:
    drawn = sizes(sweep_charts.draw_all(examples.study(tmp_path, TRIALS), examples.finals))
    assert set(drawn) == {
        "optimisation_history", "regularisation", "parameter_importances", "slices", "contour",
        "parallel_coordinates", "intermediate_values",
    }  # fmt: skip
    assert min(min(size) for size in drawn.values()) > 100
    two = [{"values": [number / 20, 0.5 - number / 40]} for number in range(3)]
    pareto = sizes(sweep_charts.draw_all(
        examples.study(tmp_path, two, name="two", goals=("probability", "loss")), examples.finals
    ))  # fmt: skip
    assert {"pareto_front", "slices_probability", "slices_loss"} <= set(pareto)
    assert "optimisation_history" not in pareto and "parameter_importances_loss" not in pareto
    assert sweep_charts.draw_all(examples.study(tmp_path, TRIALS[-1:], name="none"), examples.finals) == {}


def test_lines_leave_out_failed_trials_and_keep_pruned_ones_apart(tmp_path: Path) -> None:
    (line,) = lines_of_study(examples.study(tmp_path, TRIALS))
    assert line.label == "from noise" and line.scores.tolist() == [trial["values"][0] for trial in TRIALS[:12]]
    assert line.pruned_scores.tolist() == [0.1] and line.run_ids[3] == "run3"
    assert lines_of_study(examples.study(tmp_path, [{"values": [0.5]}], name="t", training=True, l2_weight="0.1")) == []


def test_sweeps_are_drawn_start_by_start_on_one_axis() -> None:
    def record(name: str, start: str, weights: list[str]) -> SweepRecord:
        trials = tuple(
            TrialRecord(number, f"{name}{number}", "complete", (number / 10,),
                        {"l2_weight": weight, "start": start, "model": "models:/m-1"}, {})
            for number, weight in enumerate(weights)
        )  # fmt: skip
        return SweepRecord(name, name, "optimize", ("recognised",), trials)

    records = [record("a", "noise", ["0", "0.001", "0.1"]), record("b", "noisy_digit", ["0.01", "0.02"])]
    panels = lines_of_records(records, "l2_weight", {"models:/m-1": "smooth, readable"})
    assert {panel: [line.label for line in lines] for panel, lines in panels.items()} == {
        "From noise": ["a, smooth, readable"], "From noisy digit": ["b, smooth, readable"],
    }  # fmt: skip
    assert sizes({"chart": sweep_charts.goal_along(panels, "recognised", "l2_weight")})
    assert sweep_charts.goal_along(lines_of_records(records, "pose", {}), "recognised", "pose") == b""
    assert sizes({"chart": sweep_charts.side_by_side([("a", examples.finals("a")), ("b", {})])})


@pytest.mark.parametrize(("goal", "best"), [("recognised", 2), ("loss", 0)])
def test_a_bin_knows_its_best_trial(goal: str, best: int) -> None:
    line = Line("a", np.array([1.0, 1.01, 1.02, 9.0]), np.array([0.1, 0.2, 0.3, 0.5]), ("0", "1", "2", "3"))
    axis = Axis([line])
    first, last = axis.bins(line, goal)
    assert not axis.is_log and (first.best, last.best) == (best, 3) and first.inside.tolist() == [0, 1, 2]
    assert Axis([Line("a", np.array([0, 1e-5, 1e-1]), np.zeros(3), ("", "", ""))]).is_log
    assert re.fullmatch(r"0\.0\d+", f"{axis.share(first.middle):.3f}")
