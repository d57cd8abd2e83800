"""What each ingredient adds to images that teach, on validation digits; and what `teach` came to, kept.

python -m benchmarks.teaching [--run RUN_ID]... [--num-images 60]

--run: of a `teach`, whose table is kept beside. The choices are measured in the network that the first searched in.
--num-images: of each class, for each choice; 0 keeps the choices that were measured before.
"""

# ruff: noqa: E402

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np

from benchmarks import RESULTS, keep
from mnist_cnn.runtime import hardware

DEVICE = hardware.start_tensorflow()  # quietly, before what follows imports it

from mnist_cnn.data import dataset
from mnist_cnn.data.dataset import LabelledImages
from mnist_cnn.judging import ablation, teaching
from mnist_cnn.judging.feature_spaces import FeatureSpaces
from mnist_cnn.judging.search import search
from mnist_cnn.settings import PANEL_A, AscentSettings, TeachSettings
from mnist_cnn.settings.experiments import kinds
from mnist_cnn.tracking import models, networks, reading
from pipelines import judges

DEFAULTS = {name: getattr(TeachSettings(), name) for name in AscentSettings.model_fields}
CHOICES: dict[str, dict[str, Any]] = {
    "pose and direction, as above": {
        **ablation.READABLE, "steps": 200, "snapshot_every": 200, "schedule": "constant", "l2_weight_first": 0.0,
        "tv_weight": 0.0, "inversion_weight": 0.0,
    },
    "drawn features from the first step on, L2 constant, no total variation": {
        "inversion_from": 0.0, "inversion_until": 0.0, "l2_weight_first": 0.0, "tv_weight": 0.0,
        "inversion_components": 1,
    },
    "in two phases": {"l2_weight_first": 0.0, "tv_weight": 0.0, "inversion_components": 1},
    "and L2 that falls": {"tv_weight": 0.0, "inversion_components": 1},
    "and total variation": {"inversion_components": 1},
    "the same, features of weight 2": {"inversion_weight": 2.0, "inversion_components": 1},
    "the same, features of weight 8": {"inversion_weight": 8.0, "inversion_components": 1},
    "total variation and a mixture of Gaussians: the default": {},
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="append", default=[])
    parser.add_argument("--num-images", type=int, default=60)
    options = parser.parse_args()

    taught = [
        {
            **{name: int(reading.get_run(run).data.params[name]) for name in ("num_images", "students")},
            "table": reading.read_json(run, "teach.json"),
        }
        for run in options.run
    ]
    if not options.num_images:
        earlier = json.loads((RESULTS / "teaching.json").read_text())
        keep("teaching", DEVICE, {**earlier, "taught": taught})
        return
    data = dataset.split(dataset.load_train())
    searched_in = f"models:/{reading.get_run(options.run[0]).data.tags['model_id']}" if options.run else ""
    model = models.resolve(searched_in, regime="readable", network="smooth")
    network = networks.load(model, data.train.num_classes, logits=True)
    scorer, spaces = judges.scorer(PANEL_A, data), FeatureSpaces()
    labels = np.repeat(np.arange(10), options.num_images).astype(np.int32)
    rows = {}
    for name, changes in CHOICES.items():
        settings = AscentSettings(**{**DEFAULTS, **changes})
        found = search(
            network,
            kinds("all", "noise", "target"),
            data.train,
            settings,
            num_images=options.num_images,
        )
        images = LabelledImages(found.result.final, labels, "", "", name)
        scores = {
            f"cas_{kind}": accuracy for kind, (accuracy,) in teaching.tested(images, data.validation, [1]).items()
        }
        rows[name] = {
            **scorer(images.images, found.plan.targets).metrics(),
            **teaching.measured(images, data, spaces),
            **scores,
        }  # fmt: skip
        print(f"{name}: " + ", ".join(f"{key} {rows[name][key]:.3f}" for key in SHOWN), flush=True)
    keep("teaching", DEVICE, {"num_images": options.num_images, "choices": rows, "taught": taught})


SHOWN = ("recognised_rate", "learned/recall", "learned/vendi_ratio", "cas_plain", "cas_augmented")

if __name__ == "__main__":
    main()
