"""Train the default network, repeat the six experiments, and keep time, numbers and the pictures of the pages.

python -m benchmarks.experiments
"""

# ruff: noqa: E402

from __future__ import annotations

import time
from pathlib import Path

from benchmarks import fresh_store, keep
from mnist_cnn.runtime import hardware

DEVICE = hardware.start_tensorflow()  # quietly, before what follows imports it

from mnist_cnn.settings import ExperimentsSettings, TrainSettings
from mnist_cnn.tracking import reading
from pipelines import experiments, train

PICTURES = Path(__file__).parents[1] / "docs"


def main() -> None:
    settings = ExperimentsSettings()
    with fresh_store():
        train.run(TrainSettings())
        start = time.perf_counter()
        result = experiments.run(settings)
        seconds = time.perf_counter() - start
        kept = {}
        for done in result.experiments:
            number = done.experiment.number
            strip = reading.read_bytes(done.run_id, "figures/film_strip.png")
            assert strip is not None
            (PICTURES / f"experiment_{number}.png").write_bytes(strip)
            table = reading.read_json(done.run_id, "searches.json")
            kept[number] = [dict(zip(table["columns"], line, strict=True)) for line in table["data"]]
    print(f"\nThe six experiments took {seconds:.0f} s on {DEVICE}, settings {settings.steps} steps.")
    keep("experiments", DEVICE, {"seconds": seconds, "searches": kept})


if __name__ == "__main__":
    main()
