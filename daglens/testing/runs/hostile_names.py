"""Ids, pipelines and tags as clients may send them."""

from __future__ import annotations

from daglens.storage.contract import RunStorage
from daglens.storage.errors import InvalidName, RunNotFound
from daglens.storage.records import NewRun, RunFilter, RunState, RunStatus, TagFilter
from daglens.testing.names import IMPOSSIBLE_NAMES, ODD_NAMES, ORDINARY_NAMES
from daglens.testing.runs.topic import RunTopic, add, ids, walk


def _kept(storage: RunStorage) -> list[str]:
    """Each odd name is a run's id, pipeline, tag key, tag value and parent; those that the storage takes."""
    kept = []
    for name in ODD_NAMES:
        try:
            run = storage.add(NewRun(name, name, tags=((name, name),), parent_run_id=name, root_run_id=name)).run
        except InvalidName:
            assert name not in ORDINARY_NAMES
            continue
        assert (run.run_id, run.pipeline_name, run.tags) == (name, name, ((name, name),))
        kept.append(name)
    return kept


class RunHostileNames(RunTopic):
    """Any text is stored as it is, apart from every other, or refused."""

    def test_each_name_is_kept_apart(self, storage: RunStorage) -> None:
        """No name is read as another one, by id, by filter, in a list or as a completion."""
        kept = _kept(storage)
        assert sorted(walk(storage, limit=7)) == sorted(kept)
        for name in kept:
            assert {run_id: run.run_id for run_id, run in storage.get([name]).items()} == {name: name}
            for filter in (
                RunFilter(run_ids=[name]),
                RunFilter(pipeline_names=[name]),
                RunFilter(parent_run_id=name),
                RunFilter(root_run_id=name),
                RunFilter(tags=[TagFilter(name)]),
                RunFilter(tags=[TagFilter(name, name)]),
            ):
                assert ids(storage.page(filter).runs) == [name], f"{filter}"
            assert list(storage.tag_values(name, "", 10)) == [name]
        assert list(storage.tag_keys("", 1000)) == sorted(kept)
        assert list(storage.pipeline_names("", 1000)) == sorted(kept)

    def test_each_name_is_written_apart(self, storage: RunStorage) -> None:
        """Tags, status, heartbeat and deletion hit the run that was named, and no other."""
        kept = _kept(storage)
        for number, name in enumerate(kept, start=1):
            storage.add_tags(name, [("number", str(number))])
            storage.project(name, RunState(RunStatus.STARTED, started_at_us=number, state_seq=1))
            storage.heartbeat(name, number)
        runs = storage.get(kept)
        for number, name in enumerate(kept, start=1):
            run = runs[name]
            assert (dict(run.tags)["number"], run.started_at_us) == (str(number), number), ascii(name)
            assert run.heartbeat_timeout_s == number
        assert storage.delete(kept[::2]) == len(kept[::2])
        assert sorted(walk(storage, limit=50)) == sorted(kept[1::2])

    def test_changes_name_them(self, storage: RunStorage) -> None:
        """The live list gets them as they are."""
        start = storage.changes(None, 10).position
        kept = _kept(storage)
        assert list(storage.changes(start, 1000).changed) == kept

    def test_nothing_is_found_under_an_impossible_name(self, storage: RunStorage) -> None:
        """Reading by a name that no run can have finds none, without an error of its own kind."""
        add(storage, "good", tags=(("a", "1"),))
        for name in IMPOSSIBLE_NAMES:
            assert storage.get([name, "good"]).keys() == {"good"}
            try:
                storage.add_tags(name, [("a", "2")])
            except RunNotFound:
                continue
            raise AssertionError(f"tags were added to {name!r}")
        assert storage.get(["good"])["good"].tags == (("a", "1"),)
