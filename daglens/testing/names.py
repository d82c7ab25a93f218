"""Names that clients send: odd ones, of which a storage must keep every one apart, and ones that no storage takes."""

from __future__ import annotations

from typing import Final

ORDINARY_NAMES: Final = ("a_b", "a-b.c", "7d1c9f3e-2f0a-4c51-9a39-0f1b7f6c2f7e", "Über_größe", "日本語", "with space")
"""Every storage keeps these."""

ODD_NAMES: Final = (
    *ORDINARY_NAMES,
    *("A_b", "a_B", "aXb", "a__b", "_", "%", "100%", "a%b", "a\\b", "\\", "*", "?", "[a-z]", "~", "a~2"),
    *("'", '"', "`", "''", "'; DROP TABLE runs; --", "$1", ":x", "{}", "%s", "${HOME}", "$(id)", "a;b", "a,b", "a|b"),
    *(
        ".",
        "..",
        "../..",
        "../../etc/passwd",
        "/etc/passwd",
        "a/b",
        "a//b",
        ".hidden",
        "C:\\x",
        "con",
        "a:b",
        "file.out",
    ),
    *(
        " ",
        " a",
        "a ",
        "a\tb",
        "a\nb",
        "a\r\nb",
        "\x01",
        "\x1b[31m",
        "\x1e",
        "a\x1eb",
        "\x7f",
        "\u2028",
        "\ufeff",
        "\uffff",
        "\u202eabc",
    ),
    *("null", "None", "NULL", "true", "0", "00", "-1", "1", "01", "1e5", "0x1", "NaN"),
    *("é", "e\u0301", "ß", "SS", "ǅ", "İ", "i", "I", "𝔘", "😀", "👩‍👩‍👧", "\U0010ffff"),
    *("x" * 255, "x" * 254, "ü" * 255, "😀" * 255),
)
"""Each is stored, different from every other, or refused with InvalidName."""

IMPOSSIBLE_NAMES: Final = ("", "x" * 256, "x" * 4096, "a\0b", "\0", "\ud800", "a\udfffb", "\udcff")
"""Every storage refuses these, and nothing is ever found under them."""
