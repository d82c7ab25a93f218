"""Beginning to record: a run of one's own, or a part of somebody else's."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Final

from daglens.instance import Instance, default_fallback
from daglens.recorder.destination import HOME_VARIABLE, Destination, InstanceDestination
from daglens.recorder.drafts import draft, recordable
from daglens.recorder.interrupt import Interrupter, Interruptible, RunTerminated
from daglens.recorder.plain import plain, text
from daglens.recorder.problems import Problems, note
from daglens.recorder.recording import Recording
from daglens.recorder.run import Run
from daglens.recorder.where import destination_for
from daglens.storage import event_types as et
from daglens.storage.contract import MAX_TAGS
from daglens.storage.errors import StorageUnavailable
from daglens.storage.log_places import hostname
from daglens.storage.names import check_name
from daglens.storage.random_ids import random_uuid
from daglens.storage.records import NewRun

RUN_ID_VARIABLE: Final = "DAGLENS_RUN_ID"
DEFAULT_HEARTBEAT_TIMEOUT_S: Final = 60

_USED_LATER: Final = ("daglens.recorder.logs", "daglens.recorder.metadata", "ctypes", "tempfile", "traceback")
"""Loaded where they are used, for `daglens record`, which has no use for them."""


def start_run(
    pipeline_name: str,
    *,
    run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
    run_config: Any = None,
    step_keys: Iterable[str] | None = None,
    parent_run_id: str | None = None,
    root_run_id: str | None = None,
    instance: Instance | None = None,
    to: str | None = None,
    token: str | None = None,
    capture: bool = True,
    heartbeat_timeout_s: int | None = DEFAULT_HEARTBEAT_TIMEOUT_S,
) -> Run:
    """Begin a run and record it: `with daglens.start_run("nightly") as run: …`.

    The block's end is the run's: an exception makes it a failure, Ctrl-C, SIGTERM or a request to terminate it makes
    it canceled; each goes on to the caller. Without a `with`, call `finish`. What goes wrong with the recording is
    said on stderr, and never raised.

    Args:
        run_id: A UUID is made when absent. A run of this id that exists already is taken over.
        run_config: Any JSON value; what JSON has no form for becomes text.
        step_keys: The steps to run, when it isn't the whole pipeline.
        root_run_id: First of a chain of runs; the parent when absent.
        instance: Where to record; by default the one that DAGSTER_HOME names, else one in memory (that is said).
        to: A server to record to instead, as `https://lens.example.org`; by default $DAGLENS_TO. While it is away,
            what is recorded waits on this machine's disk.
        token: For that server; by default that of $DAGLENS_TOKEN_FILE or $DAGLENS_TOKEN.
        capture: Whether output of steps is captured.
        heartbeat_timeout_s: Seconds without a sign of life, at least 3, after which the run is presumed dead; None:
            never.

    Raises:
        InvalidName: The pipeline name or the run id can't be one.
        InvalidServerAddress: `to` is none.
        ValueError: Both `instance` and `to` are given.
        RunTerminated: Somebody asked for the run's end before it began; it is canceled.
    """
    _refuse_import_in_child()
    _load_in_time()
    problems = Problems()
    run = NewRun(
        check_name(run_id if run_id is not None else random_uuid(), "run id"),
        check_name(pipeline_name, "pipeline name"),
        tags=storable_tags(tags or {}, problems),
        run_config={} if run_config is None else plain(run_config),
        step_keys_to_execute=None if step_keys is None else tuple(recordable(key, "step key") for key in step_keys),
        parent_run_id=parent_run_id,
        root_run_id=root_run_id if root_run_id is not None else parent_run_id,
    )
    destination = destination_for(run.run_id, problems, instance=instance, to=to, token=token)
    return record_new_run(run, destination, problems, capture=capture, heartbeat_timeout_s=heartbeat_timeout_s)


def record_new_run(
    run: NewRun,
    destination: Destination,
    problems: Problems,
    *,
    capture: bool = True,
    heartbeat_timeout_s: int | None = DEFAULT_HEARTBEAT_TIMEOUT_S,
    interruptible: Interruptible | None = None,
) -> Run:
    """Create the run, start it, and keep it alive.

    Raises:
        RunTerminated: Somebody asked for the run's end before it began; it is canceled.
    """
    interrupter = interruptible or Interrupter()
    recording = Recording(
        run.run_id,
        destination,
        problems,
        new_run=run,
        captures=capture,
        on_end_asked=interrupter.interrupt,
    )
    _open(recording, destination)
    recorded = Run(recording, run.pipeline_name, interrupter, ends=True)
    try:
        started = {"pipelineName": run.pipeline_name, "processId": os.getpid(), "hostname": hostname()}
        message = f"{run.pipeline_name} began in process {os.getpid()} on {started['hostname']}."
        recording.record(draft(et.RUN_START, message, started))
        stored = recording.flush()
        if recording.end_heard:
            raise RunTerminated(f"Run {run.run_id} was asked to end before it began.")
        interrupter.arm()
        if not recording.stopped:
            timeout_s = None if heartbeat_timeout_s is None else max(3, heartbeat_timeout_s)
            recording.start_pulse(timeout_s, answers=stored)
    except BaseException as error:  # Ctrl-C, before there is a block that could end the run
        recorded.__exit__(type(error), error, None)
        raise
    return recorded


def attach_run(
    run_id: str | None = None,
    *,
    instance: Instance | None = None,
    to: str | None = None,
    token: str | None = None,
    capture: bool = True,
) -> Run:
    """Record a part of a run that somebody else began and will end: its steps, in another process.

    Leaving the block ends the recording, not the run.

    Args:
        run_id: By default $DAGLENS_RUN_ID, which `daglens record` gives to its command.
        instance: By default that of the `daglens` command: the one it was started with, or the user's.
        to: A server to record to instead; by default $DAGLENS_TO, which `daglens record --to` sets for its command.
        token: See `start_run`.

    Raises:
        ValueError: There is neither `run_id` nor $DAGLENS_RUN_ID, or both `instance` and `to` are given.
        InvalidName: The run id can't be one.
        InvalidServerAddress: `to` is none.
    """
    _refuse_import_in_child()
    _load_in_time()
    found = run_id if run_id is not None else os.environ.get(RUN_ID_VARIABLE)
    if not found:
        raise ValueError(f"attach_run() needs a run id: give one, or set {RUN_ID_VARIABLE}.")
    problems = Problems()
    home = os.environ.get(HOME_VARIABLE) or None
    destination = destination_for(
        check_name(found, "run id"),
        problems,
        instance=instance,
        to=to,
        token=token,
        opener=lambda: Instance.open(home=home, fallback=default_fallback()),
    )
    return record_part(found, destination, problems, capture=capture)


def record_part(
    run_id: str,
    destination: Destination,
    problems: Problems,
    *,
    capture: bool = True,
    interruptible: Interruptible | None = None,
) -> Run:
    """Record a part of a run that exists, keeping it alive meanwhile."""
    interrupter = interruptible or Interrupter()
    recording = Recording(
        run_id, destination, problems, new_run=None, captures=capture, on_end_asked=interrupter.interrupt
    )
    _open(recording, destination)
    recorded = Run(recording, None, interrupter, ends=False)
    interrupter.arm()
    if not recording.stopped:
        recording.start_pulse(None, answers=_tell_unknown(run_id, destination, problems))
    return recorded


def _open(recording: Recording, destination: Destination) -> None:
    given = destination.is_ephemeral
    try:
        destination.open()
    except StorageUnavailable:
        return  # the first append tries again, and says what is wrong
    except Exception as error:
        recording.stop(f"Nothing is recorded. {error}")
        return
    if destination.is_ephemeral and not given:
        _say_ephemeral()


def _tell_unknown(run_id: str, destination: Destination, problems: Problems) -> bool:
    """Say so when there is no such run yet; False when the storage didn't answer."""
    # What goes to a server may wait here, the run's beginning, too: that it isn't there yet means nothing.
    if not isinstance(destination, InstanceDestination):
        return True
    try:
        with problems.waiting():
            known = destination.instance.run(run_id) is not None
    except Exception:
        return False  # the first append says what is wrong
    if not known:
        problems.say(
            "unknown",
            f"There is no run {run_id} yet: is its id right? What is recorded now shows once it has begun "
            "(`daglens run start --run-id`).",
        )
    return True


_said_ephemeral = False


def _say_ephemeral() -> None:
    global _said_ephemeral
    if not _said_ephemeral:
        _said_ephemeral = True
        from shlex import quote

        note(
            "DAGSTER_HOME is not set: runs are recorded in memory and are gone with this process. To keep them where "
            f"`daglens` commands look: export DAGSTER_HOME={quote(str(default_fallback()))}"
        )


def _refuse_import_in_child() -> None:
    # multiprocessing imports the main module again in each child that it spawns, and so does call_step(isolate=True).
    module = sys.modules.get("multiprocessing.process")
    if module is not None and getattr(module.current_process(), "_inheriting", False):
        raise RuntimeError(
            "The main module begins a run while a child process imports it: put what runs the pipeline below "
            '`if __name__ == "__main__":`.'
        )


def storable_tags(tags: Mapping[str, str], problems: Problems) -> tuple[tuple[str, str], ...]:
    """Tags as a storage takes them; what had to be left out is said."""
    pairs = [(recordable(text(key), "tag key"), text(value)) for key, value in tags.items()]
    if len(pairs) > MAX_TAGS:
        problems.say("tags", f"A run has at most {MAX_TAGS} tags; {len(pairs) - MAX_TAGS} were left out.")
    return tuple(dict(pairs[:MAX_TAGS]).items())


def _load_in_time() -> None:
    """Load what a recorded pipeline may use. Later it may have too many files open for that, and telling an event, or
    logging, would raise an OSError in it."""
    for name in _USED_LATER:
        try:
            importlib.import_module(name)
        except Exception:
            continue  # a Python without ctypes, or it is too late: whoever needs it is told so
