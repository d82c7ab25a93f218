"""Events on their way to the storage."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest

from daglens.recorder.batch import BatchLimits, CannotRecord, EventWriter
from daglens.recorder.drafts import draft
from daglens.recorder.problems import Problems
from daglens.storage.errors import EventTooLarge, InvalidName, RunDeleted, StorageUnavailable
from daglens.storage.records import EventDraft, Head

PATIENCE_S = 30.0
QUICK = BatchLimits(first_pause_s=0.001, longest_pause_s=0.01)
LAZY = BatchLimits(max_wait_s=PATIENCE_S)


class Storage:
    """Takes batches, and fails when told to."""

    def __init__(self) -> None:
        self.batches: list[list[EventDraft]] = []
        self.calls = 0
        self.fail: Callable[[Sequence[EventDraft]], Exception | None] = lambda drafts: None
        self.arrived = threading.Condition()
        self.gate = threading.Event()
        self.gate.set()

    def append(self, drafts: Sequence[EventDraft]) -> Head:
        assert self.gate.wait(PATIENCE_S)
        with self.arrived:
            self.calls += 1
            self.arrived.notify_all()
            if (error := self.fail(drafts)) is not None:
                raise error
            known = {d.event_id for d in self.stored}
            self.batches.append([d for d in drafts if d.event_id not in known])
        return Head("run", "0" * 16, last_seq=len(self.stored))

    @property
    def stored(self) -> list[EventDraft]:
        return [event for batch in self.batches for event in batch]

    @property
    def messages(self) -> list[str]:
        return [event.message for event in self.stored]

    def wait_for(self, holds: Callable[[], bool]) -> None:
        with self.arrived:
            assert self.arrived.wait_for(holds, PATIENCE_S)


@pytest.fixture
def storage() -> Storage:
    return Storage()


@pytest.fixture
def make(storage: Storage) -> Iterator[Callable[..., EventWriter]]:
    made: list[EventWriter] = []

    def make(limits: BatchLimits = QUICK, **more: object) -> EventWriter:
        made.append(EventWriter(storage.append, Problems(), limits=limits, **more))  # type: ignore[arg-type]
        return made[-1]

    yield make
    storage.gate.set()
    for writer in made:
        writer.close(0.1)


def say(number: int) -> EventDraft:
    return draft("LOG_MESSAGE", str(number))


def test_an_event_arrives_without_a_flush(storage, make):
    """What is recorded is sent soon, whether anything follows or not."""
    make().add(say(1))
    storage.wait_for(lambda: storage.messages == ["1"])


def test_what_comes_together_goes_together(storage, make):
    """Events that come within the wait go in one append."""
    writer = make(LAZY)
    for number in range(50):
        writer.add(say(number))
    assert writer.flush()
    assert [len(batch) for batch in storage.batches] == [50]
    assert storage.messages == [str(number) for number in range(50)]


def test_a_hundred_events_go_at_once(storage, make):
    """A hundred events are sent without waiting for the rest of the time, and never more in one append."""
    writer = make(LAZY)
    for number in range(250):
        writer.add(say(number))
    storage.wait_for(lambda: len(storage.batches) >= 2)
    writer.flush()
    assert all(len(batch) <= 100 for batch in storage.batches)
    assert storage.messages == [str(number) for number in range(250)]


def test_order_holds_while_threads_flush(storage, make):
    """Events of one thread stay in their order whoever sends them; none is lost, none comes twice."""
    writer = make()

    def work(name: int) -> None:
        for number in range(300):
            writer.add(say(1000 * name + number))
            if number % 50 == 0:
                writer.flush()

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert writer.close() == 0
    numbers = [int(message) for message in storage.messages]
    for name in range(4):
        assert [n for n in numbers if n // 1000 == name] == [1000 * name + n for n in range(300)]


def test_a_failing_storage_is_tried_again(storage, make, capsys):
    """A storage that fails for a while gets everything later, in order, and that is said once."""
    storage.fail = lambda drafts: StorageUnavailable("Down.") if storage.calls < 6 else None
    writer = make()
    for number in range(10):
        writer.add(say(number))
    assert writer.close(PATIENCE_S) == 0
    assert storage.messages == [str(number) for number in range(10)]
    assert capsys.readouterr().err.count("Recording is behind") == 1


def test_a_retry_sends_the_same_ids(storage, make):
    """An append that was stored, and failed all the same, is stored once."""

    def stored_but_failed(drafts: Sequence[EventDraft]) -> Exception | None:
        if storage.calls == 1:
            storage.batches.append(list(drafts))
            return TimeoutError()
        return None

    storage.fail = stored_but_failed
    writer = make()
    writer.add(say(1))
    assert writer.close(PATIENCE_S) == 0
    assert storage.messages == ["1"]


def test_flush_does_not_wait_for_a_failing_storage(storage, make):
    """The pipeline is not held up while the storage fails; what isn't stored at the end is counted."""
    storage.fail = lambda drafts: OSError("gone")
    writer = make(BatchLimits(first_pause_s=PATIENCE_S))
    writer.add(say(1))
    storage.wait_for(lambda: storage.calls == 1)
    assert not writer.flush(PATIENCE_S)
    assert writer.close(0) == 1


def test_memory_is_bounded_while_the_storage_fails(storage, make):
    """Beyond the bound, what can be spared is dropped, and the log says how many; ends of steps and runs stay."""
    failing = threading.Event()
    failing.set()
    storage.fail = lambda drafts: OSError("gone") if failing.is_set() else None
    writer = make(BatchLimits(max_queued=10, first_pause_s=0.001, longest_pause_s=0.01))
    writer.add(say(-1))
    storage.wait_for(lambda: storage.calls >= 2)
    for number in range(100):
        writer.add(say(number))
    writer.add(draft("RUN_SUCCESS", "end"))
    failing.clear()
    assert writer.flush(PATIENCE_S, patient=True)
    assert writer.close() == 0
    assert storage.messages[:11] == ["-1", *map(str, range(9)), "end"]
    assert storage.stored[-1].event_type == "ENGINE_EVENT"
    assert storage.messages[-1].startswith("91 events were dropped")


def test_a_fast_producer_waits_for_a_slow_storage(storage, make):
    """While the storage works, nothing is dropped: the producer waits."""
    storage.gate.clear()
    writer = make(BatchLimits(max_queued=10, max_events=5))
    done = threading.Event()

    def produce() -> None:
        for number in range(40):
            writer.add(say(number))
        done.set()

    thread = threading.Thread(target=produce)
    thread.start()
    assert not done.wait(0.05)
    storage.gate.set()
    thread.join(PATIENCE_S)
    writer.flush()
    assert storage.messages == [str(number) for number in range(40)]


def test_an_event_that_is_too_large_is_replaced(storage, make, capsys):
    """The storage refuses one event: a note says what was dropped, and the rest is stored."""

    def too_large(drafts: Sequence[EventDraft]) -> Exception | None:
        large = [index for index, d in enumerate(drafts) if d.data.get("blob")]
        return EventTooLarge("5 bytes", index=large[0]) if large else None

    storage.fail = too_large
    writer = make(LAZY)
    events = [say(1), draft("STEP_OUTPUT", "2", {"blob": "xxxxx"}, step_key="a"), say(3)]
    for event in events:
        writer.add(event)
    assert writer.close() == 0
    assert [event.event_type for event in storage.stored] == ["LOG_MESSAGE", "ENGINE_EVENT", "LOG_MESSAGE"]
    assert "STEP_OUTPUT" in storage.messages[1]
    assert "refused" in capsys.readouterr().err


def test_an_end_that_is_too_large_is_kept_without_its_data(storage, make):
    """An event that ends a step is stored bare: the step doesn't stay open."""
    storage.fail = lambda drafts: next(
        (EventTooLarge("", index=index) for index, d in enumerate(drafts) if d.data.get("error")), None
    )
    writer = make(LAZY)
    writer.add(draft("STEP_FAILURE", "failed", {"attempt": 2, "error": {"message": "x"}}, step_key="a"))
    assert writer.close() == 0
    note, end = storage.stored
    assert (note.event_type, end.event_type) == ("ENGINE_EVENT", "STEP_FAILURE")
    assert end.data == {"attempt": 2}


def test_an_event_with_an_impossible_name_is_replaced(storage, make):
    """A refusal that doesn't name the event costs only that event."""
    storage.fail = lambda drafts: InvalidName("") if any(not d.event_type for d in drafts) else None
    writer = make(LAZY)
    for event in (say(1), draft("", "nameless"), say(3)):
        writer.add(event)
    assert writer.close() == 0
    assert [event.event_type for event in storage.stored] == ["LOG_MESSAGE", "ENGINE_EVENT", "LOG_MESSAGE"]


def bad(drafts: Sequence[EventDraft]) -> Exception | None:
    """A fault of a plug-in that some events meet."""
    return KeyError("odd") if any(d.data.get("bad") for d in drafts) else None


def test_an_event_that_nobody_foresaw_is_replaced(storage, make, capsys):
    """An event at which the storage fails again and again, for a reason that may never pass, is replaced by a note
    after a few tries; what is before and behind it is stored, in order, and it is said once."""
    storage.fail = bad
    writer = make()
    for number in range(150):
        writer.add(draft("LOG_MESSAGE", str(number), {"bad": number in (3, 120)}))
    assert writer.close(PATIENCE_S) == 0
    kinds = {event.event_type for event in storage.stored if event.message in ("3", "120")}
    assert kinds == set()
    assert [int(m) for m in storage.messages if m.isdecimal()] == [n for n in range(150) if n not in (3, 120)]
    notes = [index for index, event in enumerate(storage.stored) if event.event_type == "ENGINE_EVENT"]
    assert notes == [3, 120]
    assert storage.messages[3] == "Dropped an event 'LOG_MESSAGE': KeyError: 'odd'"
    assert storage.stored[3].data == {"metadataEntries": [{"label": "message", "text": "3"}]}
    assert capsys.readouterr().err.count("was refused") == 1


def test_an_end_that_nobody_foresaw_is_kept_without_its_data(storage, make):
    """Where the event ends a step, it is stored bare beside its note."""
    storage.fail = bad
    writer = make()
    writer.add(draft("STEP_SUCCESS", "well", {"bad": True, "durationSeconds": 1.0}, step_key="a"))
    assert writer.close(PATIENCE_S) == 0
    assert [event.event_type for event in storage.stored] == ["ENGINE_EVENT", "STEP_SUCCESS"]
    assert storage.stored[1].data == {"durationSeconds": 1.0}


def test_a_storage_that_fails_as_nobody_foresaw_loses_nothing(storage, make):
    """A storage that fails at everything, whatever its error, is one that is away: it is tried until it is back, and
    nothing is dropped."""
    away = threading.Event()
    away.set()
    storage.fail = lambda drafts: KeyError("odd") if away.is_set() else None
    writer = make()
    for number in range(10):
        writer.add(say(number))
    storage.wait_for(lambda: storage.calls > 10)
    away.clear()
    assert writer.close(PATIENCE_S) == 0
    assert storage.messages == [str(number) for number in range(10)]


@pytest.mark.parametrize("error", [RunDeleted("run"), CannotRecord("No.")])
def test_recording_stops_for_good(storage, make, capsys, error):
    """A run that was deleted takes nothing more: said once, and nothing is tried again."""
    storage.fail = lambda drafts: error
    writer = make()
    writer.add(say(1))
    assert writer.flush(PATIENCE_S, patient=True)
    writer.add(say(2))
    assert writer.flush()
    assert writer.close() == 0
    assert storage.calls == 1
    assert capsys.readouterr().err.count("daglens:") == 1


def test_an_event_after_the_end_is_told(storage, make, capsys):
    """What comes after close is dropped with a word."""
    writer = make()
    writer.close()
    writer.add(say(1))
    assert "after the end" in capsys.readouterr().err
    assert storage.stored == []


def test_heads_are_handed_on(storage, make):
    """Each append's answer is heard, and a listener that raises ends nothing."""
    heads: list[Head] = []

    def on_head(head: Head) -> None:
        heads.append(head)
        raise RuntimeError

    writer = make(LAZY, on_head=on_head)
    writer.add(say(1))
    writer.flush()
    writer.add(say(2))
    assert writer.close() == 0
    assert [head.last_seq for head in heads] == [1, 2]


def test_waiting_for_a_storage_that_does_not_answer_is_said(storage, make, capsys):
    """Who waits for the storage is told so, once, and how long at most; at the end also how to end it."""
    writer = make(replace(QUICK, silence_s=0.001))
    storage.gate.clear()
    writer.add(say(1))
    assert not writer.flush(0.1)
    assert not writer.flush(0.1)
    said = capsys.readouterr().err
    assert said == "daglens: The storage has not answered yet. It is waited for 0 s more; then the pipeline goes on.\n"
    writer.close(0.1)
    said = capsys.readouterr().err
    assert said == (
        "daglens: The last events of the run wait for the storage, at most 0 s more. Ctrl-C ends the wait.\n"
    )


def test_a_storage_that_answers_is_waited_for_in_silence(storage, make, capsys):
    """Nothing is said while it takes what comes, and while there is nothing to wait for."""
    writer = make(replace(QUICK, silence_s=PATIENCE_S))
    writer.add(say(1))
    assert writer.flush(PATIENCE_S)
    assert writer.close(PATIENCE_S) == 0
    assert capsys.readouterr().err == ""


class Recorded:
    """A stderr that is told as events, by a thread whose events are waited for."""

    def __init__(self, writer: EventWriter) -> None:
        self._writer = writer
        self.took = True

    def write(self, text: str) -> None:
        """See TextIO."""
        telling = threading.Thread(target=self._writer.add, args=[say(2)], daemon=True)
        telling.start()
        telling.join(PATIENCE_S / 10)
        self.took = not telling.is_alive()

    def flush(self) -> None:
        """See TextIO."""


def test_what_is_said_while_waiting_holds_nobody_up(storage, make, monkeypatch):
    """Others tell events meanwhile: a stderr that goes to a logger that is recorded waits for them."""
    writer = make(replace(QUICK, silence_s=0.001))
    storage.gate.clear()
    writer.add(say(1))
    stderr = Recorded(writer)
    with monkeypatch.context() as patched:
        patched.setattr("sys.stderr", stderr)
        assert not writer.flush(0.1)
    assert stderr.took
    storage.gate.set()
    assert writer.close(PATIENCE_S) == 0
    assert storage.messages == ["1", "2"]


def test_what_is_said_of_late_events_holds_nobody_up(make, monkeypatch):
    """Nor does what is said of an event that comes too late."""
    writer = make()
    assert writer.close() == 0
    stderr = Recorded(writer)
    with monkeypatch.context() as patched:
        patched.setattr("sys.stderr", stderr)
        writer.add(say(1))
    assert stderr.took


def test_what_is_asked_needs_no_thread(monkeypatch):
    """Where no thread can be started to say that it takes long, the storage is asked all the same."""

    def none_left(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    asked = []
    monkeypatch.setattr(threading.Thread, "start", none_left)
    with Problems().waiting():
        asked.append(True)
    assert asked


def test_ctrl_c_before_a_forked_child_sends(storage):
    """Where whoever records also sends: Ctrl-C on the way to it doesn't keep back what comes later."""
    writer = EventWriter(storage.append, Problems())
    writer.start_in_child()

    class Interrupted(set[int]):
        came = False

        def add(self, thread: int) -> None:
            super().add(thread)
            if not self.came:
                self.came = True
                raise KeyboardInterrupt

    writer._draining = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        writer.add(say(1))
    writer.add(say(2))
    assert storage.messages == ["1", "2"]


def test_an_event_of_the_storage_itself(storage):
    """In a forked child, where whoever records also sends: a storage that logs while it appends, to a handler that
    records, holds nobody up. Its event comes next."""
    writer = EventWriter(storage.append, Problems())
    writer.start_in_child()

    def fail(drafts: Sequence[EventDraft]) -> None:
        if drafts[0].message == "first":
            writer.add(draft("LOG_MESSAGE", "appending"))

    storage.fail = fail
    records = threading.Thread(target=lambda: writer.add(draft("LOG_MESSAGE", "first")), daemon=True)
    records.start()
    records.join(PATIENCE_S)
    assert not records.is_alive()
    assert storage.messages == ["first", "appending"]
