"""Where a SQLite file may be, and what is said when it can't be there."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from daglens.storage.errors import StorageUnavailable
from daglens.storage.records import NewRun
from daglens.storage.sqlite import SqliteConfig, SqliteDatabase, SqliteEventLogStorage, SqliteRunStorage
from daglens.storage.sqlite.file_systems import file_system_type, refuse_network

MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:40 / /net rw - nfs4 server:/export rw
31 30 0:41 / /net/local rw - xfs /dev/sdb rw
32 22 0:42 / /with\\040space rw - fuse.sshfs host: rw
33 22 0:43 / /covered rw - cifs //host/share rw
34 33 0:44 / /covered rw - ext4 /dev/sdc rw
35 22 0:45 / /home rw,relatime shared:2 master:1 - overlay overlay rw
a line that is none
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib", "ext4"),
        ("/net", "nfs4"),
        ("/net/history", "nfs4"),
        ("/net/local/history", "xfs"),
        ("/network", "ext4"),
        ("/with space/history", "fuse.sshfs"),
        ("/covered/history", "ext4"),
        ("/home/me", "overlay"),
    ],
)
def test_file_system_of_a_path(path: str, kind: str) -> None:
    """The innermost mount counts, and of two on one place the later one."""
    assert file_system_type(Path(path), MOUNTS) == kind


def test_file_system_is_not_told() -> None:
    """Without mounts nothing is known."""
    assert file_system_type(Path("/var"), "") is None


def test_network_file_system_is_refused(tmp_path: Path) -> None:
    """The sentence names the folder and the kind, and says what to do."""
    mounts = tmp_path / "mounts"
    mounts.write_text(f"22 1 0:1 / / rw - ext4 /dev/vda rw\n30 22 0:40 / {tmp_path} rw - nfs4 server:/export rw\n")
    with pytest.raises(StorageUnavailable, match=r"network file system \(nfs4\).*Set base_dir"):
        refuse_network(tmp_path / "history", mounts)


def test_link_to_a_network_file_system_is_refused(tmp_path: Path) -> None:
    """Where a link leads is what counts."""
    (tmp_path / "far").mkdir()
    (tmp_path / "near").symlink_to(tmp_path / "far")
    mounts = tmp_path / "mounts"
    mounts.write_text(f"22 1 0:1 / / rw - ext4 /dev/vda rw\n30 22 0:40 / {tmp_path / 'far'} rw - nfs server:/ rw\n")
    with pytest.raises(StorageUnavailable):
        refuse_network(tmp_path / "near", mounts)


def test_this_machine_is_not_refused(tmp_path: Path) -> None:
    """A folder of the tests passes, and so does every folder where the kernel doesn't tell."""
    refuse_network(tmp_path)
    refuse_network(tmp_path, tmp_path / "missing")


def test_default_folder(tmp_path: Path) -> None:
    """The file is history/daglens.db below the instance's folder; nothing is made before it is needed."""
    runs = SqliteRunStorage.from_config(SqliteConfig(), tmp_path)
    assert runs.database.path == tmp_path / "history" / "daglens.db"
    assert list(tmp_path.iterdir()) == []
    runs.add(NewRun("r1", "nightly"))
    assert runs.database.path.exists()
    runs.close()


def test_base_dir(tmp_path: Path) -> None:
    """A relative one is below the instance's folder; an absolute one is itself."""
    assert SqliteConfig(base_dir="db").file(tmp_path) == tmp_path / "db" / "daglens.db"
    assert SqliteConfig(base_dir="/data/db").file(tmp_path) == Path("/data/db/daglens.db")
    assert SqliteConfig(base_dir="~/db").file(tmp_path) == Path.home() / "db" / "daglens.db"


@pytest.mark.parametrize("seconds", [-1, 86_401, float("nan")])
def test_impossible_timeout(seconds: float) -> None:
    """It is refused when the configuration is read."""
    with pytest.raises(ValueError, match="busy_timeout_s must be from 0"):
        SqliteConfig(busy_timeout_s=seconds)


def test_two_storages_share_one_database(tmp_path: Path) -> None:
    """Also by another path to the same file; the one closes without the other noticing."""
    runs = SqliteRunStorage.from_config(SqliteConfig(), tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    events = SqliteEventLogStorage.from_config(SqliteConfig(), tmp_path / "link")
    assert events.database is runs.database
    assert events.projects_into(runs)
    events.close()
    runs.add(NewRun("r1", "nightly"))
    runs.close()
    again = SqliteRunStorage.from_config(SqliteConfig(), tmp_path)
    assert again.database is not runs.database
    assert list(again.get(["r1"])) == ["r1"]
    again.close()


def test_files_of_their_own_share_nothing(tmp_path: Path) -> None:
    """Storages on two files don't project into each other."""
    runs = SqliteRunStorage.from_config(SqliteConfig(base_dir="one"), tmp_path)
    events = SqliteEventLogStorage.from_config(SqliteConfig(base_dir="two"), tmp_path)
    assert not events.projects_into(runs)
    runs.close()
    events.close()


@pytest.mark.parametrize("first", ["normal", "full"])
def test_more_careful_configuration_counts(tmp_path: Path, first: str) -> None:
    """Where two storages of one file ask for different durabilities it is `full`, whichever came first."""
    second = "full" if first == "normal" else "normal"
    runs = SqliteRunStorage.from_config(SqliteConfig(durability=first), tmp_path)  # type: ignore[arg-type]
    runs.add(NewRun("r1", "nightly"))
    events = SqliteEventLogStorage.from_config(SqliteConfig(durability=second), tmp_path)  # type: ignore[arg-type]
    level = runs.database.write(lambda connection: connection.execute("PRAGMA synchronous").fetchone()[0])
    assert level == 2
    runs.close()
    events.close()


def test_durability_normal(tmp_path: Path) -> None:
    """It is SQLite's NORMAL; readers can't write, and foreign keys hold."""
    runs = SqliteRunStorage.from_config(SqliteConfig(durability="normal"), tmp_path)
    database = runs.database
    assert database.write(lambda connection: connection.execute("PRAGMA synchronous").fetchone()[0]) == 1
    assert database.write(lambda connection: connection.execute("PRAGMA foreign_keys").fetchone()[0]) == 1
    with pytest.raises(StorageUnavailable):
        database.read(lambda connection: connection.execute("DELETE FROM runs"))
    runs.close()


def test_folder_that_is_a_file(tmp_path: Path) -> None:
    """It is said, and health says it too, without raising."""
    (tmp_path / "history").write_text("in the way")
    runs = SqliteRunStorage.from_config(SqliteConfig(), tmp_path)
    with pytest.raises(StorageUnavailable, match=r"daglens\.db: File exists"):
        runs.get(["r1"])
    assert not runs.health().healthy
    runs.close()


def test_file_that_is_no_database(tmp_path: Path) -> None:
    """The sentence says what it is, and it isn't touched."""
    path = tmp_path / "daglens.db"
    path.write_bytes(b"a text about runs, long enough to have a header of its own" * 20)
    before = path.read_bytes()
    database = SqliteDatabase(path)
    with pytest.raises(StorageUnavailable, match="no SQLite database"):
        database.read(lambda connection: None)
    assert path.read_bytes() == before
    database.close()


def test_lock_that_is_never_given_back(tmp_path: Path) -> None:
    """Who waits for another process's migration gives up with a sentence after the timeout."""
    path = tmp_path / "daglens.db"
    database = SqliteDatabase(path, busy_timeout_s=0.05)
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(StorageUnavailable, match="another process makes or migrates"):
        database.read(lambda connection: None)
    os.close(descriptor)
    assert database.health().healthy
    database.close()
