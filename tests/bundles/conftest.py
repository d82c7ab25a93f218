"""Instances to export from and import into, and a run that has everything."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from daglens.bundles.exporting import write_bundle
from daglens.instance import Instance
from tests.api import history

RUN = history.RUN_ID


def bundle_of(instance: Instance, run_id: str = RUN) -> bytes:
    """The bundle of a run."""
    stream = io.BytesIO()
    exported = write_bundle(instance, run_id, stream)
    assert exported.size_bytes == len(stream.getvalue())
    return stream.getvalue()


@pytest.fixture
def open_instance(tmp_path: Path) -> Iterator[Callable[[str], Instance]]:
    """Opens local instances by name; they are closed in the end."""
    with ExitStack() as opened:
        yield lambda name: opened.enter_context(Instance.open(home=tmp_path / name))


@pytest.fixture
def source(open_instance: Callable[[str], Instance]) -> Instance:
    """An instance with the run `census`, which has every type of event and logs of two attempts."""
    instance = open_instance("source")
    history.record(instance)
    return instance


@pytest.fixture
def target(open_instance: Callable[[str], Instance]) -> Instance:
    """An empty instance."""
    return open_instance("target")


@pytest.fixture
def file(source: Instance, tmp_path: Path) -> Path:
    """The bundle of that run."""
    path = tmp_path / "census.ndjson"
    path.write_bytes(bundle_of(source))
    return path
