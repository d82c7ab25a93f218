"""Reading logs, heads and steps: as many statements for a thousand runs as for one."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from daglens.storage.event_columns import NO_EVENTS, Column, EventColumns, picked
from daglens.storage.records import EventFilter, EventQuery, EventSlice, EventsOrder, Head, StepState
from daglens.storage.sql.rows import (
    HEAD_COLUMNS,
    STEP_COLUMNS,
    head_of,
    json_array,
    step_of,
    texts_that_may_be_stored,
)
from daglens.storage.sqlite.one_step import fetch, fetch_columns

MAX_EXAMINED = 200_000
"""Events that one filtered read looks at."""

_COLUMNS = ("seq", "event_id", "event_type", "step_key", "level", "message", "timestamp_us")
_LONG = "data"
_EVENT_COLUMNS = ", ".join(f"e.{name} AS {name}" for name in (*_COLUMNS, _LONG))

_HEADS = "SELECT h.* FROM json_each(?) AS given CROSS JOIN event_heads AS h WHERE h.run_id = given.value"

# seq is dense: a page is a range, and needs no LIMIT of its own. So one statement reads the pages of many runs.
_EVENTS_OF_ONE = f"SELECT {_EVENT_COLUMNS} FROM events AS e WHERE e.run_key = ? AND e.seq BETWEEN ? AND ?"

_EVENTS_OF_MANY = f"""
SELECT given.key AS place, {_EVENT_COLUMNS} FROM json_each(?) AS given CROSS JOIN events AS e
WHERE e.run_key = json_extract(given.value, '$[0]')
AND e.seq BETWEEN json_extract(given.value, '$[1]') AND json_extract(given.value, '$[2]')
"""

_FIRST_SEQS = """
SELECT given.value, (SELECT min(e.seq) FROM events AS e WHERE e.run_key = given.value) FROM json_each(?) AS given
"""

_STEPS = f"""
SELECT h.run_id, {", ".join(f"s.{column}" for column in STEP_COLUMNS.split(", "))}
FROM json_each(:runs) AS given CROSS JOIN event_heads AS h CROSS JOIN event_steps AS s
WHERE h.run_id = given.value AND s.run_key = h.run_key
"""

_FIRST_STEPS = f"""{_STEPS} AND s.first_seq <= coalesce((
    SELECT first_seq FROM event_steps AS f WHERE f.run_key = h.run_key ORDER BY f.first_seq LIMIT 1 OFFSET :limit - 1
), {2**63 - 1})"""

_CHOSEN_STEPS = f"{_STEPS} AND s.step_key IN (SELECT value FROM json_each(:keys))"


def read_heads(connection: sqlite3.Connection, run_ids: Iterable[str]) -> dict[str, tuple[int, Head]]:
    """Run keys and heads of the runs that have one."""
    rows = fetch(connection, HEAD_COLUMNS, _HEADS, (json_array(run_ids),))
    return {row[1]: (row[0], head_of(row)) for row in rows}


def read_steps(
    connection: sqlite3.Connection, run_ids: Sequence[str], step_keys: Sequence[str] | None, limit: int
) -> dict[str, list[StepState]]:
    """See EventLogStorage.steps. A run whose log has no such steps has none."""
    found: dict[str, list[StepState]] = {}
    if limit <= 0:
        return found
    runs = json_array(run_ids)
    if step_keys is None:
        rows = connection.execute(_FIRST_STEPS, {"runs": runs, "limit": limit})
    else:
        rows = connection.execute(_CHOSEN_STEPS, {"runs": runs, "keys": json_array(step_keys)})
    for row in rows:
        found.setdefault(row[0], []).append(step_of(row[0], row[1:]))
    return {run_id: sorted(steps, key=lambda step: step.first_seq)[:limit] for run_id, steps in found.items()}


def read_slices(connection: sqlite3.Connection, queries: Sequence[EventQuery]) -> list[EventSlice]:
    """See EventLogStorage.read. The connection is in a transaction."""
    heads = read_heads(connection, [query.run_id for query in queries])
    firsts = _first_seqs(connection, heads.values())
    plans = [_Plan(query, heads.get(query.run_id), firsts) for query in queries]
    unfiltered = [plan for plan in plans if plan.wants_rows and plan.query.filter is None]
    if len(unfiltered) == 1:
        plan = unfiltered[0]
        place = (plan.run_key, plan.low, plan.high)
        plan.take(fetch_columns(connection, _COLUMNS, _EVENTS_OF_ONE, place, long=_LONG))
    elif unfiltered:
        given = json.dumps([(plan.run_key, plan.low, plan.high) for plan in unfiltered])
        _take_placed(connection, _EVENTS_OF_MANY, (given,), unfiltered)
    filtered = [plan for plan in plans if plan.wants_rows and plan.query.filter is not None]
    for chunk in (filtered[start : start + _MOST_BRANCHES] for start in range(0, len(filtered), _MOST_BRANCHES)):
        _read_filtered(connection, chunk)
    return [plan.slice() for plan in plans]


def _take_placed(
    connection: sqlite3.Connection, source: str, parameters: Sequence[Any] | Mapping[str, Any], plans: Sequence[_Plan]
) -> None:
    """Give each plan its events out of those of many: `place` says which plan's they are."""
    places, *columns = fetch_columns(connection, ("place", *_COLUMNS), source, parameters, long=_LONG)
    if len(set(places)) == 1:
        plans[places[0]].take(columns)
        return
    places_of: dict[int, list[int]] = {}
    for row, place in enumerate(places):
        places_of.setdefault(place, []).append(row)
    for place, rows in places_of.items():
        plans[place].take(picked(columns, rows))


def _first_seqs(connection: sqlite3.Connection, heads: Iterable[tuple[int, Head]]) -> dict[int, int | None]:
    """By run key, where the logs that are being deleted begin; None: nothing is left. All others begin with 1."""
    closed = [run_key for run_key, head in heads if head.deleted]
    return dict(connection.execute(_FIRST_SEQS, (json.dumps(closed),)).fetchall()) if closed else {}


class _Plan:
    """One query, and the range of seqs that it examines."""

    def __init__(self, query: EventQuery, found: tuple[int, Head] | None, first_seqs: Mapping[int, int | None]) -> None:
        self.query = query
        self.run_key = 0 if found is None else found[0]
        self.head = None if found is None else found[1]
        self.forward = query.order is EventsOrder.OLDEST_FIRST
        self.last = self.head.last_seq if self.head is not None else 0
        first = first_seqs.get(self.run_key, 1)
        self.is_empty = first is None or self.last == 0
        self.first = first or 1
        if query.after_seq is not None:
            self.start = query.after_seq
        else:
            self.start = 0 if self.forward else self.last + 1
        most = max(0, query.limit) if query.filter is None else MAX_EXAMINED
        if self.forward:
            self.low = max(self.first, self.start + 1)
            self.high = min(self.last, self.low + most - 1)
        else:
            self.high = min(self.last, self.start - 1)
            self.low = max(self.first, self.high - most + 1)
        self.wants_rows = not self.is_empty and query.limit > 0 and self.low <= self.high
        self.events = NO_EVENTS

    def take(self, columns: Sequence[Column]) -> None:
        """Events of the range, in any order: the columns of EventRecord but for the run id."""
        run_ids = [self.query.run_id] * len(columns[0])
        self.events = EventColumns([run_ids, *columns]).in_order(newest_first=not self.forward)

    def slice(self) -> EventSlice:
        if not self.wants_rows:
            through = self.start
        elif len(self.events) >= self.query.limit:
            through = self.events[-1].seq
        else:
            through = self.high if self.forward else self.low
        if self.is_empty:
            has_more = False
        else:
            has_more = through < self.last if self.forward else through > self.first
        return EventSlice(self.head, self.events, through, has_more)


# ---------------------------------------------------------------- with a filter

_MOST_BRANCHES = 100
"""SQLite takes 500 SELECTs in one statement."""


def _read_filtered(connection: sqlite3.Connection, plans: Sequence[_Plan]) -> None:
    parameters: dict[str, Any] = {}
    branches = [_branch(index, plan, parameters) for index, plan in enumerate(plans)]
    _take_placed(connection, " UNION ALL ".join(branches), parameters, plans)


def _branch(index: int, plan: _Plan, parameters: dict[str, Any]) -> str:
    assert plan.query.filter is not None
    parameters |= {
        f"run{index}": plan.run_key,
        f"low{index}": plan.low,
        f"high{index}": plan.high,
        f"limit{index}": plan.query.limit,
    }
    conditions = "".join(f" AND {condition}" for condition in _conditions(index, plan.query.filter, parameters))
    direction = "" if plan.forward else " DESC"
    return (
        f"SELECT * FROM (SELECT {index} AS place, {_EVENT_COLUMNS} FROM events AS e "
        f"WHERE e.run_key = :run{index} AND e.seq BETWEEN :low{index} AND :high{index}{conditions} "
        f"ORDER BY e.seq{direction} LIMIT :limit{index})"
    )


def _conditions(index: int, filter: EventFilter, parameters: dict[str, Any]) -> Iterable[str]:
    for column, chosen in (("event_type", filter.event_types), ("step_key", filter.step_keys)):
        if chosen is None:
            continue
        values = texts_that_may_be_stored(chosen)
        if len(values) == 1:
            parameters[f"{column}{index}"] = values[0]
            yield f"e.{column} = :{column}{index}"
        else:
            parameters[f"{column}{index}"] = json.dumps(values, ensure_ascii=False)
            yield f"e.{column} IN (SELECT value FROM json_each(:{column}{index}))"
    if filter.min_level is not None:
        parameters[f"level{index}"] = int(filter.min_level)
        yield f"e.level >= :level{index}"
