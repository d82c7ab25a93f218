"""While the storages are away, whatever is asked: a refusal that says so, and no secret in it, nor in the log."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
from starlette.routing import WebSocketRoute

from daglens.config.problems import ConfigError
from daglens.instance import Instance
from tests.access.test_mutations import CALLS
from tests.access.test_routes import address_of, method_of, routes_of
from tests.fuzz.served import SECRETS, check_log, dagster_yaml, fuzzed
from tests.server.conftest import opened
from tests.storages.object_stores import make_bucket, moto
from tests.storages.postgres_server import PostgresServer

READS = [
    "{ instance { info runStorage { config healthy problem } computeLogs { config healthy problem } } }",
    "{ runsOrError { __typename ... on Error { code message } } }",
    '{ runOrError(runId: "RUN") { ... on Run { computeLog(stepKey: "extract") { stdout { tailOrError { '
    "... on Error { code message } } } } artifacts { nodes { path } } } } }",
]
WATCH = (
    'subscription { computeLog(runId: "RUN", stepKey: "extract", ioType: STDOUT) { ... on Error { code message } } }'
)


def test_nothing_leaks(postgres: PostgresServer, tmp_path: Path) -> None:
    """PostgreSQL and the bucket go away under a server with secrets in every address: every route, every mutation and
    a socket are answered without one, and the log says what is wrong without one, too."""
    postgres.execute("CREATE DATABASE outage")
    with ExitStack() as running:
        proxy, bucket = running.enter_context(postgres.proxy()), running.enter_context(moto())
        make_bucket(bucket, "logs")
        database = f"postgresql://postgres:{SECRETS['database']}@127.0.0.1:{proxy.port}/outage"
        dagster_yaml(tmp_path, database=f"{database}?sslpassword={SECRETS['database_parameter']}", bucket=bucket.url)
        with Instance.open(home=tmp_path) as instance, fuzzed(instance, tmp_path) as served:
            run_id = served.run_id
            running.close()
            for document in READS:
                result = served.post({"query": document.replace("RUN", run_id)}, out_of_order=True).json()
                assert result["data"] is None or "errors" in result or "instance" in result["data"]
            for document, variables in CALLS.values():
                served.post({"query": document, "variables": variables}, out_of_order=True)
            for key, route in routes_of(served.server.app):
                if not isinstance(route, WebSocketRoute):
                    answer = served.http.request(method_of(route), address_of(key), headers=served.bearer())
                    served.check(answer.status_code, answer.text, str(answer.headers), out_of_order=True)
            with opened(served.server, init=False) as socket:
                socket.init(payload={"Authorization": served.bearer()["authorization"]})
                socket.start(WATCH.replace("RUN", run_id))
                served.told.append(str(socket.receive()))
            log = served.log.getvalue()
            assert "STORAGE_UNAVAILABLE" in log
            check_log(log)
            for secret in (*SECRETS.values(), *served.tokens.values()):
                assert all(secret not in seen for seen in (*served.told, log)), secret
    (tmp_path / "dagster.yaml").write_text((tmp_path / "dagster.yaml").read_text().replace("bucket", "buckett"))
    with pytest.raises(ConfigError) as wrong:
        Instance.open(home=tmp_path)
    assert all(secret not in str(wrong.value) + repr(wrong.value) for secret in SECRETS.values())
