"""`daglens documents`: which documents `daglens serve --documents` executes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Trusted documents: those that a server knows beforehand.", no_args_is_help=True)


@app.command("write")
def write(
    sources: Annotated[
        list[Path], typer.Argument(metavar="FILE…", help=".graphql files, and folders of them, of your front end.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The manifest to write.")] = Path(
        "documents.json"
    ),
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 1 if the file is out of date.")
    ] = False,
) -> None:
    """Write the manifest of all operations in some files: ids and documents, as `serve --documents` takes them.

    Each operation is checked against the schema and becomes a document of its own, with the fragments that it needs,
    from whichever file. Its id is the document's SHA-256.
    """
    from daglens.cli.output import counted
    from daglens.schema.build import build_schema
    from daglens.server.documents.manifest import InvalidDocuments, manifest_text
    from daglens.server.documents.sources import documents_of

    found = documents_of(sources, build_schema()._schema)
    text = manifest_text(found)
    try:
        if check:
            if not output.is_file() or output.read_text(encoding="utf-8") != text:
                typer.echo(f"{output} is out of date: write it again.", err=True)
                raise typer.Exit(1)
        else:
            output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidDocuments(f"{output}: {error.strerror}.") from None
    typer.echo(f"{counted(len(found), 'document')} in {output}.", err=True)
