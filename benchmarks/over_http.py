"""Requests per second over HTTP: daglens, the floor (the same rows out of a bare Starlette route), and the peer.

Run as `python benchmarks/over_http.py [--peer PYTHON] [--storage sqlite postgres] [--runs 1000] [--only CASE …]`. The
peer's Python, of an environment with dagster-webserver, may also stand in $DAGLENS_BENCH_PEER. Eight keep-alive
clients in one process of their own; one process per server, as each is started by its own command. The peer is asked
for the same fields of as many runs and events; it runs free and on one core, and the better of the two counts.
"""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import data
import dataset
import http_servers as servers
from machine import Noise
from rates import Comparison, Measure, compare

RUN = "runId pipelineName status tags { key value }"
OUR_RUN = f"{RUN} createdAt startedAt endedAt"
# The peer's Run is named Run and has the same fields under other names for times.
THEIR_RUN = f"{RUN} creationTime startTime endTime"
MESSAGE = "runId message timestamp level stepKey eventType"
METADATA = (
    "metadataEntries {{ __typename label description ... on TextMetadataEntry {{ text }} ... on UrlMetadataEntry "
    "{{ url }} ... on PathMetadataEntry {{ path }} ... on JsonMetadataEntry {{ {json} }} ... on MarkdownMetadataEntry "
    "{{ {markdown} }} ... on FloatMetadataEntry {{ floatValue }} ... on IntMetadataEntry {{ intValue }} "
    "... on BoolMetadataEntry {{ boolValue }} }}"
)
# What a front end's log viewer asks for (graphql/operations/fragments.graphql), as far as both know it.
BY_TYPE = (
    "... on ExecutionStepFailureEvent {{ error {{ className message stack }} }} "
    "... on ExecutionStepUpForRetryEvent {{ secondsToWait error {{ className message stack }} }} "
    "... on MaterializationEvent {{ label description {metadata} }} "
    "... on ExecutionStepOutputEvent {{ outputName typeCheck {{ success label }} }} "
    "... on ExecutionStepInputEvent {{ inputName typeCheck {{ success label }} }} "
    "... on {expectation}"
)
EXPECTATION = "success label description {metadata}"


def _by_type(json: str, markdown: str, expectation: str) -> str:
    metadata = METADATA.format(json=json, markdown=markdown)
    return BY_TYPE.format(metadata=metadata, expectation=expectation.format(EXPECTATION.format(metadata=metadata)))


@dataclass(frozen=True)
class Case:
    """One request, as each server wants it.

    Attributes:
        goal: How many times as many requests a second as the peer there are to be.
        rows: How many rows an answer has, for a check that all answer the same: by (answer, of the peer).
    """

    name: str
    title: str
    goal: float
    ours: str
    theirs: str
    floor: str
    rows: Callable[[Any], int]


def cases(runs: int) -> Sequence[Case]:
    """The cases, on a data set of so many runs."""
    long_run = dataset.run_id(dataset.long_run(runs))
    by_tag = {"statuses": ["FAILURE"], "tags": [{"key": "team", "value": dataset.TEAMS[0]}]}
    page = "query($filter: RunsFilter) {{ runsOrError(filter: $filter, limit: 25) {{ ... on {} }} }}"
    our_page = page.format(f"RunPage {{ nodes {{ {OUR_RUN} }} }}")
    their_page = page.format(f"Runs {{ results {{ {THEIR_RUN} }} }}")
    one = "query($id: ID!) {{ runOrError(runId: $id) {{ ... on Run {{ {} }} }} }}"
    ours = _by_type("jsonValue", "markdown", "ExpectationResultEvent {{ {} }}")
    theirs = _by_type("jsonString", "mdStr", "StepExpectationResultEvent {{ expectationResult {{ {} }} }}")
    our_event = f"__typename {MESSAGE} {ours}"
    their_event = f"__typename ... on MessageEvent {{ {MESSAGE} }} {theirs}"
    our_log = (
        "query($id: ID!, $step: String!) { runOrError(runId: $id) { ... on Run { computeLog(stepKey: $step) { stdout "
        "{ chunkOrError(maxBytes: 1048576) { ... on ComputeLogChunk { data cursor } } } } } } }"
    )
    their_log = "query($key: [String!]!) { capturedLogs(logKey: $key, limit: 1048576) { stdout cursor } }"
    return (
        Case(
            "page", "a page of 25 runs", 12,
            servers.post(our_page, {}), servers.post(their_page, {}), servers.get("/page"), _listed,
        ),
        Case(
            "one", "one run", 15,
            servers.post(one.format(OUR_RUN), {"id": long_run}),
            servers.post(one.format(THEIR_RUN), {"id": long_run}),
            servers.get("/one"), lambda answer: len(_first(answer)),
        ),
        Case(
            "events", "1000 events of a run", 40,
            servers.post(
                f"query($id: ID!) {{ runEventsOrError(runId: $id, limit: 1000) "
                f"{{ ... on EventPage {{ nodes {{ {our_event} }} cursor hasMore }} }} }}", {"id": long_run},
            ),
            servers.post(
                f"query($id: ID!) {{ logsForRun(runId: $id, limit: 1000) "
                f"{{ ... on EventConnection {{ events {{ {their_event} }} cursor hasMore }} }} }}", {"id": long_run},
            ),
            servers.get("/events"), _listed,
        ),
        Case(
            "filtered", "25 runs by status and tag", 12,
            servers.post(our_page, {"filter": by_tag}), servers.post(their_page, {"filter": by_tag}),
            servers.get("/filtered"), _listed,
        ),
        Case(
            "log", "1 MiB of a compute log", 3,
            servers.post(our_log, {"id": long_run, "step": dataset.LOG_STEP}),
            servers.post(their_log, {"key": [long_run, "compute_logs", dataset.LOG_STEP]}),
            servers.get("/log"), _log_length,
        ),
    )  # fmt: skip


def _first(answer: Any) -> Any:
    """What the only root field answers; of the floor, all there is."""
    return next(iter(answer["data"].values())) if isinstance(answer, dict) and "data" in answer else answer


def _listed(answer: Any) -> int:
    found = _first(answer)
    rows = found if isinstance(found, list) else next(iter(found.values()))
    return len(rows)


def _log_length(answer: Any) -> int:
    if isinstance(answer["data"], str):
        return len(answer["data"])
    found = _first(answer)
    text = found["stdout"] if "stdout" in found else found["computeLog"]["stdout"]["chunkOrError"]["data"]
    return len(text)


@contextlib.contextmanager
def started(homes: data.Homes, python: str | None) -> Iterator[Sequence[servers.Address]]:
    """All servers of one data set."""
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(servers.daglens(homes)), stack.enter_context(servers.floor(homes))]
        if python is not None and homes.peer is not None:
            found.append(stack.enter_context(servers.peer(python, homes, pinned=False)))
            if servers.can_pin():
                found.append(stack.enter_context(servers.peer(python, homes, pinned=True)))
        yield found


def measure(
    case: Case, addresses: Sequence[servers.Address], load: servers.Load, *, repeats: int, seconds: float
) -> Comparison:
    """Requests per second of each server, in turns, once all have given the same number of rows."""

    counts = {address.name: case.rows(servers.ask(address, request_of(case, address))) for address in addresses}
    if len({count for name, count in counts.items() if case.name != "one" or name != "floor"}) > 1:
        raise RuntimeError(f"{case.title}: answers of different size, {counts}")
    asked = {address.name: (address, request_of(case, address)) for address in addresses}
    return in_turns(asked, load, repeats=repeats, seconds=seconds)


def in_turns(
    asked: Mapping[str, tuple[servers.Address, str]], load: servers.Load, *, repeats: int, seconds: float
) -> Comparison:
    """Requests per second of several servers, each with its request."""

    def way(address: servers.Address, request: str) -> Measure:
        return lambda seconds: load(address, request, seconds)["per_second"]

    return compare({name: way(*each) for name, each in asked.items()}, repeats=repeats, seconds=seconds)


def request_of(case: Case, address: servers.Address) -> str:
    """The request for one server."""
    if address.name == "daglens":
        return case.ours
    return case.floor if address.name == "floor" else case.theirs


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", metavar="PYTHON", default=os.environ.get("DAGLENS_BENCH_PEER"))
    parser.add_argument("--storage", nargs="+", choices=("sqlite", "postgres"), default=["sqlite", "postgres"])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--only", nargs="+", metavar="CASE", choices=[case.name for case in cases(1)])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    given = parser.parse_args()
    noise = Noise()
    with contextlib.ExitStack() as stack:
        load = stack.enter_context(servers.Load())
        for storage in given.storage:
            if storage == "sqlite":
                homes = data.sqlite_homes(given.runs, given.peer)
            else:
                homes = data.postgres_homes(stack.enter_context(data.postgres()), given.runs, given.peer)
            with started(homes, given.peer) as addresses:
                for case in cases(given.runs):
                    if given.only and case.name not in given.only:
                        continue
                    noise.look()
                    seen = measure(case, addresses, load, repeats=given.repeats, seconds=given.seconds)
                    print(f"{storage}, {given.runs} runs: {case.title}")
                    for name in seen.rates:
                        print(f"  {name:<15} {seen.rate(name).text('{:,.1f}')} requests/s")
                    print(f"  {seen.ratio('floor', 'daglens').text('{:.2f}')} x the floor's time")
                    theirs = [name for name in seen.rates if name.startswith("peer")]
                    if theirs:
                        print(f"  {seen.ratio('daglens', *theirs).text('{:.1f}')} x the peer (goal {case.goal:g})")
    noise.look()
    print(noise.text())


if __name__ == "__main__":
    main()
