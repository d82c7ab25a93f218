"""A storage in front of another, which does what it is told to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from daglens.testing.threads import DEADLINE_S

_NEVER_TOUCHED = ("close",)

Around = Callable[[str, Callable[[], Any]], Any]
"""Called with a method's name and the call itself; what it returns is the answer."""


class InFront:
    """Any of the four storages, with `around` around each call of a method.

    Attributes:
        around: Replace it to change what happens from now on.
    """

    def __init__(self, inner: Any, around: Around = lambda name, call: call()) -> None:
        self._inner = inner
        self.around = around

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found) or name in _NEVER_TOUCHED:
            return found
        return lambda *args, **kwargs: self.around(name, lambda: found(*args, **kwargs))

    def heal(self) -> None:
        """From now on let every call through."""
        self.around = lambda name, call: call()


def raising(inner: Any, error: Callable[[str], BaseException | None]) -> InFront:
    """A storage whose methods raise what `error` says for their name; None: nothing."""

    def around(name: str, call: Callable[[], Any]) -> Any:
        if (raised := error(name)) is not None:
            raise raised
        return call()

    return InFront(inner, around)


class Hanging(InFront):
    """A storage whose calls wait until it is released.

    Attributes:
        entered: Released once for each call that began to wait.
        released: Set it to let all of them go on.
    """

    def __init__(self, inner: Any) -> None:
        super().__init__(inner, self._hold)
        self.entered = threading.Semaphore(0)
        self.released = threading.Event()

    def _hold(self, name: str, call: Callable[[], Any]) -> Any:
        if not self.released.is_set():
            self.entered.release()
            self.released.wait()
        return call()

    def wait_for_call(self) -> None:
        """Return when a call waits in it.

        Raises:
            AssertionError: None came in a minute.
        """
        assert self.entered.acquire(timeout=DEADLINE_S), "nobody called the storage"


@contextmanager
def hanging(inner: Any) -> Iterator[Hanging]:
    """A storage that hangs; released at the end of the block, however that ends."""
    made = Hanging(inner)
    try:
        yield made
    finally:
        made.released.set()
