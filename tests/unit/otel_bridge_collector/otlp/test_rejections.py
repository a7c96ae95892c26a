"""What a sender reads of its rejected spans: how many, why, an example and the cure."""

from __future__ import annotations

import pytest
from otel_bridge_collector.otlp.rejections import Rejection, Rejections


def test_each_cause_has_its_count_sentence_and_first_example() -> None:
    """Causes are not mixed, and a long value is shortened."""
    rejected = Rejections()
    rejected.add(Rejection.ID, "traceId 'xyz'")
    rejected.add(Rejection.ID, "traceId 'abc'")
    rejected.add(Rejection.PROJECT, "p" * 1000, count=3)
    assert rejected.total == 5
    first, second = str(rejected).split("; 3 rejected")
    assert first.startswith("2 rejected: a trace id has 16 bytes")
    assert first.endswith("(traceId 'xyz')")
    assert "nexus.project.id" in second
    assert len(second) < 400


def test_nothing_rejected_is_no_text() -> None:
    """An answer without rejections says nothing."""
    assert (str(Rejections()), Rejections().total) == ("", 0)


@pytest.mark.parametrize("cause", list(Rejection))
def test_every_cause_has_a_sentence(cause: Rejection) -> None:
    """A cause without a sentence would leave the sender in the dark."""
    rejected = Rejections()
    rejected.add(cause)
    assert len(str(rejected)) > 40
