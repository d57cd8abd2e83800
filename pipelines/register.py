"""Register a model as a version, compare it with the champion on the same images, and say what was decided and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mnist_cnn.data import dataset
from mnist_cnn.settings import PANEL_A, RegisterSettings
from mnist_cnn.settings.command_line import SettingError
from pipelines import enter, judges

if TYPE_CHECKING:
    from mnist_cnn.judging.promotion import Decision, Origin, Version
    from mnist_cnn.tracking import runs

VALIDATION_FRACTION = 0.1
"""Taken for a model of which nobody knows how it was trained."""

STEPS = 200
"""Of the searches from noise."""

RADIUS = 2.0
"""Within which test images are attacked, in grey levels (Euclidean)."""


def main(argv: Sequence[str] | None = None) -> None:
    settings, _ = RegisterSettings.from_command_line(argv)
    if settings.alias:
        _move(settings)
        return
    images = dataset.load_train(settings.dataset)
    from mnist_cnn.tracking import registry, runs

    runs.open_store()
    if settings.experiment:
        model = registry.best_of(settings.experiment, settings.metric, settings.dataset)
    else:
        model = runs.resolve_model(settings.model)
    origin = registry.origin(model.model_id)
    if not model.model_id:
        raise runs.TrackingError(f"`model`: {model.uri} is no logged model; give the one that a run has logged.")
    if origin.digest and origin.digest != images.digest:
        raise runs.TrackingError(
            f"`dataset`: the model of the run {origin.run_id} learned from other images (digest {origin.digest}, "
            f"{settings.dataset} has {images.digest}); give its own and another name: -P dataset={origin.dataset} "
            "-P name=..., or another `model`."
        )
    from mnist_cnn.runtime import hardware

    device = hardware.start_tensorflow()
    with runs.tracked_run("register", name=settings.run_name, otherwise=f"register-{settings.name}") as run:
        run.log_settings(settings, {"digest": images.digest, "model_id": model.model_id})
        run.set_tags({**hardware.describe(device), "model_id": model.model_id})
        run.log_used_model(model)
        _register(settings, run, model, origin, images)
    print(runs.signpost(run, model))


def _register(
    settings: RegisterSettings,
    run: runs.TrackedRun,
    model: runs.LoggedModel,
    origin: Origin,
    images: dataset.LabelledImages,
) -> None:
    from mnist_cnn.models import networks
    from mnist_cnn.reporting import descriptions
    from mnist_cnn.tracking import registry, runs

    print(f"Registering {model.uri} as {settings.name} (trained by the run {origin.run_id or 'unknown'}).", flush=True)
    network = runs.load_model(model)
    networks.refuse_misfit(network, dataset.IMAGE_SHAPE, dataset.NUM_CLASSES)
    with registry.alone():
        is_new = False
        while True:
            champion = registry.holder(settings.name, "champion")
            decision = _decide(settings, network, model, origin, champion, images)
            print(decision.sentence, flush=True)
            made = None
            if not settings.dry_run:
                version, made_now = registry.register(settings.name, model, origin.run_id)
                is_new |= made_now
                made = (version, is_new)
                _describe(version, origin, images, decision, {})
                registry.point(version, "challenger")
            now = registry.holder(settings.name, "champion")
            if (now and now.number) == (champion and champion.number):
                break
            print("Another champion was made meanwhile: once more, against that one.", flush=True)
        if made is not None and decision.promoted and not decision.is_champion:
            registry.point(made[0], "champion")
    print(descriptions.of_decision(settings, decision, made), flush=True)
    run.log_metrics(decision.metrics())
    run.set_tags({"decision": decision.word})

    # Decided: from here on nothing is, and the test images may be opened.
    measured = _measure(settings, run, network, model, origin, images)
    if made is not None:
        _describe(made[0], origin, images, decision, measured)
        run.set_tags({"version": str(made[0].number)})
    run.describe(descriptions.of_registration(settings, decision, made, measured))


def _describe(
    version: Version,
    origin: Origin,
    images: dataset.LabelledImages,
    decision: Decision,
    measured: dict[str, float],
) -> None:
    """What stands on a version; how a champion became it stays there when it is registered once more."""
    from mnist_cnn.reporting import descriptions
    from mnist_cnn.tracking import registry

    tags = descriptions.version_tags(origin, images.digest, decision, measured)
    if decision.is_champion:
        registry.describe(version, {name: word for name, word in tags.items() if name != "decision"}, "")
    else:
        registry.describe(version, tags, descriptions.of_version(origin, decision, measured))


def _decide(
    settings: RegisterSettings,
    network: object,
    model: runs.LoggedModel,
    origin: Origin,
    champion: Version | None,
    images: dataset.LabelledImages,
) -> Decision:
    """On the validation images that neither the model nor the champion learned from."""
    from mnist_cnn.judging import promotion
    from mnist_cnn.models import networks
    from mnist_cnn.tracking import registry, runs
    from mnist_cnn.training import evaluation

    fractions = [origin.validation_fraction]
    if champion is not None:
        its_origin = registry.origin(champion.model_id)
        kept = champion.tags.get(registry.DIGEST_TAG) or its_origin.digest or images.digest
        if kept != images.digest:
            raise runs.TrackingError(
                f"`dataset`: the champion of {settings.name}, version {champion.number}, was judged on other images "
                f"(digest {kept}, {settings.dataset} has {images.digest}); give those, or another `name`."
            )
        fractions.append(its_origin.validation_fraction)
    fraction = min(VALIDATION_FRACTION if each is None else each for each in fractions)
    held_out = dataset.split(images, fraction).validation
    ours = evaluation.evaluate(network, held_out).hits
    number = champion.number if champion else None
    own = registry.of_model(settings.name, model.model_id)
    if own is not None and own.number != number and registry.ROLLED_BACK_TAG in own.tags:
        way = f"mlflow run . -e register -P name={settings.name} -P alias=champion -P version={own.number}"
        return promotion.decide(
            ours, number, None, settings.margin, f"It was rolled back by hand ({way} brings it back)"
        )
    if champion is None or champion.model_id == model.model_id:
        return promotion.decide(ours, number, None, settings.margin)
    try:
        theirs = runs.load_model(runs.LoggedModel(champion.model_id, champion.uri))
        networks.refuse_misfit(theirs, dataset.IMAGE_SHAPE, dataset.NUM_CLASSES)
    except (SettingError, ImportError) as error:
        reason = f"The champion, version {number}, cannot be used ({error}), so nothing can be compared with it"
        way = "; -P alias=champion -P version=N makes another the champion by hand"
        return promotion.decide(ours, number, None, settings.margin, reason + way)
    return promotion.decide(ours, number, evaluation.evaluate(theirs, held_out).hits, settings.margin)


def _measure(
    settings: RegisterSettings,
    run: runs.TrackedRun,
    network: object,
    model: runs.LoggedModel,
    origin: Origin,
    images: dataset.LabelledImages,
) -> dict[str, float]:
    """What stands on the version besides: accuracy on test images, under attack, and whether its images are read."""
    from mnist_cnn.judging import ablation
    from mnist_cnn.training import attacks, evaluation

    test = dataset.load_test(settings.dataset)
    run.log_data(test, "testing")
    measured = evaluation.evaluate(network, test).metrics("test")
    known = {}
    if origin.epsilon == RADIUS:
        known = {name: value for name, value in origin.metrics.items() if name.startswith("test_robust_accuracy")}
    if not known and settings.attacked:
        print(f"Attacking {min(settings.attacked, len(test)):,} test images.", flush=True)
        known = attacks.robust_accuracy(network, test, RADIUS, settings.attacked).metrics("test")
    measured |= known
    if settings.num_images:
        data = dataset.split(images)
        print(f"Searching for {10 * settings.num_images} digits from noise.", flush=True)
        found = ablation.searched(
            network, "noise", ablation.READABLE, data.validation, judges.scorer(PANEL_A, data),
            num_images=settings.num_images, steps=STEPS, seed=0,
        )  # fmt: skip
        measured |= found.card.metrics()
    kept = ("test_accuracy", "test_robust_accuracy", "recognised_rate", "diversity")
    measured = {name: value for name, value in measured.items() if name.startswith(kept)}
    run.log_metrics(measured, model=model)
    return measured


def _move(settings: RegisterSettings) -> None:
    from mnist_cnn.reporting import descriptions
    from mnist_cnn.tracking import registry, runs

    runs.open_store()
    version = registry.version(settings.name, settings.version)
    if not runs.is_model_there(version.model_id):
        raise runs.TrackingError(
            f"`version`: the files of {version.uri} are not there ({version.source}); give one that can be loaded."
        )
    with (
        runs.tracked_run(
            "register", name=settings.run_name, otherwise=f"{settings.alias}-is-version-{settings.version}"
        ) as run,
        registry.alone(),
    ):
        run.log_settings(settings, {"model_id": version.model_id})
        before = registry.holder(settings.name, settings.alias)
        if not settings.dry_run:
            registry.point(version, settings.alias)
            if settings.alias == "champion":
                registry.note_rollback(version, before)
        told = descriptions.of_move(settings, version, before)
        run.set_tags({"decision": "dry run" if settings.dry_run else "moved by hand", "version": str(version.number)})
        run.describe(told)
    print(f"{told}\n{runs.signpost(run, runs.LoggedModel(version.model_id, version.uri))}")


if __name__ == "__main__":
    enter(main, "register")
