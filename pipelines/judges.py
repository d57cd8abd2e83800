"""Train the judges, who say what digit an optimised image shows; find a panel of them, or else train it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mnist_cnn.data import dataset
from mnist_cnn.settings import PANELS, JudgesSettings
from pipelines import enter

if TYPE_CHECKING:
    from mnist_cnn.judging.judges import Panel, Trained
    from mnist_cnn.judging.scorecard import Scorer
    from mnist_cnn.tracking import runs


def main(argv: Sequence[str] | None = None) -> None:
    settings, _ = JudgesSettings.from_command_line(argv)
    names = PANELS if settings.panel == "both" else (settings.panel,)
    data = dataset.split(dataset.load_train(settings.dataset))
    from mnist_cnn.runtime import hardware

    device = hardware.start_tensorflow()
    from mnist_cnn.judging import judges
    from mnist_cnn.reporting import descriptions, figures
    from mnist_cnn.tracking import runs

    with runs.tracked_run("judges", name=settings.run_name, otherwise=f"judges-{settings.panel}") as run:
        _log_circumstances(run, settings, data, device)
        print(f"Run {run.name} ({run.run_id}) on {device}")
        trained, models = [], []
        for name in names:
            for each, model in _train(run, name, data, settings.seed):
                trained.append(each)
                models.append(model)

        # Everything was chosen on validation data; from here on nothing is.
        test = dataset.load_test(settings.dataset)
        run.log_data(test, "testing")
        tests = [judges.evaluate(each.judge, test) for each in trained]
        for each, model, result in zip(trained, models, tests, strict=True):
            metrics = {f"test_accuracy/{each.panel}/{each.judge.kind}": result.accuracy}
            run.log_metrics(metrics, model=model, data=test)
        figure = figures.judges_accuracies(trained, tests, f"Test images of {test.name}")
        run.log_figure(figure, "figures/accuracies.png")
        run.describe(descriptions.of_judges(trained, tests))

    print(f"\n{descriptions.judges_table(trained, tests)}\n{runs.signpost(run)}")


def panel(name: str, data: dataset.Split, seed: int = 0) -> Panel:
    """The newest stored panel that learnt from `data.train`; where there is none, it is trained and logged first.

    Within an open run the training becomes its child, and the run is told whose opinions it holds by its tag
    `judges.A` or `judges.B`: the id of the run that holds the panel. The test images are not opened.
    """
    from mnist_cnn.tracking import runs

    found = _panel(name, data, seed)
    runs.tag_open_run({f"judges.{name}": found.run_id})
    return found


def _panel(name: str, data: dataset.Split, seed: int) -> Panel:
    from mnist_cnn.runtime import hardware

    device = hardware.start_tensorflow()
    from mnist_cnn.judging import judges
    from mnist_cnn.reporting import descriptions
    from mnist_cnn.tracking import runs

    found = runs.find_panel(name, data.train.digest)
    if found is not None:
        return found
    print(f"No stored panel {name} of judges learnt from these images: training it first, a minute or two.", flush=True)
    start = time.perf_counter()
    settings = JudgesSettings(panel=name, seed=seed, dataset=_word_for(data))
    with runs.tracked_run("judges", name=f"judges-{name}", child=runs.has_open_run()) as run:
        _log_circumstances(run, settings, data, device)
        trained = [each for each, _ in _train(run, name, data, seed)]
        run.describe(descriptions.of_judges(trained, []))
    print(f"Panel {name} of judges: trained in {time.perf_counter() - start:.0f} s.", flush=True)
    return judges.Panel(name, {each.judge.kind: each.judge for each in trained}, run.run_id)


def scorer(name: str, data: dataset.Split) -> Scorer:
    """Scores by a panel and by the real digits of `data`."""
    from mnist_cnn.judging import scorecard

    judging = panel(name, data)
    return scorecard.Scorer(judging.opinions, scorecard.RealDigits.of(data.train, data.validation))


def _log_circumstances(run: runs.TrackedRun, settings: JudgesSettings, data: dataset.Split, device: str) -> None:
    from mnist_cnn.runtime import hardware

    run.log_settings(settings, {"digest": data.train.digest})
    run.set_tags(hardware.describe(device))
    run.log_data(data.validation, "validation")


def _train(run: runs.TrackedRun, name: str, data: dataset.Split, seed: int) -> list[tuple[Trained, runs.LoggedModel]]:
    """Train a panel's judges one by one; each is logged and told of as soon as it is there."""
    from mnist_cnn.judging import judges

    half = judges.half(data.train, name)
    run.log_data(half, f"training {name}")
    logged = []
    for kind in judges.KINDS:
        each = judges.train(kind, name, data, seed)
        model = run.log_judge(each.judge, name, data.train.digest)
        run.log_metrics(
            {f"validation_accuracy/{name}/{kind}": each.validation.accuracy}, model=model, data=data.validation
        )
        run.log_metrics({f"training_seconds/{name}/{kind}": each.seconds}, model=model, data=half)
        print(
            f"Judge {name} {kind}: validation accuracy {each.validation.accuracy:.2%}, {each.seconds:.1f} s", flush=True
        )
        logged.append((each, model))
    return logged


def _word_for(data: dataset.Split) -> str:
    """What `dataset` would have to be for these images."""
    return "mnist" if data.train.source == str(dataset.MNIST_PATH.resolve()) else data.train.source


if __name__ == "__main__":
    enter(main, "judges")
