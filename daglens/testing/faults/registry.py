"""The list of faults. Each has at least one test that carries its name, and is tried again and again in CI."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong, and what daglens promises then.

    Attributes:
        name: What tests and docs/reliability.md call it.
        broken: What is done.
        seen: What a user is told: part of the message, the same each time. None: there is nobody to tell, and nothing
            that a user would have to do.
        promised: What holds all the same. In each case nothing acknowledged is lost, and the rest keeps working.
    """

    name: str
    broken: str
    seen: str | None
    promised: str


FAULTS: tuple[Fault, ...] = (
    Fault(
        "kill_writer",
        "`kill -9` of one of the processes that write a run.",
        None,
        "Every acknowledged event is there, no batch is there by half, and a blind retry stores the rest once.",
    ),
    Fault(
        "kill_between",
        "`kill -9` of a writer between two statements of one transaction.",
        None,
        "The append is stored whole or not at all, and no lock stays behind.",
    ),
    Fault(
        "kill_server",
        "`kill -9` of a server while clients follow a run.",
        None,
        "A client goes on at another server, or at the same one started again, with its last cursor: no gap, nothing "
        "twice.",
    ),
    Fault(
        "kill_recorder",
        "`kill -9` of a program that records.",
        "Presumed dead: the recorder was last heard of at",
        "What it had flushed and printed is there; the run fails by presumption after its timeout.",
    ),
    Fault(
        "postgres_stopped",
        "PostgreSQL is stopped.",
        "It can't be reached",
        "Each call says so at once; subscriptions wait; with the server back everything goes on by itself.",
    ),
    Fault(
        "postgres_restarted",
        "PostgreSQL is restarted under load.",
        "It can't be reached",
        "Writers send again what they can't know to be stored: each event is there once.",
    ),
    Fault(
        "postgres_crowded",
        "PostgreSQL has no connection free.",
        "no connection free",
        "Connections that are open go on; the next call after one is free works.",
    ),
    Fault(
        "postgres_slow",
        "A statement takes longer than `statement_timeout_s`.",
        "statement_timeout_s",
        "It is ended at the server, nothing of it is stored, and the same batch is stored later.",
    ),
    Fault(
        "slow_commit",
        "Transactions commit late, and in another order than they began.",
        None,
        "A reader never sees an event before those below it, and misses none.",
    ),
    Fault(
        "drop_connection",
        "Connections to PostgreSQL break without a word, also in the middle of an append.",
        None,
        "Events with ids are sent again by themselves, and stored once.",
    ),
    Fault(
        "disk_full_append",
        "The disk fills up under the SQLite file.",
        "Its disk is full. Nothing was stored; free some space.",
        "What is stored can be read; the same batch is stored once there is space.",
    ),
    Fault(
        "disk_full_capture",
        "The disk fills up under the compute logs.",
        "below the reserve of",
        "The pipeline's own writes never fail: what no longer fits is on the console, and the log says `truncated`.",
    ),
    Fault(
        "disk_full_migrate",
        "The disk fills up while an older SQLite file is migrated.",
        "Its disk is full. Nothing was stored; free some space.",
        "The file is as before: the older version uses it, and the migration is done once there is space.",
    ),
    Fault(
        "corrupt_sqlite",
        "Pages of the SQLite file are overwritten with random bytes.",
        "Save what can still be read",
        "No crash and no wrong answer passed off as right; compute logs, artifacts and health go on; what the damage "
        "spares can be saved as the message says.",
    ),
    Fault(
        "torn_log",
        "A compute log ends in the middle of a character, without a mark of its end.",
        None,
        "Its text is read to the last byte, with the broken character replaced and counted; live readers are told "
        "the end.",
    ),
    Fault(
        "torn_spool",
        "A recorder's spool file ends in the middle of a record.",
        None,
        "Every record before the tear is sent, once.",
    ),
    Fault(
        "clock_back",
        "The clock jumps back by up to a day.",
        "Presumed dead: the recorder was last heard of at",
        "Order and cursors stand, feeds go on, a lease has one holder, and a silent run is still presumed dead after "
        "its timeout.",
    ),
    Fault(
        "viewer_stops",
        "A viewer stops reading its socket.",
        None,
        "Others are served as before, the server holds next to nothing for it, and later it gets every event.",
    ),
    Fault(
        "viewers_vanish",
        "1,000 viewers vanish at once, their connections cut.",
        None,
        "Nothing of them stays on the server; who watches on misses nothing.",
    ),
    Fault(
        "plugin_raises",
        "A storage plug-in raises what its contract doesn't foresee.",
        "failed in a way that its contract doesn't foresee",
        "The answer names the section of dagster.yaml and an errorId under which the log has the traceback.",
    ),
    Fault(
        "plugin_hangs",
        "A storage plug-in doesn't return.",
        "The storage has not answered for",
        "Health is answered at once, and so is everything that doesn't ask this storage; the server ends when told to.",
    ),
    Fault(
        "plugin_lies",
        "A storage plug-in answers with wrong types, wrong counts, another run's rows or gaps between seqs.",
        "The storage answered what its contract rules out.",
        "The operation fails with an errorId and the name of the storage; a live feed ends with it, and goes on from "
        "its last cursor when the storage is right again.",
    ),
)

_BY_NAME = {fault.name: fault for fault in FAULTS}


def fault(name: str) -> Fault:
    """The fault of this name.

    Raises:
        KeyError: There is none.
    """
    return _BY_NAME[name]
