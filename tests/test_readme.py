from __future__ import annotations

import re

from conftest import PROJECT

from benchmarks import table
from mnist_cnn.settings import ENTRY_POINTS, NETWORKS

README = (PROJECT / "README.md").read_text()


def test_the_readmes_results_are_the_measured_ones() -> None:
    """`python -m benchmarks.table` writes what belongs between the marks."""
    for name, text in table.between_marks(README).items():
        assert text == table.PARTS[name][2](), name


def test_every_command_in_the_readme_names_settings_that_exist() -> None:
    commands = re.findall(r"mlflow run \. -e (\w+)([^\n`#]*)", README)
    assert len(commands) > 8
    for program, rest in commands:
        words = [f"--{name}={word}" for name, word in re.findall(r"-P (\w+)=(\S+)", rest)]
        ENTRY_POINTS[program].from_command_line([word for word in words if not word.startswith("--file=")])


def test_every_picture_and_file_that_the_readme_links_to_is_there() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (PROJECT / target).exists(), target


def test_every_network_is_named() -> None:
    assert all(f"{name}" in README for name in NETWORKS)
