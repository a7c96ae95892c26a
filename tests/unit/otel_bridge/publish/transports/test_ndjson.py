"""Lines of a body that an untrusted client sent."""

from __future__ import annotations

import pytest

from otel_bridge.errors import TransportRejectedError
from otel_bridge.publish.transports.ndjson import lines_of, parse_line


@pytest.mark.parametrize(
    ("body", "lines"),
    [(b"", []), (b"a", [b"a"]), (b"a\nb\n", [b"a", b"b"]), (b"a\n\n", [b"a", b""])],
)
def test_the_last_line_end_is_optional(body: bytes, lines: list[bytes]) -> None:
    """An empty line in between stays one, so that the numbers of the others are right."""
    assert lines_of(body) == lines


@pytest.mark.parametrize("line", [b"", b"{", b"NaN", b"\xff"])
def test_what_is_not_json_is_named_by_its_number(line: bytes) -> None:
    """The line itself, which may hold anything, is not quoted."""
    with pytest.raises(TransportRejectedError, match=r"^line 7 is not JSON$"):
        parse_line(line, 7)
    assert parse_line(b'{"a": 1}', 7) == {"a": 1}
