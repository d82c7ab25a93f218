"""`daglens doctor`: whether what an instance stands on is in order."""

from __future__ import annotations

import os
import sys

import typer

from daglens.cli.options import InstanceHome, Json


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(json: Json = False, instance_home: InstanceHome = None) -> None:
    """Look at disks, database, clock, pool, live hints and settings, and say what to do. Changes nothing.

    Exit code 0: nothing is a problem; warnings may be told. 1: something is.
    """
    from daglens.cli.output import counted, print_json
    from daglens.doctor import Verdict, findings
    from daglens.instance import default_fallback, locate
    from daglens.instance_location import Location

    def say(what: str) -> None:
        if not json:
            typer.echo(f"Looking at {what} …", err=True)

    def where() -> Location:
        return locate(os.environ, home=instance_home, fallback=default_fallback(), make=False)

    counts = dict.fromkeys(Verdict, 0)
    for finding in findings(where, say):
        counts[finding.verdict] += 1
        if json:
            print_json(
                {
                    "check": finding.check,
                    "verdict": finding.verdict.value,
                    "found": finding.found,
                    "advice": finding.advice,
                }
            )
            continue
        typer.echo(f"{finding.verdict.value:8} {finding.check}: {finding.found}")
        if finding.advice:
            typer.echo(f"{'':8} → {finding.advice}")
    if not json:
        told = ", ".join(counted(counts[verdict], verdict.value) for verdict in (Verdict.PROBLEM, Verdict.WARNING))
        typer.echo(f"{told}.")
    if counts[Verdict.PROBLEM]:
        sys.exit(1)
