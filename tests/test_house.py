"""The house keeps its floors, its doors, and the promises that two files make to each other."""

from __future__ import annotations

import ast
import re

import pytest
import yaml
from conftest import PROJECT

from mnist_cnn.settings import ENTRY_POINTS

FLOORS = [
    {"command_line", "targets", "reference"},
    {"experiments", "space"},
    {"settings"},
    {
        "dataset",
        "networks",
        "transforms",
        "randomness",
        "hardware",
        "aftermath",
        "features",
        "processes",
        "comparison",
        "recipes",
    },
    {"evaluation", "objectives", "penalties", "starts", "neighbours", "gate"},
    {"adversary", "scorecard", "ascent"},
    {"training"},
    {"checkpoints", "judges", "answer"},
    {"trials"},
    {"tracking", "figures", "notes", "progress", "study", "pages"},
    {"sweep_runs", "registry", "steps"},
    {"charts", "report", "story"},
    {"sweeping"},
]
DOORS = {
    "mlflow": {"tracking", "sweep_runs", "registry", "aftermath"},
    "matplotlib": {"figures", "charts"},
    "optuna": {"study", "charts", "report", "sweeping"},
}
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


def test_every_module_has_a_floor_and_every_floor_its_modules() -> None:
    assert {path.stem for path in MODULES} - {"__init__"} == set().union(*FLOORS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_module_imports_only_from_floors_below(path) -> None:
    if path.stem == "__init__":
        assert imports(path) <= {"__future__", "__future__.annotations", "importlib", "importlib.import_module",
                                 "typing", "typing.Any"}  # fmt: skip
        return
    floor = next(number for number, names in enumerate(FLOORS) if path.stem in names)
    below = set().union(*FLOORS[:floor])
    names = {name.replace("mnist_cnn.input_optimization", "mnist_cnn") for name in imports(path)}
    used = {name.split(".")[1] for name in names if name.startswith("mnist_cnn.")}
    assert used <= below, f"{path.stem} imports {used - below}"
    for library, doors in DOORS.items():
        uses = any(name.split(".")[0] == library for name in imports(path))
        assert not uses or path.stem in doors, f"{path.stem} imports {library}, which {doors} is the door to"


def test_the_readmes_map_shows_the_floors() -> None:
    house = (PROJECT / "README.md").read_text().split("## Map of the house")[1]
    shown = {int(number): where for number, where in re.findall(r"^\| (\d+) \| ([^|]+) \|", house, re.MULTILINE)}
    assert sorted(shown) == list(range(len(FLOORS) + 1)) and "pipelines/" in shown[len(FLOORS)]
    for number, names in enumerate(FLOORS):
        assert set(re.findall(r"\w+", shown[number])) - {"input_optimization"} == names


def test_settings_need_the_standard_library_alone() -> None:
    import sys

    # What is imported for types alone costs nothing.
    at_once = {
        "settings": True,
        "command_line": False,
        "input_optimization/targets": False,
        "input_optimization/experiments": False,
        "space": False,
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
        "PANEL_B": {"mnist_cnn/settings", "pipelines/judges", "pipelines/answer"},
        "PANELS": {"mnist_cnn/settings", "mnist_cnn/judges", "mnist_cnn/figures", "pipelines/judges"},
        "B": {"mnist_cnn/settings"},
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
