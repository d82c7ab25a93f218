"""`daglens instance migrate`: bringing a database that several servers share up to date, when its owner says so."""

from __future__ import annotations

from typing import Annotated

import typer

from daglens.cli.options import InstanceHome, open_instance


def register(app: typer.Typer) -> None:
    """Add the command to `daglens instance`."""
    app.command()(migrate)


def migrate(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit code 1 when there is something to do.")
    ] = False,
    sql: Annotated[
        bool, typer.Option("--sql", help="Change nothing; print the statements, to be read and run.")
    ] = False,
    instance_home: InstanceHome = None,
) -> None:
    """Set up or update the tables of the Postgres storages. SQLite files update themselves when they are opened."""
    with open_instance(instance_home) as instance:
        # Alembic is not needed to find out that there is nothing to migrate.
        if not any(section.module == "daglens.storage.postgres" for section in instance.sections.values()):
            typer.echo("Nothing to do: no storage of this instance is in Postgres.", err=sql)
            return
        from daglens.storage.postgres.migrating import Migration

        for migration in Migration.of(instance.storages.values()):
            if sql:
                statements = migration.sql()
                typer.echo(statements, nl=False)
                if not statements:
                    typer.echo(f"{migration.place}: up to date; there are no statements to run.", err=True)
            elif check:
                state = migration.state()
                if state.is_empty or state.is_older:
                    now = _told(state.revision).replace("was", "is", 1)
                    todo = "sets it up" if state.is_empty else "updates it"
                    typer.echo(f"{migration.place}: {now}; `daglens instance migrate` {todo}.")
                    raise typer.Exit(1)
                state.check()
                typer.echo(f"{migration.place}: up to date, at revision {state.revision}.")
            else:
                before = migration.state().revision
                after = migration.upgrade().revision
                done = "up to date already," if before == after else f"{_told(before)}, now"
                typer.echo(f"{migration.place}: {done} at revision {after}.")


def _told(revision: str | None) -> str:
    if revision is None:
        return "was not set up"
    return f"was at revision {revision or '(none)'}"
