"""The whole store as plain values and copied files, for a site that needs no server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Run
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from mnist_cnn.settings import ENTRY_POINTS
from mnist_cnn.settings.errors import SettingError, hide_passwords
from mnist_cnn.tracking import models, reading, store, sweep_runs
from mnist_cnn.tracking.heartbeat import NOTE_TAG
from mnist_cnn.tracking.machine import PREFIX
from mnist_cnn.tracking.runs import KIND_TAG, PARENT_TAG

Points = list[list[float]]

MADE_BY = ("version.", "hardware.", "git.", "mlflow.source.git.commit")
"""Beginnings of the names of tags that two runs are compared by."""

TAGS = ("version", "hardware.", "git.", "mlflow.source.git.", "reason", "sweep", "goals", "trial", "decision", "again")
"""Beginnings of the names of tags that are shown."""

ALL_FILES = "all files"


@dataclass(frozen=True)
class ExportedRun:
    """A run as JSON has it. curves: metric -> [[step, value], ...]. files: path -> bytes. parent: id, or empty."""

    run_id: str
    name: str
    kind: str
    status: str
    experiment: str
    started: int
    seconds: float | None
    parent: str
    note: str
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    models: list[str]
    artifact_uri: str
    curves: dict[str, Points] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)

    @property
    def made_by(self) -> dict[str, str]:
        """Code, versions and machine."""
        return {name: text for name, text in self.tags.items() if name.startswith(MADE_BY)}


def exported_runs(experiments: str) -> list[ExportedRun]:
    """All runs of these experiments (of all, where none is named), newest first. Raises `SettingError`."""
    known = {each.name: each.experiment_id for each in mlflow.search_experiments()}
    asked = sweep_runs.split_names(experiments, known) or list(known)
    for name in asked:
        if name not in known:
            raise SettingError(
                f"`experiments` must be names of experiments; got {name!r}. There are: {', '.join(known)}."
            )
    names = {known[name]: name for name in asked}
    return [_exported(run, names[run.info.experiment_id]) for run in reading.search("", list(names))] if names else []


def _exported(run: Run, experiment: str) -> ExportedRun:
    info, tags = run.info, run.data.tags
    return ExportedRun(
        run_id=info.run_id,
        name=info.run_name or info.run_id,
        kind=tags.get(KIND_TAG, ""),
        status=info.status,
        experiment=experiment,
        started=info.start_time,
        seconds=reading.seconds_of(run),
        parent=tags.get(PARENT_TAG, ""),
        note=hide_passwords(tags.get(NOTE_TAG, "")),
        params=reading.params_of(run),
        metrics=dict(run.data.metrics),
        tags={name: hide_passwords(text) for name, text in tags.items() if name.startswith(TAGS)},
        models=models.uris_of(run),
        artifact_uri=info.artifact_uri,
    )  # fmt: skip


def add_curves(run: ExportedRun) -> None:
    """The points of each metric that has several, but those of the machine and the ends of intervals."""
    names = [name for name in run.metrics if not name.startswith(PREFIX) and not name.endswith(("_low", "_high"))]
    for name, points in reading.history(run.run_id, names).items():
        if len(points) > 1:
            run.curves[name] = [[step, value] for step, value in sorted(points.items())]


def copy_files(run: ExportedRun, folder: Path, largest: float) -> dict[str, str]:
    """Copy the files of a run into a folder.

    Gives what was not copied, each with the reason: files above `largest` bytes, and those that cannot be reached.
    """
    left_out: dict[str, str] = {}
    with _noting(ALL_FILES, left_out):
        repository = get_artifact_repository(run.artifact_uri)
        for path, size in _files(repository, "", left_out):
            target = (folder / path).resolve()
            if size > largest or not target.is_relative_to(folder.resolve()):
                left_out[path] = f"larger than {largest / 1e6:g} MB" if size > largest else "its name leads elsewhere"
                continue
            with _noting(path, left_out):
                target.parent.mkdir(parents=True, exist_ok=True)
                repository.download_artifacts(path, str(folder))
                run.files[path] = size
    if run.kind in ENTRY_POINTS and not run.files and not left_out:
        left_out[ALL_FILES] = "none is there"
    return left_out


def _files(repository: Any, folder: str, left_out: dict[str, str]) -> Iterator[tuple[str, int]]:
    found: list[Any] = []
    with _noting(f"{folder}/" if folder else ALL_FILES, left_out):
        found = sorted(repository.list_artifacts(folder or None), key=lambda file: file.path)
    for file in found:
        if file.is_dir:
            yield from _files(repository, file.path, left_out)
        else:
            yield file.path, int(file.file_size or 0)


@contextmanager
def _noting(what: str, left_out: dict[str, str]) -> Iterator[None]:
    """Go on where a store of files fails, and note why."""
    try:
        yield
    except Exception as error:  # each kind of store raises errors of its own, boto3 that is not installed, for example
        left_out[what] = store.first_line(error)


def registry() -> list[dict[str, Any]]:
    """Each version of each registered model: name, version, aliases, run, description, tags."""
    client, found = mlflow.MlflowClient(), []
    versions = reading.pages(client.search_model_versions)
    for model in reading.pages(client.search_registered_models):
        aliases: dict[str, list[str]] = {}
        for alias, number in client.get_registered_model(model.name).aliases.items():
            aliases.setdefault(str(number), []).append(alias)
        for version in (version for version in versions if version.name == model.name):
            found.append({
                "model": model.name, "version": str(version.version), "aliases": aliases.get(str(version.version), []),
                "run_id": version.run_id or "", "description": version.description or "", "tags": dict(version.tags),
            })  # fmt: skip
    return found
