"""From `module` and `class` to a class that fulfils a contract, or the sentence that says why not."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Final

from daglens.access import Authenticator
from daglens.config.loaded import SECTION_NAMES
from daglens.config.problems import ProblemCode, did_you_mean
from daglens.storage.contract import ArtifactStorage, ComputeLogManager, EventLogStorage, RunStorage

CONTRACTS: Final[Mapping[str, type[Any]]] = dict(
    zip(SECTION_NAMES, (RunStorage, EventLogStorage, ComputeLogManager, ArtifactStorage), strict=True)
)
"""The section names, in the order in which storages are opened, and what a class named there has to fulfil."""

AUTHENTICATOR: Final = "authenticator"
"""The key below `daglens: access:` that names a class as the sections do."""

_ALL_CONTRACTS: Final[Mapping[str, type[Any]]] = {**CONTRACTS, AUTHENTICATOR: Authenticator}

KIND_NAMES: Final = {
    "run_storage": "a run storage",
    "event_log_storage": "an event log storage",
    "compute_logs": "a compute log manager",
    "local_artifact_storage": "an artifact storage",
    AUTHENTICATOR: "an authenticator",
}


class Unusable(Exception):
    """A class can't be used. `key` is the key to blame, "module" or "class"; `said` what the module's own code said."""

    def __init__(self, code: ProblemCode, key: str, sentence: str, said: str = "") -> None:
        self.code = code
        self.key = key
        self.sentence = sentence
        self.said = said
        super().__init__(sentence)


def load_class(module_name: str, class_name: str) -> type[Any]:
    """Import the module and take the class out of it.

    Raises:
        Unusable: No such module, it raises on import, no such class, or it is no class.
    """
    module = _import(module_name)
    try:
        found = getattr(module, class_name)
    except Exception:
        classes = [name for name, value in vars(module).items() if isinstance(value, type) and not name.startswith("_")]
        raise Unusable(
            ProblemCode.CLASS_NOT_FOUND,
            "class",
            f"the module {module_name} has no such class{did_you_mean(class_name, classes)}",
        ) from None
    if not isinstance(found, type):
        raise Unusable(ProblemCode.CLASS_NOT_FOUND, "class", f"this is no class but a {type(found).__name__}")
    return found


def check_contract(storage_class: type[Any], section: str) -> None:
    """Whether the class has every method of the section's contract.

    Raises:
        Unusable: It is a storage of another kind, or methods are missing.
    """
    missing = missing_methods(storage_class, section)
    if not missing:
        return
    for other, contract in _ALL_CONTRACTS.items():
        if other != section and (contract in storage_class.__mro__ or not missing_methods(storage_class, other)):
            raise Unusable(
                ProblemCode.WRONG_KIND,
                "class",
                f"this is {KIND_NAMES[other]} and belongs under {other}; {section} takes {KIND_NAMES[section]}",
            )
    noun = "method" if len(missing) == 1 else "methods"
    raise Unusable(
        ProblemCode.MISSING_METHODS,
        "class",
        f"this is not {KIND_NAMES[section]}: it lacks the {noun} {', '.join(missing)}",
    )


def missing_methods(storage_class: type[Any], section: str) -> list[str]:
    """Names of the contract that the class does not have, or has only as the contract's abstract ones."""
    missing = []
    for name in contract_names(_ALL_CONTRACTS[section]):
        member = inspect.getattr_static(storage_class, name, None)
        if member is None or getattr(member, "__isabstractmethod__", False):
            missing.append(name)
    return missing


def contract_names(contract: type[Any]) -> list[str]:
    """Methods and properties of a contract, in the order in which it says them."""
    names: dict[str, None] = {}
    for base in reversed(contract.__mro__):
        # `Config` is no method: a class without one takes no configuration.
        if getattr(base, "_is_protocol", False):
            names |= {name: None for name in vars(base) if not name.startswith("_") and name != "Config"}
    return list(names)


def _import(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise Unusable(ProblemCode.BAD_VALUE, "module", "this is not the dotted name of a module")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise Unusable(ProblemCode.MODULE_NOT_FOUND, "module", _not_found(name, error.name)) from None
        raise _raised(error) from None
    except (Exception, SystemExit) as error:
        # SystemExit too: a script without a __main__ guard must not end the server without a word.
        raise _raised(error) from None


def _raised(error: BaseException) -> Unusable:
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return Unusable(ProblemCode.MODULE_FAILED, "module", "the module is there, but importing it raised an error", said)


def _not_found(name: str, missing: str) -> str:
    parent_name, _, last = missing.rpartition(".")
    parent = sys.modules.get(parent_name)
    if parent is None:
        return (
            f"no package {missing} is installed in the Python that runs daglens ({sys.prefix}); install it there, or "
            "name its folder in PYTHONPATH"
        )
    if isinstance(getattr(parent, last, None), type):
        return f"this names a class; write module: {parent_name} and class: {last}"
    modules = [module.name for module in pkgutil.iter_modules(getattr(parent, "__path__", ()))]
    suggestion = did_you_mean(last, modules)
    if suggestion:
        suggestion = suggestion.replace(", did you mean ", f", did you mean {parent_name}.")
    return f"the package {parent_name} has no module {last}{suggestion}"
