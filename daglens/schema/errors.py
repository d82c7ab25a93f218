"""What a user can act on, as members of result unions. Everything else stands in `errors[]` with an errorId."""

from typing import Self

import strawberry

from daglens.resolvers.errors import InvalidCursor, InvalidFilter
from daglens.storage.errors import RunNotFound


@strawberry.interface(
    name="Error",
    description="What every typed error has. Select `... on Error { code message }` and new members stay readable.",
)
class Error:
    code: str = strawberry.field(description="Stable, upper-case, e.g. RUN_NOT_FOUND.")
    message: str = strawberry.field(description="A sentence or two for people: what is wrong and what to do.")


@strawberry.type(description="There is no run with this id.")
class RunNotFoundError(Error):
    run_id: strawberry.ID = strawberry.field(description="The id that was asked for.")

    @classmethod
    def of(cls, error: RunNotFound) -> Self:
        """The member for an exception of the resolvers."""
        return cls(code=error.code, message=str(error), run_id=strawberry.ID(error.run_id))


@strawberry.type(description="The filter can't be used; the message says which part.")
class InvalidFilterError(Error):
    @classmethod
    def of(cls, error: InvalidFilter) -> Self:
        """The member for an exception of the resolvers."""
        return cls(code=error.code, message=str(error))


@strawberry.type(
    description="The cursor is malformed, or belongs to another list, order, filter, run or log. Begin again without "
    "one."
)
class InvalidCursorError(Error):
    @classmethod
    def of(cls, error: InvalidCursor) -> Self:
        """The member for an exception of the resolvers."""
        return cls(code=error.code, message=str(error))


@strawberry.type(description="A run with this id exists already with other values, or was deleted (code RUN_DELETED).")
class RunConflictError(Error):
    run_id: strawberry.ID = strawberry.field(description="The id that is taken.")


@strawberry.type(description="A value of the input can't be taken; nothing was stored.")
class InvalidInputError(Error):
    path: str = strawberry.field(description="Path of the bad value in the input, e.g. events.3.data.")


class RunNotFoundHandler(strawberry.ExceptionHandler[RunNotFound, RunNotFoundError]):
    """Answers with the member where a field's union has it."""

    def handle(self, exception: RunNotFound, *, field: object, info: object) -> RunNotFoundError:
        """See `RunNotFoundError.of`."""
        return RunNotFoundError.of(exception)


class InvalidFilterHandler(strawberry.ExceptionHandler[InvalidFilter, InvalidFilterError]):
    """Answers with the member where a field's union has it."""

    def handle(self, exception: InvalidFilter, *, field: object, info: object) -> InvalidFilterError:
        """See `InvalidFilterError.of`."""
        return InvalidFilterError.of(exception)


class InvalidCursorHandler(strawberry.ExceptionHandler[InvalidCursor, InvalidCursorError]):
    """Answers with the member where a field's union has it."""

    def handle(self, exception: InvalidCursor, *, field: object, info: object) -> InvalidCursorError:
        """See `InvalidCursorError.of`."""
        return InvalidCursorError.of(exception)


HANDLERS = (RunNotFoundHandler(), InvalidFilterHandler(), InvalidCursorHandler())
"""Exceptions of the resolvers that are members of unions.

A field whose union lacks the member has them in `errors[]`.
"""
