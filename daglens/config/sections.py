"""Which class each section of a dagster.yaml asks for, Dagster's names and its `storage:` section answered by ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from daglens.config.aliases import (
    ALIASES,
    NO_MYSQL,
    ORCHESTRATOR_SECTIONS,
    UNIFIED,
    NotYet,
    Ours,
    Unified,
    of_dagster,
)
from daglens.config.plugins import AUTHENTICATOR, CONTRACTS, KIND_NAMES, Unusable, check_contract, load_class
from daglens.config.problems import KeyPath, ProblemCode, ProblemList, did_you_mean
from daglens.config.shapes import ShapeReader
from daglens.config.yaml_file import BROKEN

TOP_LEVEL: Final = frozenset({*CONTRACTS, "storage", "daglens"})
AUTHENTICATOR_PLACE: Final[KeyPath] = ("daglens", "access", AUTHENTICATOR)
UNIFIED_SECTIONS: Final = ("run_storage", "event_log_storage")
"""What `storage:` stands for."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A class that was found for a section, and its configuration, not read yet.

    Attributes:
        module: The name under which the class was asked for, or under which ours answers for Dagster's.
        class_name: Likewise.
        place: Where the class is named.
        config_path: Where its configuration stands, or would stand.
        part: For a class of `storage: custom:`, the attribute of its instance that is the section's storage.
    """

    section: str
    storage_class: type[Any]
    module: str
    class_name: str
    config: Any
    place: KeyPath
    config_path: KeyPath
    part: str | None = None


class SectionReader:
    """Finds the classes of all sections, noting every problem."""

    def __init__(self, root: Mapping[str, Any], problems: ProblemList, shapes: ShapeReader) -> None:
        self._root = root
        self._problems = problems
        self._shapes = shapes
        self.left_out: list[KeyPath] = []

    def ignored(self) -> tuple[str, ...]:
        """Sections that only an orchestrator needs, in the order of the file; notes those that nobody knows."""
        for key in self._root:
            if key not in TOP_LEVEL | ORCHESTRATOR_SECTIONS:
                suggestion = did_you_mean(key, TOP_LEVEL | ORCHESTRATOR_SECTIONS)
                self._problems.add(ProblemCode.UNKNOWN_KEY, (key,), f"unknown section{suggestion}")
        return tuple(key for key in self._root if key in ORCHESTRATOR_SECTIONS)

    def choices(self) -> list[Choice]:
        """The classes that the file names and that can be used; a section it leaves out has none."""
        found = [choice for name in CONTRACTS for choice in self._named(name)]
        return found + self._unified()

    def authenticator(self) -> list[Choice]:
        """The class that `daglens: access: authenticator:` names, if any."""
        found: Any = self._root
        for key in AUTHENTICATOR_PLACE:
            if not isinstance(found, Mapping) or key not in found:
                return []
            found = found[key]
        # An empty one isn't passed over, as other sections are: everybody would be let in.
        return [] if found is BROKEN else self._class_at(found, AUTHENTICATOR_PLACE, AUTHENTICATOR)

    def settings(self) -> Any:
        """The `daglens:` section without what names a class."""
        raw = self._root.get("daglens")
        if not isinstance(raw, Mapping) or not isinstance(access := raw.get("access"), Mapping):
            return raw
        return {**raw, "access": {key: value for key, value in access.items() if key != AUTHENTICATOR}}

    def _named(self, section: str) -> list[Choice]:
        raw = self._root.get(section)
        if raw is None or raw is BROKEN:
            return []
        return self._class_at(raw, (section,), section)

    def _class_at(self, raw: Any, place: KeyPath, section: str | None) -> list[Choice]:
        """The class of a `module`, `class`, `config` mapping; `section` None: of `storage: custom:`."""
        if not isinstance(raw, Mapping):
            self._problems.add(ProblemCode.BAD_VALUE, place, "must hold module, class and, where needed, config")
            return []
        for key in raw:
            if key not in ("module", "class", "config"):
                self._problems.add(
                    ProblemCode.UNKNOWN_KEY,
                    (*place, key),
                    "unknown key" + did_you_mean(key, ("module", "class", "config")),
                )
        names: dict[str, str | None] = {}
        for key in ("module", "class"):
            if raw.get(key) is None:
                self._problems.add(ProblemCode.MISSING_KEY, (*place, key), "this key is missing")
                names[key] = None
            else:
                names[key] = self._shapes.text(raw[key], (*place, key))
        config, config_path = raw.get("config"), (*place, "config")
        module, class_name = names["module"], names["class"]
        if module is None or class_name is None:
            self._shapes.without_shape(config, config_path)
            return []
        if of_dagster(module):
            return self._of_dagster(module, class_name, config, place, section)
        return self._import(module, class_name, config, place, config_path, section)

    def _import(
        self, module: str, class_name: str, config: Any, place: KeyPath, config_path: KeyPath, section: str | None
    ) -> list[Choice]:
        try:
            storage_class = load_class(module, class_name)
        except Unusable as unusable:
            self._note(unusable, place)
            self._shapes.without_shape(config, config_path)
            return []
        if section is None:
            return [
                Choice(name, storage_class, module, class_name, config, place, config_path, part=name)
                for name in UNIFIED_SECTIONS
            ]
        try:
            check_contract(storage_class, section)
        except Unusable as unusable:
            self._note(unusable, place)
            if unusable.code is ProblemCode.WRONG_KIND:
                # Its Config belongs to another section; measured by it, every key would seem wrong.
                self._shapes.without_shape(config, config_path)
                return []
        return [Choice(section, storage_class, module, class_name, config, place, config_path)]

    def _of_dagster(
        self, module: str, class_name: str, config: Any, place: KeyPath, section: str | None
    ) -> list[Choice]:
        package = of_dagster(module)
        assert package is not None
        answer = ALIASES.get((package, class_name))
        config_path = (*place, "config")
        if isinstance(answer, Unified):
            if section is None:
                return self._unified_by(answer.key, config, place, config_path)
            answer = None
        if isinstance(answer, Ours) and section is not None:
            config = self._as_ours(answer, config, config_path)
            return self._import(answer.module, answer.class_name, config, place, config_path, section)
        self._shapes.without_shape(config, config_path)
        if isinstance(answer, NotYet):
            self._problems.add(ProblemCode.NOT_AVAILABLE, (*place, "class"), answer.sentence)
            return []
        known = [name for of, name in ALIASES if of == package]
        what = KIND_NAMES[section] if section else "one class for runs and events"
        self._problems.add(
            ProblemCode.NOT_AVAILABLE,
            (*place, "class"),
            f"daglens has nothing that answers for this class of Dagster's as {what}{did_you_mean(class_name, known)}",
        )
        return []

    def _unified(self) -> list[Choice]:
        raw = self._root.get("storage")
        if raw is None or raw is BROKEN:
            return []
        for other in UNIFIED_SECTIONS:
            if self._root.get(other) is not None:
                self._problems.add(
                    ProblemCode.BAD_VALUE, (other,), f"storage and {other} both say where this is kept; leave one out"
                )
        kinds = ("sqlite", "postgres", "mysql", "custom")
        if not isinstance(raw, Mapping) or len(raw) != 1:
            self._problems.add(ProblemCode.BAD_VALUE, ("storage",), "must hold one of sqlite, postgres and custom")
            return []
        ((key, config),) = raw.items()
        if key not in kinds:
            self._problems.add(ProblemCode.UNKNOWN_KEY, ("storage", key), "unknown key" + did_you_mean(key, kinds))
            return []
        place: KeyPath = ("storage", key)
        if config is BROKEN:
            return []
        if key == "custom":
            return self._class_at(config, place, None)
        return self._unified_by(key, config, place, place)

    def _unified_by(self, key: str, config: Any, place: KeyPath, config_path: KeyPath) -> list[Choice]:
        if key in UNIFIED:
            module, *class_names = UNIFIED[key]
            return [
                choice
                for section, class_name in zip(UNIFIED_SECTIONS, class_names, strict=True)
                for choice in self._import(module, class_name, config, place, config_path, section)
            ]
        self._shapes.without_shape(config, config_path)
        self._problems.add(ProblemCode.NOT_AVAILABLE, place, NO_MYSQL.sentence)
        return []

    def _as_ours(self, answer: Ours, config: Any, path: KeyPath) -> Any:
        if config is None:
            config = {}
        if not isinstance(config, Mapping):
            return config
        self.left_out += [(*path, key) for key in config if key in answer.ignored_keys]
        return answer.config_of(config)

    def _note(self, unusable: Unusable, place: KeyPath) -> None:
        self._problems.add(unusable.code, (*place, unusable.key), unusable.sentence, said=unusable.said)
