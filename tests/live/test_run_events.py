"""The live feed of a run's events: history first, then live; each once, in order, none skipped."""

from __future__ import annotations

import asyncio
import itertools
import threading

import pytest

from daglens import upkeep
from daglens.resolvers import cursors
from daglens.resolvers.errors import InvalidCursor
from daglens.resolvers.live import EventBatch, LiveHub, RunGone, ServerStopping
from daglens.storage import event_types as et
from daglens.storage.errors import RunNotFound, StorageUnavailable
from daglens.storage.records import EventDraft, EventFilter, EventQuery, NewRun, RunStatus
from tests.live.conftest import QUICK, History, Viewer, hub_of, until


async def test_first_batch_comes_at_once(history: History, hub: LiveHub) -> None:
    """A run without events has a first batch all the same: empty, at the present, with the log's beginning."""
    history.create()
    batch = await Viewer(hub).next()
    assert batch == EventBatch(None, [], 0, True, RunStatus.NOT_STARTED)


async def test_history_then_live(history: History, hub: LiveHub) -> None:
    """What was there comes first, then what is written; the batches say when the present is reached."""
    history.create()
    history.write(2500)
    viewer = Viewer(hub)
    await viewer.through(2500)
    assert [batch.caught_up for batch in viewer.batches][-1]
    assert not viewer.batches[0].caught_up
    history.write(3)
    await viewer.through(2503)
    assert viewer.seqs == list(range(1, 2504))


async def test_batches_are_bounded(history: History) -> None:
    """No batch holds more events or more bytes than is set, however long the history; one large event goes alone."""
    history.create()
    history.write(50)
    history.write(10, size=30_000)
    history.end()
    async with hub_of(history, batch_events=20, batch_bytes=20_000) as hub:
        viewer = Viewer(hub)
        assert await viewer.all() == list(range(1, 62))
        assert max(len(batch.events) for batch in viewer.batches) <= 20
        assert all(
            len(batch.events) == 1 or sum(len(event.message) for event in batch.events) <= 20_000
            for batch in viewer.batches
        )


async def test_resumes_at_any_cursor(history: History, hub: LiveHub) -> None:
    """A batch's cursor continues exactly behind it."""
    history.create()
    history.write(300)
    first = Viewer(hub)
    batch = await first.next()
    assert isinstance(batch, EventBatch)
    await first.close()
    history.write(10)
    second = Viewer(hub, after=cursors.event_cursor(batch.incarnation, batch.through_seq))
    await second.through(310)
    assert first.seqs + second.seqs == list(range(1, 311))


@pytest.mark.parametrize("hints", [True, False], ids=["hints", "polls only"])
@pytest.mark.parametrize("place", ["before_watch", "before_read", "after_read"])
async def test_nothing_stored_in_between_is_lost(history: History, hub: LiveHub, place: str, hints: bool) -> None:
    """Events stored while the watch is being set up, or just before or after a read, are delivered (weaknesses 1)."""
    history.create()
    history.write(5)
    history.events.hints = hints
    left = [7]

    def write_now(query: EventQuery | None = None) -> None:
        if left[0]:
            left[0] -= 1
            history.write(2)

    setattr(history.events, place, write_now)
    viewer = Viewer(hub)
    while left[0]:
        await viewer.next()
        if place == "before_watch":
            break
        if left[0]:
            history.write(1)
    setattr(history.events, place, lambda query=None: None)
    end = history.write(1).head.last_seq
    await viewer.through(end)
    # A read that began before may write two more just behind the last one.
    assert viewer.seqs == list(range(1, len(viewer.seqs) + 1))
    assert len(viewer.seqs) >= end


async def test_joiners_while_events_are_written(history: History, hub: LiveHub) -> None:
    """Whoever joins while a writer writes gets every event, each once, in order (weaknesses 41)."""
    history.create()
    total, joiners = 400, 40
    wrote = asyncio.Semaphore(0)
    loop = asyncio.get_running_loop()

    def write() -> None:
        for _ in range(total):
            history.write(1)
            loop.call_soon_threadsafe(wrote.release)
        history.end()

    writer = threading.Thread(target=write)
    writer.start()
    viewers = []
    for _ in range(joiners):
        for _ in range(total // joiners):
            await wrote.acquire()
        viewers.append(asyncio.create_task(Viewer(hub).all()))
    got = await asyncio.gather(*viewers)
    writer.join()
    assert got == [list(range(1, total + 2))] * joiners


@pytest.mark.parametrize("poll_s", [0.02, 3600.0], ids=["polls only", "hints only"])
async def test_hint_or_poll_is_enough(history: History, poll_s: float) -> None:
    """Polling alone delivers; so does the storage's watch, without any poll."""
    history.events.hints = poll_s > 1
    history.create()
    async with hub_of(history, poll_s=poll_s) as hub:
        viewer = Viewer(hub)
        await viewer.next()
        await until(lambda: history.events.watches > 0)
        for n in range(1, 6):
            history.write(1)
            await viewer.through(n)
        await viewer.close()


@pytest.mark.parametrize("matching", [[], [1], [3501], [1200, 1201, 3000]])
async def test_filter_moves_the_cursor(history: History, hub: LiveHub, matching: list[int]) -> None:
    """Events left out move the cursor; at least every 1,000 of them a batch says so."""
    history.create()
    kinds = [et.ENGINE_EVENT if seq in matching else et.LOG_MESSAGE for seq in range(1, 3502)]
    history.instance.append("run", [EventDraft(kind) for kind in kinds])
    viewer = Viewer(hub, filter=EventFilter(event_types=[et.ENGINE_EVENT]))
    await viewer.through(3501)
    assert viewer.seqs == matching
    ends = [0, *(batch.through_seq for batch in viewer.batches)]
    assert max(end - start for start, end in itertools.pairwise(ends)) <= 1000
    assert [batch.caught_up for batch in viewer.batches] == [False] * (len(ends) - 2) + [True]
    await viewer.close()


async def test_filtered_feed_says_now_and_then_that_it_moved(history: History) -> None:
    """A quiet filtered feed whose cursor has moved sends an empty batch after a while (10 s; shorter here)."""
    history.create()
    async with hub_of(history, still_s=0.05) as hub:
        viewer = Viewer(hub, filter=EventFilter(min_level=40))
        await viewer.next()
        history.write(7)
        batch = await viewer.next()
        assert isinstance(batch, EventBatch)
        assert (batch.events, batch.through_seq, batch.caught_up) == ([], 7, True)


async def test_feed_ends_with_the_run(history: History, hub: LiveHub) -> None:
    """A feed completes when the run is final, all is delivered, and nothing more came for a while."""
    history.create()
    viewer = Viewer(hub)
    await viewer.next()
    history.write(1, event_type=et.RUN_START)
    history.end()
    assert await viewer.all() == [1, 2]
    assert viewer.batches[-1].run_status is RunStatus.SUCCESS


async def test_late_events_are_delivered(history: History) -> None:
    """What comes after the end, within the wait, is delivered, and the wait begins again."""
    history.create()
    history.end()
    async with hub_of(history, linger_s=3600.0) as hub:
        viewer = Viewer(hub)
        await viewer.through(1)
        for seq in range(2, 5):
            history.write(1)
            await viewer.through(seq)
        hub._runs["run"].settings = QUICK
        history.write(1)
        assert await viewer.all() == [1, 2, 3, 4, 5]


async def test_last_moves_of_a_filtered_feed_are_told(history: History, hub: LiveHub) -> None:
    """Before a filtered feed completes, its cursor has come to the log's end."""
    history.create()
    viewer = Viewer(hub, filter=EventFilter(event_types=["nothing"]))
    await viewer.next()
    history.write(4)
    history.end()
    assert await viewer.all() == []
    assert viewer.batches[-1].through_seq == 5


async def test_presumed_failure_does_not_end_the_feed(history: History, hub: LiveHub) -> None:
    """A run presumed dead stays watched: its recorder may come back with the true end, which then ends the feed."""
    history.create()
    history.create("other")
    history.instance.append("run", [EventDraft(et.RUN_FAILURE, data={"presumed": True})])
    history.end("other")
    viewer, other = Viewer(hub), Viewer(hub, "other")
    first = await viewer.next()
    assert isinstance(first, EventBatch)
    assert first.run_status is RunStatus.FAILURE
    reading = asyncio.create_task(viewer.next())
    await other.all()  # the wait that ends a feed has passed for both
    assert not reading.done()
    history.end()
    await reading
    assert await viewer.all() == [1, 2]
    assert viewer.batches[-1].run_status is RunStatus.SUCCESS


async def test_imported_run_that_is_final_ends(history: History, hub: LiveHub) -> None:
    """A run whose row alone says that it is final has a feed of one empty batch."""
    history.instance.create_run(NewRun("run", "nightly", status=RunStatus.CANCELED))
    viewer = Viewer(hub)
    assert await viewer.all() == []
    assert [batch.run_status for batch in viewer.batches] == [RunStatus.CANCELED]


async def test_deleted_run_ends_the_feed(history: History, hub: LiveHub) -> None:
    """A viewer of a run that is deleted is told, and its feed ends."""
    history.create()
    history.write(3)
    viewer = Viewer(hub)
    await viewer.through(3)
    await asyncio.to_thread(upkeep.delete_run, history.instance, "run")
    await viewer.all()
    assert viewer.messages[-1] == RunGone("run")


@pytest.mark.parametrize("run_id", ["nobody", "", "\0", "x" * 300, "../../etc", "\ud800"])
async def test_unknown_run(history: History, hub: LiveHub, run_id: str) -> None:
    """A run that isn't there, or whose id can't be one, is RunNotFound; nothing of it stays."""
    with pytest.raises(RunNotFound):
        await Viewer(hub, run_id).next()
    assert hub.feeds == 0


async def test_cursor_of_another_log(history: History, hub: LiveHub) -> None:
    """A cursor of another run's log, one beyond the head, and one that is none are refused."""
    history.create()
    history.create("other")
    history.write(3)
    mine = history.write(1).head.incarnation
    others = history.write(1, "other").head.incarnation
    for cursor in (cursors.event_cursor(others, 1), cursors.event_cursor(mine, 5), "e1.nonsense", ""):
        with pytest.raises(InvalidCursor):
            await Viewer(hub, after=cursor).next()
    viewer = Viewer(hub, after=cursors.event_cursor(mine, 4))
    batch = await viewer.next()
    assert isinstance(batch, EventBatch)
    assert (batch.events, batch.through_seq) == ([], 4)
    await viewer.close()
    assert hub.feeds == 0


async def test_outage_delays_and_loses_nothing(history: History, caplog: pytest.LogCaptureFixture) -> None:
    """While a run can't be read its viewers wait, one line says so, other runs go on; afterwards nothing is missing."""
    history.create()
    history.create("other")
    async with hub_of(history) as hub:
        viewer, other = Viewer(hub), Viewer(hub, "other")
        await viewer.next()
        await other.next()
        history.events.failing.add("run")
        history.write(5)
        for n in range(1, 30):
            history.write(1, "other")
            await other.through(n)
        assert [r.message for r in caplog.records if r.levelname == "WARNING"].count(
            "Run 'run': The storage does not answer. Told to fail. Its viewers wait; it is tried until it answers."
        ) == 1
        history.events.failing.clear()
        await viewer.through(5)
        assert viewer.seqs == [1, 2, 3, 4, 5]
        await viewer.close()
        await other.close()


async def test_a_bug_of_a_storage_is_in_the_log(history: History, caplog: pytest.LogCaptureFixture) -> None:
    """What nobody foresaw is logged with its traceback, once, since the sentence for clients tells nothing of it."""
    history.create()

    def broken(query: EventQuery) -> None:
        raise KeyError("sprocket")

    async with hub_of(history) as hub:
        viewer = Viewer(hub)
        await viewer.next()
        history.events.before_read = broken
        history.write(1)
        await until(lambda: "sprocket" in caplog.text)
        history.events.before_read = lambda query: None
        await viewer.through(1)
        await viewer.close()
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert record.exc_info is not None


async def test_joining_during_an_outage_is_told(history: History, hub: LiveHub) -> None:
    """Who subscribes while the storage is away hears so, and leaves nothing behind."""
    history.create()
    history.events.failing.add("run")
    with pytest.raises(StorageUnavailable):
        await Viewer(hub).next()
    assert hub.feeds == 0


async def test_history_read_survives_an_outage(history: History) -> None:
    """A viewer in the middle of a long history waits for the storage, and goes on where it was."""
    history.create()
    history.write(100)
    async with hub_of(history, batch_events=10) as hub:
        viewer = Viewer(hub)
        await viewer.next()
        history.events.failing.add("run")
        pending = asyncio.create_task(viewer.through(100))
        failed = len(history.events.polled) + 2
        await until(lambda: not (len(history.events.polled) < failed))
        assert not pending.done()
        history.events.failing.clear()
        await pending
        assert viewer.seqs == list(range(1, 101))
        await viewer.close()


async def test_one_read_whoever_watches(history: History, hub: LiveHub) -> None:
    """New events are read from the storage once, for one viewer as for fifty."""
    history.create()
    viewers = [Viewer(hub) for _ in range(50)]
    await asyncio.gather(*(viewer.next() for viewer in viewers))
    assert len(history.events.reads) <= 3  # joiners share
    before = len(history.events.reads)
    for n in range(1, 11):
        history.write(1)
        await asyncio.gather(*(viewer.through(n) for viewer in viewers))
    # A hint and a poll may each ask for a look; fifty viewers never do.
    assert len(history.events.reads) - before <= 30
    assert all(viewer.seqs == list(range(1, 11)) for viewer in viewers)
    await asyncio.gather(*(viewer.close() for viewer in viewers))


async def test_one_poll_for_all_runs(history: History, hub: LiveHub) -> None:
    """All watched runs are polled by one call."""
    run_ids = [history.create(f"run {n}") for n in range(10)]
    viewers = [Viewer(hub, run_id) for run_id in run_ids]
    await asyncio.gather(*(viewer.next() for viewer in viewers))
    seen = len(history.events.polled)
    await until(lambda: not (len(history.events.polled) < seen + 3))
    assert all(sorted(polled) == sorted(run_ids) for polled in history.events.polled[seen:])
    await asyncio.gather(*(viewer.close() for viewer in viewers))


async def test_viewers_gone_leave_nothing(history: History, hub: LiveHub) -> None:
    """A hundred viewers who go, wherever they stand, leave no feed, no watch and no task."""
    history.create()
    history.write(3)
    before = asyncio.all_tasks()
    viewers = [Viewer(hub) for _ in range(100)]
    reading = [asyncio.create_task(viewer.through(9)) for viewer in viewers]
    await asyncio.gather(*(Viewer(hub).next() for _ in range(3)))
    for task in reading:
        task.cancel()
    await asyncio.wait(reading)
    assert hub.viewers == 0
    assert hub.feeds == 0
    await until(lambda: not (asyncio.all_tasks() - before))
    assert history.events.watches == 0


async def test_slow_viewer_holds_nothing(history: History) -> None:
    """A viewer that stops reading holds no events on the server, and later gets every one it missed, each once."""
    history.create()
    async with hub_of(history, window_events=200, window_bytes=100_000) as hub:
        slow, quick = Viewer(hub), Viewer(hub)
        await slow.next()
        await quick.next()
        for n in range(1, 21):
            history.write(250)
            await quick.through(n * 250)
        feed = hub._runs["run"]
        assert len(feed._window) <= 200
        assert feed._window_bytes <= 100_000
        await slow.through(5000)
        assert slow.seqs == list(range(1, 5001))
        await slow.close()
        await quick.close()


async def test_watch_that_cannot_be_opened(history: History, hub: LiveHub, caplog: pytest.LogCaptureFixture) -> None:
    """Where the storage's watch fails, one line says so, and polling delivers."""

    def fail() -> None:
        raise StorageUnavailable("No connection left.")

    history.events.before_watch = fail
    history.create()
    viewer = Viewer(hub)
    await viewer.next()
    history.write(3)
    await viewer.through(3)
    assert [r.message for r in caplog.records if "No connection left." in r.message] == [
        "No hints of new events, only a look every 0.02 s: The storage does not answer. No connection left."
    ]
    await viewer.close()


async def test_watch_that_takes_its_time(history: History, hub: LiveHub) -> None:
    """Polling doesn't wait for the watch to be opened; one that is opened after all viewers have gone is stopped."""
    opened = threading.Event()

    def wait() -> None:
        opened.wait()

    history.events.before_watch = wait
    history.create()
    viewer = Viewer(hub)
    await viewer.next()
    history.write(3)
    await viewer.through(3)
    await viewer.close()
    opened.set()
    await hub.close()
    assert history.events.watches == 0


async def test_watch_is_kept_between_viewers(history: History) -> None:
    """Viewers who come one after the other find the watch open; each still sees everything."""
    history.create()
    begun = 0

    def count() -> None:
        nonlocal begun
        begun += 1

    history.events.before_watch = count
    async with hub_of(history, watch_idle_s=3600.0) as hub:
        for n in range(1, 6):
            viewer = Viewer(hub)
            await viewer.next()
            history.write(1)
            await viewer.through(n)
            await viewer.close()
            await until(lambda: hub.feeds == 0)
    assert begun == 1
    assert history.events.watches == 0


async def test_stopping_server_tells_its_viewers(history: History) -> None:
    """Who still reads when the hub is closed is told to come again; who comes afterwards, too."""
    history.create()
    async with hub_of(history) as hub:
        viewer = Viewer(hub)
        await viewer.next()
        reading = asyncio.create_task(viewer.next())
        await until(lambda: bool(history.events.polled))
        await hub.close()
        with pytest.raises(ServerStopping):
            await reading
        with pytest.raises(ServerStopping):
            await Viewer(hub).next()


async def test_a_filtered_feed_may_be_ahead_of_what_others_have_read(history: History) -> None:
    """Who reads history by a filter of its own meets events that the hub hasn't read yet. It goes on from there: its
    cursor never moves back, and nothing comes twice."""
    history.create()
    history.write(300)
    history.events.hints = False
    left = [500]

    def write_more(query: EventQuery) -> None:
        if query.filter is not None and left[0]:
            history.write(left.pop() or 0)
            left.append(0)

    history.events.before_read = write_more
    async with hub_of(history, poll_s=3600.0, batch_events=90) as hub:
        viewer = Viewer(hub, filter=EventFilter(event_types=[et.LOG_MESSAGE]))
        await viewer.through(800)
        assert viewer.seqs == list(range(1, 801))
        places = [batch.through_seq for batch in viewer.batches]
        assert places == sorted(places)
        assert [batch.caught_up for batch in viewer.batches] == [False] * (len(places) - 1) + [True]


async def test_resumes_beyond_what_the_hub_has_read(history: History) -> None:
    """Who comes back with a cursor of another server, which was quicker, goes on from there: nothing comes twice."""
    history.create()
    history.write(1)
    async with hub_of(history, batch_events=10, coalesce_s=0.02) as hub:
        early = Viewer(hub)
        batch = await early.until(lambda batch: batch.caught_up)
        history.write(200)
        late = Viewer(hub, after=cursors.event_cursor(batch.incarnation, 150))
        await late.until(lambda batch: batch.caught_up)
        history.write(5)
        history.end()
        assert await late.all() == list(range(151, 208))
        places = [batch.through_seq for batch in late.batches]
        assert places == sorted(places)
        assert await early.all() == list(range(1, 208))
