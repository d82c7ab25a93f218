"""Installs a plug-in's folder with pip, as its user would, into a folder of the test's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

AWESOME = Path(__file__).with_name("my_very_awesome_module")


def install(folder: Path, target: Path) -> Path:
    """Build and install the package in `folder` into `target`, without a network; `target`, to be put on sys.path."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    command += ["--no-index", "--no-deps", "--no-build-isolation", "--target", str(target), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return target
