"""What a check has found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """It works, but not as well as it could, or not for long."""
    PROBLEM = "problem"
    """Something doesn't work, or history is at risk."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer.

    Attributes:
        check: Name of the check, as docs/observability.md lists it.
        verdict: How bad it is.
        found: What was seen, as a sentence.
        advice: What to do, and where to write it; "" when nothing is to be done.
    """

    check: str
    verdict: Verdict
    found: str
    advice: str = ""


def ok(check: str, found: str) -> Finding:
    """All is well."""
    return Finding(check, Verdict.OK, found)


def warning(check: str, found: str, advice: str) -> Finding:
    """See Verdict."""
    return Finding(check, Verdict.WARNING, found, advice)


def problem(check: str, found: str, advice: str) -> Finding:
    """See Verdict."""
    return Finding(check, Verdict.PROBLEM, found, advice)
