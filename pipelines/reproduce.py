"""Everything in one command: a loop over steps, each a run below this one, and in the end a page that shows it."""

from __future__ import annotations

import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from mnist_cnn.judging.ablation import READABLE as REGULARISATION
from mnist_cnn.reporting import reproduction_page
from mnist_cnn.reporting.formats import clock
from mnist_cnn.reporting.reproduction_page import StepResult
from mnist_cnn.runtime import hardware
from mnist_cnn.runtime.fingerprint import fingerprint
from mnist_cnn.settings import (
    AblationSettings,
    CompareSettings,
    ExperimentsSettings,
    JudgesSettings,
    RegisterSettings,
    ReproduceSettings,
    ResumeSettings,
    Settings,
    SweepSettings,
    TrainSettings,
)
from mnist_cnn.settings.errors import SettingError, WorkStopped, is_of_a_store
from mnist_cnn.tracking import models, reading, runs, store, trainings
from pipelines import ablation, compare, experiments, judges, register, resume, sweep, train
from pipelines.reproduction import data_of, read_reproduction

PAGE = "report.html"

ORDINARY = {"network": "smooth", "epochs": 3, "learning_rate": 0.002, "label_smoothing": 0.0}
READABLE = {"preset": "readable"}
SCALES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "full": {
        "ordinary": ORDINARY,
        "readable": READABLE,
        "experiments": {},
        "experiments_readable": {**REGULARISATION, "num_images": 6},
        "sweep": {"n_trials": 12},
        "space": {"start": "noise"},
        "ablation": {"num_images": 12, "tuning_images": 6},
        "register": {},
    },
    "smoke": {
        "ordinary": {**ORDINARY, "epochs": 1},
        "readable": {**READABLE, "epochs": 1, "attack_steps": 1},
        "experiments": {"num_images": 1, "steps": 50, "snapshot_every": 10},
        "experiments_readable": {**REGULARISATION, "num_images": 1, "steps": 50, "snapshot_every": 10},
        "sweep": {"n_trials": 3},
        "space": {"start": "noise", "steps": 20, "snapshot_every": 10, "num_images": 1},
        "ablation": {"num_images": 2, "tuning_images": 2, "steps": 10},
        "register": {"attacked": 20, "num_images": 1},
    },
}
"""What each step is given at each scale."""

SECONDS: Mapping[str, Mapping[str, float]] = {
    "full": {"ordinary": 25, "readable": 240, "judges": 60, "experiments": 60,
             "experiments_readable": 60, "sweep_ordinary": 55,
             "sweep_readable": 50, "compare": 20, "ablation": 190, "register": 20},
    "smoke": {"readable": 20, "judges": 20, "experiments": 20, "experiments_readable": 20, "ablation": 30},
}  # fmt: skip
"""What steps take on two cores; those that are not named take about ten seconds."""

TRUST = 60.0
"""Seconds of expected work that weigh as much as what has been seen of this machine's speed."""

StepResults = dict[str, StepResult]


class StepsFailed(WorkStopped):
    """Some of the steps could not be done; the message names them."""


class _Result(Protocol):
    @property
    def run_id(self) -> str: ...


@dataclass(frozen=True)
class Step:
    """A command. settings: made from the results of the steps that it needs.

    seconds: how long it takes on two cores, by which the time to go is told. files: of its run, without which it is
    not up to date. always: it is done even if it was before, since it asks for the state of things.
    """

    name: str
    title: str
    settings: Callable[[StepResults], Settings]
    run: Callable[[Any], _Result]
    needs: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    always: bool = False
    seconds: float = 10.0


@dataclass(frozen=True)
class ReproduceResult:
    """The steps by name, and where the page was written."""

    run_id: str
    steps: StepResults
    page: str

    def as_json(self) -> dict[str, Any]:
        return {"steps": [asdict(step) for step in self.steps.values()], "page": self.page}


def run(settings: ReproduceSettings) -> ReproduceResult:
    """Do the steps that are not up to date, and write the page. Raises `StepsFailed` where some could not be done."""
    device = hardware.start_tensorflow()
    with runs.tracked_run("reproduce", name=settings.run_name, otherwise=f"reproduce-{settings.scale}") as run:
        run.log_settings(settings, {}, device)
        print(f"Run {run.name} ({run.run_id}) on {device}")
        _log_progress(run, {})
        results = do(plan(settings), fresh=settings.fresh, on_step=partial(_log_progress, run))
        page = reproduction_page.page(read_reproduction(settings, run.run_id, results))
        run.log_text(page, PAGE)
        _log_progress(run, results, finished=True)
        place = _write(page, store.folder() / PAGE)
        print(
            f"\n{reproduction_page.summary(list(results.values()))}\n{runs.signpost(run.run_id)}\nPage     {place}",
            flush=True,
        )
        failed = [result.title for result in results.values() if not result.is_there]
        if failed:
            raise StepsFailed(f"some steps are missing: {', '.join(failed)}; the page says why, and shows the others")
    return ReproduceResult(run.run_id, results, place)


def main(settings: ReproduceSettings) -> None:
    run(settings)


def plan(settings: ReproduceSettings) -> list[Step]:
    """The steps of a scale, in their order."""
    given, seconds = SCALES[settings.scale], SECONDS[settings.scale]
    data = data_of(settings)
    common: dict[str, Any] = {"dataset": data, "seed": settings.seed}
    networks = ("ordinary", "readable")

    def model(done: StepResults, name: str) -> str:
        return f"models:/{models.of_run(reading.get_run(done[name].run_id))}"

    def training(name: str, done: StepResults) -> Settings:
        return TrainSettings(**given[name], **common)

    def six(step: str, network: str, done: StepResults) -> Settings:
        return ExperimentsSettings(**given[step], **common, model=model(done, network))

    def tuning(name: str, done: StepResults) -> Settings:
        space = {**given["space"], **common, "model": model(done, name)}
        own = SweepSettings(**given["sweep"], space=space)
        # An existing sweep would go on with trials that other code has made; here that is another sweep.
        return own.replace(sweep=f"{name}-{fingerprint(own)[:8]}")

    def comparison(done: StepResults) -> Settings:
        return CompareSettings(sweeps=",".join(done[f"sweep_{name}"].run_id for name in networks), dataset=data)

    def table(done: StepResults) -> Settings:
        chosen: dict[str, Any] = {name: model(done, name) for name in networks}
        return AblationSettings(**given["ablation"], **common, networks=",".join(networks), **chosen)

    def version(done: StepResults) -> Settings:
        name = _model_name(settings)
        return RegisterSettings(**given["register"], dataset=data, name=name, model=model(done, "readable"))

    steps = [
        Step("ordinary", "An ordinary network", partial(training, "ordinary"), train.run),
        Step("readable", "A readable network", partial(training, "readable"), train.run),
        Step("judges", "Two panels of judges", lambda _: JudgesSettings(dataset=data), judges.run),
        Step("experiments", "The six experiments", partial(six, "experiments", "ordinary"), experiments.run,
             ("ordinary", "judges"), ("figures/experiment_6.png",)),
        Step("experiments_readable", "The six experiments on the readable network",
             partial(six, "experiments_readable", "readable"), experiments.run, ("readable", "judges"),
             ("figures/experiment_6.png",)),
        *(
            Step(f"sweep_{name}", f"A sweep on the {name} network", partial(tuning, name), sweep.run, (name, "judges"))
            for name in networks
        ),
        Step("compare", "The sweeps side by side", comparison, compare.run, ("sweep_ordinary", "sweep_readable"),
             ("figures/best_side_by_side.png",)),
        Step("ablation", "Are the images readable?", table, ablation.run, (*networks, "judges"),
             ("ablation.json", "images.npz")),
        Step("register", "A version of the readable network", version, register.run, ("readable", "judges"),
             always=True),
    ]  # fmt: skip
    return [Step(**{**vars(step), "seconds": seconds.get(step.name, 10)}) for step in steps]


def do(
    steps: Sequence[Step], *, fresh: bool = False, on_step: Callable[[StepResults], None] = lambda results: None
) -> StepResults:
    """Do the steps in their order, below the open run. on_step: called with the results so far after each step.

    A step that fails keeps those from being done that need it, and no other.
    """
    results: StepResults = {}
    reusable = {} if fresh else _reusable(steps)
    began = time.monotonic()
    expected = spent = 0.0
    for number, step in enumerate(steps, 1):
        left = sum(later.seconds for later in steps[number - 1 :] if later.name not in reusable)
        to_go = left * (spent + TRUST) / (expected + TRUST)
        head = f"[{number}/{len(steps)}] {step.title}"
        print(f"\n{head} · {clock(time.monotonic() - began)} gone, about {clock(to_go)} to go", flush=True)
        missing = [results[name].title for name in step.needs if not results[name].is_there]
        if missing:
            result = StepResult(step.name, step.title, "skipped", reason=f"it needs: {' and '.join(missing)}")
        else:
            result = reusable.get(step.name) or _do(step, results, fresh)
        if result.state == "done":
            expected, spent = expected + step.seconds, spent + result.seconds
        results[step.name] = result
        outcome = {
            "done": f"done in {clock(result.seconds)}",
            "reused": f"up to date: the run {result.run_id} of the same settings, code and data is reused",
            "failed": f"FAILED: {result.reason}",
            "skipped": f"skipped: {result.reason}",
        }
        print(f"{head}: {outcome[result.state]}", flush=True)
        with suppress(*store.STORE_ERRORS):  # that the progress cannot be kept is no reason to stop
            on_step(results)
    return results


def _do(step: Step, results: StepResults, fresh: bool) -> StepResult:
    start, command = time.monotonic(), ""
    try:
        settings = step.settings(results)
        command = settings.command_line()
        found = None if fresh else _up_to_date(step, settings)
        if found is not None:
            return found
        interrupted = None
        if isinstance(settings, TrainSettings) and not fresh:
            interrupted = trainings.interrupted_training(fingerprint(settings))
        if interrupted is not None:
            run_id = resume.run(ResumeSettings(run=interrupted.info.run_id)).run_id
        else:
            run_id = step.run(settings).run_id
        return StepResult(step.name, step.title, "done", time.monotonic() - start, run_id, command)
    except Exception as error:
        if not isinstance(error, SettingError | WorkStopped | ArithmeticError) and not is_of_a_store(error):
            traceback.print_exc()  # a fault of this program: said in full, and the other steps are done all the same
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        seconds = time.monotonic() - start
        return StepResult(step.name, step.title, "failed", seconds, command=command, reason=reason)


def _reusable(steps: Sequence[Step]) -> StepResults:
    """The steps that are up to date, as far as that can be said before the others are done."""
    found: StepResults = {}
    for step in steps:
        if all(name in found for name in step.needs):
            with suppress(SettingError, *store.STORE_ERRORS):
                if (result := _up_to_date(step, step.settings(found))) is not None:
                    found[step.name] = result
    return found


def _up_to_date(step: Step, settings: Settings) -> StepResult | None:
    """The result of a step that was done before with the same settings, code and data, and left all that is read."""
    found = None if step.always else reading.finished_run(settings.COMMAND, fingerprint(settings), step.files)
    if found is None:
        return None
    seconds = reading.seconds_of(found) or 0.0
    return StepResult(step.name, step.title, "reused", seconds, found.info.run_id, settings.command_line())


def _log_progress(run: runs.TrackedRun, results: StepResults, *, finished: bool = False) -> None:
    """Keep with the run how far it is."""
    steps = list(results.values())
    run.describe(reproduction_page.description(steps, finished=finished))
    run.replace_table(reproduction_page.step_columns(steps), "steps.json")


def _model_name(settings: ReproduceSettings) -> str:
    """Models of other images are other models."""
    own = "" if settings.scale == "full" else "-smoke"
    data = re.sub(r"[^a-z0-9]+", "-", Path(settings.dataset).stem.lower()) if settings.dataset else ""
    return f"mnist-cnn{own}" + (f"-{data}" if data not in ("", "mnist") else "")


def _write(page: str, path: Path) -> str:
    """Write the page where the store is, whole or not at all; where it went."""
    whole = path.with_suffix(f".{os.getpid()}")
    try:
        whole.write_text(page, encoding="utf-8")
        whole.replace(path)
    except OSError as error:
        print(f"{path} cannot be written: {error.strerror}.", file=sys.stderr)
        return f"{PAGE} among the artifacts of the run"
    return str(path)
