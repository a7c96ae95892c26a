"""Instrumentation is disabled inside the block, and only there."""

from __future__ import annotations

import pytest
from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from otel_bridge.suppression import suppress_instrumentation


def test_instrumentation_is_off_inside_the_block_only() -> None:
    """Instrumented libraries create no span inside the block, and do so again after it."""
    with suppress_instrumentation():
        assert not is_instrumentation_enabled()
    assert is_instrumentation_enabled()


def test_an_exception_switches_it_on_again() -> None:
    """After a call that raises, the context of the caller is as it was before."""

    @suppress_instrumentation()
    def fail() -> None:
        raise ValueError(is_instrumentation_enabled())

    for _ in range(2):
        with pytest.raises(ValueError, match="False"):
            fail()
        assert is_instrumentation_enabled()
