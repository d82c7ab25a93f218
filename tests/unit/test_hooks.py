"""Hooks of extensions run as strawberry's own runner runs them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import strawberry
from strawberry.extensions import SchemaExtension

from daglens.schema.hooks import HooksRunner


@strawberry.type
class _Query:
    @strawberry.field
    def name(self) -> str:
        return "daglens"

    @strawberry.field
    def broken(self) -> str:
        raise ValueError("broken")


class _Lean(strawberry.Schema):
    def create_extensions_runner(self, execution_context: Any, extensions: Any) -> HooksRunner:
        return HooksRunner(execution_context, extensions)


def _telling(told: list[str], name: str, *, raises_behind: str = "", raises_before: str = "") -> type[SchemaExtension]:
    """An extension that tells when its hooks are entered and left, and with what."""

    class Telling(SchemaExtension):
        def on_operation(self) -> Iterator[None]:
            yield from self._around("operation")

        def on_parse(self) -> Iterator[None]:
            yield from self._around("parse")

        async def on_validate(self) -> AsyncIterator[None]:
            for _ in self._around("validate"):
                yield

        async def on_execute(self) -> AsyncIterator[None]:
            told.append(f"{name} execute")
            if raises_before == "execute":
                raise KeyError(name)
            try:
                yield
            except Exception as error:
                told.append(f"{name} execute met {error!r}")
                raise
            told.append(f"{name} execute ended")
            if raises_behind == "execute":
                raise KeyError(name)

        def get_results(self) -> dict[str, Any]:
            return {name: len(told)}

        def _around(self, phase: str) -> Iterator[None]:
            told.append(f"{name} {phase}")
            if raises_before == phase:
                raise KeyError(name)
            yield
            told.append(f"{name} {phase} ended")
            if raises_behind == phase:
                raise KeyError(name)

    return Telling


class _Silent(SchemaExtension):
    """Has no hook at all."""


@pytest.mark.parametrize("document", ["{ name }", "{ broken }", "{ nothing }", "{ name", "query A { name }"])
@pytest.mark.parametrize(
    "raising", [{}, *({when: phase} for when in ("raises_behind",) for phase in ("operation", "parse", "execute"))]
)
async def test_hooks_run_as_strawberry_runs_them(document: str, raising: dict[str, str]) -> None:
    """Same order, same answer and same extensions as by strawberry's runner, whatever fails and wherever."""

    async def by(kind: type[strawberry.Schema]) -> tuple[Any, ...]:
        told: list[str] = []
        extensions = [_telling(told, "first"), _Silent, _telling(told, "second", **raising), _telling(told, "third")]
        try:
            result = await kind(_Query, extensions=extensions).execute(document)
        except Exception as error:
            return repr(error), told
        return result.data, [str(error) for error in result.errors or ()], result.extensions, told

    assert await by(_Lean) == await by(strawberry.Schema)


async def test_hooks_that_were_entered_are_left_when_a_later_one_raises() -> None:
    """What an extension took is given back, also when the next one's hook raises before its yield."""
    told: list[str] = []
    extensions = [_telling(told, "first"), _telling(told, "second", raises_before="execute")]
    result = await _Lean(_Query, extensions=extensions).execute("{ name }")
    assert result.errors is not None
    assert "first execute met KeyError('second')" in told


async def test_a_hook_that_is_no_generator_is_refused() -> None:
    """It would never be run around anything."""

    class Wrong(SchemaExtension):
        def on_parse(self) -> Iterator[None]:
            return iter(())

    runner = HooksRunner(None, [Wrong()])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="generator"):
        async with runner.parsing():
            pass
