"""Reading the standard library: which files there are, and what stands in them."""

from __future__ import annotations

import ast
import os
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from daglens.recorder import current_step

# Tests, tools and what others have installed there are no part of the library that programs import.
LEFT_OUT = frozenset(
    {
        "__pycache__",
        "dist-packages",
        "ensurepip",
        "idlelib",
        "lib2to3",
        "pydoc_data",
        "site-packages",
        "test",
        "tests",
        "turtledemo",
    }
)


@dataclass(frozen=True, slots=True)
class FileCount:
    """What stands in one source file; `documented`: it begins with a docstring; `unreadable` says why nothing was
    counted."""

    package: str
    path: str
    lines: int = 0
    functions: int = 0
    classes: int = 0
    documented: bool = False
    unreadable: str | None = None


def library_root() -> Path:
    """The folder of the standard library."""
    return Path(sysconfig.get_path("stdlib"))


def find_sources(root: Path) -> list[str]:
    """Paths of the library's source files below `root`, sorted."""
    found: list[str] = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(set(folders) - LEFT_OUT)
        found.extend(os.path.relpath(os.path.join(folder, name), root) for name in names if name.endswith(".py"))
    return sorted(found)


def package_of(path: str) -> str:
    """The package that a file belongs to: its first folder, or the module itself."""
    first, _, rest = path.partition(os.sep)
    return first if rest else first.removesuffix(".py")


def halves(root: Path, paths: Iterable[str]) -> tuple[list[str], list[str]]:
    """The files in two parts of about as many bytes; a package is in one of them."""
    sizes: Counter[str] = Counter()
    by_package: dict[str, list[str]] = {}
    for path in paths:
        by_package.setdefault(package_of(path), []).append(path)
        sizes[package_of(path)] += (root / path).stat().st_size
    parts: tuple[list[str], list[str]] = ([], [])
    filled = [0, 0]
    for package, size in sizes.most_common():
        smaller = 0 if filled[0] <= filled[1] else 1
        parts[smaller].extend(by_package[package])
        filled[smaller] += size
    return sorted(parts[0]), sorted(parts[1])


def parse_files(root: str, paths: Sequence[str], pause_s: float) -> list[FileCount]:
    """Count functions, classes and lines of each file. Runs in a process of its own.

    Says on stdout which packages are large, on stderr what can't be read. `pause_s`: seconds spread over all packages,
    so that it can be watched.
    """
    step = current_step()
    counts: list[FileCount] = []
    packages = list(dict.fromkeys(package_of(path) for path in paths))
    for number, package in enumerate(packages, 1):
        of_package = [count_file(root, path) for path in paths if package_of(path) == package]
        counts.extend(of_package)
        lines = sum(count.lines for count in of_package)
        for count in of_package:
            if count.unreadable:
                print(f"{count.path}: left out, {count.unreadable}", file=sys.stderr)
        if lines >= 5_000 or number == len(packages):
            print(f"{number:>3}/{len(packages)}  {package:<16} {lines:>6} lines in {len(of_package)} files")
        time.sleep(pause_s / len(packages))
    silent = [count.path for count in counts if not count.documented]
    if silent:
        print(f"warning: {len(silent)} files say nothing about themselves, {silent[0]} for one", file=sys.stderr)
    if step is not None:
        step.log.info("parsed %d files of %d packages", len(counts), len(packages))
        step.output("counts", {"files": len(counts), "lines": sum(count.lines for count in counts)}, type_check=True)
    return counts


def count_file(root: str, path: str) -> FileCount:
    """What stands in one file."""
    package = package_of(path)
    try:
        source = Path(root, path).read_bytes()
        tree = ast.parse(source, path)
        nodes = Counter(type(node) for node in ast.walk(tree))
    except (OSError, SyntaxError, ValueError) as error:
        return FileCount(package, path, unreadable=f"{type(error).__name__}: {error}")
    functions = nodes[ast.FunctionDef] + nodes[ast.AsyncFunctionDef]
    documented = ast.get_docstring(tree) is not None
    return FileCount(package, path, source.count(b"\n"), functions, nodes[ast.ClassDef], documented)


def by_package(counts: Iterable[FileCount]) -> Mapping[str, tuple[int, int, int, int]]:
    """Files, lines, functions and classes of each package, the one with most lines first."""
    sums: dict[str, list[int]] = {}
    for count in counts:
        one = sums.setdefault(count.package, [0, 0, 0, 0])
        for index, value in enumerate((1, count.lines, count.functions, count.classes)):
            one[index] += value
    ordered = sorted(sums.items(), key=lambda item: (-item[1][1], item[0]))
    return {package: (one[0], one[1], one[2], one[3]) for package, one in ordered}
