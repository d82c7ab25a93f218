"""Folders, disks and files of this machine."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from daglens.access.errors import InvalidTokens
from daglens.access.token_file import DEFAULT_FILE, read_entries
from daglens.doctor.findings import Finding, ok, problem, warning

RESERVE_BYTES = 64 * 1024 * 1024
"""Below it capturing ends: `daglens.recorder.capture_file.DEFAULT_RESERVE_BYTES`."""
_LITTLE_BYTES = 1024**3


def look_at_disks(folders: Iterable[Path]) -> Iterator[Finding]:
    """Whether there is room where something is written, and the right to write there."""
    seen: set[int] = set()
    for folder in dict.fromkeys(folders):
        there = _nearest(folder)
        if not os.access(there, os.W_OK | os.X_OK):
            yield problem(
                "disk-space",
                f"{there} can't be written by this user.",
                f"Give it to the user that daglens runs as: chown USER {there}.",
            )
            continue
        if (device := there.stat().st_dev) in seen:
            continue
        seen.add(device)
        free = shutil.disk_usage(there).free
        found = f"The disk of {there} has {_size(free)} free."
        advice = "Make room, or let old runs go: `daglens: retention:` in dagster.yaml, or `daglens runs prune`."
        if free < RESERVE_BYTES:
            yield problem("disk-space", f"{found} Below {_size(RESERVE_BYTES)} no output is captured.", advice)
        elif free < _LITTLE_BYTES:
            yield warning("disk-space", found, advice)
        else:
            yield ok("disk-space", found)


def look_at_tokens(path: Path | None, home: Path) -> Finding:
    """The file of tokens, if there is one."""
    if path is None and (unnamed := home / DEFAULT_FILE).is_file():
        return ok(
            "tokens",
            f"{unnamed} is there, and nothing names it: serve takes it by --tokens {shlex.quote(str(unnamed))}, or by "
            f"`daglens: access: tokens: {DEFAULT_FILE}` in dagster.yaml.",
        )
    if path is None:
        return ok("tokens", "No file of tokens is named in dagster.yaml: without --tokens, serve stays on loopback.")
    try:
        entries = read_entries(path)
    except InvalidTokens as error:
        return problem("tokens", str(error), "Until then nobody is let in. See `daglens tokens --help`.")
    tokens = "1 token" if len(entries) == 1 else f"{len(entries)} tokens"
    return ok("tokens", f"{path} holds {tokens}; others can't read it.")


def look_at_assets(folder: Path, needed: Sequence[str]) -> Finding:
    """GraphiQL's files."""
    missing = [name for name in needed if not (folder / name).is_file()]
    if missing:
        return problem(
            "graphiql",
            f"GraphiQL's files are missing: {', '.join(missing)}.",
            "Install daglens again from its wheel, or in a checkout by `pip install -e .` with Node or the network.",
        )
    return ok("graphiql", "GraphiQL's files are there.")


def _nearest(folder: Path) -> Path:
    """The folder, or what stands nearest above it while it isn't there."""
    # `Path.is_dir` raises below a folder that this user may not enter.
    while not os.path.isdir(folder) and folder != folder.parent:
        folder = folder.parent
    return folder


def _size(count: int) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count} {unit}"
        count //= 1024
    return f"{count} TiB"
