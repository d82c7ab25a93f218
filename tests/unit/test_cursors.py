"""Cursors: what goes in comes out, and nothing else is taken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daglens.resolvers import cursors
from daglens.resolvers.cursors import EventPlace, LogPlace
from daglens.resolvers.errors import InvalidCursor
from daglens.storage.records import (
    MAX_SEQ,
    ComputeIO,
    Head,
    LogKey,
    RunFilter,
    RunPosition,
    RunStatus,
    TagFilter,
)

incarnations = st.text("0123456789abcdef", min_size=16, max_size=16)
seqs = st.integers(1, MAX_SEQ)
names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=255)
positions = st.builds(RunPosition, st.integers(-(2**63) + 1, 2**63 - 1), names)
ios = st.sampled_from(ComputeIO)


@given(incarnations, seqs)
def test_event_cursor_round_trip(incarnation: str, seq: int) -> None:
    """An event's cursor names its log and its seq."""
    assert cursors.parse_event_cursor(cursors.event_cursor(incarnation, seq)) == EventPlace(incarnation, seq)
    assert cursors.event_cursor(incarnation, seq) == cursors.event_cursor_prefix(incarnation) + str(seq)


@given(incarnations | st.none(), st.integers(-3, 0))
def test_beginning_is_one_cursor(incarnation: str | None, seq: int) -> None:
    """Before the first event every log has the same cursor, which lies in every log."""
    place = cursors.parse_event_cursor(cursors.event_cursor(incarnation, seq))
    assert place == cursors.ORIGIN
    cursors.check_place(place, None)
    cursors.check_place(place, Head("r", "0" * 16, last_seq=7))


@given(incarnations, seqs)
def test_place_beyond_the_head_is_refused(incarnation: str, seq: int) -> None:
    """A cursor beyond the head, of another incarnation, of a deleted log or of none is an error, never a skip."""
    place = EventPlace(incarnation, seq)
    cursors.check_place(place, Head("r", incarnation, last_seq=seq))
    other = ("1" if incarnation[0] == "0" else "0") + incarnation[1:]
    for head in (
        None,
        Head("r", incarnation, last_seq=seq - 1),
        Head("r", other, last_seq=MAX_SEQ),
        Head("r", incarnation, last_seq=seq, deleted=True),
    ):
        with pytest.raises(InvalidCursor):
            cursors.check_place(place, head)


@given(st.booleans(), positions | st.none())
def test_run_cursor_round_trip(newest_first: bool, position: RunPosition | None) -> None:
    """A run list's cursor names its place, and is refused for another order or filter."""
    digest = cursors.filter_digest(RunFilter(statuses=[RunStatus.SUCCESS]))
    text = cursors.run_cursor(newest_first, digest, position)
    assert cursors.parse_run_cursor(text, newest_first, digest) == position
    with pytest.raises(InvalidCursor):
        cursors.parse_run_cursor(text, not newest_first, digest)
    with pytest.raises(InvalidCursor):
        cursors.parse_run_cursor(text, newest_first, cursors.filter_digest(RunFilter()))


def test_filters_of_one_meaning_share_cursors() -> None:
    """Order and repetition in a filter's lists don't make it another filter; every value does."""
    filters = [
        RunFilter(),
        RunFilter(run_ids=[]),
        RunFilter(run_ids=["a"]),
        RunFilter(pipeline_names=["a"]),
        RunFilter(statuses=[RunStatus.FAILURE]),
        RunFilter(tags=[TagFilter("a")]),
        RunFilter(tags=[TagFilter("a", "")]),
        RunFilter(created_after_us=1),
        RunFilter(created_before_us=1),
        RunFilter(updated_after_us=1),
        RunFilter(updated_before_us=1),
        RunFilter(parent_run_id="a"),
        RunFilter(root_run_id="a"),
    ]
    assert len({cursors.filter_digest(f) for f in filters}) == len(filters)
    one = RunFilter(run_ids=["a", "b"], tags=[TagFilter("k", "v"), TagFilter("l")])
    same = RunFilter(run_ids=["b", "a", "b"], tags=[TagFilter("l"), TagFilter("k", "v"), TagFilter("l")])
    assert cursors.filter_digest(one) == cursors.filter_digest(same)


@given(names, names | st.none())
def test_artifact_cursor_round_trip(run_id: str, path: str | None) -> None:
    """An artifact cursor names a path of one run."""
    text = cursors.artifact_cursor(run_id, path)
    assert cursors.parse_artifact_cursor(text, run_id) == path
    with pytest.raises(InvalidCursor):
        cursors.parse_artifact_cursor(text, run_id + "x")


@given(names, names, st.integers(1, MAX_SEQ), ios, st.integers(0, 2**63 - 1))
def test_log_cursor_round_trip(run_id: str, step_key: str, attempt: int, io: ComputeIO, offset: int) -> None:
    """A compute log's cursor names attempt and byte of one stream of one step."""
    text = cursors.log_cursor(LogKey(run_id, step_key, attempt), io, offset)
    assert cursors.parse_log_cursor(text, run_id, step_key, io) == LogPlace(attempt, offset)
    other = ComputeIO.STDERR if io is ComputeIO.STDOUT else ComputeIO.STDOUT
    for asked in ((run_id + "x", step_key, io), (run_id, step_key + "x", io), (run_id, step_key, other)):
        with pytest.raises(InvalidCursor):
            cursors.parse_log_cursor(text, *asked)


REAL = [
    cursors.event_cursor("0123456789abcdef", 12),
    cursors.ORIGIN_CURSOR,
    cursors.run_cursor(True, cursors.filter_digest(RunFilter()), RunPosition(17, "run")),
    cursors.artifact_cursor("run", "a/b"),
    cursors.log_cursor(LogKey("run", "step"), ComputeIO.STDOUT, 17),
]


@given(
    st.text()
    | st.text('e1ralOZ.=-_0123456789abcdef{}[]"', max_size=80)
    | st.builds(
        lambda real, at, put: real[:at] + put + real[at + 1 :],
        st.sampled_from(REAL),
        st.integers(0, 99),
        st.text(max_size=2),
    )
)
def test_anything_else_is_an_invalid_cursor(text: str) -> None:
    """Tampered or random text is InvalidCursor or a cursor that could have been given; nothing else is raised."""
    digest = cursors.filter_digest(RunFilter())
    for parse, write in (
        (cursors.parse_event_cursor, lambda place: cursors.event_cursor(*place)),
        (
            lambda text: cursors.parse_run_cursor(text, True, digest),
            lambda position: cursors.run_cursor(True, digest, position),
        ),
        (lambda text: cursors.parse_artifact_cursor(text, "run"), lambda path: cursors.artifact_cursor("run", path)),
        (
            lambda text: cursors.parse_log_cursor(text, "run", "step", ComputeIO.STDOUT),
            lambda place: cursors.log_cursor(LogKey("run", "step", place.attempt), ComputeIO.STDOUT, place.offset),
        ),
    ):
        try:
            place = parse(text)
        except InvalidCursor:
            continue
        assert write(place) == text


@pytest.mark.parametrize(
    "text", ["", "e1", "e1.", "e1..1", "e1.0123456789abcdef.0", "e2.0123456789abcdef.1", "r1.W10", "1", "\0", "é" * 9]
)
def test_known_bad_cursors(text: str) -> None:
    """Look-alikes are refused by every kind."""
    digest = cursors.filter_digest(RunFilter())
    with pytest.raises(InvalidCursor):
        cursors.parse_event_cursor(text)
    with pytest.raises(InvalidCursor):
        cursors.parse_run_cursor(text, True, digest)
    with pytest.raises(InvalidCursor):
        cursors.parse_artifact_cursor(text, "run")
    with pytest.raises(InvalidCursor):
        cursors.parse_log_cursor(text, "run", "step", ComputeIO.STDOUT)
