"""What all tests share: skipped tests count as failed where a skip would hide that nothing was tested (CI)."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

import pytest

AnyReport = TypeVar("AnyReport", pytest.TestReport, pytest.CollectReport)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fail-on-skip", action="store_true", help="a skipped test counts as failed")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _refuse_skip((yield), item.config)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _refuse_skip((yield), collector.config)


def _refuse_skip(report: AnyReport, config: pytest.Config) -> AnyReport:
    expected_failure = hasattr(report, "wasxfail")
    if report.skipped and not expected_failure and config.getoption("--fail-on-skip"):
        reason: Any = report.longrepr
        report.outcome = "failed"
        report.longrepr = f"Skipped, which counts as failed here: {reason[2] if isinstance(reason, tuple) else reason}"
    return report
