"""What a student learns from real digits under several recipes: with it the recipe of every student was chosen.

python -m benchmarks.student_recipes [--num-images 1000] [--students 3]

--num-images: real training digits of each class. Validation digits test the students; no dreamed digit takes part.
"""

# ruff: noqa: E402

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from benchmarks import keep
from mnist_cnn.runtime import hardware

DEVICE = hardware.start_tensorflow()  # quietly, before what follows imports it

from mnist_cnn.data import dataset
from mnist_cnn.judging import teaching

RECIPES: dict[str, dict[str, Any]] = {
    "12 epochs": {"epochs": 12, "label_smoothing": 0.0},
    "12 epochs, label smoothing 0.1": {"epochs": 12, "label_smoothing": 0.1},
    "12 epochs, label smoothing 0.2": {"epochs": 12, "label_smoothing": 0.2},
    "20 epochs, label smoothing 0.1": {"epochs": 20, "label_smoothing": 0.1},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-images", type=int, default=1000)
    parser.add_argument("--students", type=int, default=3)
    options = parser.parse_args()

    data = dataset.split(dataset.load_train())
    real = teaching.real_digits(data.train, options.num_images)
    accuracies: dict[str, dict[str, tuple[float, ...]]] = {}
    for name, changes in RECIPES.items():
        recipe = teaching.RECIPE.replace(**changes)
        accuracies[name] = teaching.tested(real, data.validation, range(options.students), recipe)
        means = {kind: f"{100 * np.mean(values):.2f} %" for kind, values in accuracies[name].items()}
        print(f"{name}: {means}", flush=True)
    keep("student-recipes", DEVICE, {"num_images": options.num_images, "accuracies": accuracies})


if __name__ == "__main__":
    main()
