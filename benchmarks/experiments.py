"""Train the default network, repeat the six experiments, and keep time, numbers and the README's pictures.

python -m benchmarks.experiments
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path

from benchmarks import keep
from mnist_cnn.runtime import hardware
from mnist_cnn.settings.experiments import EXPERIMENTS

PICTURES = Path(__file__).parents[1] / "docs"


def main() -> None:
    device = hardware.start_tensorflow()
    import mlflow

    from pipelines import experiments, train

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        train.main([])
        start = time.perf_counter()
        experiments.main([])
        seconds = time.perf_counter() - start
        client = mlflow.MlflowClient()
        (parent,) = client.search_runs(["0"], "tags.kind = 'experiments'")
        children = {
            int(run.info.run_name[0]): Path(run.info.artifact_uri.removeprefix("file://"))
            for run in client.search_runs(["0"], "tags.kind = 'experiment'")
        }
        kept = {}
        for experiment in EXPERIMENTS:
            artifacts = children[experiment.number]
            (PICTURES / f"experiment_{experiment.number}.png").write_bytes(
                (artifacts / "figures/film_strip.png").read_bytes()
            )
            table = json.loads((artifacts / "searches.json").read_text())
            kept[experiment.number] = [dict(zip(table["columns"], line, strict=True)) for line in table["data"]]
        os.chdir(PICTURES)
    print(f"\nThe six experiments took {seconds:.0f} s on {device}, settings {parent.data.params['steps']} steps.")
    keep("experiments", device, {"seconds": seconds, "searches": kept})


if __name__ == "__main__":
    main()
