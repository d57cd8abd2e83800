"""The pages and descriptions of sweeps: the best or the Pareto front, how to repeat it, and text that stays text."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from mnist_cnn.data.intervals import Share, difference
from mnist_cnn.reporting import comparison_page, sweep_page
from mnist_cnn.settings import TrainSettings
from mnist_cnn.sweeps.records import SweepRecord, TrialRecord
from tests import reporting_examples as examples
from tests.reporting_examples import HOSTILE

CHART = b"a picture"
TRIALS = [{"values": [0.4]}, {"values": [0.9], "l2_weight": 0.01}, {"pruned_at": 0.2}, {"reason": "MemoryError: <b>"}]
FRONT = [{"values": [number / 10, cost]} for number, cost in enumerate([0.5, 0.1, 0.9, 0.3, 0.2, 0.6, 0.7])]
"""With `probability` to be raised and `loss` to be lowered: trials 1, 4, 5 and 6 are beaten by no other."""


def is_closed(page: str) -> bool:
    """Whether a page needs no other file, and no text of a person is part of its markup."""
    fetched = re.findall(r"(?:src|href)=[\"'](?!data:|#)|url\((?!data:|#)|@import|https?://", page)
    return not fetched and "<b>bold" not in page and page.count("<script>") == page.count("</script>") == 1


def test_a_sweeps_page_shows_its_best_its_charts_and_each_trial_with_images(tmp_path: Path) -> None:
    study = examples.study(tmp_path, TRIALS)
    page = sweep_page.page(study, {"slices": CHART, "contour_loss": CHART, "new_chart": CHART}, examples.finals)
    assert "Best: trial 1, <b>recognised 0.9</b>." in page and "2 complete, 1 pruned, 1 failed" in page
    for caption in ("The goal against each setting.", "The goal over pairs of the settings", "new chart"):
        assert page.count(caption) == 1
    assert page.count('<img alt="last images"') == 2 and '<tr class="pruned">' in page
    assert "failed: MemoryError: &lt;b&gt;" in page and is_closed(page)
    assert [trial.number for trial in sweep_page.ranked(study)] == [1, 0, 2, 3]
    columns = sweep_page.trials_columns(study)
    assert columns["recognised"] == [0.4, 0.9, None, None] and columns["l2_weight"][1] == 0.01
    assert columns["state"] == ["complete", "complete", "pruned", "failed"] and columns["run_id"][3] == "run3"


def test_two_goals_have_a_front_and_no_single_best(tmp_path: Path) -> None:
    study = examples.study(tmp_path, FRONT, goals=("probability", "loss"))
    page, text = sweep_page.page(study, {}, examples.finals), sweep_page.description(study, [])
    for shown in (page, text):
        assert "Pareto front: trials 1, 4, 5, 6." in shown and "Best" not in shown and "best trial" not in shown
    assert "<li>Trial 4: probability 0.4, loss 0.2</li>" in page and "| 4 | 0.4 | 0.2 |" in text
    assert sweep_page.how_to_repeat(study) == [
        f"mlflow run . -e replay -P trial=my-sweep:{number}" for number in (1, 4, 5)
    ]
    single = examples.study(tmp_path, FRONT[:1], name="single", goals=("probability", "loss"))
    assert "Pareto front: trial 0." in sweep_page.page(single, {}, examples.finals)


def test_the_command_that_repeats_a_training_is_quoted_and_gives_the_same_settings(tmp_path: Path) -> None:
    study = examples.study(
        tmp_path, [{"values": [0.9]}, {"values": [0.8]}], goals=("validation_accuracy",), training=True,
        preset="accurate", epochs="1", dataset="/data/my set.npz",
    )  # fmt: skip
    (command,) = sweep_page.how_to_repeat(study)
    words = shlex.split(command)
    assert words[:5] == ["mlflow", "run", ".", "-e", "train"] and "dataset=/data/my set.npz" in words
    given = dict(word.split("=", 1) for word in words[5:] if word != "-P")
    assert TrainSettings.from_words(given) == study.space.at(study.best()[0].params) and given["epochs"] == "1"
    assert command in sweep_page.description(study, ["slices"])
    images = examples.study(tmp_path, TRIALS, name="it's mine; rm -rf ~")
    (command,) = sweep_page.how_to_repeat(images)
    assert shlex.split(command)[-1] == "trial=it's mine; rm -rf ~:1"


def test_a_sweep_without_a_complete_trial_says_so(tmp_path: Path) -> None:
    study = examples.study(tmp_path, [])
    assert sweep_page.how_to_repeat(study) == [] and "no trial yet" in sweep_page.page(study, {}, examples.finals)
    text = sweep_page.description(study, [], "Open it: `optuna-dashboard sweeps.journal`.")
    assert "No trial is complete yet." in text and "Repeat" not in text and "figures/" not in text
    assert "- Open it: `optuna-dashboard sweeps.journal`." in text


def test_a_sweeps_name_is_text_whatever_it_holds(tmp_path: Path) -> None:
    study = examples.study(tmp_path, TRIALS, name=HOSTILE)
    page, text = sweep_page.page(study, {}, examples.finals), sweep_page.description(study, ["slices"])
    assert is_closed(page) and "&lt;script&gt;" in page
    assert len([line for line in text.splitlines() if line.startswith("mlflow run")]) == 1


def record(name: str, best: float, **settings: str) -> SweepRecord:
    values = {"l2_weight": "0.01", "start": "noise", **settings}
    trials = (
        TrialRecord(0, f"{name}0", "complete", (0.1,), values, {}),
        TrialRecord(1, f"{name}1", "complete", (best,), values, {}),
        TrialRecord(2, f"{name}2", "failed", (), values, {}),
    )
    return SweepRecord(name, f"run of {name}", "optimize", ("recognised",), trials)


def test_sweeps_side_by_side_show_what_differs_by_more_than_noise() -> None:
    shares = [Share(0.9, 0.85, 0.93), Share(0.5, 0.42, 0.58)]
    compared = [
        comparison_page.Compared(record("first", 0.95), shares[0]),
        comparison_page.Compared(record(HOSTILE, 0.55, pose="0.7"), shares[1]),
    ]
    differences = [difference("first", HOSTILE, *shares), difference("first", "first", shares[0], shares[0])]
    page = comparison_page.page(compared, differences, {"best_side_by_side": CHART}, examples.finals)
    assert is_closed(page) and page.count("<b>more than noise</b>") == 1 and page.count("<b>not more than noise") == 1
    assert page.count('<img alt="last images"') == 2 and "90.0 (85.0 to 93.0)" in page
    text = comparison_page.description(compared, differences)
    assert "+40.0 points" in text and "**more than noise**" in text
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")} == {12}
    columns = comparison_page.columns(compared)
    assert columns["best trial"] == [1, 1] and columns["failed"] == [1, 1] and columns["pose"] == ["", 0.7]
    assert comparison_page.best_line(compared[0]).startswith("first, trial 1: recognised 0.95; on new starts 90.0 (")
    assert comparison_page.difference_lines(differences)[1].endswith(": not more than noise")


def test_without_new_starts_no_difference_is_claimed() -> None:
    compared = [comparison_page.Compared(record(name, 0.5), None) for name in ("a", "b")]
    page, text = comparison_page.page(compared, [], {}, examples.finals), comparison_page.description(compared, [])
    for shown in (page, text):
        assert comparison_page.NO_DIFFERENCES in shown and "noise</b>" not in shown
