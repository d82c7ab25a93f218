"""Where the log of a step is kept, as LOGS_CAPTURED tells it to whoever looks for the log and doesn't find it.

    {"attempt": 1, "stepKeys": ["extract"], "hostname": "worker-7",
     "keptIn": {"kind": "DISK", "hostname": "worker-7", "location": "/data/storage", "sent": false,
                "machine": "9f86d081884c7d65"}}

`hostname` is the machine whose process captured it. `keptIn` says what keeps it; a recorder that sends its output to a
server leaves that out, and the server that takes the event fills it in, with `sent` and a hostname of its own.
`machine` tells machines of one name apart, where they have an id.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from typing import Any

from daglens.storage import event_types as et
from daglens.storage.records import EventDraft

_MOST_CHARS = 255
_MACHINE_ID_FILE = "/etc/machine-id"


class LogPlaceKind(StrEnum):
    """Who can read what is kept there."""

    DISK = "DISK"
    """Whoever sees that folder: the machine itself, others where it is shared."""

    OBJECT_STORE = "OBJECT_STORE"
    """Everybody, once the machine that captured it has uploaded it."""


@dataclass(frozen=True, slots=True)
class LogPlace:
    """Where a compute log manager keeps its logs.

    Attributes:
        location: A folder, or the address of a store; without secrets. Two processes with the same one on the same
            machine read the same logs.
    """

    kind: LogPlaceKind
    location: str

    def shown(self) -> LogPlace:
        """The same as it stands in an event, and can stand in a sentence."""
        return LogPlace(self.kind, _text(self.location) or "")


@dataclass(frozen=True, slots=True)
class Captured:
    """What a LOGS_CAPTURED event says of where its log is.

    Attributes:
        hostname: The machine that captured it; None where the writer didn't say.
        place: Where it is kept; None where nobody said.
        kept_by: The machine whose process keeps it there: for DISK, that of the disk.
        machine: What tells that one from others of its name; None where nobody said.
        sent: It came there over the network, by a server.
        at_us: When the event was.
    """

    hostname: str | None
    place: LogPlace | None
    kept_by: str | None
    machine: str | None
    sent: bool
    at_us: int


def hostname() -> str:
    """The name of this machine."""
    # As socket.gethostname() gives it, without loading that module for it.
    return os.uname().nodename


@cache
def machine() -> str | None:
    """What tells this machine from others of its name, always the same; None: it has no id, as most containers."""
    try:
        with open(_MACHINE_ID_FILE, "rb") as file:
            found = file.read(100).strip()
    except OSError:
        return None
    if len(found) != 32:
        return None
    # Not the id itself: that is to be kept to the machine (man 5 machine-id).
    import hashlib

    return hashlib.sha256(b"daglens " + found).hexdigest()[:16]


def captured_data(place: LogPlace | None) -> dict[str, Any]:
    """What a recorder adds to the data of LOGS_CAPTURED; `place` None: it sends the log to a server, or can't say."""
    here = hostname()
    return {"hostname": here} | ({} if place is None else {"keptIn": _kept_in(place, here, sent=False)})


def received(draft: EventDraft, place: LogPlace | None) -> EventDraft:
    """The event, with this server's place in a LOGS_CAPTURED that names none: what is sent is kept here."""
    if place is None or draft.event_type != et.LOGS_CAPTURED or draft.data.get("keptIn") is not None:
        return draft
    return replace(draft, data={**draft.data, "keptIn": _kept_in(place, hostname(), sent=True)})


def parse_captured(data: str, at_us: int) -> tuple[int, list[str], Captured] | None:
    """Attempt, step keys and place out of the data of a LOGS_CAPTURED; None when it names no attempt.

    Writers are many: whatever else is missing or odd is None.
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or type(found.get("attempt")) is not int:
        return None
    keys = found.get("stepKeys")
    step_keys = [key for key in keys if isinstance(key, str)] if isinstance(keys, list) else []
    kept = found.get("keptIn")
    kept = kept if isinstance(kept, dict) else {}
    location = _text(kept.get("location"))
    kind = kept.get("kind")
    known = LogPlaceKind(kind) if isinstance(kind, str) and kind in tuple(LogPlaceKind) else None
    return (
        found["attempt"],
        step_keys,
        Captured(
            hostname=_text(found.get("hostname")),
            place=None if known is None or location is None else LogPlace(known, location),
            kept_by=_text(kept.get("hostname")),
            machine=_text(kept.get("machine")),
            sent=kept.get("sent") is True,
            at_us=at_us,
        ),
    )


def _kept_in(place: LogPlace, host: str, *, sent: bool) -> Mapping[str, Any]:
    kept = {"kind": place.kind.value, "hostname": host, "location": place.shown().location, "sent": sent}
    known = machine()
    return kept if known is None else kept | {"machine": known}


def _text(value: object) -> str | None:
    """A text that can stand in a sentence."""
    if not isinstance(value, str) or not value:
        return None
    return "".join(sign if sign.isprintable() else "?" for sign in value[:_MOST_CHARS])
