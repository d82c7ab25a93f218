"""A dagster.yaml written for Dagster's Postgres, verbatim but for the address, and a pipeline that records into it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import daglens
from daglens.instance import Instance
from daglens.storage.records import EventQuery, RunStatus
from tests.storages.postgres_server import PostgresServer, drop

DAGSTER_YAML = """\
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


@pytest.fixture
def home(postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """DAGSTER_HOME with that file, and an empty database beside somebody else's tables."""
    with postgres.proxy() as proxy:
        (tmp_path / "dagster.yaml").write_text(DAGSTER_YAML.format(url=proxy.url), encoding="utf-8")
        monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
        postgres.execute("CREATE TABLE public.runs (id int); CREATE TABLE public.event_logs (id int)")
        yield tmp_path
        postgres.execute("DROP TABLE public.runs; DROP TABLE public.event_logs")
        drop(postgres, ["daglens"])


def test_record_and_read(home: Path, postgres: PostgresServer) -> None:
    """A pipeline records; another opening of the instance reads it whole, and is told of what comes."""
    with daglens.start_run("nightly", tags={"team": "core"}) as run:
        with run.step("extract") as step:
            step.materialize("orders", metadata={"rows": 5})
        run_id = run.run_id
    with Instance.open() as instance:
        record = instance.run(run_id)
        assert record is not None
        assert (record.status, record.pipeline_name, record.tags) == (
            RunStatus.SUCCESS,
            "nightly",
            (("team", "core"),),
        )
        (page,) = instance.events.read([EventQuery(run_id)])
        kinds = [event.event_type for event in page.events]
        assert kinds[0] == "RUN_START"
        assert kinds[-1] == "RUN_SUCCESS"
        assert "STEP_MATERIALIZATION" in kinds
        assert [event.seq for event in page.events] == list(range(1, len(kinds) + 1))
        assert "planted" not in instance.info_yaml()
        assert all(storage.health().healthy for storage in instance.storages.values())
    # The tables of the other program are as they were.
    assert postgres.execute("SELECT (SELECT count(*) FROM public.runs) + (SELECT count(*) FROM public.event_logs)") == [
        (0,)
    ]
