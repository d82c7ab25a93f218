"""Artifact storages with one mistake each."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from daglens.storage.artifacts import LocalArtifactStorage
from daglens.storage.errors import ArtifactNotFound, InvalidName
from daglens.storage.names import check_name
from daglens.storage.records import Artifact, ArtifactSlice


class _Listing(LocalArtifactStorage):
    """Base: pages cut from the whole list that `_all` gives."""

    def _all(self, run_id: str) -> list[Artifact]:
        return list(super().list(run_id, None, 1_000_000).artifacts)

    def list(self, run_id: str, after: str | None = None, limit: int = 100) -> ArtifactSlice:
        found = [one for one in self._all(run_id) if after is None or one.path > after]
        return ArtifactSlice(found[:limit], len(found) > limit)


class WalksFolderByFolder(_Listing):
    """Lists in the order of names in each folder, `a/x` before `a-b/x`."""

    def _all(self, run_id: str) -> list[Artifact]:
        return sorted(super()._all(run_id), key=lambda one: one.path.split("/"))


class SkipsAtPageBorder(_Listing):
    """The first file of a following page is left out."""

    def list(self, run_id: str, after: str | None = None, limit: int = 100) -> ArtifactSlice:
        page = super().list(run_id, after, limit)
        return page if after is None else ArtifactSlice(page.artifacts[1:], page.has_more)


class PagesByPosition(_Listing):
    """A page goes on behind the position of a path, so a path that is gone begins anew."""

    def list(self, run_id: str, after: str | None = None, limit: int = 100) -> ArtifactSlice:
        found = self._all(run_id)
        paths = [one.path for one in found]
        start = paths.index(after) + 1 if after in paths else 0
        return ArtifactSlice(found[start : start + limit], len(found) > start + limit)


class GuessesThatThereIsMore(_Listing):
    """A full page always says that there are more."""

    def list(self, run_id: str, after: str | None = None, limit: int = 100) -> ArtifactSlice:
        page = super().list(run_id, after, limit)
        return ArtifactSlice(page.artifacts, len(page.artifacts) == limit)


class OneFolderDeep(_Listing):
    """Files in folders below folders are not listed."""

    def _all(self, run_id: str) -> list[Artifact]:
        return [one for one in super()._all(run_id) if one.path.count("/") < 2]


class TimesInSeconds(_Listing):
    """Times lose their microseconds."""

    def _all(self, run_id: str) -> list[Artifact]:
        return [
            one._replace(modified_at_us=one.modified_at_us // 1_000_000 * 1_000_000) for one in super()._all(run_id)
        ]


class FollowsLinks(_Listing):
    """Lists and opens whatever a link leads to."""

    def _all(self, run_id: str) -> list[Artifact]:
        try:
            folder = self._folders.path(run_id)
        except InvalidName:
            return []
        found = [path for path in folder.rglob("*") if path.is_file()]
        return [Artifact(str(path.relative_to(folder)), path.stat().st_size, 0) for path in sorted(found)]


class OpensAnyPath(LocalArtifactStorage):
    """Joins the path to the folder and opens what is there."""

    def open(self, run_id: str, path: str) -> BinaryIO:
        try:
            return super().open(run_id, path)
        except ArtifactNotFound:
            joined = os.path.join(self._folders.path(run_id), path)
            if "\0" in path or not path.isascii() or not os.path.isfile(joined):
                raise
            return open(joined, "rb")


class WaitsForPipes(LocalArtifactStorage):
    """Lists whatever is no folder, pipes included."""

    def list(self, run_id: str, after: str | None = None, limit: int = 100) -> ArtifactSlice:
        page = super().list(run_id, after, limit)
        pipe = self._folders.path(run_id) / "pipe" if run_id == "run" else None
        if pipe is not None and pipe.exists():
            return ArtifactSlice((*page.artifacts, Artifact("pipe", 0, 0)), page.has_more)
        return page


class MakesFoldersByLooking(LocalArtifactStorage):
    """A folder of every id that somebody asks for."""

    def list(self, run_id: str, after: str | None = None, limit: int = 100) -> ArtifactSlice:
        self.folder(run_id)
        return super().list(run_id, after, limit)


class DeletesThroughLinks(LocalArtifactStorage):
    """Deletes what links lead to as well."""

    def delete(self, run_id: str) -> int:
        try:
            folder = self._folders.path(run_id)
        except InvalidName:
            return 0
        for path in list(folder.rglob("*")):
            if path.is_symlink() and path.is_file():
                path.resolve().unlink()
        return super().delete(run_id)


class CountsFilesNotBytes(LocalArtifactStorage):
    """Answers a deletion with how many files went."""

    def delete(self, run_id: str) -> int:
        files = len(self.list(run_id, None, 1_000_000).artifacts)
        return min(files, super().delete(run_id))


class OneFolderForAll(LocalArtifactStorage):
    """Ids that differ by case share a folder."""

    def folder(self, run_id: str) -> Path:
        return super().folder(check_name(run_id, "run id").lower())

    def list(self, run_id: str, after: str | None = None, limit: int = 100) -> ArtifactSlice:
        return super().list(run_id.lower(), after, limit)


class TakesAnyName(LocalArtifactStorage):
    """An empty id is one like any other."""

    def folder(self, run_id: str) -> Path:
        return super().folder(run_id or "unnamed")
