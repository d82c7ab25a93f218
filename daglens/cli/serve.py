"""`daglens serve`: the web server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from daglens.cli.options import InstanceHome


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve")(serve)


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 3000,
) -> None:
    """Serve GraphQL, GraphiQL and downloads."""
