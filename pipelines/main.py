"""The whole story in one command: every step a run below this one, and in the end a page that tells it."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_cnn.data import dataset
from mnist_cnn.runtime import fingerprint, processes
from mnist_cnn.settings import MainSettings, SweepSettings
from pipelines import enter

if TYPE_CHECKING:
    from mnist_cnn.reporting.steps import Outcomes, Step
    from mnist_cnn.tracking.runs import TrackedRun

PAGE = "report.html"

ORDINARY = {"network": "smooth", "epochs": "3", "learning_rate": "0.002", "label_smoothing": "0"}
READABLE = {"preset": "readable"}
FULL: Mapping[str, Mapping[str, str]] = {
    "ordinary": ORDINARY,
    "readable": READABLE,
    "judges": {},
    "experiments": {},
    "sweep": {"n_trials": "12", "start": "noise"},
    "answer": {"num_images": "12", "tuning_images": "6"},
    "register": {},
}
SMOKE: Mapping[str, Mapping[str, str]] = {
    "ordinary": {**ORDINARY, "epochs": "1"},
    "readable": {**READABLE, "epochs": "1", "attack_steps": "1"},
    "judges": {},
    "experiments": {"num_images": "1", "steps": "50", "snapshot_every": "10"},
    "sweep": {"n_trials": "3", "start": "noise", "steps": "20", "snapshot_every": "10", "num_images": "1"},
    "answer": {"num_images": "2", "tuning_images": "2", "steps": "10"},
    "register": {"attacked": "20", "num_images": "1"},
}
SECONDS: Mapping[str, Mapping[str, float]] = {
    "full": {"ordinary": 35, "readable": 330, "judges": 140, "experiments": 60, "sweep_ordinary": 55,
             "sweep_readable": 50, "compare": 20, "answer": 190, "register": 20},
    "smoke": {"readable": 20, "judges": 20, "experiments": 20, "answer": 30},
}  # fmt: skip
"""What steps take on two cores; those that are not named take about ten seconds."""


LEAVES = {
    "answer": ("answer.json", "images.npz"),
    "compare": ("figures/best_side_by_side.png",),
    "experiments": ("figures/experiment_6.png",),
}
"""What the page reads of a step's run."""


def main(argv: Sequence[str] | None = None) -> None:
    settings, _ = MainSettings.from_command_line(argv)
    dataset.load_train(_data(settings))  # refused now rather than in each step
    first = processes.standby()
    from mnist_cnn.runtime import hardware
    from mnist_cnn.tracking import runs

    runs.open_store()
    with runs.tracked_run("main", name=settings.run_name, otherwise=f"story-{settings.scale}") as run:
        run.log_settings(settings, {})
        _tell(run, {})
        print(f"Run {run.name} ({run.run_id})")
        from mnist_cnn.reporting import steps

        outcomes = steps.do(plan(settings), run, fresh=settings.fresh, first=first, tell=lambda some: _tell(run, some))
        device = hardware.start_tensorflow()
        from mnist_cnn.reporting import reproduction_page

        run.set_tags(hardware.describe(device))
        page = reproduction_page.page(settings, run.run_id, outcomes)
        run.log_text(page, PAGE)
        path = _write(page, runs.store_folder() / PAGE)
        print(f"\n{steps.summary(outcomes)}\n{runs.signpost(run)}\nPage     {path}", flush=True)
        failed = [outcome.title for outcome in outcomes.values() if not outcome.is_there]
        if failed:
            raise steps.StepsFailed(f"not all was done: {', '.join(failed)}; the page says why, and tells the rest")


def _write(page: str, path: Path) -> str:
    """Write the page where the store is, whole or not at all; where it went, in words."""
    whole = path.with_suffix(f".{os.getpid()}")
    try:
        whole.write_text(page, encoding="utf-8")
        whole.replace(path)
    except OSError as error:
        return f"{PAGE} among the artifacts of the run ({path} cannot be written: {error.strerror})"
    return str(path)


def plan(settings: MainSettings) -> list[Step]:
    """The steps of a scale, in their order."""
    from mnist_cnn.reporting.steps import Step
    from mnist_cnn.tracking import runs

    words = FULL if settings.scale == "full" else SMOKE
    seconds = SECONDS[settings.scale]
    common = {"dataset": _data(settings), "seed": str(settings.seed)}

    def of(name: str) -> dict[str, str]:
        return {**words[name], **common}

    def model(outcomes: Outcomes, name: str) -> str:
        return f"models:/{runs.model_of_run(outcomes[name].run_id)}"

    def sweep(name: str, outcomes: Outcomes) -> dict[str, str]:
        """A sweep goes on with trials that other code has made; here that is another sweep."""
        own = {**of("sweep"), "model": model(outcomes, name)}
        recipe = fingerprint.recipe_of_command(SweepSettings, [f"--{key}={word}" for key, word in own.items()])
        return {**own, "sweep": f"{name}-{recipe[:8]}"}

    networks = ("ordinary", "readable")
    without_seed = {name: word for name, word in common.items() if name != "seed"}
    made = [
        Step("ordinary", "An ordinary network", "train", lambda _: of("ordinary")),
        Step("readable", "A readable network", "train", lambda _: of("readable")),
        Step("judges", "Two panels of judges", "judges", lambda _: of("judges")),
        Step("experiments", "The six experiments", "experiments",
             lambda done: {**of("experiments"), "model": model(done, "ordinary")}, ("ordinary", "judges")),
        *(
            Step(f"sweep_{name}", f"A sweep on the {name} network", "sweep", partial(sweep, name), (name, "judges"))
            for name in networks
        ),
        Step("compare", "The sweeps side by side", "compare",
             lambda done: {"sweeps": ",".join(done[f"sweep_{name}"].run_id for name in networks), **without_seed},
             ("sweep_ordinary", "sweep_readable")),
        Step("answer", "Are the images readable?", "answer",
             lambda done: {**of("answer"), "networks": ",".join(networks),
                           **{name: model(done, name) for name in networks}}, (*networks, "judges")),
        Step("register", "A version of the readable network", "register",
             lambda done: {**words["register"], **without_seed, "name": _model_name(settings),
                           "model": model(done, "readable")},
             ("readable", "judges"), always=True),
    ]  # fmt: skip
    return [
        dataclasses.replace(step, seconds=seconds.get(step.name, 10), leaves=LEAVES.get(step.program, ()))
        for step in made
    ]


def _model_name(settings: MainSettings) -> str:
    """Models of other images are other models."""
    own = "" if settings.scale == "full" else "-smoke"
    data = re.sub(r"[^a-z0-9]+", "-", Path(settings.dataset).stem.lower()) if settings.dataset else ""
    return f"mnist-cnn{own}" + (f"-{data}" if data not in ("", "mnist") else "")


def _data(settings: MainSettings) -> str:
    return settings.dataset or ("mnist" if settings.scale == "full" else "mnist:1200")


NOTE = """\
The whole story: **`report.html`** tells it on one page, as soon as all steps are done.

{summary}

**What to look at**

- `report.html`: the answer, the experiments with players, sweeps, ablation, the registered version, how it was made.
- The runs below this one: a step each. `steps.json`: their states, times and commands.
"""


def _tell(run: TrackedRun, outcomes: Outcomes) -> None:
    """Keep with the run how far it is."""
    from mnist_cnn.reporting import steps

    run.describe(NOTE.format(summary=steps.summary(outcomes)))
    run.replace_table(
        {
            "step": [each.title for each in outcomes.values()],
            "state": [each.state for each in outcomes.values()],
            "seconds": [round(each.seconds, 1) for each in outcomes.values()],
            "run_id": [each.run_id for each in outcomes.values()],
            "reason": [each.reason for each in outcomes.values()],
            "command": [each.command for each in outcomes.values()],
        },
        "steps.json",
    )


if __name__ == "__main__":
    enter(main, "main")
