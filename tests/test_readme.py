from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import mlflow
import pytest
from commands import run
from conftest import PROJECT

from mnist_cnn.settings import ENTRY_POINTS

README = (PROJECT / "README.md").read_text()


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 160


def test_the_first_two_commands_install_train_and_test() -> None:
    (first, second), *_ = [block.strip().splitlines() for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)]
    assert first == "pip install -c constraints.txt -e . && mlflow run . -e train"
    assert second == "pip install -c constraints.txt -e '.[test]' && pytest -n 2"


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_every_command_has_its_line(name: str) -> None:
    line = "mlflow run .   " if name == "reproduce" else f"mlflow run . -e {name} "
    assert [found for found in README.splitlines() if found.startswith(line) and "# " in found]


def test_every_room_is_on_the_map() -> None:
    rooms = {f"mnist_cnn/{path.parent.name}" for path in (PROJECT / "mnist_cnn").glob("*/__init__.py")}
    assert set(re.findall(r"^- `(mnist_cnn/\w+)`", README, re.MULTILINE)) == rooms


PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.slow
def test_the_readmes_python_runs_from_a_wheel_outside_a_checkout(tmp_path: Path) -> None:
    tree, installed, elsewhere = (tmp_path / name for name in ("tree", "installed", "elsewhere"))
    status, listed = run("git", "ls-files", cwd=PROJECT)
    assert status == 0, listed
    for name in listed.splitlines():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, tree / name)
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    for words in (
        ["wheel", "--no-deps", "-w", str(tmp_path), "."],
        ["install", "--no-deps", "--target", str(installed)],
    ):
        wheels = [str(path) for path in tmp_path.glob("*.whl")]
        status, output = run(*pip, *words, *wheels, cwd=tree)
        assert status == 0, output
    shutil.rmtree(tree)
    elsewhere.mkdir()
    where = "import mnist_cnn, pipelines; print(mnist_cnn.__file__, pipelines.__file__)"
    status, output = run(sys.executable, "-c", "\n".join([*PYTHON, where]), cwd=elsewhere, PYTHONPATH=str(installed))
    assert status == 0, output
    assert output.count(str(installed)) == 2 and (elsewhere / "mlflow.db").exists()


@pytest.mark.slow
def test_the_readmes_python_runs_as_it_stands(client: mlflow.MlflowClient) -> None:
    names: dict[str, Any] = {}
    for code in PYTHON:
        exec(compile(code, "<README>", "exec"), names)
    searches = names["searches"]
    assert searches.final.shape == (20, 28, 28, 1)
    assert searches.target_probabilities[-1].mean() > searches.target_probabilities[0].mean()
