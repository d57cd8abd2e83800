"""Write the store as a static site: what a student hands in and a teacher opens, without a server."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnist_cnn.reporting import site
from mnist_cnn.reporting.formats import counted
from mnist_cnn.settings import ExportSettings, SettingError
from mnist_cnn.tracking import exporting, runs, store
from mnist_cnn.tracking.exporting import ExportedRun

MARK = ".mnist-cnn-export"
OWN = ("index.html", "runs", MARK)
"""A file that says of a folder that it is an export, which the next one may replace."""


@dataclass(frozen=True)
class ExportResult:
    """How many runs the site has, and its first page."""

    run_id: str
    num_runs: int
    page: Path

    def as_json(self) -> dict[str, Any]:
        return {"num_runs": self.num_runs, "page": str(self.page)}


def run(settings: ExportSettings) -> ExportResult:
    """Write the site and put it in its place. Raises `SettingError` for a folder that holds other things."""
    to = Path(settings.to).resolve()
    _refuse_other_folders(to)
    store.open_store()
    found = exporting.exported_runs(settings.experiments)
    with runs.tracked_run("export", name=settings.run_name, otherwise="export") as run:
        run.log_settings(settings, {})
        print(f"Exporting {counted(len(found), 'run')}.", flush=True)
        new = to.with_name(f".{to.name}.{run.run_id[:8]}")
        try:
            _write(found, new, settings.largest_file * 1e6)
            if to.exists():
                for other in [entry for entry in to.iterdir() if entry.name not in OWN]:
                    other.replace(new / other.name)  # what a person has put there, `.git` for example
                shutil.rmtree(to)
            new.replace(to)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        run.log_metrics({"exported_runs": len(found)})
        run.describe(f"{counted(len(found), 'run')} as a static site.")
    return ExportResult(run.run_id, len(found), to / "index.html")


def main(settings: ExportSettings) -> None:
    result = run(settings)
    print(f"{runs.signpost(result.run_id)}\nPage     {result.page.as_uri()}")


def _refuse_other_folders(to: Path) -> None:
    if to.exists() and (not to.is_dir() or (any(to.iterdir()) and not (to / MARK).exists())):
        raise SettingError(f"`to`: {str(to)!r} holds other things; give a folder that is new or empty.")
    if not to.parent.is_dir():
        raise SettingError(f"`to`: the folder {str(to.parent)!r} does not exist; make it first.")
    try:  # the site is made beside its place, and then moved there
        with tempfile.TemporaryDirectory(dir=to.parent, prefix=f".{to.name}."):
            pass
    except OSError as error:
        raise SettingError(f"`to`: nothing can be written into {str(to.parent)!r} ({error.strerror}).") from error


def _write(found: list[ExportedRun], folder: Path, largest: float) -> None:
    children: dict[str, list[ExportedRun]] = defaultdict(list)
    by_id = {run.run_id: run for run in found}
    for run in reversed(found):
        children[run.parent].append(run)
    folder.mkdir(parents=True)
    (folder / MARK).write_text("An export of an MLflow store; the next export into this folder replaces it.\n")
    site.write(folder, {"index.html": site.index(found, exporting.registry(), "Runs")})
    reported, unreachable = time.monotonic(), ""
    for number, run in enumerate(found, 1):
        place = folder / "runs" / run.run_id
        exporting.add_curves(run)
        left_out = exporting.copy_files(run, place / "files", largest)
        page = site.run_page(run, children[run.run_id], by_id.get(run.parent), left_out)
        unreachable = left_out.get(exporting.ALL_FILES, unreachable)
        site.write(place, {"index.html": page})
        if time.monotonic() - reported > 2:
            reported = time.monotonic()
            print(f"{number:,} of {len(found):,} runs", flush=True)
    if unreachable:
        print(f"Not all files could be reached; the pages of their runs say why, for example: {unreachable}")
