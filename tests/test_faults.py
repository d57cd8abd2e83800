"""What the campaign of faults came to; `python -m benchmarks.faults` runs it."""

from __future__ import annotations

import json

from conftest import PROJECT

from benchmarks import faults


def test_the_kept_campaign_had_fifty_kills_and_every_fault() -> None:
    kept = json.loads((PROJECT / "benchmarks" / "results" / "faults.json").read_text())["faults"]
    kills = [row for kind, row in kept.items() if kind not in faults.OTHERS]
    assert sum(row["tried"] for row in kills) >= 50 and {*faults.OTHERS} <= kept.keys()
    assert all(row["tried"] == row["survived"] and not row["lost"] + row["doubled"] + row["left_running"]
               for row in kept.values())  # fmt: skip
