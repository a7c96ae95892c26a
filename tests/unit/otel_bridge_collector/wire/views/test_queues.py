"""The rows of queues: what is unknown is null."""

from __future__ import annotations

from typing import get_args

from otel_bridge_collector.wire.views.queues import QueueHead, QueueRow, StuckReason


def test_a_depth_may_be_unknown() -> None:
    """A queue in which jobs are known to wait is shown before its depth is reported."""
    for name in ("depth", "at", "oldest", "workers", "stuck"):
        assert type(None) in get_args(QueueRow.model_fields[name].annotation), name


def test_the_head_has_all_of_the_row() -> None:
    """A page that shows one queue says the same of it as the list does."""
    assert set(QueueRow.model_fields) < set(QueueHead.model_fields)
    assert all(f"``{reason}``" in (QueueRow.__doc__ or "") for reason in get_args(StuckReason))
