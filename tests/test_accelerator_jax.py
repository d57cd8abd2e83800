"""The benchmark in JAX does what the program does in TensorFlow: where JAX is installed, both are run and compared."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import PROJECT

from mnist_cnn.input_optimization import ascent, starts
from mnist_cnn.models import networks
from mnist_cnn.settings import AscentSettings, TrainSettings
from mnist_cnn.training import attacks, evaluation, loop

pytest.importorskip("jax", reason="JAX is no part of the project; the benchmark in JAX is for machines that have it")
jax_loops = pytest.importorskip("benchmarks.jax_loops")

pytestmark = pytest.mark.slow


def in_jax(program: str, folder: Path) -> str:
    """Run a program in a Python of its own, whose Keras is on JAX."""
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    environment |= {"JAX_PLATFORMS": "cpu", "OUT": str(folder), "PYTHONPATH": str(PROJECT)}
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_what_is_planned_for_each_step_is_the_same() -> None:
    assert (jax_loops.BETA_1, jax_loops.BETA_2, jax_loops.EPSILON) == (ascent.BETA_1, ascent.BETA_2, ascent.EPSILON)
    assert (jax_loops.STEP_SHARE, jax_loops.TINY) == (attacks.STEP_SHARE, attacks.TINY)
    for name in ("WARM_UP", "EVERY_NOISY", "OFF_MANIFOLD_EVERY", "RECALIBRATION_IMAGES"):
        assert getattr(jax_loops, name) == getattr(loop, name)
    for schedule in ("constant", "one_cycle"):
        np.testing.assert_array_equal(*(own.learning_rates(schedule, 0.02, 422) for own in (jax_loops, loop)))
    np.testing.assert_array_equal(*(own.epoch_order(3, 2, 1000, 128) for own in (jax_loops, loop)))
    np.testing.assert_array_equal(*(own.strengths(0.5, 1000) for own in (jax_loops, loop)))
    settings, ramps = TrainSettings(preset="readable"), loop.strengths(0.5, 1000)
    expected = [loop.attack_steps(settings, ramp) for ramp in ramps]
    assert jax_loops.attack_steps(settings.attack_steps, ramps).tolist() == expected


@pytest.mark.parametrize(("name", "at_least"), [("smooth", 20), ("compact", 15)])
def test_a_search_ends_at_the_same_images(name: str, at_least: int, tmp_path: Path) -> None:
    """Where a feature of compact comes within a last digit of ReLU's corner, its search may go another way."""
    network, settings = networks.build(name, 0), AscentSettings(steps=200)
    network.save(tmp_path / "network.keras")
    first, targets = starts.uniform_noise(range(20)).images, np.eye(10, dtype=np.float32)[np.arange(20) % 10]
    np.savez(tmp_path / "starts.npz", images=first, targets=targets)
    in_jax(
        "import os; from pathlib import Path; from benchmarks.jax_loops import *\n"
        "folder = Path(os.environ['OUT']); given = np.load(folder / 'starts.npz')\n"
        "network = keras.saving.load_model(folder / 'network.keras')\n"
        "search = searcher(network, AscentSettings(steps=200))\n"
        "np.save(folder / 'final', search(values_of(network), given['images'], given['targets']))",
        tmp_path,
    )
    found, expected = np.load(tmp_path / "final.npy"), ascent.ascend(network, first, targets, settings).final
    assert np.abs(expected - first).mean() > 0.05
    assert (np.abs(found - expected).max(axis=(1, 2, 3)) < 1e-3).sum() >= at_least


def test_all_parts_run_in_small_and_the_readable_network_is_one_of_tensorflow_s(tmp_path: Path) -> None:
    printed = in_jax("from benchmarks import accelerator_jax; accelerator_jax.main(['--small'])", tmp_path)
    assert printed.count("CPU: ") == 4 and "'searches': 200" in printed and "Kept in" not in printed
    network = keras.saving.load_model(tmp_path / "readable.keras")
    probabilities = evaluation.predict(network, starts.uniform_noise(range(8)).images)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
