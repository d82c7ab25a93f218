"""A run storage as somebody else might write it: it has a configuration of its own, with a secret in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from daglens.config.secrets import Secret
from daglens.storage.memory import InMemoryRunStorage


@dataclass(frozen=True, slots=True)
class AwesomeConfig:
    """What stands below `config:` in dagster.yaml.

    Attributes:
        secret_word: Opens the storage.
        awesomeness: How awesome, 0 to 11.
    """

    secret_word: Secret
    awesomeness: int = 11


class AwesomeRunStorage(InMemoryRunStorage):
    """Runs in memory, for who knows the secret word."""

    Config: ClassVar[type[Any]] = AwesomeConfig

    def __init__(self, secret_word: Secret, awesomeness: int = 11) -> None:
        """Raises ValueError, with the word in its message as careless code would have it, for the word "wrong"."""
        super().__init__()
        if secret_word.reveal() == "wrong":
            raise ValueError(f"cannot log in with {secret_word.reveal()}")
        self.secret_word = secret_word
        self.awesomeness = awesomeness

    @classmethod
    def from_config(cls, config: Any, home: Path) -> Self:
        """See Storage."""
        return cls(config.secret_word, config.awesomeness)
