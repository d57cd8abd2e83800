"""Descriptions of runs: the numbers that are in them, the commands they give, and that every template is whole."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.resources import files

import numpy as np
import pytest
import yaml

from mnist_cnn.data.intervals import Difference, Share
from mnist_cnn.judging.judges import Trained
from mnist_cnn.judging.promotion import Decision, Origin, Version
from mnist_cnn.judging.teaching import Taught
from mnist_cnn.judging.verdict import Answers, GroupVerdict
from mnist_cnn.reporting import (
    comparison_page,
    descriptions,
    diff_page,
    reproduction_page,
    sweep_page,
    tables,
    verdict_page,
)
from mnist_cnn.reporting.diff_page import RunShown
from mnist_cnn.settings import (
    ENTRY_POINTS,
    AblationSettings,
    AscentSettings,
    RegisterSettings,
    SeedsSettings,
    TeachSettings,
    TrainSettings,
)
from mnist_cnn.settings.experiments import EXPERIMENTS
from mnist_cnn.training.attacks import RobustAccuracy
from mnist_cnn.training.loop import TrainingResult
from pipelines import rollback
from pipelines.seeds import OverSeeds
from tests import reporting_examples as examples
from tests.reporting_examples import HOSTILE

DECISION = Decision(Share(0.985, 0.983, 0.987), 6000, 2, Difference("a", "b", 0.001, -0.001, 0.003), 0.002)
ORIGIN = Origin(run_id="0123", commit="cafe" * 10, network="smooth", regime="readable")
VERSION = Version("mnist-cnn", 3, "m-1", "source", "0123", (), {})
MEASURED = {"test_accuracy": 0.99, "test_accuracy_low": 0.98, "test_accuracy_high": 0.995, "diversity": 0.5}
ROBUST = RobustAccuracy(0.5, 0.47, 0.53, 0.99, 1000, 2.0)


def judges() -> list[Trained]:
    judge = type("Judge", (), {"kind": "knn"})()
    return [Trained(panel, judge, 3.25, examples.evaluated()) for panel in ("A", "B")]


def run_shown(name: str, **settings: str) -> RunShown:
    return RunShown("0123", name, "train", "FINISHED", 1.0, {"settings": settings}, {}, {}, {})


SEARCHES = examples.searches(EXPERIMENTS[4].kinds + EXPERIMENTS[5].kinds)
ALL: dict[str, Callable[[], str]] = {
    "training": lambda: descriptions.training(
        TrainSettings(dataset="/data/a b.npz"), TrainingResult(examples.HISTORY, 12.34), examples.evaluated(),
        "models:/m-1", ROBUST,
    ),
    "evaluation": lambda: descriptions.evaluation("models:/m-1", examples.digits(), examples.evaluated(), ROBUST),
    "prediction": lambda: descriptions.prediction(
        "models:/m-1", [HOSTILE] * 40, np.tile(np.float32([0.25, 0.75]), (40, 1)), [(HOSTILE, "it cannot be read")],
            [HOSTILE, "1"],
    ),
    "verdict_page": lambda: verdict_page.page_description("0123", "models:/m-1", "cafe", {"dreamed": 30}),
    "verdict": lambda: verdict_page.description(
        {"dreamed": GroupVerdict(30, Share(0.9, 0.8, 0.95), Share(0.8, 0.7, 0.9), 0.1, np.zeros((10, 11), int))},
        Answers(("1a2b",), np.zeros((1, 30), int), ((2, "it is torn or was changed"),)), "0123",
    ),
    "optimization": lambda: descriptions.optimization("models:/m-1", AscentSettings(), SEARCHES),
    "experiments": lambda: descriptions.experiments("models:/m-1", [(EXPERIMENTS[5], SEARCHES)]),
    "judges": lambda: descriptions.judges(judges(), []),
    "ablation": lambda: descriptions.ablation(
        examples.ablation_table(), {"blank": examples.ablation_table().cells["ordinary", "tuned L2", "noise"].card}
    ),
    "registration": lambda: descriptions.registration(RegisterSettings(), DECISION, (VERSION, True), MEASURED),
    "version": lambda: descriptions.version_text(ORIGIN, DECISION, MEASURED),
    "rollback": lambda: rollback.describe(VERSION, None, alias="champion", dry_run=True),
    "model_card": lambda: descriptions.model_card(
        VERSION, ORIGIN, DECISION, examples.digits(), examples.evaluated(), MEASURED, "mlflow run . -e register",
    ),
    "seeds": lambda: descriptions.seeds(
        SeedsSettings(), (0, 1), {"test_loss": OverSeeds((1.0, 3.0), 2.0, -10.7, 14.7, 1.4)}
    ),
    "teaching": lambda: descriptions.teaching(
        TeachSettings(), "models:/m-1", "models:/m-2",
        {name: Taught(examples.digits(), {"plain": (0.9, 0.92)}, {"learned/recall": 0.5}, SEARCHES.card)
         for name in ("images from noise", "real digits")},
    ),
    "diff": lambda: diff_page.description(
        [run_shown("a", epochs="1"), run_shown("b | `c` <d>", epochs="2")], [("test_accuracy", DECISION.difference)]
    ),
    "reproduction": lambda: reproduction_page.description([], finished=True),
}  # fmt: skip
ELSEWHERE = {"sweep": sweep_page.description, "comparison": comparison_page.description}
"""What tests of the sweeps' pages render."""


def test_every_description_is_rendered_by_a_test() -> None:
    templates = {file.name for file in (files("mnist_cnn.reporting") / "templates" / "descriptions").iterdir()}
    parts = {"_best_is_lucky.md", "_measured.md", "registration_lines.txt"}  # of comparison and registration
    assert templates == parts | {f"{name}.md" for name in (*ALL, *ELSEWHERE)}


@pytest.mark.parametrize("name", ALL)
def test_a_description_is_plain_markdown_with_commands_that_exist(name: str) -> None:
    text = ALL[name]()
    assert not re.search(r"<[a-z/!]|\{\{|\{%|Undefined|\n\n\n", text)
    assert text == text.strip()
    for table in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1, table
    assert set(re.findall(r"mlflow run \. -e (\w+)", text)) <= set(ENTRY_POINTS)


def test_a_model_card_has_a_head_that_yaml_reads_and_the_surest_errors() -> None:
    text, test = ALL["model_card"](), examples.evaluated()
    head = yaml.safe_load(text.split("---")[1])
    assert head["license"] == "mit" and head["metrics"] == ["accuracy"]
    (index,) = head["model-index"]
    (result,) = index["results"]
    assert index["name"] == VERSION.name and result["task"] == {"type": "image-classification"}
    assert result["dataset"] == {"name": examples.digits().name, "type": examples.digits().name}
    assert {"type": "accuracy", "name": "test_accuracy", "value": 0.99} in result["metrics"]
    assert head["tags"] == ["mnist", "image-classification", "readable"]
    wrong = np.flatnonzero(~test.hits)
    surest = wrong[test.probabilities[wrong].max(axis=1).argmax()]
    choice = test.probabilities[surest].argmax()
    assert f"|---|---|---|---|\n| {surest} | {test.labels[surest]} | {choice} | " in text
    assert "- test accuracy: 99.0 (98.0 to 99.5) %" in text and "-e again -P run=0123\n" in text


def test_a_training_is_described_by_its_scores() -> None:
    text, test = ALL["training"](), examples.evaluated()
    assert f"| test | **{test.accuracy:.2%}** ({test.accuracy_low:.2%} to " in text
    assert "| 1,000 test images, attacked | 50.00% (47.00% to 53.00%)" in text and "`/data/a b.npz`" in text
    assert 'load_model("models:/m-1")' in text and "trained for 1 epoch in\n12.3 s" in text
    plain = descriptions.training(TrainSettings(epochs=24), TrainingResult(examples.HISTORY, 1.0), test, "models:/m-1")
    assert "attacked" not in plain and "24 epochs in" in plain


def test_an_evaluation_is_described_class_by_class() -> None:
    text, result = ALL["evaluation"](), examples.evaluated()
    assert f"| 7 | {result.precision[7]:.2%} | {result.recall[7]:.2%} |" in text
    assert "Accuracy under attack within 2 50.00%" in text and "(95 % interval " in text and "2,000 test images" in text
    assert "attack" not in descriptions.evaluation("models:/m-1", examples.digits(), result)


def test_searches_are_told_kind_by_kind() -> None:
    text = ALL["optimization"]()
    assert "| noise → 2+3 | 2 | 1 | – |" in text and "| 5 → 7 | 2 | 2 | 2 |" in text
    assert "The report saw: conversions work" in ALL["experiments"]()
    unscored = tables.ascent(type(SEARCHES)(SEARCHES.plan, SEARCHES.result, None))
    assert "| 5 → 7 | 2 | 2 | – |" in unscored
    columns = tables.searches(SEARCHES, examples.nearest(SEARCHES))
    assert columns["target"][:3] == ["2+3", "2+3", "1+7"] and {len(column) for column in columns.values()} == {10}
    assert columns["judge_knn"][4:] == [7, 7, 9, 9, 5, 5] and columns["p(7)"][4] == 1.0
    unscored_columns = tables.searches(type(SEARCHES)(SEARCHES.plan, SEARCHES.result, None), examples.nearest(SEARCHES))
    assert set(columns) - set(unscored_columns) == {
        "recognised", "distance_to_class", "distance_allowed", *(f"judge_{name}" for name in examples.JUDGES),
    }  # fmt: skip


def test_judges_are_told_with_and_without_test_images() -> None:
    assert ALL["judges"]().count("not measured") == 2
    with_tests = tables.judges(judges(), [examples.evaluated(100)] * 2)
    assert "not measured" not in with_tests and with_tests.count(f"{examples.evaluated(100).accuracy:.2%} (") == 2


def test_the_ablation_is_told_and_kept_cell_by_cell() -> None:
    table = examples.ablation_table()
    text, card = ALL["ablation"](), table.cells["readable", "report L2", "noise"].card
    assert f"| readable | report L2: L2 0.0001 | {100 * card.rate:.1f} (" in text and "| blank | " in text
    values = tables.ablation_values(AblationSettings(), table, {"blank": card})
    assert len(values["cells"]) == 18 and values["cells"][0]["images"] == 30
    assert values["controls"]["blank"] == card.metrics()
    metrics = tables.ablation_metrics(("readable", "report L2", "noise"), card)
    assert metrics["recognised_rate/readable/report L2/noise"] == card.rate and "agreement" not in " ".join(metrics)
    assert descriptions.score_line(card).startswith(f"recognised {100 * card.rate:.1f} % (")


def test_a_registration_says_what_was_decided_and_what_changed() -> None:
    text = ALL["registration"]()
    assert (
        text.startswith("**Promoted**. Validation accuracy 98.50 %")
        and "- test accuracy: 99.0 (98.0 to 99.5) %" in text
    )
    assert "Version  mnist-cnn 3 (models:/mnist-cnn/3), new" in text
    assert "         champion: version 3 (was version 2)" in text
    settings = RegisterSettings()
    dry = descriptions.registration_lines(settings, DECISION, None)
    assert dry == "Dry run: nothing was registered; mnist-cnn@champion would be this model."
    stays = Decision(Share(0.5, 0.4, 0.6), 6000, 2, None, 0.002, "It was rolled back")
    assert descriptions.registration_lines(settings, stays, (VERSION, False)).splitlines() == [
        "Version  mnist-cnn 3 (models:/mnist-cnn/3), existing",
        "Aliases  challenger: version 3",
        "         champion: version 2, unchanged",
    ]
    first = Decision(Share(0.9, 0.8, 0.95), 6000, None, None, 0.002)
    assert descriptions.registration_lines(settings, first, (VERSION, True)).endswith("champion: version 3")


def test_a_version_says_where_it_comes_from() -> None:
    text = ALL["version"]()
    assert text.startswith("The run `0123` trained this network (smooth, readable) at commit `cafecafecafe`.")
    assert descriptions.version_text(Origin(), DECISION, {}).startswith("An unknown run trained this network.")
    tags = descriptions.version_tags(ORIGIN, "abc", DECISION, MEASURED)
    assert tags == {
        "run_id": "0123", "commit": "cafe" * 10, "data_digest": "abc", "network": "smooth", "regime": "readable",
        "decision": "promoted", "validation_accuracy": "0.9850", "test_accuracy": "0.9900", "diversity": "0.5000",
    }  # fmt: skip


def test_a_rollback_says_what_moved() -> None:
    assert ALL["rollback"]() == "Dry run: mnist-cnn@champion is none, and would be version 3."
    before = Version("mnist-cnn", 2, "m-2", "source", "", (), {})
    moved = rollback.describe(VERSION, before, alias="champion", dry_run=False)
    assert moved == "mnist-cnn@champion was version 2 and is now version 3, moved by hand."
    same = rollback.describe(VERSION, VERSION, alias="champion", dry_run=False)
    assert same == "mnist-cnn@champion is version 3 already."


def test_names_and_paths_stay_text() -> None:
    for text in (
        descriptions.optimization(HOSTILE, AscentSettings(), SEARCHES),
        descriptions.training(
            TrainSettings(dataset="a`b|<b>.npz"), TrainingResult(examples.HISTORY, 1.0), examples.evaluated(), HOSTILE
        ),
    ):  # fmt: skip
        outside = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", text, flags=re.DOTALL)
        assert not re.search("<(b|script)>", outside)


def test_a_table_of_students_says_what_was_measured_and_what_was_not() -> None:
    numbers = {"learned/recall": 0.5, "memorised_share": 0.01}
    rows = {"images": Taught(examples.digits(), {"plain": (0.9, 0.92), "augmented": (0.95,)}, numbers, SEARCHES.card)}
    heading, _, line = str(tables.taught(rows)).splitlines()
    cells = dict(zip(heading.split(" | "), line.split(" | "), strict=True))
    assert cells["CAS"] == "91.0 %" and cells["CAS, augmented"] == "95.0 %" and cells["recall"] == "0.50"
    assert cells["Vendi ratio"] == "–" and "1.0 %" in cells["memorised |"]
    assert rows["images"].metrics()["cas_plain_low"] < 0.91 < rows["images"].metrics()["cas_plain_high"]
    assert "cas_augmented_low" not in rows["images"].metrics()
