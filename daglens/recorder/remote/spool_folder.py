"""Where spools are kept, which there are, and how much room is left for those of a server."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from daglens.recorder.capture_file import DEFAULT_RESERVE_BYTES, free_bytes
from daglens.recorder.remote.spool_files import About, SpoolFiles

SPOOL_VARIABLE: Final = "DAGLENS_SPOOL"
MAX_BYTES_VARIABLE: Final = "DAGLENS_SPOOL_MAX_BYTES"
DEFAULT_MAX_BYTES: Final = 1024 * 1024 * 1024

_MEASURE_EVERY_S: Final = 2.0
_ABANDONED_S: Final = 3600.0


def spool_path(environ: Mapping[str, str] | None = None) -> Path:
    """$DAGLENS_SPOOL, else `daglens/spool` in $XDG_STATE_HOME, else in ~/.local/state."""
    variables = os.environ if environ is None else environ
    if variables.get(SPOOL_VARIABLE):
        return Path(variables[SPOOL_VARIABLE]).expanduser().absolute()
    state = variables.get("XDG_STATE_HOME", "")
    # The XDG specification has relative paths ignored.
    try:
        base = Path(state) if os.path.isabs(state) else Path("~/.local/state").expanduser()
    except RuntimeError:  # a user without a home
        return Path(tempfile.gettempdir()) / f"daglens-spool-{os.getuid()}"
    return base / "daglens" / "spool"


def max_spool_bytes(environ: Mapping[str, str] | None = None) -> int:
    """$DAGLENS_SPOOL_MAX_BYTES, else 1 GiB; also where that is no whole number."""
    text = (os.environ if environ is None else environ).get(MAX_BYTES_VARIABLE, "")
    return int(text) if text.isdecimal() else DEFAULT_MAX_BYTES


class SpoolFolder:
    """All spools of this user on this machine (or those in $DAGLENS_SPOOL)."""

    def __init__(self, path: Path | None = None, max_bytes: int | None = None) -> None:
        """
        Args:
            max_bytes: For all spools of one server together.
        """
        self.path = spool_path() if path is None else path
        self.max_bytes = max_spool_bytes() if max_bytes is None else max_bytes

    @property
    def runs(self) -> Path:
        """Holds the folder of each spool."""
        return self.path / "runs"

    def artifacts(self, run_id_as_name: str) -> Path:
        """Where the artifacts of a run stay: no server takes them."""
        return self.path / "artifacts" / run_id_as_name

    def make(self, about: About) -> SpoolFiles:
        """A new spool, locked.

        Raises:
            OSError
        """
        return SpoolFiles.make(self.runs, about)

    def spools(self) -> Iterator[tuple[SpoolFiles, About]]:
        """Each spool, oldest first."""
        try:
            names = sorted(os.listdir(self.runs))
        except OSError:
            return
        for name in names:
            files = SpoolFiles(self.runs / name)
            about = files.about()
            if about is not None:
                yield files, about
            else:
                _remove_abandoned(files)

    def unreadable(self) -> Iterator[Path]:
        """Spools of which nobody here can tell what they are for. They stay as they are."""
        with contextlib.suppress(OSError):
            for name in sorted(os.listdir(self.runs)):
                if SpoolFiles(self.runs / name).is_unreadable:
                    yield self.runs / name

    def orphans(self, url: str | None = None, run_id: str | None = None) -> Iterator[tuple[SpoolFiles, About]]:
        """Spools whose process is gone, oldest first, each locked when it is given; of one server, of one run."""
        for files, about in self.spools():
            if url not in (None, about.url) or run_id not in (None, about.run_id):
                continue
            try:
                if not files.lock():
                    continue
            except OSError:
                continue  # gone meanwhile, or not ours
            # Whoever had the lock before may have sent and removed it.
            if files.about() is None:
                files.release()
                continue
            yield files, about

    def attempts(self, url: str, run_id: str, step_key: str) -> int:
        """The highest attempt of a step of which a spool tells; 0 for none."""
        highest = 0
        for files, about in self.spools():
            if (about.url, about.run_id) == (url, run_id):
                highest = max(highest, files.attempts(step_key))
        return highest

    def used_bytes(self, url: str) -> int:
        """Room on the disk that the spools of a server take."""
        return sum(files.used_bytes() for files, about in self.spools() if about.url == url)


class SpoolRoom:
    """Room for more in the spools of one server. What waits for another server, away for ever perhaps, takes none of
    it; the disk's reserve is everybody's."""

    def __init__(self, folder: SpoolFolder, url: str) -> None:
        self.folder: Final = folder
        self._url = url
        self._left = 0
        self._measured_at = -_MEASURE_EVERY_S

    def left_bytes(self) -> int:
        """Room for more, as of a moment ago; below 0 when there is too much, or the disk is nearly full."""
        now = time.monotonic()
        if now - self._measured_at >= _MEASURE_EVERY_S:
            self._measured_at = now
            self._left = self.measure()
        return self._left

    def take(self, count: int) -> None:
        """Note that something was written since the last look."""
        self._left -= count

    def measure(self) -> int:
        """Room for more, now."""
        left = self.folder.max_bytes - self.folder.used_bytes(self._url)
        with contextlib.suppress(OSError):
            left = min(left, free_bytes(str(self.folder.runs)) - DEFAULT_RESERVE_BYTES)
        return left

    @property
    def why_full(self) -> str:
        """A sentence about the bound."""
        return (
            f"{self.folder.path} takes at most {self.folder.max_bytes // 2**20} MiB (DAGLENS_SPOOL_MAX_BYTES) for "
            f"{self._url}, and leaves {DEFAULT_RESERVE_BYTES // 2**20} MiB of its disk."
        )


def _remove_abandoned(files: SpoolFiles) -> None:
    """Remove what is left of a spool whose process was killed while it made or removed it: it has no about.json."""
    if files.is_unreadable:
        return
    with contextlib.suppress(OSError):
        if time.time() - files.path.stat().st_mtime > _ABANDONED_S and files.lock():
            files.remove()
