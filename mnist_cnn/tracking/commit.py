"""The commit that a run's code is of, and what was changed since and not committed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mnist_cnn.runtime.fingerprint import PACKAGES, ROOT

try:
    import git
except ImportError:  # gitpython says so where there is no git
    git = None  # type: ignore[assignment]

PATCH = "uncommitted.patch"
LARGEST_PATCH = 2**20
"""Bytes. Files that would make it larger are named in it and left out; so are new files that alone are larger."""

MOST_NEW, MOST_NAMED, ROOM = 200, 20, 2**14
"""New files in a patch, a process of git each; names of those left out, and bytes for them."""

DIFF = ("diff", "--binary", "--no-color", "--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/")
"""Whatever a person's own configuration of git says, `git apply` can read what this prints."""


def tags() -> dict[str, str]:
    """The commit, and whether files differ from it; nothing where the code is not in a git checkout."""
    if (repository := _repository()) is None:
        return {}
    changed = str(repository.is_dirty(untracked_files=True)).lower()
    return {"mlflow.source.git.commit": repository.head.commit.hexsha, "git.uncommitted_changes": changed}


def patch() -> bytes:
    """What `git apply` makes of the commit the files that ran: changed ones and new ones that git does not ignore."""
    if (repository := _repository()) is None:
        return b""
    changed = _paths(repository, "diff", "HEAD", "--name-only", "-z")
    new = _paths(repository, "ls-files", "--others", "--exclude-standard", "-z")
    small = [path for path in new if (ROOT / path).lstat().st_size <= LARGEST_PATCH][:MOST_NEW]
    asked = [("HEAD", "--", path) for path in changed] + [("--no-index", "--", "/dev/null", path) for path in small]
    parts, left_out, size = [], sorted({*new} - {*small}), 0
    for words in asked:
        part = _output(repository, *DIFF, *words)
        if size + len(part) > LARGEST_PATCH - ROOM:
            left_out.append(words[-1])
            continue
        parts.append(part)
        size += len(part)
    notes = [f"Left out, since the patch would be too large: {path!r}"[:500] + "\n" for path in left_out[:MOST_NAMED]]
    if len(left_out) > MOST_NAMED:
        notes.append(f"Left out, too: {len(left_out) - MOST_NAMED} more files\n")
    return b"".join(["".join(notes).encode(errors="backslashreplace"), *parts])


def changed_since(commit: str, files: Iterable[Path]) -> list[str]:
    """Which of these files differ from that commit; none where git does not know it."""
    if (repository := _repository()) is None or not re.fullmatch("[0-9a-f]{40}", commit):
        return []
    own = {str(file.relative_to(ROOT)) for file in files}
    return [path for path in _paths(repository, "diff", "--name-only", "-z", commit) if path in own]


def between(first: str, second: str) -> str:
    """What `git diff` prints from one commit's code to another's; empty where git does not know both."""
    repository = _repository()
    if repository is None or not all(re.fullmatch("[0-9a-f]{40}", commit) for commit in (first, second)):
        return ""
    return _output(repository, *DIFF, first, second, "--", *PACKAGES).decode(errors="backslashreplace")


def files_in(patch: str) -> list[str]:
    """The files that a patch changes."""
    return list(dict.fromkeys(re.findall(r"^diff --git \"?a/.*? \"?b/(.*?)\"?$", patch, re.MULTILINE)))


def _repository() -> Any:
    """The repository whose own folder the code is in; None without one, or without a commit."""
    if git is None:
        return None
    try:
        repository = git.Repo(ROOT)
        return repository if repository.head.is_valid() else None
    except (git.exc.GitError, ValueError):
        return None


def _paths(repository: Any, *words: str) -> list[str]:
    return [os.fsdecode(path) for path in _output(repository, *words).split(b"\0") if path]


def _output(repository: Any, *words: str) -> bytes:
    """What git prints. `git diff --no-index` ends with 1 where files differ."""
    return repository.git.execute(
        ["git", *words], stdout_as_string=False, with_exceptions=False, strip_newline_in_stdout=False
    )
