"""What a store did not take: kept in a folder, and sent from there when the store is back."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from mnist_cnn.settings.errors import SettingError, is_of_a_store
from mnist_cnn.settings.fields import shown
from mnist_cnn.tracking import heartbeat, store

FOLDER = "unsent"
VALUES, ARTIFACTS = "values.jsonl", "artifacts"
"""In a run's folder: a line for each batch of numbers, parameters and tags; the files, as the run shall hold them."""

ANSWERS = {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "PERMISSION_DENIED"}
"""With these a store refuses what it is given; it would refuse it once more."""


class KeepingClient(mlflow.MlflowClient):  # type: ignore[misc]  # MLflow has no types
    """Writes to one run. What the store does not take is kept in `unsent/RUN_ID` of the working folder.

    From the first such write on, all go there: MLflow tries each for minutes, and the order must not change.
    """

    def __init__(self, run_id: str) -> None:
        super().__init__()
        self.folder = Path.cwd() / FOLDER / run_id
        self._tags: dict[str, str] = {}

    @property
    def is_keeping(self) -> bool:
        return (self.folder / VALUES).is_file()

    def log_batch(
        self,
        run_id: str,
        metrics: Sequence[Metric] = (),
        params: Sequence[Param] = (),
        tags: Sequence[RunTag] = (),
        synchronous: bool | None = None,
    ) -> Any:
        sent = super().log_batch
        line = {
            "metrics": [metric.to_dictionary() for metric in metrics],
            "params": [dict(param) for param in params],
            "tags": [dict(tag) for tag in tags],
        }
        self._write(lambda: sent(run_id, metrics, params, tags, synchronous), lambda: self._keep(line))

    def set_tag(self, run_id: str, key: str, value: Any, synchronous: bool | None = None) -> Any:
        """Once for each value: MLflow sets the same tag with each image that it logs."""
        if self._tags.get(key) != str(value):
            self.log_batch(run_id, tags=[RunTag(key, str(value))])
            self._tags[key] = str(value)

    def log_artifact(self, run_id: str, local_path: str, artifact_path: str | None = None) -> None:
        sent = super().log_artifact

        def keep() -> None:
            folder = self.folder / ARTIFACTS / (artifact_path or "")
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(local_path, folder)
            self._keep({})

        self._write(lambda: sent(run_id, local_path, artifact_path), keep)

    def log_table(self, run_id: str, data: Any, artifact_file: str) -> None:
        """As MLflow does, which reads the store for it; where that is away, the same table."""
        sent, rows = super().log_table, [list(row) for row in zip(*data.values(), strict=True)]
        self._write(
            lambda: sent(run_id, data, artifact_file),
            lambda: self.log_dict(run_id, {"columns": list(data), "data": rows}, artifact_file),
        )

    def end(self, status: str, reason: str) -> None:
        """Keep how the run ended, for it could not be told to the store."""
        self._keep({"status": status, "reason": reason})

    def send(self) -> None:
        """Send what is kept, as `send` does. Raises what the store raises."""
        store.refuse_silent_server()
        send(self.folder)

    def _write(self, send: Callable[[], object], keep: Callable[[], None]) -> None:
        if self.is_keeping:
            return keep()
        try:
            send()
        except Exception as error:
            refused = isinstance(error, MlflowException) and error.error_code in ANSWERS
            if refused or not is_of_a_store(error):
                raise
            try:
                keep()
            except OSError:  # the disk is full: nothing can be kept
                shutil.rmtree(self.folder, ignore_errors=True)
                raise error from None
            print(
                f"The store takes nothing more ({store.first_line(error)}). What this run writes is kept in "
                f"{self.folder}.", file=sys.stderr, flush=True,
            )  # fmt: skip

    def _keep(self, line: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / VALUES).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def found_in(folder: Path) -> list[Path]:
    """The folders with what was not sent: this one, or those in it. Raises `SettingError` where there is none."""
    folders = [folder] if (folder / VALUES).is_file() else sorted(path.parent for path in folder.glob(f"*/{VALUES}"))
    if not folders:
        raise SettingError(f"`folder`: {shown(str(folder))} holds nothing that was kept for a store. Nothing to send.")
    return folders


def send(folder: Path) -> Run:
    """Write what a folder holds to its run, end the run as it ended, and remove the folder. The run is returned.

    Interrupted, it may be called again: what was sent before is the same. Raises `SettingError` for a run that is not
    in this store, and for a folder that cannot be read.
    """
    run_id, client = folder.name, mlflow.MlflowClient()
    try:
        lines = [json.loads(line) for line in (folder / VALUES).read_text("utf-8").splitlines()]
        batches = [
            {
                "metrics": [Metric.from_dictionary(metric) for metric in line.get("metrics", ())],
                "params": [Param(**param) for param in line.get("params", ())],
                "tags": [RunTag(**tag) for tag in line.get("tags", ())],
            }
            for line in lines
        ]
        ends = [(str(line["status"]), str(line["reason"])) for line in lines if "status" in line]
    except (OSError, ValueError, TypeError, AttributeError, KeyError, MlflowException) as error:
        raise SettingError(f"`folder`: {folder / VALUES} cannot be read ({error}). Remove the folder.") from error
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code not in ANSWERS:
            raise
        raise SettingError(
            f"`folder`: the run {shown(run_id)} is not in {store.shown_uri()}. Set MLFLOW_TRACKING_URI to its store."
        ) from error
    if run.info.lifecycle_stage == "deleted":
        way = f"Restore it: mlflow runs restore --run-id {run_id}. Or remove {folder}"
        raise SettingError(f"`folder`: the run {shown(run_id)} was deleted. {way}.")
    for batch in batches:
        if any(batch.values()):
            client.log_batch(run_id, **batch)
    if (folder / ARTIFACTS).is_dir():
        client.log_artifacts(run_id, str(folder / ARTIFACTS))
    if ends:
        heartbeat.end(client.get_run(run_id), *ends[-1])
    shutil.rmtree(folder)
    if folder.parent.name == FOLDER and not any(folder.parent.iterdir()):
        folder.parent.rmdir()
    return client.get_run(run_id)
