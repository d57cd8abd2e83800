"""The commands in `benchmarks/` can be imported, name what exists, and the longest of them runs in small."""

from __future__ import annotations

import importlib

import pytest
from conftest import PROJECT

from benchmarks import accelerator, logging_cost

IN_JAX = ("jax_loops", "accelerator_jax")  # which have tests of their own, where JAX is installed
COMMANDS = sorted({path.stem for path in (PROJECT / "benchmarks").glob("[a-z]*.py")} - {"plain_loop", *IN_JAX})


@pytest.mark.parametrize("name", COMMANDS)
def test_each_can_be_imported_and_says_how_it_is_called(name: str) -> None:
    assert f"python -m benchmarks.{name}" in (importlib.import_module(f"benchmarks.{name}").__doc__ or "")


def test_what_the_cost_of_logging_is_measured_at_is_there() -> None:
    assert [(place, name) for place, name, _ in logging_cost.CALLS if not callable(getattr(place, name, None))] == []


@pytest.mark.slow
def test_the_script_for_an_accelerator_runs_on_a_processor(capsys: pytest.CaptureFixture[str]) -> None:
    accelerator.main(["--small"])
    printed = capsys.readouterr().out
    assert printed.count("test_accuracy") == 4 and "'searches': 100" in printed and "Kept in" not in printed
