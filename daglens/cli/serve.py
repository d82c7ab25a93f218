"""`daglens serve`: the web server."""

from __future__ import annotations

import logging
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daglens.cli.bundles import BundleFiles, MoreBundleFiles, opener_of
from daglens.cli.options import InstanceHome
from daglens.config.settings import DocumentsMode

if TYPE_CHECKING:
    from daglens.instance import Instance

Hosts = Annotated[
    list[str] | None,
    typer.Option("--allowed-host", metavar="NAME", help="A name besides loopback's that requests may carry in Host."),
]
Origins = Annotated[
    list[str] | None,
    typer.Option(
        "--allowed-origin", metavar="ORIGIN", help="A page, as https://example.org, that may use this server."
    ),
]


class LogFormat(StrEnum):
    """How the server's log is written."""

    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """From which level on its lines are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve")(serve)


def serve(
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", "-p", min=0, max=65535, help="Port; 0 takes a free one.")] = 3000,
    workers: Annotated[
        int,
        typer.Option("--workers", "-w", min=1, max=256, help="Processes that answer on this port, each as a server."),
    ] = 1,
    instance_home: InstanceHome = None,
    ephemeral: Annotated[bool, typer.Option("--ephemeral", help="Serve an empty instance in memory.")] = False,
    bundle: BundleFiles = None,
    more_bundles: MoreBundleFiles = None,
    allowed_host: Hosts = None,
    allowed_origin: Origins = None,
    path_prefix: Annotated[
        str, typer.Option("--path-prefix", metavar="PATH", help="Where a proxy offers this server, e.g. /daglens.")
    ] = "",
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Leave the mutations out; no upkeep and no retention either.")
    ] = False,
    tokens: Annotated[
        Path | None,
        typer.Option("--tokens", metavar="FILE", help="Let in by the tokens of this file; see `daglens tokens add`."),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option("--tls-cert", metavar="FILE", help="Speak TLS with this certificate chain (PEM).")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option("--tls-key", metavar="FILE", help="The certificate's private key (PEM).")
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option("--limit", metavar="NAME=NUMBER", help="Change a limit; 0 turns it off. `max_depth=30`, say."),
    ] = None,
    log_format: Annotated[
        LogFormat, typer.Option("--log-format", help="Lines for people, or one JSON object per line.")
    ] = LogFormat.TEXT,
    log_level: Annotated[
        LogLevel, typer.Option("--log-level", help="Of daglens's own lines; debug adds what libraries tell.")
    ] = LogLevel.INFO,
    access_log: Annotated[
        bool | None,
        typer.Option("--access-log/--no-access-log", help="A line for each request. [default: with --log-format json]"),
    ] = None,
    documents: Annotated[
        Path | None,
        typer.Option(
            "--documents", metavar="FILE", help="Execute the documents of this file; `daglens documents write`."
        ),
    ] = None,
    documents_mode: Annotated[
        DocumentsMode | None,
        typer.Option("--documents-mode", help="Of other documents: enforce refuses, log executes and names them."),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen on an address that others reach, without access control.")
    ] = False,
) -> None:
    """Serve GraphQL, live subscriptions, GraphiQL and downloads until Ctrl-C or SIGTERM."""
    from daglens.instance import Instance, default_fallback
    from daglens.server.serve import TlsFiles, run
    from daglens.server.telemetry.logs import log_to

    is_json = log_format is LogFormat.JSON
    log_to(format=log_format.value, level=log_level.value, requests=is_json if access_log is None else access_log)
    if ephemeral and instance_home is not None:
        raise typer.BadParameter("--ephemeral serves no folder; leave it out, or --instance-home")
    if ephemeral and workers > 1:
        raise typer.BadParameter("--ephemeral is in the memory of one process; leave it out, or --workers")
    if (tls_cert is None) != (tls_key is None):
        raise typer.BadParameter("--tls-cert and --tls-key go together")
    open_bundles = opener_of(bundle, more_bundles, instance_home=instance_home, ephemeral=ephemeral)
    run(
        open_bundles or (lambda: Instance.open(home=instance_home, fallback=default_fallback(), ephemeral=ephemeral)),
        host=host,
        port=port,
        insecure=insecure,
        tls=TlsFiles(tls_cert, tls_key) if tls_cert is not None and tls_key is not None else None,
        workers=workers,
        announce=_log_address if is_json else _announce,
        allowed_hosts=tuple(allowed_host or ()),
        allowed_origins=tuple(allowed_origin or ()),
        path_prefix=path_prefix,
        read_only=read_only or open_bundles is not None,
        tokens=tokens,
        limits=tuple(limit or ()),
        documents=documents,
        documents_mode=documents_mode,
    )


def _announce(url: str, instance: Instance) -> None:
    for note in instance.notes:
        typer.echo(note, err=True)
    typer.echo(_what_is_served(instance))
    typer.echo(f"GraphiQL: {url}    GraphQL: {url}/graphql    Stop: Ctrl-C")


def _log_address(url: str, instance: Instance) -> None:
    """As `_announce`, for what collects logs: containers mix both outputs, and a line that is no object is an error."""
    log = logging.getLogger("daglens.server")
    for note in instance.notes:
        log.warning("%s", note)
    log.info("%s at %s", _what_is_served(instance), url, extra={"fields": {"url": url}})


def _what_is_served(instance: Instance) -> str:
    bundles = instance.sections["run_storage"].class_name == "BundleRunStorage"
    what = "read-only, run bundles" if bundles else instance.origin.value
    return f"Serving {instance.home} ({what})"
