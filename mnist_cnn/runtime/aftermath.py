"""What can be done to a run only when the `mlflow run` that made it has gone; started by `tracking`, in the background.

`mlflow run` has the last word on its run: it asks `RunStatus.is_terminated` with a text where numbers are expected,
never sees that the run has ended, and writes FAILED over KILLED, or fails itself where the run was deleted
(mlflow/projects/__init__.py, `_maybe_set_run_terminated`). So this waits for it to end:

    python -m mnist_cnn.aftermath PROCESS_ID RUN_ID killed|delete
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress

import mlflow
import psutil

SECONDS = 60.0
"""`mlflow run` ends within seconds of its command; it is not waited for longer."""


def main(argv: Sequence[str]) -> None:
    process_id, run_id, action = argv
    with suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
        psutil.Process(int(process_id)).wait(SECONDS)
    client = mlflow.MlflowClient()
    if action == "delete":
        client.delete_run(run_id)
    else:
        client.set_terminated(run_id, "KILLED")


if __name__ == "__main__":
    main(sys.argv[1:])
