"""What can be asked of a training, of one that is resumed, and of an evaluation."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from mnist_cnn.settings.fields import DATASET, MODEL, RUN_NAME, TRUST, Model, RunId, RunName, Seed, setting
from mnist_cnn.settings.settings import Settings

Preset = Literal["quick", "accurate", "readable", "templates", "report", "report_recipe"]
Network = Literal["compact", "wide", "smooth", "templates", "report"]
Schedule = Literal["one_cycle", "constant"]
Robustness = Literal["none", "noise", "l2"]

NETWORKS: tuple[Network, ...] = typing.get_args(Network)
"""Names of the networks: each is a function of that name in `mnist_cnn.models.networks`."""

SCHEDULES: tuple[Schedule, ...] = typing.get_args(Schedule)


class TrainSettings(Settings, command="train"):
    """Train a network on MNIST and log everything about it to MLflow."""

    MOVED: ClassVar[Mapping[str, str]] = {"resume": "resume -P run=ID"}
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {},
        "accurate": {"network": "wide", "epochs": 24, "augmentation": 0.7, "label_smoothing": 0.1},
        "readable": {
            "network": "smooth", "epochs": 7, "learning_rate": 0.002, "label_smoothing": 0.0, "robustness": "l2",
            "off_manifold": 0.5,
        },
        "templates": {
            "network": "templates", "epochs": 2, "learning_rate": 0.002, "label_smoothing": 0.0, "robustness": "l2",
            "epsilon": 1.0, "attack_steps": 2, "noise": 0.8, "noise_doubt": 1.0, "off_manifold": 1.0,
        },
        "report": {"network": "report", "learning_rate": 0.0004, "label_smoothing": 0.0},
        "report_recipe": {
            "network": "report", "epochs": 5, "learning_rate": 0.001, "label_smoothing": 0.0, "schedule": "constant",
            "recalibrate": False,
        },
    }  # fmt: skip

    preset: Preset = setting("quick", "A named set of defaults; see the list below.")
    network: Network = setting("compact", "The network to train.")
    dataset: str = DATASET
    epochs: int = setting(1, "Passes over the training images.", ge=1, le=10_000)
    batch_size: int = setting(128, "Images in a step.", ge=1, le=65_536)
    learning_rate: float = setting(0.02, "Adam's step size at its peak.", gt=0, le=10)
    schedule: Schedule = setting("one_cycle", "Learning rate: a linear warm-up and a cosine down to 0, or constant.")
    weight_decay: float = setting(0.0, "Decoupled weight decay of AdamW (kernels only).", ge=0, le=10)
    label_smoothing: float = setting(0.05, "Share of the label's weight that all classes share evenly.", ge=0, lt=1)
    augmentation: float = setting(
        0.0, "Random shift, rotation and scaling of images; 1 is up to 2 pixels, 15 degrees and 15 %.", ge=0, le=3
    )
    robustness: Robustness = setting(
        "none", "What the network learns to withstand: nothing, Gaussian noise, or the worst image within an L2 ball."
    )
    epsilon: float = setting(
        2.0, "Radius of the ball of robustness l2, in grey levels, in training and test.", gt=0, le=28
    )
    attack_steps: int = setting(
        4, "Gradient steps to the worst image in the whole ball; fewer while it grows.", ge=1, le=1000
    )
    ramp: float = setting(0.5, "Share of the training in which radius and noise grow from 0.", ge=0, le=1)
    noise: float = setting(
        0.3, "Largest standard deviation of noise: robustness noise adds it to all images, l2 to a third.", ge=0, le=10
    )
    noise_doubt: float = setting(
        0.0, "Share of the label that all classes share evenly under the largest noise; less under less.", ge=0, le=1
    )
    off_manifold: float = setting(
        0.0, "Weight of a second loss: no class for noise and shuffled digits made confident.", ge=0, le=100
    )
    dropout: float = setting(0.0, "Share of the features below the logits that each step also drops.", ge=0, lt=1)
    recalibrate: bool = setting(True, "Recompute BatchNorm's statistics from the training images after the last epoch.")
    validation_fraction: float = setting(
        0.1, "Share of the training images, from their end, that validates.", gt=0, lt=1
    )
    precision: Literal["float32", "mixed_bfloat16"] = setting("float32", "Number format of the layers' arithmetic.")
    seed: Seed = setting(0, "Seed of weights, order of images and everything else that is drawn.")
    run_name: RunName = RUN_NAME

    @property
    def regime(self) -> str:
        """One of `REGIMES`, or `other` for a combination that is none of them."""
        if self.off_manifold or self.noise_doubt or self.network == "templates":
            doubts = self.off_manifold and self.robustness == "l2" and self.network != "templates"
            return "readable" if doubts else "other"
        return {"none": "ordinary", "noise": "noise-trained", "l2": "robust"}[self.robustness]


class ResumeSettings(Settings, command="resume"):
    """Continue an interrupted training from its last finished epoch, with its own settings, in a new run."""

    run: RunId = setting(..., "Id of the run of the interrupted training.")
    run_name: RunName = RUN_NAME


class EvaluateSettings(Settings, command="evaluate"):
    """Evaluate a logged model on the test images and log the result, linked to the model."""

    model: Model = MODEL
    trust: bool = TRUST
    dataset: str = DATASET
    batch_size: int = setting(1000, "Images in a step; changes no result.", ge=1, le=65_536)
    epsilon: float = setting(0.0, "Radius of attacks, in grey levels, for a robust accuracy; 0 is none.", ge=0, le=28)
    run_name: RunName = RUN_NAME
