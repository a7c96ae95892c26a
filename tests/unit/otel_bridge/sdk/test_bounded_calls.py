"""Calls that may hang, bounded by the caller's time."""

from __future__ import annotations

import threading

import pytest

from otel_bridge.sdk.bounded_calls import call_within


def test_all_calls_run_and_their_errors_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """One that raises keeps none of the others from running, and none is late."""
    ran: list[str] = []

    def fail() -> None:
        raise ValueError("refused")

    assert call_within(10, [lambda: ran.append("a"), fail, lambda: ran.append("b")])
    assert sorted(ran) == ["a", "b"]
    assert [record.getMessage() for record in caplog.records] == [
        "otel-bridge could not flush an exporter"
    ]


def test_a_call_that_hangs_is_left_behind() -> None:
    """The caller goes on when its time is over; the call ends later, on its own thread."""
    may_end, has_ended = threading.Event(), threading.Event()

    def hang() -> None:
        may_end.wait(20)
        has_ended.set()

    assert not call_within(0, [hang])
    may_end.set()
    assert has_ended.wait(20)
