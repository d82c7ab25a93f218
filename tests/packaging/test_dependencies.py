"""What the package imports, it asks for: nothing works only because another dependency happens to bring it."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions, requires
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "daglens"

# Imported without being asked for.
ALLOWED = {
    "_typeshed",  # for type checkers only
    "pydantic_core",  # pydantic's own half; pydantic pins its version
}


def imported_packages(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield alias.name.partition(".")[0], path
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                yield node.module.partition(".")[0], path


def declared(*extras: str) -> set[str]:
    """Names of the distributions that daglens asks for, with these extras."""
    names = set()
    for requirement in requires("daglens") or []:
        extra = re.search(r"extra == ['\"](.+?)['\"]", requirement)
        if extra is None or extra[1] in extras:
            names.add(_normal(re.split(r"[^\w.-]", requirement, maxsplit=1)[0]))
    return names


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# Parts that work only where an extra is installed, and say so where it isn't.
EXTRAS = {"testing": "test", "storage/object_store": "objectstore", "server/telemetry/tracing.py": "otel"}


def extras_of(path: Path) -> list[str]:
    return [extra for part, extra in EXTRAS.items() if path.is_relative_to(PACKAGE / part)]


def test_imports_are_declared() -> None:
    """Each third-party import is a dependency, or one of the extra that its part is for."""
    distributions = packages_distributions()
    undeclared = {
        f"{name} in {path.relative_to(PACKAGE)}"
        for name, path in imported_packages(PACKAGE)
        if name not in sys.stdlib_module_names | ALLOWED | {"daglens"}
        and not {_normal(found) for found in distributions.get(name, [])} & declared(*extras_of(path))
    }
    assert undeclared == set()
