"""The log files of a run, out of one listing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from daglens.storage.object_store.bucket import Entry
from daglens.storage.object_store.chain import chain_of
from daglens.storage.object_store.keys import STEP_KEY, io_of, keeps_step_key, parse_step
from daglens.storage.records import ComputeIO, LogFile, LogKey


def step_names(entries: Sequence[Entry], read: Callable[[str], str | None]) -> Mapping[str, tuple[str, int]]:
    """Step key and attempt by name of the step's folder; `read` gives the text of an object of the run, None when it
    is gone. Folders that are none of ours are left out."""
    names: dict[str, tuple[str, int]] = {}
    for folder in dict.fromkeys(entry.name.partition("/")[0] for entry in entries):
        found = parse_step(folder)
        if found is None:
            continue
        step_key = found.step_key
        if step_key is None:
            step_key = read(f"{folder}/{STEP_KEY}")
            if step_key is None or not keeps_step_key(step_key):
                continue
        names[folder] = (step_key, found.attempt)
    return names


def listed(run_id: str, entries: Sequence[Entry], names: Mapping[str, tuple[str, int]], location: str) -> list[LogFile]:
    """The log files by step key, attempt, stdout before stderr; `location` is the run's."""
    streams: dict[tuple[str, ComputeIO], list[tuple[str, int]]] = {}
    for entry in entries:
        folder, _, rest = entry.name.partition("/")
        stream, _, name = rest.partition("/")
        io = io_of(stream)
        if io is not None and folder in names:
            streams.setdefault((folder, io), []).append((name, entry.size_bytes))
    files = []
    for (folder, io), objects in streams.items():
        chain = chain_of(objects)
        if chain.exists:
            step_key, attempt = names[folder]
            where = f"{location}/{folder}/{'err' if io is ComputeIO.STDERR else 'out'}"
            key = LogKey(run_id, step_key, attempt)
            files.append(LogFile(key, io, chain.end, chain.complete, chain.truncated, where))
    return sorted(files, key=lambda file: (file.key.step_key, file.key.attempt, file.io is ComputeIO.STDERR))
