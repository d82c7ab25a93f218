"""deploy/daglens.service: systemd takes it, it gives little away, and its command is one of ours."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from daglens.server.settings import ServerSettings
from tests.deploy.commands import parsed
from tests.docs.snippets import ROOT

UNIT = ROOT / "deploy" / "daglens.service"
ANALYZE = shutil.which("systemd-analyze")

# systemd's own measure, from 0 (nothing is exposed) to 10.
MOST_EXPOSED = 2.0


def service() -> configparser.SectionProxy:
    """Its [Service] section; of a key that stands twice, the last."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(UNIT.read_text(encoding="utf-8"))
    return parser["Service"]


def test_the_command_is_ours() -> None:
    """It serves loopback, where a proxy is, by the file of tokens."""
    words = service()["ExecStart"].split()
    assert words[0] == "/opt/daglens/bin/daglens"
    name, values = parsed(words[1:])
    assert (name, values["host"], str(values["tokens"])) == ("serve", "127.0.0.1", "/etc/daglens/tokens")
    assert f"/etc/{service()['ConfigurationDirectory']}" == str(values["tokens"].parent)


def test_the_folder_is_the_instances() -> None:
    """What it may write is the instance's folder, and that is where the server looks."""
    home = re.search(r"DAGSTER_HOME=(\S+)", service()["Environment"])
    assert home is not None
    assert home[1] == f"/var/lib/{service()['StateDirectory']}"
    assert service()["ProtectSystem"] == "strict"
    assert int(service()["TimeoutStopSec"]) > ServerSettings().drain_s


def test_the_user_is_made() -> None:
    """The user of the unit is that of the file for systemd-sysusers."""
    kind, name = (UNIT.parent / "daglens.sysusers").read_text(encoding="utf-8").split()[:2]
    assert (kind, name) == ("u", service()["User"])


@pytest.mark.system
def test_systemd_takes_it(tmp_path: Path) -> None:
    """`systemd-analyze` finds no mistake and little exposed, where this machine has it."""
    if ANALYZE is None:
        return  # a container without systemd: the tests above are what there is
    path = tmp_path / UNIT.name
    # It looks whether the program is there.
    path.write_text(UNIT.read_text(encoding="utf-8").replace("/opt/daglens/bin/daglens", sys.executable))
    verified = subprocess.run([ANALYZE, "verify", str(path)], capture_output=True, text=True, check=False, timeout=60)
    complaints = [line for line in verified.stderr.splitlines() if UNIT.name in line]
    assert complaints == []
    rated = subprocess.run(
        [ANALYZE, "security", "--offline=true", "--no-pager", str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    level = re.search(r"Overall exposure level for \S+: ([\d.]+)", rated.stdout)
    assert level is not None, rated.stderr
    assert float(level[1]) <= MOST_EXPOSED
