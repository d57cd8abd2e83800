"""Another data set in place of MNIST: test accuracy over seeds, and whether judges recognise images from noise.

python -m benchmarks.own_data fashion.npz --seeds 5 --reproduce report.html
"""

# ruff: noqa: E402

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from benchmarks import fresh_store, keep, spread
from mnist_cnn.runtime import hardware

DEVICE = hardware.start_tensorflow()  # quietly, before what follows imports it

from mnist_cnn.data import dataset
from mnist_cnn.settings import ReproduceSettings, TrainSettings
from mnist_cnn.tracking import reading
from pipelines import reproduce, train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--reproduce", type=Path, metavar="PAGE", help="also do it all, and write the page here")
    options = parser.parse_args()

    page = options.reproduce and options.reproduce.resolve()
    data = dataset.load_train(str(options.dataset.resolve()))
    found: dict[str, Any] = {"images": len(data), "classes": list(data.class_names), "digest": data.digest, "quick": []}
    with fresh_store():
        for seed in range(options.seeds):
            result = train.run(TrainSettings(dataset=data.source, seed=seed))
            run = {"seed": seed, "test_accuracy": result.test.accuracy, "training_seconds": result.training.seconds}
            found["quick"].append(run)
            print(f"seed {seed}: test accuracy {result.test.accuracy:.2%}", flush=True)
        print(f"test accuracy, %    {spread([100 * run['test_accuracy'] for run in found['quick']])}")
        keep(f"own-data-{data.name}", DEVICE, found)
        if options.reproduce:
            found["reproduction"] = _reproduction(data.source)
            page.write_bytes(Path("report.html").read_bytes())
            keep(f"own-data-{data.name}", DEVICE, found)


def _reproduction(source: str) -> dict[str, Any]:
    """`mlflow run . -P dataset=...`: scores by panel B of searches from noise, in both networks."""
    began = time.perf_counter()
    steps = reproduce.run(ReproduceSettings(dataset=source)).steps
    cells = reading.read_json(steps["ablation"].run_id, "ablation.json")["cells"]
    found: dict[str, Any] = {"seconds": time.perf_counter() - began, "networks": {}}
    for name, regularisation in (("ordinary", "report L2"), ("readable", "tuned L2 and others")):
        wanted = (name, regularisation, "noise")
        (cell,) = [cell for cell in cells if (cell["network"], cell["regularisation"], cell["start"]) == wanted]
        numbers = reading.get_run(steps[name].run_id).data.metrics
        found["networks"][name] = {"test_accuracy": numbers["test_accuracy"], **cell}
        print(
            f"{name}: test accuracy {numbers['test_accuracy']:.2%}, recognised {cell['recognised_rate']:.1%}",
            flush=True,
        )
    return found


if __name__ == "__main__":
    main()
