"""The house keeps its floors, its doors, and the promises that two files make to each other."""

from __future__ import annotations

import ast
import re

import yaml
from conftest import PROJECT

from mnist_cnn.settings import ENTRY_POINTS

MODULES = sorted((PROJECT / "mnist_cnn").rglob("*.py"))


def imports(path, top_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    found = set()
    for node in tree.body if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_settings_need_the_standard_library_alone() -> None:
    import sys

    # What is imported for types alone costs nothing.
    at_once = {
        "settings/commands": True,
        "settings/command_line": False,
        "settings/targets": False,
        "settings/experiments": False,
        "settings/search_space": False,
    }
    for module, top_only in at_once.items():
        used = {name.split(".")[0] for name in imports(PROJECT / "mnist_cnn" / f"{module}.py", top_only)}
        assert used - {"mnist_cnn"} <= sys.stdlib_module_names


def test_nothing_is_called_utils() -> None:
    vague = {"utils", "util", "common", "base", "helpers", "misc"}
    assert not vague & {path.stem for path in PROJECT.rglob("*.py") if "site-packages" not in path.parts}


def test_mlproject_names_each_entry_points_settings() -> None:
    text = (PROJECT / "MLproject").read_text()
    project = yaml.safe_load(text)
    assert set(project["entry_points"]) == set(ENTRY_POINTS)
    for name, entry_point in project["entry_points"].items():
        assert entry_point == {"command": f"python -m pipelines.{name}"}
        comment = re.search(rf"^  {name}:\n((?:    #.*\n)+)", text, re.MULTILINE)
        assert comment is not None
        assert comment[1].replace("#", "").split() == ENTRY_POINTS[name].names()


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
        "PANEL_B": {"mnist_cnn/settings/commands", "pipelines/judges", "pipelines/answer"},
        "PANELS": {
            "mnist_cnn/settings/commands",
            "mnist_cnn/judging/judges",
            "mnist_cnn/reporting/figures",
            "pipelines/judges",
        },
        "B": {"mnist_cnn/settings/commands"},
    }
    for path in [*MODULES, *(PROJECT / "pipelines").rglob("*.py")]:
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
