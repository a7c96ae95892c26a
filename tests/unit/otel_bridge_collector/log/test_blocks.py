"""Blocks of the log: each entry is in one, and an event is found in its own."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from otel_bridge_collector.log.blocks import BLOCK_ENTRIES, Blocks, NodeFacts, find_facts

from otel_bridge.publish.transports.base import LogEntry

SPAN = "00f067aa0ba902b7"


def entries(first: int, count: int, epoch: str = "e") -> list[LogEntry]:
    return [LogEntry(f"{epoch}:{number}", b"{}") for number in range(first, first + count)]


@given(sizes=st.lists(st.integers(1, 150), max_size=12))
def test_a_block_is_64_entries_however_they_are_read(sizes: list[int]) -> None:
    """Of entries that follow each other, each is one of the 64 after the position noted."""
    noted: list[str] = []
    blocks = Blocks(noted.append)
    last = 0
    for size in sizes:
        read: list[LogEntry] = []
        for part in blocks.parts(f"e:{last}", entries(last + 1, size)):
            read += part
            for entry in part:
                before, number = int(noted[-1][2:]), int(entry.position[2:])
                assert before < number <= before + BLOCK_ENTRIES
        assert read == entries(last + 1, size)
        last += size
    assert len(noted) == -(-last // BLOCK_ENTRIES)


def test_another_place_starts_a_block() -> None:
    """After a gap, or in another log, entries do not follow those before."""
    noted: list[str] = []
    blocks = Blocks(noted.append)
    for after, read in (
        ("e:0", entries(1, 3)),
        ("e:9", entries(10, 3)),
        ("f:0", entries(1, 1, "f")),
    ):
        assert list(blocks.parts(after, read)) == [read]
    assert noted == ["e:0", "e:9", "f:0"]


def test_what_is_in_no_log_has_no_block() -> None:
    """Its parts are as large, and nothing is noted."""
    noted: list[str] = []
    parts = [len(part) for part in Blocks(noted.append).parts(None, entries(1, 130))]
    assert (parts, noted) == ([64, 64, 2], [])


def log(*events: dict[str, Any] | bytes) -> list[LogEntry]:
    return [
        LogEntry("e:1", event if isinstance(event, bytes) else json.dumps(event).encode())
        for event in events
    ]


def said(event_type: str, span_id: str = SPAN, **fields: Any) -> dict[str, Any]:
    return {"event_type": event_type, "span_id": span_id, **fields}


def test_the_own_end_counts_then_the_newest_with_attributes() -> None:
    """Whatever comes after it, and although others report an end too."""
    start = said("task_started", meta={"n": 1})
    later = said("span_updated", meta={"n": 2})
    other = said("task_failed", ended_by="other", meta={"n": 3})
    end = said("task_completed", meta={"n": 4})
    empty = said("task_progress")
    for events, expected in (
        ([start], {"n": 1}),
        ([start, later, empty], {"n": 2}),
        ([start, other, later], {"n": 2}),
        ([end, other, later], {"n": 4}),
        ([start, said("task_completed")], {"n": 1}),
        ([empty], {}),
    ):
        assert find_facts(log(*events), SPAN) == NodeFacts(expected, None)


def test_other_entries_are_passed_by() -> None:
    """Those of other spans, of children of this one, and what cannot be read."""
    child = said("task_started", "1" * 16, parent_span_id=SPAN, meta={"of": "child"})
    broken = b'{"span_id":"' + SPAN.encode()
    texts = [json.dumps(SPAN).encode(), json.dumps([SPAN]).encode()]
    assert find_facts(log(child, broken, *texts), SPAN) is None
    odd = said("task_started", meta="text", links="none")
    assert find_facts(log(odd), SPAN) == NodeFacts({}, None)


def test_links_are_passed_on() -> None:
    """Of a publisher that sends them; what is none is left out."""
    link = {"trace": "a" * 32, "span": "b" * 16, "attributes": {"x": 1}}
    found = find_facts(log(said("span_ended", links=[link, {"trace": "c"}, 5])), SPAN)
    assert found == NodeFacts({}, [link, {"trace": "c", "span": None, "attributes": {}}])
