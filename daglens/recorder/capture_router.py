"""`sys.stdout` and `sys.stderr` while steps are captured: text goes to the step that printed it.

Under pytest, in a notebook and while several steps are open, Python's streams are not the descriptors that the step's
files stand on. So a router stands in for them always.
"""

from __future__ import annotations

import contextlib
import io
import re
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from daglens.recorder.capture_descriptor import is_standard
from daglens.recorder.capture_file import CapturedFile

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

MAX_HELD_CHARS = 8192

_LONE = re.compile("[\ud800-\udc7f\udd00-\udfff]")

_passing = threading.local()


class Router(io.TextIOBase):
    """A text stream that writes to the file of the step in the context, line by line, and shows it as before.

    Lines are put together per thread, so those of two threads don't mix; a part of a line waits for its end, for
    `flush`, or for the end of the step. Without a step, text goes on to the stream that stood here before (`routed`).
    """

    def __init__(
        self,
        routed: Any,
        target: Callable[[], CapturedFile | None],
        show: Callable[[bytes], bool],
        on_short: Callable[[CapturedFile], None],
    ) -> None:
        """
        Args:
            routed: The stream that stood here before; None as Python has it where a descriptor is closed.
            target: The file that text of the calling thread or task goes to now; None: to none.
            show: Writes to the console past the capture; False: nothing is captured, so `routed` is the way.
            on_short: Called after a file took less than it was given, before the rest is shown.
        """
        self.routed = routed
        self._target = target
        self._show_past_capture = show
        self._on_short = on_short
        # What a standard stream receives reaches the console from the file; other streams show it themselves.
        self._console_reads_file = routed is None or is_standard(routed)
        self._held: dict[int, tuple[CapturedFile, str]] = {}
        self._buffer = RoutedBytes(self)

    # ------------------------------------------------------------ text

    def write(self, text: str, /) -> int:
        """Write text, as `sys.stdout.write` does."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        thread = threading.get_ident()
        file, held = self._held.pop(thread, (None, ""))
        target = None if _is_passing() else self._target()
        if file is not None and file is not target:
            self._store(file, _encoded(held))
            held = ""
        if target is None:
            self._pass(text)
            return len(text)
        if not self._console_reads_file:
            self._pass_shown(text, target)
        held += text
        if "\n" in text or "\r" in text or len(held) > MAX_HELD_CHARS:
            self._store(target, _encoded(held))
        else:
            self._held[thread] = (target, held)
        return len(text)

    def flush(self) -> None:
        """Write out what this thread holds of a line, then flush the stream below."""
        self._flush_thread()
        if self.routed is not None:
            self.routed.flush()

    def flush_file(self, file: CapturedFile) -> None:
        """Write out what any thread holds for a file that is about to be closed."""
        for thread, (held_for, _) in list(self._held.items()):
            if held_for is file and (found := self._held.pop(thread, None)) is not None:
                self._store(found[0], _encoded(found[1]))

    def forget_held(self) -> None:
        """In a forked child: what the parent's threads hold is the parent's to write."""
        self._held.clear()

    def _flush_thread(self) -> None:
        found = self._held.pop(threading.get_ident(), None)
        if found is not None:
            self._store(found[0], _encoded(found[1]))

    def _store(self, file: CapturedFile, data: bytes) -> None:
        taken = file.write(data, shown=not self._console_reads_file)
        if taken < len(data):
            self._on_short(file)
            if self._console_reads_file:
                self._show_past_capture(data[taken:])

    def _pass(self, text: str) -> None:
        if self.routed is None:
            return
        if self._console_reads_file and self._show_past_capture(_encoded(text)):
            return
        with _pass_through():
            self.routed.write(text)

    def _pass_shown(self, text: str, target: CapturedFile) -> None:
        if target.inherited:
            return  # a forked child: the parent shows what comes into its file
        with _pass_through():
            self.routed.write(text)

    # ------------------------------------------------------------ bytes

    @property
    def buffer(self) -> RoutedBytes:
        """The same for bytes."""
        return self._buffer

    def write_bytes(self, data: bytes) -> None:
        """Write bytes after the text that this thread wrote before."""
        self._flush_thread()
        target = None if _is_passing() else self._target()
        if target is None:
            if self.routed is not None and not (self._console_reads_file and self._show_past_capture(data)):
                self._pass_bytes(data)
            return
        if not self._console_reads_file and not target.inherited:
            self._pass_bytes(data)
        self._store(target, data)

    def _pass_bytes(self, data: bytes) -> None:
        with _pass_through():
            below = getattr(self.routed, "buffer", None)
            if below is None:
                self.routed.write(data.decode("utf-8", "replace"))
            else:
                self.routed.flush()
                below.write(data)
                below.flush()

    # ------------------------------------------------------------ what else a text stream has

    def isatty(self) -> bool:
        """False while text goes to a file: a log is no place for cursor movements."""
        if self.routed is None or self._target() is not None:
            return False
        return bool(self.routed.isatty())

    def fileno(self) -> int:
        """Of the stream below; io.UnsupportedOperation when it has none."""
        if self.routed is None:
            raise io.UnsupportedOperation("fileno")
        return int(self.routed.fileno())

    def writable(self) -> bool:
        """Always."""
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Of the stream below; the log itself is always UTF-8."""
        return getattr(self.routed, "encoding", None) or "utf-8"

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """Of the stream below."""
        return getattr(self.routed, "errors", None)

    @property
    def closed(self) -> bool:
        """Of the stream below."""
        return bool(getattr(self.routed, "closed", False))

    def close(self) -> None:
        """Write out what is held; the stream below stays open (the interpreter calls this when it drops a router)."""
        held = getattr(self, "_held", {})
        if held:
            self._flush_thread()

    def __getattr__(self, name: str) -> Any:
        # Only for names that aren't here: `reconfigure`, `mode`, `name`, what a notebook's stream has beside.
        if name.startswith("_") or name == "routed":
            raise AttributeError(name)
        return getattr(self.routed, name)


class RoutedBytes(io.BufferedIOBase):
    """`sys.stdout.buffer` of a router: each write goes straight through."""

    def __init__(self, router: Router) -> None:
        self._router = router

    def write(self, data: ReadableBuffer, /) -> int:
        """Write bytes, all of them."""
        copied = bytes(data)
        self._router.write_bytes(copied)
        return len(copied)

    def flush(self) -> None:
        """Flush the router."""
        router = getattr(self, "_router", None)
        if router is not None and not router.closed:
            router.flush()

    def writable(self) -> bool:
        """Always."""
        return True

    def isatty(self) -> bool:
        """As the router."""
        return self._router.isatty()

    def fileno(self) -> int:
        """As the router."""
        return self._router.fileno()

    def close(self) -> None:
        """Nothing of its own to close."""


def _encoded(text: str) -> bytes:
    """UTF-8; bytes that Python carries as surrogates (file names) as they were, other lone surrogates spelled out."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return _LONE.sub(lambda found: f"\\u{ord(found.group()):04x}", text).encode("utf-8", "surrogateescape")


def _is_passing() -> bool:
    return getattr(_passing, "on", False)


@contextlib.contextmanager
def _pass_through() -> Iterator[None]:
    """While a stream below is written to, routers further below (a tee that somebody put between) only pass on."""
    before = _is_passing()
    _passing.on = True
    try:
        yield
    finally:
        _passing.on = before
