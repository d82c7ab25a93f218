"""The dagster.yaml that a team has already, word for word but for the address: it records, queries and watches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import daglens
from daglens.instance import Instance
from tests.acceptance.followers import TRANSPORTS, Follower
from tests.acceptance.programs import Serve, command
from tests.server.conftest import TRANSPORT
from tests.storages.postgres_server import PostgresServer, Proxy

PASSWORD = "plänted/s3cret@x"

SEED = """\
run_storage:
  module: dagster_postgres.run_storage
  class: PostgresRunStorage
  config:
    postgres_url: "{url}"

event_log_storage:
  module: dagster_postgres.event_log
  class: PostgresEventLogStorage
  config:
    postgres_url: "{url}"
"""
BY_URL = """\
storage:
  postgres:
    postgres_url: "{url}"
"""
BY_PARTS = """\
storage:
  postgres:
    postgres_db:
      username: postgres
      password:
        env: TEAM_PASSWORD
      hostname: 127.0.0.1
      db_name: {database}
      port: {port}
      params: {{application_name: team}}
"""

RUNS = """{ runsOrError(filter: { statuses: [SUCCESS] }) { ... on RunPage { nodes { runId pipelineName status
  tags { key value } stats { stepsSucceeded } } } } }"""
LOG = """{ runOrError(runId: "r1") { ... on Run { computeLog(stepKey: "extract") { stdout { tailOrError {
  ... on ComputeLogChunk { data } } } } } } }"""
STORAGE = "{ module className config healthy }"
INSTANCE = f"{{ instance {{ info runStorage {STORAGE} eventLogStorage {STORAGE} }} }}"


@pytest.fixture
def proxy(postgres: PostgresServer) -> Iterator[Proxy]:
    with postgres.proxy() as opened:
        yield opened


@pytest.fixture(params=["the seed's", "storage: postgres_url", "storage: postgres_db"])
def home(
    request: pytest.FixtureRequest, database: str, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """An instance's folder with one such file; the database behind it is empty."""
    name = database.partition("@/")[2].partition("?")[0]
    url = f"postgresql://postgres:pl%C3%A4nted%2Fs3cret%40x@127.0.0.1:{proxy.port}/{name}"
    monkeypatch.setenv("TEAM_PASSWORD", PASSWORD)
    text = {"the seed's": SEED, "storage: postgres_url": BY_URL}.get(request.param, BY_PARTS)
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text(text.format(url=url, database=name, port=proxy.port))
    return home


def test_records_queries_and_watches(home: Path, serve: Serve, postgres: PostgresServer, database: str) -> None:
    """On an empty database: a run that is recorded from Python and one by the command are in the list and in their
    event logs over HTTP; a subscriber saw each event as it came; the tables are PostgreSQL's; the password shows
    nowhere."""
    server = serve(home)
    with Instance.open(home=home) as instance:
        with daglens.start_run("nightly", run_id="r1", tags={"team": "core"}, instance=instance) as run:
            follower = Follower(TRANSPORTS[TRANSPORT], [server.url], "r1")
            with run.step("extract") as step:
                print("42 rows")
                step.materialize("orders", metadata={"rows": 42})
            follower.wait_for(4)
        live = follower.whole()
    walked = Follower(TRANSPORTS["pages"], [server.url], "r1").whole()
    assert live == walked
    assert [event["seq"] for event in live] == list(range(1, len(live) + 1))
    assert [e["eventType"] for e in live if e["eventType"] != "LOGS_CAPTURED"] == [
        "RUN_START", "STEP_START", "STEP_MATERIALIZATION", "STEP_SUCCESS", "RUN_SUCCESS"
    ]  # fmt: skip

    said = command(home, "record", "--pipeline", "weekly", "--step", "load", "--run-id", "r2", "--", "echo", "hi")
    assert said == "hi\n"
    nodes = server.ask(RUNS)["runsOrError"]["nodes"]
    assert [(run["runId"], run["pipelineName"], run["stats"]["stepsSucceeded"]) for run in nodes] == [
        ("r2", "weekly", 1),
        ("r1", "nightly", 1),
    ]
    assert nodes[1]["tags"] == [{"key": "team", "value": "core"}]
    assert server.ask(LOG)["runOrError"]["computeLog"]["stdout"]["tailOrError"]["data"] == "42 rows\n"

    told = server.ask(INSTANCE)["instance"]
    for section, name in (("runStorage", "PostgresRunStorage"), ("eventLogStorage", "PostgresEventLogStorage")):
        assert (told[section]["className"], told[section]["healthy"]) == (name, True)
    assert rows(database)("SELECT run_id FROM daglens.runs ORDER BY run_id") == [("r1",), ("r2",)]
    assert rows(database)("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
    server.stop()
    assert "Traceback" not in server.log
    everything = str(told) + server.log + command(home, "instance", "info")
    assert "s3cret" not in everything and PASSWORD not in everything


def rows(database: str) -> Callable[[str], list[tuple[object, ...]]]:
    import psycopg2

    def ask(statement: str) -> list[tuple[object, ...]]:
        connection = psycopg2.connect(database)
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                found: list[tuple[object, ...]] = cursor.fetchall()
                return found
        finally:
            connection.close()

    return ask
