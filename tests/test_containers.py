"""compose.yaml without containers: the same commands as processes, with the same variables, on this machine."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import mlflow
import pytest
import yaml
from commands import free_port, postgresql, run, serving, start
from conftest import PROJECT

SERVICES: dict[str, Any] = yaml.safe_load((PROJECT / "compose.yaml").read_text())["services"]
TINY = ("--steps=2", "--snapshot_every=1", "--num_images=1", "--goal=probability")


def command(service: str, places: dict[str, str]) -> list[str]:
    """The words of a service's command, with places of this machine in place of the containers' names."""
    text = SERVICES[service]["command"]
    for name, place in places.items():
        assert name in text
        text = text.replace(name, place)
    words = shlex.split(text)
    return [sys.executable, *words[1:]] if words[0] == "python" else words


def test_a_password_is_neither_in_a_commit_nor_in_an_image() -> None:
    """Nor in what a run keeps of files that are not committed: that leaves out what git ignores."""
    for name in (".gitignore", ".dockerignore"):
        assert ".env" in (PROJECT / name).read_text().splitlines()
    assert "!mlruns/README.md" in (PROJECT / ".dockerignore").read_text(), "else a container's checkout has changed"


def test_only_the_servers_own_machine_reaches_it() -> None:
    assert SERVICES["tracking"]["ports"] == ["127.0.0.1:5000:5000"]
    assert "ports" not in SERVICES["database"]


@pytest.mark.slow
def test_the_services_of_the_compose_file_work_together(tmp_path: Path, small_dataset: Path) -> None:
    (setup,) = re.findall(r"CREATE DATABASE (\w+);", (PROJECT / "compose.yaml").read_text())
    with postgresql(SERVICES["database"]["environment"]["POSTGRES_DB"], setup) as database:
        place = database.url.removeprefix("postgresql://")
        words = command("tracking", {"postgres@database": place, "/artifacts": str(tmp_path / "artifacts")})
        own = words[1 : words.index("--host")] + words[words.index("--allowed-hosts") :]
        port_of_file = words[words.index("--port") + 1]
        port = free_port()
        own[-1] += f",127.0.0.1:{port}"
        with serving(tmp_path, *own, port=port) as address:
            environment = dict(SERVICES["worker"]["environment"], MLFLOW_TRACKING_URI=address, PGPASSWORD="any")
            assert all(
                SERVICES[name]["environment"] == SERVICES["worker"]["environment"] for name in ("network", "judges")
            )
            assert SERVICES["tracking"]["environment"].keys() == {"PGPASSWORD"}
            assert SERVICES["worker"]["environment"]["MLFLOW_TRACKING_URI"] == f"http://tracking:{port_of_file}"
            data = f"--dataset={small_dataset}"
            for service in ("network", "judges"):
                status, output = run(*command(service, {}), data, cwd=tmp_path, **environment)
                assert status == 0, output
            words = [*command("worker", {"postgres@database": place, "n_trials=100": "n_trials=6"}), *TINY, data]
            workers = [
                start(*words, cwd=tmp_path, **environment) for _ in range(SERVICES["worker"]["deploy"]["replicas"])
            ]
            outputs = [worker.communicate(timeout=300)[0] for worker in workers]
            assert [worker.returncode for worker in workers] == [0, 0], outputs
            client = mlflow.MlflowClient(address)
            (sweep,) = client.search_runs(["0"], "tags.kind = 'sweep'")
            trials = client.search_runs(["0"], "tags.kind = 'trial'")
            assert {trial.data.tags["state"] for trial in trials} <= {"complete", "pruned"}
            assert sweep.info.status == "FINISHED" and 6 <= len(trials) <= 7
