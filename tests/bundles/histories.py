"""Runs as they come in the field, and as nobody would think of: drawn by hypothesis, and one with everything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from daglens.instance import Instance
from daglens.storage import event_types as et
from daglens.storage.records import ComputeIO, EventDraft, LogKey, LogLevel, NewRun, RunStatus

# A lone surrogate is no text that a file could hold; storages replace it where it isn't refused.
TEXTS = st.text(st.characters(exclude_categories=[]), max_size=12)
NAMES = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12),
    st.sampled_from(["../../etc/passwd", "..", "/", "a/b", "C:\\x", "\u2028", "\x1b[31m", "x" * 255, "é", "e\u0301"]),
)
TIMES = st.one_of(st.integers(0, 4_102_444_800_000_000), st.sampled_from([-1, 2**53 + 1, -(2**62), 2**63 - 1]))
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**63, 2**64 + 1, -(10**40), 10**400]),
    st.floats(),
    TEXTS,
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3))
KINDS = st.one_of(st.sampled_from(sorted(et.KNOWN_EVENT_TYPES)), NAMES)
DATA = st.one_of(
    st.dictionaries(TEXTS, VALUES, max_size=3),
    st.fixed_dictionaries({"attempt": st.integers(1, 3)}),
    st.just({"presumed": True}),
)


@dataclass(frozen=True)
class Log:
    """A compute log."""

    key: LogKey
    io: ComputeIO
    data: bytes
    complete: bool
    truncated: bool


@dataclass(frozen=True)
class History:
    """A run, its events in the batches in which they were appended, and its logs."""

    run: NewRun
    batches: Sequence[Sequence[EventDraft]]
    logs: Sequence[Log]

    def record(self, instance: Instance) -> None:
        """Bring it about, as a recorder does."""
        instance.create_run(self.run)
        for batch in self.batches:
            instance.append(self.run.run_id, batch)
        for log in self.logs:
            instance.compute_logs.append(log.key, log.io, 0, log.data, complete=log.complete and not log.truncated)
            if log.truncated:
                instance.compute_logs.mark_complete(log.key, log.io, truncated=True)


@st.composite
def drafts(draw: st.DrawFn) -> EventDraft:
    """An event, of a known type or not."""
    return EventDraft(
        event_type=draw(KINDS),
        step_key=draw(st.none() | st.sampled_from(["a", "b", "../c"]) | NAMES),
        level=draw(st.sampled_from(list(LogLevel))),
        message=draw(TEXTS),
        timestamp_us=draw(TIMES),
        event_id=draw(st.none() | NAMES),
        data=draw(DATA),
    )


@st.composite
def histories(draw: st.DrawFn) -> History:
    """A run with anything that can be recorded."""
    run_id = draw(NAMES)
    run = NewRun(
        run_id=run_id,
        pipeline_name=draw(NAMES),
        status=draw(st.sampled_from([RunStatus.NOT_STARTED, RunStatus.NOT_STARTED, *RunStatus])),
        tags=tuple(draw(st.dictionaries(NAMES, TEXTS, max_size=4)).items()),
        run_config=draw(VALUES),
        step_keys_to_execute=draw(st.none() | st.lists(TEXTS, max_size=3).map(tuple)),
        parent_run_id=draw(st.none() | NAMES),
        root_run_id=draw(st.none() | NAMES),
        created_at_us=draw(st.none() | TIMES),
        started_at_us=draw(st.none() | TIMES),
        ended_at_us=draw(st.none() | TIMES),
        created_by=draw(st.none() | TEXTS),
    )
    keys = draw(
        st.lists(
            st.tuples(st.sampled_from(["a", "b"]) | NAMES, st.sampled_from([1, 2, 12]), st.sampled_from(ComputeIO)),
            max_size=4,
            unique=True,
        )
    )
    logs = []
    for step_key, attempt, io in keys:
        complete = draw(st.booleans())
        truncated = complete and draw(st.booleans())
        size = draw(st.sampled_from([0, 1, 100, 49_152, 49_153, 100_000]))
        data = (draw(st.binary(min_size=1, max_size=50)) * size)[:size]
        logs.append(Log(LogKey(run_id, step_key, attempt), io, data, complete, truncated))
    return History(run, draw(st.lists(st.lists(drafts(), max_size=6), max_size=4)), logs)


def large_events(run_id: str, count: int, **data: Any) -> list[EventDraft]:
    """Log messages with ids."""
    return [EventDraft(et.LOG_MESSAGE, message=str(n), event_id=f"{run_id} {n}", data=data) for n in range(count)]
