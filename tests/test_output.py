"""Output that nobody reads, or that cannot show a character, stops no work; a refusal loads only what it needs."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import environment

FORGIVING = "from mnist_cnn.runtime import output\nimport os, sys, time\noutput.forgive()\n"


def shell(line: str, code: str, tmp_path: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "work.py").write_text(code)
    command = line.format(f"{sys.executable} {tmp_path / 'work.py'}")
    return subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment(**changes), capture_output=True,
                          text=True, timeout=60, check=False)  # fmt: skip


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_character_that_cannot_be_shown_is_spelled_out(tmp_path: Path, encoding: str) -> None:
    code = FORGIVING + "print('5 → 7'); print('→', file=sys.stderr)"
    done = shell("{}", code, tmp_path, PYTHONIOENCODING=encoding)
    assert done.returncode == 0 and done.stdout == ("5 → 7\n" if encoding == "utf-8" else "5 \\u2192 7\n")


@pytest.mark.parametrize("line", ["{} | head -1", "{} 2>&1 | head -1", "{} >&- 2>&- <&-", "{} 2>&1 | true"])
def test_a_closed_pipe_stops_no_work(tmp_path: Path, line: str) -> None:
    code = FORGIVING + (
        "for _ in range(20):\n    print('x' * 9000, flush=True); print('y', file=sys.stderr); time.sleep(0.01)\n"
        "os.system('echo from another process')\n"
        f"open({str(tmp_path / 'done')!r}, 'w').close()"
    )
    shell(line, code, tmp_path)
    assert (tmp_path / "done").exists()


@pytest.mark.parametrize("line", ["{} > /dev/full", "{} 2> /dev/full", "{} > /dev/full 2>&1"])
def test_a_log_on_a_full_disk_stops_no_work(tmp_path: Path, line: str) -> None:
    code = FORGIVING + (
        "for _ in range(20):\n    print('x' * 9000, flush=True); print('y', file=sys.stderr)\n"
        f"open({str(tmp_path / 'done')!r}, 'w').close()"
    )
    done = shell(line, code, tmp_path)
    assert done.returncode == 0 and (tmp_path / "done").exists() and "Traceback" not in done.stderr


def test_who_asks_for_the_result_hears_that_it_could_not_be_written(tmp_path: Path) -> None:
    code = FORGIVING + "print('the result')\nprint(output.has_lost(sys.stdout), file=sys.stderr)"
    assert shell("{} > /dev/full", code, tmp_path).stderr == "True\n"
    assert shell("{} | cat", code, tmp_path).stderr == "False\n"


@pytest.mark.parametrize(
    "words",
    [
        "train --epochs=0",
        "train --dataset=nowhere.npz",
        "train --dataset=mnist:600 --validation_fraction=0.9999",
        "resume --run=abc",
        "evaluate --model=abc",
        "rollback --version=0",
        "sweep --storage=redis://h",
        "sweep --storage=grpc://h",
        "sweep --storage=grpc://127.0.0.1:1",
        "sweep --storage=/nowhere/at/all",
        "sweep --storage=/dev/zero",
        "sweep --storage=sqlite://",
    ],
)
def test_a_refusal_that_needs_no_store_loads_neither_mlflow_nor_tensorflow(tmp_path: Path, words: str) -> None:
    code = (
        "import sys\nfrom pipelines.__main__ import main\n"
        f"try:\n    main({words.split()!r})\n"
        "except SystemExit as end:\n    print(end.code, sorted({'mlflow', 'tensorflow', 'keras'} & {*sys.modules}))"
    )
    done = shell("{}", code, tmp_path)
    assert done.stdout == "2 []\n" and done.stderr.count("\n") == 1, done.stderr


def test_a_rollback_never_loads_tensorflow(tmp_path: Path) -> None:
    code = "import sys\nimport pipelines.rollback\nprint('tensorflow' in sys.modules)"
    assert shell("{}", code, tmp_path).stdout == "False\n"


def test_nohup_keeps_its_promise_and_a_terminal_that_is_closed_ends_the_work(tmp_path: Path) -> None:
    own = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # whatever started the tests
    code = FORGIVING + (
        "import signal\nfrom mnist_cnn.runtime import signals\n"
        "with signals.interruptible():\n    os.kill(os.getpid(), signal.SIGHUP)\n    time.sleep(0.2)\nprint('went on')"
    )
    started = time.monotonic()
    assert "went on" in shell("nohup {}", code, tmp_path).stdout
    assert "interrupted by SIGHUP" in shell("{}", own + code, tmp_path).stderr
    assert time.monotonic() - started < 30
