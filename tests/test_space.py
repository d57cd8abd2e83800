from __future__ import annotations

from pathlib import Path

import pytest

from mnist_cnn.settings import SweepSettings, SweepTrainingSettings, search_space
from mnist_cnn.settings.command_line import SettingError
from mnist_cnn.settings.search_space import Choices, Range


def read(*argv: str, cls: type[SweepSettings] = SweepSettings) -> search_space.Space:
    return cls.from_command_line(argv)[1]["space"]


def test_a_word_is_a_value_several_or_a_range() -> None:
    made_of = read("--l2_weight", "1e-5..0.1:log", "--shift=0..2", "--start=noise", "--tv_weight", "0,0.1", "--pose=1")
    assert made_of.varied["l2_weight"] == Range(1e-5, 0.1, log=True)
    assert made_of.varied["shift"] == Range(0.0, 2.0)
    assert made_of.varied["tv_weight"] == Choices((0.0, 0.1))
    assert made_of.fixed["start"] == "noise" and made_of.fixed["pose"] == 1.0
    assert made_of.words()["l2_weight"] == "1e-05..0.1:log"
    assert made_of.words()["noise"] == "0"  # a default is told as well


def test_targets_hold_commas_so_several_are_separated_by_a_bar() -> None:
    assert read("--targets", "2+3,1+7|all").varied["targets"] == Choices(("2+3,1+7", "all"), "|")
    assert read("--targets", "2+3,1+7", "--goal=loss").fixed["targets"] == "2+3,1+7"


def test_a_trial_is_made_of_the_settings_of_optimize() -> None:
    made_of = read("--l2_weight", "0.1,0.2", "--steps", "7")
    settings = made_of.at({"l2_weight": 0.2, "start": "noise"})
    assert (settings.l2_weight, settings.steps, settings.start) == (0.2, 7, "noise")


def test_whole_numbers_stay_whole() -> None:
    made_of = read("--attack_steps", "1..4", "--network", "compact,smooth", cls=SweepTrainingSettings)
    assert made_of.varied["attack_steps"] == Range(1, 4, whole=True)
    assert made_of.varied["network"] == Choices(("compact", "smooth"))


def test_a_preset_of_train_is_what_all_else_is_added_to() -> None:
    made_of = read("--preset", "accurate", "--dropout", "0..0.5", cls=SweepTrainingSettings)
    assert list(made_of.varied) == ["dropout"]
    assert made_of.at({"dropout": 0.1}).network == "wide"


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["--l2_weight", "0.1..1e-5"], "does not go from less to more"),
        (["--l2_weight", "0..1:log"], "a logarithm begins above 0"),
        (["--l2_weight", "0..1:lin"], "after the colon only `log`"),
        (["--l2_weight", "-1..1"], "must be a number from 0"),
        (["--l2_weight", "x..1"], "got 'x'"),
        (["--l2_weight", "1..1e9"], "got '1e9'"),
        (["--start", "noise,white"], "got 'white'"),
        (["--start", "noise,noise"], "holds a value twice"),
        (["--targets", "2|12"], "12"),
        (["--steps", "10..20"], "must be one value"),
        (["--sampler", "grid"], "for `sampler` is grid"),
        (["--goal", "loss,probability", "--pruner", "median"], "`goal` names two"),
        (["--workers", "2", "--storage", "sqlite:///a.db"], "SQLite locks"),
        (["--l2wieght", "1"], "Did you mean `l2_weight`"),
        (["--targets", "2+3"], "where all `targets` are mixes"),
        (["--run_name", "mine"], "not a setting of `sweep`"),
    ],
)
def test_what_cannot_be_tried_is_refused_in_one_line(argv: list[str], reason: str) -> None:
    with pytest.raises(SettingError, match="^[^\n]*$") as refusal:
        read(*argv)
    assert reason in str(refusal.value)


def test_a_sweep_with_nothing_to_try_is_refused() -> None:
    words = {name: word.partition("..")[0].partition(",")[0] for name, word in SweepSettings.SPACE.items()}
    with pytest.raises(SettingError, match="nothing to try"):
        read(*(f"--{name}={word}" for name, word in words.items()))


def test_a_file_gives_settings_and_the_command_line_overrules_it(tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text('l2_weight = "0.1..0.2"\nstart = "digit"\nsteps = 9\nn_trials = 4\n')
    settings, given = SweepSettings.from_command_line(["--file", str(path), "--start", "noise"])
    assert settings.n_trials == 4
    assert given["space"].varied["l2_weight"] == Range(0.1, 0.2)
    assert given["space"].fixed["steps"] == 9 and given["space"].fixed["start"] == "noise"


@pytest.mark.parametrize(
    ("content", "reason"),
    [("l2_weight = ", "TOML"), ("bogus = 1", "`bogus`"), ("shift = [0, 1]", "as a table or list")],
)
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(content)
    with pytest.raises(SettingError, match=reason):
        read("--file", str(path))
