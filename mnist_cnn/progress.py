"""The only door to the terminal: a moving bar where a person watches, a line an epoch where a file does."""

from __future__ import annotations

import sys

import keras

from mnist_cnn.training import EpochResult, StepResults


class TrainingProgress:
    """Shows a training of `epochs` epochs of `num_steps` steps."""

    def __init__(self, epochs: int, num_steps: int) -> None:
        self._epochs, self._num_steps = epochs, num_steps
        self._watched = sys.stdout.isatty()
        self._bar: keras.utils.Progbar | None = None

    def steps(self, results: StepResults) -> None:
        if not self._watched:
            return
        done = results.first % self._num_steps + len(results.losses)
        if self._bar is None:
            print(f"Epoch {results.first // self._num_steps + 1}/{self._epochs}")
            self._bar = keras.utils.Progbar(self._num_steps, stateful_metrics=["learning_rate"])
        values = [
            ("accuracy", float(results.accuracies.mean())),
            ("loss", float(results.losses.mean())),
            ("learning_rate", float(results.learning_rates[-1])),
        ]
        self._bar.update(min(done, self._num_steps - 1), values)

    def epoch(self, result: EpochResult) -> None:
        validation = [("validation_accuracy", result.validation_accuracy), ("validation_loss", result.validation_loss)]
        if self._bar is not None:
            self._bar.update(self._num_steps, validation, finalize=True)
            self._bar = None
            return
        print(
            f"Epoch {result.epoch}/{self._epochs}: accuracy {result.accuracy:.4f}, loss {result.loss:.4f}, "
            f"validation accuracy {result.validation_accuracy:.4f}, loss {result.validation_loss:.4f}, "
            f"{result.seconds:.1f} s",
            flush=True,
        )
