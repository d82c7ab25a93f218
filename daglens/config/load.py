"""From a dagster.yaml, or from no file at all, to the four storages of an instance."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from daglens.config.aliases import ARTIFACTS, COMPUTE_LOGS, MEMORY, SQLITE
from daglens.config.plugins import AUTHENTICATOR, CONTRACTS, Unusable, check_contract
from daglens.config.problems import ConfigError, KeyPath, Problem, ProblemCode, ProblemList, render_path
from daglens.config.redaction import Redactor, secrets_in, shown
from daglens.config.settings import Settings
from daglens.storage.contract import NoConfig
from daglens.storage.errors import DaglensError

SECTION_NAMES: Final = tuple(CONTRACTS)

_LOCAL: Final = {
    "run_storage": (SQLITE, "SqliteRunStorage"),
    "event_log_storage": (SQLITE, "SqliteEventLogStorage"),
    "compute_logs": (COMPUTE_LOGS, "LocalComputeLogManager"),
    "local_artifact_storage": (ARTIFACTS, "LocalArtifactStorage"),
}
_EPHEMERAL: Final = _LOCAL | {
    "run_storage": (MEMORY, "InMemoryRunStorage"),
    "event_log_storage": (MEMORY, "InMemoryEventLogStorage"),
}


@dataclass(frozen=True)
class Section:
    """One of the four parts of an instance: the class behind it, ready to be made.

    Attributes:
        name: `run_storage`, `event_log_storage`, `compute_logs` or `local_artifact_storage`.
        module: Of the class that is used; where the file names one of Dagster's, ours that answers for it.
        class_name: Likewise.
        config: The effective configuration, defaults included, as JSON values; secrets are `***`.
    """

    name: str
    module: str
    class_name: str
    config: Any
    _make: Callable[[], Any] = field(repr=False)
    _redactor: Redactor = field(repr=False, compare=False)
    _file: Path | None = None
    _line: int | None = None
    _place: KeyPath = ()

    def build(self) -> Any:
        """Make the storage.

        Raises:
            ConfigError: The class raised an error; one problem, with the error's message without secrets.
            DaglensError: What the storage itself raised, StorageUnavailable for one, its message without secrets.
        """
        try:
            return self._make()
        except DaglensError as error:
            error.args = (self._redactor.clean(str(error)),)
            raise
        except Unusable as unusable:
            raise ConfigError(self._file, self._problem(unusable.code, unusable.sentence, "")) from None
        except Exception as error:
            said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            sentence = f"{self.class_name} could not be made of this configuration"
            raise ConfigError(self._file, self._problem(ProblemCode.CLASS_FAILED, sentence, said)) from None

    def clean(self, text: str) -> str:
        """The text without the configuration's secrets: for what a storage says of its health."""
        return self._redactor.clean(text)

    def _problem(self, code: ProblemCode, sentence: str, said: str) -> tuple[Problem, ...]:
        problems = ProblemList(self._file.name if self._file else "(no dagster.yaml)", lambda _: self._line)
        problems.add(code, self._place, sentence, said=said)
        return problems.all(self._redactor)


@dataclass(frozen=True)
class LoadedConfig:
    """What an instance is made of.

    Attributes:
        sections: All four, by name, in the order in which they are opened.
        settings: The `daglens:` section, or its defaults.
        ignored: Top-level keys of the file that only an orchestrator needs.
        notes: Lines to tell once, when the instance is opened: what of the file has no effect.
        authenticator: The class that `daglens: access: authenticator:` names; a server makes it.
    """

    sections: Mapping[str, Section]
    settings: Settings = field(default_factory=Settings)
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    authenticator: Section | None = None

    def build(self) -> dict[str, Any]:
        """Make all four storages.

        Raises:
            ConfigError: With the problems of every class that raised. Nothing is left open.
            DaglensError: What a storage itself raised. Nothing is left open.
        """
        built: dict[str, Any] = {}
        refused: list[ConfigError] = []
        try:
            for name, section in self.sections.items():
                try:
                    built[name] = section.build()
                except ConfigError as error:
                    refused.append(error)
            if refused:
                problems = dict.fromkeys(problem for error in refused for problem in error.problems)
                raise ConfigError(refused[0].file, problems)
        except BaseException:
            for storage in reversed(built.values()):
                storage.close()
            raise
        return built


def default_sections(home: Path, *, ephemeral: bool = False) -> dict[str, Section]:
    """The four sections of an instance without a dagster.yaml: SQLite and files in `home`.

    With `ephemeral`, runs and events are kept in memory, and only logs and artifacts in `home`.
    """
    return {name: _default(name, home, ephemeral) for name in SECTION_NAMES}


def _default(name: str, home: Path, ephemeral: bool = False) -> Section:
    module, class_name = (_EPHEMERAL if ephemeral else _LOCAL)[name]
    storage_class = getattr(importlib.import_module(module), class_name)
    config = storage_class.Config()
    return Section(
        name,
        module,
        class_name,
        shown(config),
        lambda: storage_class.from_config(config, home),
        Redactor(),
        _place=(name,),
    )


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
        {name: sections.get(name) or _default(name, home) for name in SECTION_NAMES},
        settings,
        ignored,
        tuple(_notes(yaml_file.name, ignored, reader.left_out)),
        sections.get(AUTHENTICATOR),
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
