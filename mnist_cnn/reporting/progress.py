"""The only door to the terminal: a moving bar where a person watches, else a line an epoch and a minute."""

from __future__ import annotations

import sys
import time

import keras
import numpy as np

from mnist_cnn.runtime import signals
from mnist_cnn.training.loop import EpochResult, StepResults

SECONDS_BETWEEN_LINES = 60.0


def is_watched() -> bool:
    """Whether a person sees what is printed as it comes: a terminal or a notebook."""
    return sys.stdout.isatty() or "ipykernel" in sys.modules


class TrainingProgress:
    """Shows a training of `epochs` epochs of `num_steps` steps."""

    def __init__(self, epochs: int, num_steps: int) -> None:
        self._epochs, self._num_steps = epochs, num_steps
        self._watched = is_watched()
        self._bar: keras.utils.Progbar | None = None
        self._printed = time.monotonic()

    def steps(self, results: StepResults) -> None:
        done = results.first % self._num_steps + len(results.losses)
        epoch = f"Epoch {results.first // self._num_steps + 1}/{self._epochs}"
        accuracy, loss = float(results.accuracies.mean()), float(results.losses.mean())
        if self._watched:
            if self._bar is None:
                print(epoch)
                self._bar = keras.utils.Progbar(self._num_steps, stateful_metrics=["learning_rate"])
            values = [("accuracy", accuracy), ("loss", loss), ("learning_rate", float(results.learning_rates[-1]))]
            self._bar.update(min(done, self._num_steps - 1), values)
        elif time.monotonic() - self._printed > SECONDS_BETWEEN_LINES and done < self._num_steps:
            self._print(f"{epoch}, step {done}/{self._num_steps}: accuracy {accuracy:.4f}, loss {loss:.4f}")

    def epoch(self, result: EpochResult) -> None:
        validation = [("validation_accuracy", result.validation_accuracy), ("validation_loss", result.validation_loss)]
        if self._bar is not None:
            self._bar.update(self._num_steps, validation, finalize=True)
            self._bar = None
            return
        self._print(
            f"Epoch {result.epoch}/{self._epochs}: accuracy {result.accuracy:.4f}, loss {result.loss:.4f}, "
            f"validation accuracy {result.validation_accuracy:.4f}, loss {result.validation_loss:.4f}, "
            f"{result.seconds:.1f} s"
        )

    def _print(self, line: str) -> None:
        print(line, flush=True)
        self._printed = time.monotonic()


class AscentProgress:
    """Shows an ascent: give it to `ascend` as `on_progress`."""

    def __init__(self) -> None:
        self._bar: keras.utils.Progbar | None = None
        self._started = self._printed = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """done, total: image-steps. Raises `Interrupted` where this process was asked to stop."""
        signals.check()
        if is_watched():
            if self._bar is None:
                self._bar = keras.utils.Progbar(total, unit_name="image-step")
            self._bar.update(done, finalize=done == total)
        elif time.monotonic() - self._printed > SECONDS_BETWEEN_LINES and done < total:
            self._printed = time.monotonic()
            rest = (self._printed - self._started) * (total / done - 1)
            print(f"{done:,} of {total:,} image-steps, {np.ceil(rest):.0f} s to go", flush=True)
