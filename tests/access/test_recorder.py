"""A recorder at a server that asks for a token."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

import daglens
from daglens.access.token_file import rotate_token
from daglens.instance import Instance
from daglens.recorder.remote.spool_folder import SpoolFolder
from daglens.testing.server import LiveServer
from tests.recorder.remote.conftest import spool

__all__ = ["spool"]


def test_recording_with_a_token(
    guarded: LiveServer, tokens: Mapping[str, str], instance: Instance, spool: SpoolFolder
) -> None:
    """A run that is recorded by a recorder's token is the token's, and whole."""
    with daglens.start_run("nightly", to=guarded.url, token=tokens["recorder"], run_id="r") as run, run.step("s"):
        print("hello")
    found = instance.run("r")
    assert found is not None
    assert (found.status, found.created_by) == ("SUCCESS", "recorder")


def test_a_token_that_is_rotated_meanwhile(
    guarded: LiveServer,
    tokens: Mapping[str, str],
    tokens_file: Path,
    tmp_path: Path,
    instance: Instance,
    spool: SpoolFolder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A recorder that reads its token from a file goes on with the new one, and loses nothing."""
    file = tmp_path / "recorder.token"
    file.write_text(tokens["recorder"])

    monkeypatch.setenv("DAGLENS_TOKEN_FILE", str(file))
    with daglens.start_run("nightly", to=guarded.url, run_id="r") as run:
        with run.step("before"):
            print("before")
        file.write_text(rotate_token(tokens_file, "recorder"))
        with run.step("after"):
            print("after")
    found = instance.run("r")
    assert found is not None
    assert (found.status, found.created_by) == ("SUCCESS", "recorder")
    assert [step.step_key for step in instance.events.steps(["r"])["r"]] == ["before", "after"]
