"""The campaign of faults in small; `python -m benchmarks.faults` is the whole of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import PROJECT

from benchmarks import faults


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_what_is_killed_or_broken_loses_and_doubles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = faults.campaign(faults.Home(tmp_path), 3, 1, ["journal torn", "checkpoint cut"])
    assert sum(row.tried for row in rows.values()) == 5
    assert all(row.is_good for row in rows.values()), rows


def test_the_kept_campaign_had_fifty_kills_and_every_fault() -> None:
    kept = json.loads((PROJECT / "benchmarks" / "results" / "faults.json").read_text())["faults"]
    kills = [row for kind, row in kept.items() if kind not in faults.OTHERS]
    assert sum(row["tried"] for row in kills) >= 50 and {*faults.OTHERS} <= kept.keys()
    assert all(row["tried"] == row["survived"] and not row["lost"] + row["doubled"] + row["left_running"]
               for row in kept.values())  # fmt: skip
