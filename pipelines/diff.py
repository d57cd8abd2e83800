"""Tell runs apart: what differs in settings, code, data and versions; numbers, curves and pictures side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mnist_cnn.data import intervals
from mnist_cnn.data.intervals import Difference, Share
from mnist_cnn.reporting import diff_page, formats
from mnist_cnn.reporting.diff_page import LETTERS, CodeChange, RunShown
from mnist_cnn.settings import DiffSettings
from mnist_cnn.tracking import commit, records, runs, store
from mnist_cnn.tracking.records import Records

PAGE = "diff.html"


@dataclass(frozen=True)
class DiffResult:
    """The runs, the differences of their shares with each's metric, changes of code, and where the page is."""

    run_id: str
    runs: tuple[RunShown, ...]
    differences: tuple[tuple[str, Difference], ...]
    code: tuple[CodeChange, ...]
    page: str

    def as_json(self) -> dict[str, Any]:
        differences = [{"metric": metric, **asdict(difference)} for metric, difference in self.differences]
        code = [{"about": change.about, "files": change.files} for change in self.code]
        return {"differences": differences, "code": code, "page": self.page}


def run(settings: DiffSettings) -> DiffResult:
    """Read the runs, and log the page. Raises `SettingError` where one is not there."""
    store.open_store()
    found = [records.records_of(run_id) for run_id in settings.ids]
    shown = [_shown(each) for each in found]
    differences = [
        (metric, difference) for number in range(1, len(found)) for metric, difference in _differences(found, number)
    ]
    code = tuple(_code(found))
    page = diff_page.page(shown, differences, code)
    name = "diff-" + "-".join(run.name for run in shown)
    with runs.tracked_run("diff", name=settings.run_name, otherwise=name) as run:
        run.log_settings(settings, {})
        run.log_text(page, PAGE)
        run.describe(diff_page.description(shown, differences))
        place = run.place(PAGE)
    return DiffResult(run.run_id, tuple(shown), tuple(differences), code, place)


def main(settings: DiffSettings) -> None:
    result = run(settings)
    print(f"\n{diff_page.summary(result.runs, result.differences, result.code)}")
    print(f"{runs.signpost(result.run_id)}\nPage     {result.page}")


def _shown(found: Records) -> RunShown:
    return RunShown(
        found.run.info.run_id, found.run.info.run_name, found.kind, found.state, found.seconds, found.made_of,
        found.run.data.metrics, found.curves, found.pictures,
        found.unreachable,
    )  # fmt: skip


def _code(found: Sequence[Records]) -> Iterator[CodeChange]:
    """From the first run's commit to each other one; and what each had not committed, where that differs."""
    commits = [run.made_of["code"]["commit"] for run in found]
    for letter, other in zip(LETTERS[1:], commits[1:], strict=False):
        if other != commits[0] and (patch := commit.between(commits[0], other)):
            yield CodeChange(f"From the commit of {LETTERS[0]} to that of {letter}", commit.files_in(patch), patch)
    if len({run.patch for run in found}) > 1:
        for letter, run in zip(LETTERS, found, strict=False):
            if run.patch:
                yield CodeChange(f"Not committed in {letter}", commit.files_in(run.patch), run.patch)


def _differences(found: Sequence[Records], number: int) -> Iterator[tuple[str, Difference]]:
    """Of each share with an interval that the first run and that one have; paired where the images are the same."""
    first, other = found[0], found[number]
    names = LETTERS[0], LETTERS[number]
    for metric in sorted(name.removesuffix("_low") for name in first.run.data.metrics if name.endswith("_low")):
        a, b = (_share(run.run.data.metrics, metric) for run in (first, other))
        if a is None or b is None or not formats.is_share(metric):
            continue
        hits, others = first.hits.get(metric), other.hits.get(metric)
        if hits is not None and others is not None and hits.images == others.images:
            yield f"{metric}, same images", intervals.paired_difference(*names, hits.hits, others.hits)
        else:
            yield metric, intervals.difference(*names, a, b)


def _share(metrics: Mapping[str, float], name: str) -> Share | None:
    ends = [metrics.get(f"{name}{end}") for end in ("", "_low", "_high")]
    return None if None in ends else Share(*map(float, ends))  # type: ignore[arg-type]
