"""Run notebooks from top to bottom and keep their outputs, without what differs from one machine or run to the next.

python -m notebooks.execute        # all
python -m notebooks.execute 3 5    # those whose names begin so

Each line that it prints has a notebook's name, its seconds, and the seconds that it kept a processor busy.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import psutil
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SECONDS_FOR_A_CELL = 300
KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
LANGUAGE = {"language_info": {"name": "python"}}

PASSING = (
    re.compile(r"\x1b\[[0-9;]*m"),  # colours of a terminal
    re.compile(r"(?<= )\d+m?s \d+[mun]?s/\S+ (?:- )?"),  # what a progress bar says of time
    re.compile(r"[,;] \d+\.\d s$", re.MULTILINE),  # seconds at the end of a line
)
"""In what cells print, what is never the same again, or cannot be seen in a file."""


@dataclass(frozen=True)
class Spent:
    """What cells took. seconds: by the clock. processor_seconds: of all cores together, without any waiting."""

    seconds: float
    processor_seconds: float

    def __str__(self) -> str:
        return f"{self.seconds:.0f} s, {self.processor_seconds:.0f} s of a processor"


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tagged(notebook: Any, tag: str) -> Any:
    """The one cell that has a tag. Raises ValueError where there is none, or several."""
    (found,) = [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]
    return found


def text_of(cell: Any) -> str:
    """What a code cell has printed."""
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


@contextmanager
def kernel(notebook: Any, **environment: str) -> Iterator[NotebookClient]:
    """A fresh kernel in the notebooks' folder. What a cell raises is raised here."""
    place = {"metadata": {"path": str(FOLDER)}}
    client = NotebookClient(
        notebook, timeout=SECONDS_FOR_A_CELL, kernel_name="python3", resources=place, coalesce_streams=True
    )
    with client.setup_kernel(**({"env": environment} if environment else {})):
        yield client


def execute(client: NotebookClient) -> Spent:
    """Run each cell in its turn, in a kernel that has run none."""
    began = time.perf_counter()
    for number, cell in enumerate(client.nb.cells):
        if cell.cell_type == "code":
            client.execute_cell(cell, number)
    processor = psutil.Process(client.km.provisioner.pid).cpu_times()
    own, children = processor.user + processor.system, processor.children_user + processor.children_system
    return Spent(time.perf_counter() - began, own + children)


def clean(notebook: Any) -> None:
    """Leave sources, tags and outputs; take away times, versions and what is empty (Keras shows an empty box)."""
    notebook.metadata = nbformat.from_dict({**KERNEL, **LANGUAGE})
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02}"
        kept = {name: cell.metadata[name] for name in ("tags", "jupyter") if name in cell.metadata}
        cell.metadata = nbformat.from_dict(kept)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("data", {}).get("text/plain") != ""]
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output.data.pop("image/jpeg", None)  # Pillow gives both
            output.pop("metadata", None) if output.output_type == "stream" else output.update(metadata={})
            if output.output_type == "stream":
                for pattern in PASSING:
                    output.text = pattern.sub("", output.text)


def main(words: list[str]) -> None:
    chosen = [path for path in NOTEBOOKS if not words or path.name.startswith(tuple(words))]
    if not chosen:
        known = ", ".join(path.stem for path in NOTEBOOKS)
        sys.exit(f"no notebook's name begins with {' or '.join(words)[:80]}; there are {known}.")
    all_spent = []
    for path in chosen:
        notebook = read(path)
        with kernel(notebook) as client:
            spent = execute(client)
        clean(notebook)
        nbformat.write(notebook, path)
        print(f"{path.name}: {spent}", flush=True)
        all_spent.append(spent)
    together = Spent(sum(spent.seconds for spent in all_spent), sum(spent.processor_seconds for spent in all_spent))
    print(f"Together: {together}")


if __name__ == "__main__":
    main(sys.argv[1:])
