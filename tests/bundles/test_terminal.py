"""What a person sees who waits: bars on a terminal, and a way on after Ctrl-C."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from typer.testing import CliRunner

from daglens.bundles import importing
from daglens.cli.app import app
from daglens.instance import Instance
from tests.bundles.conftest import RUN, bundle_of
from tests.docs.snippets import ROOT


def on_a_terminal(*args: str) -> tuple[int, str]:
    """Run the command with a terminal of its own; exit code, and everything that was shown on it."""
    terminal, other_side = pty.openpty()
    program = subprocess.Popen(
        [sys.executable, "-m", "daglens.cli", *args],
        env=os.environ | {"TERM": "xterm", "PYTHONPATH": str(ROOT), "COLUMNS": "120"},
        stdin=other_side,
        stdout=other_side,
        stderr=other_side,
    )
    os.close(other_side)
    shown = b""
    # Linux tells by an error that the other side is gone.
    with suppress(OSError):
        while data := os.read(terminal, 4096):
            shown += data
    os.close(terminal)
    return program.wait(), shown.decode()


def test_bars_on_a_terminal(source: Instance, target: Instance, tmp_path: Path) -> None:
    """Each part of an export and an import has a bar while it lasts, and the line that stays says what was done."""
    code, shown = on_a_terminal("runs", "export", RUN, "-o", f"{tmp_path}/b", "--instance-home", str(source.home))
    assert code == 0
    assert "b events" in shown
    assert "b logs" in shown
    assert f"{tmp_path}/b: run census with 22 events" in shown
    code, shown = on_a_terminal("runs", "import", f"{tmp_path}/b", "--instance-home", str(target.home))
    assert code == 0
    assert "b check" in shown
    assert "b events" in shown
    assert bundle_of(target) == bundle_of(source)


def test_control_c(file: Path, target: Instance, monkeypatch: Any) -> None:
    """The import says that it can be carried on, and ends as interrupted programs do."""

    def interrupted(*args: Any, **kwargs: Any) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(importing, "import_file", interrupted)
    answer = CliRunner().invoke(app, ["runs", "import", str(file), "--instance-home", str(target.home)])
    assert answer.exit_code == 130
    assert answer.stderr == f"daglens: interrupted in {file}; importing it again carries on.\n"
