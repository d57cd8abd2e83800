"""The only door to MLflow runs, artifacts and logged models.

A run that `tracked_run` opened never stays RUNNING: it ends FINISHED, FAILED (with the reason as a tag), or KILLED
when a person or the system interrupts it; one that was killed outright is closed when the next run starts.
"""

from __future__ import annotations

import dataclasses
import fcntl
import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.entities import LoggedModelInput, LoggedModelOutput, LoggedModelStatus, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.name_utils import _GENERATOR_NOUNS, _GENERATOR_PREDICATES
from numpy.typing import NDArray

from mnist_cnn.data.dataset import LabelledImages
from mnist_cnn.runtime import fingerprint, processes
from mnist_cnn.runtime.processes import RUN_ID_VARIABLE
from mnist_cnn.settings.command_line import Interrupted, SettingError, Settings

if TYPE_CHECKING:  # A run that does not exist is refused before TensorFlow loads.
    import keras

    from mnist_cnn.judging.judges import Judge, Panel
    from mnist_cnn.training.loop import TrainingState

PARENT_VARIABLE = "MNIST_CNN_PARENT_RUN"
"""Set where a command is a step of a larger one: the id of that one's run, below which its own stands."""

PARENT_TAG = "mlflow.parentRunId"
PROCESS_TAG = "process"
REASON_TAG = "reason"
NOTE_TAG = "mlflow.note.content"
KIND_TAG = "kind"
RECIPE_TAG = "recipe"
SHA256_TAG = "sha256"
ENTRY_POINT_TAG = "mlflow.project.entryPoint"
SETTINGS_FILE = "settings.json"
CHECKPOINTS = "checkpoints"
CHECKPOINTS_KEPT = 2
SECONDS_BETWEEN_FLUSHES = 2.0
SECONDS_TO_START = 600.0
"""A command that `mlflow run` started has opened its run by then, or never will."""

SECONDS_TO_BEGIN = 5.0
"""`mlflow run` has started its command by then, once it has made the run."""

RUN_ID = re.compile(r"[0-9a-f]{32}")


SCORES_VIEW = "scores"
"""Name of the runs table with the columns that are worth sorting by: MLflow's UI hides every metric at first."""

SCORES = {
    "selectedColumns": [
        "tags.`kind`",
        *(f"metrics.`{name}`" for name in ("test_accuracy", "test_robust_accuracy", "recognised_rate", "diversity")),
        *(f"params.`{name}`" for name in ("l2_weight", "learning_rate")),
    ]
}
"""That view, as MLflow's UI keeps one that a person shares: a tag of the experiment, named in the address."""

ABOUT_EXPERIMENT = """\
A CNN learns MNIST; then its *input* is searched until it sees a digit. **[Show scores as columns]({scores})**

- Each run's page begins with what it is, what came out, and what to look at.
- Sort by `test_accuracy` (trainings), `recognised_rate` and `diversity` (searches, trials: the share that judges
  recognise, and how much the images differ).
- Runs named `story-...` hold everything below them, and a page `report.html` that tells it.
- The tag `kind` says what a run is: `tags.kind = 'train'` in the search field shows the trainings alone.
"""

HOW_TO_TRAIN = {
    "ordinary": "-P network=smooth -P epochs=3 -P learning_rate=0.002 -P label_smoothing=0",
    "noise-trained": "-P network=smooth -P epochs=3 -P learning_rate=0.002 -P label_smoothing=0 -P robustness=noise",
    "robust": "-P preset=readable -P off_manifold=0",
    "readable": "-P preset=readable",
}


def is_invented(name: str) -> bool:
    """Whether a run's name is one that MLflow invents, e.g. `capable-wolf-101`."""
    first, _, rest = name.partition("-")
    second, _, number = rest.partition("-")
    return first in _GENERATOR_PREDICATES and second in _GENERATOR_NOUNS and number.isdecimal()


class TrackingError(SettingError):
    """A run, model or store that was asked for cannot be used; the message says which and why."""


@dataclass(frozen=True)
class LoggedModel:
    """Where a model was logged: its id (`m-...`) and the URI that loads it."""

    model_id: str
    uri: str


class TrackedRun:
    """An open run: logs to it in the units of this project. Made by `tracked_run`."""

    def __init__(self, run: Run) -> None:
        self.run_id: str = run.info.run_id
        self.artifact_uri: str = run.info.artifact_uri
        self._experiment_id: str = run.info.experiment_id
        self._client = mlflow.MlflowClient()
        self._buffer: list[Metric] = []
        self._stamps: dict[tuple[str, int], int] = {}
        self._flushed = time.monotonic()
        self.is_shared: Callable[[], bool] = lambda: False
        """Whether others still work on the run when this process leaves it, so that it stays RUNNING."""

    @property
    def name(self) -> str:
        return str(self._client.get_run(self.run_id).info.run_name)

    def rename(self, name: str) -> None:
        self._client.update_run(self.run_id, name=name)

    def log_settings(self, settings: Settings, extra: Mapping[str, Any]) -> None:
        """Log every setting as a parameter, but those that `mlflow run` has logged already, and all of it as JSON."""
        self.log_words(settings.as_words())
        values = {"settings": dataclasses.asdict(settings), **extra}
        self._client.log_dict(self.run_id, values, SETTINGS_FILE)
        words = {**settings.as_words(), **extra.get("space", {})}
        self.set_tags({RECIPE_TAG: fingerprint.recipe(settings.PROGRAM, words)})

    def log_words(self, words: Mapping[str, str]) -> None:
        """Log words as parameters, but empty ones and those that are there already."""
        known = self._client.get_run(self.run_id).data.params
        params = [Param(name, word) for name, word in words.items() if word != "" and name not in known]
        self._client.log_batch(self.run_id, params=params)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        self._client.log_batch(self.run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    def describe(self, note: str) -> None:
        """The page's description in the UI, as Markdown."""
        self.set_tags({NOTE_TAG: note})

    def log_metrics(
        self,
        metrics: Mapping[str, float],
        step: int = 0,
        *,
        model: LoggedModel | None = None,
        data: LabelledImages | None = None,
    ) -> None:
        """Buffer numbers and send them every two seconds, linked to a model and a data set where given.

        A number that was logged before, now that there is a model to link it to, stays one point.
        """
        processes.check_signals()
        now = int(time.time() * 1000)
        model_id = model.model_id if model else None
        linked = {"dataset_name": data.name, "dataset_digest": data.digest} if data else {}

        def when(key: str) -> int:
            return self._stamps.setdefault((key, step), now)

        self._buffer += [
            Metric(key, float(value), when(key), step, model_id=model_id, run_id=self.run_id, **linked)
            for key, value in metrics.items()
        ]
        if time.monotonic() - self._flushed > SECONDS_BETWEEN_FLUSHES:
            self.flush()

    def flush(self) -> None:
        for start in range(0, len(self._buffer), 1000):
            self._client.log_batch(self.run_id, metrics=self._buffer[start : start + 1000])
        self._buffer.clear()
        self._flushed = time.monotonic()

    def log_data(self, data: LabelledImages, context: str) -> None:
        """Link a data set to the run: name, digest, shapes and where it came from."""
        # The source is given as such, since of a path MLflow warns that it can be read in several ways.
        source = CodeDatasetSource({"file": data.source})
        dataset = mlflow.data.from_numpy(
            data.images, targets=data.labels, source=source, name=data.name, digest=data.digest
        )
        mlflow.log_input(dataset, context=context)

    def log_figure(self, figure: Any, path: str) -> None:
        """Log a matplotlib figure as a PNG, packed fast rather than small: drawing is most of what logging costs."""
        self._client.log_figure(self.run_id, figure, path, save_kwargs={"pil_kwargs": {"compress_level": 1}})

    def log_image(self, pixels: NDArray[np.uint8], key: str, step: int) -> None:
        """Log one picture of a series, (height, width[, 3]); the UI shows the series as a timeline to scrub through.

        key: letters, digits and `_-. `; series `a/b` and `a/c` stand in a section `a` of the page.
        """
        self._client.log_image(self.run_id, pixels, key=key, step=step, synchronous=True)

    def log_table(self, columns: Mapping[str, Any], path: str) -> None:
        """Log a table, column by column, which the UI shows as such. path: ends in .json."""
        self._client.log_table(self.run_id, {name: list(values) for name, values in columns.items()}, path)

    def replace_table(self, columns: Mapping[str, Any], path: str) -> None:
        """The same, in place of what is there: `log_table` adds lines to it. path: ends in .json."""
        rows = [list(row) for row in zip(*columns.values(), strict=True)]
        self.log_json({"columns": list(columns), "data": rows}, path)

    def log_arrays(self, arrays: Mapping[str, NDArray[Any]], path: str) -> None:
        """Log arrays as an .npz without pickles."""
        self._log_file(path, lambda local: np.savez(local, **arrays))  # type: ignore[arg-type]

    def log_bytes(self, content: bytes, path: str) -> None:
        self._log_file(path, lambda local: local.write_bytes(content))

    def _log_file(self, path: str, write: Callable[[Path], object]) -> None:
        folder, _, name = path.rpartition("/")
        with tempfile.TemporaryDirectory() as temporary:
            local = Path(temporary) / name
            write(local)
            self._client.log_artifact(self.run_id, str(local), folder or None)

    def log_text(self, text: str, path: str) -> None:
        self._client.log_text(self.run_id, text, path)

    def log_json(self, values: Mapping[str, Any], path: str) -> None:
        self._client.log_dict(self.run_id, dict(values), path)

    def log_model(self, network: keras.Model, example: NDArray[np.float32], tags: Mapping[str, str]) -> LoggedModel:
        """Log a Keras model as `model`, with signature, input example and the versions it needs."""
        from mlflow.models import Model, ModelSignature
        from mlflow.types import Schema, TensorSpec

        signature = ModelSignature(
            inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, *example.shape[1:]))]),
            outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, *network.output_shape[1:]))]),
        )
        info = Model.log(
            artifact_path=None,
            name="model",
            flavor=SimpleNamespace(save_model=_save_keras_model),
            flavor_name="keras",
            model=network,
            signature=signature,
            input_example=example,
            # MLflow would load the model once more and show a progress bar; a test of ours does it instead.
            validate_serving_input=False,
            # Named, for working them out takes MLflow several seconds and a second process.
            pip_requirements=[f"{name}=={version(name)}" for name in ("tensorflow", "keras", "numpy")],
            tags=dict(tags),
        )
        return LoggedModel(model_id=info.model_id, uri=info.model_uri)

    def log_judge(self, judge: Judge, panel: str, training_digest: str) -> LoggedModel:
        """Log a judge as a model without a flavour: its .npz, with tags by which `find_panel` finds and verifies it.

        training_digest: of the training images that the panels' halves were taken from.
        """
        from mnist_cnn.judging import judges

        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            judge.save(folder)
            tags = {
                **_judge_tags(panel, training_digest),
                "judge": judge.kind,
                SHA256_TAG: judges.content_sha256(folder),
            }
            model = self._client.create_logged_model(
                self._experiment_id, f"judge-{panel}-{judge.kind}", self.run_id, tags
            )
            self._client.log_model_artifacts(model.model_id, str(folder))
        self._client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        self._client.log_outputs(self.run_id, [LoggedModelOutput(model.model_id, 0)])
        return LoggedModel(model_id=model.model_id, uri=f"models:/{model.model_id}")

    def log_used_model(self, model: LoggedModel) -> None:
        """Link a model that this run reads."""
        self._client.log_inputs(self.run_id, models=[LoggedModelInput(model.model_id)])

    def save_checkpoint(self, state: TrainingState) -> None:
        """Keep `state` with the run; the last two are kept, so that one which was cut short does no harm."""
        from mnist_cnn.training import checkpoints

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"epoch-{state.epoch:05d}.npz"
            checkpoints.save(state, path)
            self._client.log_artifact(self.run_id, str(path), CHECKPOINTS)
        for old in _checkpoint_paths(self.run_id)[CHECKPOINTS_KEPT:]:
            get_artifact_repository(self.artifact_uri).delete_artifacts(old)

    def delete_checkpoints(self) -> None:
        if _checkpoint_paths(self.run_id):
            get_artifact_repository(self.artifact_uri).delete_artifacts(CHECKPOINTS)


@contextmanager
def tracked_run(
    kind: str, *, name: str = "", otherwise: str = "", resume: str = "", child: bool = False
) -> Iterator[TrackedRun]:
    """Open a run (the one that `mlflow run` made, or a new one, or `resume`), and close it whatever happens.

    name: the run's, if its user gave one. otherwise: its name where the user gave none, here or to `mlflow run`.
    child: open a new one below the run that is open.
    An exception is written to the tag `reason` and goes on; SIGINT and SIGTERM are raised as `Interrupted`.
    """
    open_store()
    made_by_mlflow_run = os.environ.pop(RUN_ID_VARIABLE, "")
    parent = "" if child else os.environ.pop(PARENT_VARIABLE, "")
    if made_by_mlflow_run:
        processes.end_with_parent()
    elif parent:
        processes.end_with_parent(processes.parent())
    with interruptible():
        if resume and made_by_mlflow_run:
            _put_aside(made_by_mlflow_run, resume)
        try:
            known = {PROCESS_TAG: processes.this_process(), KIND_TAG: kind, REASON_TAG: ""}
            known |= {PARENT_TAG: parent} if parent else {}
            made = resume or made_by_mlflow_run
            new_name = None if made else name or otherwise or None
            run = mlflow.start_run(run_id=made or None, run_name=new_name, nested=child, tags=known)
        except MlflowException as error:
            raise TrackingError(f"no run can be opened in {tracking_uri()}: {_first_line(error)}") from error
        tracked = TrackedRun(run)
        if not child:
            processes.tell(run_id=tracked.run_id)
        if made and name:
            tracked.rename(name)
        elif made and otherwise and is_invented(tracked.name):
            tracked.rename(otherwise)
        status, reason = "FINISHED", ""
        try:
            tracked.set_tags(_commit())
            if not child:
                _describe_experiment(run.info.experiment_id)
                close_stale_runs()
            yield tracked
            processes.check_signals()
            tracked.flush()
        except KeyboardInterrupt as error:
            status, reason = "KILLED", str(error) or "interrupted"
            raise
        except BaseException as error:
            status, reason = "FAILED", f"{type(error).__name__}: {error}"
            raise
        finally:
            with _undisturbed():
                _close(tracked, status, reason)
                if status == "KILLED" and tracked.run_id == made_by_mlflow_run:
                    _when_parent_has_gone(tracked.run_id, "killed")


def _describe_experiment(experiment_id: str) -> None:
    """What the experiment's page says, unless a person has said something."""
    client = mlflow.MlflowClient()
    if NOTE_TAG not in client.get_experiment(experiment_id).tags:
        client.set_experiment_tag(experiment_id, f"mlflow.sharedViewState.{SCORES_VIEW}", json.dumps(SCORES))
        scores = f"#/experiments/{experiment_id}/runs?viewStateShareKey={SCORES_VIEW}"
        client.set_experiment_tag(experiment_id, NOTE_TAG, ABOUT_EXPERIMENT.format(scores=scores))


def _close(tracked: TrackedRun, status: str, reason: str) -> None:
    """End a run; where the store itself fails (a full disk), say so and leave it to the next start to close it."""
    try:
        if reason:
            with suppress(Exception):
                tracked.flush()
            tracked.set_tags({REASON_TAG: reason[:5000]})
            if NOTE_TAG not in mlflow.MlflowClient().get_run(tracked.run_id).data.tags:
                tracked.describe(f"Ended as **{status}** before its description was written: {reason[:1000]}.")
        mlflow.end_run("RUNNING" if tracked.is_shared() else status)
    except Exception as error:
        if status == "FINISHED":
            raise
        print(
            f"The run {tracked.run_id} could not be marked {status} ({_first_line(error)}); the next run closes it.",
            file=sys.stderr,
        )


def resumable(run_id: str, kind: str) -> dict[str, Any]:
    """What `log_settings` stored for an interrupted run. Raises `TrackingError` where it cannot be gone on with."""
    quiet_logs()
    try:
        run = mlflow.MlflowClient().get_run(run_id)
    except MlflowException as error:
        raise TrackingError(
            f"`resume` must be the id of a run in {mlflow.get_tracking_uri()}; got {run_id!r}. ({_first_line(error)})"
        ) from error
    if run.data.tags.get(KIND_TAG) != kind:
        raise TrackingError(
            f"`resume` must be the id of a {kind} run; {run_id} is {run.data.tags.get(KIND_TAG, 'none')}."
        )
    if run.info.status == "FINISHED":
        raise TrackingError(f"`resume`: the run {run_id} has finished; there is nothing to go on with.")
    if run.info.status == "RUNNING" and processes.is_alive(run.data.tags.get(PROCESS_TAG, "")):
        raise TrackingError(f"`resume`: the run {run_id} is still running (process {run.data.tags[PROCESS_TAG]}).")
    try:
        stored: dict[str, Any] = json.loads(mlflow.artifacts.load_text(f"{run.info.artifact_uri}/{SETTINGS_FILE}"))
    except (MlflowException, OSError, ValueError) as error:
        raise TrackingError(
            f"`resume`: the run {run_id} was interrupted before its settings were stored; start a new one."
        ) from error
    return stored


def run_of_recipe(kind: str, recipe: str) -> Run | None:
    """The newest finished run of a kind and a recipe, in all experiments, whose models are there still.

    The runs below it have the same recipe, and other kinds.
    """
    return next(filter(has_its_models, _runs_of_recipe(kind, recipe, "FINISHED")), None)


def has_artifacts(run_id: str, paths: Sequence[str]) -> bool:
    """Whether all of these files are there."""
    client = mlflow.MlflowClient()
    try:
        for path in paths:
            found = client.list_artifacts(run_id, path.rpartition("/")[0] or None)
            if path not in [file.path for file in found]:
                return False
    except (MlflowException, OSError):
        return False
    return True


def has_its_models(run: Run) -> bool:
    """Whether all models that a run has logged are there, with their files."""
    return all(is_model_there(model.model_id) for model in (run.outputs.model_outputs if run.outputs else []))


def is_model_there(model_id: str) -> bool:
    """Whether a logged model has not been deleted, and has files."""
    client = mlflow.MlflowClient()
    with suppress(MlflowException, OSError):
        client.get_logged_model(model_id)  # raises for one that was deleted
        return bool(client.list_logged_model_artifacts(model_id))
    return False


def interrupted_run_of_recipe(recipe: str) -> Run | None:
    """The newest training of a recipe that was interrupted after its first epoch, and that nobody goes on with."""
    for run in _runs_of_recipe("train", recipe, "KILLED"):
        if _checkpoint_paths(run.info.run_id):
            return run
    return None


def get_run(run_id: str) -> Run:
    return mlflow.MlflowClient().get_run(run_id)


def model_of_run(run_id: str) -> str:
    """The id of the model that a run logged last. Raises `TrackingError` where it logged none."""
    run = get_run(run_id)
    if not run.outputs or not run.outputs.model_outputs:
        raise TrackingError(f"the run {run_id} has logged no model")
    return str(run.outputs.model_outputs[-1].model_id)


def history(run_id: str, names: Sequence[str]) -> dict[str, dict[int, float]]:
    """Step -> value of each metric."""
    client = mlflow.MlflowClient()
    return {name: {point.step: point.value for point in client.get_metric_history(run_id, name)} for name in names}


def read_bytes(run_id: str, path: str) -> bytes | None:
    """An artifact of a run; None where it is not there."""
    with tempfile.TemporaryDirectory() as folder, suppress(MlflowException, OSError):
        return Path(
            mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=path, dst_path=folder)
        ).read_bytes()
    return None


def read_arrays(run_id: str, path: str) -> dict[str, NDArray[Any]]:
    """What `log_arrays` logged; empty where there is nothing."""
    content = read_bytes(run_id, path)
    if content is None:
        return {}
    try:
        with np.load(io.BytesIO(content)) as arrays:
            return dict(arrays)
    except (ValueError, EOFError, zipfile.BadZipFile):
        return {}


def read_json(run_id: str, path: str) -> dict[str, Any]:
    """What `log_json` logged; empty where there is nothing."""
    content = read_bytes(run_id, path)
    with suppress(ValueError):
        return dict(json.loads(content)) if content is not None else {}
    return {}


def runs_below(parent: str) -> dict[str, Run]:
    """The runs whose parent is that one, by id, the newest first."""
    client = mlflow.MlflowClient()
    experiment = client.get_run(parent).info.experiment_id
    found = client.search_runs([experiment], f"tags.`{PARENT_TAG}` = '{parent}'", max_results=1000)
    return {run.info.run_id: run for run in found}


def _runs_of_recipe(kind: str, recipe: str, status: str) -> list[Run]:
    client = mlflow.MlflowClient()
    everywhere = [experiment.experiment_id for experiment in client.search_experiments()]
    condition = f"tags.{KIND_TAG} = '{kind}' AND tags.{RECIPE_TAG} = '{recipe}' AND attributes.status = '{status}'"
    return list(client.search_runs(everywhere, condition, max_results=100))


def newest_checkpoint(run_id: str) -> TrainingState | None:
    """The state after the last epoch that was stored whole, or None before the first."""
    from mnist_cnn.training import checkpoints

    for path in _checkpoint_paths(run_id):
        with tempfile.TemporaryDirectory() as folder:
            local = mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=path, dst_path=folder)
            try:
                return checkpoints.load(Path(local))
            except checkpoints.CheckpointError as error:
                print(f"{error}; going back one epoch.", file=sys.stderr)
    return None


def close_stale_runs() -> None:
    """Mark runs of this machine KILLED whose process is gone (kill -9, power cut): none stays RUNNING."""
    client = mlflow.MlflowClient()
    active = mlflow.active_run()
    experiments = [active.info.experiment_id] if active else ["0"]
    # A database in a file is this machine's, on which a command that is about to open its run can be seen.
    is_local = tracking_uri().startswith("sqlite:///")
    for run in client.search_runs(experiments, "attributes.status = 'RUNNING'"):
        process = run.data.tags.get(PROCESS_TAG, "")
        if process:
            gone = not processes.is_alive(process)
        else:  # `mlflow run` made it, and its command ended before it could say who it is.
            age = time.time() - run.info.start_time / 1000
            gone = ENTRY_POINT_TAG in run.data.tags and (
                age > SECONDS_TO_START
                or is_local
                and age > SECONDS_TO_BEGIN
                and not processes.has_environment(RUN_ID_VARIABLE, run.info.run_id)
            )
        if gone:
            client.set_tag(
                run.info.run_id, REASON_TAG, "its process ended without a word (killed, or the machine stopped)"
            )
            client.set_terminated(run.info.run_id, "KILLED")


def mark_interrupted(reason: str) -> None:
    """Where `mlflow run` has made a run and its command is interrupted before it opened it: say why, and end it."""
    quiet_logs()
    client, run_id = mlflow.MlflowClient(), os.environ[RUN_ID_VARIABLE]
    client.set_tag(run_id, REASON_TAG, reason)
    client.set_terminated(run_id, "KILLED")
    _when_parent_has_gone(run_id, "killed")


def mark_refused(reason: str) -> None:
    """Where `mlflow run` has made a run for settings that are refused: say why in its tags, and end it."""
    quiet_logs()
    client, run_id = mlflow.MlflowClient(), os.environ[RUN_ID_VARIABLE]
    client.set_tag(run_id, REASON_TAG, reason[:5000])
    client.set_terminated(run_id, "FAILED")


def _save_keras_model(path: str, validate_serving_input: bool, **arguments: Any) -> None:
    """`mlflow.keras.save_model`, which fails on an input example unless the folder is there.

    https://github.com/mlflow/mlflow/issues/16183. `validate_serving_input` is read by MLflow before it gets here.
    """
    import mlflow.keras

    os.makedirs(path, exist_ok=True)
    mlflow.keras.save_model(path=path, **arguments)


def resolve_model(uri: str, regime: str = "", network: str = "") -> LoggedModel:
    """A model from a `runs:/` or `models:/` URI, or the newest that was trained if `uri` is empty.

    regime, network: of the newest, where only such a one will do.

    Raises `TrackingError` if there is none.
    """
    open_store()
    store = mlflow.get_tracking_uri()
    if not uri:
        of_regime = f" AND tags.regime = '{regime}'" if regime else ""
        of_network = f" AND tags.network = '{network}'" if network else ""
        whole = _logged_models(f"tags.{KIND_TAG} = 'train'{of_regime}{of_network}")
        if not whole and regime:
            raise TrackingError(
                f"`{regime.replace('-', '_')}` was not given and {store} holds no such network; "
                f"run `mlflow run . -e train {HOW_TO_TRAIN[regime]}` first."
            )
        if not whole:
            raise TrackingError(
                f"`model` was not given and {store} holds no trained one; run `mlflow run . -e train` first."
            )
        return LoggedModel(whole[0].model_id, f"models:/{whole[0].model_id}")
    if RUN_ID.fullmatch(uri):
        uri = f"runs:/{uri}/model"
    if not uri.startswith(("runs:/", "models:/")):
        raise TrackingError(
            f"`model` must be the id of a run, or of the form runs:/RUN_ID/model, models:/NAME/VERSION, "
            f"models:/NAME@ALIAS or models:/m-ID; got {uri!r}."
        )
    try:
        info = mlflow.models.get_model_info(uri)
    except Exception as error:  # MLflow raises a different kind for each form of URI.
        raise TrackingError(f"`model`: there is no {uri} in {store} ({_first_line(error)}).") from error
    if "keras" not in info.flavors:
        raise TrackingError(f"`model`: {uri} is not a Keras model; it has the flavours {', '.join(info.flavors)}.")
    return LoggedModel(info.model_id, uri)


def load_model(model: LoggedModel) -> keras.Model:
    """The Keras model itself. A download's progress bar is not shown."""
    import mlflow.keras

    try:
        return mlflow.keras.load_model(model.uri)
    except (MlflowException, OSError, ValueError) as error:
        raise TrackingError(f"`model`: {model.uri} cannot be loaded ({_first_line(error)}).") from error


def find_panel(name: str, dataset_digest: str) -> Panel | None:
    """The newest panel of judges that is complete, of this version and of these training images, or None.

    dataset_digest: of the training images before they were halved. Every judge's content is held against the SHA-256
    that was noted when it was logged, before anything of it is read. Raises `TrackingError` for one that differs.
    """
    from mnist_cnn.judging import judges

    open_store()
    conditions = [f"tags.{key} = '{value}'" for key, value in _judge_tags(name, dataset_digest).items()]
    models = _logged_models(" AND ".join(conditions))
    by_run: dict[str, dict[str, Any]] = {}
    for model in models:  # Newest first, so are the runs; of a judge that a run logged twice the newer stays.
        by_run.setdefault(model.source_run_id, {}).setdefault(model.tags["judge"], model)
    whole = next((found for found in by_run.values() if set(found) == set(judges.KINDS)), None)
    if whole is None:
        return None
    own = {kind: _load_judge(whole[kind], kind) for kind in judges.KINDS}
    return judges.Panel(name, own, whole[judges.KINDS[0]].source_run_id)


def _judge_tags(panel: str, training_digest: str) -> dict[str, str]:
    from mnist_cnn.judging import judges

    return {KIND_TAG: "judge", "panel": panel, "version": judges.VERSION, "training_digest": training_digest}


def _load_judge(model: Any, kind: str) -> Judge:
    from mnist_cnn.judging import judges

    cure = "Delete this model, or train the panel again: mlflow run . -e judges"
    with tempfile.TemporaryDirectory() as temporary:
        try:
            # A copy of one's own, so that what is read is what was verified.
            get_artifact_repository(model.artifact_location).download_artifacts("", temporary)
            sha256 = judges.content_sha256(Path(temporary))
            if sha256 != model.tags.get(SHA256_TAG):
                raise TrackingError(
                    f"the judge {model.name} (models:/{model.model_id}) is not what was logged: the SHA-256 of its "
                    f"content is {sha256}, noted was {model.tags.get(SHA256_TAG)}. {cure}"
                )
            judge = judges.load(Path(temporary))
        except (judges.JudgeError, MlflowException, OSError) as error:
            raise TrackingError(
                f"the judge {model.name} (models:/{model.model_id}) cannot be read ({_first_line(error)}). {cure}"
            ) from error
    if judge.kind != kind:
        raise TrackingError(
            f"the judge {model.name} (models:/{model.model_id}) is a {judge.kind}, not a {kind}. {cure}"
        )
    return judge


def _logged_models(condition: str) -> list[Any]:
    """Models in all experiments, newest first, without those whose logging was cut short."""
    models = mlflow.search_logged_models(
        experiment_ids=[experiment.experiment_id for experiment in mlflow.search_experiments()],
        filter_string=condition,
        order_by=[{"field_name": "creation_timestamp", "ascending": False}],
        output_format="list",
    )
    return [model for model in models if model.status == LoggedModelStatus.READY]


def has_open_run() -> bool:
    return mlflow.active_run() is not None


def tag_open_run(tags: Mapping[str, str]) -> None:
    """Tag the run that is open, if one is."""
    if has_open_run():
        mlflow.set_tags(dict(tags))


def tracking_uri() -> str:
    return str(mlflow.get_tracking_uri())


def store_folder() -> Path:
    """The folder of the tracking database; the working folder where it is a server's.

    `mlflow run` calls its command in the project's folder, whichever folder, and database, the person is in.
    """
    uri = tracking_uri()
    return Path(uri.removeprefix("sqlite:///")).absolute().parent if uri.startswith("sqlite:///") else Path.cwd()


def how_to_look() -> str:
    """The command that shows the store of this process in a browser, or its address."""
    uri = tracking_uri()
    if uri.startswith("http"):
        return f"open {uri}"
    default = f"sqlite:///{Path.cwd() / 'mlflow.db'}"
    return "mlflow ui" if uri in (default, "sqlite:///mlflow.db") else f"mlflow ui --backend-store-uri {uri}"


def signpost(run: TrackedRun, model: LoggedModel | None = None) -> str:
    """The last lines of a command: the run, the model where it is about one, and how to look at them."""
    about = f"\nModel    {model.uri}" if model else ""
    return f"""
Run      {run.name}
Run id   {run.run_id}{about}
Look     {how_to_look()}"""


def _checkpoint_paths(run_id: str) -> list[str]:
    """Newest first."""
    files = mlflow.MlflowClient().list_artifacts(run_id, CHECKPOINTS)
    return sorted((file.path for file in files), reverse=True)


def _put_aside(shell: str, run_id: str) -> None:
    """`mlflow run` makes a run for each command; going on with another one leaves it empty, so it is deleted."""
    client = mlflow.MlflowClient()
    client.set_tag(shell, REASON_TAG, f"empty: its command went on with the run {run_id}")
    client.update_run(shell, name=f"empty, goes on as {client.get_run(run_id).info.run_name}")
    _when_parent_has_gone(shell, "delete")


_STARTED_BY = os.getppid()
"""Asked for now: when that process has ended this one is another's child."""


def _when_parent_has_gone(run_id: str, action: str) -> None:
    """Start `mnist_cnn.runtime.aftermath`, which outlives this process by seconds and holds none of its pipes."""
    subprocess.Popen(
        [sys.executable, "-m", "mnist_cnn.runtime.aftermath", str(_STARTED_BY), run_id, action],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "MLFLOW_TRACKING_URI": tracking_uri()},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _commit() -> dict[str, str]:
    """The commit of this code, and whether files differ from it; nothing where it is not in a git checkout."""
    try:
        import git  # an ImportError where there is no git
    except ImportError:
        return {}
    try:
        repository = git.Repo(Path(__file__).parents[2])
        changed = str(repository.is_dirty()).lower()
        return {"mlflow.source.git.commit": repository.head.commit.hexsha, "git.uncommitted_changes": changed}
    except (git.exc.GitError, ValueError):
        return {}


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise `Interrupted` at the first SIGINT or SIGTERM; further ones are ignored while the run is closed.

    Should the exception be lost, the next number that is logged raises it, or the end of this context.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        processes.note_signal(number)
        raise Interrupted(number)

    if not mlflow.active_run():
        processes.forget_signals()
    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
        processes.check_signals()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def deferring_interrupts() -> Iterator[Callable[[], None]]:
    """Note the first SIGINT or SIGTERM and raise nothing; the function given raises `Interrupted` if there was one.

    For work between whose steps a database is written, which must not be broken off. A second signal is raised at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if noted:
            raise Interrupted(number)
        noted.append(number)

    def check() -> None:
        if noted:
            raise Interrupted(noted[0])

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold signals back for the moment in which a run is closed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def open_store() -> None:
    """Have the tables of a fresh database made by one process at a time: of several at once all but one would fail."""
    quiet_logs()
    uri = tracking_uri()
    if uri in _OPENED or not uri.startswith("sqlite:///"):
        return
    folder = store_folder()
    if folder.is_dir():
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            with suppress(MlflowException):  # who opens a run next says it better
                mlflow.MlflowClient().search_experiments(max_results=1)
        finally:
            os.close(handle)  # and with it the lock
    _OPENED.add(uri)


_OPENED: set[str] = set()


def quiet_logs() -> None:
    """Warnings and errors only: a fresh database otherwise greets with forty lines of schema migrations."""
    # A bar for each file, gone before it can be read; who wants it sets the variable.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # With a server two lines at each run's end, also at each trial's; `signpost` says it once.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    for name in ("alembic", "mlflow.tracking.fluent"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # It logs each error of the database with its traceback, and raises it all the same.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
