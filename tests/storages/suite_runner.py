"""Runs a topic of a conformance suite inside a test, and tells which of its tests fail."""

from __future__ import annotations

import inspect
import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from daglens.testing.threads import Clock

Factory = Callable[..., Any]


def failures(topic: type, make_storage: Factory, folder: Path | None = None) -> dict[str, BaseException]:
    """The tests of `topic` that fail for storages that `make_storage` gives (a new one per test), by name.

    `folder`: where a storage of files is; `make_storage` is called with a new folder below it, which is the test's
    `tmp_path` too.
    """
    failed: dict[str, BaseException] = {}
    for name, test in inspect.getmembers(topic, inspect.isfunction):
        if not name.startswith("test_"):
            continue
        for arguments in _parametrized(test):
            try:
                test(topic(), **_fixtures(test, make_storage, folder), **arguments)
            # pytest.raises fails with an exception of its own that is no Exception.
            except (Exception, pytest.fail.Exception) as error:
                failed.setdefault(name, error)
    return failed


def names_of_tests(topic: type) -> list[str]:
    """Names of its tests."""
    return [name for name, _ in inspect.getmembers(topic, inspect.isfunction) if name.startswith("test_")]


def _fixtures(test: Callable[..., None], make_storage: Factory, folder: Path | None) -> dict[str, Any]:
    wanted = inspect.signature(test).parameters
    clock = Clock()
    tmp_path = None
    if folder is not None:
        tmp_path = Path(tempfile.mkdtemp(dir=folder))
        storage = make_storage(tmp_path / "storage")
    else:
        storage = make_storage(clock=clock) if "clock" in wanted else make_storage()
    given = dict.fromkeys(("storage", "second", "compute_logs", "artifacts"), storage)
    given |= {"clock": clock, "tmp_path": tmp_path}
    return {name: given[name] for name in wanted if name in given}


def _parametrized(test: Callable[..., None]) -> Iterator[dict[str, Any]]:
    marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
    choices = []
    for mark in marks:
        names, values = mark.args[0], mark.args[1]
        names = [n.strip() for n in names.split(",")] if isinstance(names, str) else list(names)
        rows = [value if len(names) > 1 else (value,) for value in values]
        choices.append([dict(zip(names, row, strict=True)) for row in rows])
    for chosen in itertools.product(*choices):
        merged: dict[str, Any] = {}
        for part in chosen:
            merged |= part
        yield merged
