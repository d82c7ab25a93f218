"""With exactly the rights that docs/postgres.md names: everything that servers, recorders and retention do."""

from __future__ import annotations

import os

import httpx

import daglens
from daglens.instance import Instance
from daglens.storage.records import EventDraft, NewRun, RunFilter
from tests.acceptance.conftest import TeamHome
from tests.acceptance.followers import TRANSPORTS, Follower
from tests.acceptance.programs import Serve, command, until

DAY_US = 86_400_000_000

RUNS = "{ runsOrError(order: OLDEST_FIRST) { ... on RunPage { nodes { runId status tags { key } } } } runTagKeys }"
MUTATIONS = {
    'createRun(input: { runId: "sent", pipelineName: "p" })': "CreateRunSuccess",
    'reportEvents(runId: "sent", events: [{ eventType: "RUN_START" }])': "ReportEventsSuccess",
    'heartbeat(runId: "sent")': "HeartbeatSuccess",
    'addRunTags(runId: "sent", tags: [{ key: "a", value: "1" }])': "AddRunTagsSuccess",
    'terminateRun(runId: "sent")': "TerminateRunSuccess",
    'reportEvents(runId: "sent", events: [{ eventType: "RUN_CANCELED" }])': "ReportEventsSuccess",
    'deleteRuns(filter: { runIds: ["sent"] })': "DeleteRunsSuccess",
}


def test_everything_that_a_team_does(team_home: TeamHome, serve: Serve) -> None:
    """Record a run, follow it by every transport, read it; all mutations; delete by the command, and by the retention
    of a server."""
    server = serve(team_home.write(daglens="{retention: {older_than_days: 30}}"))
    with Instance.open(home=team_home.path) as instance:
        with daglens.start_run("nightly", run_id="run", tags={"team": "core"}, instance=instance) as run:
            followers = [Follower(walk, [server.url], "run") for walk in TRANSPORTS.values()]
            with run.step("extract") as step:
                os.write(1, b"hello\n")
                step.materialize("orders", metadata={"rows": 1})
        for follower in followers:
            assert follower.whole()[-1]["eventType"] == "RUN_SUCCESS"
        for mutation, done in MUTATIONS.items():
            (answer,) = server.ask(f"mutation {{ {mutation} {{ __typename ... on Error {{ message }} }} }}").values()
            assert answer == {"__typename": done}
        found = server.ask(RUNS)
        assert found["runsOrError"]["nodes"] == [{"runId": "run", "status": "SUCCESS", "tags": [{"key": "team"}]}]
        assert found["runTagKeys"] == ["team"]
        assert httpx.get(f"{server.url}/readyz", timeout=60).status_code == 200

        command(team_home.path, "instance", "migrate", "--check")
        command(team_home.path, "record", "--pipeline", "p", "--run-id", "gone", "--step", "s", "--", "true")
        command(team_home.path, "runs", "delete", "--yes", "gone")

        # A server looks for what has been kept for long enough when it starts.
        at = instance.runs.now_us() - 31 * DAY_US
        instance.create_run(NewRun("old", "p", created_at_us=at))
        instance.append("old", [EventDraft(kind, timestamp_us=at) for kind in ("RUN_START", "RUN_SUCCESS")])
        server.stop()
        serve(team_home.path)
        until(lambda: [run.run_id for run in instance.runs.page(RunFilter()).runs] == ["run"], "the old run is deleted")
