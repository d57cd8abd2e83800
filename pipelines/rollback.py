"""Point an alias of a registered model to a version by hand: no comparison is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mnist_cnn.judging.promotion import Version
from mnist_cnn.reporting.rendering import on_terminal, render
from mnist_cnn.settings import RollbackSettings
from mnist_cnn.tracking import models, registry, runs, store
from mnist_cnn.tracking.models import LoggedModel
from mnist_cnn.tracking.store import TrackingError


@dataclass(frozen=True)
class RollbackResult:
    """version, before: numbers that the alias points to now, and pointed to; None where it pointed to nothing."""

    run_id: str
    version: int
    before: int | None
    sentence: str
    model: LoggedModel

    def as_json(self) -> dict[str, Any]:
        return {"version": self.version, "before": self.before, "sentence": on_terminal(self.sentence)}


def run(settings: RollbackSettings) -> RollbackResult:
    """Move the alias. Raises `SettingError` for a version that is not there, or whose files are not."""
    store.open_store()
    version = registry.get_version(settings.name, settings.version)
    if not models.is_there(version.model_id):
        raise TrackingError(
            f"`version`: the files of {version.uri} are not there ({version.source}); give one that can be loaded."
        )
    name = f"{settings.alias}-is-version-{settings.version}"
    with runs.tracked_run("rollback", name=settings.run_name, otherwise=name) as run, store.alone():
        run.log_settings(settings, {"model_id": version.model_id})
        before = registry.holder(settings.name, settings.alias)
        if not settings.dry_run:
            registry.point(version, settings.alias)
            if settings.alias == "champion":
                registry.note_rollback(version, before)
        sentence = describe(version, before, alias=settings.alias, dry_run=settings.dry_run)
        run.set_tags({"decision": "dry run" if settings.dry_run else "moved by hand", "version": str(version.number)})
        run.describe(sentence)
    model = LoggedModel(version.model_id, version.uri)
    return RollbackResult(run.run_id, version.number, before.number if before else None, sentence, model)


def describe(version: Version, before: Version | None, *, alias: str, dry_run: bool) -> str:
    """One line: where an alias pointed, and where it points now. before: the version it pointed to."""
    return render("descriptions/rollback.md", version=version, before=before, alias=alias, dry_run=dry_run)


def main(settings: RollbackSettings) -> None:
    result = run(settings)
    print(f"{on_terminal(result.sentence)}\n{runs.signpost(result.run_id, result.model)}")
