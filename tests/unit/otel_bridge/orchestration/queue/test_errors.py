"""Errors that handlers raise on purpose."""

from __future__ import annotations

from otel_bridge.errors import OtelBridgeError
from otel_bridge.orchestration.queue.errors import PageBrokenError, PermanentJobError


def test_a_damaged_page_is_named_with_its_problem() -> None:
    """The text is what a job's error shows; the parts can be read one by one."""
    error = PageBrokenError("a.txt", "3 control characters")
    assert str(error) == "a.txt: 3 control characters"
    assert (error.page_id, error.problem) == ("a.txt", "3 control characters")


def test_only_a_permanent_error_ends_a_job_at_once() -> None:
    """A damaged page is not a permanent error: a lenient attempt may read it."""
    assert issubclass(PermanentJobError, OtelBridgeError)
    assert issubclass(PageBrokenError, OtelBridgeError)
    assert not issubclass(PageBrokenError, PermanentJobError)
