"""Run ids, step keys, event types and event ids as clients may send them."""

from __future__ import annotations

from daglens.storage.contract import EventLogStorage
from daglens.storage.errors import InvalidName
from daglens.storage.records import EventDraft, EventFilter
from daglens.testing.events.topic import EventTopic, logged, messages, read, seqs
from daglens.testing.names import ODD_NAMES, ORDINARY_NAMES


class EventHostileNames(EventTopic):
    """Any text is stored as it is, apart from every other, or refused."""

    def test_run_ids_are_kept_apart(self, storage: EventLogStorage) -> None:
        """No run id is read as another one: by read, heads, steps, nor by deletion."""
        kept = []
        for name in ODD_NAMES:
            try:
                storage.append(name, [logged(ascii(name)), EventDraft("STEP_START", step_key=name)])
            except InvalidName:
                assert name not in ORDINARY_NAMES
                continue
            kept.append(name)
        assert storage.heads(kept).keys() == set(kept)
        for name in kept:
            events = read(storage, name).events
            assert [(e.run_id, e.seq) for e in events] == [(name, 1), (name, 2)]
            assert events[0].message == ascii(name)
            assert [(s.run_id, s.step_key) for s in storage.steps([name])[name]] == [(name, name)]
        storage.close_runs(kept[::2])
        assert [name for name in kept if storage.heads([name])[name].deleted] == kept[::2]
        assert [storage.delete(name) for name in kept] == [2 if n % 2 == 0 else 0 for n in range(len(kept))]

    def test_names_inside_a_log_are_kept_apart(self, storage: EventLogStorage) -> None:
        """Step keys, event types and event ids of one run are told apart exactly, and filters take them literally."""
        kept = []
        for name in ODD_NAMES:
            drafts = [
                EventDraft("STEP_START", step_key=name),
                EventDraft(name, message=ascii(name)),
                logged(0, event_id=name),
            ]
            try:
                appended = storage.append("r1", drafts)
            except InvalidName:
                assert name not in ORDINARY_NAMES
                continue
            assert (appended.accepted, appended.duplicates) == (3, 0), ascii(name)
            kept.append(name)
        assert [step.step_key for step in storage.steps(["r1"])["r1"]] == kept
        events = read(storage).events
        for index, name in enumerate(kept):
            first = 3 * index + 1
            assert [e.step_key for e in events[first - 1 : first + 2]] == [name, None, None]
            assert (events[first].event_type, events[first + 1].event_id) == (name, name)
            assert seqs(read(storage, filter=EventFilter(step_keys=[name])).events) == [first]
            assert seqs(read(storage, filter=EventFilter(event_types=[name])).events) == [first + 1]
            assert [step.step_key for step in storage.steps(["r1"], [name])["r1"]] == [name]

    def test_odd_messages_are_kept(self, storage: EventLogStorage) -> None:
        """Messages hold any text, of any length up to the limit."""
        storage.append("r1", [EventDraft("LOG_MESSAGE", message=name, data={"x": name}) for name in ODD_NAMES])
        assert [event.message for event in read(storage).events] == list(ODD_NAMES)
        storage.append("r1", messages(1, 1))
