"""Ids that nobody else has, from the system's random numbers.

The modules uuid and secrets give the same, and load platform, hmac, base64 and random for it: 4 ms, which each
`daglens record` would add to its command.
"""

from __future__ import annotations

import os


def random_id(random_bytes: int = 16) -> str:
    """Hexadecimal digits, two for each random byte."""
    return os.urandom(random_bytes).hex()


def random_uuid() -> str:
    """A UUID of version 4 (RFC 9562), as `str(uuid.uuid4())` gives one."""
    drawn = bytearray(os.urandom(16))
    drawn[6] = drawn[6] & 0x0F | 0x40
    drawn[8] = drawn[8] & 0x3F | 0x80
    digits = drawn.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
