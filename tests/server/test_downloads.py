"""Compute logs and artifacts, byte for byte."""

from __future__ import annotations

import os
import socket as sockets
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from daglens.instance import Instance
from daglens.server.ranges import ByteRange, NotSatisfiable, requested
from daglens.storage.records import ComputeIO, LogKey
from daglens.testing.server import LiveServer, serve_in_thread
from tests.server.conftest import Serve, create, until

DATA = bytes(range(256)) * 40


def capture(instance: Instance, data: bytes, run_id: str = "run", step_key: str = "extract", attempt: int = 1) -> None:
    instance.compute_logs.append(LogKey(run_id, step_key, attempt), ComputeIO.STDOUT, 0, data)


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    """One for all tests of this module; a run with a log that holds DATA."""
    with Instance.ephemeral() as opened:
        create(opened)
        capture(opened, DATA)
        (opened.home / "secret.txt").write_text("secret")
        os.symlink("/etc/passwd", opened.artifacts.folder("run") / "link")
        yield opened


@pytest.fixture(scope="module")
def server(instance: Instance) -> Iterator[LiveServer]:
    """A server of it."""
    with serve_in_thread(instance) as running:
        yield running


@pytest.fixture(scope="module")
def log_url() -> str:
    """Address of the log that holds DATA."""
    return "/runs/run/compute-logs/extract/stdout"


@pytest.mark.parametrize("kind", ["log", "artifact"])
def test_whole_file(http: httpx.Client, instance: Instance, log_url: str, kind: str) -> None:
    """A download is the file byte for byte, to be saved, never shown as a page."""
    if kind == "artifact":
        (instance.artifacts.folder("run") / "a.html").write_bytes(DATA)
    url = log_url if kind == "log" else "/runs/run/artifacts/a.html"
    answer = http.get(url)
    assert (answer.status_code, answer.content) == (200, DATA)
    assert answer.headers["content-length"] == str(len(DATA))
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["content-type"] == (
        "text/plain; charset=utf-8" if kind == "log" else "application/octet-stream"
    )
    head = http.head(url)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(DATA)))
    assert http.post(url).status_code == 405


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-9", 5, 10),
        ("bytes=10000-", 10_000, 10_240),
        ("bytes=-7", 10_233, 10_240),
        ("bytes=-999999", 0, 10_240),
        ("bytes=10239-999999", 10_239, 10_240),
        ("bytes=5-9, 10-19", 5, 20),
        ("bytes=5-9,100-199", 5, 10),
        ("bytes=99999-, 3-4", 3, 5),
        ("Bytes = 1-2", 1, 3),
    ],
)
def test_range(http: httpx.Client, log_url: str, header: str, start: int, end: int) -> None:
    """A range is answered with those bytes, and says which they are."""
    answer = http.get(log_url, headers={"range": header})
    assert (answer.status_code, answer.content) == (206, DATA[start:end])
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(DATA)}"


@pytest.mark.parametrize("header", ["bytes=10240-", "bytes=99999-100000", "bytes=-0", "bytes=20000-, 30000-"])
def test_range_beyond_the_end(http: httpx.Client, log_url: str, header: str) -> None:
    """A range without a byte is 416, with the size."""
    answer = http.get(log_url, headers={"range": header})
    assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{len(DATA)}")


@pytest.mark.parametrize("header", ["lines=1-2", "bytes=", "bytes=a-b", "bytes=9-5", "bytes", "bytes=-", "bytes=1-2-3"])
def test_range_not_understood(http: httpx.Client, log_url: str, header: str) -> None:
    """A header that is no range is passed over, as the specification says; so is one for another version."""
    assert http.get(log_url, headers={"range": header}).content == DATA
    assert http.get(log_url, headers={"range": "bytes=1-2", "if-range": '"x"'}).content == DATA


def test_ranges_without_a_server() -> None:
    """Edges: an empty file, very long numbers, very many ranges."""
    with pytest.raises(NotSatisfiable):
        requested("bytes=0-", 0)
    assert requested(f"bytes={'9' * 5000}-", 10) is None
    assert requested("bytes=" + ",".join(["1-2"] * 100), 10) is None
    assert requested("bytes=4-5,0-1,1-4", 10) == ByteRange(0, 6)


HOSTILE = [
    "../../secret",
    "..",
    ".",
    "a/b",
    "a\\b",
    "żółw 🐢",
    "%2e%2e",
    "a?b#c",
    "a\nb",
    "x" * 200,
    "C:",
    "~",
    " ",
    "-rf",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_odd_names(http: httpx.Client, instance: Instance, name: str) -> None:
    """Any string that may be a run id or a step key leads to its own log, by the address that the API gives out."""
    from daglens.resolvers.urls import log_url

    key = LogKey(name, name)
    create(instance, name)
    capture(instance, name.encode(), name, name)
    url = log_url("", key, ComputeIO.STDOUT)
    if name in ("..", "."):
        answer = raw_get(http, url)
        assert answer.endswith(name.encode())
    else:
        assert http.get(url).content == name.encode()


def raw_get(http: httpx.Client, path: str) -> bytes:
    """GET a path exactly as it is: HTTP clients resolve dots in paths."""
    url = http.base_url
    with sockets.create_connection((url.host, url.port)) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize(
    "path",
    [
        "/runs/run/artifacts/../../secret.txt",
        "/runs/run/artifacts/..%2f..%2fsecret.txt",
        "/runs/run/artifacts/%2e%2e/%2e%2e/secret.txt",
        "/runs/run/artifacts//etc/passwd",
        "/runs/run/artifacts/%2fetc%2fpasswd",
        "/runs/run/artifacts/a%00b",
        "/runs/run/artifacts/",
        "/runs/run/artifacts",
        "/runs/run/artifacts/link",
        "/runs/..%2f..%2f..%2f../artifacts/etc/passwd",
        "/runs//artifacts/a",
        "/runs/run/compute-logs/..%2f..%2fsecret/stdout",
        "/runs/../compute-logs/extract/stdout",
        "/runs/run/compute-logs/extract/stdout/",
        "/runs/run/compute-logs/extract/stdlog",
        "/runs/run/compute-logs/extract/..",
        "/runs/run/compute-logs/%ff/stdout",
        "/runs/%00/compute-logs/extract/stdout",
        "/runs/run/compute-logs/extract/stdout?attempt=0",
        "/runs/run/compute-logs/extract/stdout?attempt=-1",
        "/runs/run/compute-logs/extract/stdout?attempt=2",
        "/runs/run/compute-logs/extract/stdout?attempt=99999999999999999999",
        "/runs/run/compute-logs/extract/stdout?attempt=%D9%A1",
        "/runs/compute-logs",
        "/runs/compute-logs?run=run&step=extract",
        "/runs/compute-logs?run=run&step=extract&stream=stdlog",
        "/runs/compute-logs?run=run&step=%ff&stream=stdout",
        "/runs/compute-logs?run=..%2f..&step=secret&stream=stdout",
        "/runs/compute-logs/?run=run&step=extract&stream=stdout",
        "/runs/artifacts?run=run",
        "/runs/artifacts?run=run&path=../../secret.txt",
        "/runs/artifacts?run=run&path=%2fetc%2fpasswd",
        "/runs/artifacts?run=..&path=etc/passwd",
        "/runs/artifacts?run=%00&path=a",
        "/runs/run",
        "/runs/",
    ],
)
def test_nothing_else_is_reached(http: httpx.Client, path: str) -> None:
    """Whatever path is asked for, only logs and artifacts of runs are answered; the rest is 404."""
    answer = raw_get(http, path)
    assert answer.startswith(b"HTTP/1.1 404 "), answer[:200]
    assert b"secret" not in answer.partition(b"\r\n\r\n")[2]
    assert b"root:" not in answer


LOG = """query($run: ID!, $step: String!) { runOrError(runId: $run) { ... on Run {
  computeLog(stepKey: $step) { stdout { downloadUrl } }
  artifacts { nodes { downloadUrl } }
} } }"""


@pytest.mark.parametrize(("run_id", "step_key"), [("run", "."), ("run", ".."), ("..", "extract"), (".", "..")])
def test_names_that_step_up(http: httpx.Client, instance: Instance, run_id: str, step_key: str) -> None:
    """A run or a step that is called `.` or `..` has addresses which no client and no proxy shortens; so have its
    artifacts, whatever they are called."""
    if run_id != "run":
        create(instance, run_id)
        file = instance.artifacts.folder(run_id) / "a&b=c" / "ż+%2e?#.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(run_id)
    capture(instance, f"{run_id} {step_key}".encode(), run_id, step_key)
    body = {"query": LOG, "variables": {"run": run_id, "step": step_key}}
    run = http.post("/graphql", json=body).json()["data"]["runOrError"]
    url = run["computeLog"]["stdout"]["downloadUrl"]
    assert not {".", "..", "%2E", "%2E%2E"} & set(url.partition("?")[0].split("/"))
    assert http.get(url).text == f"{run_id} {step_key}"
    assert http.get(url, headers={"range": "bytes=0-0"}).text == run_id[0]
    if run_id != "run":
        (artifact,) = run["artifacts"]["nodes"]
        assert http.get(artifact["downloadUrl"]).text == run_id


def test_attempts(http: httpx.Client, instance: Instance) -> None:
    """Each attempt has its own log; without a number the first is meant."""
    for attempt in (1, 2):
        capture(instance, b"try %d" % attempt, step_key="retried", attempt=attempt)
        url = f"/runs/run/compute-logs/retried/stdout?attempt={attempt}"
        assert http.get(url).content == b"try %d" % attempt
    assert http.get("/runs/run/compute-logs/retried/stdout").content == b"try 1"


@pytest.mark.parametrize("name", ['a"b;c\r\n.txt', "żółw.txt", "…", "a/b/c.csv"])
def test_file_names(http: httpx.Client, instance: Instance, name: str) -> None:
    """An artifact is saved under its own name, whatever characters it has; no header can be slipped in."""
    file = instance.artifacts.folder("run") / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("x")
    answer = http.get(f"/runs/run/artifacts/{quote(name)}")
    assert answer.status_code == 200
    encoded = quote(name.rpartition("/")[2], safe="")
    assert answer.headers["content-disposition"].endswith(f"filename*=UTF-8''{encoded}")


def test_constant_memory(server: LiveServer, instance: Instance) -> None:
    """A large artifact is sent as it is read: who takes nothing of it makes the server read next to nothing."""
    size = 300 * 1024 * 1024
    path = instance.artifacts.folder("run") / "large.bin"
    with path.open("wb") as file:
        file.truncate(size)
    host, port = server.url.removeprefix("http://").split(":")
    before = _resident_kib()
    with sockets.create_connection((host, int(port))) as connection:
        connection.sendall(f"GET /runs/run/artifacts/large.bin HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert connection.recv(10).startswith(b"HTTP/1.1 2")
        # The server goes on answering others; what it holds for this one stays small.
        for _ in range(20):
            assert httpx.get(f"{server.url}/healthz").status_code == 200
        assert _resident_kib() - before < 50 * 1024
    until(lambda: not _open_files(path))


def _resident_kib() -> int:
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1])


def _open_files(path: Path) -> bool:
    links = []
    for name in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:
            continue
    return str(path) in links


def test_growing_log(http: httpx.Client, instance: Instance) -> None:
    """A log that grows while it is sent is sent up to where it ended when it was asked for."""
    capture(instance, DATA, step_key="grow")
    with http.stream("GET", "/runs/run/compute-logs/grow/stdout") as answer:
        instance.compute_logs.append(LogKey("run", "grow"), ComputeIO.STDOUT, len(DATA), b"more")
        assert answer.read() == DATA
    assert http.get("/runs/run/compute-logs/grow/stdout").content == DATA + b"more"


def test_addresses_of_the_api(serve: Serve, instance: Instance, log_url: str) -> None:
    """The download addresses that the API gives out work, with the prefix under which the server is reached."""
    (instance.artifacts.folder("run") / "50% off?.txt").write_text("artifact")
    server = serve(path_prefix="/daglens")
    query = """{ runOrError(runId: "run") { ... on Run {
      computeLog(stepKey: "extract") { stdout { downloadUrl } }
      artifacts { nodes { path downloadUrl } }
    } } }"""
    with httpx.Client(base_url=server.url) as http:
        run = http.post("/graphql", json={"query": query}).json()["data"]["runOrError"]
        log = run["computeLog"]["stdout"]["downloadUrl"]
        artifact = next(node["downloadUrl"] for node in run["artifacts"]["nodes"] if "%" in node["path"])
        assert log.startswith("/daglens/runs/")
        assert http.get(log).content == DATA
        assert http.get(artifact).text == "artifact"
