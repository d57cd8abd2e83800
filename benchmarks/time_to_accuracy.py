"""Time to 99.0 % test accuracy: preset `quick` against Keras' "Simple MNIST convnet" example, in one run.

    python -m benchmarks.time_to_accuracy --seeds 3

The example is https://keras.io/examples/vision/mnist_convnet/: its architecture, Adam with its defaults, batches of
128, the same 54,000 training images (the example's validation_split=0.1), trained by `fit`. Its clock runs while it
trains and stops at the end of the first epoch whose test accuracy is at least 99.0 %; testing is not timed.
Seeds alternate between the two, so that a machine that slows down slows both. The test images are opened here to
measure when given settings get there; no choice is made by them.
"""

# ruff: noqa: E402

from __future__ import annotations

import argparse
import time

from benchmarks import keep, spread
from mnist_cnn.runtime import hardware

DEVICE = hardware.start_tensorflow()  # quietly, before what follows imports it

import keras
from keras import layers

from mnist_cnn.data import dataset
from mnist_cnn.models import networks
from mnist_cnn.settings import TrainSettings
from mnist_cnn.training import evaluation, loop

GOAL = 0.99
MOST_EPOCHS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    data, test = dataset.split(dataset.load_train()), dataset.load_test()

    def example(seed: int) -> tuple[float, int, float]:
        keras.utils.set_random_seed(seed)
        network = keras.Sequential(
            [
                keras.Input((28, 28, 1)),
                layers.Conv2D(32, 3, activation="relu", data_format="channels_last"),
                layers.MaxPooling2D(2, data_format="channels_last"),
                layers.Conv2D(64, 3, activation="relu", data_format="channels_last"),
                layers.MaxPooling2D(2, data_format="channels_last"),
                layers.Flatten("channels_last"),
                layers.Dropout(0.5),
                layers.Dense(10, activation="softmax"),
            ]
        )
        network.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
        labels = keras.utils.to_categorical(data.train.labels, 10)
        seconds = accuracy = 0.0
        epoch = 0
        while accuracy < GOAL and epoch < MOST_EPOCHS:
            epoch += 1
            start = time.perf_counter()
            network.fit(data.train.images, labels, batch_size=128, epochs=1, verbose=0)
            seconds += time.perf_counter() - start
            accuracy = evaluation.evaluate(network, test).accuracy
        return seconds, epoch, accuracy

    def ours(seed: int) -> tuple[float, int, float]:
        settings = TrainSettings(seed=seed)
        network = networks.build(settings.network, seed)
        seconds = loop.train(network, data, settings).seconds
        return seconds, settings.epochs, evaluation.evaluate(network, test).accuracy

    results: dict[str, list[dict[str, float]]] = {"example": [], "quick": []}
    for seed in range(options.seeds):
        for name, run in (("quick", ours), ("example", example)):
            seconds, epochs, accuracy = run(seed)
            results[name].append({"seed": seed, "seconds": seconds, "epochs": epochs, "test_accuracy": accuracy})
            print(f"seed {seed}, {name}: {accuracy:.2%} after {epochs} epochs, {seconds:.1f} s", flush=True)
    ratios = [
        slow["seconds"] / fast["seconds"] for slow, fast in zip(results["example"], results["quick"], strict=True)
    ]
    reached = {name: sum(run["test_accuracy"] >= GOAL for run in runs) for name, runs in results.items()}
    print(f"\n{options.seeds} seeds, {DEVICE}")
    for name, runs in results.items():
        times = spread([run["seconds"] for run in runs], ".1f")
        print(f"{name:8} {times} s; reached {GOAL:.1%} in {reached[name]} of {len(runs)}")
    print(f"ratio    {spread(ratios, '.1f')} times")
    keep("time-to-accuracy", DEVICE, {"results": results, "ratios": ratios})


if __name__ == "__main__":
    main()
