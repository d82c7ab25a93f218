"""Where a recorder writes to. An instance is one such place; whatever else answers these questions is another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from daglens.instance import Instance
from daglens.recorder.problems import Problems
from daglens.storage.contract import LogCapture
from daglens.storage.errors import RunConflict, RunDeleted, RunNotFound
from daglens.storage.log_places import LogPlace
from daglens.storage.records import EventDraft, Head, LogKey, NewRun

HOME_VARIABLE: Final = "DAGLENS_INSTANCE_HOME"
TO_VARIABLE: Final = "DAGLENS_TO"
TOKEN_FILE_VARIABLE: Final = "DAGLENS_TOKEN_FILE"
DESTINATION_VARIABLES: Final = (HOME_VARIABLE, TO_VARIABLE)
"""By these a recorder tells its child processes where it records."""


class Destination(Protocol):
    """What a recorder asks for. Every method may raise whatever its storage raises; the recorder copes."""

    @property
    def is_ephemeral(self) -> bool:
        """What is written goes with this process."""
        ...

    @property
    def home(self) -> str | None:
        """The folder that `--instance-home` would name for the same place; None when none would."""
        ...

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables with which a child process finds the same place; those of DESTINATION_VARIABLES that it doesn't
        have are to be unset."""
        ...

    def open(self) -> None:
        """Open what can be opened before there is something to record.

        Raises:
            StorageUnavailable: The first append tries again.
            Exception: Nothing can be recorded; its text is a sentence.
        """
        ...

    def create_run(self, run: NewRun) -> bool:
        """Add the run; False when a run of this id exists already: it is taken over as it is."""
        ...

    def add_tags(self, run_id: str, tags: Sequence[tuple[str, str]]) -> None:
        """Add tags; a key that is there gets the new value."""
        ...

    def append(self, run_id: str, drafts: Sequence[EventDraft]) -> Head | None:
        """Append events as a sign of life; the head afterwards, None when it isn't known yet. With no drafts, only
        the sign of life."""
        ...

    def heartbeat(self, run_id: str, timeout_s: int) -> None:
        """Say that the recorder lives, and when to presume it dead."""
        ...

    def head(self, run_id: str) -> Head | None:
        """The head of the run's log, None when it has none. Cheap: it is asked every few seconds."""
        ...

    def attempts(self, run_id: str, step_key: str) -> int:
        """How many attempts of the step the log has."""
        ...

    def capture(self, key: LogKey) -> LogCapture | None:
        """Log files for an attempt of a step; None: logs are not kept."""
        ...

    @property
    def log_place(self) -> LogPlace | None:
        """Where the logs that it captures are kept; None: a server keeps them, or it isn't known."""
        ...

    def artifact_folder(self, run_id: str) -> Path:
        """The run's folder of the artifact storage."""
        ...

    def pipeline_name(self, run_id: str) -> str | None:
        """Name of the run's pipeline; None when it can't be told now.

        Raises:
            RunNotFound
        """
        ...

    def hurry(self) -> None:
        """From now on wait for nobody; what isn't sent yet is kept where it can be. From any thread, and from a
        signal's handler."""
        ...

    def close(self) -> None:
        """Give back what was opened for this recorder. May be called twice."""
        ...


class InstanceDestination:
    """An instance of this machine, given or opened when it is first needed (again, when opening it failed)."""

    def __init__(
        self,
        problems: Problems,
        *,
        instance: Instance | None = None,
        opener: Callable[[], Instance] = Instance.open,
    ) -> None:
        """`opener` is called when no instance is given; what it opens is closed with this."""
        self._problems = problems
        self._given = instance
        self._opened: Instance | None = None
        self._is_closed = False
        self._deleted: set[str] = set()
        self._opener = opener

    @property
    def instance(self) -> Instance:
        """The instance, opened if it isn't yet."""
        if self._given is not None:
            return self._given
        if self._opened is None:
            self._opened = self._opener()
        return self._opened

    @property
    def is_ephemeral(self) -> bool:
        """By rule 4."""
        found = self._given or self._opened
        return found is not None and found.is_ephemeral

    @property
    def home(self) -> str | None:
        """By rules 1 and 2: those of rule 3 every command finds by itself."""
        found = self._given or self._opened
        if found is None or found.origin not in ("DAGSTER_YAML", "DAGSTER_HOME"):
            return None
        return str(found.home)

    @property
    def environment(self) -> Mapping[str, str]:
        """See Destination."""
        return {} if self.home is None else {HOME_VARIABLE: self.home}

    def open(self) -> None:
        """See Destination."""
        _ = self.instance

    def create_run(self, run: NewRun) -> bool:
        """See Destination."""
        try:
            return self.instance.create_run(run).created
        except RunConflict:
            # Somebody else created it, a launcher for one; or it is recorded a second time.
            self._problems.say("conflict", f"Run {run.run_id} was created before, with other values; they stay.")
            return False

    def add_tags(self, run_id: str, tags: Sequence[tuple[str, str]]) -> None:
        """See Destination."""
        self.instance.runs.add_tags(run_id, tags)

    def append(self, run_id: str, drafts: Sequence[EventDraft]) -> Head | None:
        """See Destination."""
        if self._is_closed and not drafts:
            return None
        try:
            return self.instance.append(run_id, drafts).head
        except RunDeleted:
            self._deleted.add(run_id)
            raise

    def heartbeat(self, run_id: str, timeout_s: int) -> None:
        """See Destination."""
        if not self._is_closed:  # a late one doesn't open the instance again
            self.instance.heartbeat(run_id, timeout_s)

    def head(self, run_id: str) -> Head | None:
        """See Destination."""
        head = None if self._is_closed else self.instance.events.heads([run_id]).get(run_id)
        if head is not None and head.deleted:
            self._deleted.add(run_id)
        return head

    def attempts(self, run_id: str, step_key: str) -> int:
        """See Destination."""
        steps = self.instance.events.steps([run_id], [step_key]).get(run_id, ())
        return max((step.attempts for step in steps), default=0)

    def capture(self, key: LogKey) -> LogCapture | None:
        """See Destination."""
        return self.instance.compute_logs.capture(key)

    @property
    def log_place(self) -> LogPlace | None:
        """See Destination."""
        # A manager that doesn't inherit from the contract need not say.
        return getattr(self.instance.compute_logs, "place", None)

    def artifact_folder(self, run_id: str) -> Path:
        """See Destination."""
        return self.instance.artifacts.folder(run_id)

    def pipeline_name(self, run_id: str) -> str | None:
        """See Destination."""
        run = self.instance.run(run_id)
        if run is None:
            raise RunNotFound(run_id)
        return run.pipeline_name

    def hurry(self) -> None:
        """See Destination: nothing here waits."""

    def close(self) -> None:
        """See Destination."""
        self._is_closed = True
        try:
            self._remove_leftovers()
        finally:
            opened, self._opened = self._opened, None
            if opened is not None:
                opened.close()

    def _remove_leftovers(self) -> None:
        """Remove what was captured and written of a run after it was deleted: a step that began before the recorder
        heard of that has made files anew."""
        for run_id in self._deleted:
            self.instance.compute_logs.delete(run_id)
            self.instance.artifacts.delete(run_id)
        self._deleted.clear()
