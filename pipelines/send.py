"""Send what a store did not take: numbers, texts and files that a command kept in a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mnist_cnn.settings import SendSettings, SettingError
from mnist_cnn.tracking import runs, store, unsent


@dataclass(frozen=True)
class SendResult:
    """sent: for each run that was written to, its id, its name and its status now."""

    run_id: str
    sent: tuple[tuple[str, str, str], ...]


def run(settings: SendSettings) -> SendResult:
    """Send all that the folder holds, run by run. Raises `SettingError` where nothing, or not all, can be sent."""
    folders = unsent.found_in(Path(settings.folder))
    store.open_store()
    with runs.tracked_run("send", name=settings.run_name, otherwise="send") as run:
        run.log_settings(settings, {})
        sent, refused = [], []
        for folder in folders:
            try:
                to = unsent.send(folder)
            except SettingError as error:
                refused.append(error)
                continue
            sent.append((to.info.run_id, to.info.run_name, to.info.status))
            print(f"Sent to the run {to.info.run_name} ({to.info.run_id}), which is {to.info.status}.", flush=True)
        if refused:
            raise refused[0]
        run.describe("Sent to " + ", ".join(f"`{name}` ({run_id})" for run_id, name, _ in sent) + ".")
    return SendResult(run.run_id, tuple(sent))


def main(settings: SendSettings) -> None:
    result = run(settings)
    for run_id, _, status in result.sent:
        if status != "FINISHED":
            print(f"Resume   mlflow run . -e resume -P run={run_id}, if it is a training")
    print(runs.signpost(result.run_id))
