"""What can be told about a step while it runs, in whatever process that is."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from daglens.recorder.drafts import draft, recordable
from daglens.recorder.plain import fields, text
from daglens.recorder.run_artifacts import ArtifactFolder
from daglens.storage import event_types as et
from daglens.storage.records import EventDraft, LogLevel

if TYPE_CHECKING:
    import logging

Metadata = Mapping[str, Any]
ObjectStoreOperation = Literal["SET_OBJECT", "GET_OBJECT", "RM_OBJECT", "CP_OBJECT"]


class StepSkipped(BaseException):
    """`step.skip(…)` ends the step. No Exception, so that a step's own `except Exception` lets it through."""


@dataclass(frozen=True, slots=True)
class TypeCheck:
    """Whether an input or output had the shape it should have."""

    success: bool
    label: str | None = None
    description: str | None = None
    metadata: Metadata | None = None


def _entries(metadata: Metadata | None) -> list[dict[str, Any]]:
    if metadata is None:
        return []
    # Here and not above: a command that is recorded tells none.
    from daglens.recorder.metadata import entries

    return entries(metadata)


class StepEvents:
    """Tells about one attempt of a step.

    Attributes:
        run_id: The run it belongs to.
        key: Its step key.
        attempt: From 1.
    """

    def __init__(
        self, run_id: str, key: str, attempt: int, record: Callable[[EventDraft], None], artifacts: ArtifactFolder
    ) -> None:
        self.run_id = run_id
        self.key = key
        self.attempt = attempt
        self._record = record
        self._artifacts = artifacts

    # ------------------------------------------------------------ what a step makes

    def materialize(
        self,
        label: str,
        metadata: Metadata | None = None,
        description: str | None = None,
        asset_key: str | Sequence[str] | None = None,
        partition: str | None = None,
    ) -> None:
        """The step has made something that lasts: a table, a file, a model.

        Args:
            label: What it is, for people.
            metadata: Facts about it; see daglens.recorder.metadata.entries for how values are shown.
            asset_key: Its name among all assets, a text or the parts of a path.
            partition: Which part of the asset this is.
        """
        data: dict[str, Any] = {"label": text(label), "metadataEntries": _entries(metadata)}
        if description is not None:
            data["description"] = text(description)
        if asset_key is not None:
            data["assetKey"] = _parts(asset_key)
        if partition is not None:
            data["partition"] = text(partition)
        self._tell(et.STEP_MATERIALIZATION, f"Materialized {text(label)}.", data)

    def expect(
        self, label: str, success: bool, metadata: Metadata | None = None, description: str | None = None
    ) -> bool:
        """Whether something that should hold does. Gives `success` back; a failed expectation fails nothing by itself.

        Args:
            description: Why it matters, or why it failed.
        """
        met = bool(success)
        data: dict[str, Any] = {"success": met, "label": text(label), "metadataEntries": _entries(metadata)}
        if description is not None:
            data["description"] = text(description)
        reason = f": {text(description)}" if description and not met else "."
        message = f"Expectation {text(label)} {'holds' if met else 'failed'}{reason}"
        self._tell(et.STEP_EXPECTATION_RESULT, message, data, LogLevel.INFO if met else LogLevel.WARNING)
        return met

    def input(self, name: str, type_check: TypeCheck | bool | None = None) -> None:
        """The step has taken an input."""
        data = {"inputName": text(name)} | _checked(type_check)
        self._tell(et.STEP_INPUT, f"Took input {text(name)}.", data)

    def output(
        self, name: str = "result", metadata: Metadata | None = None, type_check: TypeCheck | bool | None = None
    ) -> None:
        """The step has given an output."""
        data: dict[str, Any] = {"outputName": text(name), "metadataEntries": _entries(metadata)}
        self._tell(et.STEP_OUTPUT, f"Gave output {text(name)}.", data | _checked(type_check))

    def object_store(self, op: ObjectStoreOperation, address: str, metadata: Metadata | None = None) -> None:
        """The step has stored, fetched, removed or copied an object.

        Raises:
            ValueError: `op` is none of the four.
        """
        if op not in _STORE_VERBS:
            raise ValueError(f"{op!r} is no object store operation; take one of {', '.join(_STORE_VERBS)}.")
        data = {"op": op, "address": text(address), "metadataEntries": _entries(metadata)}
        self._tell(et.OBJECT_STORE_OPERATION, f"{_STORE_VERBS[op]} {text(address)}.", data)

    def artifact_path(self, name: str | os.PathLike[str]) -> Path:
        """Where to write a file artifact of the run; see `Run.artifact_path`."""
        return self._artifacts.path(name)

    # ------------------------------------------------------------ what it says

    @cached_property
    def log(self) -> logging.Logger:
        """A logger whose messages are events of the step (and are not printed)."""
        from daglens.recorder.logs import EventLogger

        return EventLogger(self.key, self.log_message)

    def log_message(self, logger: str, level: LogLevel, message: str) -> None:
        """Record one log message."""
        self._tell(et.LOG_MESSAGE, message, {"logger": logger}, level)

    def event(
        self,
        event_type: str,
        message: str = "",
        data: Mapping[str, Any] | None = None,
        level: LogLevel = LogLevel.INFO,
    ) -> None:
        """Record an event of the step, of any type: one that daglens doesn't know is kept whole.

        Args:
            data: The fields of the type beyond those of every event, in their GraphQL names; what JSON has no form for
                becomes text.
        """
        self._tell(recordable(event_type, "event type"), message, fields(data), level)

    def _tell(self, event_type: str, message: str, data: Mapping[str, Any], level: LogLevel = LogLevel.INFO) -> None:
        self._record(draft(event_type, text(message), data, step_key=self.key, level=level))

    def skip(self, reason: str = "") -> NoReturn:
        """End the step here, as skipped. The code behind its `with` block goes on."""
        raise StepSkipped(reason)


_STORE_VERBS = {"SET_OBJECT": "Stored", "GET_OBJECT": "Fetched", "RM_OBJECT": "Removed", "CP_OBJECT": "Copied"}


def _parts(asset_key: object) -> list[str]:
    if isinstance(asset_key, str | bytes):
        return [text(asset_key)]
    try:
        return [text(part) for part in asset_key]  # type: ignore[attr-defined]
    except Exception:
        return [text(asset_key)]


def _checked(check: TypeCheck | bool | None) -> dict[str, Any]:
    if check is None:
        return {}
    if not isinstance(check, TypeCheck):  # also numpy's own truth values
        check = TypeCheck(bool(check))
    return {
        "typeCheck": {
            "success": bool(check.success),
            "label": None if check.label is None else text(check.label),
            "description": None if check.description is None else text(check.description),
            "metadataEntries": _entries(check.metadata),
        }
    }


step_in_context: ContextVar[StepEvents | None] = ContextVar("daglens_step", default=None)


def current_step() -> StepEvents | None:
    """The step that this thread or task is in, also within `call_step(…, isolate=True)`; None outside of one."""
    return step_in_context.get()
