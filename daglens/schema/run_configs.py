"""What runs were configured with, as JSON and as YAML."""

import json as json_library
from collections.abc import Sequence
from typing import Any, NamedTuple

import yaml
from anyio import to_thread

from daglens.storage.records import RunRecord

# The one that libyaml brings is ten times as quick; not every installation has it.
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class RunConfig(NamedTuple):
    """A run's configuration, as far as it was asked for: its JSON value, and the same as YAML."""

    value: Any
    yaml: str


async def configs_of(records: Sequence[RunRecord], *, json: bool, as_yaml: bool) -> Sequence[RunConfig]:
    """The configurations of some runs, one for each."""
    if as_yaml:
        # A large one takes long enough to be felt by everybody else on the event loop.
        return await to_thread.run_sync(lambda: [_with_yaml(record) for record in records])
    if json:
        return [RunConfig(_value(record), "") for record in records]
    return [RunConfig({}, "")] * len(records)


def _with_yaml(record: RunRecord) -> RunConfig:
    value = _value(record)
    return RunConfig(value, yaml.dump(value, Dumper=_DUMPER, sort_keys=False, allow_unicode=True))


def _value(record: RunRecord) -> Any:
    try:
        value = json_library.loads(record.run_config)
    except (ValueError, RecursionError):
        return record.run_config
    # The field is never null, though what was handed in may have been.
    return {} if value is None else value
