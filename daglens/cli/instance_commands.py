"""`daglens instance info|check`: which instance this is, and whether it works."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from typing import Any

import typer

from daglens.cli.options import InstanceHome, Json, open_instance
from daglens.config.redaction import clean_for_terminal
from daglens.instance import SECTION_NAMES, Instance, default_fallback, locate
from daglens.storage.records import Health

app = typer.Typer(help="The instance: where runs, events, logs and artifacts are kept.", no_args_is_help=True)


@app.command()
def info(json: Json = False, instance_home: InstanceHome = None) -> None:
    """Print which rule chose the instance, its folder and its effective configuration, without secrets."""
    import yaml

    from daglens.cli.output import print_json

    with open_instance(instance_home) as instance:
        if json:
            sections = {
                name: {"module": s.module, "className": s.class_name, "config": s.config}
                for name, s in instance.sections.items()
            }
            told = {"origin": instance.origin.value, "home": str(instance.home), **sections}
            print_json({**told, "daglens": _settings(instance)})
            return
        typer.echo(f"origin: {instance.origin.value}")
        typer.echo(f"home: {instance.home}")
        typer.echo(instance.info_yaml(), nl=False)
        typer.echo(yaml.safe_dump({"daglens": _settings(instance)}, sort_keys=False, allow_unicode=True), nl=False)
        for note in instance.notes:
            typer.echo(note, err=True)


@app.command()
def check(instance_home: InstanceHome = None) -> None:
    """Read dagster.yaml, load each class, and ask each storage for its health.

    Exit code 0: all is well; 2: something is wrong, and every problem is listed.
    """
    where = locate(os.environ, home=instance_home, fallback=default_fallback())
    typer.echo(f"{where.origin.value}: {where.yaml_file or where.home}")
    with Instance.at(where) as instance:
        bad = False
        for name in SECTION_NAMES:
            section = instance.sections[name]
            health = _health(instance, name)
            bad = bad or not health.healthy
            verdict = "ok" if health.healthy else f"PROBLEM: {section.clean(str(health.problem))}"
            typer.echo(f"{name}: {section.module}.{section.class_name}: {verdict}")
        for note in instance.notes:
            typer.echo(note)
    if bad:
        sys.exit(2)


def _settings(instance: Instance) -> dict[str, Any]:
    """What stands below `daglens:` in dagster.yaml, and the defaults of what doesn't."""
    told: dict[str, Any] = _without_secrets(asdict(instance.settings))
    return told


def _without_secrets(value: Any) -> Any:
    # A value may be that of a {file: …}.
    if isinstance(value, dict):
        return {_without_secrets(key): _without_secrets(part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return [_without_secrets(part) for part in value]
    return clean_for_terminal(value) if isinstance(value, str) else value


def _health(instance: Instance, name: str) -> Health:
    try:
        return instance.storages[name].health()
    except Exception as error:  # a plug-in may break its promise never to raise
        return Health(False, f"its health check failed: {error}")
