"""Environments for the child processes of these tests."""

from __future__ import annotations

import os
from pathlib import Path


def child_environment(*first_on_path: Path, **more: str) -> dict[str, str]:
    """This process's environment with the folders put before PATH."""
    path = os.pathsep.join([*map(str, first_on_path), os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path, **more}


def program(folder: Path, name: str, shell: str) -> Path:
    """A program of that name that runs this shell text; the folder is made."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{shell}\n")
    path.chmod(0o755)
    return path


def failing_npm(folder: Path, shell: str) -> Path:
    """A folder for PATH whose `npm` runs this shell text."""
    return program(folder / "npm-bin", "npm", shell).parent
