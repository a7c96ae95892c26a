"""``causes``: what several states know of a cause of failures adds up to what one knows."""

from __future__ import annotations

import random
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from otel_bridge_collector.model.snapshot.causes import Cause, cause_of, join_causes
from otel_bridge_collector.model.snapshot.panels import first_ten, merged_failures, newest_failed

from otel_bridge.events.model import MonitoringEvent
from tests.support.folding import event, fold

KINDS = tuple(f"kind{number}" for number in range(14))


def failed(number: int, chooser: random.Random) -> MonitoringEvent:
    fields: dict[str, Any] = {"stack": True} if chooser.random() < 0.1 else {}
    return event(
        chooser.randrange(40),
        "task_failed",
        parent_task_id=f"t{chooser.randrange(6)}",
        task_id=f"j{number}",
        task_type=chooser.choice(KINDS),
        project_id="p",
        span_id=f"{number + 1:016x}",
        error=chooser.choice(("E 1", "E 2", "F")),
        **fields,
    )


def said(newest: Any) -> tuple[Any, ...]:
    """What is shown of the newest failures."""
    first = newest[0]
    return (
        first,
        first_ten(job.name for job in newest if job.name),
        first_ten(job.job or job.task for job in newest),
        first_ten(job.task for job in newest),
        next((job.stack for job in newest if job.stack), None),
    )


@given(seed=st.integers(0, 2**32), number=st.integers(1, 90), owners=st.integers(1, 5))
@settings(max_examples=40)
def test_causes_of_several_states_add_up(seed: int, number: int, owners: int) -> None:
    """Counts, times, and the first ten of all that is named, in whatever groups they are joined."""
    chooser = random.Random(seed)
    events = [failed(one, chooser) for one in range(number)]
    whole = merged_failures(fold(events))
    states = [
        [one for one in events if int(str(one.parent_task_id)[1:]) % owners == owner]
        for owner in range(owners)
    ]
    parts = [[cause_of(merged) for merged in merged_failures(fold(own))] for own in states]
    read = msgspec.msgpack.Decoder(list[Cause]).decode
    parts = [read(msgspec.msgpack.encode(causes)) for causes in parts]
    joined = join_causes([join_causes(parts[:2]), join_causes(parts[2:])])
    assert [one.key for one in joined] == [one.key for one in whole]
    for one, merged in zip(joined, whole, strict=True):
        assert one.count == sum(group.count for group in merged.groups)
        assert (one.first, one.last) == (min(group.first for group in merged.groups), merged.last)
        assert said(one.newest) == said(newest_failed(merged))
        assert len(one.newest) <= 32
