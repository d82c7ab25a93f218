"""A log read out of the names and sizes of its objects."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daglens.storage.errors import InvalidName
from daglens.storage.object_store.chain import (
    LARGE_BYTES,
    MERGE_COUNT,
    PART_BYTES,
    Hole,
    Part,
    chain_of,
    to_merge,
)
from daglens.storage.object_store.keys import (
    OPENED,
    TRUNCATED,
    keeps_step_key,
    parse_step,
    part_name,
    stream_folder,
)
from daglens.storage.records import ComputeIO, LogKey


def parts_of(sizes: list[int]) -> list[Part]:
    parts, end = [], 0
    for size in sizes:
        parts.append(Part(end, size, part_name(end), False))
        end += size
    return parts


def spans(parts: list[Part]) -> list[tuple[int, int]]:
    return [(part.offset, part.end) for part in parts]


def test_nothing_is_no_log() -> None:
    """Without objects, or with foreign ones only, there is no log."""
    assert not chain_of([]).exists
    assert not chain_of([("README", 5), ("0000", 5), ("0" * 20 + "-other", 5)]).exists


def test_an_opened_log_is_empty() -> None:
    """The mark alone: a log without bytes, open."""
    chain = chain_of([(OPENED, 40)])
    assert (chain.exists, chain.end, chain.complete, chain.truncated) == (True, 0, False, False)


def test_parts_add_up_in_any_order() -> None:
    """The offsets are the order, not the listing."""
    chain = chain_of([(part_name(15), 5), (part_name(0), 10), (OPENED, 0), (part_name(10), 5)])
    assert (spans(list(chain.parts)), chain.end, chain.holes) == ([(0, 10), (10, 15), (15, 20)], 20, ())


def test_an_empty_part_is_the_end() -> None:
    """Where it stands the log ends; what a late writer put behind it doesn't count."""
    chain = chain_of([(part_name(0), 10), (part_name(10), 0), (part_name(12), 3), (TRUNCATED, 0)])
    assert (chain.end, chain.complete, chain.truncated) == (10, True, True)
    assert chain_of([(part_name(0), 0)]).complete


def test_what_a_merge_left_is_passed_over() -> None:
    """The merged object counts, not the parts it was made of, nor what a late writer put into its middle."""
    objects = [(part_name(0), 10), (part_name(0, merged=True), 30), (part_name(10), 99), (part_name(20), 0)]
    chain = chain_of([*objects, (part_name(30), 5)])
    assert spans(list(chain.parts)) == [(0, 30), (30, 35)]
    assert (chain.end, chain.complete, chain.holes) == (35, False, ())


def test_what_was_removed_is_a_hole() -> None:
    """At the beginning, in the middle, and all of it; the size stays what it was."""
    chain = chain_of([(part_name(10), 5), (part_name(20), 5), (part_name(25), 0)])
    assert chain.holes == (Hole(0, 10), Hole(15, 20))
    assert chain.hole_at(9) == Hole(0, 10)
    assert chain.hole_at(10) is None
    assert (chain.end, chain.complete, chain.gone) == (25, True, False)
    assert chain_of([(part_name(25), 0)]).gone
    assert not chain_of([(part_name(0), 0)]).gone


def test_a_read_takes_the_parts_that_have_its_bytes() -> None:
    """None for no bytes, and none beyond a hole."""
    chain = chain_of([(part_name(0), 10), (part_name(10), 10), (part_name(30), 10)])
    assert spans(chain.overlapping(0, 10)) == [(0, 10)]
    assert spans(chain.overlapping(9, 11)) == [(0, 10), (10, 20)]
    assert spans(chain.overlapping(5, 40)) == [(0, 10), (10, 20)]
    assert spans(chain.overlapping(30, 31)) == [(30, 40)]
    assert chain.overlapping(5, 5) == chain.overlapping(50, 40) == []


def test_small_parts_are_merged_in_full_groups() -> None:
    """While a log grows in groups of 64; at its end what is left, unless that is next to nothing."""
    parts = parts_of([100] * (2 * MERGE_COUNT + 10))
    growing = to_merge(parts, at_end=False)
    assert [len(group) for group in growing] == [MERGE_COUNT, MERGE_COUNT]
    assert to_merge(parts[: MERGE_COUNT - 1], at_end=False) == []
    assert [len(group) for group in to_merge(parts, at_end=True)] == [MERGE_COUNT, MERGE_COUNT, 10]
    assert to_merge(parts_of([100] * 3), at_end=True) == []


def test_what_is_large_or_merged_stays() -> None:
    """Such a part is not written again, and the small ones on its two sides are not put together."""
    small, large = [100] * 5, LARGE_BYTES
    groups = to_merge(parts_of([*small, large, *small]), at_end=True)
    assert [spans(group)[0][0] for group in groups] == [0, 500 + large]
    merged = [part._replace(merged=True) for part in parts_of([100] * 100)]
    assert to_merge(merged, at_end=True) == []


SIZES = st.lists(st.integers(1, PART_BYTES) | st.integers(1, 2000), max_size=200)


@given(SIZES, st.data())
def test_groups_are_the_same_whoever_looks(sizes: list[int], data: st.DataObject) -> None:
    """Who sees only the first parts merges the same groups as who sees more: two writers never disagree."""
    parts = parts_of(sizes)
    early = to_merge(parts[: data.draw(st.integers(0, len(parts)))], at_end=False)
    assert to_merge(parts, at_end=False)[: len(early)] == early


@given(SIZES)
def test_groups_are_bounded_neighbours(sizes: list[int]) -> None:
    """Each is of neighbours, in memory at once, and no part is in two."""
    groups = to_merge(parts_of(sizes), at_end=True)
    for group in groups:
        assert len(group) >= 2
        assert all(one.end == other.offset for one, other in pairwise(group))
        assert sum(part.size_bytes for part in group) <= PART_BYTES
    offsets = [part.offset for group in groups for part in group]
    assert offsets == sorted(set(offsets))


@given(st.lists(st.integers(1, 2000), max_size=150), st.data())
def test_a_merge_may_be_killed_anywhere(sizes: list[int], data: st.DataObject) -> None:
    """The log is the same before, while and after small parts become large ones, in whatever order they are removed."""
    parts = parts_of(sizes)
    objects = {part.name: part.size_bytes for part in parts}
    end = sum(sizes)
    for group in to_merge(parts, at_end=True):
        size_bytes = group[-1].end - group[0].offset
        objects[part_name(group[0].offset, merged=True)] = size_bytes
        for part in data.draw(st.sets(st.sampled_from(group))):
            del objects[part.name]
        chain = chain_of(objects.items())
        assert (chain.end, chain.holes) == (end, ())
        assert sum(part.size_bytes for part in chain.parts) == end


@given(st.text(min_size=1, max_size=255), st.text(min_size=1, max_size=255), st.integers(1, 2_147_483_647))
def test_no_name_leaves_its_folder(run_id: str, step_key: str, attempt: int) -> None:
    """Four plain parts below the prefix, none of which ends in a dot (Azure drops it); the step's tells the step key,
    or that it can't."""
    try:
        folder = stream_folder("daglens", LogKey(run_id, step_key, attempt), ComputeIO.STDOUT)
    except InvalidName:
        return
    parts = folder.split("/")
    assert (len(parts), parts[0], parts[3]) == (4, "daglens", "out")
    assert all(re.fullmatch(r"[A-Za-z0-9%~_-][A-Za-z0-9%~._-]*(?<!\.)", part) for part in parts)
    assert len(folder) < 400
    found = parse_step(parts[2])
    assert found is not None
    assert (found.step_key, found.attempt) == (None if keeps_step_key(step_key) else step_key, attempt)


@pytest.mark.parametrize("name", ["a.", "a..", ".", "..", "...", "~", "a~2"])
def test_names_that_stores_treat_in_their_own_way(name: str) -> None:
    """Dots at the end, and what looks like an attempt."""
    folder = stream_folder("daglens", LogKey(name, name), ComputeIO.STDERR)
    assert not any(part.endswith(".") or part.startswith(".") for part in folder.split("/"))
    found = parse_step(folder.split("/")[2])
    assert found is not None
    assert (found.step_key, found.attempt) == (name, 1)


@pytest.mark.parametrize("folder", ["a", "a~0", "a~01", "~1", "a~99999999999", "a b~1", "%61~1", "a/~1", "A~x"])
def test_a_folder_of_somebody_else_s_is_none_of_ours(folder: str) -> None:
    """Only what our own names look like is taken for a step."""
    assert parse_step(folder) is None
