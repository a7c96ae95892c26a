"""
Text that cannot control the terminal it is printed on.

The text of events comes from untrusted publishers. So a visible mark replaces every character that
would control the terminal: escape sequences, other control characters, bidirectional overrides.
Source: Unicode Technical Report 36 on bidirectional spoofing; ECMA-48 for C0 and C1.
"""

from __future__ import annotations

import json
import re
from typing import Final

__all__ = ["one_line", "refusal_text"]

_UNPRINTABLE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff\ufff9-\ufffb]"
)
_MARK: Final = "\N{REPLACEMENT CHARACTER}"


def one_line(text: str) -> str:
    """
    Return a text that cannot control the terminal and has one line; never raises.

    Every line break, control, zero-width and bidirectional character is replaced by U+FFFD. The
    length stays as it is, without a limit.
    """
    return _UNPRINTABLE.sub(_MARK, text)


def refusal_text(body: bytes | bytearray | None) -> str:
    """
    Return the sentence in which a collector refuses a request, in one line; never raises.

    Args:
        body: Of its answer: JSON with ``detail`` or ``error``. Of anything else the first 200
            characters are returned; None or empty: nothing.
    """
    text = (body or b"").decode(errors="replace")
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    said = (found.get("detail") or found.get("error")) if isinstance(found, dict) else None
    return one_line(str(said or text[:200]))
