"""Writes the schema as SDL to `daglens/graphql/schema.graphql`: `python -m daglens.schema.export [--check]`."""

import sys
from pathlib import Path

from daglens.schema.build import build_schema

FILE = Path(__file__).resolve().parent.parent / "graphql" / "schema.graphql"

_HEAD = (
    "# The schema that daglens serves. Written by `python -m daglens.schema.export`; change daglens/schema instead.\n\n"
)


def sdl() -> str:
    """The text of the file."""
    return f"{_HEAD}{build_schema().as_str()}\n"


def main(arguments: list[str]) -> int:
    """Write the file, or with `--check` say whether it is up to date; the exit code."""
    if arguments not in ([], ["--check"]):
        print("usage: python -m daglens.schema.export [--check]", file=sys.stderr)
        return 2
    text = sdl()
    if not arguments:
        FILE.parent.mkdir(exist_ok=True)
        FILE.write_text(text, encoding="utf-8")
        return 0
    if FILE.is_file() and FILE.read_text(encoding="utf-8") == text:
        return 0
    print(f"{FILE.name} is not what the types say: run `python -m daglens.schema.export`.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
