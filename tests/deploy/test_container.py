"""deploy/Dockerfile: what a build needs is there, and what the image runs works. No engine is needed for this."""

from __future__ import annotations

import fnmatch
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from daglens.instance import Instance
from daglens.server.serve import InsecureBinding, check_binding
from daglens.testing.server import LiveServer, serve_in_thread
from tests.deploy.commands import parsed
from tests.deploy.containerfile import FILE, instructions, last_stage
from tests.docs.snippets import ROOT


def the(name: str) -> list[str]:
    """The words of the image's one instruction of a name."""
    (found,) = [each for each in last_stage() if each.name == name]
    return found.words


def test_base_images_have_a_version() -> None:
    """No image is whatever is the latest today, and Python is one that the package takes."""
    bases = [each.words[0] for each in instructions() if each.name == "FROM"]
    assert bases == ["python:${PYTHON}-slim"] * 2
    (argument,) = [each.rest for each in instructions() if each.name == "ARG"]
    version = argument.removeprefix("PYTHON=")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"Programming Language :: Python :: {version}" in project["classifiers"]


def test_it_runs_as_nobody_special() -> None:
    """A user by number, so that a cluster can see that it isn't root; the instance's folder is that user's."""
    user = the("USER")[0]
    assert re.fullmatch(r"[1-9]\d{4,}:[1-9]\d{4,}", user)
    uid, gid = user.split(":")
    made = " ".join(each.rest for each in last_stage() if each.name == "RUN")
    assert f"--uid {uid}" in made
    assert f"--gid {gid}" in made
    names = [each.name for each in last_stage()]
    assert names.index("USER") > max(n for n, name in enumerate(names) if name in ("RUN", "COPY"))
    (folder,) = the("VOLUME")
    assert folder == the("WORKDIR")[0]
    assert re.search(rf"install --directory --owner=daglens .*{folder}( |$)", made)
    assert f"DAGSTER_HOME={folder}" in the("ENV")


def test_only_the_wheel_goes_in() -> None:
    """What is copied from the checkout is what `make wheel` makes, and nothing else is sent to the engine; tokens and
    passwords that lie beside the file stay out of the image."""
    copied = [
        each.words[0] for each in instructions() if each.name == "COPY" and not each.words[0].startswith("--from")
    ]
    assert copied == ["dist/daglens-*.whl"]
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert fnmatch.fnmatch(f"dist/daglens-{version}-py3-none-any.whl", copied[0])
    ignored = (FILE.parent / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert [line for line in ignored if line and not line.startswith("#")] == ["*", f"!{copied[0]}"]


def test_nothing_is_left_behind_in_the_image() -> None:
    """pip keeps no cache, no package of the system is installed, and each layer's shell is one that stops at errors."""
    for each in instructions():
        assert each.name != "ADD"
        if each.name == "RUN":
            assert "apt" not in each.rest
            assert "pip install" not in each.rest or "--no-cache-dir" in each.rest
            assert ";" not in each.rest or each.rest.startswith("set -eu;")
    extra = re.search(r"\[(\w+)\]\"", FILE.read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert extra is not None
    assert extra[1] in project["optional-dependencies"]


def test_what_it_runs() -> None:
    """Entry point and command are a `daglens serve` that others reach, on the port that the image names; nobody gets
    in before dagster.yaml says who may."""
    assert the("ENTRYPOINT") == ["daglens"]
    name, values = parsed(the("CMD"))
    assert (name, values["host"], str(values["port"])) == ("serve", "0.0.0.0", the("EXPOSE")[0])
    assert values["insecure"] is False
    with pytest.raises(InsecureBinding):
        check_binding(values["host"], insecure=values["insecure"])
    assert the("STOPSIGNAL") == ["SIGTERM"]


@pytest.fixture
def server() -> Iterator[LiveServer]:
    """A server, in place of the one in the container."""
    with Instance.ephemeral() as instance, serve_in_thread(instance) as running:
        yield running


def test_health_check(server: LiveServer, tmp_path: Path) -> None:
    """The image's own check, run by the program that it names, is content with a server and not with its absence."""
    (check,) = [each.rest for each in last_stage() if each.name == "HEALTHCHECK"]
    options, _, command = check.partition(" CMD ")
    patience = re.search(r"--timeout=(\d+)s", options)
    words = json.loads(command)
    assert words[0] == "python"  # the image's base brings it
    inner = re.search(r"timeout=(\d+)", words[-1])
    assert patience is not None
    assert inner is not None
    assert int(inner[1]) < int(patience[1])
    address = f"http://127.0.0.1:{the('EXPOSE')[0]}/"
    assert address in words[-1]

    def run(url: str) -> int:
        argv = [sys.executable, *words[1:-1], words[-1].replace(address, f"{url}/")]
        return subprocess.run(argv, cwd=tmp_path, capture_output=True, timeout=60, check=False).returncode

    assert run(server.url) == 0
    assert run("http://127.0.0.1:1") != 0
    assert run(f"{server.url}/nothing/here") != 0
