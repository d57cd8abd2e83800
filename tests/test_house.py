"""The house keeps its rooms and its sizes, and the promises that two files make to each other."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import PROJECT

import mnist_cnn
from mnist_cnn.settings import ENTRY_POINTS
from mnist_cnn.settings.fields import show
from pipelines.__main__ import OTHER_NAMES

MODULES = sorted([*(PROJECT / "mnist_cnn").rglob("*.py"), *(PROJECT / "pipelines").rglob("*.py")])
MLPROJECT = (PROJECT / "MLproject").read_text()


def imports(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_rooms_and_layers_are_kept() -> None:
    """The contracts stand in pyproject.toml; import-linter draws what breaks one."""
    checked = subprocess.run([Path(sys.executable).with_name("lint-imports"), "--no-cache"], cwd=PROJECT,
                             capture_output=True, text=True, check=False)  # fmt: skip
    assert checked.returncode == 0, checked.stdout
    rooms = {path.parent for path in MODULES}
    assert len(rooms) <= 12 and {path.parent for path in MODULES if path.parent.name == "pipelines"} == {
        PROJECT / "pipelines"
    }


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_file_is_short_and_its_imports_stand_at_its_top(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 450
    if path.stem == "hardware":  # starts TensorFlow quietly, which the top of a file could not
        return
    for function in ast.walk(ast.parse(text)):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            inner = {node.lineno for node in ast.walk(function) if isinstance(node, ast.Import | ast.ImportFrom)}
            assert not inner, f"{path.name}, lines {inner}"


def test_no_underscore_name_of_mlflow_optuna_or_keras_is_used() -> None:
    for path in MODULES:
        for name in imports(ast.parse(path.read_text())):
            first, *others = name.split(".")
            private = [part for part in others if part.startswith("_")]
            assert first not in ("mlflow", "optuna", "keras") or not private, f"{path.name} imports {name}"


def test_nothing_is_called_utils() -> None:
    vague = {"utils", "util", "common", "base", "helpers", "misc"}
    assert not vague & {path.stem for path in MODULES}


def test_mlproject_names_every_command_and_says_what_it_does() -> None:
    entry_points = yaml.safe_load(MLPROJECT)["entry_points"]
    assert {OTHER_NAMES.get(name, name) for name in entry_points} == set(ENTRY_POINTS)
    assert {path.stem for path in (PROJECT / "pipelines").glob("*.py")} >= set(ENTRY_POINTS)
    for name, entry_point in entry_points.items():
        assert entry_point["command"].split()[:4] == ["python", "-m", "pipelines", OTHER_NAMES.get(name, name)]
        assert re.search(rf"^  # [A-Z].*[.?]\n  {name}:\n", MLPROJECT, re.MULTILINE), f"{name} has no comment"


def test_what_mlproject_declares_is_the_default_and_no_preset_changes_it() -> None:
    for name, entry_point in yaml.safe_load(MLPROJECT)["entry_points"].items():
        settings = ENTRY_POINTS[OTHER_NAMES.get(name, name)]
        declared = entry_point.get("parameters", {})
        assert all(f"--{key}={{{key}}}" in entry_point["command"] for key in declared)
        assert entry_point["command"].count("{") == len(declared)
        given = {key: show(parameter["default"]) for key, parameter in declared.items() if "default" in parameter}
        required = {key for key, field in settings.model_fields.items() if field.is_required()}
        assert set(declared) - set(given) == required - {"space", "resolved"}, name
        if given:
            assert settings.from_words(given) == settings(), name
        assert not set(given) & {key for preset in settings.PRESETS.values() for key in preset}, name


def test_every_dependency_has_its_reason_beside_it() -> None:
    lines = (PROJECT / "pyproject.toml").read_text().split("[tool.")[0].splitlines()
    for line in lines:
        if re.match(r'\s+"[a-z].*",?', line) and not line.strip().startswith('"mnist-cnn['):
            assert re.search(r'"(\s*\]|,)\s+# \w', line), line


def test_the_constraints_pin_every_dependency() -> None:
    pinned = set(re.findall(r"^([a-z0-9-]+)==", (PROJECT / "constraints.txt").read_text(), re.MULTILINE))
    needed = set(re.findall(r'^\s+"([a-z0-9-]+)[\[><=]', (PROJECT / "pyproject.toml").read_text(), re.MULTILINE))
    assert needed - {"mnist-cnn"} <= pinned


def test_nothing_that_chooses_can_reach_panel_b() -> None:
    """A panel that is asked while settings are chosen cannot judge what was chosen."""
    may_name = {
        "PANEL_B": {
            "mnist_cnn/settings/judging",
            "mnist_cnn/settings/__init__",
            "pipelines/ablation",
            "pipelines/teach",
            "pipelines/verdict",
        },
        "PANELS": {
            "mnist_cnn/settings/judging",
            "mnist_cnn/settings/__init__",
            "mnist_cnn/judging/judges",
            "mnist_cnn/reporting/ablation_figures",
            "pipelines/judges",
        },
        "B": {"mnist_cnn/settings/judging"},
    }
    for path in MODULES:
        said: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            for form, field in (
                (ast.Name, "id"),
                (ast.Attribute, "attr"),
                (ast.alias, "name"),
                (ast.Constant, "value"),
            ):
                if isinstance(node, form) and isinstance(getattr(node, field), str):
                    said.add(getattr(node, field))
        for name, places in may_name.items():
            assert name not in said or path.relative_to(PROJECT).with_suffix("").as_posix() in places, (path, name)


def test_the_citation_has_the_version_and_the_date_of_the_changelog() -> None:
    citation = yaml.safe_load((PROJECT / "CITATION.cff").read_text())
    newest = re.search(r"^## (\S+) – (\S+)$", (PROJECT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest and newest.groups() == (mnist_cnn.__version__, str(citation["date-released"]))
    assert citation["version"] == mnist_cnn.__version__


def test_the_workflow_calls_the_one_check() -> None:
    workflow = yaml.safe_load((PROJECT / ".github" / "workflows" / "ci.yml").read_text())
    assert any(step.get("run", "").endswith(".ci/run") for step in workflow["jobs"]["check"]["steps"])
