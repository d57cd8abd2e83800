"""What each penalty adds to searches from noise on an ordinary network: all of them, each one left out, each one alone.

python -m benchmarks.penalties MODEL --num-images 50

MODEL: a model's URI, a run's id, or the newest ordinary network of the store where none is given.
"""

# ruff: noqa: E402

from __future__ import annotations

import argparse

from benchmarks import keep
from mnist_cnn.runtime import hardware

DEVICE = hardware.start_tensorflow()  # quietly, before what follows imports it

from mnist_cnn.data import dataset
from mnist_cnn.judging import ablation
from mnist_cnn.reporting import descriptions
from mnist_cnn.settings import PANEL_A
from mnist_cnn.tracking import models, networks
from pipelines import judges

COMMON = {"l2_weight": 1e-4, "temperature": 4.0}
PARTS = {
    "total variation": {"tv_weight": 2.5e-3},
    "smoothness": {"smoothness_weight": 1e-2},
    "border": {"border_weight": 0.3},
    "shift": {"shift": 0.3},
}
"""The weights that panel A chose on the ordinary network, without the pose, which is there for diversity."""


def variants() -> dict[str, dict[str, float]]:
    """Settings of each row."""

    def of(*names: str) -> dict[str, float]:
        return {**COMMON, **{key: value for name in names for key, value in PARTS[name].items()}}

    return {
        "none of them": of(),
        **{f"{name} alone": of(name) for name in PARTS},
        **{f"all but {left_out}": of(*(name for name in PARTS if name != left_out)) for left_out in PARTS},
        "all": of(*PARTS),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="")
    parser.add_argument("--num-images", type=int, default=50)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    data = dataset.split(dataset.load_train())
    model = models.resolve(options.model, regime="ordinary", network="smooth")
    network = networks.load(model, data.train.num_classes)
    scorer = judges.scorer(PANEL_A, data)
    rows = {}
    for name, changes in variants().items():
        found = ablation.searched(
            network, "noise", changes, data.validation, scorer,
            num_images=options.num_images, steps=options.steps, seed=options.seed,
        )  # fmt: skip
        rows[name] = {"settings": changes, **found.card.metrics()}
        print(f"{name}: {descriptions.score_line(found.card)}", flush=True)
    keep(
        "penalties",
        DEVICE,
        {
            "network": network.name,
            "common": COMMON,
            "num_images": options.num_images,
            "steps": options.steps,
            "seed": options.seed,
            "rows": rows,
        },
    )


if __name__ == "__main__":
    main()
