"""What a run's page says in words: results in, Markdown out."""

from __future__ import annotations

from mnist_cnn.dataset import LabelledImages
from mnist_cnn.evaluation import EvaluationResult
from mnist_cnn.settings import TrainSettings
from mnist_cnn.training import TrainingResult


def accuracy(result: EvaluationResult, name: str) -> str:
    """One line: accuracy with its interval."""
    return (
        f"{name} accuracy {result.accuracy:.2%} "
        f"(95 % interval {result.accuracy_low:.2%} to {result.accuracy_high:.2%}, {len(result.labels):,} images)"
    )


def of_training(settings: TrainSettings, training: TrainingResult, test: EvaluationResult, model_uri: str) -> str:
    last = training.history[-1]
    rows = [
        ("test", f"**{test.accuracy:.2%}** ({test.accuracy_low:.2%} to {test.accuracy_high:.2%})", f"{test.loss:.4f}"),
        ("validation", f"{last.validation_accuracy:.2%}", f"{last.validation_loss:.4f}"),
        ("training (running mean)", f"{last.accuracy:.2%}", f"{last.loss:.4f}"),
    ]
    table = "\n".join(f"| {name} | {share} | {loss} |" for name, share, loss in rows)
    epochs = f"{settings.epochs} epoch" + ("s" if settings.epochs > 1 else "")
    return f"""\
The **{settings.network}** network, trained for {epochs} in {training.seconds:.1f} s on `{settings.dataset}` \
(preset `{settings.preset}`, seed {settings.seed}).

| images | accuracy | loss |
|---|---|---|
{table}

**What to look at**

- `figures/learning_curves.png`: training against validation; `step/…` among the metrics moves within the epoch.
- `figures/most_wrong.png`: the test images in which the network was surest and wrong. Would you have read them?
- `figures/confusion_matrix.png`, `per_class_accuracy.png`, `calibration.png`: which digits, and how far to trust it.
- `model_summary.txt`: the layers. `settings.json`: everything needed to train it again.

**Use it**

```python
import mlflow
network = mlflow.keras.load_model("{model_uri}")
network.predict(images)  # (n, 28, 28, 1) in [0, 1] -> (n, 10) probabilities
```

Evaluate it on other images: `mlflow run . -e evaluate -P model={model_uri} -P dataset=FILE.npz`
"""


def of_evaluation(model_uri: str, data: LabelledImages, result: EvaluationResult) -> str:
    rows = "\n".join(
        f"| {number} | {precision:.2%} | {recall:.2%} |"
        for number, (precision, recall) in enumerate(zip(result.precision, result.recall, strict=True))
    )
    return f"""\
`{model_uri}` on the {len(data):,} test images of **{data.name}** (digest `{data.digest}`): \
{accuracy(result, "test")}; loss {result.loss:.4f}; expected calibration error {result.calibration_error:.2%}.

| class | precision | recall |
|---|---|---|
{rows}

Look at `figures/most_wrong.png` first.
"""
