"""What all tests share: an environment that is not this machine's, and skips that count as failures in CI."""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterator
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings

# A shared machine stops and goes: a property test that is slow there is not wrong.
settings.register_profile("daglens", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("daglens")

AnyReport = TypeVar("AnyReport", pytest.TestReport, pytest.CollectReport)


@pytest.fixture(scope="session", autouse=True)
def own_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test or child of one finds the user's own instance, or a setting that changes how Python buffers."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DAGSTER_HOME", "DAGLENS_RUN_ID", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"):
            patch.delenv(name, raising=False)
        # Under nohup, or in a script's background, a program starts deaf to some signals, and so do its children:
        # `record` then rightly passes none of them on.
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
            if signal.getsignal(number) is signal.SIG_IGN:
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data-home")))
        yield


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fail-on-skip", action="store_true", help="a skipped test counts as failed")
    parser.addoption("--fault-tries", type=int, default=1, help="how often each fault of tests/faults is tried")
    parser.addoption("--fault-seed", type=int, default=1, help="what their random points are drawn from")


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
