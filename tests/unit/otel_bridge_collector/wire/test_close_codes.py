"""Close codes: valid on the wire, and in the range that says whether to reconnect."""

from __future__ import annotations

import pytest
from otel_bridge_collector.wire import close_codes
from otel_bridge_collector.wire.close_codes import CloseCode, try_again_later

CODES = [
    *(code for code in vars(close_codes).values() if isinstance(code, CloseCode)),
    try_again_later(60),
]


@pytest.mark.parametrize("code", CODES, ids=lambda code: str(code.code))
def test_a_reason_fits_a_close_frame(code: CloseCode) -> None:
    """A reason is at most 123 bytes of UTF-8, as RFC 6455 allows beside the code."""
    assert 0 < len(code.reason.encode()) <= 123


def test_codes_to_reconnect_after() -> None:
    """A client reconnects after 1012, 1013 and 3xxx, after 44xx once its side has changed."""
    codes = {code.code for code in CODES}
    reconnecting = {code for code in codes if code in (1012, 1013) or 3000 <= code < 4000}
    assert (codes, reconnecting) == ({1007, 1012, 1013, 3008, 4400, 4401}, {1012, 1013, 3008})


@pytest.mark.parametrize("code", CODES, ids=lambda code: str(code.code))
def test_a_code_is_one_that_a_server_may_send(code: CloseCode) -> None:
    """RFC 6455 has 1007, IANA 1012 and 1013; libraries and private use have ranges."""
    assert code.code in (1007, 1012, 1013) or 3000 <= code.code <= 4999
