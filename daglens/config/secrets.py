"""A text that never shows: passwords, tokens, connection URLs."""

from __future__ import annotations

import hmac
from typing import Any, NoReturn, SupportsIndex

MASK = "***"


class Secret:
    """A text whose every printed form is `***`; `reveal()` gives it to the one call that needs it.

    Give a field of a storage's `Config` this type, and no log line, error, GraphQL answer or `daglens instance info`
    shows its value. Two secrets are equal when their texts are. A secret is copied, but not pickled.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Raises TypeError (without the value) for anything but a string."""
        if not isinstance(text, str):
            raise TypeError(f"a Secret is made of a string, not of {type(text).__name__}")
        self._text = text

    def reveal(self) -> str:
        """The text itself. Don't keep it, print it or put it into a message."""
        return self._text

    def __repr__(self) -> str:
        return MASK

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return MASK

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        # Comparing in constant time costs nothing here and lets a token be compared with `==`.
        return hmac.compare_digest(
            self._text.encode("utf-8", "surrogatepass"), other._text.encode("utf-8", "surrogatepass")
        )

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        # A pickle is plain text to whoever finds it.
        raise TypeError("a Secret is not pickled; open the instance again where the secret is needed")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """How pydantic reads one: from a string or a Secret, nothing else; it writes `***`."""
        from pydantic_core import PydanticCustomError, core_schema

        def read(value: Any) -> Secret:
            if isinstance(value, Secret):
                return value
            if isinstance(value, str):
                return Secret(value)
            raise PydanticCustomError("string_type", "Input should be a valid string")

        return core_schema.no_info_plain_validator_function(
            read, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )
