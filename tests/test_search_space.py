from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnist_cnn.settings import OptimizeSettings, SettingError, SweepFileSettings, SweepSettings, SweepTrainingSettings
from mnist_cnn.settings.search_space import Choices, Range, Space


def read(*argv: str, cls: type[SweepSettings] = SweepSettings) -> Space:
    return cls.from_command_line(argv).space


def test_a_word_is_a_value_several_or_a_range() -> None:
    space = read("--l2_weight", "1e-5..0.1:log", "--shift=0..2", "--start=noise", "--tv_weight", "0,0.1", "--pose=1")
    assert space.varied["l2_weight"] == Range(1e-5, 0.1, log=True)
    assert space.varied["shift"] == Range(0.0, 2.0)
    assert space.varied["tv_weight"] == Choices((0.0, 0.1))
    assert space.fixed["start"] == "noise" and space.fixed["pose"] == 1.0
    assert space.words()["l2_weight"] == "1e-05..0.1:log"
    assert space.words()["noise"] == "0"  # a default stands among the words as well


def test_targets_hold_commas_so_several_are_separated_by_a_bar() -> None:
    assert read("--targets", "2+3,1+7|all").varied["targets"] == Choices(("2+3,1+7", "all"), "|")
    assert read("--targets", "2+3,1+7", "--goal=loss").fixed["targets"] == "2+3,1+7"


def test_a_trial_is_made_of_the_settings_of_optimize() -> None:
    space = read("--l2_weight", "0.1,0.2", "--steps", "7")
    settings = space.at({"l2_weight": 0.2, "start": "noise"})
    assert (settings.l2_weight, settings.steps, settings.start) == (0.2, 7, "noise")


def test_whole_numbers_stay_whole() -> None:
    space = read("--attack_steps", "1..4", "--network", "compact,smooth", cls=SweepTrainingSettings)
    assert space.varied["attack_steps"] == Range(1, 4, whole=True)
    assert space.varied["network"] == Choices(("compact", "smooth"))


def test_what_is_tried_stands_in_the_order_of_the_fields() -> None:
    names = list(read("--pose", "0..1", "--seed", "1").varied)
    assert names == [name for name in OptimizeSettings.names() if name in names]


def test_a_preset_of_train_leaves_out_what_is_tried_by_default() -> None:
    space = read("--preset", "accurate", "--dropout", "0..0.5", cls=SweepTrainingSettings)
    assert list(space.varied) == ["dropout"]
    assert space.at({"dropout": 0.1}).network == "wide"


def test_python_gives_words_or_values_which_overrule_the_default_space() -> None:
    given: dict[str, Any] = {"l2_weight": "1e-4..1e-2:log", "steps": np.int64(50), "tv_weight": [0, 0.1], "shift": 1}
    settings = SweepSettings(n_trials=3, space={**given, "degrees": Range(1.0, 2.0), "pose": Choices((0.0, 1.0))})
    words = {"l2_weight": "1e-4..1e-2:log", "steps": "50", "tv_weight": "0,0.1", "shift": "1"}
    assert settings == SweepSettings.from_words({**words, "n_trials": "3", "degrees": "1..2", "pose": "0,1"})
    assert settings.space.varied["temperature"] == Range(1.0, 8.0, log=True)
    assert settings.given == {"n_trials", *given, "degrees", "pose"}
    assert settings.replace(shift="0..3").space.varied["shift"] == Range(0.0, 3.0)
    assert settings.replace(workers=2).space.words() == settings.space.words()
    assert SweepSettings(**settings.values()) == settings
    assert SweepSettings(space=settings.space, n_trials=3) == settings


@pytest.mark.parametrize("space", [3, "l2_weight", {"bogus": 1}, {"l2_weight": True}, {"run_name": 3}, {"seed": 0.5}])
def test_a_space_that_python_cannot_give_is_refused(space: object) -> None:
    with pytest.raises(SettingError, match="^[^\n]*$"):
        SweepSettings(space=space)


def test_a_worker_can_be_started_with_the_words_of_a_sweep() -> None:
    whole = SweepTrainingSettings(
        storage="postgresql://me:secret@host/db", space={"preset": "accurate", "dropout": "0..0.5", "epochs": 1}
    )
    words = {name: word for name, word in whole.as_words(secrets=True).items() if word}
    assert SweepTrainingSettings.from_words(words) == whole


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["--l2_weight", "0.1..1e-5"], "does not go from less to more"),
        (["--l2_weight", "0..1:log"], "a logarithm begins above 0"),
        (["--l2_weight", "0..1:lin"], "after the colon only `log`"),
        (["--l2_weight", "-1..1"], "must be a number from 0"),
        (["--l2_weight", "x..1"], "got 'x'"),
        (["--l2_weight", "1..1e9"], "got '1e9'"),
        (["--l2_weight", "0..1" + "0" * 5000], "must be a number from 0"),
        (["--l2_weight", ""], "must be a number from 0"),
        (["--model", ""], "must be the id of a run"),
        (["--start", "noise,white"], "got 'white'"),
        (["--start", "noise,noise"], "holds a value twice"),
        (["--targets", "2|52"], "52"),
        (["--steps", "10..20"], "must be one value"),
        (["--sampler", "grid"], "for `sampler` is grid"),
        (["--goal", "loss,probability", "--pruner", "median"], "`goal` names two"),
        (["--goal", "merit", "--num_images", "1"], "`num_images` must be at least 2, for `goal` is merit"),
        (["--goal", "loss,diversity", "--num_images", "1"], "`num_images` must be at least 2"),
        (["--workers", "2", "--storage", "sqlite:///a.db"], "SQLite locks"),
        (["--storage", "grpc://host"], "or be grpc://HOST:PORT; got 'grpc://host'"),
        (["--l2wieght", "1"], "Did you mean `l2_weight`"),
        (["--targets", "2+3"], "where all `targets` are mixes"),
        (["--run_name", "mine"], "not a setting of `sweep`"),
    ],
)
def test_what_cannot_be_tried_is_refused_in_one_line(argv: list[str], reason: str) -> None:
    with pytest.raises(SettingError, match="^[^\n]{1,300}$") as refusal:
        read(*argv)
    assert reason in str(refusal.value)


def test_one_image_a_target_is_enough_for_a_goal_that_looks_at_each_image() -> None:
    assert read("--goal", "recognised,probability", "--num_images", "1").fixed["num_images"] == 1


def test_a_sweep_with_nothing_to_try_is_refused() -> None:
    words = {name: word.partition("..")[0].partition(",")[0] for name, word in SweepSettings.SPACE.items()}
    with pytest.raises(SettingError, match="nothing to try"):
        SweepSettings(space=words)


def test_nothing_is_pruned_with_two_goals() -> None:
    settings = SweepSettings(goal="recognised,probability")
    assert settings.pruner == "none" != SweepSettings().pruner
    assert SweepSettings(**settings.values()) == settings
    with pytest.raises(SettingError, match="`pruner` must be none, for `goal` names two; got 'hyperband'"):
        SweepSettings(goal="loss,probability", pruner="hyperband")


def a_file(folder: Path, content: str | bytes) -> str:
    path = folder / "my sweep.toml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def test_a_file_gives_settings_and_the_command_line_overrules_it(tmp_path: Path) -> None:
    path = a_file(tmp_path, 'l2_weight = "0.1..0.2"\nstart = "digit"\nsteps = 9\nn_trials = 4\n')
    settings = SweepFileSettings.from_command_line(["--file", path, "--start", "noise", "--sweep", "mine"])
    expected = SweepSettings(n_trials=4, sweep="mine", space={"l2_weight": "0.1..0.2", "start": "noise", "steps": 9})
    assert type(settings.sweep) is SweepSettings
    assert settings.sweep == expected
    assert settings.given == {"file", "start", "sweep"}
    assert settings.command_line() == f"mlflow run . -e sweep_file -P 'file={path}' -P sweep=mine -P start=noise"
    assert settings.as_words() == {"file": path, **expected.as_words()}
    assert settings.replace(workers=2).sweep == expected.replace(workers=2)


def test_a_file_may_be_of_a_sweep_of_trainings(tmp_path: Path) -> None:
    path = a_file(tmp_path, 'command = "sweep_training"\nrecalibrate = false\ndropout = "0..0.5"\n')
    sweep = SweepFileSettings(file=path).sweep
    assert sweep == SweepTrainingSettings(space={"recalibrate": False, "dropout": "0..0.5"})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("l2_weight = ", "must be the path of a TOML file"),
        ("bogus = 1", "holds `bogus`, which is not a setting of `sweep`"),
        ("step = 1", "Did you mean `steps`?"),
        ("shift = [0, 1]", "as a table or list"),
        ("[shift]\nlow = 0", "as a table or list"),
        ("steps = true", "`steps` must be a whole number"),
        ("shift = inf", "`shift` must be a number"),
        ("steps = " + "1" * 5000, "must be the path of a TOML file"),
        ('command = "train"', "`command` must be one of sweep, sweep_training; got 'train'"),
        ('goal = "loss,probability"\npruner = "median"', "`pruner` must be none, for `goal` names two; got 'median'"),
        ('goal = "merit"\nnum_images = 1', "`num_images` must be at least 2"),
        ('file = "other.toml"', "`file`, which is not a setting of `sweep`"),
        ("a = " + "[" * 100_000, "nested too deeply"),
        (b'sweep = "\xff"', "must be the path of a TOML file"),
        ("#" * 1_000_001, "it has more than 1,000,000 bytes"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(tmp_path: Path, content: str | bytes, reason: str) -> None:
    with pytest.raises(SettingError, match="^[^\n]{1,300}$") as refusal:
        SweepFileSettings.from_words({"file": a_file(tmp_path, content)})
    assert reason in str(refusal.value)


@pytest.mark.parametrize("path", ["nowhere.toml", ".", "/dev/zero", "a\0b", "x" * 10_000])
def test_what_is_not_a_file_is_refused_in_one_line(path: str) -> None:
    with pytest.raises(SettingError, match="^`file` must be the path of a TOML file; got [^\n\0]{1,300}$"):
        SweepFileSettings(file=path)
