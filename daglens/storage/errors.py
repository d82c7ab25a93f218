"""What can go wrong in a storage. The docstring of an error is the first sentence of its message; its code is
stable."""

from __future__ import annotations

from typing import ClassVar


class DaglensError(Exception):
    """Something failed that daglens did not foresee."""

    code: ClassVar[str] = "INTERNAL"

    def __init__(self, hint: str = "") -> None:
        super().__init__(" ".join(f"{' '.join((self.__doc__ or '').split())} {hint}".split(" ")).strip())


class RunNotFound(DaglensError):
    """There is no such run."""

    code = "RUN_NOT_FOUND"

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(f"Run id: {run_id}")


class RunConflict(DaglensError):
    """A run with this id exists already and was created with other values."""

    code = "RUN_CONFLICT"

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(f"Run id: {run_id}")


class RunDeleted(DaglensError):
    """The run was deleted; its id stays closed for 90 days."""

    code = "RUN_DELETED"

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(f"Run id: {run_id}")


class RunFull(DaglensError):
    """A run holds at most 2,147,483,647 events."""

    code = "RUN_FULL"


class EventTooLarge(DaglensError):
    """The data of an event is larger than the storage takes; nothing of its batch was stored."""

    code = "EVENT_TOO_LARGE"

    def __init__(self, hint: str = "", *, index: int = 0) -> None:
        self.index = index
        super().__init__(hint)


class InvalidName(DaglensError):
    """This can't be a run id, a step key, a tag or a path here."""

    code = "INVALID_NAME"


class TooManyTags(DaglensError):
    """A run has at most 200 tags."""

    code = "TOO_MANY_TAGS"


class LogGap(DaglensError):
    """The offset is beyond the present end of the log; nothing was stored."""

    code = "COMPUTE_LOG_OFFSET"

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        super().__init__(f"The log has {size_bytes} bytes.")


class LogClosed(DaglensError):
    """The log is complete; it takes no new bytes."""

    code = "COMPUTE_LOG_COMPLETE"


class LogUnavailable(DaglensError):
    """The compute log can't be read."""

    code = "COMPUTE_LOG_UNAVAILABLE"

    def __init__(self, reason: str, hint: str = "") -> None:
        """`reason` is a member name of `records.LogUnavailableReason`."""
        self.reason = reason
        super().__init__(hint)


class ArtifactNotFound(DaglensError):
    """There is no such artifact."""

    code = "ARTIFACT_NOT_FOUND"


class StorageUnavailable(DaglensError):
    """The storage does not answer."""

    code = "STORAGE_UNAVAILABLE"

    def __init__(self, hint: str = "", *, foreseen: bool = True) -> None:
        """`foreseen`: the hint says what is wrong. Otherwise the exception behind this one does, with its traceback."""
        self.foreseen = foreseen
        super().__init__(hint)


class StorageSchemaMismatch(StorageUnavailable):
    """The database was made by another version of daglens."""

    code = "STORAGE_SCHEMA_MISMATCH"


class StorageContractBroken(DaglensError):
    """The storage answered what its contract rules out."""

    code = "STORAGE_CONTRACT_BROKEN"
