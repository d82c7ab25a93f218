"""`daglens demo`: record the demo pipeline."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from daglens.cli.options import InstanceHome, open_instance


def register(app: typer.Typer) -> None:
    """Add `demo` to the command's tree."""
    app.command()(demo)


def demo(
    fail: Annotated[bool, typer.Option("--fail", help="Let it fail, with a chain of causes.")] = False,
    pace: Annotated[
        float, typer.Option("--pace", min=0.0, max=10.0, help="1: about 15 s, slow enough to watch; 0: no pauses.")
    ] = 1.0,
    instance_home: InstanceHome = None,
) -> None:
    """Record a pipeline that takes a census of this machine's Python standard library."""
    from daglens.demo import census

    with open_instance(instance_home) as instance:
        options = "" if instance_home is None else f" --instance-home {shlex.quote(str(instance_home))}"
        raise typer.Exit(census.main(instance, fail=fail, pace=pace, options=options))
