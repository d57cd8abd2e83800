from __future__ import annotations

import math
import pickle
import random
import re
import resource
import shlex
import subprocess
import sys
import typing
from typing import Any

import numpy as np
import pytest
from conftest import PROJECT

from mnist_cnn.settings import (
    ENTRY_POINTS,
    AscentSettings,
    OptimizeSettings,
    RegisterSettings,
    ReplaySettings,
    ReproduceSettings,
    ResumeSettings,
    RollbackSettings,
    SettingError,
    Settings,
    SweepSettings,
    SweepTrainingSettings,
    TrainSettings,
    hide_password,
)

REQUIRED = {
    "run": "0123abcd" * 4,
    "runs": f"{'0123abcd' * 4},{'4567abcd' * 4}",
    "trial": "mine:3",
    "version": "3",
    "to": "site",
    "images": "pictures",
}


def words_needed(cls: type[Settings]) -> dict[str, str]:
    own = {field for field in cls.model_fields if field != "changes"} if hasattr(cls, "OTHERS") else {*cls.names()}
    return {name: REQUIRED[name] for name in cls.names() if name in REQUIRED and name in own}


def refusal(cls: type[Settings], words: dict[str, str]) -> str:
    with pytest.raises(SettingError, match="^[^\n]*$") as error:
        cls.from_words({**words_needed(cls), **words})
    return str(error.value)


def parsed(line: str, *, as_mlflow: bool = True) -> Settings:
    """The settings of a printed command, as a shell, MLflow and the dispatcher read it."""
    parts = shlex.split(line)
    if not as_mlflow:
        assert parts[:3] == ["python", "-m", "pipelines"]
        return ENTRY_POINTS[parts[3]].from_command_line(parts[4:])
    assert parts[:3] == ["mlflow", "run", "."]
    name, rest = (parts[4], parts[5:]) if parts[3:4] == ["-e"] else ("reproduce", parts[3:])
    assert all(flag == "-P" for flag in rest[::2])
    return ENTRY_POINTS[name].from_words(dict(pair.split("=", 1) for pair in rest[1::2]))


@pytest.mark.parametrize(
    ("cls", "name", "word", "allowed"),
    [
        (TrainSettings, "epochs", "0", "a whole number from 1 to 10,000"),
        (TrainSettings, "epochs", "10001", "a whole number from 1 to 10,000"),
        (TrainSettings, "epochs", "2.0", "a whole number from 1 to 10,000"),
        (TrainSettings, "epochs", "1e3", "a whole number from 1 to 10,000"),
        (TrainSettings, "epochs", "1_0", "a whole number from 1 to 10,000"),
        (TrainSettings, "epochs", " 1", "a whole number from 1 to 10,000"),
        (TrainSettings, "epochs", "", "a whole number from 1 to 10,000"),
        (TrainSettings, "learning_rate", "0", "a number above 0 and at most 10"),
        (TrainSettings, "learning_rate", "nan", "a number above 0 and at most 10"),
        (TrainSettings, "learning_rate", "inf", "a number above 0 and at most 10"),
        (TrainSettings, "learning_rate", "0,01", "a number above 0 and at most 10"),
        (TrainSettings, "label_smoothing", "1", "a number of at least 0 and below 1"),
        (TrainSettings, "recalibrate", "maybe", "true or false"),
        (TrainSettings, "schedule", "cosine", "one of one_cycle, constant"),
        (TrainSettings, "run_name", "", "a text that is not empty"),
        (RollbackSettings, "version", "0", "a whole number from 1 to"),
        (RegisterSettings, "metric", "test_accuracy", "the name of a metric that is not of the test images"),
        (RegisterSettings, "name", "a/b", "of letters, digits, _ . - and spaces"),
        (ENTRY_POINTS["compare"], "along", "start", "a number among the settings of optimize or train"),
        (ENTRY_POINTS["ablation"], "networks", "robust,robust", "all, or several of ordinary, noise-trained"),
        (ENTRY_POINTS["experiments"], "experiments", "7", "all, or numbers from 1 to 6"),
        (ENTRY_POINTS["sweep"], "goal", "loss,loss", "one or two of recognised, diversity"),
        (OptimizeSettings, "start_class", "47", "target, or a class from 0 to 46"),
    ],
)
def test_a_bad_word_is_refused_in_one_line_with_name_value_and_what_is_allowed(
    cls: type[Settings], name: str, word: str, allowed: str
) -> None:
    message = refusal(cls, {name: word})
    assert message.startswith(f"`{name}` must be {allowed}")
    assert f"got {word!r}" in message


@pytest.mark.parametrize("cls", ENTRY_POINTS.values())
def test_every_number_is_refused_beyond_its_limits(cls: type[Settings]) -> None:
    for name, field in cls.model_fields.items():
        for mark in field.metadata:
            for end, step in (("ge", -1), ("gt", 0), ("le", 1), ("lt", 0)):
                if getattr(mark, end, None) is not None:
                    beyond = str(int(getattr(mark, end)) + step)
                    assert refusal(cls, {name: beyond}).startswith(f"`{name}` must be ")


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (
            ["--bogus", "1"],
            "`bogus` is not a setting of `train`; got '1'. python -m pipelines train --help lists them.",
        ),
        (["--epoch", "1"], "`epoch` is not a setting of `train`; got '1'. Did you mean `epochs`?"),
        (["--epochs"], "`epochs` must be followed by a value"),
        (["3"], "is not of the form --setting value; see python -m pipelines train --help."),
        (["-e", "3"], "is not of the form --setting value"),
        (["--"], "is not of the form --setting value"),
        (["--epochs", "1", "--epochs", "2"], "`epochs` was given twice: '1' and '2'"),
        (["--network", "compct"], "Did you mean compact?"),
        (["--network", "wide\nnoise"], r"got 'wide\nnoise'"),
        (["--a\x1bb\n", "1"], r"`a\x1bb\n` is not a setting"),
    ],
)
def test_a_bad_command_line_says_what_is_wrong(argv: list[str], expected: str) -> None:
    with pytest.raises(SettingError, match="^[^\n\x1b]*$") as error:
        TrainSettings.from_command_line(argv)
    assert expected in str(error.value)


def test_dashes_and_an_equals_sign_are_read_too() -> None:
    settings = TrainSettings.from_command_line(["--batch-size=64", "--recalibrate", "no", "--learning-rate", "3e-4"])
    assert settings == TrainSettings(batch_size=64, recalibrate=False, learning_rate=3e-4)
    assert settings.given == {"batch_size", "recalibrate", "learning_rate"}


@pytest.mark.parametrize("digits", ["1" + "0" * 400, "1" + "0" * 5000, "x" * 100_000])
@pytest.mark.parametrize("name", ["epochs", "learning_rate"])
def test_a_huge_value_is_refused_in_a_short_line(name: str, digits: str) -> None:
    assert len(refusal(TrainSettings, {name: digits})) < 200
    assert len(refusal(OptimizeSettings, {"targets": digits})) < 400
    assert len(refusal(TrainSettings, {digits: "1"})) < 700


@pytest.mark.parametrize("digits", [400, 5000])
def test_a_huge_python_number_is_refused_in_a_short_line(digits: int) -> None:
    for name in ("epochs", "learning_rate"):
        with pytest.raises(SettingError, match=f"^`{name}` must be [^\n]{{,200}}$"):
            TrainSettings(**{name: 10**digits})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("learning_rate", value) for value in (math.nan, math.inf, "0.1", None, True, [0.1], np.array([0.1]))),
        *(("epochs", value) for value in ("3", 3.0, True, np.float64(3), np.bool_(True), None)),
        *(("recalibrate", value) for value in (1, "true", None)),
        *(("network", value) for value in ("resnet", None, 1, ["compact"])),
        *(("run_name", value) for value in (7, b"a", None, " a", "a\n")),
        *(("preset", value) for value in (["accurate"], None, "fast")),
    ],
)
def test_python_construction_is_strict_about_types(name: str, value: object) -> None:
    with pytest.raises(SettingError, match=f"^`{name}` must be [^\n]*$"):
        TrainSettings(**{name: value})


def test_scalars_of_numpy_and_whole_numbers_for_floats_are_taken() -> None:
    settings = TrainSettings(epochs=np.int64(3), learning_rate=np.float32(0.5), weight_decay=1)
    assert (settings.epochs, settings.learning_rate, settings.weight_decay) == (3, 0.5, 1.0)
    assert [type(getattr(settings, name)) for name in ("epochs", "learning_rate", "weight_decay")] == [
        int,
        float,
        float,
    ]


def test_settings_do_not_change_once_they_are_made() -> None:
    with pytest.raises(ValueError, match="frozen"):
        TrainSettings().epochs = 3


@pytest.mark.parametrize("values", [[0.1, 0.2], (1, 2), np.array([0.1, 0.2], np.float32), [np.float32(0.5), 1]])
def test_a_number_for_each_image_is_taken(values: Any) -> None:
    settings = AscentSettings(l2_weight=values)
    assert settings.l2_weight is values
    assert settings == AscentSettings(l2_weight=[float(value) for value in values])
    assert settings != AscentSettings(l2_weight=[0.1, 0.3])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.1, -1.0, 0.2], r"`l2_weight` must be a number from 0 to 1,000,000; got -1.0. (Entry 1 of 3.)"),
        (np.array([0.1, np.nan]), "got nan. (Entry 1 of 2.)"),
        ([True], "got True. (Entry 0 of 1.)"),
        (["0.1"], "got '0.1'. (Entry 0 of 1.)"),
        (np.zeros((2, 2)), "got [0.0, 0.0]. (Entry 0 of 2.)"),
        ([], "`l2_weight` must hold at least one number; got none."),
        (np.zeros(0), "`l2_weight` must hold at least one number; got none."),
    ],
)
def test_each_entry_of_a_number_for_each_image_is_checked(values: Any, expected: str) -> None:
    with pytest.raises(SettingError, match="^[^\n]*$") as error:
        AscentSettings(l2_weight=values)
    assert expected in str(error.value)


def test_numbers_for_each_image_are_not_taken_from_a_command_line() -> None:
    assert "got '0.1,0.2'" in refusal(OptimizeSettings, {"l2_weight": "0.1,0.2"})


@pytest.mark.parametrize(
    ("cls", "name", "command"),
    [
        (TrainSettings, "resume", "mlflow run . -e resume -P run=ID"),
        (OptimizeSettings, "from_trial", "mlflow run . -e replay -P trial=SWEEP:NUMBER"),
        (RegisterSettings, "alias", "mlflow run . -e rollback -P version=N"),
        (RegisterSettings, "version", "mlflow run . -e rollback -P version=N"),
        (SweepSettings, "file", "mlflow run . -e sweep_file -P file=PATH"),
        (SweepTrainingSettings, "file", "mlflow run . -e sweep_file -P file=PATH"),
    ],
)
def test_a_setting_that_is_a_command_now_names_the_command(cls: type[Settings], name: str, command: str) -> None:
    assert refusal(cls, {name: "1"}) == f"`{name}` is a command of its own now: {command}"
    assert command.split()[-1].split("=")[0] in ENTRY_POINTS[command.split()[4]].names()


@pytest.mark.parametrize(
    ("cls", "expected"),
    [
        (ResumeSettings, "`run` must be given: id of the run of the interrupted training."),
        (ReplaySettings, "`trial` must be given: SWEEP:NUMBER, or the run id of a trial."),
        (RollbackSettings, "`version` must be given: the version that the alias shall point to."),
        (ENTRY_POINTS["sweep_file"], "`file` must be given: path of the TOML file."),
    ],
)
def test_a_required_setting_that_is_missing_is_explained(cls: type[Settings], expected: str) -> None:
    for make in (cls, lambda: cls.from_words({})):
        with pytest.raises(SettingError) as error:
            make()
        assert str(error.value) == expected


def test_a_model_is_named_once() -> None:
    with pytest.raises(SettingError, match="both say which model; give one"):
        RegisterSettings(model="models:/x/1", experiment="mine")


def test_what_is_given_overrules_the_preset_and_the_preset_the_default() -> None:
    plain, accurate = TrainSettings(), TrainSettings(preset="accurate")
    assert TrainSettings.PRESETS["accurate"]["epochs"] == accurate.epochs != plain.epochs
    # Also where it is given as the plain default's own value.
    mixed = TrainSettings(preset="accurate", epochs=plain.epochs)
    assert (mixed.epochs, mixed.network) == (plain.epochs, "wide")
    assert mixed == TrainSettings.from_words({"preset": "accurate", "epochs": "1"})
    assert mixed.given == {"preset", "epochs"}
    assert mixed.replace(seed=1).given == {"preset", "epochs", "seed"}


@pytest.mark.parametrize("preset", TrainSettings.PRESETS)
def test_stored_settings_are_read_back_as_they_were(preset: str) -> None:
    settings = TrainSettings(preset=preset, epochs=3, recalibrate=True)
    assert TrainSettings(**settings.values()) == settings
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert typing.get_args(TrainSettings.model_fields["preset"].annotation) == tuple(TrainSettings.PRESETS)


@pytest.mark.parametrize("cls", [cls for cls in ENTRY_POINTS.values() if cls.COMMAND != "sweep_file"])
def test_settings_survive_being_written_as_words_and_read_again(cls: type[Settings]) -> None:
    settings = cls.from_words(words_needed(cls))
    assert cls.from_words({name: word for name, word in settings.as_words().items() if word}) == settings


@pytest.mark.parametrize("cls", ENTRY_POINTS.values())
def test_every_default_is_within_its_limits(cls: type[Settings]) -> None:
    for name, field in cls.model_fields.items():
        if field.default not in ("", ...) and not field.is_required():
            cls(**{**{key: 3 if key == "version" else REQUIRED[key] for key in words_needed(cls)}, name: field.default})


def test_a_replayed_trial_is_overruled_by_what_is_given() -> None:
    of_trial = OptimizeSettings(steps=20, l2_weight=0.5, seed=4)
    replay = ReplaySettings.from_words({"trial": "mine:3", "steps": "500", "run_name": "again"})
    assert replay.over(of_trial) == OptimizeSettings(steps=500, l2_weight=0.5, seed=4, run_name="again")
    # A default that is given is named, for the trial may have another value.
    assert replay.command_line() == "mlflow run . -e replay -P run_name=again -P steps=500 -P trial=mine:3"


def test_the_command_names_what_the_preset_changes_and_nothing_else() -> None:
    settings = TrainSettings(preset="accurate", epochs=1)
    assert settings.command_line() == "mlflow run . -e train -P preset=accurate -P epochs=1"
    assert settings.command_line(as_mlflow=False) == "python -m pipelines train --preset=accurate --epochs=1"
    assert ReproduceSettings(scale="smoke").command_line() == "mlflow run . -P scale=smoke"
    assert (
        TrainSettings(run_name="it's a run").command_line() == """mlflow run . -e train -P 'run_name=it'"'"'s a run'"""
    )


def drawn(cls: type[Settings], chance: random.Random) -> dict[str, str]:
    """Words for some of the settings of `cls`, at random."""
    words = {}
    for name, field in cls.model_fields.items():
        if chance.random() < 0.5 or name == "space":
            continue
        choices = typing.get_args(field.annotation)
        if name in ("run_name", "sweep", "model", "dataset"):
            words[name] = chance.choice(["it's mine", 'a "b" $c', "x=y", "--z", "ü", "*", "/data/my set,2.npz"])
            if name == "model":
                words[name] = "models:/mnist cnn/3"
        elif name == "targets":
            words[name] = chance.choice(["all", "2+3,7", "1:0.7+7:0.3"])
        elif choices:
            words[name] = chance.choice(choices)
        elif field.annotation is bool:
            words[name] = chance.choice(["true", "no"])
        elif field.annotation is int:
            words[name] = str(chance.randint(2, 8))
        elif field.annotation is float:
            words[name] = repr(chance.uniform(0.01, 0.99))
    return words


@pytest.mark.parametrize("as_mlflow", [True, False])
@pytest.mark.parametrize("number", range(40))
def test_the_printed_command_gives_equal_settings(number: int, as_mlflow: bool) -> None:
    chance = random.Random(number)
    made: list[Settings] = [OptimizeSettings.from_words(drawn(OptimizeSettings, chance))]
    made += [TrainSettings.from_words({**drawn(TrainSettings, chance), "preset": p}) for p in TrainSettings.PRESETS]
    trial = {name: word for name, word in drawn(OptimizeSettings, chance).items() if name in SweepSettings.names()}
    own = {name: word for name, word in drawn(SweepSettings, chance).items() if name != "sampler"}
    tried = {"l2_weight": "1e-3..0.1:log", "start": "noise,digit", "targets": "2,3|7"}
    made.append(SweepSettings.from_words({**own, **trial, **tried}))
    of_training = {name: word for name, word in drawn(TrainSettings, chance).items() if name != "run_name"}
    made.append(SweepTrainingSettings.from_words({**own, **of_training, "dropout": "0..0.5"}))
    for settings in made:
        assert parsed(settings.command_line(as_mlflow=as_mlflow), as_mlflow=as_mlflow) == settings


@pytest.mark.parametrize(
    ("address", "hidden"),
    [
        ("postgresql://user:secret@host:5432/db", "postgresql://user@host:5432/db"),
        ("postgresql://user:se@cr/e:t://@host/db", "postgresql://user@host/db"),
        ("postgresql+psycopg://:secret@host/db", "postgresql+psycopg://@host/db"),
        ("postgresql://user@host/db", "postgresql://user@host/db"),
        ("postgresql://host:5432/db", "postgresql://host:5432/db"),
        ("postgresql://host/db?user=me&password=secret&port=1", "postgresql://host/db?user=me&password=***&port=1"),
        ("sqlite:////data/a:b@c/sweeps.db", "sqlite:////data/a:b@c/sweeps.db"),
        ("my:folder@home/sweeps.journal", "my:folder@home/sweeps.journal"),
    ],
)
def test_the_password_of_a_storage_is_shown_nowhere(address: str, hidden: str) -> None:
    assert hide_password(address) == hidden
    settings = SweepSettings(storage=address)
    assert settings.as_words()["storage"] == settings.values()["storage"] == hidden
    assert settings.storage == settings.as_words(secrets=True)["storage"] == address
    shown = [repr(settings), str(settings), settings.command_line(), refusal(SweepSettings, {"storage": address + " "})]
    shown += [refusal(SweepSettings, {"storag": address})]
    assert not any("secret" in text or "se@cr" in text for text in shown)


def test_a_token_before_the_host_of_a_web_address_is_hidden() -> None:
    assert hide_password("https://ghp_1a2b@host/a/b") == "https://***@host/a/b"
    assert hide_password("git+HTTP://ghp_1a2b@host/a@b") == "git+HTTP://***@host/a@b"
    assert hide_password("https://host/a@b") == "https://host/a@b"
    assert hide_password("http://me:se@c/ret@host:1/a") == "http://***@host:1/a" == hide_password("http://***@host:1/a")


@pytest.mark.parametrize("cls", ENTRY_POINTS.values())
def test_help_names_every_setting_with_its_default(cls: type[Settings]) -> None:
    page = cls.help()
    only = {"sweep_file": {"file"}, "again": {"run"}, "seeds": {"of", "seeds"}}.get(cls.COMMAND, {*cls.names()})
    for name in only:
        assert f"--{name} " in page
    flat = " ".join(page.split())
    for name, field in cls.model_fields.items():
        if name in cls.names():
            assert " ".join((field.description or "").split()) in flat
    assert all(f"  {preset} " in page for preset in cls.PRESETS)
    assert f"python -m pipelines {cls.COMMAND} " in page
    assert max(map(len, page.splitlines())) <= 110


@pytest.mark.parametrize("cls", ENTRY_POINTS.values())
def test_every_command_refuses_an_unknown_name(cls: type[Settings]) -> None:
    assert f"`bogus` is not a setting of `{cls.COMMAND}`; got '1'." in refusal(cls, {"bogus": "1"})
    for hidden in ("space", "resolved"):
        assert f"`{hidden}` is not a setting" in refusal(cls, {hidden: "1"})


def test_no_sentence_that_a_user_reads_is_long() -> None:
    for cls in ENTRY_POINTS.values():
        for text in [cls.__doc__ or "", *(field.description or "" for field in cls.model_fields.values())]:
            for sentence in re.split(r"[.?;:](?:\s|$)", text):
                assert len(sentence.split()) <= 25, sentence


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_help_and_refusals_take_less_than_a_second_and_no_heavy_package(command: str) -> None:
    program = (
        "import sys; from mnist_cnn.settings import ENTRY_POINTS, SettingError\n"
        "try:\n    ENTRY_POINTS[sys.argv[1]].from_command_line(sys.argv[2:])\n"
        "except SettingError as error:\n    print(error)\n"
        "finally:\n    print({'tensorflow', 'keras', 'mlflow', 'optuna', 'numpy'} & {*sys.modules}, file=sys.stderr)\n"
    )
    for words, expected in ((["--help"], "usage: python -m pipelines"), (["--seed", "none"], "`seed` must be a whole")):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-c", program, command, *words],
            cwd=PROJECT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        after = resource.getrusage(resource.RUSAGE_CHILDREN)  # not the clock: others may use the machine
        assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1
        assert done.stdout.startswith(expected)
        assert done.stderr == "set()\n"
