"""Reading logs, heads and steps: one statement for a thousand runs as for one, so head and events are of one moment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from daglens.storage.event_columns import NO_EVENTS, Column, EventColumns
from daglens.storage.postgres.database import PostgresDatabase, Rows
from daglens.storage.postgres.texts import number_array, text_array
from daglens.storage.records import EventFilter, EventQuery, EventSlice, EventsOrder, Head, StepState
from daglens.storage.sql.rows import (
    HEAD_COLUMNS,
    STEP_COLUMNS,
    bounded,
    head_of,
    step_of,
    texts_that_may_be_stored,
)
from daglens.storage.sql.whole_texts import loads

MAX_EXAMINED = 200_000
"""Events that one filtered read looks at."""

# Of a run that is younger than the table's statistics the planner expects few events, and would fetch and sort all that
# follow a cursor, for each page. Walked along the primary key, a page costs what a page holds.
_ALONG_THE_KEY = "SET LOCAL enable_bitmapscan = off;SET LOCAL enable_seqscan = off;"

_HEADS = f"SELECT {HEAD_COLUMNS} FROM {{s}}.event_heads WHERE run_id = ANY(%(runs)s::text[])"

# A head comes as a row of its own in the shape of an event: seq 0, and JSON in the last column.
_HEAD_ROW = (
    "0::bigint AS seq, NULL::text, ''::text, NULL::text, 0::smallint, ''::text, 0::bigint, "
    f"json_build_array({HEAD_COLUMNS})::text"
)

_EVENT_COLUMNS = ("seq", "event_id", "event_type", "step_key", "level", "message", "timestamp_us", "data")
_EVENT = ", ".join(f"e.{name}" for name in _EVENT_COLUMNS)

_STEPS = f"""{_ALONG_THE_KEY}
SELECT h.run_id, s.* FROM {{s}}.event_heads AS h CROSS JOIN LATERAL (
    SELECT {STEP_COLUMNS} FROM {{s}}.event_steps AS f WHERE f.run_key = h.run_key{{chosen}}
    ORDER BY f.first_seq LIMIT %(limit)s
) AS s WHERE h.run_id = ANY(%(runs)s::text[])
"""
_FIRST_STEPS = _STEPS.replace("{chosen}", "")
_CHOSEN_STEPS = _STEPS.replace("{chosen}", " AND f.step_key = ANY(%(keys)s::text[])")


def read_heads(database: PostgresDatabase, run_ids: Iterable[str]) -> dict[str, Head]:
    """Heads of the runs that have one."""
    ids = texts_that_may_be_stored(run_ids)
    if not ids:
        return {}
    return {row[1]: head_of(row) for row in database.read(_HEADS, {"runs": text_array(ids)})}


def read_steps(
    database: PostgresDatabase, run_ids: Sequence[str], step_keys: Sequence[str] | None, limit: int
) -> dict[str, list[StepState]]:
    """See EventLogStorage.steps. A run whose log has no such steps has none."""
    found: dict[str, list[StepState]] = {}
    ids = texts_that_may_be_stored(run_ids)
    if limit <= 0 or not ids:
        return found
    values = {"runs": text_array(ids), "limit": limit}
    if step_keys is not None:
        values["keys"] = text_array(texts_that_may_be_stored(step_keys))
    for row in database.read(_FIRST_STEPS if step_keys is None else _CHOSEN_STEPS, values):
        found.setdefault(row[0], []).append(step_of(row[0], row[1:]))
    for steps in found.values():
        steps.sort(key=lambda step: step.first_seq)
    return found


# ---------------------------------------------------------------- events


def read_slices(database: PostgresDatabase, queries: Sequence[EventQuery]) -> list[EventSlice]:
    """See EventLogStorage.read."""
    plans = [_Plan(query) for query in queries]
    if len(plans) == 1:
        _read_one(database, plans[0])
    else:
        _read_many(database, plans)
    return [plan.slice() for plan in plans]


class _Plan:
    """One query, and what is found for it."""

    def __init__(self, query: EventQuery) -> None:
        self.query = query
        self.forward = query.order is EventsOrder.OLDEST_FIRST
        self.limit = max(0, query.limit)
        self.after = None if query.after_seq is None else bounded(query.after_seq)
        self.head: Head | None = None
        self.events = NO_EVENTS

    def take(self, columns: Sequence[Column]) -> None:
        """Events of the page, in any order: the columns of EventRecord but for the run id."""
        if columns[0]:
            run_ids = [self.query.run_id] * len(columns[0])
            self.events = EventColumns([run_ids, *columns]).in_order(newest_first=not self.forward)

    def slice(self) -> EventSlice:
        last = 0 if self.head is None else self.head.last_seq
        start = self.after if self.after is not None else 0 if self.forward else last + 1
        if self.limit == 0:
            through = start
        elif len(self.events) >= self.limit:
            through = self.events[-1].seq
        else:
            through = self._end(start, last)
        if self.forward:
            has_more = max(0, through) < last
        else:
            has_more = min(through, last + 1) > 1
        return EventSlice(self.head, self.events, through, has_more)

    def _end(self, start: int, last: int) -> int:
        """How far was looked when fewer events came than were asked for."""
        if self.forward:
            if start >= last:
                return start
            return last if self.query.filter is None else min(last, max(0, start) + MAX_EXAMINED)
        begin = min(start, last + 1)
        if begin <= 1:
            return start
        return 1 if self.query.filter is None else max(1, begin - MAX_EXAMINED)


# Each column of a page as one text: for 1000 events a fourth of this process' time for their rows, and a fifth less of
# the server's and this one's together (psycopg2 2.9, PostgreSQL 18). What stands between the texts is a character that
# JSON can't hold as it is, and others hardly ever do; neither ids nor step keys are empty.
_BETWEEN = "\x1e"
_NUMBERS = "'[' || string_agg({}::text, ',') || ']'"
_TEXTS = f"string_agg({{}}, '{_BETWEEN}')"
# The server needs four times the memory of what it gathers: 4 GB for 1000 events of a megabyte, which as rows take it
# 35 MB. So a text that is long for its page makes the page come as rows: what stands in its place reads as two.
_LONG_TEXTS = f"CASE WHEN octet_length({{0}}) > %(longest)s THEN '{_BETWEEN}' ELSE {{0}} END"
_GATHERED_AS = {
    **dict.fromkeys(("seq", "level", "timestamp_us"), _NUMBERS),
    **dict.fromkeys(("event_id", "step_key"), _TEXTS.format("coalesce({}, '')")),
    **dict.fromkeys(("message", "data"), _TEXTS.format(_LONG_TEXTS)),
}
_GATHERED = ", ".join(_GATHERED_AS.get(name, _TEXTS).format(name) for name in _EVENT_COLUMNS)
MAX_GATHERED_BYTES = 16 * 1024 * 1024
"""Bytes that the messages, or the data, of a page that is gathered can have; of 1000 events each 16 KiB, so that a
stack or two don't have a page read twice."""
_MOST_GATHERED = 10_000
"""Events of such a page: more than any answer of a server has."""


def _read_one(database: PostgresDatabase, plan: _Plan) -> None:
    if not texts_that_may_be_stored([plan.query.run_id]):
        return
    if plan.limit > _MOST_GATHERED:
        _read_many(database, [plan])
        return
    values: dict[str, Any] = {"run": plan.query.run_id}
    head = f"""{_ALONG_THE_KEY}
WITH head AS MATERIALIZED (SELECT {HEAD_COLUMNS} FROM {{s}}.event_heads WHERE run_id = %(run)s)"""
    its_head = f"(SELECT json_build_array({HEAD_COLUMNS})::text FROM head)"
    if not plan.limit:
        sql = f"{head} SELECT {its_head}"
    else:
        values["longest"] = MAX_GATHERED_BYTES // plan.limit
        page = _page(plan, "SELECT run_key FROM head", "SELECT last_seq FROM head", "", values)
        sql = f"{head}, page AS ({page}) SELECT {its_head}, {_GATHERED} FROM page"
    ((found_head, *texts),) = database.read(sql, values)
    if found_head is None:
        return
    if texts and texts[0] is not None:
        columns = _columns(texts)
        if columns is None:
            # The head as well: it has to be of the same moment as the events.
            _read_many(database, [plan])
            return
        plan.take(columns)
    plan.head = head_of(loads(found_head))


def _columns(texts: Sequence[str]) -> list[Column] | None:
    """Columns of their texts; None where one holds what stands between them, or is too long."""
    seq, event_id, event_type, step_key, level, message, timestamp_us, data = texts
    seqs: list[int] = loads(seq)
    columns: list[Column] = [
        seqs,
        [text or None for text in event_id.split(_BETWEEN)],
        event_type.split(_BETWEEN),
        [text or None for text in step_key.split(_BETWEEN)],
        loads(level),
        message.split(_BETWEEN),
        loads(timestamp_us),
        data.split(_BETWEEN),
    ]
    return columns if all(len(column) == len(seqs) for column in columns) else None


def _read_many(database: PostgresDatabase, plans: Sequence[_Plan]) -> None:
    ids = texts_that_may_be_stored(plan.query.run_id for plan in plans)
    if not ids:
        return
    values: dict[str, Any] = {"runs": text_array(ids)}
    parts = []
    for direction in (True, False):
        simple = [(n, p) for n, p in enumerate(plans) if p.forward is direction and p.limit and p.query.filter is None]
        if simple:
            parts.append(_simple_pages(simple, forward=direction, values=values))
    for n, plan in enumerate(plans):
        if plan.limit and plan.query.filter is not None and _may_be(plan):
            values[f"run{n}"] = plan.query.run_id
            key = f"SELECT run_key FROM head WHERE run_id = %(run{n})s"
            last = f"SELECT last_seq FROM head WHERE run_id = %(run{n})s"
            parts.append(f"({_page(plan, key, last, str(n), values)})")
    heads = f"SELECT run_id, {_HEAD_ROW} FROM head"
    sql = f"""{_ALONG_THE_KEY}
WITH head AS MATERIALIZED (SELECT {HEAD_COLUMNS} FROM {{s}}.event_heads WHERE run_id = ANY(%(runs)s::text[]))
{" UNION ALL ".join([heads, *parts])}"""
    head_rows: dict[str, tuple[Any, ...]] = {}
    event_rows: dict[str, Rows] = {}
    for row in database.read(sql, values):
        if row[1] == 0:
            head_rows[row[0]] = row
        else:
            event_rows.setdefault(row[0], []).append(row)
    for n, plan in enumerate(plans):
        head = head_rows.get(plan.query.run_id)
        if head is not None:
            plan.head = head_of(loads(head[8]))
            # The first column is the number of the query: two may be of one run.
            plan.take([*zip(*event_rows.get(str(n), ()), strict=True)][1:] or NO_EVENTS.columns[1:])


def _simple_pages(plans: Sequence[tuple[int, _Plan]], *, forward: bool, values: dict[str, Any]) -> str:
    """SQL for the pages of many runs without a filter, all in one direction."""
    name, first = ("up", 0) if forward else ("down", bounded(2**63))
    values |= {
        f"{name}_n": number_array(n for n, _ in plans),
        f"{name}_runs": text_array(plan.query.run_id if _may_be(plan) else None for _, plan in plans),
        f"{name}_after": number_array(first if plan.after is None else plan.after for _, plan in plans),
        f"{name}_limits": number_array(plan.limit for _, plan in plans),
    }
    beyond, order = (">", "ASC") if forward else ("<", "DESC")
    return f"""(
    SELECT asked.n::text, page.* FROM unnest(
        %({name}_n)s::int[], %({name}_runs)s::text[], %({name}_after)s::bigint[], %({name}_limits)s::bigint[]
    ) AS asked(n, run_id, after, most) JOIN head ON head.run_id = asked.run_id CROSS JOIN LATERAL (
        SELECT {_EVENT} FROM {{s}}.events AS e WHERE e.run_key = head.run_key AND e.seq {beyond} asked.after
        ORDER BY e.seq {order} LIMIT asked.most
    ) AS page
)"""


def _page(plan: _Plan, key: str, last: str, number: str, values: dict[str, Any]) -> str:
    """SQL for one page; its first column is `number`."""
    conditions = [f"e.run_key = ({key})"]
    after = f"%(after{number})s"
    # Before the first event every place is the same; and taking something off it must stay a number.
    values[f"after{number}"] = None if plan.after is None else max(0, plan.after)
    if plan.query.filter is not None:
        if plan.forward:
            low = max(0, plan.after or 0)
            values |= {f"after{number}": low, f"until{number}": bounded(low + MAX_EXAMINED)}
            conditions.append(f"e.seq > {after} AND e.seq <= %(until{number})s")
        else:
            begin = f"({last}) + 1" if plan.after is None else f"least({after}, ({last}) + 1)"
            conditions.append(f"e.seq < {begin} AND e.seq >= {begin} - {MAX_EXAMINED}")
        conditions += _conditions(plan.query.filter, number, values)
    elif plan.after is not None:
        conditions.append(f"e.seq {'>' if plan.forward else '<'} {after}")
    values[f"limit{number}"] = plan.limit
    order = "ASC" if plan.forward else "DESC"
    return (
        f"SELECT '{number}'::text, {_EVENT} FROM {{s}}.events AS e WHERE {' AND '.join(conditions)} "
        f"ORDER BY e.seq {order} LIMIT %(limit{number})s"
    )


def _conditions(filter: EventFilter, number: str, values: dict[str, Any]) -> Iterable[str]:
    for column, chosen in (("event_type", filter.event_types), ("step_key", filter.step_keys)):
        if chosen is not None:
            values[f"{column}{number}"] = text_array(texts_that_may_be_stored(chosen))
            yield f"e.{column} = ANY(%({column}{number})s::text[])"
    if filter.min_level is not None:
        values[f"level{number}"] = int(filter.min_level)
        yield f"e.level >= %(level{number})s"


def _may_be(plan: _Plan) -> bool:
    return bool(texts_that_may_be_stored([plan.query.run_id]))
