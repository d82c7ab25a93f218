"""The set-up scripts behind `make demo`, `make test` and `make test-system` say in a sentence what is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging.child import child_environment, program

ROOT = Path(__file__).parents[2]


def run_script(name: str, *arguments: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Run a script that finds only the programs in the folder."""
    environment = child_environment() | {"PATH": str(path)}
    return subprocess.run(
        ["/bin/sh", str(ROOT / "scripts" / name), *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def old_python(folder: Path, name: str = "python3") -> None:
    program(folder, name, 'case "$1" in -V) echo "Python 3.9.2";; *) exit 1;; esac')


def test_no_python(tmp_path: Path) -> None:
    """Without any python3 the sentence names the packages to install."""
    outcome = run_script("make_venv.sh", str(tmp_path / "venv"), path=tmp_path / "empty")
    assert outcome.returncode == 1
    assert "no python3 here" in outcome.stderr
    assert "apt-get install python3 python3-venv" in outcome.stderr


def test_python_too_old(tmp_path: Path) -> None:
    """A python3 below 3.11 is named with its version, and nothing is made."""
    old_python(tmp_path / "bin")
    outcome = run_script("make_venv.sh", str(tmp_path / "venv"), path=tmp_path / "bin")
    assert outcome.returncode == 1
    assert "python3 is Python 3.9.2; daglens needs Python 3.11 or newer" in outcome.stderr
    assert not (tmp_path / "venv").exists()


def test_newer_python_beside_an_old_one_is_taken(tmp_path: Path) -> None:
    """Where python3 is too old, a python3.12 beside it makes the environment."""
    old_python(tmp_path / "bin")
    program(tmp_path / "bin", "python3.12", f'exec "{sys.executable}" "$@"')
    outcome = run_script("make_venv.sh", str(tmp_path / "venv"), path=tmp_path / "bin")
    assert outcome.returncode == 0, outcome.stderr
    assert (tmp_path / "venv" / "bin" / "python").exists()


def test_venv_module_missing(tmp_path: Path) -> None:
    """Debian packs it apart: the sentence names the package, and no half environment is left."""
    program(
        tmp_path / "bin",
        "python3",
        f'case "$*" in *ensurepip*) echo No module named ensurepip >&2; exit 1;; esac\nexec "{sys.executable}" "$@"',
    )
    outcome = run_script("make_venv.sh", str(tmp_path / "venv"), path=tmp_path / "bin")
    assert outcome.returncode == 1
    assert "apt-get install python3-venv" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert not (tmp_path / "venv").exists()


def test_named_python_missing(tmp_path: Path) -> None:
    """A wrong PYTHON=… is named."""
    outcome = run_script("make_venv.sh", str(tmp_path / "venv"), "python9", path=tmp_path)
    assert outcome.returncode == 1
    assert "no 'python9' here" in outcome.stderr


def test_system_packages_present(tmp_path: Path) -> None:
    """With all three programs there, nothing is installed and nothing is said."""
    for name in ("chromium", "nginx", "pgbouncer"):
        program(tmp_path, name, "exit 1")
    outcome = run_script("debian_packages.sh", path=tmp_path)
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, "", "")


@pytest.mark.parametrize("uid", ["0", "1000"])
def test_system_packages_are_installed(uid: str, tmp_path: Path) -> None:
    """Only what is missing: by apt-get as root, else by sudo, which asks for no password where nobody can answer."""
    called = tmp_path / "called"
    for name in ("nginx", "pgbouncer"):
        program(tmp_path, name, "exit 1")
    program(tmp_path, "id", f"echo {uid}")
    program(tmp_path, "env", 'while case "$1" in *=*) true;; *) false;; esac; do shift; done\nexec "$@"')
    program(tmp_path, "sudo", f'echo sudo "$@" >> "{called}"; [ "$1" = -n ] && shift; exec "$@"')
    program(tmp_path, "apt-get", f'echo apt-get "$@" >> "{called}"')
    outcome = run_script("debian_packages.sh", path=tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    words = called.read_text()
    assert "apt-get install -y -qq --no-install-recommends chromium\n" in words
    assert ("sudo -n" in words) == (uid == "1000")


def test_system_packages_cannot_be_installed(tmp_path: Path) -> None:
    """Without apt-get the sentence says which programs are wanted."""
    outcome = run_script("debian_packages.sh", path=tmp_path)
    assert outcome.returncode == 1
    assert "chromium" in outcome.stderr
    assert "no apt-get here" in outcome.stderr
