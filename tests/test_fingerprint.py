from __future__ import annotations

from pathlib import Path

import pytest

from mnist_cnn.runtime import fingerprint
from mnist_cnn.settings import PredictSettings, SweepSettings, TrainSettings, VerdictSettings


def of(*argv: str, cls=TrainSettings) -> str:
    return fingerprint.fingerprint(cls.from_command_line(argv))


def test_what_changes_a_number_changes_the_fingerprint_and_nothing_else_does() -> None:
    plain = of()
    assert plain == of("--epochs=1") == of("--run_name=mine") == of("--preset=quick") and len(plain) == 16
    assert len({plain, of("--epochs=2"), of("--seed=1"), of("--preset=accurate"), of("--dataset=mnist:600")}) == 5
    accurate = TrainSettings.PRESETS["accurate"]
    assert of("--preset=accurate") == of(*(f"--{name}={value}" for name, value in accurate.items()))


def test_the_fingerprint_of_a_sweep_holds_what_is_tried() -> None:
    plain = of(cls=SweepSettings)
    assert plain == of("--workers=2", cls=SweepSettings)
    assert len({plain, of("--l2_weight=1e-3..1e-1:log", cls=SweepSettings), of("--n_trials=9", cls=SweepSettings)}) == 3
    assert plain != of()


def test_data_are_told_by_what_they_hold(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    path.write_bytes(b"one")
    before = of(f"--dataset={path}")
    assert before == of(f"--dataset={path}")
    path.write_bytes(b"two")
    assert of(f"--dataset={path}") != before


def test_pictures_and_answers_are_told_by_what_they_hold(tmp_path: Path) -> None:
    """`again` did not notice that they had changed."""
    file = tmp_path / "a.png"
    file.write_bytes(b"one")
    for cls, word in ((PredictSettings, f"--images={tmp_path}"), (VerdictSettings, f"--answers={file}")):
        file.write_bytes(b"one")
        before = of(word, cls=cls)
        assert before == of(word, cls=cls)
        file.write_bytes(b"two")
        assert of(word, cls=cls) != before
    pictures = of(f"--images={tmp_path}", cls=PredictSettings)
    (tmp_path / "notes.txt").write_bytes(b"no picture")
    assert of(f"--images={tmp_path}", cls=PredictSettings) == pictures
    file.rename(tmp_path / "b.png")
    assert of(f"--images={tmp_path}", cls=PredictSettings) != pictures
    assert len(of("--images=/none", cls=PredictSettings)) == len(of("--answers=/none", cls=VerdictSettings)) == 16


def test_code_counts_that_a_command_imports_directly_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "pipelines/__init__.py": "",
        "mnist_cnn/__init__.py": "",
        "pipelines/train.py": "from mnist_cnn import one\n\ndef main():\n    from mnist_cnn.deep.two import x\n",
        "mnist_cnn/one.py": "import mnist_cnn.three\n",
        "mnist_cnn/three.py": "THREE = 3\n",
        "mnist_cnn/deep/two.py": "x = 2\n",
        "mnist_cnn/apart.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(fingerprint, "ROOT", tmp_path)

    def digest() -> str:
        fingerprint.code_digest.cache_clear()
        return fingerprint.code_digest("train")

    try:
        seen = [digest()]
        for name in ("pipelines/train.py", "mnist_cnn/one.py", "mnist_cnn/three.py", "mnist_cnn/deep/two.py"):
            (tmp_path / name).write_text(files[name] + "# changed\n")
            seen.append(digest())
        assert len(set(seen)) == 5
        (tmp_path / "mnist_cnn/apart.py").write_text("# nobody imports it\n")
        assert digest() == seen[-1]
    finally:
        fingerprint.code_digest.cache_clear()


def test_every_entry_point_is_found_with_what_it_imports() -> None:
    train = fingerprint._imported((fingerprint.ROOT / "pipelines/train.py").read_bytes())
    assert {"loop.py", "networks.py", "runs.py", "__init__.py"} <= {path.name for path in train}
