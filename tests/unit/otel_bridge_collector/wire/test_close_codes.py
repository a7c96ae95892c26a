"""Close codes: fit for the wire, and clear about coming back."""

from __future__ import annotations

import pytest
from otel_bridge_collector.wire import close_codes
from otel_bridge_collector.wire.close_codes import CloseCode

CODES = [code for code in vars(close_codes).values() if isinstance(code, CloseCode)]


@pytest.mark.parametrize("code", CODES, ids=lambda code: str(code.code))
def test_a_reason_fits_a_close_frame(code: CloseCode) -> None:
    """A reason is at most 123 bytes of UTF-8, as RFC 6455 allows beside the code."""
    assert 0 < len(code.reason.encode()) <= 123


def test_who_may_come_back() -> None:
    """3xxx and 1012 are to be reconnected, 44xx only after a change on the client's side."""
    reconnecting = {code.code for code in CODES if code.code == 1012 or code.code < 4000}
    assert ({code.code for code in CODES}, reconnecting) == ({1012, 3008, 4400, 4401}, {1012, 3008})


@pytest.mark.parametrize("code", CODES, ids=lambda code: str(code.code))
def test_a_code_is_one_that_a_server_may_send(code: CloseCode) -> None:
    """A code is 1012 (IANA: service restart) or of the ranges free for libraries and for us."""
    assert code.code == 1012 or 3000 <= code.code <= 4999
