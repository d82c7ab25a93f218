"""Local artifacts keep the contract; and what is special about files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from daglens.storage.artifacts import LocalArtifactConfig, LocalArtifactStorage
from daglens.storage.compute_logs import LocalComputeLogManager
from daglens.storage.errors import InvalidName, StorageUnavailable
from daglens.storage.records import ComputeIO, LogKey
from daglens.testing import ArtifactConformance
from daglens.testing.names import IMPOSSIBLE_NAMES, ODD_NAMES


class TestLocalArtifactStorage(ArtifactConformance):
    @pytest.fixture
    def artifacts(self, tmp_path: Path):
        return LocalArtifactStorage(tmp_path / "storage")


def test_logs_and_artifacts_share_a_run_folder(tmp_path: Path):
    """Both are below the run's folder; deleting one leaves the other, and the last takes the folder along."""
    artifacts, logs = LocalArtifactStorage(tmp_path), LocalComputeLogManager(tmp_path)
    for run_id in ("run", "x" * 255):
        (artifacts.folder(run_id) / "a.txt").write_text("artifact")
        logs.append(LogKey(run_id, "step"), ComputeIO.STDOUT, 0, b"text")
    assert [artifact.path for artifact in artifacts.list("run").artifacts] == ["a.txt"]
    for run_id in ("run", "x" * 255):
        assert logs.delete(run_id) == 4
        assert [artifact.path for artifact in artifacts.list(run_id).artifacts] == ["a.txt"]
        assert artifacts.delete(run_id) == 8
    assert list(tmp_path.iterdir()) == []


def test_nothing_outside_the_base_folder_is_touched(tmp_path: Path):
    """Whatever a run id is called, its folder is in the base folder."""
    base = tmp_path / "deep" / "storage"
    artifacts = LocalArtifactStorage(base)
    for run_id in (*ODD_NAMES, *IMPOSSIBLE_NAMES, "../../outside", str(tmp_path / "outside")):
        try:
            folder = artifacts.folder(run_id)
        except InvalidName:
            continue
        assert folder.parent.parent == base
        artifacts.delete(run_id)
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["storage"]
    assert list(base.iterdir()) == []


def test_links_inside_the_run_folder_are_artifacts(tmp_path: Path):
    """A link to another file of the run ("latest") is listed with that file's size, and opened."""
    artifacts = LocalArtifactStorage(tmp_path)
    folder = artifacts.folder("run")
    (folder / "report-1.txt").write_text("report")
    (folder / "latest.txt").symlink_to("report-1.txt")
    assert [(one.path, one.size_bytes) for one in artifacts.list("run").artifacts] == [
        ("latest.txt", 6),
        ("report-1.txt", 6),
    ]
    with artifacts.open("run", "latest.txt") as file:
        assert file.read() == b"report"


def test_names_that_are_no_utf_8_are_not_listed(tmp_path: Path):
    """A file name that can't be text over GraphQL is left out; the others are there."""
    artifacts = LocalArtifactStorage(tmp_path)
    folder = artifacts.folder("run")
    (folder / os.fsdecode(b"caf\xe9.txt")).write_text("x")
    (folder / "café.txt").write_text("x")
    assert [one.path for one in artifacts.list("run").artifacts] == ["café.txt"]


def test_folders_a_thousand_deep(tmp_path: Path):
    """Depth is no limit of ours."""
    artifacts = LocalArtifactStorage(tmp_path)
    folder = str(artifacts.folder("run"))
    for _ in range(1200):
        folder += "/d"
        os.mkdir(folder)
    with open(folder + "/a.txt", "w") as file:
        file.write("x")
    assert [one.path for one in artifacts.list("run").artifacts] == ["d/" * 1200 + "a.txt"]
    assert artifacts.delete("run") == 1


def test_a_base_folder_that_cannot_be_made_is_told(tmp_path: Path):
    """A file where the folder should be: unhealthy, and making a folder says why."""
    (tmp_path / "storage").write_text("in the way")
    artifacts = LocalArtifactStorage(tmp_path / "storage")
    health = artifacts.health()
    assert not health.healthy and health.problem is not None and str(tmp_path / "storage") in health.problem
    with pytest.raises(StorageUnavailable):
        artifacts.folder("run")
    assert not artifacts.list("run").artifacts


def test_where_the_base_folder_is(tmp_path: Path):
    """`storage` in the instance's folder by default."""
    assert LocalArtifactStorage.from_config(LocalArtifactConfig(), tmp_path).folder("run") == (
        tmp_path / "storage/run/artifacts"
    )
