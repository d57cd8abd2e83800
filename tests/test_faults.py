"""What the campaign of faults came to; `python -m benchmarks.faults` runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import PROJECT

from benchmarks import faults


def test_the_kept_campaign_had_fifty_kills_and_every_fault() -> None:
    kept = json.loads((PROJECT / "benchmarks" / "results" / "faults.json").read_text())["faults"]
    kills = [row for kind, row in kept.items() if kind not in faults.OTHERS]
    assert sum(row["tried"] for row in kills) >= 50 and {*faults.OTHERS} <= kept.keys()
    assert all(row["tried"] == row["survived"] and not row["lost"] + row["doubled"] + row["left_running"]
               for row in kept.values())  # fmt: skip


@pytest.mark.slow
def test_a_training_that_is_killed_and_a_torn_journal_lose_double_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = faults.campaign(faults.Home(tmp_path), num_kills=1, seed=0, only=["journal torn"])
    assert sum(row.tried for row in rows.values()) == 2
    assert all(row.is_good for row in rows.values()), rows


def test_of_the_kept_sample_of_mutants_none_survived_that_is_another_program() -> None:
    kept = json.loads((PROJECT / "benchmarks" / "results" / "mutants.json").read_text())["mutants"]
    assert len(kept) >= 60 and {mutant["outcome"] for mutant in kept} == {"killed", "equivalent"}
    assert all(mutant["by"] if mutant["outcome"] == "killed" else mutant["why"] for mutant in kept)
