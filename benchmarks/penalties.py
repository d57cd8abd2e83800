"""What each penalty adds to searches from noise on an ordinary network: all of them, each one left out, each one alone.

python -m benchmarks.penalties MODEL --num-images 50

MODEL: a model's URI, a run's id, or the newest ordinary network of the store where none is given.
"""

from __future__ import annotations

import argparse

from benchmarks import keep
from mnist_cnn.data import dataset
from mnist_cnn.runtime import hardware
from mnist_cnn.settings import PANEL_A
from mnist_cnn.tracking import runs

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

    model = runs.resolve_model(options.model, regime="ordinary", network="smooth")
    device = hardware.start_tensorflow()
    from mnist_cnn.judging import ablation, scorecard
    from mnist_cnn.reporting import descriptions
    from pipelines import judges

    data = dataset.split(dataset.load_train())
    real = scorecard.RealDigits.of(data.train, data.validation)
    panel = judges.panel(PANEL_A, data).opinions
    network = runs.load_model(model)
    rows = {}
    for name, changes in variants().items():
        found = ablation.search(
            network, "noise", changes, data.validation, panel, real,
            num_images=options.num_images, steps=options.steps, seed=options.seed,
        )  # fmt: skip
        rows[name] = {"settings": changes, **found.card.metrics()}
        print(f"{name}: {descriptions.score_line(found.card)}", flush=True)
    keep(
        "penalties",
        device,
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
