"""Every mutation of the schema, sent by every role."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from strawberry.types import get_object_definition

from daglens.access import Role
from daglens.instance import Instance
from daglens.schema.build import build_schema
from daglens.schema.mutation import Mutation
from daglens.schema.mutation_rules import rule_of
from daglens.storage.records import EventDraft, NewRun, RunFilter
from daglens.testing.server import LiveServer
from tests.access.conftest import OTHER, bearer, client_of
from tests.api import mutations as m
from tests.server.conftest import LEGACY, TRANSPORT, Serve, opened

RUN = "own"
EVENTS = [{"eventType": "LOG_MESSAGE"}]
LOG = {"runId": RUN, "stepKey": "s", "ioType": "STDOUT", "offset": "0", "data": "x"}
CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "createRun": (m.CREATE, {"input": {"pipelineName": "p"}}),
    "reportEvents": (m.REPORT, {"runId": RUN, "events": EVENTS}),
    "heartbeat": (m.HEARTBEAT, {"runId": RUN}),
    "appendComputeLog": (m.APPEND, {"input": LOG}),
    "addRunTags": (m.TAG, {"runId": RUN, "tags": [{"key": "a", "value": "b"}]}),
    "terminateRun": (m.TERMINATE, {"runId": RUN}),
    "deleteRuns": (m.DELETE, {"filter": {"runIds": [RUN]}, "dryRun": True}),
}
EVERY = {"recorder", OTHER, "admin"}
ALLOWED = {name: {"recorder", "admin"} for name in CALLS} | {"createRun": EVERY, "deleteRuns": {"admin"}}
"""By mutation, who may; the run is `recorder`'s."""


def post(http: httpx.Client, document: str, variables: Mapping[str, Any]) -> Any:
    """The answer's JSON; its status is 200."""
    answer = http.post("/graphql", json={"query": document, "variables": variables})
    assert answer.status_code == 200
    return answer.json()


def met(answer: Any) -> str:
    """`done`, the code of a typed error, or that of `errors[]`."""
    if answer.get("errors"):
        assert answer["data"] is None
        return str(answer["errors"][0]["extensions"]["code"])
    return str(answer["data"]["it"].get("code", "done"))


@pytest.fixture
def run(guarded: LiveServer, tokens: Mapping[str, str]) -> str:
    """A run that `recorder` has created."""
    with client_of(guarded, tokens["recorder"]) as http:
        created = post(http, m.CREATE, {"input": {"pipelineName": "p", "runId": RUN}})["data"]["it"]
    assert created["run"]["createdBy"] == "recorder"
    return RUN


def test_every_mutation_is_here() -> None:
    """The table has all that the schema has, and each has one rule."""
    fields = get_object_definition(Mutation, strict=True).fields
    assert {rule_of(field).role for field in fields} <= set(Role)
    schema = build_schema().as_str()
    listed = schema[schema.index("type Mutation {") :]
    assert all(f" {name}(" in listed for name in CALLS)
    assert len(fields) == len(CALLS)


def test_every_mutation_and_every_role(guarded: LiveServer, tokens: Mapping[str, str], run: str) -> None:
    """Who may is answered, everybody else is FORBIDDEN in `errors[]`, and nothing is done; the table is printed."""
    askers = ("viewer", OTHER, "recorder", "admin")
    print(f"\n{'':18}" + "".join(f"{asker:>12}" for asker in askers))
    for name, (document, variables) in CALLS.items():
        row = []
        for asker in askers:
            with client_of(guarded, tokens[asker]) as http:
                row.append(met(post(http, document, variables)))
            assert row[-1] == ("done" if asker in ALLOWED[name] else "FORBIDDEN"), (name, asker)
        print(f"{name:18}" + "".join(f"{seen:>12}" for seen in row))


@pytest.mark.parametrize("protocol", [TRANSPORT, LEGACY])
def test_over_sockets(guarded: LiveServer, tokens: Mapping[str, str], run: str, protocol: str) -> None:
    """The same over both socket protocols: a viewer changes nothing."""
    for asker, expected in (("viewer", "FORBIDDEN"), ("recorder", "done")):
        with opened(guarded, protocol, init=False) as socket:
            socket.init(payload={"authorization": f"Bearer {tokens[asker]}"})
            socket.start(m.REPORT, variables={"runId": run, "events": EVENTS})
            assert met(socket.result()) == expected


def test_over_event_streams(guarded: LiveServer, tokens: Mapping[str, str], run: str) -> None:
    """The same over server-sent events."""
    body = {"query": m.REPORT, "variables": {"runId": run, "events": EVENTS}}
    for asker, words in (("viewer", "FORBIDDEN"), (OTHER, "FORBIDDEN"), ("recorder", "ReportEventsSuccess")):
        with client_of(guarded, tokens[asker]) as http:
            answer = http.post("/graphql", json=body, headers={"accept": "text/event-stream"})
            assert (answer.status_code, words in answer.text) == (200, True)


def test_a_refused_mutation_changes_nothing(guarded: LiveServer, tokens: Mapping[str, str], instance: Instance) -> None:
    """What was refused has left no trace in the storages; runs that nobody by name created are an admin's."""
    instance.create_run(NewRun(RUN, "local"))
    instance.append(RUN, [EventDraft("RUN_START")])
    for asker in ("viewer", "recorder"):
        with client_of(guarded, tokens[asker]) as http:
            for name, (document, variables) in CALLS.items():
                allowed = (name, asker) == ("createRun", "recorder")
                assert met(post(http, document, variables)) == ("done" if allowed else "FORBIDDEN")
    found = instance.run(RUN)
    assert found is not None
    assert (found.tags, found.heartbeat_at_us, instance.events.heads([RUN])[RUN].last_seq) == ((), None, 1)
    assert len(instance.runs.page(RunFilter()).runs) == 1 + 1  # the recorder's own


def test_ownership_is_not_to_be_had(guarded: LiveServer, tokens: Mapping[str, str], run: str) -> None:
    """Neither sending the same createRun again, nor tags, nor a name in the input makes another's run one's own."""
    same = {"input": {"pipelineName": "p", "runId": run}}
    with client_of(guarded, tokens[OTHER]) as http:
        again = post(http, m.CREATE, same)["data"]["it"]
        assert (again["created"], again["run"]["createdBy"]) == (False, "recorder")
        assert met(post(http, *CALLS["reportEvents"])) == "FORBIDDEN"
        for key in ("createdBy", "created_by", "daglens/created_by"):
            mine = {"input": {"pipelineName": "p", "tags": [{"key": key, "value": "recorder"}]}}
            assert post(http, m.CREATE, mine)["data"]["it"]["run"]["createdBy"] == OTHER
            faked = http.post("/graphql", json={"query": m.CREATE, "variables": {"input": {**same["input"], key: "o"}}})
            assert faked.json()["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
    with client_of(guarded, tokens["recorder"]) as http:
        tags = [{"key": "daglens/created_by", "value": OTHER}]
        assert post(http, m.TAG, {"runId": run, "tags": tags})["data"]["it"]["run"]["createdBy"] == "recorder"
    with client_of(guarded, tokens[OTHER]) as http:
        assert met(post(http, *CALLS["reportEvents"])) == "FORBIDDEN"


def test_a_run_that_is_not_there(guarded: LiveServer, tokens: Mapping[str, str]) -> None:
    """A recorder that writes to no run is told so, by the typed error."""
    with client_of(guarded, tokens["recorder"]) as http:
        for name in ("reportEvents", "heartbeat", "appendComputeLog", "addRunTags", "terminateRun"):
            assert met(post(http, *CALLS[name])) == "RUN_NOT_FOUND", name


def test_one_refusal_keeps_what_came_before(guarded: LiveServer, tokens: Mapping[str, str], run: str) -> None:
    """In a document with several mutations each is asked for by itself."""
    document = f"""mutation {{
      mine: addRunTags(runId: "{run}", tags: []) {{ __typename }}
      gone: deleteRuns(filter: {{ runIds: ["{run}"] }}) {{ __typename }}
    }}"""
    with client_of(guarded, tokens["recorder"]) as http:
        assert post(http, document, {})["errors"][0]["path"] == ["gone"]


def test_a_mutation_without_a_rule_is_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """The schema isn't made with a mutation for which nobody said who may call it."""
    field = next(f for f in get_object_definition(Mutation, strict=True).fields if f.python_name == "heartbeat")
    monkeypatch.setattr(field, "extensions", [])
    with pytest.raises(LookupError, match="heartbeat"):
        build_schema()


def test_read_only(serve: Serve, tokens: Mapping[str, str], tokens_file: Any) -> None:
    """A read-only server has no mutations in its schema, for admins neither, and says so."""
    server = serve(tokens=tokens_file, read_only=True)
    assert "type Mutation" not in httpx.get(f"{server.url}/schema.graphql", headers=bearer(tokens["viewer"])).text
    for document, variables in CALLS.values():
        answer = httpx.post(
            f"{server.url}/graphql",
            json={"query": document, "variables": variables},
            headers=bearer(tokens["admin"]),
        )
        assert "This server is read-only" in answer.text, answer.text
