"""Runs the hooks of a schema's extensions: what strawberry does, without looking for them anew at each operation.

Strawberry asks each extension for each of its hooks in each phase of each operation, wraps those it finds, and stacks
them: a fifth of the time of a small query (benchmarks/over_http.py). Here a class is asked once.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Hashable, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from types import TracebackType
from typing import Any

from strawberry.extensions import SchemaExtension
from strawberry.extensions.runner import SchemaExtensionsRunner
from strawberry.types import ExecutionContext

Hook = tuple[Callable[[SchemaExtension], Any], bool]
"""What makes the context manager of an extension's hook, and whether that is an asynchronous one."""


@cache
def _hook(kind: Hashable, name: str) -> Hook | None:
    """A class's own hook; None: it has none.

    Raises:
        TypeError: It is no generator.
    """
    found = getattr(kind, name)
    if found is getattr(SchemaExtension, name):
        return None
    if inspect.isgeneratorfunction(found):
        return contextmanager(found), False
    if inspect.isasyncgenfunction(found):
        return asynccontextmanager(found), True
    raise TypeError(f"{kind}.{name} must be a generator, or an asynchronous one.")


@cache
def _has_results(kind: Hashable) -> bool:
    return getattr(kind, "get_results", None) is not SchemaExtension.get_results


class _Phase:
    """The hooks around one phase of an operation, entered in the order of the extensions and left in the other."""

    __slots__ = ("_entered", "_extensions", "_name")

    def __init__(self, extensions: Sequence[SchemaExtension], name: str) -> None:
        self._extensions = extensions
        self._name = name
        self._entered: list[tuple[Any, bool]] = []

    async def __aenter__(self) -> None:
        try:
            for extension in self._extensions:
                kind: Any = type(extension)
                hook = _hook(kind, self._name)
                if hook is not None:
                    make, waits = hook
                    manager = make(extension)
                    await manager.__aenter__() if waits else manager.__enter__()
                    self._entered.append((manager, waits))
        except BaseException:
            await self.__aexit__(*sys.exc_info())
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave all hooks, each with the error that those inside it let through.

        Raises:
            BaseException: The error that a hook raises in its place.
        """
        pending = error
        while self._entered:
            manager, waits = self._entered.pop()
            told = (type(pending), pending, pending.__traceback__) if pending is not None else (None, None, None)
            try:
                ended = await manager.__aexit__(*told) if waits else manager.__exit__(*told)
                if ended:
                    pending = None
            except BaseException as raised:
                pending = raised
        # Who enters a phase goes on with the error it came with; strawberry's hooks can't take it back either.
        if pending is not None and pending is not error:
            raise pending


class HooksRunner(SchemaExtensionsRunner):
    """Runs the hooks of one asynchronous operation; results of streams go strawberry's way."""

    def __init__(
        self,
        execution_context: ExecutionContext,
        extensions: list[SchemaExtension] | None = None,
        *,
        on_valid: Callable[[ExecutionContext], None] | None = None,
    ) -> None:
        """`on_valid` is told of an operation that has passed all checks, before it is executed."""
        super().__init__(execution_context, extensions)
        self._on_valid = on_valid

    # `strawberry.schema` enters and leaves these, and asks nothing else of them.
    def operation(self) -> Any:
        """Around all that is done for an operation."""
        return _Phase(self.extensions, "on_operation")

    def parsing(self) -> Any:
        """Around parsing."""
        return _Phase(self.extensions, "on_parse")

    def validation(self) -> Any:
        """Around validation."""
        return _Phase(self.extensions, "on_validate")

    def executing(self) -> Any:
        """Around execution; of a subscription, around its beginning."""
        if self._on_valid is not None:
            self._on_valid(self.execution_context)
        return _Phase(self.extensions, "on_execute")

    async def get_extensions_results(self, ctx: ExecutionContext) -> dict[str, Any]:
        """What the extensions add to the answer."""
        results: dict[str, Any] = {}
        for extension in self.extensions:
            kind: Any = type(extension)
            if _has_results(kind):
                found = extension.get_results()
                results.update(await found if inspect.isawaitable(found) else found)
        results.update(ctx.extensions_results)
        return results
