"""What `/metrics` counts and times. Names and labels stand in docs/metrics.md, which a test compares with these.

Each server has a registry of its own: nothing here is shared by two of one process.
"""

from __future__ import annotations

import re
from typing import Final, Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from daglens import __version__

M = TypeVar("M", Counter, Gauge, Histogram)

SECTIONS: Final = ("run_storage", "event_log_storage", "compute_logs", "local_artifact_storage")
CALL_OUTCOMES: Final = ("ok", "refused", "unavailable", "failed", "canceled")
ALARMING_CODES: Final = (
    "INTERNAL",
    "OPERATION_TIMEOUT",
    "SERVER_FULL",
    "STORAGE_CONTRACT_BROKEN",
    "STORAGE_UNAVAILABLE",
    "TOO_MANY_CONNECTIONS",
)

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

# When each counter began: as many lines again, which Prometheus ignores. The library's own switch is for the process.
_CREATED = re.compile(rb"^(?:# \w+ )?\w+_created[ {].*\n", re.MULTILINE)


class Children(Generic[M]):
    """A metric's children, by the values of their labels; for who counts per request.

    The library looks one up under a lock, after it has made texts of the values: 1.0 µs, here 0.1. As many are kept
    as the metric itself keeps.
    """

    __slots__ = ("_children", "_metric")

    def __init__(self, metric: M) -> None:
        self._metric: M = metric
        self._children: dict[tuple[str, ...], M] = {}

    def __getitem__(self, values: tuple[str, ...]) -> M:
        child = self._children.get(values)
        if child is None:
            child = self._children[values] = self._metric.labels(*values)
        return child


class Metrics:
    """The counters and histograms of one server.

    What somebody is woken by stands there with 0 from the beginning: of a counter that appears with its first failure
    `rate` and `increase` see none.
    """

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self.requests = Counter(
            "daglens_requests",
            "Requests answered and sockets ended; of a socket, status is the code it was closed with, or HTTP's by "
            "which it was refused",
            ("transport", "route", "method", "status"),
            registry=registry,
        )
        self.request_seconds = Histogram(
            "daglens_request_seconds",
            "From a request's arrival to the last byte of its answer; long polls included, streams and sockets not",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.in_progress = Gauge(
            "daglens_requests_in_progress",
            "Requests that are being answered, and sockets that are open",
            ("transport",),
            registry=registry,
        )
        self.operations = Counter(
            "daglens_operations",
            "Operations executed; a subscription that viewers share is one",
            ("operation", "type", "outcome"),
            registry=registry,
        )
        self.operation_seconds = Histogram(
            "daglens_operation_seconds",
            "From the document to the result of queries and mutations; long polls included",
            ("operation", "type"),
            buckets=_SECONDS,
            registry=registry,
        )
        self.subscriptions = Gauge(
            "daglens_subscriptions_in_progress",
            "Subscriptions that are being executed; those that viewers share are one",
            registry=registry,
        )
        self.errors = Counter(
            "daglens_errors",
            "Entries of errors[], and refusals of requests, by code",
            ("code",),
            registry=registry,
        )
        self.storage_calls = Counter(
            "daglens_storage_calls", "Calls of a storage, by how they ended", ("storage", "outcome"), registry=registry
        )
        self.storage_seconds = Histogram(
            "daglens_storage_call_seconds",
            "How long a call of a storage took, without the wait for a thread; calls that nobody waits for any longer "
            "are left out",
            ("storage",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.storage_wait_seconds = Histogram(
            "daglens_storage_wait_seconds",
            "How long a call waited for one of the storage's threads",
            ("storage",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.live_lag_seconds = Histogram(
            "daglens_live_lag_seconds",
            "From an event's own time to its being read for its viewers; clocks of writers and server are compared",
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
            registry=registry,
        )
        self.live_events = Counter(
            "daglens_live_events_read", "Events read for viewers; each once, however many viewers", registry=registry
        )
        self.upkeep_rounds = Counter(
            "daglens_upkeep_rounds", "Rounds of upkeep, by how they ended", ("outcome",), registry=registry
        )
        self.runs_reprojected = Counter(
            "daglens_runs_reprojected", "Runs whose row was behind their event log, and was healed", registry=registry
        )
        self.runs_presumed_dead = Counter(
            "daglens_runs_presumed_dead",
            "Runs ended by this server since their recorder fell silent",
            registry=registry,
        )
        self.retention_rounds = Counter(
            "daglens_retention_rounds", "Rounds of retention, by how they ended", ("outcome",), registry=registry
        )
        self.retention_deleted_runs = Counter(
            "daglens_retention_deleted_runs", "Runs that this server's retention deleted", registry=registry
        )
        self.retention_freed_bytes = Counter(
            "daglens_retention_freed_bytes",
            "Bytes of compute logs and artifacts that this server's retention deleted",
            registry=registry,
        )
        for section in SECTIONS:
            for outcome in CALL_OUTCOMES:
                self.storage_calls.labels(section, outcome)
        for code in ALARMING_CODES:
            self.errors.labels(code)
        for outcome in ("ok", "failed"):
            self.upkeep_rounds.labels(outcome)
        self.retention_rounds.labels("failed")
        info = Gauge("daglens_info", "Always 1; the label has the version", ("version",), registry=registry)
        info.labels(__version__).set(1)

    def text(self) -> bytes:
        """All of it, in Prometheus's text format. May be called in any thread."""
        return _CREATED.sub(b"", generate_latest(self.registry))
