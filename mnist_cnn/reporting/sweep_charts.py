"""Charts of sweeps, as PNGs: Optuna's own, and the goal along a weight with the images of the best trials."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
import optuna
import optuna.visualization.matplotlib as drawing
from matplotlib import pyplot
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from mnist_cnn.reporting.chart_lines import BINS, Axis, Line, last_value, lines_of_study
from mnist_cnn.reporting.figure_style import ACCENT, DPI, INK, QUIET, TRAIN, VALIDATION, as_png, styled
from mnist_cnn.sweeps.outcomes import RUN_ID, state_of
from mnist_cnn.sweeps.study import Study
from mnist_cnn.sweeps.trials import ImagesOf

COLOURS = (TRAIN, VALIDATION, "#3c8d5a", "#7b4ea3", ACCENT, QUIET)
MOST_IN_A_CONTOUR = 4
ENOUGH_FOR_IMPORTANCES = 8
"""Complete trials: of fewer, importances are those of chance."""

SHOWN_OF_A_TRIAL = 10


@contextmanager
def optuna_style() -> Iterator[None]:
    """Around Optuna's charts, which it draws with pyplot: no window, no warnings, no style left behind."""
    mpl.use("agg")
    with warnings.catch_warnings(), mpl.rc_context({"figure.dpi": DPI, "font.size": 9}):
        warnings.simplefilter("ignore")
        yield


def draw_all(study: Study, images_of: ImagesOf) -> dict[str, bytes]:
    """Every chart that the trials so far allow, by name. images_of: the arrays that a trial's run holds."""
    complete = [trial for trial in study.trials() if trial.state == TrialState.COMPLETE]
    if not complete:
        return {}
    if len(study.goals) == 1:
        charts = {"optimisation_history": history(study)}
    else:
        charts = {"pareto_front": pareto_front(study, images_of)}
    if lines := lines_of_study(study):
        charts["regularisation"] = regularisation(lines, study.goals[0], images_of)
    for index in range(len(study.goals)):
        charts |= _settings_charts(study, complete, index)
    if len(study.goals) == 1 and any(trial.intermediate_values for trial in study.trials()):
        charts["intermediate_values"] = intermediate_values(study)
    return charts


@optuna_style()
def history(study: Study) -> bytes:
    """The goal trial by trial, and the best so far; dotted lines are failed trials."""
    axes = drawing.plot_optimization_history(study.optuna_study, target_name=_spelled(study.goals[0]))
    pruned = [(trial.number, last) for trial in study.trials() if (last := last_value(trial)) is not None]
    if pruned:
        axes.plot(*zip(*pruned, strict=True), "o", mfc="none", color=QUIET, label="pruned, last value")
    for trial in study.trials():
        if state_of(trial) == "failed":
            axes.axvline(trial.number, color=INK, linewidth=1, linestyle=":", label="failed")
    labelled = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))  # one label of all failed trials
    axes.legend(labelled.values(), labelled.keys())
    return _resized(axes, 9, 4)


@optuna_style()
def _settings_charts(study: Study, complete: Sequence[FrozenTrial], index: int) -> dict[str, bytes]:
    """Importances, slices, parallel coordinates and contours of a goal, by its index.

    Importances are shares of each varied setting in how the goal varies (fANOVA, Hutter et al., ICML 2014).
    """
    names = important = list(study.space.varied)
    goal, several = study.goals[index], len(study.goals) > 1
    ending = f"_{goal}" if several else ""
    how: dict[str, Any] = {"target_name": goal, "target": (lambda trial: trial.values[index]) if several else None}
    differ = len({trial.values[index] for trial in complete}) > 1
    charts: dict[str, bytes] = {}
    axes: Any
    if differ and len(complete) >= ENOUGH_FOR_IMPORTANCES:
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        axes = drawing.plot_param_importances(study.optuna_study, evaluator, **how)
        important = [label.get_text() for label in axes.get_yticklabels()][::-1]
        charts[f"parameter_importances{ending}"] = _resized(axes, 7, 0.36 * len(names) + 1.2)
    if len(complete) >= 2:
        axes = drawing.plot_slice(study.optuna_study, params=names, **how)
        charts[f"slices{ending}"] = _resized(axes, 3.1 * len(names), 3.6)
    if len(complete) >= 2 and differ and len(names) > 1:
        axes = drawing.plot_parallel_coordinate(study.optuna_study, params=names, **how)
        charts[f"parallel_coordinates{ending}"] = _resized(axes, 1.5 * len(names) + 3, 4.5)
        shown = important[:MOST_IN_A_CONTOUR]
        axes = drawing.plot_contour(study.optuna_study, params=shown, **how)
        charts[f"contour{ending}"] = _resized(axes, 2.6 * len(shown) + 2, 2.6 * len(shown) + 1)
    return charts


def _resized(axes: Any, width: float, height: float) -> bytes:
    """What Optuna drew, in inches, as a PNG; the figure is closed."""
    figure = np.ravel(axes)[0].figure
    figure.set_size_inches(width, height)
    for part in figure.axes:
        part.set_facecolor("white")
        part.grid(False)
        for axis in (part.xaxis, part.yaxis):
            low, high = axis.get_view_interval()
            if axis.get_scale() == "log":  # labels between powers of ten lie upon each other
                axis.set_minor_formatter(NullFormatter())
                if high < 30 * low:
                    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                    axis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:g}"))
    try:
        return as_png(figure)
    finally:
        pyplot.close(figure)


@styled
def intermediate_values(study: Study) -> bytes:
    """The goal on the way of each trial; pruned trials are grey."""
    figure = Figure((9, 4))
    axes = figure.subplots()
    best = {trial.number for trial in study.best()}
    for trial in study.trials():
        steps = sorted(trial.intermediate_values)
        style: dict[str, Any] = {"color": TRAIN, "alpha": 0.35, "linewidth": 1}
        if trial.state != TrialState.COMPLETE:
            style = {"color": QUIET, "alpha": 0.6, "linewidth": 1, "linestyle": ":"}
        if trial.number in best:
            style = {"color": VALIDATION, "linewidth": 2.2, "zorder": 3, "label": f"best, trial {trial.number}"}
        axes.plot(steps, [trial.intermediate_values[step] for step in steps], **style)
    axes.set_xlabel("step" if "steps" in study.space.trial.names() else "epoch")
    axes.set_title(f"{_spelled(study.goals[0])} on the way (dotted: pruned)")
    if best:
        axes.legend()
    return as_png(figure)


@styled
def pareto_front(study: Study, images_of: ImagesOf) -> bytes:
    """Both goals of each trial; those that no other beats in both are joined, and shown with their images."""
    first, second = map(_spelled, study.goals)
    complete = [trial for trial in study.trials() if trial.state == TrialState.COMPLETE]
    front = sorted(study.best(), key=lambda trial: trial.values[0])
    figure = Figure((9, 6.4))
    axes, strip = figure.subplots(2, 1, height_ratios=(2, 1))
    for trials, style in (
        (complete, {"marker": "o", "linestyle": "", "color": QUIET, "alpha": 0.5}),
        (front, {"marker": "o", "color": VALIDATION}),
    ):
        axes.plot([trial.values[0] for trial in trials], [trial.values[1] for trial in trials], **style)
    for trial in front:
        axes.annotate(f" {trial.number}", trial.values, color=INK, fontsize=8)
    title = f"{first} against {second}: no trial beats the orange ones in both"
    axes.set(xlabel=first, ylabel=second, title=title)
    chosen = [front[i] for i in np.unique(np.linspace(0, len(front) - 1, BINS).round().astype(int))]
    places = np.linspace(0, 1, len(chosen)) if len(chosen) > 1 else [0.0]
    _columns_of_images(strip, [
        (float(place), f"trial {trial.number}", _mosaic(trial.user_attrs.get(RUN_ID, ""), images_of))
        for place, trial in zip(places, chosen, strict=True)
    ])  # fmt: skip
    return as_png(figure)


@styled
def regularisation(lines: Sequence[Line], goal: str, images_of: ImagesOf, name: str = "l2_weight") -> bytes:
    """For each of one or more lines the goal against a weight, with the best trials' images along the axis."""
    axis = Axis(lines)
    figure = Figure((10, 4.9 * len(lines)))
    grid = figure.subplots(2 * len(lines), 1, height_ratios=[2, 1.9] * len(lines), squeeze=False)[:, 0]
    scores = np.concatenate([part for line in lines for part in (line.scores, line.pruned_scores)])
    margin = 0.05 * max(float(np.ptp(scores)), 1e-3)
    for line, colour, axes, strip in zip(lines, COLOURS * len(lines), grid[::2], grid[1::2], strict=False):
        bins = axis.bins(line, goal)
        middles = [part.middle for part in bins]
        axes.plot(axis.places(line.x), line.scores, "o", color=colour, alpha=0.55)
        if len(line.pruned_x):
            places = axis.places(line.pruned_x)
            axes.plot(places, line.pruned_scores, "o", mfc="none", color=QUIET, label="pruned, last value")
        axes.plot(middles, [line.scores[part.best] for part in bins], color=colour, label="best in a ninth of the axis")
        axes.plot(middles, [line.scores[part.inside].mean() for part in bins], color=colour, ls=":", label="mean there")
        axis.apply_to(axes, name)
        axes.set(ylabel=_spelled(goal), ylim=(scores.min() - margin, scores.max() + margin))
        axes.set_title(f"{_spelled(line.label)}: does a higher {name} help?")
        axes.legend(fontsize=8)
        _columns_of_images(strip, [
            (
                axis.share(part.middle),
                f"{line.x[part.best]:.2g}\n{line.scores[part.best]:.3g}, best of {len(part.inside)}",
                _mosaic(line.run_ids[part.best], images_of),
            )
            for part in bins
        ])  # fmt: skip
    return as_png(figure)


def _mosaic(run_id: str, images_of: ImagesOf) -> NDArray[np.uint8] | None:
    """A trial's last images, two columns of up to five."""
    finals = images_of(run_id).get("finals") if run_id else None
    if finals is None or not len(finals):
        return None
    shown = finals[np.unique(np.linspace(0, len(finals) - 1, SHOWN_OF_A_TRIAL).round().astype(int))]
    framed = [np.pad(image, 1, constant_values=96) for image in shown]
    framed += [np.full_like(framed[0], 255)] * (len(framed) % 2)
    return np.concatenate([np.concatenate(framed[i : i + 2], axis=1) for i in range(0, len(framed), 2)])


def _columns_of_images(axes: Any, columns: Sequence[tuple[float, str, NDArray[np.uint8] | None]]) -> None:
    """Columns of images at shares of the axis's width, each with its caption above."""
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    for place, caption, column in columns:
        axes.text(place, 1.0, caption, ha="center", va="bottom", fontsize=8, color=QUIET, transform=axes.transAxes)
        if column is not None:
            inset = axes.inset_axes((place - 0.05, 0.0, 0.1, 0.98))
            inset.imshow(column, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            inset.set_anchor("N")
            inset.set_axis_off()


def _spelled(goal: str) -> str:
    return goal.replace("_", " ").capitalize()


@styled
def side_by_side(rows: Sequence[tuple[str, Mapping[str, NDArray[Any]]]]) -> bytes:
    """The last images of each sweep's best trial, a row each. rows: a caption, and the arrays of the trial's run."""
    figure = Figure((11, 1.45 * len(rows) + 0.3))
    grid = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for axes, (label, arrays) in zip(grid, rows, strict=True):
        finals = arrays.get("finals")
        if finals is not None and len(finals):
            spaced = np.concatenate([np.pad(image, 1, constant_values=96) for image in finals], axis=1)
            axes.imshow(spaced, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_title(label, fontsize=9, fontweight="normal")
        axes.set_axis_off()
    return as_png(figure)


@styled
def goal_along(panels: Mapping[str, Sequence[Line]], goal: str, name: str) -> bytes:
    """`goal_along_figure` as a PNG; empty without panels."""
    return as_png(goal_along_figure(panels, goal, name)) if panels else b""


@styled
def goal_along_figure(panels: Mapping[str, Sequence[Line]], goal: str, name: str) -> Figure:
    """The goal against a setting: starts side by side on common axes, a colour for each sweep and network.

    The line joins the best in each ninth of the axis. There is at least one panel.
    """
    axis = Axis([line for lines in panels.values() for line in lines])
    figure = Figure((5.2 * len(panels) + 0.6, 4.6))
    grid = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    labels = list(dict.fromkeys(line.label for lines in panels.values() for line in lines))
    colours = {label: COLOURS[i % len(COLOURS)] for i, label in enumerate(labels)}
    for axes, (panel, lines) in zip(grid, panels.items(), strict=True):
        for line in lines:
            colour, bins = colours[line.label], axis.bins(line, goal)
            axes.plot(axis.places(line.x), line.scores, "o", color=colour, alpha=0.45, markersize=4)
            axes.plot([part.middle for part in bins], [line.scores[part.best] for part in bins], color=colour)
        axis.apply_to(axes, name)
        axes.set_title(panel)
    grid[0].set_ylabel(_spelled(goal))
    handles = [Line2D([], [], color=colours[label], marker="o", label=label) for label in labels]
    figure.legend(handles=handles, loc="outside lower left", fontsize=8)
    return figure
