"""A server as a program of its own, and a browser that reaches nothing but it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Request

# `make test` collects this folder, too, but has no browser. Where nothing is collected, `make test-system` fails.
collect_ignore_glob = [] if find_spec("playwright") else ["test_*.py"]

BROWSER_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    # The blocked network: no name resolves, and only loopback answers.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
]


@dataclass(frozen=True)
class Server:
    """A running `daglens serve`."""

    url: str
    home: Path

    @property
    def env(self) -> dict[str, str]:
        """The environment in which programs work on its instance."""
        return os.environ | {"DAGSTER_HOME": str(self.home)}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """`daglens serve` on an instance of its own, asked to end after the test."""
    with serving(tmp_path / "home") as server:
        yield server


@contextmanager
def serving(home: Path, *options: str) -> Iterator[Server]:
    """`daglens serve` on the instance in a folder, until the end of the block."""
    command = [sys.executable, "-m", "daglens.cli", "serve", "--port", "0", "--instance-home", str(home), *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}
    ) as program:
        assert program.stdout is not None
        url = next(word for line in program.stdout for word in line.split() if word.startswith("http://"))
        try:
            yield Server(url, home)
        finally:
            program.send_signal(signal.SIGTERM)
            assert program.wait(timeout=60) == 0


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium without a network."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium")
    assert path, "chromium is missing; `make test-system` installs it"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=BROWSER_ARGS)
        yield browser
        browser.close()


def note_failed(request: Request, problems: list[str]) -> None:
    """Note a request that came to nothing. Of a page that is left, the browser itself ends what is still under way, as
    the icon on a machine that is busy; it says so by no other name, and by this one of nothing that a server does."""
    if request.failure != "net::ERR_ABORTED":
        problems.append(f"failed: {request.url}: {request.failure}")


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that fails the test when a script, a style or a request of it fails."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("requestfailed", lambda request: note_failed(request, problems))
    yield page
    context.close()
    assert problems == []
