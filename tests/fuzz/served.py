"""A server to be fuzzed: real storages, a history of everything, secrets planted wherever one is configured, and a
memory of all that anybody could see of it."""

from __future__ import annotations

import io
import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
from hypothesis import settings

from daglens.access import Credentials, Identity, Role
from daglens.access.token_file import add_token
from daglens.instance import Instance
from daglens.server.settings import ServerSettings
from daglens.server.telemetry.logs import log_to
from daglens.testing.server import LiveServer, serve_in_thread
from tests.api import history
from tests.live.conftest import QUICK
from tests.server.conftest import PATIENCE_S

SECRETS = {
    "database": "pl4nted-database",
    "database_parameter": "pl4nted-sslpassword",
    "access_key": "PL4NTEDACCESSKEY",
    "secret_key": "pl4nted-bucket-key",
    "secret_word": "pl4nted-word",
}
UNKNOWN_TOKEN = "dgl_" + "pl4nted" * 6 + "x"
LOG_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (DEBUG|INFO|WARNING|ERROR) [\w.]+: ")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_TRACEBACK = re.compile(r"Traceback \(most recent|File \\?\"[^\"]+\.py\\?\", line")

MORE = int(os.environ.get("DAGLENS_FUZZ", "0"))
"""0: the same examples each time, as many as CI has time for. Else so many times as many, and new ones each time."""


def examples(count: int) -> settings:
    """How many examples a test tries."""
    return settings(max_examples=count * max(1, MORE), derandomize=MORE == 0, database=None)


class Doorman:
    """An authenticator with a secret of its own; it knows nobody."""

    @dataclass(frozen=True)
    class Config:
        """See Authenticator."""

        secret_word: str

    def __init__(self, secret_word: str) -> None:
        self.secret_word = secret_word

    @classmethod
    def from_config(cls, config: Config, home: Path) -> Doorman:
        """See Authenticator."""
        return cls(config.secret_word)

    def authenticate(self, credentials: Credentials) -> Identity | None:
        """See Authenticator."""
        if credentials.token == "fails":
            raise RuntimeError(f"{self.secret_word} {credentials.token} {dict(credentials.headers)}")
        return None


def dagster_yaml(home: Path, *, database: str | None = None, bucket: str | None = None) -> None:
    """Write it: SQLite and files, or PostgreSQL and an S3 bucket at these addresses."""
    config: dict[str, Any] = {
        "daglens": {
            "access": {
                "tokens": str(home / "tokens"),
                "authenticator": {
                    "module": "tests.fuzz.served",
                    "class": "Doorman",
                    "config": {"secret_word": SECRETS["secret_word"]},
                },
            }
        }
    }
    if database is not None:
        config["storage"] = {"postgres": {"postgres_url": database}}
    if bucket is not None:
        config["compute_logs"] = {
            "module": "daglens.storage.object_store",
            "class": "ObjectStoreComputeLogManager",
            "config": {
                "bucket": "logs",
                "endpoint_url": bucket,
                "region": "us-east-1",
                "access_key_id": SECRETS["access_key"],
                "secret_access_key": SECRETS["secret_key"],
            },
        }
    (home / "dagster.yaml").write_text(json.dumps(config))


@dataclass
class Fuzzed:
    """A server under fire.

    Attributes:
        tokens: By role.
        told: All that its clients were answered.
        log: What it has logged, as an operator sees it at the lowest level.
    """

    server: LiveServer
    instance: Instance
    tokens: dict[str, str]
    log: io.StringIO
    http: httpx.Client
    told: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)

    @property
    def run_id(self) -> str:
        """A run that has everything; another one when the last was deleted."""
        if not self.runs or self.instance.run(self.runs[-1]) is None:
            self.runs.append(f"census-{len(self.runs) + 1}")
            history.record(self.instance, self.runs[-1])
        return self.runs[-1]

    def bearer(self, role: str = "admin") -> dict[str, str]:
        """The header of somebody with this role."""
        return {"authorization": f"Bearer {self.tokens[role]}"}

    def post(self, body: Any, *, role: str = "admin", out_of_order: bool = False, **headers: str) -> httpx.Response:
        """The answer to a GraphQL request, checked."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"content-type": "application/json", **self.bearer(role), **headers}
        answer = self.http.post("/graphql", content=content, headers=headers)
        self.check(answer.status_code, answer.text, str(answer.headers), out_of_order=out_of_order)
        return answer

    def check(self, status: int, text: str, headers: str = "", *, out_of_order: bool = False) -> None:
        """No answer is a failure of the server's, and whatever it refuses has a code.

        `out_of_order`: its storages are away, and may be said to be.
        """
        self.told.append(f"{headers} {text}")
        assert not _TRACEBACK.search(text), text
        assert status < 500 or (out_of_order and status == 503), f"{status} {text}"
        if status >= 400 and text.startswith("{"):
            check_result(json.loads(text), out_of_order=out_of_order)

    def check_everything(self) -> None:
        """No planted secret was shown anywhere, no line of the log is forged, and the server still answers."""
        assert self.http.get("/healthz").status_code == 200
        answer = self.http.get("/graphql?query={version}", headers=self.bearer())
        assert answer.json()["data"]["version"]
        log = self.log.getvalue()
        # Whatever a client sends, nothing of it is the operator's to look at.
        wrong = [line for line in log.splitlines() if " ERROR " in line or _TRACEBACK.search(line)]
        assert [line for line in wrong if "The authenticator Doorman failed: RuntimeError" not in line] == []
        for seen in (*self.told, log):
            for name, secret in (*SECRETS.items(), *self.tokens.items()):
                assert secret not in seen, (name, seen[:2000])
                assert secret.removeprefix("dgl_") not in seen, (name, seen[:2000])
        check_log(log)


def check_result(result: Any, *, out_of_order: bool = False, ids: bool = True) -> None:
    """A GraphQL result, or a refusal in its form: every error has a code and an errorId, and is no bug."""
    for error in result.get("errors") or ():
        extensions = error["extensions"]
        assert extensions["errorId"] if ids else extensions["code"], error
        assert extensions["code"] != "INTERNAL", error
        assert out_of_order or extensions["code"] not in ("STORAGE_UNAVAILABLE", "ACCESS_UNAVAILABLE"), error
        assert not _TRACEBACK.search(error["message"]), error


def check_log(log: str) -> None:
    """Each line has its head or is indented below one, and none steers a terminal."""
    assert not CONTROL.search(log), CONTROL.search(log)
    for line in log.split("\n"):
        assert not line or line.startswith("    ") or LOG_LINE.match(line), line


@contextmanager
def fuzzed(instance: Instance, home: Path) -> Iterator[Fuzzed]:
    """Serve the instance, which stays the caller's to close."""
    tokens = {str(role): add_token(home / "tokens", str(role), role) for role in Role}
    stream = io.StringIO()
    root, levels = logging.getLogger(), {}
    for name in ("", "daglens", "daglens.access", "uvicorn", "websockets", "httpx", "httpcore"):
        levels[name] = logging.getLogger(name).level
    handler = log_to(stream, level="debug", requests=True)
    # The client's own.
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        chosen = replace(
            ServerSettings.of(instance.settings), live=QUICK, drain_s=2.0, init_timeout_s=60.0, upkeep_s=0.05
        )
        with (
            serve_in_thread(instance, chosen) as server,
            httpx.Client(base_url=server.url, timeout=PATIENCE_S) as http,
        ):
            yield Fuzzed(server, instance, tokens, stream, http)
    finally:
        root.removeHandler(handler)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
