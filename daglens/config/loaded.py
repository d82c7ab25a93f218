"""What an instance is made of: four sections, each ready to be built, and the settings.

Apart from `load`, which reads a dagster.yaml: a recorder on an instance without a file loads nothing of that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from daglens.config.redaction import Redactor
from daglens.storage.errors import DaglensError

if TYPE_CHECKING:
    from daglens.config.problems import ConfigError
    from daglens.config.settings import Settings

SECTION_NAMES: Final = ("run_storage", "event_log_storage", "compute_logs", "local_artifact_storage")
"""In the order in which storages are opened."""


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
    _place: tuple[str | int, ...] = ()

    def build(self) -> Any:
        """Make the storage.

        Raises:
            ConfigError: The class raised an error; one problem, with the error's message without secrets.
            DaglensError: What the storage itself raised, StorageUnavailable for one, its message without secrets.
        """
        try:
            return self._make()
        except DaglensError as error:
            error.args = (self.clean(str(error)),)
            raise
        except Exception as error:
            from daglens.config.refusals import refusal

            raise refusal(error, self.class_name, self._file, self._line, self._place, self._redactor) from None

    def clean(self, text: str) -> str:
        """The text without the configuration's secrets: for what a storage says of its health."""
        return self._redactor.clean(text)


@dataclass(frozen=True)
class LoadedConfig:
    """What an instance is made of.

    Attributes:
        sections: All four, by name, in the order in which they are opened.
        ignored: Top-level keys of the file that only an orchestrator needs.
        notes: Lines to tell once, when the instance is opened: what of the file has no effect.
        authenticator: The class that `daglens: access: authenticator:` names; a server makes it.
        given_settings: The `daglens:` section; None where there is no file. `settings` has the defaults then.
    """

    sections: Mapping[str, Section]
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    authenticator: Section | None = None
    given_settings: Settings | None = None

    @cached_property
    def settings(self) -> Settings:
        """The `daglens:` section, or its defaults."""
        from daglens.config.settings import Settings

        return Settings() if self.given_settings is None else self.given_settings

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
                except DaglensError as error:
                    from daglens.config.problems import ConfigError

                    if not isinstance(error, ConfigError):
                        raise
                    refused.append(error)
            if refused:
                problems = dict.fromkeys(problem for error in refused for problem in error.problems)
                raise ConfigError(refused[0].file, problems)
        except BaseException:
            for storage in reversed(built.values()):
                # What is wrong is told by the error that is under way.
                with suppress(Exception):
                    storage.close()
            raise
        return built
