"""Exceptions as data of events."""

from __future__ import annotations

import json
from collections.abc import Callable

from daglens.recorder.failure import MAX_CAUSES, MAX_FRAMES, carry, error_data, headline
from daglens.storage.drafts import DEFAULT_LIMITS, json_text


def raised(function: Callable[[], object]) -> BaseException:
    try:
        function()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def test_class_message_and_stack():
    """Class, message, and one text per frame, outermost first."""

    def fail() -> None:
        raise ValueError("no orders")

    data = error_data(raised(fail))
    assert (data["className"], data["message"], data["cause"]) == ("ValueError", "no orders", None)
    assert [("in raised" in frame, "in fail" in frame) for frame in data["stack"]] == [(True, False), (False, True)]


def test_causes_are_chained():
    """`raise … from` and an exception raised while another was handled are both causes; `from None` hides one."""

    def fail() -> None:
        try:
            try:
                raise KeyError("first")
            except KeyError:
                raise ValueError("second")  # noqa: B904
        except ValueError as error:
            raise RuntimeError("third") from error

    data = error_data(raised(fail))
    assert (data["message"], data["cause"]["message"], data["cause"]["cause"]["message"]) == (
        "third",
        "second",
        "'first'",
    )

    def hide() -> None:
        try:
            raise KeyError
        except KeyError:
            raise ValueError from None

    assert error_data(raised(hide))["cause"] is None


def test_a_circle_of_causes_ends():
    """Exceptions that cause each other don't go on for ever."""
    first, second = ValueError("1"), ValueError("2")
    first.__cause__, second.__cause__ = second, first
    assert error_data(first)["cause"]["cause"] is None


def test_everything_is_bounded():
    """Endless recursion with enormous messages in a long chain still fits into one event."""

    class Huge(Exception):
        def __str__(self) -> str:
            return "x" * 10_000_000

    def recurse(depth: int) -> None:
        if depth == 0:
            raise Huge
        recurse(depth - 1)

    error = raised(lambda: recurse(500))
    last = error
    for _ in range(50):
        last.__cause__ = raised(lambda: recurse(500))
        last = last.__cause__
    data = error_data(error)
    assert len(json_text(data)) < DEFAULT_LIMITS.max_data_bytes
    assert len(data["stack"]) <= MAX_FRAMES + 1
    depth, cause = 0, error_data(error)
    while cause:
        cause, depth = cause["cause"], depth + 1
    assert depth == MAX_CAUSES


def test_notes_and_groups():
    """Notes are part of the message; the members of a group are named."""
    error = ExceptionGroup("several", [ValueError("a"), KeyError("b")])
    error.add_note("while loading")
    data = error_data(error)
    assert data["message"] == "several (2 sub-exceptions)\nwhile loading"
    assert data["stack"] == ["member 0: ValueError: a", "member 1: KeyError: 'b'"]


def test_an_exception_that_can_not_say_what_it_is():
    """Recording a failure never fails because of the exception."""

    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert json.loads(json_text(error_data(Broken())))["className"].endswith("Broken")


def test_carried_data_wins():
    """An exception from another process is told as it was there."""
    error = ValueError("here")
    carry(error, {"className": "ValueError", "message": "there", "stack": ["frame"], "cause": None})
    assert error_data(error)["stack"] == ["frame"]
    assert error_data(raised(lambda: _raise(error)))["message"] == "there"


def _raise(error: BaseException) -> None:
    raise error


def test_a_headline_is_one_line():
    """Class and first line."""
    assert headline({"className": "ValueError", "message": "a\nb"}) == "ValueError: a"
    assert headline({"className": None, "message": "a"}) == "a"
    assert headline({"className": "KeyError", "message": ""}) == "KeyError"
