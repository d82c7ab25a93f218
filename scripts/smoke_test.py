"""Does an installed daglens work? Records a command, serves it, and asks the server for the run and for GraphiQL.

    python scripts/smoke_test.py /path/to/venv/bin/daglens

Run it outside the checkout, or it is the checkout that is tested. Needs nothing but Python.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

READY_WITHIN_S = 30.0
STOP_WITHIN_S = 15.0
RUNS = """{
  version
  runsOrError { ... on RunPage { nodes { runId status pipelineName } } ... on Error { code message } }
}"""

# Straight to the server, whatever proxy the environment names.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def main(daglens: str) -> None:
    version = subprocess.run([daglens, "--version"], check=True, capture_output=True, text=True).stdout.split()[-1]
    with tempfile.TemporaryDirectory(prefix="daglens-smoke-") as home:
        environment = {**os.environ, "DAGSTER_HOME": home}
        greet = [daglens, "record", "--pipeline", "smoke", "--step", "greet", "--", "echo", "hello"]
        subprocess.run(greet, env=environment, check=True, timeout=60)
        with _serving(daglens, environment) as address:
            answer = json.loads(_get(f"{address}/graphql", json.dumps({"query": RUNS}).encode()))
            _same(answer.get("errors"), None)
            _same(answer["data"]["version"], version)
            (run,) = answer["data"]["runsOrError"]["nodes"]
            _same((run["pipelineName"], run["status"]), ("smoke", "SUCCESS"))

            page = _get(f"{address}/graphiql").decode()
            linked = re.findall(r"""(?:src|href)=["']([^"'#]+)["']""", page)
            for name in (
                "graphiql.min.js",
                "graphiql.min.css",
                "react.production.min.js",
                "react-dom.production.min.js",
            ):
                _same([link.rpartition("/")[2].partition("?")[0] for link in linked].count(name), 1)
            for link in linked:
                _same(bool(_get(urljoin(f"{address}/graphiql", link))), True)
            _same(b"type Query" in _get(f"{address}/schema.graphql"), True)
    print(f"daglens {version}: recorded, served and shown by GraphiQL ({len(linked)} files)")


@contextlib.contextmanager
def _serving(daglens: str, environment: dict[str, str]) -> Iterator[str]:
    """The address of a server that is ready; it has ended, by its own will and without an error, after the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    server = subprocess.Popen([daglens, "serve", "--port", str(port)], env=environment)
    try:
        give_up_at = time.monotonic() + READY_WITHIN_S
        while True:
            try:
                _get(f"{address}/healthz")
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > give_up_at:
                    raise
                time.sleep(0.1)
        yield address
    finally:
        server.terminate()
        try:
            code = server.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            server.kill()
            raise
    _same(code, 0)


def _get(url: str, body: bytes | None = None) -> bytes:
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"} if body else {})
    with _opener.open(request, timeout=10) as answer:
        return bytes(answer.read())


def _same(found: object, wanted: object) -> None:
    if found != wanted:
        raise SystemExit(f"found {found!r}, wanted {wanted!r}")


if __name__ == "__main__":
    main(str(Path(sys.argv[1]).absolute()))
