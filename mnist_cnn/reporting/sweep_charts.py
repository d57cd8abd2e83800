"""Pictures of a whole sweep, as PNGs: Optuna's own, and what score a penalty's weight comes to, with the images."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import optuna
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from mnist_cnn.reporting.figures import ACCENT, DPI, INK, QUIET, TRAIN, VALIDATION
from mnist_cnn.settings import sign
from mnist_cnn.settings.search_space import Choices
from mnist_cnn.sweeps.study import REASON, RUN_ID, Study, values_of
from mnist_cnn.sweeps.trials import ImagesOf

if TYPE_CHECKING:  # plain records; `sweep_runs` is another door
    from mnist_cnn.tracking.sweep_runs import SweepRecord, TrialRecord

COLOURS = (TRAIN, VALIDATION, "#3c8d5a", "#7b4ea3", ACCENT, QUIET)
MOST_IN_A_CONTOUR = 4
BINS = 9
ENOUGH_FOR_IMPORTANCES = 8
"""Complete trials: of fewer, importances are those of chance."""

SHOWN_OF_A_TRIAL = 10


@dataclass(frozen=True)
class Series:
    """Trials that share an axis and a line.

    x: (n,) the weight. scores: (n,) what the goal came to. run_ids: n, of their runs. pruned_x, pruned_scores: (m,) of
    trials that were ended early, and what the goal had come to by then.
    """

    label: str
    x: NDArray[np.float64]
    scores: NDArray[np.float64]
    run_ids: tuple[str, ...]
    pruned_x: NDArray[np.float64]
    pruned_scores: NDArray[np.float64]


def of_sweep(one: Study, images_of: ImagesOf) -> dict[str, bytes]:
    """Every picture that the trials so far allow, by name."""
    complete = [trial for trial in one.trials() if trial.state == TrialState.COMPLETE]
    pictures: dict[str, bytes] = {}
    if not complete:
        return pictures
    if len(one.goals) == 1:
        pictures["optimisation_history"] = history(one)
    else:
        pictures["pareto_front"] = pareto_front(one, images_of)
    drawn = regularisation(series_of(one), one.goals[0], images_of)
    if drawn:
        pictures["regularisation"] = drawn
    pictures |= _optunas(one, complete)
    return pictures


def _optunas(one: Study, complete: Sequence[FrozenTrial]) -> dict[str, bytes]:
    """What `optuna.visualization.matplotlib` draws."""
    names = list(one.space.varied)
    several = len({tuple(trial.values or ()) for trial in complete}) > 1
    pictures: dict[str, bytes] = {}
    with _optuna_style():
        from optuna.visualization import matplotlib as drawing

        for index, goal in enumerate(one.goals):
            ending = f"_{goal}" if len(one.goals) > 1 else ""
            how: dict[str, Any] = {"target_name": goal}
            if len(one.goals) > 1:
                how["target"] = lambda trial, index=index: trial.values[index]
            important = names
            if several and len(complete) >= ENOUGH_FOR_IMPORTANCES:
                importances = importance(one, index)
                pictures[f"parameter_importances{ending}"] = importances_chart(importances, goal)
                important = [name for name, _ in importances]
            if len(complete) >= 2:
                pictures[f"slices{ending}"] = _png(
                    drawing.plot_slice(one.optuna_study, params=names, **how), (3.1 * len(names), 3.6)
                )
                if several and len(names) > 1:
                    pictures[f"parallel_coordinates{ending}"] = _png(
                        drawing.plot_parallel_coordinate(one.optuna_study, params=names, **how),
                        (1.5 * len(names) + 3, 4.5),
                    )
                    shown = important[:MOST_IN_A_CONTOUR]
                    side = 2.6 * len(shown) + 1
                    pictures[f"contour{ending}"] = _png(
                        drawing.plot_contour(one.optuna_study, params=shown, **how), (side + 1, side)
                    )
    if len(one.goals) == 1 and any(trial.intermediate_values for trial in one.trials()):
        pictures["intermediate_values"] = intermediate_values(one)
    return pictures


def importance(one: Study, index: int) -> list[tuple[str, float]]:
    """Share of each varied setting in how the goal varies, the largest first (fANOVA, Hutter et al., ICML 2014)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        target = (lambda trial: trial.values[index]) if len(one.goals) > 1 else None
        found = optuna.importance.get_param_importances(one.optuna_study, evaluator=evaluator, target=target)
    return sorted(found.items(), key=lambda item: -item[1])


def importances_chart(importances: Sequence[tuple[str, float]], goal: str) -> bytes:
    figure = Figure(figsize=(7, 0.36 * len(importances) + 1.2), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    names, shares = [name for name, _ in importances], [share for _, share in importances]
    axes.barh(names, shares, color=TRAIN, height=0.6)
    for row, share in enumerate(shares):
        axes.text(share, row, f"  {share:.2f}", va="center", color=INK)
    axes.invert_yaxis()
    axes.set_xlim(0, max([*shares, 0.01]) * 1.15)
    _finish(axes, f"What {goal.replace('_', ' ')} depends on (fANOVA)")
    axes.grid(False)
    return _bytes(figure)


def history(one: Study) -> bytes:
    """The goal trial by trial, and the best so far."""
    figure = Figure(figsize=(9, 4), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    upwards = sign(one.goals[0])
    trials = one.trials()
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    values = np.array([trial.values[0] for trial in complete])
    numbers = [trial.number for trial in complete]
    axes.plot(numbers, values, "o", color=TRAIN, alpha=0.7, label="complete")
    pruned = [(trial.number, last) for trial in trials if (last := _last_value(trial)) is not None]
    if pruned:
        axes.plot(*zip(*pruned, strict=True), "o", mfc="none", color=QUIET, label="pruned, where it stopped")
    for trial in trials:
        if REASON in trial.user_attrs:
            axes.axvline(trial.number, color=ACCENT, linewidth=1, alpha=0.5)
    axes.step(
        numbers, upwards * np.maximum.accumulate(upwards * values), where="post", color=VALIDATION, label="best so far"
    )
    axes.set_xlabel("trial")
    _finish(axes, f"{_spelled(one.goals[0])}, trial by trial")
    axes.legend(frameon=False)
    return _bytes(figure)


def intermediate_values(one: Study) -> bytes:
    """The goal on the way of each trial; what was pruned is grey."""
    figure = Figure(figsize=(9, 4), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    best = {trial.number for trial in one.best()}
    for trial in one.trials():
        steps = sorted(trial.intermediate_values)
        style: dict[str, Any] = {"color": TRAIN, "alpha": 0.35, "linewidth": 1}
        if trial.state != TrialState.COMPLETE:
            style = {"color": QUIET, "alpha": 0.6, "linewidth": 1, "linestyle": ":"}
        if trial.number in best:
            style = {"color": VALIDATION, "linewidth": 2.2, "zorder": 3, "label": f"best, trial {trial.number}"}
        axes.plot(steps, [trial.intermediate_values[step] for step in steps], **style)
    axes.set_xlabel("step" if "steps" in one.space.trial.names() else "epoch")
    _finish(axes, f"{_spelled(one.goals[0])} on the way (dotted: pruned)")
    if best:
        axes.legend(frameon=False)
    return _bytes(figure)


def pareto_front(one: Study, images_of: ImagesOf) -> bytes:
    """Both goals of each trial; those that no other beats in both are joined, and shown."""
    first, second = one.goals
    complete = [trial for trial in one.trials() if trial.state == TrialState.COMPLETE]
    front = sorted(one.best(), key=lambda trial: trial.values[0])
    figure = Figure(figsize=(9, 6.4), dpi=DPI, layout="constrained")
    axes, strip = figure.subplots(2, 1, height_ratios=(2, 1))
    axes.plot([t.values[0] for t in complete], [t.values[1] for t in complete], "o", color=QUIET, alpha=0.5)
    axes.plot([t.values[0] for t in front], [t.values[1] for t in front], "o-", color=VALIDATION)
    for trial in front:
        axes.annotate(f" {trial.number}", trial.values, color=INK, fontsize=8)
    axes.set_xlabel(_spelled(first))
    axes.set_ylabel(_spelled(second))
    _finish(axes, f"{_spelled(first)} against {_spelled(second)}: nothing beats the orange ones in both")
    chosen = [front[i] for i in np.unique(np.linspace(0, len(front) - 1, BINS).round().astype(int))]
    columns = [(f"trial {trial.number}", _mosaic(trial.user_attrs.get(RUN_ID, ""), images_of)) for trial in chosen]
    _columns_of_images(strip, [(i / max(1, len(columns) - 1), *column) for i, column in enumerate(columns)])
    return _bytes(figure)


def series_of(one: Study, name: str = "l2_weight") -> list[Series]:
    """The trials of a sweep by start (and by network, where there are several), along a weight.

    Empty where the weight is the same in all of them.
    """
    if name not in one.space.varied:
        return []
    lines: dict[str, list[FrozenTrial]] = {}
    networks = one.space.varied.get("model")
    for trial in one.trials():
        if name in trial.params and (values_of(trial) or _last_value(trial) is not None):
            settings = one.space.at(trial.params)
            words = [f"from {settings.start.replace('_', ' ')}"] if hasattr(settings, "start") else []
            if isinstance(networks, Choices):
                words.append(f"network {networks.values.index(settings.model) + 1}")
            lines.setdefault(", ".join(words) or "all trials", []).append(trial)
    found = []
    for line, trials in sorted(lines.items()):
        whole = [trial for trial in trials if values_of(trial)]
        pruned = [trial for trial in trials if not values_of(trial)]
        if whole:
            found.append(
                Series(
                    line,
                    np.array([float(trial.params[name]) for trial in whole]),
                    np.array([values_of(trial)[0] for trial in whole]),
                    tuple(trial.user_attrs.get(RUN_ID, "") for trial in whole),
                    np.array([float(trial.params[name]) for trial in pruned]),
                    np.array([_last_value(trial) for trial in pruned], float),
                )
            )
    return found


def _last_value(trial: FrozenTrial) -> float | None:
    """What the goal of a pruned trial had come to; None for any other."""
    if trial.state != TrialState.PRUNED or not trial.intermediate_values:
        return None
    return float(trial.intermediate_values[max(trial.intermediate_values)])


def regularisation(lines: Sequence[Series], goal: str, images_of: ImagesOf, name: str = "l2_weight") -> bytes:
    """For each line the goal against a weight, with the best trials' images along the axis; empty without lines."""
    if not lines:
        return b""
    axis = _Axis(lines)
    figure = Figure(figsize=(10, 4.9 * len(lines)), dpi=DPI, layout="constrained")
    grid = figure.subplots(2 * len(lines), 1, height_ratios=[2, 1.9] * len(lines), squeeze=False)[:, 0]
    scores = np.concatenate([each for line in lines for each in (line.scores, line.pruned_scores)])
    margin = 0.05 * max(float(np.ptp(scores)), 1e-3)
    for line, colour, axes, strip in zip(lines, COLOURS * len(lines), grid[::2], grid[1::2], strict=False):
        bins = axis.bins(line, goal)
        middles = [one.middle for one in bins]
        axes.plot(axis.places(line.x), line.scores, "o", color=colour, alpha=0.55)
        if len(line.pruned_x):
            places = axis.places(line.pruned_x)
            axes.plot(places, line.pruned_scores, "o", mfc="none", color=QUIET, label="pruned, where it stopped")
        axes.plot(middles, [line.scores[one.best] for one in bins], color=colour, label="best in a ninth of the axis")
        axes.plot(middles, [line.scores[one.inside].mean() for one in bins], color=colour, ls=":", label="mean there")
        axes.set_ylim(scores.min() - margin, scores.max() + margin)
        axis.finish(axes, name)
        axes.set_ylabel(_spelled(goal))
        _finish(axes, f"{_spelled(line.label)}: does a higher {name} help?")
        axes.legend(frameon=False, fontsize=8)
        columns = [
            (
                axis.share(one.middle),
                f"{line.x[one.best]:.2g}\n{line.scores[one.best]:.3g}, best of {len(one.inside)}",
                _mosaic(line.run_ids[one.best], images_of),
            )
            for one in bins
        ]
        _columns_of_images(strip, columns)
    return _bytes(figure)


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
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    for place, caption, column in columns:
        axes.text(place, 1.0, caption, ha="center", va="bottom", fontsize=8, color=QUIET, transform=axes.transAxes)
        if column is not None:
            inset = axes.inset_axes((place - 0.05, 0.0, 0.1, 0.98))
            inset.imshow(column, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            inset.set_anchor("N")
            inset.set_axis_off()


def _spelled(goal: str) -> str:
    return goal.replace("_", " ").capitalize()


def _finish(axes: Any, title: str) -> None:
    axes.set_title(title, loc="left", fontweight="bold")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


@contextmanager
def _optuna_style() -> Iterator[None]:
    """Optuna draws with pyplot: without a window, without its style sheet left behind, without its warnings."""
    mpl.use("agg")
    with warnings.catch_warnings(), mpl.rc_context({"figure.dpi": DPI, "font.size": 9}):
        warnings.simplefilter("ignore")
        yield


def _png(axes: Any, size: tuple[float, float]) -> bytes:
    from matplotlib import pyplot

    figure = np.ravel(axes)[0].figure
    figure.set_size_inches(*size)
    for each in figure.axes:
        each.set_facecolor("white")
        each.grid(False)
        for one in (each.xaxis, each.yaxis):
            low, high = one.get_view_interval()
            if one.get_scale() == "log":  # labels between powers of ten lie upon each other
                one.set_minor_formatter(NullFormatter())
                if high < 30 * low:
                    one.set_major_locator(LogLocator(subs=(1, 2, 5)))
                    one.set_major_formatter(FuncFormatter(lambda number, _: f"{number:g}"))
    try:
        return _bytes(figure)
    finally:
        pyplot.close(figure)


def _bytes(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight", facecolor="white")
    return buffer.getvalue()


def side_by_side(rows: Sequence[tuple[str, Mapping[str, NDArray[Any]]]]) -> bytes:
    """The last images of each sweep's best trial, a row each, with what it came to."""
    figure = Figure(figsize=(11, 1.45 * len(rows) + 0.3), dpi=DPI, layout="constrained")
    grid = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for axes, (label, arrays) in zip(grid, rows, strict=True):
        finals = arrays.get("finals")
        if finals is not None and len(finals):
            spaced = np.concatenate([np.pad(image, 1, constant_values=96) for image in finals], axis=1)
            axes.imshow(spaced, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_title(label, loc="left", fontsize=9)
        axes.set_axis_off()
    return _bytes(figure)


def lines_of(records: Sequence[SweepRecord], along: str, networks: Mapping[str, str]) -> dict[str, list[Series]]:
    """For each start (or all trainings together) a line for each sweep and network, along a setting."""
    panels: dict[str, dict[str, list[TrialRecord]]] = {}
    for record in records:
        several = len({trial.settings.get("model") for trial in record.complete}) > 1
        for trial in record.complete:
            if along not in trial.settings:
                continue
            start = trial.settings.get("start", "")
            panel = f"From {start.replace('_', ' ')}" if start else "Trainings"
            model = trial.settings.get("model", "")
            line = f"{record.name}, {networks.get(model, model)}" if several or model else record.name
            panels.setdefault(panel, {}).setdefault(line, []).append(trial)
    return {
        panel: [
            Series(
                line,
                np.array([float(trial.settings[along]) for trial in trials]),
                np.array([trial.values[0] for trial in trials]),
                tuple(trial.run_id for trial in trials),
                np.array([]),
                np.array([]),
            )
            for line, trials in lines.items()
        ]
        for panel, lines in sorted(panels.items())
    }


def along(panels: Mapping[str, Sequence[Series]], goal: str, name: str) -> bytes:
    """The goal against a setting: starts side by side on common axes, a colour for each sweep and network.

    The line joins the best in each ninth of the axis.
    """
    if not panels:
        return b""
    axis = _Axis([line for lines in panels.values() for line in lines])
    figure = Figure(figsize=(5.2 * len(panels) + 0.6, 4.6), dpi=DPI, layout="constrained")
    grid = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    labels = list(dict.fromkeys(line.label for lines in panels.values() for line in lines))
    colours = {label: COLOURS[i % len(COLOURS)] for i, label in enumerate(labels)}
    for axes, (panel, lines) in zip(grid, panels.items(), strict=True):
        for line in lines:
            places = axis.places(line.x)
            axes.plot(places, line.scores, "o", color=colours[line.label], alpha=0.45, markersize=4)
            bins = axis.bins(line, goal)
            axes.plot([one.middle for one in bins], [line.scores[one.best] for one in bins], color=colours[line.label])
        axis.finish(axes, name)
        _finish(axes, panel)
    grid[0].set_ylabel(_spelled(goal))
    handles = [Line2D([], [], color=colours[label], marker="o", label=label) for label in labels]
    figure.legend(handles=handles, loc="outside lower left", frameon=False, fontsize=8)
    return _bytes(figure)


@dataclass(frozen=True)
class _Bin:
    """A ninth of an axis. middle: its place; inside: which trials; best: the best of them."""

    middle: float
    inside: NDArray[np.int64]
    best: int


class _Axis:
    """A common axis of several series: logarithmic where their numbers are far apart, with 0 at its left end."""

    def __init__(self, lines: Sequence[Series]) -> None:
        every = np.concatenate([each for line in lines for each in (line.x, line.pruned_x)])
        positive = every[every > 0]
        self.is_log = len(positive) > 0 and positive.max() / positive.min() > 30
        self._has_zero = bool((every == 0).any())
        self._least = float(positive.min()) if len(positive) else 1.0
        places = self.places(every)
        self.low, self.high = float(places.min()), float(places.max())
        if self.high - self.low < 1e-9:
            self.low, self.high = self.low - 0.5, self.high + 0.5

    def places(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.log10(np.maximum(numbers, self._least / 3)) if self.is_log else numbers

    def share(self, place: float) -> float:
        """Of the axis's width."""
        return (place - self.low) / (self.high - self.low)

    def bins(self, line: Series, goal: str) -> list[_Bin]:
        """Those ninths of the axis that hold trials."""
        places = self.places(line.x)
        numbers = np.minimum((BINS * (places - self.low) / (self.high - self.low)).astype(int), BINS - 1)
        found = []
        for number in np.unique(numbers):
            inside = np.flatnonzero(numbers == number)
            best = inside[np.argmax(sign(goal) * line.scores[inside])]
            found.append(_Bin(self.low + (number + 0.5) * (self.high - self.low) / BINS, inside, int(best)))
        return found

    def finish(self, axes: Any, name: str) -> None:
        margin = 0.02 * (self.high - self.low)
        axes.set_xlim(self.low - margin, self.high + margin)
        if self.is_log:
            ticks = np.arange(math.ceil(self.low), math.floor(self.high) + 1)
            labels = [f"$10^{{{tick}}}$" for tick in ticks]
            if self._has_zero:
                ticks, labels = np.append(ticks, math.log10(self._least / 3)), [*labels, "0"]
            axes.set_xticks(ticks, labels)
        axes.set_xlabel(name)
