"""Looks at an instance and at what it stands on, and says what is wrong and what to do. Changes nothing."""

from daglens.doctor.findings import Finding, Verdict
from daglens.doctor.visit import findings

__all__ = ["Finding", "Verdict", "findings"]
