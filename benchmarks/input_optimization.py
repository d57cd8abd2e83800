"""Milliseconds per image and step: the compiled loop against the plain Keras loop and tf-keras-vis, in one run.

python -m benchmarks.input_optimization compact
python -m benchmarks.input_optimization report

The settings are the report's (Adam 0.05, 1e-4 sum x^2, clip to [0, 1]). The contenders take turns, round by round,
so that a busy moment hits them all. tf-keras-vis (pip install tf-keras-vis==0.8.7, no dependency of this project)
clips only what it returns, not what the network sees, and has a norm of its own in place of the penalty: its
arithmetic per step is no more than ours.
"""

# ruff: noqa: E402

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import keep, spread
from mnist_cnn.runtime import hardware

DEVICE = hardware.start_tensorflow()  # quietly, before what follows imports it

import keras
import tensorflow as tf

from benchmarks import plain_loop
from mnist_cnn.data import dataset
from mnist_cnn.input_optimization import ascend
from mnist_cnn.models import networks
from mnist_cnn.settings import AscentSettings, TrainSettings
from mnist_cnn.training import evaluation, loop

try:
    from tf_keras_vis.activation_maximization import ActivationMaximization
    from tf_keras_vis.activation_maximization.regularizers import Norm
    from tf_keras_vis.utils.scores import CategoricalScore
except ImportError:  # no dependency of this project
    ActivationMaximization = None

OURS = {"compact": (256, 200), "report": (64, 12)}
HALF = {"compact": 200, "report": 2}
PLAIN = {"compact": 40, "report": 10}
VIS = {"compact": ((16, 40), (64, 20), (256, 10), (1024, 3)), "report": ((8, 4), (32, 2), (64, 2))}
"""Batch and steps of each measurement, chosen so that a round takes about as long for each."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=list(OURS))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()

    contenders = _contenders(options.network)
    first = {name: run() for name, (run, _, _) in contenders.items()}  # tracing and first touches are not timed
    times: dict[str, list[float]] = {name: [] for name in contenders}
    peak = []
    for number in range(options.rounds):
        peak.append(_matrix_product_gflops())
        for name, (run, batch, steps) in contenders.items():
            start = time.perf_counter()
            run()
            times[name].append(1000 * (time.perf_counter() - start) / (batch * steps))
            print(f"round {number + 1}: {name:<24} {times[name][-1]:9.3f} ms per image and step", flush=True)

    ours = f"ours, batch {OURS[options.network][0]}"
    flops = flops_per_step(options.network)
    rate = [flops / (1e6 * milliseconds) for milliseconds in times[ours]]
    print(f"\n{options.network}, {options.rounds} rounds, {DEVICE}")
    ratios = {
        name: [theirs / mine for theirs, mine in zip(values, times[ours], strict=True)]
        for name, values in times.items()
    }
    for name, values in times.items():
        print(f"{name:<24} {spread(values, '.3f'):>28} ms   {spread(ratios[name], '.1f')} times ours")
    print(f"{flops / 1e6:.1f} MFLOP per image and step: {spread(rate, '.0f')} GFLOP/s of {spread(peak, '.0f')} that a")
    print("matrix product of 1,024 x 1,024 reaches")
    keep(
        f"input-optimization-{options.network}",
        DEVICE,
        {
            "milliseconds": times,
            "ratios": ratios,
            "flops_per_image_and_step": flops,
            "gflops": rate,
            "peak": peak,
            "bfloat16": _what_bfloat16_does(options.network, *first.values()),
        },
    )


def _what_bfloat16_does(name: str, ours: Any, plain: Any, half: Any, *others: Any) -> dict[str, float]:
    """How far its images are from float32's, and what the float32 network says of them."""
    return {
        "steps": int(ours.steps[-1]),
        "mean_difference": float(np.abs(half.final - ours.final).mean()),
        "own_probability": float(half.target_probabilities[-1].mean()),
        "probability_in_float32": float(_probabilities(name, half.final)[:, 2].mean()),
    }


@functools.cache
def _network(name: str) -> Any:
    """Trained where that takes seconds."""
    network = networks.build(name, 0)
    if name == "compact":
        loop.train(network, dataset.split(dataset.load_train()), TrainSettings())
    return network


def _probabilities(name: str, images: Any) -> Any:
    return evaluation.predict(_network(name), images)


def _contenders(name: str) -> dict[str, tuple[Callable[[], Any], int, int]]:
    """What is timed: a call, and its batch and steps."""
    network = _network(name)
    target = np.eye(10, dtype=np.float32)[2]
    batch, steps = OURS[name]
    starts = np.random.default_rng(0).random((batch, 28, 28, 1), np.float32)
    settings = AscentSettings(steps=steps, snapshot_every=steps)
    contenders: dict[str, tuple[Callable[[], Any], int, int]] = {
        f"ours, batch {batch}": (lambda: ascend(network, starts, target, settings), batch, steps),
        "plain loop": (lambda: plain_loop.optimise(network, starts[0], target, steps=PLAIN[name]), 1, PLAIN[name]),
    }
    half = networks.build(name, 0, precision="mixed_bfloat16")
    half.set_weights(network.get_weights())
    short = AscentSettings(steps=HALF[name], snapshot_every=HALF[name])
    contenders[f"ours, bfloat16, {batch}"] = (lambda: ascend(half, starts, target, short), batch, HALF[name])
    if ActivationMaximization is None:
        print("tf-keras-vis is not installed and not timed")
        return contenders
    for size, count in VIS[name]:
        maximisation = ActivationMaximization(networks.with_logits(network), clone=False)

        def run(maximisation: Any = maximisation, size: int = size, count: int = count) -> Any:
            return maximisation(
                CategoricalScore([2] * size),
                seed_input=tf.constant(starts[:1].repeat(size, axis=0)),
                input_range=(0, 1),
                input_modifiers=None,
                regularizers=[Norm(weight=1e-4, p=2)],
                steps=count,
                optimizer=keras.optimizers.Adam(0.05),
            )

        contenders[f"tf-keras-vis, batch {size}"] = (run, size, count)
    return contenders


def flops_per_step(name: str) -> float:
    """Multiplications and additions of one image's forward pass and its gradient: twice the forward pass's.

    The gradient for the image alone costs as much as the forward pass; none is taken for the weights.
    """
    network = networks.build(name, 0)
    forward = tf.function(lambda images: network(images, training=False))
    graph = forward.get_concrete_function(tf.TensorSpec((1, 28, 28, 1), tf.float32)).graph
    products = 0
    for operation in graph.get_operations():
        if operation.type == "Conv2D":
            kernel = operation.inputs[1].shape
            products += int(np.prod(operation.outputs[0].shape[1:3])) * int(np.prod(kernel))
        elif operation.type == "MatMul":
            products += int(np.prod(operation.inputs[1].shape))
    return 2.0 * 2.0 * products


def _matrix_product_gflops(size: int = 1024, repeats: int = 20) -> float:
    matrix = tf.random.stateless_normal((size, size), (0, 0))
    (matrix @ matrix).numpy()
    start = time.perf_counter()
    for _ in range(repeats):
        product = matrix @ matrix
    product.numpy()
    return repeats * 2 * size**3 / (time.perf_counter() - start) / 1e9


if __name__ == "__main__":
    main()
