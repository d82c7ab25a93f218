"""Everything there is to look at, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from daglens.config.problems import ConfigError
from daglens.config.redaction import clean_for_terminal
from daglens.doctor.findings import Finding, ok, problem, warning
from daglens.doctor.places import look_at_assets, look_at_disks, look_at_tokens
from daglens.instance import Instance
from daglens.instance_location import InvalidHome, Location
from daglens.storage.compute_logs import LocalComputeLogManager
from daglens.storage.errors import DaglensError
from daglens.storage.run_folders import base_folder

Say = Callable[[str], None]


def findings(location: Callable[[], Location], say: Say = lambda _: None) -> Iterator[Finding]:
    """What is found, as soon as it is. `location` tells where to look; `say` is told what is looked at.

    Whatever fails, the rest is looked at. Secrets are in none of it.
    """
    for finding in _all(location, say):
        yield Finding(
            finding.check, finding.verdict, clean_for_terminal(finding.found), clean_for_terminal(finding.advice)
        )


def _all(location: Callable[[], Location], say: Say) -> Iterator[Finding]:
    from daglens.server.graphiql_page import ASSETS, NEEDED_ASSETS

    say("GraphiQL's files")
    yield look_at_assets(ASSETS, NEEDED_ASSETS)
    say("the configuration")
    try:
        where = location()
        if where.home is not None and not _is_there(where.home):
            yield warning(
                "configuration",
                f"{where.home} isn't there yet, and so neither is an instance.",
                "The first run makes it. If there should be one: name its folder by DAGSTER_HOME.",
            )
            yield from look_at_disks([where.home])
            return
        instance = Instance.at(where)
    except ConfigError as error:
        for line in str(error).splitlines()[1:] or [str(error)]:
            yield problem("configuration", line, "Correct it in dagster.yaml; docs/configuration.md has every key.")
        return
    except OSError as error:
        yield problem(
            "configuration",
            f"{error.filename or 'The folder'} can't be read: {error.strerror or error}.",
            "Give it, and the folders above it, to the user that daglens runs as.",
        )
        return
    except (InvalidHome, DaglensError) as error:
        yield problem("configuration", str(error), "Nothing else of the instance can be looked at until then.")
        return
    with instance:
        yield ok("configuration", f"{where.yaml_file or where.home} can be used ({where.origin.value}).")
        yield from _instance(instance, say)


def _instance(instance: Instance, say: Say) -> Iterator[Finding]:
    from daglens.server.gatekeeping import tokens_file

    folders = [instance.home]
    seen: list[Any] = []
    for name, storage in instance.storages.items():
        module, config = instance.sections[name].module, instance.sections[name].config
        say(f"{name} ({module}.{instance.sections[name].class_name})")
        database: Any = getattr(storage, "database", None)
        if module.startswith("daglens.storage.sqlite"):
            folders.append(database.path.parent)
            if database not in seen:
                from daglens.doctor.sqlite import look_at_sqlite

                yield from look_at_sqlite(database.path)
        elif module.startswith("daglens.storage.postgres"):
            if database not in seen:
                yield from _postgres(database, config)
        elif name in ("compute_logs", "local_artifact_storage") and "base_dir" in config:
            folders.append(base_folder(config["base_dir"], instance.home))
        else:
            yield _health(name, storage)
        seen.append(database)
    yield _sharing(instance)
    say("disks")
    yield from look_at_disks(folders)
    say("tokens")
    yield look_at_tokens(tokens_file(instance, None), instance.home)


def _is_there(folder: Path) -> bool:
    """Whether it exists. Unlike `Path.exists` of one that may not be looked at: that is an OSError in every Python."""
    try:
        folder.stat()
    except FileNotFoundError:
        return False
    return True


def _postgres(database: Any, config: Mapping[str, Any]) -> Iterator[Finding]:
    from daglens.doctor.postgres import PostgresVisit

    yield from PostgresVisit(
        database.pool.address,
        database.schema,
        pool_size=database.pool.size,
        autocreate=bool(config.get("should_autocreate_tables", True)),
    ).findings()


def _health(name: str, storage: Any) -> Finding:
    """What a storage says that isn't known here: by its contract, asking changes nothing."""
    try:
        health = storage.health()
    except Exception as error:
        return problem(
            name, f"Its health check failed: {error}", "Ask whoever wrote the class that dagster.yaml names."
        )
    if health.healthy:
        return ok(name, "The storage says that it works.")
    return problem(name, str(health.problem), f"Look at {name} in dagster.yaml.")


def _sharing(instance: Instance) -> Finding:
    runs_are_shared = instance.sections["run_storage"].module.startswith("daglens.storage.postgres")
    if not runs_are_shared or not isinstance(instance.compute_logs, LocalComputeLogManager):
        return ok("log-sharing", "Whoever sees the runs of this instance sees their logs.")
    folder: Path = base_folder(instance.sections["compute_logs"].config.get("base_dir"), instance.home)
    return warning(
        "log-sharing",
        f"Runs are in PostgreSQL, and compute logs in {folder} of this machine: servers and recorders on other "
        "machines don't see each other's logs.",
        "Write compute_logs with daglens.storage.object_store in dagster.yaml (docs/object-store.md), or a base_dir "
        "that all of them share; with one machine all is well.",
    )
