"""Train a network and leave a run that a person enjoys reading: curves, data, model, test result, pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mnist_cnn.data import dataset
from mnist_cnn.settings import TrainSettings
from mnist_cnn.settings.command_line import SettingError
from pipelines import enter


def main(argv: Sequence[str] | None = None) -> None:
    settings, given = TrainSettings.from_command_line(argv)
    digest = ""
    if settings.resume:
        settings, digest = _settings_of(settings.resume, given)
    images = dataset.load_train(settings.dataset)
    if digest and images.digest != digest:
        raise SettingError(f"`dataset`: {images.source} has changed since the run {settings.resume} began.")
    data = dataset.split(images, settings.validation_fraction)
    _train(settings, data, images.digest)


def _settings_of(run_id: str, given: dict[str, object]) -> tuple[TrainSettings, str]:
    """The settings and the data's digest of an interrupted run; what was given besides must agree with them."""
    from mnist_cnn.tracking import runs

    stored = runs.resumable(run_id, TrainSettings.PROGRAM)
    settings = TrainSettings(**{**stored["settings"], "resume": run_id})
    for name, value in given.items():
        if name != "run_name" and value != getattr(settings, name):
            raise SettingError(f"`{name}` is {getattr(settings, name)} in the run {run_id}; got {value}. Leave it out.")
    return settings, stored["digest"]


def _train(settings: TrainSettings, data: dataset.Split, digest: str) -> None:
    from mnist_cnn.runtime import hardware

    device = hardware.start_tensorflow()
    from mnist_cnn.models import networks
    from mnist_cnn.reporting import descriptions, figures
    from mnist_cnn.reporting.progress import TrainingProgress
    from mnist_cnn.tracking import runs
    from mnist_cnn.training import attacks, evaluation, loop

    otherwise = f"train-{settings.network}-{settings.preset}"
    with runs.tracked_run("train", name=settings.run_name, otherwise=otherwise, resume=settings.resume) as run:
        state = runs.newest_checkpoint(settings.resume) if settings.resume else None
        if not settings.resume:
            run.log_settings(settings, {"digest": digest})
            run.log_data(data.train, "training")
            run.log_data(data.validation, "validation")
        run.set_tags(hardware.describe(device))
        network = networks.build(
            settings.network, settings.seed, precision=settings.precision, dropout=settings.dropout
        )
        run.log_text(networks.summary(network), "model_summary.txt")
        num_steps = loop.steps_per_epoch(len(data.train), settings.batch_size)
        print(f"Run {run.name} ({run.run_id}) on {device}")
        if state is not None:
            print(f"Going on after epoch {state.epoch} of {settings.epochs}.")

        progress = TrainingProgress(settings.epochs, num_steps)
        curve = loop.StepCurve(num_steps)

        def on_steps(steps: loop.StepResults) -> None:
            progress.steps(steps)
            curve.add(steps)
            run.log_metrics(
                {
                    "step/loss": steps.losses.mean(),
                    "step/accuracy": steps.accuracies.mean(),
                    "step/learning_rate": steps.learning_rates[-1],
                },
                step=steps.first + len(steps.losses),
            )

        def on_epoch(result: loop.EpochResult, state: Callable[[], loop.TrainingState]) -> None:
            progress.epoch(result)
            run.log_metrics(result.metrics(), step=result.epoch)
            run.flush()
            run.save_checkpoint(state())

        result = loop.train(network, data, settings, state=state, on_steps=on_steps, on_epoch=on_epoch)

        tags = {"kind": "train", "network": settings.network, "regime": settings.regime}
        model = run.log_model(network, data.validation.images[:2], tags)
        last = result.history[-1].metrics()
        for part, images in (("train", data.train), ("validation", data.validation)):
            values = {name: last[name] for name in (f"{part}_loss", f"{part}_accuracy")}
            run.log_metrics(values, settings.epochs, model=model, data=images)
        run.log_metrics({"training_seconds": result.seconds}, settings.epochs, model=model, data=data.train)

        # Everything was chosen on validation data; from here on nothing is.
        test = dataset.load_test(settings.dataset)
        scores = evaluation.evaluate(network, test)
        run.log_data(test, "testing")
        run.log_metrics(scores.metrics("test"), settings.epochs, model=model, data=test)
        robust = None
        if settings.robustness != "none":
            print(f"Attacking {attacks.ATTACKED} validation and as many test images within {settings.epsilon:g}.")
            within = attacks.robust_accuracy(network, data.validation, settings.epsilon)
            run.log_metrics(within.metrics("validation"), settings.epochs, model=model, data=data.validation)
            robust = attacks.robust_accuracy(network, test, settings.epsilon)
            run.log_metrics(robust.metrics("test"), settings.epochs, model=model, data=test)
        run.log_figure(figures.learning_curves(result.history, curve.points()), "figures/learning_curves.png")
        for name, figure in figures.evaluation(scores, test.images, "Test images").items():
            run.log_figure(figure, f"figures/{name}.png")
        run.describe(descriptions.of_training(settings, result, scores, model.uri, robust))
        run.delete_checkpoints()

    print(f"\n{descriptions.accuracy(scores, 'test')}{descriptions.robustness(robust)}{runs.signpost(run, model)}")


if __name__ == "__main__":
    enter(main, "train")
