"""The file of tokens: what stands in it, who may change it, and what a running server makes of it."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import resource
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daglens.access import Identity, InvalidTokens, Role
from daglens.access.token_file import add_token, read_entries, remove_token, rotate_token
from daglens.access.tokens import Tokens
from tests.access.conftest import mounted_secret


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens"


def test_only_a_hash_is_kept(path: Path) -> None:
    """A token has 256 random bits and a prefix to find it by; the file has its SHA-256, for its owner alone."""
    token = add_token(path, "ci", Role.RECORDER)
    assert re.fullmatch(r"dgl_[A-Za-z0-9_-]{43}", token)
    text = path.read_text()
    assert token not in text
    assert f"ci  recorder  sha256:{hashlib.sha256(token.encode()).hexdigest()}  20" in text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [(entry.name, entry.role) for entry in read_entries(path)] == [("ci", Role.RECORDER)]


def test_many_at_once(path: Path) -> None:
    """Changes at the same time are all there afterwards, each once, and leave no other file behind."""
    with ThreadPoolExecutor(8) as pool:
        tokens = list(pool.map(lambda n: add_token(path, f"t{n}", Role.VIEWER), range(24)))
    live = Tokens(path)
    assert [live.find(token) for token in tokens] == [Identity(f"t{n}", Role.VIEWER) for n in range(24)]
    assert os.listdir(path.parent) == ["tokens"]


def test_mode_and_link_stay(tmp_path: Path) -> None:
    """A file that its group may read stays so, and a link to it stays a link."""
    real, link = tmp_path / "real", tmp_path / "link"
    add_token(real, "a", Role.VIEWER)
    real.chmod(0o640)
    link.symlink_to(real)
    add_token(link, "b", Role.ADMIN)
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert [entry.name for entry in read_entries(link)] == ["a", "b"]


_LINES = st.lists(
    st.sampled_from(
        ["nightly", "viewer", "admin", "root", f"sha256:{'0' * 64}", "dgl_pl4nted", "#", "\n", "\r", "\x85"]
    )
    | st.text(max_size=5),
    max_size=12,
)


@given(_LINES.map(" ".join).map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=80))
def test_anything_in_the_file(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Whatever stands in it: whole entries, or one sentence with the line's number and without what stands there."""
    path = tmp_path_factory.getbasetemp() / "any-tokens"
    path.write_bytes(content)
    path.chmod(0o600)
    try:
        entries, told = read_entries(path), ""
    except InvalidTokens as error:
        entries, told = (), str(error)
    if told:
        assert re.search(r"any-tokens:\d+: ", told) and told.isprintable()
        assert "pl4nted" not in told
    assert len({entry.name for entry in entries}) == len(entries)
    assert all(entry.role in tuple(Role) and len(entry.digest) == 32 for entry in entries)


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o620, 0o602, 0o660, 0o777])
def test_a_file_that_others_may_touch(path: Path, mode: int) -> None:
    """A file that others may read, or its group change, is not used, and the sentence says what to do."""
    add_token(path, "a", Role.VIEWER)
    path.chmod(mode)
    with pytest.raises(InvalidTokens, match="chmod 600"):
        Tokens(path)


@pytest.mark.parametrize(("mode", "is_taken"), [(0o644, False), (0o444, False), (0o400, True), (0o440, True)])
def test_a_secret_of_kubernetes(tmp_path: Path, mode: int, is_taken: bool) -> None:
    """Mounted as by default it is refused, by a sentence that names the setting; with it, or with the mode that it
    becomes by an fsGroup, it is taken, and a secret that has changed is seen at the next request."""
    tokens = [add_token(tmp_path / f"v{version}", f"v{version}", Role.VIEWER) for version in (1, 2)]
    mounted = mounted_secret(tmp_path / "etc", (tmp_path / "v1").read_text(), mode)
    if not is_taken:
        with pytest.raises(InvalidTokens, match=r"`defaultMode: 0400` at the secret's volume; with an fsGroup"):
            Tokens(mounted)
        return
    live = Tokens(mounted)
    assert [live.find(token) for token in tokens] == [Identity("v1", Role.VIEWER), None]
    mounted_secret(tmp_path / "etc", (tmp_path / "v2").read_text(), mode)
    assert [live.find(token) for token in tokens] == [None, Identity("v2", Role.VIEWER)]


def test_a_secret_that_the_pod_may_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an fsGroup the file is root's alone: the sentence says what gives it to another user."""
    add_token(tmp_path / "made", "a", Role.VIEWER)
    mounted = mounted_secret(tmp_path / "etc", (tmp_path / "made").read_text(), 0o400)

    def refuse(*args: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    # Tests may run as root, who reads everything.
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InvalidTokens, match="give the pod an fsGroup"):
        read_entries(mounted)


def test_a_file_of_somebody_else(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of another user is not used: they could change it. Root's is."""
    add_token(path, "a", Role.VIEWER)
    status = path.stat()
    for owner, taken in ((0, True), (os.geteuid(), True), (12345, False)):
        values = [*status]
        values[stat.ST_UID] = owner
        monkeypatch.setattr(os, "fstat", lambda _, values=tuple(values): os.stat_result(values))
        if taken:
            assert read_entries(path)
        else:
            with pytest.raises(InvalidTokens, match="another user"):
                read_entries(path)


@pytest.mark.parametrize(
    "line",
    [
        "dgl_s3cret",
        "ci recorder dgl_s3cret",
        "ci recorder sha256:s3cret",
        f"ci s3cret sha256:{'0' * 64}",
        f"s3cret/../x viewer sha256:{'0' * 64}",
        f"ci viewer sha256:{'0' * 64}\nci admin sha256:{'1' * 64}",
        f"ci viewer sha256:{'0' * 64} now s3cret",
    ],
)
def test_lines_that_are_wrong(path: Path, line: str) -> None:
    """A wrong line is told by its number, never by its text: it may be a token that somebody wrote there."""
    path.write_text(f"# a comment\n\n{line}\n")
    path.chmod(0o600)
    with pytest.raises(InvalidTokens, match=r"tokens:[34]: ") as refused:
        read_entries(path)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("name", ["", "a b", "é", "-a", "a\n", "a" * 101, "proxy:a", "#a"])
def test_names_that_are_none(path: Path, name: str) -> None:
    """A name fits into a line, and is none that a proxy's user has."""
    with pytest.raises(InvalidTokens):
        add_token(path, name, Role.VIEWER)
    assert not path.exists()


def test_names_that_are_taken_or_unknown(path: Path) -> None:
    """Adding a name twice, and changing one that isn't there, change nothing."""
    add_token(path, "a", Role.VIEWER)
    before = path.read_bytes()
    for change in (
        lambda: add_token(path, "a", Role.ADMIN),
        lambda: rotate_token(path, "b"),
        lambda: remove_token(path, "b"),
    ):
        with pytest.raises(InvalidTokens):
            change()
    assert path.read_bytes() == before
    with pytest.raises(InvalidTokens, match="daglens tokens add"):
        read_entries(path.parent / "nonesuch")
    with pytest.raises(InvalidTokens, match="nonesuch is no folder: make it"):
        add_token(path.parent / "nonesuch" / "tokens", "a", Role.VIEWER)


def test_changes_hold_at_once(path: Path) -> None:
    """What was added, rotated and removed holds at the next look, without a restart."""
    first = add_token(path, "a", Role.ADMIN)
    live = Tokens(path)
    second = add_token(path, "b", Role.VIEWER)
    assert live.find(second) == Identity("b", Role.VIEWER)
    rotated = rotate_token(path, "a")
    assert (live.find(first), live.find(rotated)) == (None, Identity("a", Role.ADMIN))
    generation = live.generation
    remove_token(path, "b")
    assert (live.find(second), live.generation > generation) == (None, True)


def test_every_way_of_changing_a_file_is_noticed(path: Path, tmp_path: Path) -> None:
    """Replaced by another file, written in place, its link turned to another: each is noticed."""
    add_token(path, "a", Role.VIEWER)
    other = tmp_path / "other"
    token = add_token(other, "b", Role.VIEWER)
    live = Tokens(path)
    other.rename(path)
    assert live.find(token) == Identity("b", Role.VIEWER)
    with path.open("r+b") as file:
        file.write(path.read_bytes().replace(b"b  viewer", b"c  viewer"))
    assert live.find(token) == Identity("c", Role.VIEWER)
    one, two, link = tmp_path / "one", tmp_path / "two", tmp_path / "link"
    tokens = [add_token(file, file.name, Role.VIEWER) for file in (one, two)]
    link.symlink_to(one)
    through = Tokens(link)
    link.unlink()
    link.symlink_to(two)
    assert [through.find(token) for token in tokens] == [None, Identity("two", Role.VIEWER)]


def test_a_file_that_breaks(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that goes, or that anybody may write, lets nobody in until it is repaired; the log says so once."""
    token = add_token(path, "a", Role.VIEWER)
    live = Tokens(path)
    for broken, repair in ((lambda: path.rename(path.with_name("gone")), "gone"), (lambda: path.chmod(0o666), "")):
        caplog.clear()
        broken()
        assert [live.find(token) for _ in range(3)] == [None] * 3
        assert len([record for record in caplog.records if "Nobody is let in" in record.message]) == 1
        if repair:
            path.with_name(repair).rename(path)
        path.chmod(0o600)
        assert live.find(token) == Identity("a", Role.VIEWER)


def test_a_file_that_could_not_be_read_for_a_moment(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A change that is met while the process has no descriptor left lets nobody in, says so once, and holds as soon as
    there is one again."""
    add_token(path, "ci", Role.VIEWER)
    live = Tokens(path)
    new = rotate_token(path, "ci")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        found = [live.find(new), live.find(new)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert found == [None, None]
    assert len([message for message in caplog.messages if "Nobody is let in" in message]) == 1
    assert live.find(new) == Identity("ci", Role.VIEWER)
