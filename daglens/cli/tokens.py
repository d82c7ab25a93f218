"""`daglens tokens`: who is let in by `daglens serve --tokens`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from daglens.access import Role
from daglens.access.token_file import DEFAULT_FILE, add_token, read_entries, remove_token, rotate_token
from daglens.cli.options import InstanceHome, Json
from daglens.cli.output import print_json

app = typer.Typer(help="Tokens by which a server lets people and recorders in.", no_args_is_help=True)

File = Annotated[
    Path | None,
    typer.Option(
        "--file",
        metavar="FILE",
        help="The file of tokens. By default the one that dagster.yaml names, else `tokens` in the instance's folder.",
    ),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Whose token it is; stands as `createdBy` on runs.")]


@app.command("add")
def add(
    name: Name,
    role: Annotated[
        Role, typer.Option("--role", help="viewer reads; recorder creates runs and writes to its own; admin does all.")
    ],
    file: File = None,
    instance_home: InstanceHome = None,
) -> None:
    """Add a token and print it, this once: only a hash of it is kept."""
    path, is_named = _path(file, instance_home)
    is_first = not path.exists()
    _show(path, add_token(path, name, role), f"Added {name}, {role}, to {path}.")
    if is_first and not is_named:
        typer.echo(f"A server takes the file by: daglens serve --tokens {shlex.quote(str(path))}", err=True)


@app.command("rotate")
def rotate(name: Name, file: File = None, instance_home: InstanceHome = None) -> None:
    """Make a token anew and print it. The old one ends at once, on running servers too."""
    path, _ = _path(file, instance_home)
    _show(path, rotate_token(path, name), f"Rotated {name} in {path}: the old token has ended.")


@app.command("remove")
def remove(name: Name, file: File = None, instance_home: InstanceHome = None) -> None:
    """End a token at once, on running servers too. Runs keep its name."""
    path, _ = _path(file, instance_home)
    remove_token(path, name)
    typer.echo(f"Removed {name} from {path}.", err=True)


@app.command("list")
def list_(file: File = None, instance_home: InstanceHome = None, json: Json = False) -> None:
    """Names and roles; the tokens themselves are kept nowhere."""
    entries = read_entries(_path(file, instance_home)[0])
    width = max((len(entry.name) for entry in entries), default=0)
    for entry in entries:
        if json:
            print_json({"name": entry.name, "role": str(entry.role), "made": entry.made})
        else:
            typer.echo(f"{entry.name:{width}}  {entry.role:8}  {entry.made}".rstrip())


def _show(path: Path, token: str, note: str) -> None:
    typer.echo(note, err=True)
    typer.echo("This is shown once:", err=True)
    typer.echo(token)


def _path(file: Path | None, home: Path | None) -> tuple[Path, bool]:
    """The file of tokens, and whether dagster.yaml names it: a server on this instance takes it by itself then."""
    if file is not None:
        return file.expanduser(), False
    from daglens.config.load import load_config
    from daglens.instance import default_fallback, locate

    # The storages needn't answer for this, and aren't opened.
    location = locate(home=home, fallback=default_fallback())
    assert location.home is not None, "rule 3 names a folder"
    named = None
    if location.yaml_file is not None:
        named = load_config(location.yaml_file, location.home).settings.access.tokens
    return location.home / Path(named or DEFAULT_FILE).expanduser(), named is not None
