"""Recording to a server: the same events and logs as to an instance."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import daglens
from daglens.instance import Instance
from daglens.recorder.remote.spool_folder import SPOOL_VARIABLE, SpoolFolder
from daglens.testing.server import LiveServer, serve_in_thread
from tests.recorder.conftest import Told, only_run


@pytest.fixture(autouse=True)
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SpoolFolder:
    """The spools of this test."""
    monkeypatch.setenv(SPOOL_VARIABLE, str(tmp_path / "spool"))
    return SpoolFolder()


@pytest.fixture
def server(instance: Instance) -> Iterator[LiveServer]:
    """A server of the instance."""
    with serve_in_thread(instance) as serving:
        yield serving


def test_a_whole_run(instance: Instance, server: LiveServer, spool: SpoolFolder, capfd) -> None:
    """Run, events, tags and captured output of a recorder that reaches only the server are there, each once, in
    order; nothing is left in the spool, and nothing is said."""
    with daglens.start_run("nightly", to=server.url, tags={"team": "core"}, run_config={"day": 1}) as run:
        with run.step("extract") as step:
            print("printed")
            os.system("echo from a child")
            step.materialize("orders", {"rows": 5, "ratio": float("nan")})
            for n in range(500):
                step.log.info("message %d", n)
        run.add_tags({"more": "yes"})
    told = only_run(instance)
    stored = instance.run(run.run_id)
    assert stored is not None
    assert (stored.status, stored.pipeline_name, stored.tags) == (
        "SUCCESS",
        "nightly",
        (("more", "yes"), ("team", "core")),
    )
    assert told.types[:3] == ["RUN_START", "STEP_START", "STEP_MATERIALIZATION"]
    assert [e.message for e in told.all("LOG_MESSAGE")] == [f"message {n}" for n in range(500)]
    assert [e.seq for e in told.events] == list(range(1, len(told.events) + 1))
    assert told.log("extract") == "printed\nfrom a child\n"
    assert told.complete() == {("extract", 1, "stdout"): True, ("extract", 1, "stderr"): True}
    assert list(spool.spools()) == []
    assert "daglens:" not in capfd.readouterr().err


def test_the_same_as_to_an_instance(instance: Instance, server: LiveServer) -> None:
    """What a pipeline records over a server differs from what it records to an instance in ids and times alone."""

    def pipeline(run: daglens.Run) -> Told:
        with run:
            with run.step("a") as step:
                step.expect("holds", False, description="why")
                step.output("frame", {"rows": 3, "page": "https://example.org", "table": daglens.Markdown("| a |")})
            run.call_step("b", int, "7")
            with pytest.raises(ZeroDivisionError), run.step("c"):
                1 / 0  # noqa: B018
            run.skip_step("d", "not today")
        return Told(instance, run.run_id)

    here = pipeline(daglens.start_run("p", instance=instance))
    there = pipeline(daglens.start_run("p", to=server.url))
    assert [(e.event_type, e.step_key, e.level) for e in here.events] == [
        (e.event_type, e.step_key, e.level) for e in there.events
    ]
    for event_type in ("STEP_EXPECTATION_RESULT", "STEP_OUTPUT", "STEP_FAILURE"):
        assert here.data(event_type) == there.data(event_type)
