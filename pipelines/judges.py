"""Train the judges, who say what digit an optimised image shows; find a panel of them, or else train it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from mnist_cnn.data import dataset
from mnist_cnn.judging import judges
from mnist_cnn.judging.judges import Panel, Trained
from mnist_cnn.judging.scorecard import RealDigits, Scorer
from mnist_cnn.reporting import ablation_figures, descriptions, tables
from mnist_cnn.reporting.rendering import on_terminal
from mnist_cnn.runtime import hardware
from mnist_cnn.settings import PANELS, JudgesSettings
from mnist_cnn.tracking import runs
from mnist_cnn.tracking.judges import find_panel, log_judge
from mnist_cnn.tracking.models import LoggedModel
from mnist_cnn.training.evaluation import EvaluationResult

SEED = 0
"""Of the panels that score searches: the same judges for every search, whatever the search's own seed."""


@dataclass(frozen=True)
class JudgesResult:
    """Judges in the order of panel and kind, and what each gets right of the test images."""

    run_id: str
    trained: tuple[Trained, ...]
    tests: tuple[EvaluationResult, ...]


def run(settings: JudgesSettings) -> JudgesResult:
    """Train one panel or both, each on its own half of the training images, and log each judge as a model."""
    names = PANELS if settings.panel == "both" else (settings.panel,)
    data = dataset.split(dataset.load_train(settings.dataset))
    dataset.refuse_missing_classes(data)
    with runs.tracked_run("judges", name=settings.run_name, otherwise=f"judges-{settings.panel}") as run:
        _log_beginning(run, settings, data)
        logged = _train(run, names, data, settings.seed)
        trained = [judge for judge, _ in logged]

        # Everything was chosen on validation data; from here on nothing is.
        test = dataset.load_test(settings.dataset)
        run.log_data(test, "testing")
        tests = [judges.evaluate(each.judge, test) for each in trained]
        for (own, model), result in zip(logged, tests, strict=True):
            run.log_metrics({f"test_accuracy/{own.panel}/{own.judge.kind}": result.accuracy}, model=model, data=test)
        figure = ablation_figures.judges_accuracies(trained, tests, f"Test images of {test.name}")
        run.log_figure(figure, "figures/accuracies.png")
        run.describe(descriptions.judges(trained, tests))
    return JudgesResult(run.run_id, tuple(trained), tuple(tests))


def main(settings: JudgesSettings) -> None:
    result = run(settings)
    table = on_terminal(tables.judges(result.trained, result.tests))
    print(f"\n{table}\n{runs.signpost(result.run_id)}")


_real_digits: dict[tuple[str, str], RealDigits] = {}
"""What images are compared with, by the digests of the data: made once for all searches of a process."""


def scorer(name: str, data: dataset.Split) -> Scorer:
    """Scores by a panel and by the real digits of `data`."""
    opinions = panel(name, data).opinions
    digests = data.train.digest, data.validation.digest
    if digests not in _real_digits:
        _real_digits.clear()
        _real_digits[digests] = RealDigits.of(data.train, data.validation)
    return Scorer(opinions, _real_digits[digests])


def panel(name: str, data: dataset.Split) -> Panel:
    """The newest stored panel that learnt from `data.train`; where there is none, it is trained and logged first.

    Within an open run the training becomes its child, and the tag `judges.A` or `judges.B` of the open run names the
    run that holds the panel. The test images are not opened.
    """
    found = find_panel(name, data.train, SEED) or _train_panel(name, data)
    if (run := runs.open_run()) is not None:
        run.set_tags({f"judges.{name}": found.run_id})
    return found


def _train_panel(name: str, data: dataset.Split) -> Panel:
    print(f"No stored panel {name} of judges learnt from these images: training it first, a minute or two.", flush=True)
    start = time.perf_counter()
    settings = JudgesSettings.from_words({"panel": name, "dataset": dataset.word_for(data.train)})
    with runs.tracked_run("judges", name=f"judges-{name}") as run:
        _log_beginning(run, settings, data)
        trained = [judge for judge, _ in _train(run, [name], data, SEED)]
        run.describe(descriptions.judges(trained, []))
    print(f"Panel {name} of judges: trained in {time.perf_counter() - start:.0f} s.", flush=True)
    return Panel(name, {each.judge.kind: each.judge for each in trained}, run.run_id)


def _log_beginning(run: runs.TrackedRun, settings: JudgesSettings, data: dataset.Split) -> None:
    device = hardware.start_tensorflow()
    run.log_settings(settings, {"digest": data.train.digest}, device)
    run.log_data(data.validation, "validation")
    print(f"Run {run.name} ({run.run_id}) on {device}")


def _train(
    run: runs.TrackedRun, names: Sequence[str], data: dataset.Split, seed: int
) -> list[tuple[Trained, LoggedModel]]:
    """Train the judges of these panels; each is logged and shown as soon as it is there."""
    halves = {name: judges.half(data.train, name) for name in names}
    for name, half in halves.items():
        run.log_data(half, f"training {name}")
    logged = []
    for trained in judges.train_panels(names, data, seed):
        name, kind = trained.panel, trained.judge.kind
        model = log_judge(run, trained.judge, name, data.train.digest, seed)
        accuracy = trained.validation.accuracy
        run.log_metrics({f"validation_accuracy/{name}/{kind}": accuracy}, model=model, data=data.validation)
        run.log_metrics({f"training_seconds/{name}/{kind}": trained.seconds}, model=model, data=halves[name])
        print(f"Judge {name} {kind}: validation accuracy {accuracy:.2%}, {trained.seconds:.1f} s", flush=True)
        logged.append((trained, model))
    return logged
