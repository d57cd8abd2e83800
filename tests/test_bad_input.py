"""Bad input of every kind: accepted and it works, or refused in one short line; nothing else comes out.

Hypothesis draws it, the same each time: a few of each kind here, two thousand where the thorough tests are run.
"""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mnist_cnn.data import dataset, npz
from mnist_cnn.settings import ENTRY_POINTS, SettingError, Settings, SweepFileSettings, search_space
from mnist_cnn.settings.errors import hide_password, one_line, printable
from mnist_cnn.sweeps import storage
from mnist_cnn.training import checkpoints

HOW_MANY = [
    pytest.param(40, id="few"),
    pytest.param(2000, id="many", marks=[pytest.mark.slow, pytest.mark.thorough]),
]
REQUIRED = {"run": "0" * 32, "runs": f"{'0' * 32},{'1' * 32}", "trial": "mine:3", "version": "3", "to": "site",
            "images": "pictures"}  # fmt: skip

CUT_OR_CHANGED = st.tuples(
    st.sampled_from(["flip", "zeros", "cut", "newline", "junk"]), st.floats(0, 1, exclude_max=True), st.integers(1, 255)
)
NUMBERS = st.one_of(
    st.integers().map(str), st.floats().map(str), st.integers(1, 6000).map(lambda count: "1" + "0" * count),
    st.sampled_from(["1e999", "-0", "0x1", "1_0", "nan", "inf", "٣", "1,2", "0..1", "1..0:log", "1e-320"]),
)  # fmt: skip
WORDS = st.one_of(
    st.text(max_size=20),
    NUMBERS,
    st.sampled_from(["", " ", "\x1b[31m", "\0", "a\nb", "\u202e", "\udcff", "[" * 900, "x" * 7000, "true", "all", "1:",
                     "a..b", ",", "|", "+", "mnist:", "runs:/", "models:/", "sqlite:///", "redis://u:secret@h", "grpc://h:1"]),
)  # fmt: skip


def every(strategy: st.SearchStrategy, count: int, check: Callable[..., None]) -> None:
    plan = settings(max_examples=count, derandomize=True, database=None, deadline=None,
                    suppress_health_check=list(HealthCheck))  # fmt: skip
    plan(given(strategy)(check))()


def refused_or(done: Callable[[], object], *errors: type[Exception]) -> object:
    """What comes out, or None where it is refused as it should be."""
    try:
        return done()
    except (SettingError, *errors) as error:
        line = str(error)
        assert line and line.isprintable() and len(line) <= 300, line
        return None


def damaged(content: bytes, how: tuple[str, float, int]) -> bytes:
    kind, place, value = how
    start = int(place * len(content))
    new = {
        "flip": bytes([content[start] ^ value]), "zeros": bytes(min(100, len(content) - start)), "newline": b"\n",
        "junk": bytes([value]) * 40, "cut": b"",
    }[kind]  # fmt: skip
    return content[:start] + new + (b"" if kind == "cut" else content[start + len(new) :])


@pytest.mark.parametrize("count", HOW_MANY)
@pytest.mark.parametrize("cls", ENTRY_POINTS.values(), ids=list(ENTRY_POINTS))
def test_a_setting_is_accepted_or_refused_in_one_short_line(cls: type[Settings], count: int) -> None:
    own = {*cls.model_fields} if hasattr(cls, "OTHERS") else {*cls.names()}
    needed = {name: REQUIRED[name] for name in cls.names() if name in REQUIRED and name in own}

    def check(drawn: tuple[str, str]) -> None:
        made = refused_or(lambda: cls.from_words({**needed, drawn[0]: drawn[1]}))
        if isinstance(made, Settings):
            assert all(word.isprintable() and len(word) <= 6000 for word in made.as_words().values())
            assert printable(repr(made)) and printable(made.command_line())

    every(st.tuples(st.one_of(st.sampled_from(cls.names()), st.text(max_size=5)), WORDS), count, check)


@pytest.mark.parametrize("count", HOW_MANY)
def test_a_command_line_is_accepted_or_refused_in_one_short_line(count: int) -> None:
    word = st.one_of(WORDS, st.sampled_from(["--epochs", "--l2_weight=1", "--", "--=", "-P", "--seed"]))

    def check(argv: list[str]) -> None:
        refused_or(lambda: ENTRY_POINTS["train"].from_command_line(argv))

    every(st.lists(word, max_size=4), count, check)


@pytest.mark.parametrize("count", HOW_MANY)
def test_a_file_of_settings_is_accepted_or_refused_in_one_short_line(tmp_path: Path, count: int) -> None:
    path = tmp_path / "sweep.toml"
    line = st.tuples(st.sampled_from(["steps", "l2_weight", "goal", "command", "x", "a.b"]), st.one_of(WORDS, NUMBERS))
    text = st.one_of(
        st.binary(max_size=60),
        st.lists(line.map(lambda pair: f"{pair[0]} = {json.dumps(pair[1])}\n")).map("".join).map(_encoded),
        st.integers(1, 3000).map(lambda depth: b"steps = " + b"[" * depth + b"]" * depth),
    )

    def check(content: bytes) -> None:
        path.write_bytes(content)
        refused_or(lambda: SweepFileSettings(file=str(path)))

    every(text, count, check)


def _encoded(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


@pytest.mark.parametrize("count", HOW_MANY)
def test_a_damaged_data_set_is_read_or_refused_in_one_short_line(tmp_path: Path, small_dataset: Path, count) -> None:
    path, whole = tmp_path / "images.npz", io.BytesIO()
    with np.load(small_dataset) as arrays:
        np.savez_compressed(whole, **{key: arrays[key][:3] for key in arrays.files})

    def check(hows: list[tuple[str, float, int]]) -> None:
        content = whole.getvalue()
        for how in hows:
            content = damaged(content, how) or b"x"
        path.write_bytes(content)
        refused_or(lambda: dataset.load_train(str(path)))

    every(st.lists(CUT_OR_CHANGED, min_size=1, max_size=3), count, check)


@pytest.mark.parametrize("count", HOW_MANY)
def test_a_forged_head_of_an_array_is_refused_in_one_short_line(count: int) -> None:
    shape = st.sampled_from(["(3,)", "(10**400,)", "(-1,)", "(", "(1,)" * 3000, "[" * 500, "(True,)", "(2**62,)", "()"])
    dtype = st.sampled_from(["'|u1'", "'O'", "'V0'", "'<U999999999'", "7", "'" * 3, "[('a','u1')]"])
    head = st.tuples(shape, dtype, st.sampled_from([b"\x01\x00", b"\x02\x00", b"\x09\x00"]), st.binary(max_size=8))

    def check(drawn: tuple[str, str, bytes, bytes]) -> None:
        text = f"{{'descr': {drawn[1]}, 'fortran_order': False, 'shape': {drawn[0]}, }}\n".encode()
        length = len(text).to_bytes(2 if drawn[2] == b"\x01\x00" else 4, "little")
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as parts:
            parts.writestr("x.npy", b"\x93NUMPY" + drawn[2] + length + text + drawn[3])
        refused_or(lambda: npz.read(archive), npz.ArraysError)

    every(head, count, check)


@pytest.mark.parametrize("count", HOW_MANY)
def test_a_damaged_checkpoint_is_read_or_refused_in_one_short_line(tmp_path: Path, count: int) -> None:
    path = tmp_path / "epoch-00001.npz"
    checkpoints.save(checkpoints.TrainingState(0, [np.ones((3, 2))], [np.zeros(4)], []), path)
    whole = path.read_bytes()

    def check(how: tuple[str, float, int]) -> None:
        path.write_bytes(damaged(whole, how))
        refused_or(lambda: checkpoints.load(path), checkpoints.CheckpointError)

    every(CUT_OR_CHANGED, count, check)


def _journal(path: Path, num_trials: int) -> bytes:
    where = storage.open_storage(str(path))
    study = where.create_new_study([storage.optuna.study.StudyDirection.MAXIMIZE], "mine")
    for number in range(num_trials):
        trial = where.create_new_trial(study)
        where.set_trial_user_attr(trial, "number", number)
        where.set_trial_state_values(trial, storage.optuna.trial.TrialState.COMPLETE, [number])
    return path.read_bytes()


def _numbers(path: Path) -> dict[int, tuple[object, object]]:
    """Each trial of the study `mine`, by its number: what it says of itself, and its value."""
    with storage.quiet():
        study = storage.optuna.load_study(study_name="mine", storage=storage.open_storage(str(path)))
    return {each.number: (each.user_attrs.get("number"), each.values) for each in study.get_trials()}


@pytest.mark.parametrize("damage", ["torn", "zeros", "a trial's beginning"])
def test_a_damaged_line_of_a_journal_is_named_and_gone_round(tmp_path: Path, damage: str, capsys) -> None:
    path = tmp_path / "sweeps.journal"
    lines = _journal(path, 5).splitlines(keepends=True)
    value_of_2, beginning_of_2 = (next(i for i, line in enumerate(lines) if mark in line)
                                  for mark in (b'"values":[2', b'"number":2'))  # fmt: skip
    which = beginning_of_2 - 1 if damage == "a trial's beginning" else value_of_2
    lines[which] = {"torn": lines[which][:20] + b"\n", "zeros": bytes(100) + b"\n"}.get(damage, b"{}\n")
    path.write_bytes(b"".join(lines))
    lost = {2: (2, [2.0] if which != value_of_2 else None)}
    assert _numbers(path) == {number: (number, [float(number)]) for number in range(5)} | lost
    assert f"1 cannot be read ({which + 1})" in capsys.readouterr().err
    assert path.read_bytes() == b"".join(lines), "it was left as it is"
    where = storage.open_storage(str(path))
    where.create_new_trial(where.get_study_id_from_name("mine"))
    assert len(_numbers(path)) == 6, "and goes on"


@pytest.mark.parametrize("count", HOW_MANY)
def test_a_damaged_journal_is_used_or_refused_in_one_short_line(tmp_path: Path, count: int) -> None:
    path = tmp_path / "sweeps.journal"
    whole = _journal(path, 3)

    def check(how: tuple[str, float, int]) -> None:
        path.write_bytes(damaged(whole, how))
        refused_or(lambda: storage.open_storage(str(path)))

    every(CUT_OR_CHANGED, count, check)


@pytest.mark.parametrize("count", HOW_MANY)
def test_a_password_is_shown_nowhere(count: int) -> None:
    password = st.text(st.characters(blacklist_characters="&", blacklist_categories=("Cs",)), min_size=1, max_size=9)

    def check(drawn: str) -> None:
        secret = f"Pw{drawn.replace(' ', '')}wP"
        for address in (f"postgresql://u:{secret}@host/db", f"http://u:{secret}@h:1/"):
            assert secret not in hide_password(address)
        if not any(letter.isspace() for letter in secret):
            assert secret not in one_line(f"there is nothing in http://u:{secret}@h/; look at it")
            assert secret not in one_line(f"postgresql://h/d?a=b&password={secret}&x=1 is gone")

    every(password, count, check)


def test_a_file_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(npz, "LARGEST", 100_000)
    np.savez_compressed(tmp_path / "bomb.npz", x_train=np.zeros((200, 28, 28), np.uint8))
    with pytest.raises(SettingError, match="unpacked it has .* GiB, and at most .* GiB are read"):
        dataset.load_train(str(tmp_path / "bomb.npz"))


@pytest.mark.parametrize("word", ["mnist:" + "1" * 5000, "x" * 5000, "a\0b", "mnist:６０００"])
def test_a_data_set_of_an_impossible_name_is_refused_in_one_short_line(word: str) -> None:
    assert refused_or(lambda: dataset.load_train(word)) is None


def test_a_setting_that_names_nothing_is_refused_before_the_store_is_opened() -> None:
    for command, words in (
        ("resume", {"run": "abc"}), ("evaluate", {"model": "abc"}), ("sweep", {"storage": "redis://h"}),
        ("train", {"run_name": "x" * 251}), ("sweep", {"sweep": "x" * 201}), ("replay", {"trial": "abc"}),
    ):  # fmt: skip
        assert refused_or(lambda c=command, w=words: ENTRY_POINTS[c].from_words(w)) is None


def test_a_number_of_many_digits_names_its_field() -> None:
    with pytest.raises(SettingError, match="`epochs` must be a whole number from 1 to 10,000; got '1000"):
        ENTRY_POINTS["train"].from_words({"epochs": "1" + "0" * 400})


def test_deep_brackets_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("steps = " + "[" * sys.getrecursionlimit() + "]" * sys.getrecursionlimit())
    with pytest.raises(SettingError, match="`file` must be the path of a TOML file"):
        search_space.read_file(str(tmp_path / "a.toml"), {"sweep": ["steps"]})
