"""A plug-in author's Config may be a dataclass or a pydantic model, with any types in it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import pytest
from typing_extensions import TypedDict

from daglens.config.redaction import Redactor, shown
from daglens.config.secrets import Secret
from daglens.config.settings import Between
from daglens.config.shapes import ShapeReader
from daglens.config.yaml_file import parse_yaml


class Bucket(pydantic.BaseModel):
    """A nested model."""

    kind: Literal["bucket"]
    key: pydantic.SecretStr
    name: str = pydantic.Field(default="logs", alias="bucketName")


class Disk(pydantic.BaseModel):
    """Its alternative."""

    kind: Literal["disk"]
    path: Path = Path("x")


class Free(pydantic.BaseModel):
    """Takes any key beside its own."""

    model_config = pydantic.ConfigDict(extra="allow")

    own: int = 1


class Model(pydantic.BaseModel):
    """A Config as somebody who likes pydantic writes it."""

    store: Annotated[Bucket | Disk, pydantic.Field(discriminator="kind")] | None = None
    free: Free | None = None
    size: int | Literal["all"] = 1
    hosts: set[str] = pydantic.Field(default_factory=set, max_length=2)
    secret: Secret | None = None
    email: str = ""

    @pydantic.field_validator("email")
    @classmethod
    def check(cls, value: str) -> str:
        """Refuse, quoting the value."""
        if "@" not in value:
            raise ValueError(f"{value} has no @")
        return value


class Typed(TypedDict, total=False):
    """A typed dict in a dataclass."""

    depth: int


@dataclasses.dataclass(frozen=True)
class Dataclass:
    """A Config as a dataclass."""

    typed: Typed
    level: Annotated[int, Between(1, 3)] = 1
    where: Path | None = None
    anything: Any = None
    by_name: dict[str, Secret] = dataclasses.field(default_factory=dict)
    made: str = dataclasses.field(default="", init=False)


@dataclasses.dataclass(frozen=True)
class Dangling:
    """A Config whose annotations can't be resolved."""

    field: NoSuchType  # type: ignore[name-defined]  # noqa: F821


def read(shape: Any, text: str) -> tuple[Any, list[str], Redactor]:
    file = parse_yaml(f"config:\n  {text}\n".encode(), "dagster.yaml", Path())
    redactor = Redactor()
    reader = ShapeReader(Path(), {"WORD": "planted-word"}, file.problems, redactor)
    value = reader.read(shape, file.root["config"], ("config",), "Store")
    problems = [str(problem).partition(": config")[2] for problem in file.problems.all(redactor)]
    return value, problems, redactor


def test_values_become_the_types_of_the_config():
    """Paths, unions, nested models, typed dicts, and free values."""
    value, problems, _ = read(Model, "{store: {kind: bucket, key: k, bucketName: b}, size: all, hosts: [a, a]}")
    assert problems == []
    assert (value.store.name, value.size, value.hosts) == ("b", "all", {"a"})
    value, problems, _ = read(Model, "{store: {kind: disk}, free: {more: 2}}")
    assert problems == []
    assert shown(value)["store"] == {"kind": "disk", "path": "x"}
    assert shown(value)["free"] == {"own": 1, "more": 2}
    text = "{typed: {depth: 3}, where: /x, anything: {env: WORD}, by_name: {a: b, env: c}}"
    value, problems, _ = read(Dataclass, text)
    assert problems == []
    assert (value.typed, value.where, value.anything) == ({"depth": 3}, Path("/x"), "planted-word")
    assert value.by_name == {"a": Secret("b"), "env": Secret("c")}


@pytest.mark.parametrize(
    ("shape", "text", "problems"),
    [
        (Model, "{stor: x}", [".stor: unknown key, did you mean store?"]),
        (Model, "{store: {kind: bucket}}", [".store.key: this key is missing"]),
        (Model, "{store: {kind: bucket, key: k, name: b}}", [".store.name: unknown key"]),
        (Model, "{store: {kind: tape}}", [".store: this value is not accepted: Input tag 'tape' found"]),
        (Model, "{size: some}", [".size: this value is not accepted: must be a whole number, or must be 'all'"]),
        (Model, "{hosts: [a, b, c]}", [".hosts: this value is not accepted: Set should have at most 2 items"]),
        (Model, "{email: nobody}", [".email: this value is not accepted: nobody has no @"]),
        (Model, "{email: planted, secret: planted}", [".email: this value is not accepted: *** has no @"]),
        (Dataclass, "{}", [".typed: this key is missing"]),
        (Dataclass, "{typed: {deep: 1}}", [".typed.deep: unknown key, did you mean depth?"]),
        (Dataclass, "{typed: {depth: x}}", [".typed.depth: must be a whole number"]),
        (Dataclass, "{typed: {}, level: 4}", [".level: this value is not accepted: must be from 1 to 3"]),
        (Dataclass, "{typed: {}, made: x}", [".made: unknown key"]),
        (Dataclass, "{typed: {}, by_name: {a: 5}}", [".by_name.a: must be text; put quotes around it"]),
        (
            Dataclass,
            "{typed: {}, by_name: {a: {env: ABSENT}}}",
            [".by_name.a: the environment variable ABSENT is not set"],
        ),
        (Dangling, "{field: x}", [": the Config of Store can't be made of this: PydanticUserError"]),
        (dict, "{}", []),
        (int, "{a: b}", [": must be a whole number"]),
    ],
)
def test_mistakes_have_places_and_sentences(shape, text, problems):
    """The place is that of the file, whatever pydantic puts in between; a value is quoted by nobody but its author."""
    _, found, _ = read(shape, text)
    assert len(found) == len(problems)
    for line, start in zip(found, problems, strict=True):
        assert line.startswith(start)


def test_secrets_anywhere_in_a_config_leave_messages():
    """Those of nested models, mappings, environment variables, and keys that are only named like one."""
    text = (
        "{typed: {}, by_name: {a: planted-1, b: {env: WORD}}, anything: {password: planted-2, x: [{token: planted-3}]}}"
    )
    _, problems, redactor = read(Dataclass, text)
    assert problems == []
    assert redactor.clean("planted-1 planted-word planted-2 planted-3") == "*** *** *** ***"
    _, _, redactor = read(Model, "{store: {kind: bucket, key: planted-4, wrong: 1}}")
    assert redactor.clean("planted-4") == "***", "also when the configuration as a whole is refused"
