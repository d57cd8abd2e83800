"""Runs: opened, logged to in the units of this project, and closed whatever happens.

A run that `tracked_run` opened never stays RUNNING: it ends FINISHED, FAILED (with the reason as a tag), or KILLED
when a person or the system interrupts it; the next command that starts marks one that was killed outright.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import psutil
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.entities import LoggedModelInput, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray
from PIL import Image

from mnist_cnn.data.dataset import LabelledImages
from mnist_cnn.runtime import fingerprint, hardware, signals
from mnist_cnn.settings import Settings
from mnist_cnn.settings.errors import WorkStopped, printable
from mnist_cnn.tracking import commit, heartbeat, store, unsent
from mnist_cnn.tracking.heartbeat import HEARTBEAT_OF_TAG, HEARTBEAT_TAG, NOTE_TAG, REASON_TAG
from mnist_cnn.tracking.models import LoggedModel
from mnist_cnn.tracking.store import TrackingError

RUN_ID_VARIABLE = "MLFLOW_RUN_ID"
"""By which `mlflow run` tells its command which run to open."""

PARENT_TAG = "mlflow.parentRunId"
KIND_TAG = "kind"
FINGERPRINT_TAG = "fingerprint"
RESUMED_FROM_TAG = "resumed_from"
SETTINGS_FILE = "settings.json"
SECONDS_BETWEEN_FLUSHES = 2.0
LONGEST_NAME = 250
LONGEST_NOTE = 8000
CUT = "\n\nThe rest is longer than a description can be."

INVENTED_NAME = re.compile(r"[a-z]+-[a-z]+-\d{1,3}")
"""The form of the names that MLflow invents, such as `capable-wolf-101`."""

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

ABOUT_EXPERIMENT = Path(__file__).with_name("about_experiment.md")
"""What the experiment's page says; `{scores}` stands for the address of that view."""


REPEAT = """

This run again, with each number compared: `mlflow run . -e again -P run={run_id}`. Its command was:
~~~
{command}
~~~
"""


class TrackedRun:
    """An open run: logs to it in the units of this project. Made by `tracked_run`."""

    def __init__(self, run: Run, keeper: unsent.KeepingClient | None = None) -> None:
        """keeper: writes to the run, and keeps what the store does not take."""
        self.run_id: str = run.info.run_id
        self.artifact_uri: str = run.info.artifact_uri
        self.experiment_id: str = run.info.experiment_id
        self._keeper, self._client = keeper, keeper or mlflow.MlflowClient()
        self._buffer: list[Metric] = []
        self._stamps: dict[tuple[str, int], int] = {}
        self._flushed = time.monotonic()
        self._repeat = ""
        self.is_shared: Callable[[], bool] = lambda: False
        """Whether others still work on the run when this process leaves it, so that it stays RUNNING."""

    @property
    def is_kept(self) -> bool:
        """Whether what is logged goes to a folder, since the store takes nothing more."""
        return self._keeper is not None and self._keeper.is_keeping

    @property
    def name(self) -> str:
        return str(self._client.get_run(self.run_id).info.run_name)

    def place(self, path: str) -> str:
        """Where a person opens an artifact: a file's address, or its name where a server keeps it."""
        local = self.artifact_uri.removeprefix("file://")
        return f"file://{local}/{path}" if local.startswith("/") else f"{path} among the artifacts of the run"

    def rename(self, name: str) -> None:
        self._client.update_run(self.run_id, name=name)

    def log_settings(self, settings: Settings, extra: Mapping[str, Any], device: str = "") -> None:
        """Log every setting as a parameter, but those that `mlflow run` has logged already, and all of it as JSON.

        device: that computes, where something is computed; hardware and versions become tags then.
        """
        self.log_params(settings.as_words())
        made_of = fingerprint.made_of(settings)
        stored = {"settings": settings.values(), **extra, "made_of": made_of}
        self._client.log_dict(self.run_id, stored, SETTINGS_FILE)
        self.repeated_by(settings)
        described = hardware.describe(device) if device else {}
        # A run that does not end as it should has its command as well.
        self.set_tags({FINGERPRINT_TAG: fingerprint.digest(made_of), NOTE_TAG: self._repeat.lstrip(), **described})

    def repeated_by(self, settings: Settings) -> None:
        """The command that `describe` names: of these settings."""
        self._repeat = REPEAT.format(run_id=self.run_id, command=" ".join(settings.command_line().splitlines()))

    def log_params(self, params: Mapping[str, str]) -> None:
        """Log texts as parameters, but empty ones and those that are there already."""
        known = self._client.get_run(self.run_id).data.params
        new = [Param(name, text) for name, text in params.items() if text != "" and name not in known]
        self._client.log_batch(self.run_id, params=new)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        self._client.log_batch(self.run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    def describe(self, note: str) -> None:
        """The page's description in the UI, as Markdown, with the command of the run below it.

        A note that MLflow would cut is cut here, between two lines, so that the command stays.
        """
        room = LONGEST_NOTE - len(self._repeat)
        if len(note) > room:
            note = note[: max(0, room - len(CUT))].rpartition("\n")[0] + CUT
        self.set_tags({NOTE_TAG: note + self._repeat})

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
        signals.check()
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
        """Log a Matplotlib figure or a Pillow picture as a PNG, packed fast rather than small."""
        if isinstance(figure, Image.Image):
            return self.log_file(path, lambda local: figure.save(local, compress_level=1))
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
        self.log_file(path, lambda local: np.savez(local, **arrays))  # type: ignore[arg-type]

    def log_bytes(self, content: bytes, path: str) -> None:
        self.log_file(path, lambda local: local.write_bytes(content))

    def log_file(self, path: str, write: Callable[[Path], object]) -> None:
        """Log the file that `write` makes at the place it is given."""
        folder, _, name = path.rpartition("/")
        with tempfile.TemporaryDirectory() as temporary:
            local = Path(temporary) / name
            write(local)
            self._client.log_artifact(self.run_id, str(local), folder or None)

    def log_text(self, text: str, path: str) -> None:
        self._client.log_text(self.run_id, text, path)

    def log_json(self, values: Mapping[str, Any], path: str) -> None:
        self._client.log_dict(self.run_id, dict(values), path)

    def log_used_model(self, model: LoggedModel) -> None:
        """Link a model that this run reads."""
        self._client.log_inputs(self.run_id, models=[LoggedModelInput(model.model_id)])
        self.set_tags({"model_id": model.model_id})

    def close(self, status: str, reason: str) -> None:
        """End the run; where the store itself fails, say so, and how what it did not take gets there.

        `mlflow.end_run` is called whatever fails before it: else MLflow would end the run as FINISHED at exit.
        """
        is_shared = False
        with suppress(Exception):  # who cannot be asked works on it no more
            is_shared = self.is_shared()
        try:
            try:
                if reason:
                    with suppress(Exception):
                        self.flush()
                if self._keeper and self._keeper.is_keeping:
                    self._keeper.end(status, reason)
                    self._keeper.send()  # the store may be back by now
                elif reason:
                    heartbeat.mark_ended(mlflow.get_run(self.run_id), status, reason)
            finally:
                mlflow.end_run("RUNNING" if is_shared else status)
        except Exception as error:
            self._say_not_ended(status, reason, error)

    def _say_not_ended(self, status: str, reason: str, error: Exception) -> None:
        line = f"the run {self.run_id} could not be marked {status} ({store.first_line(error)})"
        try:
            assert self._keeper is not None
            self._keeper.end(status, reason)
            line += f"; what it wrote is kept in {self._keeper.folder}. Send it: mlflow run . -e send"
        except OSError:  # the disk is full
            line += "; the next command does it"
        if status == "FINISHED":
            raise WorkStopped(line) from error
        print(f"{line[0].upper()}{line[1:]}.", file=sys.stderr)


def metric_names(texts: Sequence[str]) -> list[str]:
    """Texts that a person chose, as parts of metrics' names: letters, digits, `_`, `-`, spaces; at most 100; unique."""
    names = [re.sub(r"[^\w\- ]", "_", text)[:100] for text in texts]
    return [name if names.count(name) == 1 else f"{name} {number}" for number, name in enumerate(names, 1)]


_open: list[TrackedRun] = []
"""The runs that this process has open, the outermost first."""


def open_run() -> TrackedRun | None:
    """The innermost run that this process has open."""
    return _open[-1] if _open else None


@contextmanager
def tracked_run(kind: str, *, name: str = "", otherwise: str = "", resume: str = "") -> Iterator[TrackedRun]:
    """Open a run and close it whatever happens: below the run that is open; else the one that `mlflow run` made.

    name: the run's, if its user gave one. otherwise: its name where the user gave none, here or to `mlflow run`.
    resume: id of a run to open again in place of a new one.
    An exception is written to the tag `reason` and goes on; signals are raised as `Interrupted`.
    """
    outermost, otherwise = not _open, otherwise[:LONGEST_NAME]
    if outermost:
        store.open_store()
    made_by_mlflow_run = os.environ.pop(RUN_ID_VARIABLE, "") if outermost else ""
    with signals.interruptible(outermost=outermost):
        if resume and made_by_mlflow_run:
            _mark_continuation(made_by_mlflow_run, resume)
        run = _start(kind, resume or made_by_mlflow_run, name, otherwise)
        status, reason = "FINISHED", ""
        _open.append(run)
        try:
            with heartbeat.beating(run.run_id, lambda: [own.run_id for own in _open]) if outermost else nullcontext():
                run.set_tags(made_by := commit.tags())
                if outermost:
                    if made_by.get("git.uncommitted_changes") == "true":
                        run.log_bytes(commit.patch(), commit.PATCH)
                    _describe_experiment(run.experiment_id)
                    heartbeat.close_dead_runs()
                try:
                    yield run
                finally:
                    signals.check()
                run.flush()
        except KeyboardInterrupt as error:
            status, reason = "KILLED", str(error) or "interrupted"
            raise
        except BaseException as error:
            status, reason = "FAILED", printable(f"{type(error).__name__}: {error}")
            raise
        finally:
            _open.pop()
            with signals.ignored():
                run.close(status, reason)


def _start(kind: str, run_id: str, name: str, otherwise: str) -> TrackedRun:
    tags = {KIND_TAG: kind, REASON_TAG: ""}
    tags |= {HEARTBEAT_OF_TAG: _open[0].run_id} if _open else {HEARTBEAT_TAG: heartbeat.now()}
    try:
        # The experiment is that of the run above: MLflow would take the one that a variable names.
        experiment = _open[-1].experiment_id if _open and not run_id else None
        new_name = None if run_id else name or otherwise or None
        opened = mlflow.start_run(run_id or None, experiment, new_name, nested=bool(_open), tags=tags)
        run = TrackedRun(opened, unsent.KeepingClient(opened.info.run_id))
        if not _open and HEARTBEAT_OF_TAG in mlflow.active_run().data.tags:  # it stood below another run then
            mlflow.delete_tag(HEARTBEAT_OF_TAG)
    except MlflowException as error:
        store.refuse_other_schema(error)
        raise TrackingError(f"no run can be opened in {store.shown_uri()}: {store.first_line(error)}") from error
    if run_id and name:
        run.rename(name)
    elif run_id and otherwise and _is_invented(run.name):
        run.rename(otherwise)
    return run


def _is_invented(name: str) -> bool:
    """Whether MLflow invented the name of a run that `mlflow run` made, and no person gave it by `--run-name`."""
    if not INVENTED_NAME.fullmatch(name):
        return False
    with suppress(psutil.Error):
        return not any("--run-name" in word for process in psutil.Process().parents() for word in process.cmdline())
    return True


def _mark_continuation(run_id: str, continued: str) -> None:
    """`mlflow run` makes a run for each command; that of one which opens an older run again says so, below it."""
    client = mlflow.MlflowClient()
    name = client.get_run(continued).info.run_name
    note = f"This command continued `{name}`, the run `{continued}` above; everything it did is there."
    tags = {KIND_TAG: "continuation", PARENT_TAG: continued, NOTE_TAG: note}
    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
    client.update_run(run_id, status="FINISHED", name=f"continues {name}")


def _describe_experiment(experiment_id: str) -> None:
    """What the experiment's page says, unless a person has said something."""
    client = mlflow.MlflowClient()
    tags = client.get_experiment(experiment_id).tags
    if "mlflow.experimentKind" not in tags:  # else MLflow opens it as one of GenAI
        client.set_experiment_tag(experiment_id, "mlflow.experimentKind", "custom_model_development")
    if NOTE_TAG not in tags:
        client.set_experiment_tag(experiment_id, f"mlflow.sharedViewState.{SCORES_VIEW}", json.dumps(SCORES))
        scores = f"{store.place(experiment_id)[1:]}&viewStateShareKey={SCORES_VIEW}"
        client.set_experiment_tag(experiment_id, NOTE_TAG, ABOUT_EXPERIMENT.read_text("utf-8").format(scores=scores))


def is_in_a_temporary_clone() -> bool:
    """Whether `mlflow run` fetched the project from an address, and the store is no file of a folder that stays."""
    run_id = os.environ.get(RUN_ID_VARIABLE)
    if not run_id or store.uri().startswith("sqlite:///"):
        return False
    source = mlflow.get_run(run_id).data.tags.get("mlflow.source.name", "").removeprefix("file://").partition("#")[0]
    return not Path.cwd().is_relative_to(Path(source).resolve())


def end_unopened(status: str, reason: str) -> None:
    """Where `mlflow run` has made a run and its command ends before it opened it: say why, and end it."""
    if run_id := os.environ.get(RUN_ID_VARIABLE):
        store.quiet_logs()
        heartbeat.end(mlflow.get_run(run_id), status, reason)


def signpost(run_id: str, model: LoggedModel | None = None) -> str:
    """The last lines of a command: the run, the model where it is about one, and how to look at them."""
    about = f"\nModel    {model.uri}" if model else ""
    run = mlflow.MlflowClient().get_run(run_id)
    return f"""
Run      {run.info.run_name}
Run id   {run_id}{about}
Look     {store.how_to_look(store.place(run.info.experiment_id, run_id))}"""
