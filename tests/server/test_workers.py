"""`daglens serve --workers` as a program: several processes on one port."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from daglens.instance import Instance
from daglens.server.telemetry.neighbours import merged
from daglens.testing.server import LiveServer
from tests.server.conftest import EVENTS, PATIENCE_S, Socket, create, opened, until, write
from tests.server.test_processes import child_environment, connection_to


@dataclass
class Program:
    """A server of several processes."""

    process: subprocess.Popen[str]
    url: str = ""
    said: list[str] = field(default_factory=list)

    @property
    def server(self) -> LiveServer:
        return LiveServer(self.url, None, None)  # type: ignore[arg-type]

    def workers(self) -> list[int]:
        """Process ids of those that were started."""
        pid = self.process.pid
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def says(self, words: str) -> bool:
        return any(words in line for line in list(self.said))


@contextmanager
def program(
    home: Path, *options: str, workers: int = 2, first_pause_s: float = 0.25, first: str = ""
) -> Iterator[Program]:
    """`daglens serve --workers`, in a process group of its own; what it says is collected.

    `first_pause_s`: between two starts of a worker that fails; each pause is twice as long as the one before. `first`:
    what it does before all else.
    """
    pause = f"from daglens.server import workers; workers._FIRST_PAUSE_S = {first_pause_s}"
    code = f"{first}\n{pause}; import daglens.cli.__main__"
    command = [sys.executable, "-c", code, "serve", "--port", "0", "--workers", str(workers)]
    with subprocess.Popen(
        [*command, "--instance-home", str(home), *options],
        env={**child_environment(), "PYTHONUNBUFFERED": "1", "TMPDIR": str(home.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=home.parent,
        start_new_session=True,
    ) as process:
        running = Program(process)
        assert process.stdout is not None and process.stderr is not None
        reader = threading.Thread(target=lambda err=process.stderr: running.said.extend(err))
        reader.start()
        try:
            for line in process.stdout:
                if found := re.search(r"http://\S+", line):
                    running.url = found[0]
                    break
            yield running
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            reader.join()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    """An instance in files."""
    with Instance.open(home=tmp_path / "home") as opened_instance:
        yield opened_instance


def ready(running: Program, count: int = 2) -> list[int]:
    """The workers, when so many answer."""
    until(lambda: sum(") answers" in line for line in list(running.said)) == count)
    return running.workers()


def gone(pid: int) -> bool:
    """Whether a process has ended; whoever is to wait for it may not have yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def take(socket: Socket, got: list[int], until_seq: int) -> str:
    """Add what comes, up to a seq; the cursor there."""
    cursor = ""
    while not got or got[-1] < until_seq:
        batch = socket.result()["data"]["runEvents"]
        got += [event["seq"] for event in batch["events"]]
        cursor = batch["cursor"]
    return cursor


def test_a_worker_is_killed(instance: Instance) -> None:
    """Whoever watched by a worker that is killed goes on by its cursor at another and misses nothing; the others notice
    nothing; the worker is started again, and that is said. Health is good throughout."""
    create(instance)
    write(instance, 3)
    with program(instance.home) as running, ExitStack() as sockets:
        workers = ready(running)
        viewers = [(sockets.enter_context(opened(running.server)), list[int]()) for _ in range(8)]
        for socket, _ in viewers:
            socket.start(EVENTS, variables={"runId": "run"})
        cursors = [take(socket, got, 3) for socket, got in viewers]
        os.kill(workers[0], signal.SIGKILL)
        until(lambda: running.says("is started again"))
        assert running.says(f"(process {workers[0]}) was ended by SIGKILL; it is started again.")
        write(instance, 4)
        for (_, got), cursor in zip(viewers, cursors, strict=True):
            assert httpx.get(f"{running.url}/healthz", timeout=PATIENCE_S).status_code == 200
            with opened(running.server) as again:
                again.start(EVENTS, variables={"runId": "run", "after": cursor})
                take(again, got, 7)
            assert got == list(range(1, 8))
        until(lambda: len(running.workers()) == 2)
        assert workers[0] not in running.workers()
        assert httpx.get(f"{running.url}/readyz", timeout=PATIENCE_S).status_code == 200
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(PATIENCE_S) == 0


@pytest.mark.parametrize("how", ["SIGTERM", "Ctrl-C"])
def test_all_end(instance: Instance, how: str) -> None:
    """SIGTERM to the first process, and Ctrl-C, which reaches all, end every worker: sockets are closed so that they
    are opened again elsewhere, and the exit code is 0."""
    create(instance)
    with program(instance.home) as running:
        workers = ready(running)
        # A connection that is answered by each would need luck; those that have one are told.
        with opened(running.server) as socket:
            socket.start(EVENTS, variables={"runId": "run"})
            socket.result()
            if how == "SIGTERM":
                running.process.terminate()
            else:
                os.killpg(running.process.pid, signal.SIGINT)
            assert socket.close_code() == 1012
        assert running.process.wait(PATIENCE_S) == 0
        assert all(gone(pid) for pid in workers)
    assert not running.says("Traceback")


def test_nobody_connects_to_what_ends(instance: Instance) -> None:
    """As soon as no worker takes connections any more nobody can connect, although requests under way are still let
    finish: whoever connected would wait for the end, and be reset by it."""
    with program(instance.home) as running:
        ready(running)
        with connection_to(running.url) as last:
            last.settimeout(PATIENCE_S)
            last.sendall(HALF)
            # Answered at once: its worker has begun with the request.
            assert last.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
            running.process.terminate()
            until(lambda: not is_reached(running.url))
            assert running.process.poll() is None
            last.sendall(REST)
            answer = b"".join(iter(lambda: last.recv(65536), b""))
            assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b'{"data":{"__typename":"Query"}}')
        assert running.process.wait(PATIENCE_S) == 0


REST = b'{"query": "{ __typename }"}'
HALF = (
    b"POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"
    b"Content-Length: %d\r\n\r\n" % len(REST)
)


def is_reached(url: str) -> bool:
    try:
        connection_to(url).close()
    except ConnectionRefusedError:
        return False
    return True


def scraped(running: Program) -> list[Metric]:
    """What `/metrics` says."""
    text = httpx.get(f"{running.url}/metrics", timeout=PATIENCE_S).text
    return list(text_string_to_metric_families(text))


def test_metrics_of_all(instance: Instance, tmp_path: Path) -> None:
    """Whichever worker is asked, /metrics tells of all that answer: each metric once, each sample with its worker."""
    with program(instance.home) as running:
        workers = ready(running)
        families = scraped(running)
        names = [family.name for family in families]
        assert len(names) == len(set(names))
        assert {sample.labels["worker"] for family in families for sample in family.samples} == {"1", "2"}
        (viewers,) = (family for family in families if family.name == "daglens_live_viewers")
        assert [sample.value for sample in viewers.samples] == [0, 0]
        os.kill(workers[1], signal.SIGKILL)
        # One that is away is left out, and is back with its number.
        assert scraped(running)
        until(lambda: sum(") answers" in line for line in list(running.said)) == 3)
        assert {sample.labels["worker"] for family in scraped(running) for sample in family.samples} == {"1", "2"}
        assert list(tmp_path.glob("daglens-workers-*"))
        running.process.terminate()
        assert running.process.wait(PATIENCE_S) == 0
        assert not list(tmp_path.glob("daglens-workers-*"))
    assert not running.says("Traceback")


def test_lines_of_workers(instance: Instance) -> None:
    """A worker's lines of the log say which it is; those of the process that sees to them don't."""
    with program(instance.home, "--access-log") as running:
        ready(running)
        assert httpx.get(f"{running.url}/healthz", timeout=PATIENCE_S).status_code == 200
        until(lambda: running.says("GET /healthz"))
        (line,) = (line for line in running.said if "GET /healthz" in line)
        assert re.search(r" requestId=\w+ worker=[12]$", line)
        assert not any("worker=" in line for line in running.said if ") answers" in line)
        running.process.terminate()
        assert running.process.wait(PATIENCE_S) == 0


def test_metrics_are_merged() -> None:
    """Samples with and without labels, and label values with any signs, keep what they say."""
    first = b'# HELP a_total A\n# TYPE a_total counter\na_total 1.0\n# HELP b B\n# TYPE b gauge\nb{x="} {\\"# "} 2.0\n'
    second = b"# HELP a_total A\n# TYPE a_total counter\na_total 3.0\n"
    assert merged({1: first, 2: second}).decode().splitlines() == [
        "# HELP a_total A",
        "# TYPE a_total counter",
        'a_total{worker="1"} 1.0',
        'a_total{worker="2"} 3.0',
        "# HELP b B",
        "# TYPE b gauge",
        'b{worker="1",x="} {\\"# "} 2.0',
    ]


def test_no_orphans(instance: Instance) -> None:
    """When the first process is killed the workers end, and the port is free."""
    with program(instance.home) as running:
        workers = ready(running)
        running.process.kill()
        running.process.wait(PATIENCE_S)
        until(lambda: all(gone(pid) for pid in workers))
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{running.url}/healthz", timeout=PATIENCE_S)


def test_a_start_that_fails(tmp_path: Path) -> None:
    """What is wrong with dagster.yaml is said once, by the exit code and the sentence of a single process."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("run_storage:\n  module: no.such.module\n  class: Nothing\n")
    with program(home, workers=3) as running:
        assert running.process.wait(PATIENCE_S) == 2
    assert sum("no package no is" in line for line in running.said) == 1
    assert not running.says("Traceback")


def test_starts_that_go_on_failing(tmp_path: Path) -> None:
    """A worker that can be started no more is tried a few times; then the server ends, with what the worker said."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("daglens: {}\n")
    with program(home, workers=2, first_pause_s=0.02) as running:
        workers = ready(running)
        until(lambda: httpx.get(f"{running.url}/readyz", timeout=PATIENCE_S).status_code == 200)
        (home / "dagster.yaml").write_text("run_storage:\n  module: no.such.module\n  class: Nothing\n")
        os.kill(workers[0], signal.SIGKILL)
        assert running.process.wait(PATIENCE_S) == 2
        assert all(gone(pid) for pid in workers)
    assert sum("no package no is" in line for line in running.said) == 5
    assert running.says("before it answered, as 4 did before it; the server ends.")
    assert not running.says("Traceback")


NO_PROCESS = """
import errno, os
fork, tries = os.fork, []
def failing():
    tries.append(os.getpid())
    if len(tries) in FAILING:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return fork()
os.fork = failing
"""


def test_no_process_is_left(instance: Instance) -> None:
    """Where the machine has no process left when a worker is to be started, it is tried again; the others answer."""
    with program(instance.home, first_pause_s=0.02, first=NO_PROCESS.replace("FAILING", "(2, 3)")) as running:
        ready(running)
        assert (
            sum("can't be started: Resource temporarily unavailable; it is tried" in line for line in running.said) == 2
        )
        running.process.terminate()
        assert running.process.wait(PATIENCE_S) == 0
    with program(instance.home, first=NO_PROCESS.replace("FAILING", "(1,)")) as running:
        assert running.process.wait(PATIENCE_S) == 1
    assert running.says("Worker 1 can't be started: Resource temporarily unavailable.")
    assert not running.says("Traceback")


@pytest.mark.parametrize("options", [["--ephemeral"], ["--instance-home"]])
def test_what_lives_in_one_process(tmp_path: Path, options: list[str]) -> None:
    """What is in the memory of one process is not served by several: an empty answer from the other would be a lie."""
    if options[0] == "--instance-home":
        (tmp_path / "dagster.yaml").write_text(
            "run_storage:\n  module: daglens.storage.memory\n  class: InMemoryRunStorage\n"
            "event_log_storage:\n  module: daglens.storage.memory\n  class: InMemoryEventLogStorage\n"
        )
        options = [*options, str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "daglens.cli", "serve", "--port", "0", "--workers", "2", *options],
        env=child_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 2
    assert "--workers" in done.stderr
    assert "Traceback" not in done.stderr
