"""What is called inside makes no span, and nothing of it stays behind."""

from __future__ import annotations

import pytest
from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from otel_bridge.suppression import suppress_instrumentation


def test_instrumentation_is_off_inside_alone() -> None:
    """Instrumented libraries make no span inside, and make them again behind it."""
    with suppress_instrumentation():
        assert not is_instrumentation_enabled()
    assert is_instrumentation_enabled()


def test_an_exception_switches_it_on_again() -> None:
    """A call that fails leaves the caller's context as it was."""

    @suppress_instrumentation()
    def fail() -> None:
        raise ValueError(is_instrumentation_enabled())

    for _ in range(2):
        with pytest.raises(ValueError, match="False"):
            fail()
        assert is_instrumentation_enabled()
