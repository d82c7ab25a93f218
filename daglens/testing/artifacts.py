"""The behaviour of an artifact storage as a test suite, cut by topic.

Subclass `ArtifactConformance` as a class `Test…` and give it the fixture `artifacts`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from daglens.storage.contract import ArtifactStorage
from daglens.storage.errors import ArtifactNotFound, InvalidName
from daglens.testing.names import IMPOSSIBLE_NAMES, ODD_NAMES, ORDINARY_NAMES

PATHS_IN_ORDER = (
    "A.txt",
    "a",
    "a b/x",
    "a-b/x",
    "a.d/x",
    "b-1.txt",
    "b/a.txt",
    "b/b/b/b.txt",
    "b/b0.txt",
    "b0",
    "report.html",
    "ü/größe.csv",
    "😀.txt",
)
"""Paths in order of code points, which is not the order of walking through folders name by name."""


class ArtifactTopic:
    """Base of the topics. A subclass gives the fixture `artifacts`."""

    @pytest.fixture
    def artifacts(self) -> ArtifactStorage:
        """A storage without artifacts, for one test."""
        raise NotImplementedError("Override the fixture `artifacts`: it gives a new, empty artifact storage.")


def put(artifacts: ArtifactStorage, run_id: str, path: str, data: bytes = b"data") -> Path:
    """Write a file as a recorder does."""
    file = artifacts.folder(run_id) / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return file


def paths(artifacts: ArtifactStorage, run_id: str, limit: int = 1000) -> list[str]:
    """Paths of every page."""
    found: list[str] = []
    after = None
    while True:
        page = artifacts.list(run_id, after, limit)
        assert len(page.artifacts) <= limit
        found += [artifact.path for artifact in page.artifacts]
        if not page.has_more:
            return found
        assert page.artifacts, "a page that says there are more is not empty"
        after = found[-1]


def content(artifacts: ArtifactStorage, run_id: str, path: str) -> bytes:
    """All of a file."""
    with artifacts.open(run_id, path) as file:
        return file.read()


def is_refused(artifacts: ArtifactStorage, run_id: str, path: str) -> bool:
    """True when the storage says that there is no such artifact."""
    try:
        artifacts.open(run_id, path).close()
    except ArtifactNotFound:
        return True
    return False


class ArtifactBasics(ArtifactTopic):
    """A storage without artifacts, and one file."""

    def test_fulfils_the_contract(self, artifacts: ArtifactStorage) -> None:
        """It has the contract's methods and is healthy; closing twice is harmless."""
        assert isinstance(artifacts, ArtifactStorage)
        assert artifacts.health().healthy, artifacts.health().problem
        assert artifacts.health().problem is None
        assert artifacts.pool_size >= 1
        artifacts.close()
        artifacts.close()

    def test_a_run_without_artifacts(self, artifacts: ArtifactStorage) -> None:
        """It lists none, has nothing to open and nothing to delete; looking makes nothing."""
        for _ in range(2):
            assert (list(artifacts.list("run").artifacts), artifacts.list("run").has_more) == ([], False)
            assert artifacts.delete("run") == 0
            assert is_refused(artifacts, "run", "a.txt")

    def test_the_folder_is_there_and_the_same(self, artifacts: ArtifactStorage) -> None:
        """Each call gives the same folder of the run, made when missing, and no other run's."""
        folder = artifacts.folder("run")
        assert folder.is_dir()
        assert list(folder.iterdir()) == []
        assert artifacts.folder("run") == folder
        assert artifacts.folder("other") != folder

    def test_a_file_is_listed_and_read(self, artifacts: ArtifactStorage) -> None:
        """What was put into the folder is listed with size and time, and read back whole and from any place."""
        data = bytes(range(256)) * 100
        file = put(artifacts, "run", "out/table.bin", data)
        os.utime(file, ns=(1_700_000_000_123_456_000, 1_700_000_000_123_456_000))
        (found,) = artifacts.list("run").artifacts
        assert (found.path, found.size_bytes, found.modified_at_us) == (
            "out/table.bin",
            25_600,
            1_700_000_000_123_456,
        )
        with artifacts.open("run", "out/table.bin") as opened:
            assert opened.seek(1000) == 1000
            assert opened.read(10) == data[1000:1010]
            opened.seek(0)
            assert opened.read() == data


class ArtifactListing(ArtifactTopic):
    """Pages in order of path."""

    def test_order_and_pages(self, artifacts: ArtifactStorage) -> None:
        """By the code points of the whole path, whatever the size of the pages."""
        for path in reversed(PATHS_IN_ORDER):
            put(artifacts, "run", path)
        for limit in (1, 2, 3, len(PATHS_IN_ORDER), 1000):
            assert paths(artifacts, "run", limit) == list(PATHS_IN_ORDER)

    def test_after_any_path(self, artifacts: ArtifactStorage) -> None:
        """A page goes on behind a path, whether a file is there or not."""
        for path in PATHS_IN_ORDER:
            put(artifacts, "run", path)
        for after in (*PATHS_IN_ORDER, "", "a/", "b/", "b/b", "b/b/b/", "b/zzz", "zzz", "\U0010ffff"):
            expected = [path for path in PATHS_IN_ORDER if path > after]
            assert [one.path for one in artifacts.list("run", after, 1000).artifacts] == expected, after

    def test_has_more(self, artifacts: ArtifactStorage) -> None:
        """It is true exactly when files are left; a page of none tells only that."""
        for path in ("a", "b", "c"):
            put(artifacts, "run", path)
        assert [artifacts.list("run", None, limit).has_more for limit in (0, 1, 2, 3, 4)] == [
            True,
            True,
            True,
            False,
            False,
        ]
        assert not artifacts.list("run", "c", 1).has_more
        assert not artifacts.list("run", None, 0).artifacts

    def test_a_walk_while_files_come_and_go(self, artifacts: ArtifactStorage) -> None:
        """Files that are there throughout are seen exactly once."""
        for number in range(0, 20, 2):
            put(artifacts, "run", f"{number:02}")
        seen: list[str] = []
        after = None
        for number in range(100):
            page = artifacts.list("run", after, 1)
            seen += [artifact.path for artifact in page.artifacts]
            if not page.has_more:
                break
            after = seen[-1]
            put(artifacts, "run", f"{number:02}x")
            (artifacts.folder("run") / f"{number:02}y").unlink(missing_ok=True)
        assert [path for path in seen if len(path) == 2] == [f"{number:02}" for number in range(0, 20, 2)]
        assert len(set(seen)) == len(seen)


class ArtifactBorders(ArtifactTopic):
    """Nothing outside a run's folder is listed or read."""

    def test_paths_that_lead_out(self, artifacts: ArtifactStorage, tmp_path: Path) -> None:
        """They are not found, however they are spelled; nor are folders."""
        put(artifacts, "run", "in/a.txt")
        put(artifacts, "other", "secret.txt")
        outside = tmp_path / "outside.txt"
        outside.write_text("secret")
        up = os.path.relpath(outside, artifacts.folder("run"))
        other = os.path.relpath(artifacts.folder("other") / "secret.txt", artifacts.folder("run"))
        for path in (
            *(up, other, f"in/../{up}", f"in/../{other}", str(outside), "/" + str(outside), f"./{up}"),
            *("..", ".", "", "/", "in", "in/", "in/../in/a.txt", "in//a.txt", "./in/a.txt", "/in/a.txt", "in/a.txt/"),
            *("in/a.txt\0", "\0", "in\\a.txt", "IN/A.TXT", "in/a.txt/b", "x" * 5000, "in/" * 3000, "\udcff", "\ud800"),
        ):
            assert is_refused(artifacts, "run", path), ascii(path)

    def test_links(self, artifacts: ArtifactStorage, tmp_path: Path) -> None:
        """Links that lead out of the run's folder, to nothing or in circles are neither listed nor opened."""
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "secret.txt").write_text("secret")
        put(artifacts, "other", "secret.txt")
        put(artifacts, "run", "real.txt", b"real")
        folder = artifacts.folder("run")
        for name, target in {
            "file": outside / "secret.txt",
            "folder": outside,
            "other": artifacts.folder("other") / "secret.txt",
            "nowhere": folder / "missing",
            "circle": folder / "circle",
            "up": Path(".."),
        }.items():
            (folder / name).symlink_to(target)
        assert paths(artifacts, "run") == ["real.txt"]
        for path in ("file", "folder", "folder/secret.txt", "other", "nowhere", "circle", "up", "up/../real.txt"):
            assert is_refused(artifacts, "run", path), path
        assert content(artifacts, "run", "real.txt") == b"real"

    def test_what_is_no_file(self, artifacts: ArtifactStorage) -> None:
        """Empty folders and pipes are no artifacts."""
        folder = artifacts.folder("run")
        (folder / "empty").mkdir()
        os.mkfifo(folder / "pipe")
        # Both ends are held, so that a storage that opens the pipe fails here instead of waiting for a writer.
        ends = os.open(folder / "pipe", os.O_RDWR)
        try:
            assert paths(artifacts, "run") == []
            for path in ("empty", "pipe"):
                assert is_refused(artifacts, "run", path), path
        finally:
            os.close(ends)


class ArtifactDeletion(ArtifactTopic):
    """`delete`."""

    def test_everything_of_the_run_goes(self, artifacts: ArtifactStorage) -> None:
        """All files are gone and their bytes counted; the run can have artifacts again."""
        for path in PATHS_IN_ORDER:
            put(artifacts, "run", path, b"12345")
        put(artifacts, "other", "a.txt")
        assert artifacts.delete("run") == 5 * len(PATHS_IN_ORDER)
        assert paths(artifacts, "run") == []
        assert artifacts.delete("run") == 0
        assert paths(artifacts, "other") == ["a.txt"]
        put(artifacts, "run", "new.txt")
        assert paths(artifacts, "run") == ["new.txt"]

    def test_what_links_lead_to_stays(self, artifacts: ArtifactStorage, tmp_path: Path) -> None:
        """Deleting follows no link."""
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "kept.txt").write_text("kept")
        folder = artifacts.folder("run")
        (folder / "folder").symlink_to(outside)
        (folder / "file").symlink_to(outside / "kept.txt")
        artifacts.delete("run")
        assert (outside / "kept.txt").read_text() == "kept"


class ArtifactHostileNames(ArtifactTopic):
    """Run ids as clients may send them."""

    def test_each_run_is_kept_apart(self, artifacts: ArtifactStorage) -> None:
        """No id lists, reads or deletes another's files."""
        kept: list[str] = []
        for run_id in dict.fromkeys((*ODD_NAMES, "artifacts", "a/artifacts", "a", "..", "run.", "RUN.")):
            try:
                put(artifacts, run_id, "name.txt", ascii(run_id).encode())
            except InvalidName:
                assert run_id not in ORDINARY_NAMES
                continue
            kept.append(run_id)
        for run_id in kept:
            assert paths(artifacts, run_id) == ["name.txt"], ascii(run_id)
            assert content(artifacts, run_id, "name.txt") == ascii(run_id).encode()
        for run_id in kept[::2]:
            assert artifacts.delete(run_id) == len(ascii(run_id))
        for index, run_id in enumerate(kept):
            assert paths(artifacts, run_id) == ["name.txt"] * (index % 2), ascii(run_id)

    def test_impossible_names_are_refused(self, artifacts: ArtifactStorage) -> None:
        """Ids that nothing can have: no folder is made; listing, opening and deleting find nothing."""
        for run_id in IMPOSSIBLE_NAMES:
            with pytest.raises(InvalidName):
                artifacts.folder(run_id)
            assert not artifacts.list(run_id).artifacts
            assert is_refused(artifacts, run_id, "a.txt")
            assert artifacts.delete(run_id) == 0


class ArtifactConformance(ArtifactBasics, ArtifactListing, ArtifactBorders, ArtifactDeletion, ArtifactHostileNames):
    """Everything that `ArtifactStorage` promises."""
