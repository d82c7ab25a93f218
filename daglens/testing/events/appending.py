"""Appending events, and reading back what was stored."""

from __future__ import annotations

import json
from typing import Any

import pytest

from daglens.storage.contract import EventLogStorage
from daglens.storage.errors import EventTooLarge, InvalidName
from daglens.storage.records import EventDraft, EventRecord, LogLevel
from daglens.testing.events.topic import EventTopic, head, identified, logged, messages, read, seqs, texts
from daglens.testing.names import IMPOSSIBLE_NAMES


class EventAppending(EventTopic):
    """`append`."""

    def test_seqs_are_dense_from_one(self, storage: EventLogStorage) -> None:
        """The first append makes the log; each event gets the next seq, in the order given."""
        first = storage.append("r1", messages(1, 3))
        assert (first.accepted, first.duplicates, first.first_seq, first.last_seq) == (3, 0, 1, 3)
        assert first.head.last_seq == 3
        second = storage.append("r1", messages(4, 4))
        assert (second.accepted, second.duplicates, second.first_seq, second.last_seq) == (1, 0, 4, 4)
        assert second.head == head(storage)
        events = read(storage).events
        assert seqs(events) == [1, 2, 3, 4]
        assert texts(events) == ["1", "2", "3", "4"]

    def test_large_batch_keeps_its_order(self, storage: EventLogStorage) -> None:
        """A thousand events in one call stand in the order in which they were given."""
        appended = storage.append("r1", messages(1, 1000))
        assert (appended.first_seq, appended.last_seq) == (1, 1000)
        events = read(storage).events
        assert seqs(events) == list(range(1, 1001))
        assert texts(events) == [str(number) for number in range(1, 1001)]

    def test_nothing_to_append(self, storage: EventLogStorage) -> None:
        """An empty batch stores nothing and takes no seq."""
        storage.append("r1", messages(1, 2))
        appended = storage.append("r1", [])
        assert (appended.accepted, appended.duplicates, appended.first_seq, appended.last_seq) == (0, 0, None, None)
        assert appended.head.last_seq == 2
        assert storage.append("r1", messages(3, 3)).first_seq == 3

    def test_runs_have_their_own_seqs(self, storage: EventLogStorage) -> None:
        """Each run counts for itself, and its events are read under its id alone."""
        storage.append("r1", messages(1, 2))
        storage.append("r2", messages(10, 10))
        storage.append("r1", messages(3, 3))
        assert texts(read(storage, "r1").events) == ["1", "2", "3"]
        assert [(e.run_id, e.seq, e.message) for e in read(storage, "r2").events] == [("r2", 1, "10")]

    def test_every_field_reads_back(self, storage: EventLogStorage) -> None:
        """An event is read exactly as it was given."""
        data = {"label": "ü😀\u2028", "n": 2**53 + 1, "x": [1.5, None, True, {"": "'\"\\"}], "attempt": 1}
        storage.append(
            "r1",
            [
                EventDraft(
                    "STEP_MATERIALIZATION",
                    step_key="load",
                    level=LogLevel.WARNING,
                    message="many\nlines\tand 日本語 'quoted' \"\\",
                    timestamp_us=1_700_000_000_000_001,
                    event_id="e-1",
                    data=data,
                )
            ],
        )
        (event,) = read(storage).events
        assert event._replace(data="") == EventRecord(
            run_id="r1",
            seq=1,
            event_id="e-1",
            event_type="STEP_MATERIALIZATION",
            step_key="load",
            level=30,
            message="many\nlines\tand 日本語 'quoted' \"\\",
            timestamp_us=1_700_000_000_000_001,
            data="",
        )
        assert json.loads(event.data) == data

    def test_absent_fields(self, storage: EventLogStorage) -> None:
        """What wasn't given is None, empty, INFO, or the storage's time."""
        storage.append("r1", [EventDraft("ENGINE_EVENT")])
        (event,) = read(storage).events
        assert (event.event_id, event.step_key, event.level, event.message) == (None, None, 20, "")
        assert json.loads(event.data) == {}
        assert event.timestamp_us > 0

    def test_every_level(self, storage: EventLogStorage) -> None:
        """Levels are read as numbers."""
        storage.append("r1", [logged(1, level=level) for level in LogLevel])
        assert [event.level for event in read(storage).events] == [10, 20, 30, 40, 50]

    def test_unknown_event_type_is_kept_whole(self, storage: EventLogStorage) -> None:
        """An event of a newer writer is stored like any other."""
        storage.append("r1", [EventDraft("ASSET_OBSERVED", step_key="s", message="m", data={"any": ["thing"]})])
        (event,) = read(storage).events
        assert (event.event_type, event.step_key, event.message) == ("ASSET_OBSERVED", "s", "m")
        assert json.loads(event.data) == {"any": ["thing"]}

    @pytest.mark.parametrize("timestamp_us", [0, 1, 2**31 * 10**6 + 1, 2**53 + 1, 253_402_300_799_999_999])
    def test_times_need_64_bits(self, storage: EventLogStorage, timestamp_us: int) -> None:
        """Times beyond 2^31 seconds and 2^53 microseconds keep their last digit, in events, head and steps."""
        run_start = EventDraft("RUN_START", timestamp_us=timestamp_us)
        storage.append("r1", [run_start, EventDraft("STEP_START", step_key="s", timestamp_us=timestamp_us)])
        assert [event.timestamp_us for event in read(storage).events] == [timestamp_us] * 2
        assert head(storage).state.started_at_us == timestamp_us
        assert storage.steps(["r1"])["r1"][0].started_at_us == timestamp_us

    def test_text_that_databases_refuse(self, storage: EventLogStorage) -> None:
        """NUL and lone surrogates in messages and data read as U+FFFD; the event isn't lost for them."""
        data = {"a\0b": ["\0", "\ud800x", {"\udfff": "\\u0000"}], "ok": "😀"}
        storage.append("r1", [EventDraft("LOG_MESSAGE", message="a\0b\ud800c", data=data)])
        (event,) = read(storage).events
        assert event.message == "a\ufffdb\ufffdc"
        assert json.loads(event.data) == {
            "a\ufffdb": ["\ufffd", "\ufffdx", {"\ufffd": "\\u0000"}],
            "ok": "😀",
        }

    def test_numbers_that_are_no_json(self, storage: EventLogStorage) -> None:
        """NaN and infinities read as null."""
        storage.append("r1", [EventDraft("LOG_MESSAGE", data={"x": [float("nan"), float("inf"), -1.5]})])
        assert json.loads(read(storage).events[0].data) == {"x": [None, None, -1.5]}

    def test_long_message_is_kept_or_cut_aloud(self, storage: EventLogStorage) -> None:
        """A message above the limit is cut and says how long it was; nothing is cut silently."""
        message = "ü" * 3_000_000
        storage.append("r1", [EventDraft("LOG_MESSAGE", message=message)])
        stored = read(storage).events[0].message
        assert stored == message or (len(stored) < len(message) and "3000000" in stored and stored[:100] == "ü" * 100)

    @pytest.mark.parametrize("place", [0, 1, 2])
    def test_too_large_event_refuses_its_batch(self, storage: EventLogStorage, place: int) -> None:
        """Data above the limit: EventTooLarge names the event, and nothing of its batch is stored."""
        storage.append("r1", messages(1, 2))
        before = head(storage)
        batch = identified(3, 4)
        batch.insert(place, EventDraft("STEP_START", step_key="s", data={"x": "y" * self.max_data_bytes}))
        with pytest.raises(EventTooLarge) as caught:
            storage.append("r1", batch)
        assert caught.value.index == place
        assert head(storage) == before
        assert texts(read(storage).events) == ["1", "2"]
        assert list(storage.steps(["r1"]).get("r1", ())) == []
        # Its ids are free, so the writer can send the rest.
        assert storage.append("r1", identified(3, 4)).accepted == 2
        assert seqs(read(storage).events) == [1, 2, 3, 4]

    def test_largest_event_is_taken(self, storage: EventLogStorage) -> None:
        """Data of exactly the limit is stored."""
        data = {"x": "y" * (self.max_data_bytes - len('{"x":""}'))}
        storage.append("r1", [EventDraft("LOG_MESSAGE", data=data)])
        assert json.loads(read(storage).events[0].data) == data

    @pytest.mark.parametrize("name", IMPOSSIBLE_NAMES, ids=ascii)
    @pytest.mark.parametrize("place", ["event_type", "step_key", "event_id", "run_id"])
    def test_impossible_name_refuses_its_batch(self, storage: EventLogStorage, place: str, name: str) -> None:
        """A name that can't be one is InvalidName, and nothing of the batch is stored."""
        storage.append("r1", messages(1, 1))
        before = head(storage)
        fields: dict[str, Any] = {"event_type": "LOG_MESSAGE"}
        if place != "run_id":
            fields[place] = name
        with pytest.raises(InvalidName):
            storage.append(name if place == "run_id" else "r1", [logged(2), EventDraft(**fields), logged(3)])
        assert head(storage) == before
        assert texts(read(storage).events) == ["1"]
        assert storage.append("r1", messages(2, 2)).first_seq == 2

    def test_data_that_is_no_json(self, storage: EventLogStorage) -> None:
        """Data that can't be JSON is InvalidName, and nothing of the batch is stored."""
        with pytest.raises(InvalidName):
            storage.append("r1", [logged(1), EventDraft("LOG_MESSAGE", data={"x": {1, 2}})])
        assert list(read(storage).events) == []

    def test_incarnation_belongs_to_the_log(self, storage: EventLogStorage) -> None:
        """16 hexadecimal digits, the same as long as the log lives, another for each run."""
        first = storage.append("r1", messages(1, 1)).head.incarnation
        assert len(first) == 16
        assert set(first) <= set("0123456789abcdef")
        assert storage.append("r1", messages(2, 2)).head.incarnation == first
        others = {storage.append(f"r{n}", messages(1, 1)).head.incarnation for n in range(2, 10)}
        assert len(others | {first}) == 9

    def test_sign_of_life(self, storage: EventLogStorage) -> None:
        """An append counts as a sign of life of the recorder unless it says otherwise."""
        assert storage.append("r1", messages(1, 1), heard=False).head.heard_at_us is None
        heard = storage.append("r1", messages(2, 2)).head.heard_at_us
        assert heard is not None
        assert storage.append("r1", messages(3, 3), heard=False).head.heard_at_us == heard
        assert head(storage).heard_at_us == heard
