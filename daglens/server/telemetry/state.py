"""What `/metrics` reads when it is asked: the state of feeds, threads and pools, and what others count anyway."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from daglens.schema.compiled.counters import counters
from daglens.storage.connections import HasConnections, HasStatements

if TYPE_CHECKING:
    from daglens.server.served import Served

T = TypeVar("T")

TRANSPORTS: Final = ("http", "sse", "websocket")


@dataclass(slots=True)
class Traffic:
    """Of one transport, up to now."""

    sent_messages: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0


class ServerState:
    """A collector; it is read on the server's event loop, as everything it looks at lives there."""

    def __init__(self, traffic: dict[str, Traffic]) -> None:
        self._traffic = traffic
        self.served: Served | None = None
        """Whose state it is; there is only traffic before it is set."""

    def describe(self) -> Iterable[Metric]:
        """See prometheus_client."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        yield from self._sent()
        yield from _lists()
        if self.served is not None:
            yield _held(self.served)
            yield from _live(self.served)
            yield from _threads(self.served)
            yield from _databases(self.served)

    def _sent(self) -> Iterator[Metric]:
        messages = CounterMetricFamily(
            "daglens_sent_messages", "Messages sent over sockets, and pieces of HTTP answers", labels=("transport",)
        )
        sent = CounterMetricFamily("daglens_sent_bytes", "Bytes of bodies and messages sent", labels=("transport",))
        received = CounterMetricFamily(
            "daglens_received_bytes", "Bytes of bodies and messages received", labels=("transport",)
        )
        for transport, traffic in self._traffic.items():
            messages.add_metric((transport,), traffic.sent_messages)
            sent.add_metric((transport,), traffic.sent_bytes)
            received.add_metric((transport,), traffic.received_bytes)
        return iter((messages, sent, received))


def _lists() -> Iterator[Metric]:
    counted = counters()
    lists = CounterMetricFamily(
        "daglens_lists",
        "Lists of events and runs in answers of this process, by the way they were written",
        labels=("way",),
    )
    lists.add_metric(("fast",), counted.fast)
    lists.add_metric(("fallen_back",), counted.fallen_back)
    lists.add_metric(("ineligible",), counted.ineligible)
    plans = CounterMetricFamily(
        "daglens_list_plans", "Plans made for lists; growing with the requests, documents aren't repeated"
    )
    plans.add_metric((), counted.plans)
    return iter((lists, plans))


def _held(served: Served) -> Metric:
    held = GaugeMetricFamily(
        "daglens_held_bytes", "Bytes of bodies and messages that come in, and of operations that have not ended"
    )
    held.add_metric((), served.clients.total_bytes)
    return held


def _live(served: Served) -> Iterator[Metric]:
    hub = served.hub_if_any
    viewers = GaugeMetricFamily("daglens_live_viewers", "Feeds that are being read, waits of long polls included")
    viewers.add_metric((), hub.viewers if hub is not None else 0)
    watched = GaugeMetricFamily(
        "daglens_live_watched", "What is watched, however many viewers it has", labels=("what",)
    )
    for what, count in (hub.watched if hub is not None else {"runs": 0, "logs": 0, "run_lists": 0}).items():
        watched.add_metric((what,), count)
    behind = GaugeMetricFamily(
        "daglens_live_behind_events", "Events that the viewer furthest behind has yet to be sent, of those read"
    )
    behind.add_metric((), hub.most_behind if hub is not None else 0)
    mode = GaugeMetricFamily(
        "daglens_live_mode", "1 at the way in which this server hears of new events", labels=("mode",)
    )
    mode.add_metric((_mode(served),), 1)
    return iter((viewers, watched, behind, mode))


def _mode(served: Served) -> str:
    try:
        return str(getattr(served.instance.events, "live_mode", "POLL"))
    except Exception:
        # A plug-in's; what else there is to tell is told.
        return "unknown"


def _threads(served: Served) -> Iterator[Metric]:
    busy = GaugeMetricFamily("daglens_storage_threads_busy", "Threads that call a storage now", labels=("storage",))
    most = GaugeMetricFamily(
        "daglens_storage_threads_limit", "Threads that may call a storage at once", labels=("storage",)
    )
    waiting = GaugeMetricFamily(
        "daglens_storage_calls_waiting", "Calls that wait for one of a storage's threads", labels=("storage",)
    )
    for section, of_storage in served.calls.threads.items():
        busy.add_metric((section,), of_storage.busy)
        most.add_metric((section,), of_storage.most)
        waiting.add_metric((section,), of_storage.waiting)
    return iter((busy, most, waiting))


def _databases(served: Served) -> Iterator[Metric]:
    storages = served.instance.storages.values()
    connections = GaugeMetricFamily(
        "daglens_pool_connections", "Connections to a database server that are there", labels=("pool", "state")
    )
    limit = GaugeMetricFamily(
        "daglens_pool_connections_limit", "Connections to a database server that there may be", labels=("pool",)
    )
    pools = (_told(storage.connections) for storage in storages if isinstance(storage, HasConnections))
    for pool in {pool.pool: pool for pool in pools if pool is not None}.values():
        connections.add_metric((pool.pool, "in_use"), pool.in_use)
        connections.add_metric((pool.pool, "idle"), pool.idle)
        limit.add_metric((pool.pool,), pool.most)
    count = CounterMetricFamily(
        "daglens_statements",
        "Messages sent to a database server, each of which may hold several statements; of SQLite, statements",
        labels=("database",),
    )
    seconds = CounterMetricFamily(
        "daglens_statement_seconds",
        "How long they took, with the reading of their rows, and on SQLite with what is made of them",
        labels=("database",),
    )
    counted = (_told(storage.statements) for storage in storages if isinstance(storage, HasStatements))
    for found in {found.database: found for found in counted if found is not None}.values():
        count.add_metric((found.database,), found.count)
        seconds.add_metric((found.database,), found.seconds)
    return iter((connections, limit, count, seconds))


def _told(tell: Callable[[], T]) -> T | None:
    try:
        return tell()
    except Exception:
        # A plug-in's; what else there is to tell is told.
        return None
