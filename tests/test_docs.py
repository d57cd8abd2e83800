from __future__ import annotations

import ast
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from conftest import PROJECT

from benchmarks import table
from mnist_cnn.settings import ENTRY_POINTS, NETWORKS

LONGEST_SENTENCE = 25
PAGES = [
    *(PROJECT / name for name in ("README.md", "CHANGELOG.md", "mlruns/README.md", "mnist_cnn/data/README.md")),
    *sorted((PROJECT / "docs").glob("*.md")),
]


def sentences(markdown: str) -> Iterator[str]:
    """The sentences of a page, without code blocks, tables, headings and pictures; inline code counts as a word."""
    text = re.sub(r"^```.*?^```$|<!--.*?-->", "\n\n", markdown, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"^(\||#|:::|    ).*$", "\n", text, flags=re.MULTILINE)
    text = re.sub(r"`[^`]*`", "code", text)
    text = re.sub(r"^\s*([-*]|\d+\.)\s", "\n\n", text, flags=re.MULTILINE)
    for paragraph in re.split(r"\n\s*\n", text):
        yield from re.split(r"(?<=[.!?])[*_)\"]*\s+", " ".join(paragraph.split()))


def too_long(markdown: str) -> list[str]:
    return [one for one in sentences(markdown) if len(re.findall(r"\S*\w\S*", one)) > LONGEST_SENTENCE]


def hooks() -> ModuleType:
    """docs/hooks.py, which mkdocs loads by its path."""
    spec = importlib.util.spec_from_file_location("hooks", PROJECT / "docs" / "hooks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_sentence_that_is_too_long_is_found() -> None:
    words = " ".join(["word"] * 20)
    assert too_long(f"Short. {words} {words}. Short.") == [f"{words} {words}."]
    assert not too_long(
        f"{words}. {words}.\n\n- {words}\n- {words}\n\n```\n{words} {words}\n```\n\n| {words} {words} |"
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_no_sentence_of_a_page_is_too_long(page: Path) -> None:
    assert not too_long(page.read_text())


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_no_sentence_about_a_setting_is_too_long(name: str) -> None:
    settings = ENTRY_POINTS[name]
    assert not too_long(settings.__doc__ or "")
    for field in settings.model_fields.values():
        assert not too_long(field.description or "")


@pytest.mark.parametrize("block", table.BLOCKS, ids=lambda block: block.name)
def test_the_numbers_of_a_page_are_the_measured_ones(block: table.Block) -> None:
    """`python -m benchmarks.table` writes what belongs between the marks."""
    assert block.read() == block.make()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_picture_and_file_that_a_page_links_to_exists(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_the_start_page_names_every_other_page() -> None:
    linked = set(
        re.findall(r"^\| .+ \| \[[^\]]+\]\((\w+\.md)\) \|$", (PROJECT / "docs/index.md").read_text(), re.MULTILINE)
    )
    assert linked == {page.name for page in (PROJECT / "docs").glob("*.md")} - {"index.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_command_of_a_page_has_settings_that_exist(page: Path, tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", (PROJECT / "docs" / "sweeps.md").read_text(), re.DOTALL)
    (tmp_path / "sweep.toml").write_text(example)
    for name, rest in re.findall(r"mlflow run \.(?: -e ([a-z_]+))?((?: -P [^\s`]+)*)", page.read_text()):
        words = dict(
            word.split("=", 1)
            for word in shlex.split(rest.replace("=RUN_ID", f"={'0' * 32}").replace(",RUN_ID", f",{'1' * 32}"))[1::2]
        )
        if "file" in words:
            words["file"] = str(tmp_path / "sweep.toml")
        settings = ENTRY_POINTS[name or "reproduce"]
        if words or not any(field.is_required() for field in settings.model_fields.values()):
            settings.from_words(words)
    for name, rest in re.findall(r"python -m pipelines ([a-z_]+)((?: --[a-z_]+=[^\s`]+)*)", page.read_text()):
        ENTRY_POINTS[name].from_command_line(shlex.split(rest))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_the_python_of_a_page_imports_what_exists(page: Path) -> None:
    for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        imports = [node for node in ast.parse(code).body if isinstance(node, ast.Import | ast.ImportFrom)]
        exec(compile(ast.Module(imports, []), page.name, "exec"), {})


def test_every_network_is_described() -> None:
    page = (PROJECT / "docs" / "notebook.md").read_text()
    assert [name for name in NETWORKS if f"`{name}`" not in page] == []


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_the_page_of_settings_has_a_row_for_each_setting(name: str) -> None:
    (section,) = [
        section for section in re.split(r"^## ", hooks().settings_page(), flags=re.MULTILINE)
        if section.startswith(f"{name}\n")
    ]  # fmt: skip
    settings = ENTRY_POINTS[name]
    own = set(settings.model_fields) & set(settings.names())
    assert own and all(f"\n| `{setting}` | " in section for setting in own)
    assert all(f"\n| `{preset}` | " in section for preset in settings.PRESETS)


def test_what_a_docstring_says_of_an_argument_becomes_a_list() -> None:
    pytest.importorskip("griffe", reason="comes with the extra docs")
    spec = importlib.util.spec_from_file_location("docstrings", PROJECT / "docs" / "docstrings.py")
    assert spec is not None and spec.loader is not None
    docstrings = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(docstrings)
    text = "Search.\n\nstarts: (n, k) in [0, 1]. seeds, rates: (n,)\nnumbers. note: none\n\nRaises: nothing."
    assert docstrings.as_list(text, {"starts", "seeds", "rates"}) == (
        "Search.\n\n- **starts**: (n, k) in [0, 1].\n- **seeds, rates**: (n,) numbers. note: none\n\nRaises: nothing."
    )
