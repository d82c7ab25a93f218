"""What is said when the class of a section can't be made of its configuration."""

from __future__ import annotations

from pathlib import Path

from daglens.config.plugins import Unusable
from daglens.config.problems import ConfigError, KeyPath, ProblemCode, ProblemList
from daglens.config.redaction import Redactor


def refusal(
    error: Exception, class_name: str, file: Path | None, line: int | None, place: KeyPath, redactor: Redactor
) -> ConfigError:
    """The error as one problem of the file, at its line."""
    if isinstance(error, Unusable):
        code, sentence, said = error.code, error.sentence, ""
    else:
        code = ProblemCode.CLASS_FAILED
        sentence = f"{class_name} could not be made of this configuration"
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    problems = ProblemList(file.name if file else "(no dagster.yaml)", lambda _: line)
    problems.add(code, place, sentence, said=said)
    return ConfigError(file, problems.all(redactor))
