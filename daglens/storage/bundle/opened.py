"""Bundles as the storages of one instance share them: each file is opened and gone through once."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NoReturn, Self

from daglens.storage.bundle.file import BundleFile
from daglens.storage.bundle.lines import InvalidBundle
from daglens.storage.bundle.run_row import as_stored
from daglens.storage.drafts import PreparedEvent
from daglens.storage.errors import DaglensError
from daglens.storage.fold import fold
from daglens.storage.records import Head, Health, RunRecord, StepState

OnFile = Callable[[Path, int, int], None]
"""Called with a file, how many of its bytes have been read, and how many it has."""


class ReadOnlyBundle(DaglensError):
    """A run bundle can only be read."""

    code = "READ_ONLY_BUNDLE"


@dataclass(frozen=True, slots=True)
class BundleConfig:
    """Configuration of the storages that read bundles.

    Attributes:
        files: The bundles, a run each; relative paths are below the instance's folder.
    """

    files: tuple[str, ...]

    def paths(self, home: Path) -> tuple[Path, ...]:
        """Where they are."""
        return tuple(home / os.path.expanduser(name) for name in self.files)


@dataclass(frozen=True, slots=True)
class OpenBundle:
    """One bundle, and what its events add up to; `steps` by step key, in order of first appearance."""

    file: BundleFile
    run: RunRecord
    head: Head
    steps: dict[str, StepState]


class Bundles:
    """Open bundles, by run id."""

    _shared: ClassVar[dict[tuple[Path, ...], Bundles]] = {}
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, paths: Sequence[Path], *, on_file: OnFile | None = None) -> None:
        """Check and open all of them.

        Raises:
            InvalidBundle: One is no sound bundle, or two hold the same run. None is left open.
        """
        self.by_run: dict[str, OpenBundle] = {}
        self._paths = tuple(paths)
        self._uses = 1
        try:
            for path in self._paths:
                opened = _open(path, on_file)
                there = self.by_run.setdefault(opened.run.run_id, opened)
                if there is not opened:
                    opened.file.close()
                    raise InvalidBundle(f"{path} and {there.file.path} both hold run {opened.run.run_id!r}. Leave one.")
        except BaseException:
            self._close()
            raise

    @classmethod
    def shared(cls, paths: Sequence[Path], *, on_file: OnFile | None = None) -> Self:
        """Those of this process for these files; each call is paired with one of `release`."""
        key = tuple(paths)
        with cls._lock:
            found = cls._shared.get(key)
            if found is None:
                found = cls._shared[key] = cls(key, on_file=on_file)
            else:
                found._uses += 1
            assert isinstance(found, cls)
            return found

    def release(self) -> None:
        """Give them back; the last who does closes the files."""
        with self._lock:
            self._uses -= 1
            if self._uses == 0:
                self._close()
                if self._shared.get(self._paths) is self:
                    del self._shared[self._paths]

    def health(self) -> Health:
        """Whether the files are those that were opened."""
        for bundle in self.by_run.values():
            if not bundle.file.is_unchanged:
                return Health(False, f"{bundle.file.path} was changed after it was opened. Start again.")
        return Health(True)

    def _close(self) -> None:
        for bundle in self.by_run.values():
            bundle.file.close()


class BundleStorage:
    """What the storages that read bundles have in common."""

    Config: ClassVar[type[Any]] = BundleConfig

    def __init__(self, bundles: Bundles) -> None:
        """Stand on `bundles`, which are released when this storage is closed."""
        self._bundles = bundles
        self._by_run = bundles.by_run
        self._closed = False

    @classmethod
    def from_config(cls, config: BundleConfig, home: Path) -> Self:
        """Check and open the files.

        Raises:
            InvalidBundle
        """
        return cls(Bundles.shared(config.paths(home)))

    @property
    def pool_size(self) -> int:
        """Reads that run at once to good effect."""
        return 8

    def health(self) -> Health:
        """See Storage."""
        return self._bundles.health()

    def close(self) -> None:
        """See Storage."""
        if not self._closed:
            self._closed = True
            self._bundles.release()


def refuse(run_id: str) -> NoReturn:
    """What every method that would change something does.

    Raises:
        ReadOnlyBundle
    """
    raise ReadOnlyBundle(f"Run {run_id} would have to be imported first.")


def _open(path: Path, on_file: OnFile | None) -> OpenBundle:
    head: Head | None = None
    steps: dict[str, StepState] = {}

    def take(run_id: str, seq: int, event: PreparedEvent) -> None:
        nonlocal head
        folded = fold(head or Head(run_id, ""), steps, [event], None)
        head = folded.head
        steps.update(folded.steps)

    told = None if on_file is None else partial(on_file, path)
    file = BundleFile.open(path, on_event=take, on_progress=told)
    # The digest of the file stands for the log's incarnation: cursors stay good however often it is opened.
    head = replace(head or Head(file.run.run_id, ""), incarnation=file.end.sha256[:16])
    return OpenBundle(file, as_stored(file.run, file.state), head, steps)
