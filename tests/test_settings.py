from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import fields

import pytest
from conftest import PROJECT

from mnist_cnn.settings import ENTRY_POINTS, EvaluateSettings, TrainSettings
from mnist_cnn.settings.command_line import SettingError, Settings

NUMBER = ["", "abc", "-1", "nan", "inf", "0,1"]
ASCENT = [
    ("steps", ["", "0", "2.5", "-1", "many"]),
    ("snapshot_every", ["", "0", "2.5"]),
    ("learning_rate", [*NUMBER, "0", "11"]),
    ("schedule", ["", "one_cycle"]),
    ("objective", ["", "hinge", "cross-entropy"]),
    *((f"{name}_weight", [*NUMBER, "1e7"]) for name in ("l2", "tv", "smoothness", "border", "feature")),
    ("temperature", [*NUMBER, "0", "1001"]),
    ("pose", [*NUMBER, "9"]),
    ("shift", [*NUMBER, "101"]),
    ("degrees", [*NUMBER, "181"]),
    ("scale", [*NUMBER, "1"]),
    ("noise", [*NUMBER, "11"]),
    ("seed", ["", "-1", "1.5", "2147483648", "x"]),
    ("memory_gib", [*NUMBER, "0"]),
    ("model", [""]),
    ("num_images", ["", "0", "1.5", "100001"]),
    ("sigma", [*NUMBER, "0", "11"]),
    ("dataset", [""]),
    ("run_name", [""]),
]

SWEEP = [
    ("n_trials", ["", "0", "2.5", "many", "1000001"]),
    ("goal", ["", "beauty", "loss,loss", "recognised,probability,loss", "validation_accuracy,loss"]),
    ("sampler", ["", "TPE", "bayes"]),
    ("pruner", ["", "asha"]),
    ("workers", ["", "0", "1.5", "1025"]),
    ("sweep", [""]),
    ("file", ["", "nowhere.toml"]),
    ("storage", [""]),
]

# entry point, setting, words that must be refused
REFUSED = [
    ("train", "preset", ["", "fast", "Quick", "1"]),
    ("train", "network", ["", "compct", "resnet", "compact,report"]),
    ("train", "dataset", [""]),
    ("train", "epochs", ["", "abc", "2.7", "0", "-3", "1e3", "nan", "10001", "1_0", " 1", "None"]),
    ("train", "batch_size", ["", "x", "0", "-1", "65537", "128.0"]),
    ("train", "learning_rate", ["", "abc", "0", "-1e-3", "nan", "inf", "-inf", "11", "0,01", "1e-3x"]),
    ("train", "schedule", ["", "cosine"]),
    ("train", "weight_decay", ["", "-0.1", "nan", "x", "11"]),
    ("train", "label_smoothing", ["", "-0.1", "1", "nan", "ten"]),
    ("train", "augmentation", ["", "-1", "3.5", "inf", "yes"]),
    ("train", "robustness", ["", "pgd", "L2", "l2,noise"]),
    ("train", "epsilon", ["", "0", "-1", "nan", "29", "two"]),
    ("train", "attack_steps", ["", "0", "2.5", "1001"]),
    ("train", "ramp", ["", "-0.1", "1.1", "half"]),
    ("train", "noise", ["", "-0.1", "nan", "11"]),
    ("train", "off_manifold", ["", "-0.1", "nan", "101"]),
    ("train", "dropout", ["", "-0.1", "1", "nan"]),
    ("train", "recalibrate", ["", "maybe", "2"]),
    ("train", "validation_fraction", ["", "0", "1", "-0.1", "nan", "10%"]),
    ("train", "precision", ["", "float64", "bf16"]),
    ("train", "seed", ["", "-1", "1.5", "2147483648", "x"]),
    ("train", "resume", [""]),
    ("train", "run_name", [""]),
    ("evaluate", "model", [""]),
    ("evaluate", "dataset", [""]),
    ("evaluate", "batch_size", ["", "0", "many"]),
    ("evaluate", "run_name", [""]),
    ("evaluate", "epsilon", ["", "-1", "nan", "29", "two"]),
    *(("answer", name, [""]) for name in ("ordinary", "noise_trained", "robust", "readable", "dataset", "run_name")),
    ("answer", "networks", ["", "robust,good", "robust,robust", "none"]),
    ("answer", "num_images", ["", "1", "2.5", "10001"]),
    ("answer", "tuning_images", ["", "1", "2.5", "10001"]),
    ("answer", "steps", ["", "0", "2.5", "many"]),
    ("answer", "seed", ["", "-1", "1.5", "2147483648", "x"]),
    ("compare", "sweeps", [""]),
    ("compare", "along", ["", "start", "bogus"]),
    ("compare", "confirm", ["", "-1", "2.5", "10001"]),
    ("compare", "seed", ["", "-1", "1.5", "2147483648", "x"]),
    ("compare", "dataset", [""]),
    ("compare", "run_name", [""]),
    ("main", "scale", ["", "small", "Full"]),
    ("main", "dataset", [""]),
    ("main", "fresh", ["", "maybe"]),
    ("main", "seed", ["", "-1", "1.5", "2147483648", "x"]),
    ("main", "run_name", [""]),
    ("register", "model", [""]),
    ("register", "experiment", [""]),
    ("register", "metric", ["", "test_accuracy"]),
    ("register", "margin", [*NUMBER, "1.1"]),
    ("register", "name", ["", "a/b", "models:/x", "a@b", "it's"]),
    ("register", "attacked", ["", "-1", "2.5"]),
    ("register", "num_images", ["", "-1", "2.5", "10001"]),
    ("register", "dataset", [""]),
    ("register", "dry_run", ["", "maybe"]),
    ("register", "alias", ["", "winner", "Champion"]),
    ("register", "version", ["", "-1", "one"]),
    ("register", "run_name", [""]),
    ("optimize", "targets", ["", "10", "2+x", "1:0.7+7:0.4", "2,2", "two", "2;3"]),
    ("optimize", "start", ["", "white", "digit:5"]),
    ("optimize", "from_trial", [""]),
    ("optimize", "start_class", ["", "10", "-1", "5.0", "two"]),
    ("experiments", "experiments", ["", "0", "7", "1,1", "one", "1-3"]),
    ("judges", "panel", ["", "C", "a", "A,B"]),
    ("judges", "dataset", [""]),
    ("judges", "seed", ["", "-1", "1.5", "2147483648", "x"]),
    ("judges", "run_name", [""]),
    *((program, name, words) for program in ("optimize", "experiments") for name, words in ASCENT),
    *((program, name, words) for program in ("sweep", "sweep_training") for name, words in SWEEP),
]


def test_the_table_covers_every_setting_of_every_entry_point() -> None:
    covered = {(program, name) for program, name, _ in REFUSED}
    assert covered == {(program, field.name) for program, cls in ENTRY_POINTS.items() for field in fields(cls)}


@pytest.mark.parametrize(("program", "name", "word"), [(p, n, w) for p, n, words in REFUSED for w in words])
@pytest.mark.parametrize("form", ["--{name} {word}", "--{name}={word}"])
def test_a_bad_value_is_refused_in_one_line_with_name_value_and_what_is_allowed(
    program: str, name: str, word: str, form: str
) -> None:
    argv = [form.split(" ")[0].format(name=name), word] if " " in form else [form.format(name=name, word=word)]
    with pytest.raises(SettingError) as refusal:
        ENTRY_POINTS[program].from_command_line(argv)
    message = str(refusal.value)
    assert message.startswith(f"`{name}` must be ")
    assert f"got {word!r}" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--bogus", "1"], "`bogus` is not a setting of `train`"),
        (["--epoch", "1"], "Did you mean `epochs`?"),
        (["--epochs"], "`epochs` must be followed by a value"),
        (["3"], "is not of the form --setting value"),
        (["-e", "3"], "is not of the form --setting value"),
        (["--epochs", "1", "--epochs", "2"], "given twice"),
        (["--network", "compct"], "Did you mean compact?"),
        (["--"], "is not of the form --setting value"),
    ],
)
def test_a_bad_command_line_says_what_is_wrong(argv: list[str], expected: str) -> None:
    with pytest.raises(SettingError, match="^[^\n]*$") as refusal:
        TrainSettings.from_command_line(argv)
    assert expected in str(refusal.value)


@pytest.mark.parametrize("value", [float("nan"), "0.1", None, True])
def test_a_python_caller_meets_the_same_limits(value: object) -> None:
    with pytest.raises(SettingError, match="`learning_rate` must be a number above 0"):
        TrainSettings(learning_rate=value)  # type: ignore[arg-type]


def test_what_is_given_overrules_the_preset_and_the_preset_the_default() -> None:
    preset = TrainSettings.PRESETS["accurate"]
    plain, accurate = TrainSettings(), TrainSettings.resolve({"preset": "accurate"})
    assert preset["epochs"] == accurate.epochs != plain.epochs
    # Also where it is given as the plain default's own value.
    assert TrainSettings.resolve({"preset": "accurate", "epochs": plain.epochs}).epochs == plain.epochs


@pytest.mark.parametrize("cls", ENTRY_POINTS.values())
def test_settings_survive_being_written_as_words_and_read_again(cls: type[Settings]) -> None:
    words = {name: word for name, word in cls().as_words().items() if word}
    values = cls.parse(words)
    values.pop("space", None)
    assert cls(**values) == cls()


def test_dashes_and_an_equals_sign_are_read_too() -> None:
    settings, given = TrainSettings.from_command_line(
        ["--batch-size=64", "--recalibrate", "no", "--learning-rate", "3e-4"]
    )
    assert given == {"batch_size": 64, "recalibrate": False, "learning_rate": 3e-4}
    assert settings.batch_size == 64


@pytest.mark.parametrize("cls", ENTRY_POINTS.values())
def test_help_names_every_setting_with_its_default(cls: type[Settings]) -> None:
    page = cls.help()
    for field in fields(cls):
        assert f"--{field.name} " in page
        assert field.metadata["help"].split()[0] in page
    assert all(f"--{name} " in page for name in cls.names())
    assert max(map(len, page.splitlines())) <= 110


@pytest.mark.parametrize("program", ENTRY_POINTS)
def test_help_and_refusals_take_no_tensorflow_and_less_than_a_second(program: str) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-X", "importtime", "-m", f"pipelines.{program}", *words],
            cwd=PROJECT, capture_output=True, text=True, check=False,
        )  # fmt: skip

    start = time.perf_counter()
    helped = run("--help")
    assert time.perf_counter() - start < 1
    assert helped.returncode == 0
    assert ("presets" in helped.stdout) == bool(ENTRY_POINTS[program].PRESETS)
    name = next(field.name for field in fields(ENTRY_POINTS[program]) if field.type == "int")
    refused = run(f"--{name}", "none")
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].startswith(f"{program}: `{name}` must be a whole number")
    for result in (helped, refused):
        for package in ("tensorflow", "keras", "mlflow", "optuna"):
            assert f"| {package}\n" not in result.stderr


def test_evaluate_takes_the_newest_model_unless_told_otherwise() -> None:
    assert EvaluateSettings().model == ""
