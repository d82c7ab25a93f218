"""Arrows point one way: cli, server -> schema -> resolvers -> instance -> config -> storage; recorder -> instance."""

import ast
from pathlib import Path

import pytest

import daglens

PACKAGE = Path(daglens.__file__).parent

# What each part may import besides itself, of the package's own.
BELOW = {
    "storage": {"config.secrets"},
    "config": {"storage", "access"},
    "access": {"storage"},
    "instance_location": {"storage"},
    "temporary_home": set(),
    "instance": {"storage", "config", "access", "instance_location", "temporary_home"},
    "upkeep": {"storage", "instance"},
    "bundles": {"storage", "config", "instance"},
    "retention": {"storage", "config", "instance", "upkeep"},
    "recorder": {"storage", "config", "instance"},
    "demo": {"storage", "instance", "recorder"},
    "resolvers": {"storage", "config", "instance", "instance_location", "upkeep", "access"},
    "schema": {"storage", "config", "instance", "instance_location", "resolvers", "access"},
    "server": {
        "storage",
        "config",
        "instance",
        "instance_location",
        "upkeep",
        "retention",
        "resolvers",
        "schema",
        "access",
    },
    "doctor": {"storage", "config", "instance", "instance_location", "access", "server"},
    "cli": {
        "doctor",
        "storage",
        "config",
        "instance",
        "instance_location",
        "upkeep",
        "retention",
        "resolvers",
        "bundles",
        "recorder",
        "demo",
        "server",
        "schema",
        "access",
    },
    "testing": {"storage", "config", "instance", "upkeep", "recorder", "resolvers", "schema", "server", "access"},
    "__main__": {"cli"},
    "__init__": {"instance", "recorder", "config", "storage"},
}

MODULES = sorted(path for path in PACKAGE.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Modules of the package that a file imports, anywhere in it, without `daglens.`; for checking types counts too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides which way it points"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.removeprefix("daglens.") for name in found if name.startswith("daglens.")} - {"__version__"}


def part_of(path: Path) -> str:
    """The part of the package that a file belongs to."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    """A module imports only its own part and those that stand below it."""
    part = part_of(path)
    assert part in BELOW, f"{part} is a new part: say in this test what stands below it"
    for name in imported(path):
        allowed = BELOW[part] | {part}
        assert any(name == below or name.startswith(f"{below}.") for below in allowed), f"{part} imports {name}"


def test_no_package_shadows_graphql_core():
    """daglens/graphql holds documents only: with an __init__.py the link at the root would shadow graphql-core."""
    assert not list((PACKAGE / "graphql").rglob("*.py"))
