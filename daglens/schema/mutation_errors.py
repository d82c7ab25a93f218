"""Exceptions of the mutations' resolvers as members of their unions."""

import strawberry

from daglens.resolvers.errors import InvalidInput, RunNotTerminable
from daglens.schema.errors import InvalidInputError, RunConflictError
from daglens.schema.mutation_results import ComputeLogOffsetError, RunNotTerminableError
from daglens.schema.scalars import BigInt
from daglens.storage.errors import LogGap, RunConflict, RunDeleted


class InvalidInputHandler(strawberry.ExceptionHandler[InvalidInput, InvalidInputError]):
    """Answers with the member where a field's union has it."""

    def handle(self, exception: InvalidInput, *, field: object, info: object) -> InvalidInputError:
        """Code, sentence and path."""
        return InvalidInputError(code=exception.told_code, message=str(exception), path=exception.path)


class RunConflictHandler(strawberry.ExceptionHandler[RunConflict | RunDeleted, RunConflictError]):
    """Answers with the member where a field's union has it."""

    def handle(self, exception: RunConflict | RunDeleted, *, field: object, info: object) -> RunConflictError:
        """RUN_CONFLICT, or RUN_DELETED where the id is closed."""
        return RunConflictError(code=exception.code, message=str(exception), run_id=strawberry.ID(exception.run_id))


class LogGapHandler(strawberry.ExceptionHandler[LogGap, ComputeLogOffsetError]):
    """Answers with the member where a field's union has it."""

    def handle(self, exception: LogGap, *, field: object, info: object) -> ComputeLogOffsetError:
        """Where the log ends."""
        return ComputeLogOffsetError(
            code=exception.code, message=str(exception), size_bytes=BigInt(exception.size_bytes)
        )


class RunNotTerminableHandler(strawberry.ExceptionHandler[RunNotTerminable, RunNotTerminableError]):
    """Answers with the member where a field's union has it."""

    def handle(self, exception: RunNotTerminable, *, field: object, info: object) -> RunNotTerminableError:
        """Where the run stands."""
        return RunNotTerminableError(
            code=exception.code,
            message=str(exception),
            run_id=strawberry.ID(exception.run_id),
            status=exception.status,
        )


HANDLERS = (InvalidInputHandler(), RunConflictHandler(), LogGapHandler(), RunNotTerminableHandler())
"""As `errors.HANDLERS`, for what only mutations raise."""
