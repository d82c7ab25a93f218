"""The contract of compute log managers, over a store in memory, S3 (moto) and Azure (azurite)."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from daglens.storage.object_store import ObjectStoreComputeLogManager
from daglens.testing import ComputeLogConformance
from tests.storages.object_stores import (
    Server,
    azure_config,
    azurite,
    in_memory,
    make_bucket,
    make_container,
    moto,
    s3_config,
)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Server]:
    with moto() as server:
        yield server


@pytest.fixture(scope="session")
def azure_server() -> Iterator[Server]:
    with azurite() as server:
        yield server


class TestInMemory(ComputeLogConformance):
    """Where each request is quick."""

    @pytest.fixture
    def compute_logs(self, tmp_path: Path) -> Iterator[ObjectStoreComputeLogManager]:
        logs = in_memory(tmp_path / "spool")
        yield logs
        logs.close()

    @pytest.fixture
    def second(
        self, compute_logs: ObjectStoreComputeLogManager, tmp_path: Path
    ) -> Iterator[ObjectStoreComputeLogManager]:
        """Another machine's."""
        logs = in_memory(tmp_path / "spool of another", compute_logs.bucket.store)
        yield logs
        logs.close()


class TestS3(ComputeLogConformance):
    """Over HTTP, against moto's server."""

    @pytest.fixture
    def bucket(self, s3_server: Server) -> str:
        name = f"logs-{secrets.token_hex(8)}"
        make_bucket(s3_server, name)
        return name

    @pytest.fixture
    def compute_logs(self, s3_server: Server, bucket: str, tmp_path: Path) -> Iterator[ObjectStoreComputeLogManager]:
        logs = ObjectStoreComputeLogManager.from_config(s3_config(s3_server, bucket), tmp_path / "home")
        yield logs
        logs.close()

    @pytest.fixture
    def second(
        self, compute_logs: ObjectStoreComputeLogManager, s3_server: Server, bucket: str, tmp_path: Path
    ) -> Iterator[ObjectStoreComputeLogManager]:
        """Another machine's."""
        logs = ObjectStoreComputeLogManager.from_config(s3_config(s3_server, bucket), tmp_path / "home of another")
        yield logs
        logs.close()


@pytest.mark.system
class TestAzure(ComputeLogConformance):
    """Over HTTP, against azurite."""

    @pytest.fixture
    def container(self, azure_server: Server) -> str:
        name = f"logs-{secrets.token_hex(8)}"
        make_container(azure_server, name)
        return name

    @pytest.fixture
    def compute_logs(
        self, azure_server: Server, container: str, tmp_path: Path
    ) -> Iterator[ObjectStoreComputeLogManager]:
        logs = ObjectStoreComputeLogManager.from_config(azure_config(azure_server, container), tmp_path / "home")
        yield logs
        logs.close()

    @pytest.fixture
    def second(
        self, compute_logs: ObjectStoreComputeLogManager, azure_server: Server, container: str, tmp_path: Path
    ) -> Iterator[ObjectStoreComputeLogManager]:
        """Another machine's."""
        config = azure_config(azure_server, container)
        logs = ObjectStoreComputeLogManager.from_config(config, tmp_path / "home of another")
        yield logs
        logs.close()
