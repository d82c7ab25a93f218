"""Lists of runs as SQL text: which index is walked, what is filtered on the way, and where a page begins.

A list is ordered by (created_at_us, run_id). Every index that can lead ends with these two, so a page is one walk along
one index from where the last page ended, without sorting. Which index leads is chosen by counting how many entries each
condition leaves, up to PROBE_LIMIT: one statement, and no statistics that could be out of date.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, NamedTuple, TypeAlias

from daglens.storage.names import clean_text
from daglens.storage.records import RunFilter, RunPosition, TagFilter
from daglens.storage.sql.dialect import Dialect
from daglens.storage.sql.rows import bounded, texts_that_may_be_stored

PROBE_LIMIT = 500
"""Runs that are gathered and sorted rather than found by walking an index that is in order."""

_MOST_STREAMS = 16
"""Values of one condition that are merged as ordered streams."""


class _Lead(Enum):
    RUNS = "runs"
    TAGS = "run_tags"


class _Candidate(NamedTuple):
    """A condition that could lead.

    Attributes:
        streams: One condition per value; each alone gives runs in order. Empty: it has to be gathered and sorted.
        whole: The condition for all values together.
        covers: Names of the filter's parts that it fulfils.
    """

    lead: _Lead
    whole: str
    covers: str
    streams: Sequence[str] = ()

    @property
    def alias(self) -> str:
        """What its table is called in a statement."""
        return "t" if self.lead is _Lead.TAGS else "r"


_Order: TypeAlias = tuple[str, str]
"""The two columns that a list is ordered by, as they are written."""


def _order(table: str) -> _Order:
    return f"{table}.created_at_us", f"{table}.run_id"


def storable_query(
    filter: RunFilter, dialect: Dialect, *, newest_first: bool = True, after: RunPosition | None = None
) -> RunQuery | None:
    """The query behind a list; None when no run can match, as no storage has what is asked for."""
    names = (filter.parent_run_id, filter.root_run_id, *(tag.key for tag in filter.tags or ()))
    names += tuple(tag.value for tag in filter.tags or ())
    if any(name is not None and clean_text(name) != name for name in names):
        return None
    query = RunQuery(
        replace(
            filter,
            run_ids=None if filter.run_ids is None else texts_that_may_be_stored(filter.run_ids),
            pipeline_names=None if filter.pipeline_names is None else texts_that_may_be_stored(filter.pipeline_names),
            created_after_us=_bounded(filter.created_after_us),
            created_before_us=_bounded(filter.created_before_us),
            updated_after_us=_bounded(filter.updated_after_us),
            updated_before_us=_bounded(filter.updated_before_us),
        ),
        dialect,
        newest_first,
        None if after is None else RunPosition(bounded(after.created_at_us), clean_text(after.run_id)),
    )
    return None if query.matches_nothing else query


def _bounded(number: int | None) -> int | None:
    return None if number is None else bounded(number)


@dataclass(slots=True)
class RunQuery:
    """The question behind a list of runs; `matches_nothing` when a list in it is empty.

    Ids and texts that can't be stored have been taken out of it already, times are within 64 bits.
    """

    filter: RunFilter
    dialect: Dialect
    newest_first: bool = True
    after: RunPosition | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    candidates: list[_Candidate] = field(default_factory=list)
    _conditions: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        wanted = self.filter
        self._times()
        self._choice("pipeline_name", "pipeline", wanted.pipeline_names)
        self._choice("status", "status", None if wanted.statuses is None else [s.value for s in wanted.statuses])
        self._choice("parent_run_id", "parent", None if wanted.parent_run_id is None else [wanted.parent_run_id])
        if wanted.root_run_id is not None:
            self.parameters["root"] = wanted.root_run_id
            own = "(r.run_id = :root AND (r.root_run_id IS NULL OR r.root_run_id <> :root))"
            whole = "(r.root_run_id = :root OR r.run_id = :root)"
            self._conditions["root"] = whole
            self.candidates.append(_Candidate(_Lead.RUNS, whole, "root", ("r.root_run_id = :root", own)))
        if wanted.run_ids is not None:
            self.parameters["ids"] = self.dialect.values(list(dict.fromkeys(wanted.run_ids)))
            whole = self.dialect.any_of("r.run_id", "ids")
            self._conditions["ids"] = whole
            self.candidates.append(_Candidate(_Lead.RUNS, whole, "ids"))
        for index, tag in enumerate(dict.fromkeys(wanted.tags or ())):
            self._tag(index, tag)

    @property
    def needs_probe(self) -> bool:
        """False when there is nothing to choose from."""
        return len(self.candidates) > 1 or any(not c.streams for c in self.candidates)

    @property
    def matches_nothing(self) -> bool:
        """True when no run can match."""
        lists = (self.filter.run_ids, self.filter.pipeline_names, self.filter.statuses, self.filter.tags)
        return any(chosen is not None and not chosen for chosen in lists)

    # ------------------------------------------------------------ parts of the filter

    def _times(self) -> None:
        wanted = self.filter
        bounds = (
            ("updated_at_us", ">=", "updated_after", wanted.updated_after_us),
            ("updated_at_us", "<", "updated_before", wanted.updated_before_us),
        )
        conditions = []
        for column, operator, name, value in bounds:
            if value is not None:
                self.parameters[name] = value
                conditions.append((f"r.{column}", f"{operator} :{name}"))
        if conditions:
            hidden = (f"{self.dialect.filter_only(column)} {bound}" for column, bound in conditions)
            self._conditions["updated"] = " AND ".join(hidden)
            if wanted.updated_after_us is not None:
                whole = " AND ".join(f"{column} {bound}" for column, bound in conditions)
                self.candidates.append(_Candidate(_Lead.RUNS, whole, "updated"))

    def _choice(self, column: str, name: str, values: Sequence[str] | None) -> None:
        if values is None:
            return
        values = list(dict.fromkeys(values))
        self.parameters[name] = self.dialect.values(values)
        streams: list[str] = []
        if len(values) <= _MOST_STREAMS:
            for index, value in enumerate(values):
                self.parameters[f"{name}{index}"] = value
                streams.append(f"r.{column} = :{name}{index}")
        whole = streams[0] if len(streams) == 1 else self.dialect.any_of(f"r.{column}", name)
        self._conditions[name] = (
            f"{self.dialect.filter_only(f'r.{column}')} = :{name}0"
            if len(streams) == 1
            else self.dialect.any_of(self.dialect.filter_only(f"r.{column}"), name)
        )
        self.candidates.append(_Candidate(_Lead.RUNS, whole, name, streams))

    def _tag(self, index: int, tag: TagFilter) -> None:
        name = f"tag{index}"
        self.parameters[f"{name}_key"] = tag.key
        own = f"t.key = :{name}_key"
        if tag.value is not None:
            self.parameters[f"{name}_value"] = tag.value
            own += f" AND {self.dialect.tag_value_is(f'{name}_value')}"
        self._conditions[name] = self.dialect.run_has_tag(name, with_value=tag.value is not None)
        self.candidates.append(_Candidate(_Lead.TAGS, own, name, (own,)))

    def _range(self, order: _Order) -> list[str]:
        """Conditions on the columns of the order: created, and the page's beginning."""
        created, run_id = order
        conditions = []
        for operator, name, value in (
            (">=", "created_after", self.filter.created_after_us),
            ("<", "created_before", self.filter.created_before_us),
        ):
            if value is not None:
                self.parameters[name] = value
                conditions.append(f"{created} {operator} :{name}")
        if self.filter.updated_before_us is not None:
            # No run is updated before it is created; so this ends the walk where nothing more can match.
            conditions.append(f"{created} < :updated_before")
        if self.after is not None:
            self.parameters["after_us"], self.parameters["after_id"] = self.after
            beyond = "<" if self.newest_first else ">"
            conditions.append(f"({created}, {run_id}) {beyond} (:after_us, :after_id)")
        return conditions

    # ------------------------------------------------------------ statements

    def probe(self) -> str:
        """SQL for one row: how many runs each candidate leaves, counted no further than PROBE_LIMIT + 1."""
        counts = (
            f"(SELECT count(*) FROM ({self._probed(candidate)} LIMIT {PROBE_LIMIT + 1}) AS c{index})"
            for index, candidate in enumerate(self.candidates)
        )
        return f"SELECT {', '.join(counts)}"

    def _probed(self, candidate: _Candidate) -> str:
        source = f"SELECT 1 FROM {self.dialect.table(candidate.lead.value)} AS {candidate.alias} WHERE "
        if not candidate.streams:
            # What is gathered is gathered whole, wherever the page begins; and so it is counted.
            return source + candidate.whole
        parts = candidate.streams if self.dialect.plans_by_cost else (candidate.whole,)
        range_ = self._range(_order(candidate.alias))
        if len(parts) == 1:
            return source + " AND ".join([parts[0], *range_])
        limited = (f"({source}{' AND '.join([part, *range_])} LIMIT {PROBE_LIMIT + 1})" for part in parts)
        return " UNION ALL ".join(limited)

    def choose(self, counts: Sequence[int]) -> _Candidate | None:
        """The candidate to lead, by the counts of `probe`; None: walk all runs in order."""
        ranked = [
            (count, len(candidate.streams), index)
            for index, (candidate, count) in enumerate(zip(self.candidates, counts, strict=True))
            # Runs given by id are never more than the caller named.
            if candidate.streams or count <= PROBE_LIMIT or candidate.covers == "ids"
        ]
        return self.candidates[min(ranked)[2]] if ranked else None

    def page(self, lead: _Candidate | None, columns: str) -> str:
        """SQL for the runs in order, at most `:limit`; `columns` are of table r."""
        if lead is None or len(lead.streams) <= 1:
            return self._ordered(lead, columns)
        # Each stream comes out of its index in order; the database merges them, no further than it has to.
        if self.dialect.plans_by_cost:
            streams = [f"({self._ordered(lead, columns, stream)})" for stream in lead.streams]
        else:
            streams = [self._select(columns, lead, stream, _order("r")) for stream in lead.streams]
        order = f"ORDER BY created_at_us {self._direction}, run_id {self._direction}"
        return f"{' UNION ALL '.join(streams)} {order} LIMIT :limit"

    def count(self, lead: _Candidate | None) -> str:
        """SQL for how many runs match, counted no further than `:limit`."""
        if not self.dialect.plans_by_cost:
            order = _order("r" if lead is None else lead.alias)
            inner = self._select("1", lead, "" if lead is None else lead.whole, order) + " LIMIT :limit"
        elif lead is None or len(lead.streams) <= 1:
            inner = self._ordered(lead, "1")
        else:
            streams = (f"({self._ordered(lead, '1', stream)})" for stream in lead.streams)
            inner = f"{' UNION ALL '.join(streams)} LIMIT :limit"
        return f"SELECT count(*) FROM ({inner}) AS matching"

    @property
    def _direction(self) -> str:
        return "DESC" if self.newest_first else "ASC"

    def _ordered(self, lead: _Candidate | None, columns: str, stream: str | None = None) -> str:
        """SQL for the runs of one stream, or of a candidate that is one, or that is gathered."""
        created, run_id = _order("r" if lead is None or stream is not None else lead.alias)
        if lead is not None and not lead.streams:
            # The order must not choose the index.
            created, run_id = self.dialect.filter_only(created), self.dialect.filter_only(run_id)
        condition = stream if stream is not None else "" if lead is None else lead.whole
        sql = self._select(columns, lead, condition, (created, run_id))
        return f"{sql} ORDER BY {created} {self._direction}, {run_id} {self._direction} LIMIT :limit"

    def _select(self, columns: str, lead: _Candidate | None, condition: str, order: _Order) -> str:
        source = f"{self.dialect.table('runs')} AS r"
        if lead is not None and lead.lead is _Lead.TAGS:
            tags = self.dialect.table("run_tags")
            source = f"{tags} AS t {self.dialect.look_up} {source} ON r.run_id = t.run_id"
        conditions = [condition] if condition else []
        conditions += self._range(order)
        conditions += [text for part, text in self._conditions.items() if lead is None or part != lead.covers]
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        return f"SELECT {columns} FROM {source}{where}"
