"""`daglens runs terminate`."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Annotated

import typer

from daglens.cli.options import InstanceHome, Json, RunId, find_run, open_instance
from daglens.storage.errors import RunNotFound
from daglens.storage.records import RunParts, RunRecord, RunStatus

if TYPE_CHECKING:
    from daglens.instance import Instance

_POLL_S = 0.25
_ASK_AGAIN_S = 2.0
"""A recorder that dies while it is waited for is found silent by the request, as a server would find it."""


def register(runs: typer.Typer) -> None:
    """Add the command."""
    runs.command("terminate")(terminate)


def terminate(
    run: RunId,
    wait: Annotated[bool, typer.Option("--wait", help="Until the run has ended.")] = False,
    timeout_s: Annotated[
        float | None,
        typer.Option(
            "--timeout", metavar="SECONDS", min=0, help="Wait so long at most, then exit with code 1. Implies --wait."
        ),
    ] = None,
    json: Json = False,
    instance_home: InstanceHome = None,
) -> None:
    """Ask whoever records a run to stop it; where nobody does, it is canceled at once.

    A recorder hears of it within seconds, ends the step that runs, with what it has started, and reports CANCELED. Safe
    to repeat. Exit code 1: the run had ended already, or has not within --timeout.
    """
    from daglens.cli.output import plain, print_json

    with open_instance(instance_home) as instance:
        run_id = find_run(instance, run).run_id
        asked = _ask(instance, run_id)
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        found = _wait(instance, asked, until_s) if wait or until_s is not None else asked
        if json:
            print_json({"runId": run_id, "status": str(found.status)})
        else:
            typer.echo(f"{plain(run_id)}: {_told(found, at_once=asked.status.is_final)}")
        if timeout_s is not None and not found.status.is_final:
            typer.echo(f"daglens: It has not ended within {timeout_s:g} s; it is still asked to.", err=True)
            raise typer.Exit(1)


def _told(run: RunRecord, *, at_once: bool) -> str:
    if at_once:
        return f"{run.status} at once, as nobody records it"
    return str(run.status) if run.status.is_final else f"{run.status}: its recorder is asked to stop it"


def _ask(instance: Instance, run_id: str) -> RunRecord:
    """What `terminateRun` does, by the same code.

    Raises:
        RunNotTerminable: It has ended.
        RunNotFound, StorageUnavailable
    """
    from daglens.resolvers.calls import StorageCalls
    from daglens.resolvers.context import RequestContext
    from daglens.resolvers.terminate_run import terminate as ask

    async def asked() -> RunRecord:
        return await ask(RequestContext(StorageCalls(instance)), run_id, RunParts.NONE)

    return asyncio.run(asked())


def _wait(instance: Instance, run: RunRecord, until_s: float | None) -> RunRecord:
    """The run when it has ended, or when it is time.

    Raises:
        RunNotFound: It was deleted meanwhile.
    """
    from daglens.resolvers.errors import RunNotTerminable

    news = threading.Event()
    watch = instance.events.watch(lambda _: news.set())
    asked_s = time.monotonic()
    try:
        while not run.status.is_final:
            now_s = time.monotonic()
            if until_s is not None and now_s >= until_s:
                break
            if now_s - asked_s >= _ASK_AGAIN_S:
                asked_s = now_s
                try:
                    _ask(instance, run.run_id)
                except RunNotTerminable as error:
                    return run._replace(status=RunStatus(error.status))
            else:
                news.wait(_POLL_S if until_s is None else min(_POLL_S, until_s - now_s))
                news.clear()
            found = instance.run(run.run_id)
            if found is None:
                raise RunNotFound(run.run_id)
            run = found
    finally:
        watch.stop()
    return run
