"""From a bundle into an instance."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from daglens.bundles import OnStep, Part
from daglens.bundles.claim import ClaimedByAnother, claim
from daglens.bundles.event_ids import EventIds
from daglens.bundles.event_pages import event_pages
from daglens.instance import Instance
from daglens.storage.bundle.file import BundledLog, BundleFile
from daglens.storage.bundle.lines import CHUNK_BYTES
from daglens.storage.bundle.run_row import as_created
from daglens.storage.drafts import PreparedEvent, json_text
from daglens.storage.errors import DaglensError, LogUnavailable, RunDeleted
from daglens.storage.records import ComputeIO, EventDraft, EventQuery, EventRecord, LogFile, LogKey, LogLevel, RunRecord
from daglens.storage.run_rules import new_record

_BATCH_EVENTS = 500
_BATCH_BYTES = 1_048_576
_PIECE_BYTES = 80 * CHUNK_BYTES

_NEVER_CHANGES = (
    "pipeline_name",
    "run_config",
    "step_keys_to_execute",
    "parent_run_id",
    "root_run_id",
    "created_at_us",
    "created_by",
)


class BundleConflict(DaglensError):
    """The run is here already, with another history; nothing of the bundle was imported."""

    code = "BUNDLE_CONFLICT"


class ImportStopped(DaglensError):
    """The import stopped half-way; importing the same file again carries on."""

    code = "BUNDLE_IMPORT_STOPPED"


@dataclass(slots=True)
class Imported:
    """What an import brought.

    Attributes:
        created: The run was not here before.
        events, log_bytes: New here.
        events_before, log_bytes_before: Of those in the bundle, here already.
        logs: In the bundle.
        notes: Sentences on what was left as it is here.
    """

    run_id: str
    created: bool
    events: int
    events_before: int
    logs: int
    log_bytes: int
    log_bytes_before: int
    notes: tuple[str, ...] = ()


def import_file(instance: Instance, path: str | os.PathLike[str], *, on_step: OnStep | None = None) -> Imported:
    """Bring a bundle into an instance, by what its storages promise and nothing else.

    The whole file is checked before anything is stored, and so is what is here already of the run: where the two say
    different things, nothing is stored. Then the run is added, its logs, and its events last, so that a run whose
    import was cut off doesn't look finished. Importing again carries on; importing once more changes nothing.

    Raises:
        InvalidBundle: The file is no sound bundle, or one that no storage can keep as it is. Nothing was stored.
        BundleConflict: The run is here with another history. Nothing was stored.
        RunDeleted: It was deleted here less than 90 days ago. Nothing was stored.
        ImportStopped: A storage failed on the way; the sentence tells how far it came.
        StorageUnavailable: A storage doesn't answer. Nothing was stored.
    """
    step = on_step or (lambda part, done, of: None)
    with EventIds() as ids:
        opened = BundleFile.open(path, on_event=ids.take, on_progress=lambda done, of: step(Part.CHECK, done, of))
    with opened as bundle:
        return _Import(instance, bundle, step, all_have_ids=ids.all_have_one).carry_out()


class _Import:
    def __init__(self, instance: Instance, bundle: BundleFile, on_step: OnStep, *, all_have_ids: bool) -> None:
        self._instance = instance
        self._bundle = bundle
        self._on_step = on_step
        self._all_have_ids = all_have_ids
        self._run_id = bundle.run.run_id
        self._events_here = 0
        self._log_bytes_here = 0

    def carry_out(self) -> Imported:
        bundle, instance = self._bundle, self._instance
        present = instance.run(self._run_id)
        last_seq = self._check_run(present)
        self._check_events(min(last_seq, bundle.end.events))
        logs_here = self._logs_here()
        for log in bundle.logs.values():
            self._check_log(log, logs_here.get((log.line.key, log.line.io)))
        self._events_here = min(last_seq, bundle.end.events)
        done = Imported(
            run_id=self._run_id,
            created=instance.create_run(as_created(bundle.run, bundle.state)).created if present is None else False,
            events=bundle.end.events - self._events_here,
            events_before=self._events_here,
            logs=len(bundle.logs),
            log_bytes=bundle.end.log_bytes - self._log_bytes_here,
            log_bytes_before=self._log_bytes_here,
        )
        try:
            notes = self._add_tags(present) if present is not None else []
            for log in bundle.logs.values():
                self._write_log(log, logs_here.get((log.line.key, log.line.io)))
            if last_seq < bundle.end.events:
                self._write_events(last_seq)
            if bundle.logs and not self._logs_here():
                done.log_bytes = 0
                notes.append(f"This instance keeps no compute logs; {len(bundle.logs)} were left out.")
        except ImportStopped:
            raise
        except DaglensError as error:
            raise self._stopped(str(error)) from error
        if last_seq > bundle.end.events:
            notes.append(f"The run has {last_seq - bundle.end.events} more events here than in the bundle.")
        done.notes = tuple(notes)
        return done

    # ------------------------------------------------------------ what is here already

    def _check_run(self, present: RunRecord | None) -> int:
        """The last seq here."""
        head = self._instance.events.heads([self._run_id]).get(self._run_id)
        if head is not None and head.deleted:
            # The tombstones of 90 days ago go with a deletion, and here was none since.
            self._instance.events.delete(self._run_id, 0)
            head = self._instance.events.heads([self._run_id]).get(self._run_id)
        if head is not None and head.deleted:
            raise RunDeleted(self._run_id)
        if present is not None:
            wanted = new_record(self._bundle.run, 0)
            present = present._replace(run_config=_canonical(present.run_config))
            differing = [name for name in _NEVER_CHANGES if getattr(present, name) != getattr(wanted, name)]
            if differing:
                raise BundleConflict(f"Run {self._run_id} differs in {', '.join(differing)}.")
        return 0 if head is None else head.last_seq

    def _last_seq(self) -> int:
        head = self._instance.events.heads([self._run_id]).get(self._run_id)
        return 0 if head is None else head.last_seq

    def _check_events(self, last_seq: int) -> None:
        theirs = self._bundle.events()
        for page in event_pages(self._instance, self._run_id, last_seq):
            for ours in page:
                seq, event = next(theirs)
                if not self._is_that(ours, seq, event):
                    raise BundleConflict(f"Run {self._run_id}: event {seq} here is not that of the bundle.")

    def _logs_here(self) -> Mapping[tuple[LogKey, ComputeIO], LogFile]:
        listed = self._instance.compute_logs.list([self._run_id]).get(self._run_id, ())
        return {(file.key, file.io): file for file in listed}

    def _check_log(self, log: BundledLog, here: LogFile | None) -> None:
        if here is None:
            return
        line = log.line
        what = f"Run {self._run_id}: {line.io} of step {line.key.step_key}, attempt {line.key.attempt},"
        if here.complete and here.size_bytes < line.size_bytes:
            raise BundleConflict(f"{what} ended here after {here.size_bytes} bytes; the bundle has {line.size_bytes}.")
        common = min(here.size_bytes, line.size_bytes)
        start = 0
        while start < common:
            theirs = self._bundle.log_bytes(log, start, min(_PIECE_BYTES, common - start))
            try:
                ours = self._instance.compute_logs.read(line.key, line.io, start, len(theirs)).data
            except LogUnavailable as error:
                raise BundleConflict(f"{what} can't be compared ({error.reason}): {error}") from error
            if not ours or theirs[: len(ours)] != ours:
                raise BundleConflict(f"{what} has other bytes here, behind byte {start}.")
            start += len(ours)
        self._log_bytes_here += common

    # ------------------------------------------------------------ what is new

    def _add_tags(self, present: RunRecord) -> list[str]:
        here = dict(present.tags)
        missing = [(key, value) for key, value in self._bundle.run.tags if key not in here]
        if missing:
            self._instance.runs.add_tags(self._run_id, missing)
        kept = [key for key, value in self._bundle.run.tags if here.get(key, value) != value]
        return [f"Tags that have other values here stay as they are: {', '.join(kept)}."] if kept else []

    def _write_log(self, log: BundledLog, here: LogFile | None) -> None:
        line, logs = log.line, self._instance.compute_logs
        size = 0 if here is None else here.size_bytes
        if here is None and line.size_bytes == 0:
            logs.append(line.key, line.io, 0, b"")
        while size < line.size_bytes:
            data = self._bundle.log_bytes(log, size, _PIECE_BYTES)
            written = logs.append(line.key, line.io, size, data)
            size += len(data)
            if written != size:
                raise self._stopped("Somebody else writes to the same log.")
            self._log_bytes_here += len(data)
            self._on_step(Part.LOGS, self._log_bytes_here, self._bundle.end.log_bytes)
        closed = here is not None and here.complete and here.truncated >= line.truncated
        if line.complete and not closed and size == line.size_bytes:
            logs.mark_complete(line.key, line.io, truncated=line.truncated)

    def _write_events(self, last_seq: int) -> None:
        if self._all_have_ids:
            # Another import of the file stores the same events under the same ids: each is stored once.
            self._append_events(last_seq, lambda: None)
            return
        try:
            with claim(self._instance.runs, self._run_id) as keep:
                # Another import may have been waited for.
                here = min(self._last_seq(), self._bundle.end.events)
                if here > last_seq:
                    self._check_events(here)
                    self._events_here = here
                self._append_events(max(here, last_seq), keep)
        except ClaimedByAnother:
            raise self._stopped("Another import of the run is under way.") from None

    def _append_events(self, last_seq: int, keep_claim: Callable[[], None]) -> None:
        for batch in _batches(self._bundle.events(last_seq + 1)):
            keep_claim()
            # An append can't be taken back, and events without an id would be stored twice: look before each.
            if self._last_seq() == batch[0][0] - 1:
                self._append(batch)
            elif not self._are_here(batch):
                raise self._stopped("Somebody else writes events of the run.")
            self._events_here += len(batch)
            self._on_step(Part.EVENTS, self._events_here, self._bundle.end.events)

    def _append(self, batch: Sequence[tuple[int, PreparedEvent]]) -> None:
        appended = self._instance.append(self._run_id, [_draft(event) for _, event in batch], heard=False)
        if appended.first_seq == batch[0][0] and appended.accepted == len(batch):
            return
        # None of them is new where another import was first, and where a storage that had lost its connection sent them
        # twice.
        if appended.accepted or not self._are_here(batch):
            self._events_here += appended.accepted
            raise self._stopped("Somebody else writes events of the run.")

    def _are_here(self, batch: Sequence[tuple[int, PreparedEvent]]) -> bool:
        """Whether all events of a batch have ids, and stand in the log where they belong."""
        if any(event.event_id is None for _, event in batch):
            return False
        found: list[EventRecord] = []
        while len(found) < len(batch):
            query = EventQuery(self._run_id, after_seq=batch[len(found)][0] - 1, limit=len(batch) - len(found))
            (page,) = self._instance.events.read([query])
            if not page.events:
                return False
            found += page.events
        return all(self._is_that(ours, seq, event) for ours, (seq, event) in zip(found, batch, strict=True))

    def _is_that(self, ours: EventRecord, seq: int, event: PreparedEvent) -> bool:
        return ours._replace(data=_canonical(ours.data)) == self._bundle.record(seq, event)

    def _stopped(self, why: str) -> ImportStopped:
        end = self._bundle.end
        return ImportStopped(
            f"Run {self._run_id}: {self._events_here} of {end.events} events and {self._log_bytes_here} of "
            f"{end.log_bytes} bytes of logs are here. {why}"
        )


def _batches(events: Iterator[tuple[int, PreparedEvent]]) -> Iterator[Sequence[tuple[int, PreparedEvent]]]:
    batch: list[tuple[int, PreparedEvent]] = []
    size = 0
    for seq, event in events:
        batch.append((seq, event))
        size += len(event.data_json) + len(event.message)
        if len(batch) == _BATCH_EVENTS or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _draft(event: PreparedEvent) -> EventDraft:
    level: LogLevel = event.level  # type: ignore[assignment]  # a newer writer's level is kept
    return EventDraft(
        event_type=event.event_type,
        step_key=event.step_key,
        level=level,
        message=event.message,
        timestamp_us=event.timestamp_us,
        event_id=event.event_id,
        data=event.data,
    )


def _canonical(text: str) -> str:
    return "{}" if text == "{}" else json_text(json.loads(text))
