"""Tags of runs, and the texts in use that complete a prefix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import pytest

from daglens.storage.contract import RunStorage
from daglens.storage.errors import InvalidName, RunNotFound, TooManyTags
from daglens.storage.records import RunRecord
from daglens.testing.names import IMPOSSIBLE_NAMES
from daglens.testing.runs.topic import RunTopic, add
from daglens.testing.threads import together

# In order of code points; a comparison of UTF-16, a locale or a case-blind one gives another.
TEXTS = (
    "%",
    "A",
    "B",
    "[",
    "\\",
    "_",
    "a",
    "a%",
    "a%b",
    "a*",
    "a[b]",
    "a\\b",
    "a_",
    "a_b",
    "ab",
    "axb",
    "b",
    "é",
    "\uffff",
    "😀",
)

Complete = Callable[[RunStorage, str, int], Sequence[str]]


def _keys(storage: RunStorage, prefix: str, limit: int) -> Sequence[str]:
    return storage.tag_keys(prefix, limit)


def _values(storage: RunStorage, prefix: str, limit: int) -> Sequence[str]:
    return storage.tag_values("key", prefix, limit)


def _pipelines(storage: RunStorage, prefix: str, limit: int) -> Sequence[str]:
    return storage.pipeline_names(prefix, limit)


def _use(storage: RunStorage, complete: Complete, text: str, run_id: str) -> None:
    if complete is _pipelines:
        add(storage, run_id, text)
    else:
        add(storage, run_id, tags=((text, "value") if complete is _keys else ("key", text),))


every_kind = pytest.mark.parametrize("complete", [_keys, _values, _pipelines], ids=["keys", "values", "pipelines"])


class RunTags(RunTopic):
    """`add_tags`, `tag_keys`, `tag_values`, `pipeline_names`."""

    def test_tags_are_added_and_replaced(self, storage: RunStorage) -> None:
        """New keys join, keys that are there get the new value, the others stay; the run comes back as it is then."""
        before = add(storage, "r1", tags=(("b", "1"), ("c", "1")))
        run = storage.add_tags("r1", [("c", "2"), ("a", "")])
        assert run.tags == (("a", ""), ("b", "1"), ("c", "2"))
        assert storage.get(["r1"])["r1"] == run
        assert run.updated_at_us >= before.updated_at_us
        assert run._replace(tags=before.tags, updated_at_us=before.updated_at_us) == before

    def test_other_runs_keep_their_tags(self, storage: RunStorage) -> None:
        """Tags belong to one run, also when keys and values are the same."""
        add(storage, "r1", tags=(("a", "1"),))
        add(storage, "r2", tags=(("a", "1"),))
        storage.add_tags("r1", [("a", "2"), ("b", "1")])
        assert storage.get(["r2"])["r2"].tags == (("a", "1"),)

    def test_no_tags_to_add(self, storage: RunStorage) -> None:
        """An empty list changes nothing."""
        before = add(storage, "r1", tags=(("a", "1"),))
        assert storage.add_tags("r1", []) == before

    def test_unknown_run_takes_no_tags(self, storage: RunStorage) -> None:
        """There is no such run, or no longer."""
        add(storage, "gone")
        storage.delete(["gone"])
        for run_id in ("nobody", "gone"):
            with pytest.raises(RunNotFound):
                storage.add_tags(run_id, [("a", "1")])
        assert list(storage.tag_keys("", 10)) == []

    def test_more_than_two_hundred_tags(self, storage: RunStorage) -> None:
        """A run that would have more than 200 keeps what it has; replacing at 200 is fine."""
        add(storage, "r1", tags=tuple((f"k{n}", "1") for n in range(199)))
        with pytest.raises(TooManyTags):
            storage.add_tags("r1", [("k0", "2"), ("new 1", ""), ("new 2", "")])
        tags = dict(storage.get(["r1"])["r1"].tags)
        assert (len(tags), tags["k0"]) == (199, "1")
        assert len(storage.add_tags("r1", [("new 1", ""), ("k0", "2")]).tags) == 200
        assert dict(storage.add_tags("r1", [("k0", "3")]).tags)["k0"] == "3"

    @pytest.mark.parametrize("key", IMPOSSIBLE_NAMES, ids=ascii)
    def test_impossible_key(self, storage: RunStorage, key: str) -> None:
        """A key that can't be one is refused, and none of the tags is added."""
        before = add(storage, "r1", tags=(("a", "1"),))
        with pytest.raises(InvalidName):
            storage.add_tags("r1", [("a", "2"), (key, "1")])
        assert storage.get(["r1"])["r1"] == before

    def test_values_are_any_text(self, storage: RunStorage) -> None:
        """A value may be empty, long or odd; one that can't be stored is refused or reads with U+FFFD instead."""
        values = ["", " ", "x" * 10_000, "ü", "😀", "a\nb", "'", '"', "\\", "%", "null", "\ufffd"]
        add(storage, "r1")
        for value in values:
            assert dict(storage.add_tags("r1", [("k", value)]).tags)["k"] == value
        for value in ("a\0b", "\ud800"):
            try:
                stored = dict(storage.add_tags("r1", [("k", value)]).tags)["k"]
            except InvalidName:
                continue
            assert stored == value.replace("\0", "\ufffd").replace("\ud800", "\ufffd")
            assert dict(storage.get(["r1"])["r1"].tags)["k"] == stored

    def test_concurrent_tags_of_one_run(self, storage: RunStorage, second: RunStorage) -> None:
        """Eight threads that add different tags to one run lose none of them."""
        add(storage, "r1")

        def tag(worker: int, by: RunStorage) -> RunRecord:
            for n in range(8):
                run = by.add_tags("r1", [(f"{worker}-{n}", str(n))])
            return run

        together([partial(tag, worker, by) for worker, by in enumerate((storage, second) * 4)])
        expected = {(f"{worker}-{n}", str(n)) for worker in range(8) for n in range(8)}
        assert set(storage.get(["r1"])["r1"].tags) == expected

    @every_kind
    def test_completion_is_in_order_of_code_points(self, storage: RunStorage, complete: Complete) -> None:
        """Each text once, however many runs use it, in order of code points, at most `limit`."""
        for n, text in enumerate((*reversed(TEXTS), *TEXTS[::3])):
            _use(storage, complete, text, f"r{n}")
        assert list(complete(storage, "", 100)) == list(TEXTS)
        assert list(complete(storage, "", 3)) == list(TEXTS[:3])
        assert list(complete(storage, "", 0)) == []

    @every_kind
    def test_prefix_is_taken_literally(self, storage: RunStorage, complete: Complete) -> None:
        """No character of a prefix is a pattern, and case counts."""
        for n, text in enumerate(TEXTS):
            _use(storage, complete, text, f"r{n}")
        prefixes = (*TEXTS, "a", "%%", "__", "A%", "abc", "\\\\", "😀😀", "\U0010ffff", "\ud7ff", "e", "É")
        for prefix in prefixes:
            expected = [text for text in TEXTS if text.startswith(prefix)]
            assert list(complete(storage, prefix, 100)) == expected, ascii(prefix)
            assert list(complete(storage, prefix, 1)) == expected[:1], ascii(prefix)

    @every_kind
    @pytest.mark.parametrize("prefix", [name for name in IMPOSSIBLE_NAMES if name], ids=ascii)
    def test_prefix_that_no_name_has(self, storage: RunStorage, complete: Complete, prefix: str) -> None:
        """A prefix that can't stand in a name completes to nothing, without an error."""
        _use(storage, complete, "x" * 255, "r1")
        assert list(complete(storage, prefix, 10)) == []

    @every_kind
    def test_only_what_is_in_use(self, storage: RunStorage, complete: Complete) -> None:
        """A text is gone with the last run that uses it, not before."""
        for run_id in ("r1", "r2"):
            _use(storage, complete, "shared", run_id)
        _use(storage, complete, "single", "r3")
        storage.delete(["r1", "r3"])
        assert list(complete(storage, "s", 10)) == ["shared"]
        storage.delete(["r2"])
        assert list(complete(storage, "s", 10)) == []

    def test_replaced_value_is_not_in_use(self, storage: RunStorage) -> None:
        """Values are those of now."""
        add(storage, "r1", tags=(("key", "old"),))
        storage.add_tags("r1", [("key", "new")])
        assert list(storage.tag_values("key", "", 10)) == ["new"]

    def test_values_of_one_key(self, storage: RunStorage) -> None:
        """Values of other keys don't count, and a key that isn't in use has none."""
        add(storage, "r1", tags=(("key", "mine"), ("keys", "other")))
        assert list(storage.tag_values("key", "", 10)) == ["mine"]
        assert list(storage.tag_values("nothing", "", 10)) == []
        for key in IMPOSSIBLE_NAMES:
            assert list(storage.tag_values(key, "", 10)) == []
