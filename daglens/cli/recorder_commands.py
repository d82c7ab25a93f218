"""`daglens recorder status|flush`: what recorders of this machine have not sent to their servers yet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from daglens.cli.leftover_logs import finish_leftover_logs
from daglens.cli.options import InstanceHome, Json, TokenFile

if TYPE_CHECKING:
    from daglens.recorder.remote.address import ServerAddress
    from daglens.recorder.remote.flush import Flushed, Waiting
    from daglens.recorder.remote.spool_folder import SpoolFolder

app = typer.Typer(help="What was recorded for a server (--to) and waits on this machine.", no_args_is_help=True)

Server = Annotated[str | None, typer.Option("--to", metavar="URL", help="Only what is for this server.")]


@app.command()
def status(to: Server = None, json: Json = False) -> None:
    """Show what waits: of processes that still record, and what dead ones left."""
    from daglens.cli.output import print_json
    from daglens.recorder.remote.flush import waiting
    from daglens.recorder.remote.spool_folder import SpoolFolder

    folder = SpoolFolder()
    found = list(waiting(folder, None if to is None else _url(to)))
    if json:
        for spool in found:
            print_json({_camel(name): value for name, value in asdict(spool).items()})
    elif found:
        _show(found, folder)
    else:
        typer.echo(f"Nothing waits in {folder.path}.")
    _tell_unreadable(folder)


@app.command()
def flush(
    to: Server = None,
    instead_of: Annotated[
        str | None,
        typer.Option("--instead-of", metavar="URL", help="Send to --to what was meant for this address: it has moved."),
    ] = None,
    token_file: TokenFile = None,
    instance_home: InstanceHome = None,
) -> None:
    """Send what dead processes left. What a living one records it sends itself.

    Without --to also compute logs, to the object store that dagster.yaml names. Exit code 1 when something could not
    be sent: it stays, and can be sent later.
    """
    from daglens.recorder.remote.address import ServerAddress, Token
    from daglens.recorder.remote.flush import flush as flush_spools
    from daglens.recorder.remote.spool_folder import SpoolFolder

    if instead_of is not None and to is None:
        raise typer.BadParameter("say by --to where it goes", param_hint="'--instead-of'")
    folder = SpoolFolder()
    token = Token.of_environment() if token_file is None else Token.in_file(token_file)
    if to is None:
        _refuse_to_scatter(folder, token_file is not None)
    target = None if to is None else ServerAddress.parse(to)
    meant_for = target.url if target is not None and instead_of is None else instead_of and _url(instead_of)
    outcomes = flush_spools(folder, token, url=meant_for, to=target, say=lambda text: typer.echo(text, err=True))
    try:
        count, left = _tell(outcomes, target)
        logs = None if to is not None else finish_leftover_logs(instance_home)
    except KeyboardInterrupt:
        typer.echo(f"daglens: stopped. The rest waits in {folder.path}; the same command sends it.", err=True)
        raise typer.Exit(130) from None
    if left:
        typer.echo(f"daglens: {left} of these could not be sent, and wait in {folder.path}.", err=True)
    unreadable = _tell_unreadable(folder)
    if not count and not unreadable and logs in (None, (0, 0)):
        typer.echo("Nothing to send.")
    if left or unreadable or (logs is not None and logs[1]):
        raise typer.Exit(1)


def _tell(outcomes: Iterable[Flushed], to: ServerAddress | None) -> tuple[int, int]:
    """Say what becomes of each spool; how many there were, and how many are left."""
    from daglens.cli.output import counted, plain, size

    count = left = 0
    told: set[str] = set()
    for outcome in outcomes:
        count += 1
        waiting = outcome.waiting
        what = f"{counted(waiting.events, 'event')}, {size(waiting.log_bytes)} of output"
        name = plain(f"{waiting.pipeline_name or 'run'} {waiting.run_id}")
        if outcome.problem is None and waiting.sent:
            typer.echo(f"{name}: all of it was sent to {waiting.url} before")
        elif outcome.problem is None:
            typer.echo(f"{name}: sent {what} to {waiting.url if to is None else to.url}")
        elif outcome.gone:
            typer.echo(f"{name}: dropped {what}. {plain(outcome.problem)}", err=True)
        else:
            left += 1
            # Of many runs for one server that is away the same is true of each.
            why = "Why: as above." if outcome.problem in told else plain(outcome.problem)
            told.add(outcome.problem)
            typer.echo(f"{name}: {what} wait. {why}", err=True)
    return count, left


def _tell_unreadable(folder: SpoolFolder) -> int:
    """Say which spools can't be read; how many there are."""
    paths = list(folder.unreadable())
    for path in paths:
        typer.echo(
            f"daglens: {path} holds what was recorded, but not for which server: its about.json is damaged, of a "
            "newer daglens, or another user's. It stays until you mend or remove it.",
            err=True,
        )
    return len(paths)


def _refuse_to_scatter(folder: SpoolFolder, token_given: bool) -> None:
    """A token is one server's. It doesn't go to all that happen to be in the spool."""
    import os

    from daglens.recorder.destination import TOKEN_FILE_VARIABLE
    from daglens.recorder.remote.address import TOKEN_VARIABLE

    urls = sorted({about.url for _, about in folder.spools()})
    if len(urls) > 1 and (token_given or any(os.environ.get(name) for name in (TOKEN_VARIABLE, TOKEN_FILE_VARIABLE))):
        raise typer.BadParameter(
            f"something waits for several servers, and a token is only one's; name one of them: {', '.join(urls)}",
            param_hint="'--to'",
        )


def _url(text: str) -> str:
    from daglens.recorder.remote.address import ServerAddress

    return ServerAddress.parse(text).url


def _show(found: list[Waiting], folder: SpoolFolder) -> None:
    from rich.table import Table

    from daglens.cli.output import console, plain, size

    table = Table("Run", "Pipeline", "Server", "Process", "Events", "Output", "On disk", box=None, pad_edge=False)
    for spool in found:
        table.add_row(
            plain(spool.run_id),
            plain(spool.pipeline_name or ""),
            spool.url,
            f"{spool.process_id} records" if spool.recording else "gone, all is sent" if spool.sent else "gone",
            str(spool.events),
            size(spool.log_bytes),
            size(spool.disk_bytes),
        )
    console().print(table)
    for url in sorted({spool.url for spool in found}):
        used = sum(spool.disk_bytes for spool in found if spool.url == url)
        typer.echo(f"What waits for {url} takes {size(used)} of {size(folder.max_bytes)} here.")
    for url, problem in sorted({(spool.url, spool.problem) for spool in found if spool.problem}):
        # Most name the server; what is wrong on this machine, such as a file that isn't there, doesn't.
        typer.echo(plain(problem if url in problem else f"{url}: {problem}"), err=True)
    if not all(spool.recording or spool.sent for spool in found):
        typer.echo("Send what dead processes left: daglens recorder flush", err=True)
    elif any(spool.sent for spool in found):
        typer.echo("What is sent goes with the next recorder for its server, or by: daglens recorder flush", err=True)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)
