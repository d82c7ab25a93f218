"""A history that has everything: every type of event, every kind of metadata, logs of two attempts, artifacts."""

from __future__ import annotations

from typing import Any

from daglens.instance import Instance
from daglens.storage import event_types as et
from daglens.storage.records import ComputeIO, EventDraft, LogKey, LogLevel, NewRun

RUN_ID = "census"
METADATA: list[dict[str, Any]] = [
    {"label": "text", "description": "words", "text": "t"},
    {"label": "url", "url": "https://example.org"},
    {"label": "path", "path": "/data"},
    {"label": "json", "json": {"a": [1, None]}},
    {"label": "markdown", "markdown": "**m**"},
    {"label": "float", "float": 0.5},
    {"label": "int", "int": 2**60},
    {"label": "bool", "bool": True},
    {"label": "kind of a newer writer", "notebook": "n"},
]
ERROR: dict[str, Any] = {
    "className": "ValueError",
    "message": "too few rows",
    "stack": ["File a\n", "File b\n"],
    "cause": {"className": "OSError", "message": "disk", "stack": [], "cause": {"message": "root"}},
}

EVENTS: list[EventDraft] = [
    EventDraft(et.RUN_ENQUEUED),
    EventDraft(et.RUN_STARTING),
    EventDraft(et.RUN_START, data={"pipelineName": "census", "processId": 17, "hostname": "host"}),
    EventDraft(et.ENGINE_EVENT, data={"metadataEntries": METADATA, "error": ERROR}),
    EventDraft(et.LOG_MESSAGE, "extract", LogLevel.DEBUG, "hello", data={"logger": "census"}),
    EventDraft(et.STEP_START, "extract", data={"attempt": 1}),
    EventDraft(et.LOGS_CAPTURED, "extract", data={"attempt": 1, "stepKeys": ["extract"]}),
    EventDraft(et.STEP_INPUT, "extract", data={"inputName": "in", "typeCheck": {"success": False, "label": "int"}}),
    EventDraft(et.STEP_UP_FOR_RETRY, "extract", LogLevel.WARNING, data={"error": ERROR, "secondsToWait": 0.5}),
    EventDraft(et.STEP_RESTARTED, "extract", data={"attempt": 2}),
    EventDraft(
        et.STEP_OUTPUT,
        "extract",
        data={"outputName": "out", "typeCheck": {"success": True, "label": "int"}, "metadataEntries": METADATA},
    ),
    EventDraft(
        et.STEP_MATERIALIZATION,
        "extract",
        message="made",
        data={
            "label": "orders",
            "description": "all of them",
            "assetKey": ["db", "orders"],
            "partition": "2026-11-22",
            "metadataEntries": METADATA,
        },
    ),
    EventDraft(
        et.STEP_EXPECTATION_RESULT,
        "extract",
        data={"success": True, "label": "rows", "description": "some", "metadataEntries": METADATA},
    ),
    EventDraft(et.STEP_EXPECTATION_RESULT, "extract", data={"success": False, "label": "no nulls"}),
    EventDraft(et.OBJECT_STORE_OPERATION, "extract", data={"op": "SET_OBJECT", "address": "s3://a/b"}),
    EventDraft(et.STEP_SUCCESS, "extract", data={"durationSeconds": 1.5}),
    EventDraft(et.STEP_SKIPPED, "transform"),
    EventDraft(et.STEP_START, "load", data={"attempt": 1}),
    EventDraft(et.STEP_FAILURE, "load", LogLevel.ERROR, "failed", data={"error": ERROR, "metadataEntries": METADATA}),
    EventDraft("OF_A_NEWER_WRITER", "load", data={"deep": {"er": 1}}),
    EventDraft(et.RUN_CANCELING),
    EventDraft(et.RUN_FAILURE, None, LogLevel.ERROR, "failed", data={"error": ERROR}),
]


def record(instance: Instance, run_id: str = RUN_ID) -> None:
    """Record the run."""
    instance.create_run(
        NewRun(
            run_id,
            "census",
            tags=(("team", "core"), ("env", "test")),
            run_config={"rows": 3},
            step_keys_to_execute=("extract", "transform", "load"),
            parent_run_id="parent",
            root_run_id="root",
            created_by="ci",
        )
    )
    instance.append(run_id, EVENTS)
    for attempt in (1, 2):
        key = LogKey(run_id, "extract", attempt)
        capture = instance.compute_logs.capture(key)
        instance.compute_logs.append(key, ComputeIO.STDOUT, 0, f"attempt {attempt} ünï\nlast line\n".encode())
        instance.compute_logs.append(key, ComputeIO.STDERR, 0, b"\xff stray\n")
        if capture is not None:
            capture.close()
    folder = instance.artifacts.folder(run_id)
    (folder / "report.html").write_text("<p>census</p>", encoding="utf-8")
