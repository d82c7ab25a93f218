"""An instance joins the four storages; what needs more than one of them stands here and in upkeep.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from daglens.config.defaults import default_sections
from daglens.config.loaded import SECTION_NAMES, LoadedConfig, Section
from daglens.instance_location import InstanceOrigin, InvalidHome, Location, default_fallback, locate
from daglens.storage import event_types as et
from daglens.storage.contract import ArtifactStorage, ComputeLogManager, EventLogStorage, RunStorage
from daglens.storage.errors import StorageUnavailable
from daglens.storage.records import AddedRun, Appended, EventDraft, NewRun, RunRecord

if TYPE_CHECKING:
    from daglens.access import Authenticator
    from daglens.config.settings import Settings
    from daglens.temporary_home import TemporaryHome

__all__ = ["SECTION_NAMES", "Instance", "InstanceOrigin", "InvalidHome", "default_fallback", "locate"]


@dataclass(frozen=True)
class Instance:
    """Four storages, and where they came from. Close it, or use it in a `with`.

    Attributes:
        origin: The rule that chose it.
        home: Its folder; of an ephemeral instance a temporary one.
        sections: By section name, the class and the redacted configuration behind each storage.
        notes: Lines to tell once: what of dagster.yaml has no effect here.
    """

    origin: InstanceOrigin
    home: Path
    runs: RunStorage
    events: EventLogStorage
    compute_logs: ComputeLogManager
    artifacts: ArtifactStorage
    sections: Mapping[str, Section]
    notes: tuple[str, ...] = ()
    _settings: Settings | None = None
    _authenticator: Section | None = None
    _temporary: TemporaryHome | None = None

    # ------------------------------------------------------------ opening and closing

    @classmethod
    def open(
        cls,
        *,
        home: str | Path | None = None,
        fallback: str | Path | None = None,
        ephemeral: bool = False,
        environ: Mapping[str, str] | None = None,
    ) -> Self:
        """Open the instance that the four rules choose.

        Args:
            home: Stands in for DAGSTER_HOME.
            fallback: The folder of rule 3; None: rule 3 doesn't apply. Commands give `default_fallback()`.
            ephemeral: Go straight to rule 4.
            environ: Stands in for the process's environment.

        Raises:
            InvalidHome: The folder is relative, is a file, or can't be made.
            ConfigError: dagster.yaml is wrong; it lists every problem.
            StorageUnavailable: A storage can't be opened.
        """
        return cls.at(locate(environ, home=home, fallback=fallback, ephemeral=ephemeral), environ=environ)

    @classmethod
    def ephemeral(cls) -> Self:
        """An instance in memory; its artifacts and logs are in a temporary folder that is removed at exit."""
        return cls.open(ephemeral=True)

    @classmethod
    def at(cls, location: Location, *, environ: Mapping[str, str] | None = None) -> Self:
        """Open the instance at a location (see `open`)."""
        if location.home is None:
            from daglens.temporary_home import TemporaryHome

            temporary = TemporaryHome()
            config = LoadedConfig(sections=default_sections(temporary.path, ephemeral=True))
            return cls._build(location.origin, temporary.path, config, temporary)
        if location.yaml_file is not None:
            # A recorder on an instance without a file waits for nothing that reads one.
            from daglens.config.load import load_config

            config = load_config(location.yaml_file, location.home, environ=environ)
        else:
            config = LoadedConfig(sections=default_sections(location.home))
        return cls._build(location.origin, location.home, config)

    @classmethod
    def _build(
        cls, origin: InstanceOrigin, home: Path, config: LoadedConfig, temporary: TemporaryHome | None = None
    ) -> Self:
        try:
            built = config.build()
        except BaseException:
            if temporary is not None:
                temporary.remove()
            raise
        return cls(
            origin=origin,
            home=home,
            runs=built["run_storage"],
            events=built["event_log_storage"],
            compute_logs=built["compute_logs"],
            artifacts=built["local_artifact_storage"],
            sections=config.sections,
            notes=config.notes,
            _settings=config.given_settings,
            _authenticator=config.authenticator,
            _temporary=temporary,
        )

    def close(self) -> None:
        """Close the storages; the folder of an ephemeral instance goes. May be called twice.

        One whose `close` raises keeps no other open; its error is raised when all have been told.
        """
        with ExitStack() as left:
            if self._temporary is not None:
                left.callback(self._temporary.remove)
            for storage in (self.artifacts, self.compute_logs, self.events, self.runs):
                left.callback(storage.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def is_ephemeral(self) -> bool:
        """True by rule 4: nothing outlives the process."""
        return self.origin is InstanceOrigin.EPHEMERAL

    @property
    def storages(self) -> Mapping[str, RunStorage | EventLogStorage | ComputeLogManager | ArtifactStorage]:
        """The four storages by section name."""
        return dict(zip(SECTION_NAMES, (self.runs, self.events, self.compute_logs, self.artifacts), strict=True))

    @cached_property
    def settings(self) -> Settings:
        """The `daglens:` section, or its defaults."""
        from daglens.config.settings import Settings

        return Settings() if self._settings is None else self._settings

    def authenticator(self) -> Authenticator | None:
        """A new authenticator, where dagster.yaml names one: what a server asks who somebody is.

        Raises:
            ConfigError: Its class raised an error.
        """
        made: Authenticator | None = self._authenticator.build() if self._authenticator is not None else None
        return made

    def info_yaml(self) -> str:
        """The effective configuration as YAML, in the form of a dagster.yaml, secrets replaced by ***."""
        import yaml

        sections = {
            name: {"module": section.module, "class": section.class_name, "config": section.config}
            for name, section in self.sections.items()
        }
        return yaml.safe_dump(sections, sort_keys=False, allow_unicode=True, default_flow_style=False)

    # ------------------------------------------------------------ writing

    def create_run(self, run: NewRun) -> AddedRun:
        """Add a run; see `RunStorage.add`."""
        return self.runs.add(run)

    def append(
        self,
        run_id: str,
        drafts: Sequence[EventDraft],
        *,
        heard: bool = True,
        through: EventLogStorage | None = None,
    ) -> Appended:
        """Append events and bring the run row up to them; see `EventLogStorage.append`.

        Where the two storages share no transaction, the row is projected after the append. Should that fail, the
        events are stored all the same, and `upkeep.reproject` heals the row.

        Args:
            through: What is asked in place of the event log storage: one in front of it, that looks at its answers.
        """
        appended = (self.events if through is None else through).append(run_id, drafts, heard=heard)
        if not appended.projected and any(d.event_type in et.STATUS_BY_EVENT_TYPE for d in drafts):
            try:
                self.runs.project(run_id, appended.head.state)
            except StorageUnavailable as error:
                import logging

                log = logging.getLogger("daglens.instance")
                log.warning("run %s: events are stored, its status follows within 10 s of recovery: %s", run_id, error)
        return appended

    def heartbeat(self, run_id: str, timeout_s: int = 60) -> RunRecord:
        """Note that the run's recorder lives; see `RunStorage.heartbeat`."""
        return self.runs.heartbeat(run_id, timeout_s)

    def run(self, run_id: str) -> RunRecord | None:
        """The run of this id, or None."""
        return self.runs.get([run_id]).get(run_id)
