"""URLs with passwords of every kind, and the parts of a password that nothing may show."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import strategies as st

__all__ = ["PASSWORD_URLS", "shown_pieces"]

LETTERS = "QZXJV"
"""Letters that no message of ours or of a library has next to each other."""
_PASSWORDS = st.text(LETTERS + "@/#?:%&=+,;[]()<>\"'\\ \tü℀", min_size=3, max_size=20)
_FORMS = (
    "user:{password}@127.0.0.1:1/0",
    ":{password}@127.0.0.1:1",
    "{password}@127.0.0.1:1/service",
    "user:{password}@127.0.0.1:1,127.0.0.1:2/service",
    "127.0.0.1:1/service?sentinel_password={password}",
    "127.0.0.1:1/0?password={password}",
    "127.0.0.1:1/0?db=0&password={password}&protocol=3",
)
_SCHEMES = (
    *("redis", "rediss", "valkey", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster"),
    *("http", "https", "postgresql", "kafka"),
)

PASSWORD_URLS = st.tuples(st.sampled_from(_SCHEMES), st.sampled_from(_FORMS), _PASSWORDS).map(
    lambda parts: (f"{parts[0]}://{parts[1].format(password=parts[2])}", parts[2])
)
"""Pairs of a URL and the password in it, which is written as it is, without percent-encoding."""


def shown_pieces(password: str, text: str) -> list[str]:
    """Parts of the password in a text: of three characters, one of them a letter at least."""
    return [piece for piece in _pieces_of(password) if piece in text]


def _pieces_of(password: str) -> Iterator[str]:
    for at in range(len(password) - 2):
        piece = password[at : at + 3]
        if any(letter in piece for letter in LETTERS):
            yield piece
