"""Plain values against a `Config`: references looked up, unknown keys named, types checked, secrets noted."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Annotated, Any, Final, Union, get_args, get_origin, get_type_hints

from daglens.config.problems import KeyPath, ProblemCode, ProblemList, did_you_mean
from daglens.config.redaction import Redactor, looks_secret, secrets_in
from daglens.config.references import Unresolved, as_reference, look_up
from daglens.config.secrets import Secret
from daglens.config.yaml_file import BROKEN

_TEXT: Final = "must be text; put quotes around it"
_SENTENCES: Final = {
    "missing": "this key is missing",
    "missing_argument": "this key is missing",
    "missing_keyword_only_argument": "this key is missing",
    "string_type": _TEXT,
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "set_type": "must be a list",
    "frozen_set_type": "must be a list",
    "dict_type": "must hold keys and values",
    "mapping_type": "must hold keys and values",
    "dataclass_type": "must hold keys and values",
    "model_type": "must hold keys and values",
    "model_attributes_type": "must hold keys and values",
    "path_type": "must be a path",
    "none_required": "must be empty",
}


class ShapeReader:
    """Reads configurations out of one file; problems and secrets of all of them come together."""

    def __init__(self, folder: Path, environ: Mapping[str, str], problems: ProblemList, redactor: Redactor) -> None:
        self._folder = folder
        self._environ = environ
        self._problems = problems
        self._redactor = redactor
        self.from_files: set[str] = set()
        """Texts that `{file: …}` brought; kept in a file of their own, they are meant to be secret."""

    def text(self, raw: object, path: KeyPath) -> str | None:
        """A text or a reference to one; None after noting a problem."""
        value = self._resolve(raw, path) if as_reference(raw) else raw
        if value is BROKEN:
            return None
        if not isinstance(value, str) or not value:
            self._problems.add(ProblemCode.BAD_VALUE, path, _TEXT if value not in ("", None) else "this key is empty")
            return None
        return value

    def without_shape(self, raw: object, path: KeyPath) -> None:
        """Look up the references of a configuration whose class could not be loaded, for the problems they have."""
        self._prepare(Any, raw, path, _Walk(owner=""))

    def read(self, shape: type[Any], raw: object, path: KeyPath, owner: str) -> Any:
        """An instance of `shape` (a dataclass, or a pydantic model) made of `raw`; None after noting problems.

        `owner` is the class whose configuration it is, for the sentences.
        """
        if raw is BROKEN:
            return None
        raw = {} if raw is None else raw
        if not isinstance(raw, Mapping):
            self._problems.add(ProblemCode.BAD_VALUE, path, "must hold keys and values")
            return None
        walk = _Walk(owner)
        prepared = self._prepare(shape, raw, path, walk)
        value = self._validate(shape, prepared, path, walk)
        if value is not None:
            for secret in secrets_in(value):
                self._redactor.hide(secret)
        return None if walk.failed or value is None else value

    def _prepare(self, hint: Any, raw: Any, path: KeyPath, walk: _Walk) -> Any:
        """The value with its references looked up and its unknown keys taken out."""
        options = list(_options(hint))
        if as_reference(raw) and not any(_is_mapping(option) for option in options):
            raw = self._resolve(raw, path)
        if raw is BROKEN:
            walk.failed = True
            walk.quiet.add(path)
            return raw
        secret = any(_is_secret(option) for option in options)
        if secret or (path and looks_secret(str(path[-1]))):
            self._hide(raw)
        if secret:
            walk.secret.add(path)
        if isinstance(raw, Mapping):
            return self._prepare_mapping(options, raw, path, walk)
        if isinstance(raw, list):
            item = next((_item_hint(option) for option in options if _item_hint(option) is not None), Any)
            return [self._prepare(item, part, (*path, index), walk) for index, part in enumerate(raw)]
        return raw

    def _prepare_mapping(
        self, options: list[Any], raw: Mapping[str, Any], path: KeyPath, walk: _Walk
    ) -> dict[str, Any]:
        known: dict[str, Any] = {}
        free: Any = None if any(_fields(option) is not None for option in options) else Any
        for option in options:
            fields = _fields(option)
            for name, hint in (fields or {}).items():
                known.setdefault(name, hint)
            if fields is not None and _takes_more(option):
                free = Any
            elif fields is None and _is_mapping(option):
                free = (get_args(option) or (Any, Any))[-1]
        prepared: dict[str, Any] = {}
        for key, value in raw.items():
            if key in known or free is not None:
                prepared[key] = self._prepare(known.get(key, free), value, (*path, key), walk)
                continue
            walk.failed = True
            sentence = "unknown key" + did_you_mean(key, known)
            if not known:
                sentence += f"; {walk.owner} takes no configuration"
            self._problems.add(ProblemCode.UNKNOWN_KEY, (*path, key), sentence)
        return prepared

    def _resolve(self, raw: object, path: KeyPath) -> Any:
        reference = as_reference(raw)
        assert reference is not None
        if reference.operand is BROKEN:
            return BROKEN
        try:
            value = look_up(reference, self._folder, self._environ)
        except Unresolved as unresolved:
            self._problems.add(unresolved.code, path, str(unresolved))
            return BROKEN
        if reference.kind == "file":
            self.from_files.add(value)
            self._redactor.hide(value)
        return value

    def _hide(self, raw: object) -> None:
        for part in raw.values() if isinstance(raw, Mapping) else raw if isinstance(raw, list) else ():
            self._hide(part)
        if isinstance(raw, str | int | float) and not isinstance(raw, bool):
            self._redactor.hide(raw)

    def _validate(self, shape: type[Any], prepared: dict[str, Any], path: KeyPath, walk: _Walk) -> Any:
        import pydantic

        try:
            value = pydantic.TypeAdapter(shape).validate_python(prepared)
        except pydantic.ValidationError as refused:
            walk.failed = True
            self._note(refused.errors(include_url=False, include_input=False), prepared, path, walk)
            return None
        except Exception as error:
            # A Config is a plug-in author's code: annotations that can't be resolved, a __post_init__ that raises.
            walk.failed = True
            self._problems.add(
                ProblemCode.CLASS_FAILED,
                path,
                f"the Config of {walk.owner} can't be made of this",
                said=f"{type(error).__name__}: {error}",
            )
            return None
        for place in _bools_as_numbers(value, prepared, path):
            walk.failed = True
            self._problems.add(ProblemCode.BAD_VALUE, place, "must be a number, not true or false")
        return value

    def _note(self, errors: Sequence[Any], prepared: dict[str, Any], path: KeyPath, walk: _Walk) -> None:
        """pydantic's errors as sentences: one for each place, whatever number of alternatives failed there."""
        told: dict[KeyPath, list[tuple[str, str]]] = {}
        for error in errors:
            place = _place(prepared, error["loc"], error["type"] in _MISSING)
            told.setdefault((*path, *place), []).append((error["type"], error["msg"]))
        for place, causes in told.items():
            if any(place[: len(quiet)] == quiet for quiet in walk.quiet):
                continue
            if any(kind in _MISSING for kind, _ in causes):
                self._problems.add(ProblemCode.MISSING_KEY, place, _SENTENCES["missing"])
            elif any(place[: len(secret)] == secret for secret in walk.secret):
                # Nothing that a validator says of a secret is passed on: it may quote it.
                known = [_SENTENCES[kind] for kind, _ in causes if kind in _SENTENCES]
                self._problems.add(ProblemCode.BAD_VALUE, place, known[0] if known else "this value is not accepted")
            elif all(kind in _SENTENCES for kind, _ in causes):
                sentences = dict.fromkeys(_SENTENCES[kind] for kind, _ in causes)
                self._problems.add(ProblemCode.BAD_VALUE, place, ", or ".join(sentences))
            else:
                said = dict.fromkeys(_own_words(kind, message) for kind, message in causes)
                self._problems.add(ProblemCode.BAD_VALUE, place, "this value is not accepted", said=", or ".join(said))


_MISSING: Final = frozenset(kind for kind, sentence in _SENTENCES.items() if sentence == "this key is missing")


@dataclasses.dataclass
class _Walk:
    """What one reading has met.

    Attributes:
        failed: Something was complained of.
        quiet: Places of values that were complained of already.
        secret: Places of secrets.
    """

    owner: str
    failed: bool = False
    quiet: set[KeyPath] = dataclasses.field(default_factory=set)
    secret: set[KeyPath] = dataclasses.field(default_factory=set)


def _own_words(kind: str, message: str) -> str:
    if kind in _SENTENCES:
        return _SENTENCES[kind]
    message = message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return message.replace("Input should be", "must be", 1).replace("Input should", "must", 1)


def _place(prepared: Any, loc: Sequence[str | int], missing: bool) -> KeyPath:
    """pydantic's `loc` without the names of union members and validators that it puts in between."""
    place: list[str | int] = []
    value = prepared
    for index, part in enumerate(loc):
        if part in value if isinstance(value, Mapping) else isinstance(value, list) and part in range(len(value)):
            value = value[part]
        elif not (missing and index == len(loc) - 1):
            continue
        place.append(part)
    return tuple(place)


def _options(hint: Any) -> Iterator[Any]:
    """The alternatives of a type: members of unions, without Annotated and None."""
    origin = get_origin(hint)
    if origin is Annotated:
        yield from _options(get_args(hint)[0])
    elif origin in (Union, types.UnionType):
        for member in get_args(hint):
            yield from _options(member)
    elif hint is not type(None):
        yield hint


def _is_mapping(option: Any) -> bool:
    if _fields(option) is not None:
        return True
    origin = get_origin(option) or option
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _is_secret(option: Any) -> bool:
    return isinstance(option, type) and (issubclass(option, Secret) or hasattr(option, "get_secret_value"))


def _item_hint(option: Any) -> Any:
    origin = get_origin(option)
    if isinstance(origin, type) and issubclass(origin, list | tuple | Set | Sequence):
        arguments = get_args(option)
        return arguments[0] if arguments else Any
    return None


def _fields(option: Any) -> dict[str, Any] | None:
    """Names and types of what a structured type takes; None when it is no such type."""
    if not isinstance(option, type):
        return None
    model_fields = getattr(option, "model_fields", None)
    if isinstance(model_fields, dict):
        return {
            name: field.annotation for given, field in model_fields.items() for name in _aliases(given, field, option)
        }
    # typing's own is_typeddict doesn't know those of typing_extensions, which pydantic asks for.
    if not dataclasses.is_dataclass(option) and not hasattr(option, "__required_keys__"):
        return None
    try:
        hints = get_type_hints(option, include_extras=True)
    except Exception:
        hints = {}  # pydantic will say what is wrong with the annotations
    if dataclasses.is_dataclass(option):
        return {field.name: hints.get(field.name, Any) for field in dataclasses.fields(option) if field.init}
    return dict(hints)


def _aliases(name: str, field: Any, model: Any) -> Iterator[str]:
    alias = field.validation_alias or field.alias
    if isinstance(alias, str):
        yield alias
    if alias is None or model.model_config.get("populate_by_name") or model.model_config.get("validate_by_name"):
        yield name


def _takes_more(option: Any) -> bool:
    """A pydantic model that says so takes keys it doesn't know."""
    config = getattr(option, "model_config", None)
    return isinstance(config, dict) and config.get("extra") == "allow"


def _bools_as_numbers(value: Any, raw: Any, path: KeyPath) -> Iterator[KeyPath]:
    """Where pydantic took `yes` for 1: in YAML that is nearly always a mistake."""
    if isinstance(raw, bool):
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield path
    elif isinstance(raw, Mapping):
        for key, part in raw.items():
            inner = value.get(key) if isinstance(value, Mapping) else getattr(value, key, None)
            yield from _bools_as_numbers(inner, part, (*path, key))
    elif isinstance(raw, list) and isinstance(value, list | tuple) and len(raw) == len(value):
        for index, part in enumerate(raw):
            yield from _bools_as_numbers(value[index], part, (*path, index))
