"""The command's tree."""

from __future__ import annotations

from typing import Annotated

import typer

from daglens.cli import (
    bundles,
    demo,
    doctor,
    documents,
    events,
    failed,
    instance_commands,
    logs,
    migrate,
    recorder_commands,
    runs,
    script_commands,
    serve,
    tokens,
)

app = typer.Typer(
    name="daglens",
    help="The history of data pipelines: runs, events and compute logs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (serve, demo, failed, events, logs, doctor):
    module.register(app)
migrate.register(instance_commands.app)
bundles.register(runs.app)
app.add_typer(runs.app, name="runs")
app.add_typer(tokens.app, name="tokens")
app.add_typer(documents.app, name="documents")
app.add_typer(recorder_commands.app, name="recorder")
app.add_typer(instance_commands.app, name="instance")


def _print_version(wanted: bool) -> None:
    if wanted:
        from daglens import __version__

        typer.echo(f"daglens {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None: ...


def _register_script_command(name: str, summary: str) -> None:
    """List a command that `script_commands` parses; `daglens` itself calls that without this module."""

    @app.command(
        name,
        help=summary,
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )
    def called(context: typer.Context) -> None:
        script_commands.run([name, *context.args])


for command_name, command_summary in script_commands.NAMES.items():
    _register_script_command(command_name, command_summary)
