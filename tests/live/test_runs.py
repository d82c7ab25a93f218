"""The live list of runs: the newest that match, then every change of any run, by whomever, none lost."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest

from daglens import upkeep
from daglens.instance import Instance
from daglens.resolvers.calls import StorageCalls
from daglens.resolvers.errors import InvalidCursor
from daglens.resolvers.live import LiveHub, ServerStopping
from daglens.resolvers.live_runs import RunListFeed
from daglens.storage import event_types as et
from daglens.storage.contract import RunStorage
from daglens.storage.errors import StorageUnavailable
from daglens.storage.memory import InMemoryRunStorage
from daglens.storage.records import EventDraft, NewRun, RunFilter, RunParts, RunStatus, TagFilter
from daglens.testing.threads import Clock
from tests.live.conftest import QUICK, until
from tests.live.run_lists import ObservedRuns, RunViewer

STARTED = RunFilter(statuses=(RunStatus.STARTED,))


@dataclass
class Runs:
    """An instance whose run storage can be looked into, and what writes to it."""

    instance: Instance
    storage: ObservedRuns

    def create(self, *run_ids: str, **fields: Any) -> None:
        """Add runs."""
        for run_id in run_ids:
            self.instance.create_run(NewRun(run_id, fields.get("pipeline", "nightly"), tags=fields.get("tags", ())))

    def move(self, run_id: str, *event_types: str) -> None:
        """Append events."""
        self.instance.append(run_id, [EventDraft(event_type) for event_type in event_types])

    def tag(self, run_id: str, value: str) -> None:
        """Set the tag `n`."""
        self.instance.runs.add_tags(run_id, [("n", value)])

    def delete(self, run_id: str) -> None:
        """Delete a run."""
        upkeep.delete_run(self.instance, run_id)


@pytest.fixture(params=["memory", "sqlite"])
def runs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runs]:
    """One per kind of storage."""
    opened = Instance.ephemeral() if request.param == "memory" else Instance.open(home=tmp_path)
    with opened:
        storage = ObservedRuns(opened.runs)
        yield Runs(replace(opened, runs=cast(RunStorage, storage)), storage)


@asynccontextmanager
async def hub_of(runs: Runs, **settings: Any) -> AsyncIterator[LiveHub]:
    """A hub with quick settings, and others as given."""
    hub = LiveHub(StorageCalls(runs.instance), replace(QUICK, **settings))
    try:
        yield hub
    finally:
        await hub.close()


@pytest.fixture
async def hub(runs: Runs) -> AsyncIterator[LiveHub]:
    """A hub with quick settings."""
    async with hub_of(runs) as made:
        yield made


def feed_of(hub: LiveHub) -> RunListFeed:
    return hub._run_lists[None]


async def all_read(hub: LiveHub, runs: Runs) -> None:
    """Wait until the feed has read everything there is."""
    there = runs.storage.inner.changes(None, 0).position
    await until(lambda: feed_of(hub).position == there)


# ------------------------------------------------------------ what is told


async def test_first_batch(runs: Runs, hub: LiveHub) -> None:
    """The newest that match, at most `limit`, newest first; a list without runs is told at once, too."""
    empty = await RunViewer(hub).next()
    assert (empty.changed, empty.unmatched, empty.deleted, empty.caught_up) == ([], (), (), True)
    runs.create("a", "b", "c", "d")
    runs.move("b", et.RUN_START)
    assert [run.run_id for run in (await RunViewer(hub, limit=3).next()).changed] == ["d", "c", "b"]
    assert [run.run_id for run in (await RunViewer(hub, STARTED).next()).changed] == ["b"]
    assert (await RunViewer(hub, limit=0).next()).changed == []


async def test_what_a_change_is(runs: Runs, hub: LiveHub) -> None:
    """Creation, status, times and tags are told; a heartbeat, and events that move no run, are not."""
    viewer = RunViewer(hub)
    await viewer.next()
    runs.create("r")
    assert (await viewer.next()).changed[0].status is RunStatus.NOT_STARTED
    runs.move("r", et.RUN_START)
    run = (await viewer.next()).changed[0]
    assert (run.status, run.started_at_us is None, run.ended_at_us) == (RunStatus.STARTED, False, None)
    runs.instance.heartbeat("r", 60)
    runs.move("r", et.LOG_MESSAGE, et.STEP_MATERIALIZATION)
    runs.tag("r", "1")
    run = (await viewer.next()).changed[0]
    assert (run.tags, run.heartbeat_timeout_s) == ((("n", "1"),), 60)
    runs.move("r", et.RUN_SUCCESS)
    run = (await viewer.next()).changed[0]
    assert (run.status, run.ended_at_us is None) == (RunStatus.SUCCESS, False)
    assert len(viewer.batches) == 5


async def test_unmatched_and_deleted(runs: Runs, hub: LiveHub) -> None:
    """A run that leaves the filter is `unmatched`, one that enters it `changed`, one that is deleted `deleted`."""
    runs.create("a", "b")
    runs.move("a", et.RUN_START)
    viewer = RunViewer(hub, STARTED)
    await viewer.next()
    assert viewer.known.keys() == {"a"}
    runs.move("a", et.RUN_SUCCESS)
    assert (await viewer.next()).unmatched == ["a"]
    runs.move("b", et.RUN_START)
    assert [run.run_id for run in (await viewer.next()).changed] == ["b"]
    runs.delete("b")
    batch = await viewer.next()
    assert (batch.changed, batch.unmatched, batch.deleted) == ([], [], ["b"])


async def test_configurations(runs: Runs, hub: LiveHub) -> None:
    """A viewer who asks for configurations gets them, in the list as in the changes."""
    runs.instance.create_run(NewRun("a", "p", run_config={"n": 1}))
    viewer, other = RunViewer(hub, parts=RunParts.ALL), RunViewer(hub, parts=RunParts.NONE)
    first = await viewer.next()
    await other.next()
    runs.instance.create_run(NewRun("b", "p", run_config={"n": 2}))
    second = await viewer.next()
    assert [first.changed[0].run_config, second.changed[0].run_config] == ['{"n":1}', '{"n":2}']
    assert (await other.next()).changed[0].run_id == "b"


async def test_changes_of_a_run_are_coalesced(runs: Runs, hub: LiveHub) -> None:
    """Who has not read for a while gets each run once, as it is now."""
    runs.create("a", "b")
    viewer = RunViewer(hub)
    await viewer.next()
    for n in range(30):
        runs.tag("a", str(n))
        if n % 10 == 0:
            await all_read(hub, runs)
    runs.move("b", et.RUN_START)
    await all_read(hub, runs)
    batch = await viewer.next()
    assert [(run.run_id, dict(run.tags).get("n")) for run in batch.changed] == [("a", "29"), ("b", None)]
    assert batch.caught_up
    runs.create("c")
    assert [run.run_id for run in (await viewer.next()).changed] == ["c"]


# ------------------------------------------------------------ cursors


async def test_resumes_by_cursor(runs: Runs, hub: LiveHub) -> None:
    """With a cursor comes what has changed since: nothing else, and nothing is missed; on another hub as well."""
    runs.create("a", "b", "c", "d")
    viewer = RunViewer(hub)
    await viewer.next()
    cursor = viewer.cursor
    await viewer.close()
    runs.move("a", et.RUN_START)
    runs.delete("b")
    runs.create("e")
    async with hub_of(runs) as other:
        back = RunViewer(other, after=viewer.batches[-1].position)
        batch = await back.next()
        assert [run.run_id for run in batch.changed] == ["a", "e"]
        assert (batch.deleted, batch.caught_up) == (["b"], True)
        assert back.cursor != cursor
        runs.tag("c", "1")
        assert [run.run_id for run in (await back.next()).changed] == ["c"]


async def test_a_cursor_of_now(runs: Runs, hub: LiveHub) -> None:
    """With nothing new since the cursor, an empty batch comes at once."""
    viewer = RunViewer(hub)
    await viewer.next()
    batch = await RunViewer(hub, after=viewer.batches[-1].position).next()
    assert (batch.changed, batch.unmatched, batch.deleted, batch.caught_up) == ([], [], [], True)


async def test_long_absence_comes_in_bounded_batches(runs: Runs) -> None:
    """What changed while a client was away comes in batches; only the last has caught up, and each can be resumed."""
    async with hub_of(runs, batch_runs=5) as hub:
        viewer = RunViewer(hub)
        await viewer.next()
        names = [f"r{n:02}" for n in range(23)]
        runs.create(*names)
        back = RunViewer(hub, after=viewer.batches[0].position)
        await back.caught_up()
        assert [run.run_id for batch in back.batches for run in batch.changed] == names
        assert [len(batch.changed) for batch in back.batches] == [5, 5, 5, 5, 3]
        again = RunViewer(hub, after=back.batches[1].position)
        await again.caught_up()
        assert [run.run_id for batch in again.batches for run in batch.changed] == names[10:]


@pytest.mark.parametrize("after", ["", "x", "0-0", "x-1", "x-" + "9" * 50])
async def test_bad_positions(runs: Runs, hub: LiveHub, after: str) -> None:
    """A position that is none of this storage is an invalid cursor, and leaves no viewer."""
    runs.create("a")
    with pytest.raises(InvalidCursor):
        await RunViewer(hub, after=after).next()
    assert (hub.viewers, hub.feeds) == (0, 0)


async def test_position_of_ninety_days_ago(runs: Runs, hub: LiveHub) -> None:
    """A client that comes back when deletions are forgotten is told to begin anew, not left with a run that is gone."""
    clock = Clock()
    runs.storage.inner = InMemoryRunStorage(clock=clock)
    runs.create("a")
    position = runs.storage.inner.changes(None, 1).position
    runs.storage.inner.delete(["a"])
    clock.advance_days(91)
    runs.storage.inner.delete(["another, while what is old is forgotten"])
    with pytest.raises(InvalidCursor, match="so old that deletions since are forgotten"):
        await RunViewer(hub, after=position).next()
    anew = RunViewer(hub)
    await anew.next()
    assert list(anew.known) == []


async def test_storage_replaced(runs: Runs, hub: LiveHub) -> None:
    """When the storage is replaced by another, its viewers are told to begin anew, and those who do see the new one."""
    runs.create("a")
    viewer = RunViewer(hub)
    await viewer.next()
    runs.storage.inner = InMemoryRunStorage()
    with pytest.raises(InvalidCursor):
        await viewer.next()
    runs.create("z")
    anew = RunViewer(hub)
    await anew.next()
    assert list(anew.known) == ["z"]


# ------------------------------------------------------------ nothing is lost


@pytest.mark.parametrize("place", ["before_changes", "after_changes", "before_page", "after_page"])
async def test_nothing_changed_in_between_is_lost(runs: Runs, hub: LiveHub, place: str) -> None:
    """Changes made just before or after any read of the feed, or of the list a viewer begins with, arrive."""
    runs.create("old")
    left = [5]

    def write_now() -> None:
        if left[0]:
            left[0] -= 1
            runs.create(f"new{left[0]}")
            runs.tag("old", str(left[0]))

    setattr(runs.storage, place, write_now)
    viewers = [RunViewer(hub)]
    while left[0]:
        await viewers[-1].next()
        viewers.append(RunViewer(hub))
    await viewers[-1].next()
    for viewer in viewers:
        if not viewer.batches or viewer.known.keys() != {"old", *(f"new{n}" for n in range(5))}:
            await viewer.until_there("old", *(f"new{n}" for n in range(5)))
        while dict(viewer.known["old"].tags)["n"] != "0":
            await viewer.next()


async def test_joiners_while_runs_change(runs: Runs, hub: LiveHub) -> None:
    """Whoever joins while a writer creates, moves and deletes runs ends with exactly what there is (weaknesses 41)."""
    total = 60

    def write() -> None:
        for n in range(total):
            runs.create(f"r{n}")
            runs.move(f"r{n}", et.RUN_START)
            if n % 3 == 0:
                runs.delete(f"r{n}")
            if n % 3 == 1:
                runs.move(f"r{n}", et.RUN_SUCCESS)

    writer = threading.Thread(target=write)
    writer.start()
    filters = (None, STARTED)
    viewers = [RunViewer(hub, filters[n % 2]) for n in range(30)]

    async def watch(viewer: RunViewer) -> None:
        await viewer.until(lambda: "end" in viewer.known or "end" in viewer.batches[-1].unmatched)

    watching = []
    for viewer in viewers:
        watching.append(asyncio.create_task(watch(viewer)))
        await asyncio.sleep(0.002)
    await asyncio.to_thread(writer.join)
    await until(lambda: all(viewer.batches for viewer in viewers))
    runs.create("end")
    await asyncio.gather(*watching)
    for n, viewer in enumerate(viewers):
        there = runs.storage.inner.page(filters[n % 2] or RunFilter(), limit=1000, parts=RunParts.TAGS).runs
        assert {run.run_id: run.status for run in viewer.known.values()} == {run.run_id: run.status for run in there}


@pytest.mark.parametrize("seed", range(3))
async def test_any_filter_any_changes(runs: Runs, seed: int) -> None:
    """Whatever happens, a client's list is what the storage answers for its filter; also a client who reads rarely,
    and one who reconnects."""
    chance = random.Random(seed)
    filters = [
        RunFilter(),
        STARTED,
        RunFilter(tags=(TagFilter("n", "1"),)),
        RunFilter(tags=(TagFilter("n", None),), pipeline_names=("p1",)),
        RunFilter(run_ids=("r1", "r2", "r3")),
        RunFilter(statuses=()),
        RunFilter(root_run_id="r1"),
    ]
    async with hub_of(runs, window_runs=6, batch_runs=4) as hub:
        viewers = [RunViewer(hub, wanted) for wanted in filters for _ in range(2)]
        for viewer in viewers:
            await viewer.caught_up()
        count = 0
        for _ in range(60):
            what, run_id = chance.randrange(6), f"r{chance.randrange(count + 1)}"
            if what == 0 or count == 0:
                runs.create(f"r{count}", pipeline=f"p{chance.randrange(3)}")
                count += 1
            elif (found := runs.storage.inner.get([run_id])) and what < 3:
                runs.tag(run_id, str(chance.randrange(3)))
            elif found and what < 5:
                runs.move(run_id, chance.choice([et.RUN_START, et.RUN_SUCCESS, et.RUN_STARTING]))
            elif found:
                runs.delete(run_id)
            if chance.random() < 0.1:
                await all_read(hub, runs)
                viewer = chance.choice(viewers)
                if viewer.batches[-1].position != feed_of(hub).position:
                    await viewer.next()
            if chance.random() < 0.05:
                index = chance.randrange(len(viewers))
                old = viewers[index]
                await old.close()
                viewers[index] = RunViewer(hub, filters[index // 2], after=old.batches[-1].position)
                viewers[index].known = old.known
                await viewers[index].next()
        end = runs.storage.inner.changes(None, 0).position
        for index, viewer in enumerate(viewers):
            while viewer.batches[-1].position != end:
                await viewer.next()
            there = runs.storage.inner.page(filters[index // 2], limit=1000, parts=RunParts.TAGS).runs
            assert {r: run._replace(heartbeat_at_us=None) for r, run in viewer.known.items()} == {
                run.run_id: run for run in there
            }


@pytest.mark.parametrize("window", [5, 100], ids=["from storage", "from the window"])
async def test_slow_viewer_catches_up(runs: Runs, window: int) -> None:
    """A viewer who reads nothing while many runs change gets every change later, in bounded batches, whether the window
    still holds them or not."""
    async with hub_of(runs, window_runs=window, batch_runs=4) as hub:
        slow, quick = RunViewer(hub), RunViewer(hub)
        await slow.next()
        await quick.next()
        names = [f"r{n:02}" for n in range(30)]
        for name in names:
            runs.create(name)
        await quick.until_there(*names)
        assert len(feed_of(hub)._window) <= window
        runs.delete("r07")
        await all_read(hub, runs)
        await slow.caught_up()
        assert slow.known.keys() == set(names) - {"r07"}
        assert max(len(batch.changed) for batch in slow.batches) <= 4
        runs.create("more")
        assert [run.run_id for run in (await slow.next()).changed] == ["more"]


async def test_rows_never_go_back(runs: Runs, hub: LiveHub) -> None:
    """A viewer whose list was read later than the feed's rows is not shown an older state of a run afterwards."""
    runs.create("r")
    other = RunViewer(hub)
    await other.next()
    held, release = threading.Event(), threading.Event()

    def wait_until_held() -> None:
        runs.storage.before_page = lambda: None
        runs.move("r", et.RUN_START)
        while not feed_of(hub)._window:
            time.sleep(0.001)

        def hold() -> None:
            held.set()
            release.wait(30)

        # The feed knows STARTED, and is not to learn of what follows before the viewer has read.
        runs.storage.before_changes = hold
        held.wait(30)
        runs.move("r", et.RUN_SUCCESS)

    runs.storage.before_page = wait_until_held
    viewer = RunViewer(hub)
    first = await viewer.next()
    assert [run.status for run in first.changed] == [RunStatus.SUCCESS]
    second = await viewer.next()
    assert [run.status for run in second.changed] == [RunStatus.SUCCESS]
    release.set()


# ------------------------------------------------------------ cost and ends


async def test_one_read_for_all_viewers(runs: Runs, hub: LiveHub) -> None:
    """A hundred viewers of different filters cost one reader: each change is read once."""
    filters = (None, STARTED, RunFilter(pipeline_names=("nightly",)), RunFilter(tags=(TagFilter("n", None),)))
    viewers = [RunViewer(hub, filters[n % 4]) for n in range(100)]
    for viewer in viewers:
        await viewer.next()
    assert (hub.viewers, hub.feeds) == (100, 1)
    runs.storage.got.clear()
    runs.create("r")
    for viewer in viewers:
        await viewer.next()
    assert runs.storage.got == [["r"]]


async def test_nothing_is_left(runs: Runs, hub: LiveHub) -> None:
    """When the last viewer has gone, however it went, nobody asks the storage any more."""
    viewers = [RunViewer(hub) for _ in range(100)]
    tasks = [asyncio.create_task(viewer.until_there("never")) for viewer in viewers]
    await until(lambda: all(viewer.batches for viewer in viewers))
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert (hub.viewers, hub.feeds) == (0, 0)
    await until(lambda: not any(task.get_name().startswith("daglens-live") for task in asyncio.all_tasks()))
    polls = runs.storage.polls
    runs.create("r")
    await RunViewer(hub).next()
    assert runs.storage.polls == polls + 1


async def test_a_stopped_viewer_is_bounded(runs: Runs) -> None:
    """One run that changes on and on, before a viewer who has stopped reading, doesn't make the server hold more."""
    runs.create("r")
    async with hub_of(runs, coalesce_s=0.0, poll_s=0.0) as hub:
        stopped = RunViewer(hub)
        await stopped.next()
        feed = feed_of(hub)
        for n in range(300):
            runs.tag("r", str(n))
            await all_read(hub, runs)
        assert (len(feed._window), feed.end) == (1, 300)
        assert len(feed._reads) <= 103
        assert dict((await stopped.next()).changed[0].tags)["n"] == "299"


async def test_storage_that_fails(runs: Runs, hub: LiveHub) -> None:
    """Who joins while the storage doesn't answer is told; who is there already waits, and misses nothing."""
    viewer = RunViewer(hub)
    await viewer.next()
    runs.storage.failing = True
    with pytest.raises(StorageUnavailable):
        await RunViewer(hub).next()
    polls = runs.storage.polls
    await until(lambda: runs.storage.polls > polls + 1)
    runs.storage.inner.add(NewRun("r", "p"))
    runs.storage.failing = False
    await viewer.until_there("r")


async def test_server_stops(runs: Runs) -> None:
    """Viewers of a server that stops are told so."""
    async with hub_of(runs) as hub:
        viewer = RunViewer(hub)
        await viewer.next()
        waiting = asyncio.create_task(viewer.next())
        await asyncio.sleep(0)
        await hub.close()
        with pytest.raises(ServerStopping):
            await waiting
        with pytest.raises(ServerStopping):
            await RunViewer(hub).next()


@pytest.mark.parametrize("cursor", ["position", "r1.WyJOIl0", "c1.WzFd", "c1."])
def test_cursors_of_other_things(cursor: str) -> None:
    """What is no cursor of a live list is told from one that is."""
    from daglens.resolvers import cursors

    with pytest.raises(InvalidCursor):
        cursors.parse_run_changes_cursor(cursor)
    assert cursors.parse_run_changes_cursor(cursors.run_changes_cursor("Ä-1")) == "Ä-1"
