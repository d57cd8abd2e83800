"""Register a model as a version, compare it with the champion on the same images, and say what was decided and why."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mnist_cnn.data import dataset
from mnist_cnn.data.dataset import LabelledImages
from mnist_cnn.judging import ablation, promotion
from mnist_cnn.judging.promotion import Decision, Origin, Version
from mnist_cnn.reporting import descriptions
from mnist_cnn.runtime import hardware
from mnist_cnn.settings import PANEL_A, RegisterSettings, RollbackSettings
from mnist_cnn.settings.errors import SettingError
from mnist_cnn.tracking import models, networks, registry, runs, store
from mnist_cnn.tracking.models import LoggedModel
from mnist_cnn.tracking.store import TrackingError
from mnist_cnn.training import attacks, evaluation
from mnist_cnn.training.evaluation import EvaluationResult
from pipelines import judges

if TYPE_CHECKING:
    import keras  # not before this project's rooms have looked at its backend

VALIDATION_FRACTION = 0.1
"""Taken for a model of which nobody knows how it was trained."""

STEPS = 200
"""Of the searches from noise."""

RADIUS = 2.0
"""Within which test images are attacked, in grey levels (Euclidean)."""

KEPT = ("test_accuracy", "test_robust_accuracy", "recognised_rate", "diversity")
"""Measured numbers that a version holds, each with the ends of its interval."""


@dataclass(frozen=True)
class RegisterResult:
    """What was decided about a model. version: None in a dry run. is_new: whether it was made now.

    measured: what the version holds besides, by name.
    """

    run_id: str
    model: LoggedModel
    decision: Decision
    version: Version | None
    is_new: bool = False
    measured: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        number, aliases = (self.version.number, self.version.aliases) if self.version else (None, ())
        return {"decision": self.decision.word, "sentence": self.decision.sentence, "version": number,
                "aliases": aliases, "is_new": self.is_new, "measured": self.measured}  # fmt: skip


@dataclass(frozen=True)
class _Candidate:
    """A model that may become a version: where it is, how it was made, the network itself, all its training images."""

    model: LoggedModel
    origin: Origin
    network: keras.Model
    images: LabelledImages


def run(settings: RegisterSettings) -> RegisterResult:
    """Decide, register and measure. Raises `SettingError` for a model or data that cannot be used."""
    images = dataset.load_train(settings.dataset)
    if settings.num_images:
        dataset.refuse_missing_classes(dataset.split(images))
    store.open_store()
    if settings.experiment:
        found = registry.best_of(settings.experiment, settings.metric, settings.dataset)
        model = dataclasses.replace(found, trusted=settings.trust)
    else:
        model = models.resolve(settings.model, settings.dataset, trust=settings.trust)
    origin = registry.origin(model.model_id)
    if not model.model_id:
        raise TrackingError(f"`model`: {model.uri} is no logged model; give the one that a run has logged.")
    if origin.digest and origin.digest != images.digest:
        raise TrackingError(
            f"`dataset`: the model of the run {origin.run_id} learned from other images (digest {origin.digest}, "
            f"{settings.dataset} has {images.digest}); give its own and another name: -P dataset={origin.dataset} "
            "-P name=..., or another `model`."
        )
    if settings.min_seeds > 1 and settings.min_seeds > (known := registry.num_seeds(origin.run_id)):
        way = registry.command_of_seeds(origin.run_id, settings.min_seeds)
        raise TrackingError(f"`min_seeds` must be at most {known}, the seeds of this model's training; or: {way}")
    device = hardware.start_tensorflow()
    with runs.tracked_run("register", name=settings.run_name, otherwise=f"register-{settings.name}") as run:
        run.log_settings(settings, {"digest": images.digest, "model_id": model.model_id}, device)
        run.log_used_model(model)
        trained_by = origin.run_id or "unknown"
        print(f"Registering {model.uri} as {settings.name} (trained by the run {trained_by}).", flush=True)
        candidate = _Candidate(model, origin, networks.load(model, images.num_classes), images)
        with store.alone():
            decision, version, is_new = _register(settings, candidate)
        made = None if version is None else (version, is_new)
        print(descriptions.registration_lines(settings, decision, made), flush=True)
        run.log_metrics(decision.metrics())
        run.set_tags({"decision": decision.word})

        # Decided: from here on nothing is, and the test images may be opened.
        measured, test = _measure(settings, run, candidate)
        if version is not None:
            _describe(version, candidate, decision, measured)
            card = descriptions.model_card(
                version, candidate.origin, decision, images, test, measured, settings.command_line()
            )
            run.log_text(card, "model_card.md")
            registry.describe(version, {"model_card": f"runs:/{run.run_id}/model_card.md"}, "")
            run.set_tags({"version": str(version.number)})
        run.describe(descriptions.registration(settings, decision, made, measured))
    return RegisterResult(run.run_id, model, decision, version, is_new, measured)


def main(settings: RegisterSettings) -> None:
    result = run(settings)
    print(runs.signpost(result.run_id, result.model))


def _register(settings: RegisterSettings, candidate: _Candidate) -> tuple[Decision, Version | None, bool]:
    """The decision, the version, and whether it is new. Decided again where another champion was made meanwhile."""
    version, is_new = None, False
    while True:
        champion = registry.holder(settings.name, "champion")
        decision = _decide(settings, candidate, champion)
        print(decision.sentence, flush=True)
        if not settings.dry_run:
            version, made_now = registry.register(settings.name, candidate.model, candidate.origin.run_id)
            is_new |= made_now
            _describe(version, candidate, decision, {})
            registry.point(version, "challenger")
        now = registry.holder(settings.name, "champion")
        if (now and now.number) == (champion and champion.number):
            break
        print("Another champion was made meanwhile: comparing once more, with that one.", flush=True)
    if version is not None and decision.promoted and not decision.is_champion:
        registry.point(version, "champion")
    return decision, version, is_new


def _describe(version: Version, candidate: _Candidate, decision: Decision, measured: dict[str, float]) -> None:
    """Tags and description of a version; how a champion became it stays there when it is registered once more."""
    origin = candidate.origin
    tags = descriptions.version_tags(origin, candidate.images.digest, decision, measured)
    if decision.is_champion:
        registry.describe(version, {name: text for name, text in tags.items() if name != "decision"}, "")
    else:
        registry.describe(version, tags, descriptions.version_text(origin, decision, measured))


def _decide(settings: RegisterSettings, candidate: _Candidate, champion: Version | None) -> Decision:
    """On the validation images that neither the model nor the champion learned from."""
    fractions = [candidate.origin.validation_fraction]
    if champion is not None:
        fractions.append(_origin_of_champion(settings, champion, candidate.images).validation_fraction)
    fraction = min(VALIDATION_FRACTION if known is None else known for known in fractions)
    held_out = dataset.split(candidate.images, fraction).validation
    hits = evaluation.evaluate(candidate.network, held_out).hits
    number = champion.number if champion else None
    own = registry.of_model(settings.name, candidate.model.model_id)
    if own is not None and own.number != number and registry.ROLLED_BACK_TAG in own.tags:
        way = RollbackSettings(version=own.number, name=settings.name).command_line()
        return promotion.decide(hits, number, None, settings.margin, f"It was rolled back by hand ({way} undoes that)")
    if champion is None or champion.model_id == candidate.model.model_id:
        return promotion.decide(hits, number, None, settings.margin)
    try:
        their_model = LoggedModel(champion.model_id, champion.uri, settings.trust)
        theirs = networks.load(their_model, held_out.num_classes)
    except SettingError as error:
        reason = f"The champion, version {number}, cannot be used ({error}), so nothing can be compared with it"
        way = "; `mlflow run . -e rollback -P version=N` makes another the champion by hand"
        return promotion.decide(hits, number, None, settings.margin, reason + way)
    return promotion.decide(hits, number, evaluation.evaluate(theirs, held_out).hits, settings.margin)


def _origin_of_champion(settings: RegisterSettings, champion: Version, images: LabelledImages) -> Origin:
    """Raises `TrackingError` where the champion was judged on other images."""
    origin = registry.origin(champion.model_id)
    kept = champion.tags.get(registry.DIGEST_TAG) or origin.digest or images.digest
    if kept != images.digest:
        raise TrackingError(
            f"`dataset`: the champion of {settings.name}, version {champion.number}, was judged on other images "
            f"(digest {kept}, {settings.dataset} has {images.digest}); give those, or another `name`."
        )
    return origin


def _measure(
    settings: RegisterSettings, run: runs.TrackedRun, candidate: _Candidate
) -> tuple[dict[str, float], EvaluationResult]:
    """What a version holds besides: accuracy on test images, under attack, and whether its images are read."""
    network, origin = candidate.network, candidate.origin
    test = dataset.load_test(settings.dataset)
    run.log_data(test, "testing")
    tested = evaluation.evaluate(network, test)
    measured = tested.metrics("test")
    known = {}
    if origin.epsilon == RADIUS:
        known = {name: value for name, value in origin.metrics.items() if name.startswith("test_robust_accuracy")}
    if not known and settings.attacked:
        print(f"Attacking {min(settings.attacked, len(test)):,} test images.", flush=True)
        known = attacks.robust_accuracy(network, test, RADIUS, settings.attacked).metrics("test")
    measured |= known
    if settings.num_images:
        data = dataset.split(candidate.images)
        scorer = judges.scorer(PANEL_A, data)
        print(f"Searching for {data.train.num_classes * settings.num_images} digits from noise.", flush=True)
        found = ablation.searched(
            network, "noise", ablation.READABLE, data.validation, scorer,
            num_images=settings.num_images, steps=STEPS, seed=0,
        )  # fmt: skip
        measured |= found.card.metrics()
    measured = {name: value for name, value in measured.items() if name.startswith(KEPT)}
    run.log_metrics(measured, model=candidate.model)
    return measured, tested
