"""The same bytes through storages of other kinds: runs and events in PostgreSQL, logs in an object store."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from daglens.bundles.exporting import export_file
from daglens.bundles.importing import import_file
from daglens.instance import Instance
from daglens.storage.postgres import PostgresEventLogStorage, PostgresRunStorage
from tests.bundles.conftest import RUN, bundle_of
from tests.storages.object_stores import in_memory
from tests.storages.postgres_server import config_for, postgres, postgres_schema

__all__ = ["postgres", "postgres_schema"]


@pytest.fixture
def elsewhere(postgres, postgres_schema, tmp_path: Path) -> Iterator[Instance]:
    """An instance on PostgreSQL and an object store."""
    config = config_for(postgres.url, postgres_schema)
    with Instance.ephemeral() as local:
        yield dataclasses.replace(
            local,
            runs=(runs := PostgresRunStorage.from_config(config, tmp_path)),
            events=(events := PostgresEventLogStorage.from_config(config, tmp_path)),
            compute_logs=(logs := in_memory(tmp_path / "spool")),
        )
        for storage in (runs, events, logs):
            storage.close()


def test_there_and_back(elsewhere, file, target, tmp_path):
    """From SQLite and files to PostgreSQL and an object store, and back; repeated imports store nothing."""
    done = import_file(elsewhere, file)
    assert (done.created, done.events, done.log_bytes, done.notes) == (True, 22, 68, ())
    assert bundle_of(elsewhere) == file.read_bytes()
    done = import_file(elsewhere, file)
    assert (done.created, done.events, done.log_bytes) == (False, 0, 0)
    export_file(elsewhere, RUN, tmp_path / "back")
    import_file(target, tmp_path / "back")
    assert bundle_of(target) == file.read_bytes()
