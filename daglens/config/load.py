"""From a dagster.yaml to what an instance is made of."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from daglens.config.defaults import default_section
from daglens.config.loaded import SECTION_NAMES, LoadedConfig, Section
from daglens.config.plugins import AUTHENTICATOR, check_contract
from daglens.config.problems import ConfigError, KeyPath, render_path
from daglens.config.redaction import Redactor, secrets_in, shown
from daglens.config.settings import Settings
from daglens.storage.contract import NoConfig


def load_config(yaml_file: Path, home: Path, *, environ: Mapping[str, str] | None = None) -> LoadedConfig:
    """Read a dagster.yaml, load the classes it names and check their configurations; no storage is made yet.

    Sections that it leaves out are those of `default_sections(home)`. `environ` stands in for the process's
    environment in `{env: NAME}`; `{file: PATH}` is relative to the folder of the file.

    Raises:
        ConfigError: With every problem that the file has, in the order of its lines.
    """
    # Here and not above: a recorder on an instance without a file imports neither PyYAML nor what reads it.
    from daglens.config.sections import SectionReader
    from daglens.config.shapes import ShapeReader
    from daglens.config.yaml_file import read_yaml

    file = read_yaml(yaml_file)
    redactor = Redactor()
    shapes = ShapeReader(file.folder, os.environ if environ is None else environ, file.problems, redactor)
    reader = SectionReader(file.root, file.problems, shapes)
    ignored = reader.ignored()
    choices = [*reader.choices(), *reader.authenticator()]
    settings = shapes.read(Settings, reader.settings(), ("daglens",), "daglens")
    made: list[tuple[Any, Any]] = []
    for choice in choices:
        shape = getattr(choice.storage_class, "Config", None) or NoConfig
        made.append((choice, shapes.read(shape, choice.config, choice.config_path, choice.storage_class.__name__)))
    problems = file.problems.all(redactor)
    if problems:
        raise ConfigError(yaml_file, problems)

    shared: dict[type[Any], Callable[[], Any]] = {}
    sections = {}
    for choice, config in made:
        storage_class = choice.storage_class
        make = _maker(storage_class, config, home)
        if choice.part is not None:
            make = _part_maker(shared.setdefault(storage_class, _once(make)), choice.section)
        own = Redactor()
        for secret in (*secrets_in(config), *shapes.from_files):
            own.hide(secret)
        sections[choice.section] = Section(
            choice.section,
            choice.module,
            choice.class_name,
            shown(config, hidden=shapes.from_files),
            make,
            own,
            yaml_file,
            file.problems.line_of(choice.place),
            choice.place,
        )
    return LoadedConfig(
        {name: sections.get(name) or default_section(name, home) for name in SECTION_NAMES},
        ignored,
        tuple(_notes(yaml_file.name, ignored, reader.left_out)),
        sections.get(AUTHENTICATOR),
        settings,
    )


def _maker(storage_class: type[Any], config: Any, home: Path) -> Callable[[], Any]:
    return lambda: storage_class.from_config(config, home)


def _once(make: Callable[[], Any]) -> Callable[[], Any]:
    """One object however many ask for it."""
    lock = threading.Lock()
    made: list[Any] = []

    def once() -> Any:
        with lock:
            if not made:
                made.append(make())
            return made[0]

    return once


def _part_maker(make_whole: Callable[[], Any], section: str) -> Callable[[], Any]:
    """A storage that a class of `storage: custom:` holds as its attribute `run_storage` or `event_log_storage`."""

    def make() -> Any:
        part = getattr(make_whole(), section)
        check_contract(type(part), section)
        return part

    return make


def _notes(file: str, ignored: tuple[str, ...], left_out: list[KeyPath]) -> list[str]:
    notes = []
    if ignored:
        notes.append(f"{file}: ignored, as only an orchestrator needs them: {', '.join(ignored)}")
    if left_out:
        notes.append(f"{file}: ignored, as they mean nothing here: {', '.join(map(render_path, left_out))}")
    return notes
