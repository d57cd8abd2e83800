"""The page of a reproduction: plain data in, everything shown, what is missing named with its reason."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import browser_page

from mnist_cnn.data.dataset import numbers
from mnist_cnn.judging.promotion import Version
from mnist_cnn.models import networks, plain_layers
from mnist_cnn.reporting import reproduction_page, tables
from mnist_cnn.reporting.reproduction_page import (
    Ablation,
    Comparison,
    ExperimentsOn,
    FinishedExperiment,
    Missing,
    Registration,
    Reproduction,
    StepResult,
    Sweep,
    Training,
)
from mnist_cnn.settings import AblationSettings
from mnist_cnn.settings.experiments import EXPERIMENTS
from mnist_cnn.sweeps.records import SweepRecord, TrialRecord
from tests import reporting_examples as examples
from tests.reporting_examples import HOSTILE

HEADINGS = (
    "Are the images readable?", "Play with it", "Training", "The six experiments", "What regularisation does",
    "What each ingredient adds", "The registered version", "How it was made",
)  # fmt: skip


def ablation() -> Ablation:
    table = examples.ablation_table()
    images: dict[str, Any] = {}
    for place, cell in table.cells.items():
        images["-".join(place)] = np.round(255 * cell.images).astype(np.uint8)
        images["-".join((*place, "targets"))] = cell.targets.argmax(axis=1).astype(np.uint8)
    values = tables.ablation_values(AblationSettings(), table, {})
    return Ablation(values, images)


def experiment(number: int) -> FinishedExperiment:
    result = examples.searches(EXPERIMENTS[number - 1].kinds, num_images=3, num_snapshots=21).result
    return FinishedExperiment(
        EXPERIMENTS[number - 1], result.steps, result.snapshots, result.probabilities, result.targets, 0.25
    )


def sweep(title: str) -> Sweep:
    trials = tuple(
        TrialRecord(
            number, f"{title}{number}", "complete", (0.1 * number,),
            {"l2_weight": str(10.0 ** (number - 5)), "learning_rate": "0.05", "temperature": "4", "start": "noise"}, {},
        )
        for number in range(5)
    )  # fmt: skip
    failed = TrialRecord(5, f"{title}5", "failed", (), {"l2_weight": "0.3"}, {})
    record = SweepRecord(title, f"run of {title}", "optimize", ("recognised",), (*trials, failed))
    return Sweep(title, record, {trial.run_id: examples.finals(trial.run_id)["finals"] for trial in trials[1:]})


def steps(**changes: str) -> list[StepResult]:
    titles = {"ordinary": "An ordinary network", "readable": "A readable network", "judges": "Two panels of judges"}
    return [
        StepResult(name, title, "done", 75.0, f"0123456789{name}", f"mlflow run . -e train -P name='{HOSTILE}'")
        if name not in changes
        else StepResult(name, title, "failed", reason=changes[name])
        for name, title in titles.items()
    ]


@pytest.fixture(scope="module")
def whole() -> Reproduction:
    sweeps = (sweep("A sweep on the ordinary network"), sweep("A sweep on the readable network"))
    version = Version(
        "mnist-cnn", 3, "m-1", "source", "run1", ("champion", "challenger"),
        {"test_accuracy": "0.9921", "recognised_rate": "0.9810", "regime": "readable", "run_id": "<run>"},
    )  # fmt: skip
    return Reproduction(
        scale="full",
        run_id="feedbeef",
        tags={"mlflow.source.git.commit": "cafe", "hardware.device": "CPU", "hardware.cores": "2",
              "hardware.memory_gib": "8", "version.keras": "3.11", "version.numpy": "2.3"},
        class_names=numbers(10),
        steps=steps(),
        network=plain_layers.plain(networks.build("compact", 0)),
        ablation=ablation(),
        trainings=(Training("ordinary", "An ordinary network", examples.HISTORY, 0.9857),
                   Training("readable", "A readable network", examples.HISTORY, 0.9902)),
        experiments=(
            ExperimentsOn("On the ordinary network", [experiment(number) for number in range(1, 7)]),
            ExperimentsOn("On the readable network", [experiment(number) for number in range(1, 7)]),
        ),
        comparison=Comparison({"ordinary": 0.12, "readable": 0.81}),
        sweeps=sweeps,
        registration=Registration(version, "promoted", 0.9876, champion=3),
    )  # fmt: skip


def is_closed(page: str) -> bool:
    fetched = re.findall(r"(?:src|href)=[\"'](?!data:|#)|url\((?!data:|#)|@import", page)
    return not fetched and "<b>bold" not in page and page.count("<script>") == 1


def test_the_page_shows_every_part(whole: Reproduction) -> None:
    page = reproduction_page.page(whole)
    assert re.findall("<h2>(.*?)</h2>", page) == list(HEADINGS) and "Missing" not in page.partition("<body>")[2]
    assert page.count('class="player"') == 12 and page.count("<svg") == 4 and page.count('class="strip"') == 2
    rates = {cell["network"]: cell["recognised_rate"] for cell in whole.ablation.values["cells"]}  # type: ignore
    for network in ("ordinary", "readable"):
        assert f"<b>{100 * rates[network]:.1f} %</b> recognised" in page
    assert page.count("On the readable network") == 6 and page.count('id="play-network"') == 1
    for text in (
        "98.57 %", "99.02 %", "62,735,658", "the mean of 30 searches; panel A recognises 25%", "99.21 %",
        "<code>champion</code>, <code>challenger</code>", "Validation accuracy 98.76%", "1:15 min",
        "keras 3.11, numpy 2.3", "12% (ordinary), 81% (readable).",
        "&lt;run&gt;", "<code>01234567</code>", "It passed the promotion check",
    ):  # fmt: skip
        assert text in page, text
    assert is_closed(page)


def test_the_page_says_which_network_a_person_plays_with(whole: Reproduction) -> None:
    registration = whole.registration
    assert isinstance(registration, Registration)
    for shown, words in (
        (registration, "version 3 of mnist-cnn, the champion."),
        (dataclasses.replace(registration, champion=2), "version 3 of mnist-cnn; the champion is version 2."),
        (dataclasses.replace(registration, champion=None), "version 3 of mnist-cnn; there is no champion."),
        (Missing("A version", "locked"), "the readable network of this run, which has no registered version."),
    ):
        assert f"The network itself is in this page: {words} Draw" in reproduction_page.page(
            dataclasses.replace(whole, registration=shown)
        )


@pytest.mark.slow
def test_on_a_phone_charts_and_tables_scroll_by_themselves(whole: Reproduction, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(reproduction_page.page(whole), encoding="utf-8")
    with browser_page() as page:
        page.set_viewport_size({"width": 390, "height": 844})
        page.goto((tmp_path / "report.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        widths = "(parts) => parts.map((part) => Math.round(part.getBoundingClientRect().width))"
        assert page.locator("figure svg").evaluate_all(widths) == [704] * 4
        assert page.locator("figcaption").evaluate_all(widths) == [358] * 4
        wide = page.locator(".wide").first
        wide.focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_function("() => document.activeElement.scrollLeft > 0")
        chart = page.get_by_role("img", name="Training against validation, epoch by epoch.", exact=True)
        assert chart.get_by_text("validation, epoch's end").count() == 1


def test_ten_digits_stand_in_one_row() -> None:
    shown = {number: experiment(number).film(numbers(10)) for number in range(1, 7)}
    assert all(shown[number].names == [*numbers(10)] for number in (3, 4))
    assert all(shown[number].sheet.columns == 10 for number in (3, 4))
    assert all(len(shown[number].names) <= 6 for number in (1, 2, 5, 6)), "two networks stand side by side"
    whole = ablation()
    sheets = whole.sheets(whole.cell("ordinary", "report L2"), numbers(10))
    assert [(sheet.columns, list(below)) for sheet, below in sheets] == [(10, []), (10, [*numbers(10)])]


def test_a_sweeps_best_trials_stand_first_and_failed_ones_last(whole: Reproduction) -> None:
    page = reproduction_page.page(whole)
    rows = re.findall(r'<tr class="(strong|complete|failed)"><td data-value="(\d)">', page)
    assert rows == [("strong", "4"), *(("complete", n) for n in "3210"), ("failed", "5")] * 2


def test_what_is_missing_is_named_with_its_reason_and_the_rest_is_there(whole: Reproduction) -> None:
    gone = {
        "ablation": Missing("Are the images readable?", "MemoryError <b>bold</b>"),
        "trainings": (Missing("An ordinary network", "it diverged"), whole.trainings[1]),
        "experiments": (
            ExperimentsOn("Ordinary", [experiment(1), *[Missing("Experiment 2", "its run holds no arrays")] * 5]),
            ExperimentsOn("Readable", Missing("The six experiments on the readable network", "no judges")),
        ),
        "network": Missing("A network to play with", "its layer pool is not known here"),
        "comparison": Missing("The sweeps side by side", "it needs: A sweep"),
        "sweeps": (Missing("A sweep on the ordinary network", "no trial is complete"),),
        "registration": Missing("A version", "the registry is locked"),
        "steps": steps(ordinary="it diverged"),
    }
    page = reproduction_page.page(dataclasses.replace(whole, **gone))  # type: ignore[arg-type]
    for title, reason in (
        ("An ordinary network", "it diverged"), ("Experiment 2", "its run holds no arrays"),
        ("The sweeps side by side", "it needs: A sweep"),
        ("A network to play with", "its layer pool is not known here"),
        ("The six experiments on the readable network", "no judges"), ("A version", "the registry is locked"),
    ):  # fmt: skip
        assert f"<b>Missing: {title}</b><br>{reason}" in page
    assert page.count("MemoryError &lt;b&gt;bold") == 2 and page.count('<tr class="failed">') == 1
    assert page.count('class="player"') == 1 and page.count("<svg") == 1 and page.count("<h2>") == 8 and is_closed(page)


def test_nothing_at_all_is_a_page_too(whole: Reproduction) -> None:
    nothing = Missing("All", "skipped")
    page = reproduction_page.page(
        Reproduction(
            "smoke",
            "run",
            {},
            numbers(10),
            [],
            nothing,
            nothing,
            (nothing,),
            (ExperimentsOn("", nothing),),
            nothing,
            (nothing,),
            nothing,
        )
    )
    assert page.count("Missing: All") == 8 and "<b>Smoke.</b>" in page and "Beside the reference report" not in page


def test_an_error_of_the_program_is_not_shown_as_missing(whole: Reproduction) -> None:
    broken = dataclasses.replace(whole, ablation=Ablation({"cells": []}, {}))
    with pytest.raises(KeyError):
        reproduction_page.page(broken)


def test_the_steps_are_told_as_a_table_and_as_columns() -> None:
    found = steps(judges="a|b\nc")
    assert [step.is_there for step in found] == [True, True, False]
    table = reproduction_page.summary(found)
    assert "| An ordinary network | done | 1:15 min |" in table and "FAILED: a\\|b c" in table
    columns = reproduction_page.step_columns(found)
    assert columns["state"] == ["done", "done", "failed"] and columns["seconds"] == [75.0, 75.0, 0.0]
    assert "as soon as" in reproduction_page.description(found, finished=False)
    assert "shows its results" in reproduction_page.description(found, finished=True)
