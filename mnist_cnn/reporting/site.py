"""The pages of an exported store: a table of all runs, and a page for each. Data stand in the pages as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from mnist_cnn.reporting.formats import finite
from mnist_cnn.reporting.pages import Cell, Row, Table
from mnist_cnn.reporting.rendering import as_html, render

PICTURES = (".png", ".gif", ".jpg", ".jpeg")

TIMELINE = "images/"
"""Where a run has the pictures of its timeline: too many to be shown."""


def index(runs: Sequence[Any], registry: Sequence[Mapping[str, Any]], title: str) -> str:
    """The page of all runs. runs: with the fields of `mnist_cnn.tracking.exporting.ExportedRun`."""
    fields = (
        "run_id",
        "name",
        "kind",
        "status",
        "experiment",
        "started",
        "seconds",
        "parent",
        "params",
        "metrics",
        "made_by",
    )
    there = {run.run_id for run in runs}
    rows = [{name: getattr(run, name) for name in fields} for run in runs]
    for row in rows:
        row["parent"] = row["parent"] if row["parent"] in there else ""  # one below a deleted run stands by itself
    versions = [
        Row([
            version["model"], Cell(version["version"], float(version["version"]), ""), ", ".join(version["aliases"]),
            version["run_id"], Cell(version["description"], kind="text long"),
        ])
        for version in registry
    ]  # fmt: skip
    sweeps = [_sweep_row(run) for run in runs if run.kind == "sweep"]
    return render(
        "site_index.html", title=title, subtitle=f"{len(runs):,} runs", data=as_script(rows),
        registry=Table(["model", "version", "aliases", "run", "description"], versions) if versions else None,
        sweeps=Table(["sweep", "goal", "best", "complete trials"], sweeps) if sweeps else None,
    )  # fmt: skip


def _sweep_row(run: Any) -> Row:
    """A line for a sweep: what it came to, with a link to its run."""
    goal = run.tags.get("goals", "")
    trials, best = run.metrics.get("trials_complete", 0.0), run.metrics.get(f"best_{goal}")
    return Row([
        Cell(run.name, link=f"runs/{run.run_id}/index.html"), goal,
        Cell("see its page" if best is None else f"{best:.4g}", best if best is not None else -math.inf, ""),
        Cell(f"{trials:.0f}", trials, ""),
    ])  # fmt: skip


def run_page(run: Any, children: Sequence[Any], parent: Any, left_out: Mapping[str, str]) -> str:
    """The page of one run. parent: the run above, or None. left_out: what was not copied, and why."""
    timeline = [path for path in run.files if path.startswith(TIMELINE)]
    files = [(path, size) for path, size in run.files.items() if path not in timeline]
    return render(
        "site_run.html",
        title=run.name,
        subtitle=f"{run.kind or 'run'} · {run.status} · {run.experiment} · {run.run_id}",
        run=run,
        note=as_html(run.note),
        parent=parent,
        children=children,
        settings=_table("setting", run.params),
        metrics=_table("metric", run.metrics),
        tags=_table("tag", {name: text for name, text in run.tags.items() if text}),
        curves=as_script(run.curves) if run.curves else None,
        pages=[path for path, _ in files if path.endswith(".html")],
        pictures=[path for path, _ in files if path.lower().endswith(PICTURES)],
        files=files,
        timeline=timeline,
        left_out=left_out,
    )


def _table(heading: str, values: Mapping[str, Any]) -> Table | None:
    return (
        Table([heading, "value"], [Row([Cell(name), value]) for name, value in sorted(values.items())])
        if values
        else None
    )


def as_script(values: Any) -> Markup:
    """JSON that can stand within a <script>: no text in it ends the element. Numbers that are not finite are null."""
    text = json.dumps(finite(values), allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def write(folder: Path, pages: Mapping[str, str]) -> None:
    for path, page in pages.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(page, encoding="utf-8")
