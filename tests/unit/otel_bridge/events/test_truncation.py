"""How an event that is too large is truncated: in which order, and how far."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import pytest

from otel_bridge.errors import EventTooLargeError
from otel_bridge.events.encoding import encode_event

LIMIT = 1024


def encoded(max_bytes: int = LIMIT, **fields: Any) -> dict[str, Any]:
    """The JSON of an event with these fields, read back."""
    data = encode_event({"event_id": "1", **fields}, max_bytes)
    assert len(data) <= max_bytes
    result: dict[str, Any] = json.loads(data)
    return result


def json_size(text: str) -> int:
    """Bytes that a text takes in the event's JSON, without its quotes."""
    return len(json.dumps(text, ensure_ascii=False).encode()) - 2


def test_an_event_of_exactly_the_limit_is_not_touched() -> None:
    """At the limit an event is sent as it is; one byte less and it is truncated."""
    fields = {"event_id": "1", "error": "x" * 2000}
    whole = encode_event(fields, 10_000)
    assert encode_event(fields, len(whole)) == whole
    assert json.loads(encode_event(fields, len(whole) - 1))["meta"] == {"truncated": True}


def test_one_odd_value_does_not_change_the_others() -> None:
    """Beside a value that JSON cannot express, a time is still written in ISO 8601."""
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    meta = encoded(meta={"at": at, "odd": slice(1, 2)})["meta"]
    assert meta == {"at": "2026-01-02T03:04:05Z", "odd": "slice(1, 2, None)"}


def test_not_a_number_is_null_on_every_path() -> None:
    """NaN becomes null beside half of a surrogate pair, and in an event that is truncated."""
    not_a_number = float("nan")
    assert encoded(meta={"n": not_a_number, "half": "\ud800"})["meta"] == {"n": None, "half": "?"}
    assert encoded(meta={"n": not_a_number, "long": "x" * 5000})["meta"]["n"] is None


@pytest.mark.parametrize("brackets", ["{}", "[]"])
def test_nesting_ends_after_sixteen_levels(brackets: str) -> None:
    """Of an event that has to be copied, the 17th level is an ellipsis, in mappings and lists."""
    nested: Any = "\ud800"
    for _ in range(30):
        nested = {"a": nested} if brackets == "{}" else [nested]
    text = encode_event({"meta": nested}, LIMIT).decode()
    assert "…" in text
    assert text.count("{") + text.count("[") == 16


def test_nested_texts_are_truncated_as_well() -> None:
    """Texts at any depth of ``meta`` get the common length, in mappings and in lists."""
    meta = encoded(meta={"a": {"b": "x" * 3000}, "c": ["y" * 3000]}, message="z" * 3000)
    lengths = {len(meta["meta"]["a"]["b"]), len(meta["meta"]["c"][0]), len(meta["message"])}
    assert len(lengths) == 1
    assert lengths.pop() > 250


@pytest.mark.parametrize("name", ["message", "error"])
def test_every_byte_of_the_limit_is_used(name: str) -> None:
    """A text that is truncated fills the event up to the limit exactly."""
    sizes = [len(encode_event({"event_id": "1", name: "x" * 9000}, n)) for n in range(1500, 1600)]
    assert sizes == list(range(1500, 1600))


@pytest.mark.parametrize("char", ["y", "é", "€"])
def test_only_what_is_longer_than_the_common_length_is_truncated(char: str) -> None:
    """A text stays whole exactly when it takes no more bytes than the longest truncated one."""
    text = char * (600 // len(char.encode()))
    found = set()
    for max_bytes in range(1200, 1400):
        fields = encoded(max_bytes, message=text, error="x" * 9000)
        common = json_size(fields["error"])
        is_whole = fields["message"] == text
        assert is_whole == (json_size(text) <= common)
        assert json_size(fields["message"]) <= common
        found.add(common - json_size(text))
    assert {-1, 0, 1} <= found


def test_the_message_goes_before_the_counts() -> None:
    """With ever more room come first the counts, then a message of one character."""
    counts = {"a": 1}
    smallest = len('{"event_id":"1","task_id":"","counts":{"a":1},"meta":{"truncated":true}}') + 800
    fields = {"task_id": "t" * 800, "counts": counts, "message": "m", "meta": {"rows": [0] * 999}}
    rows = [encoded(n, **fields) for n in range(smallest, smallest + len(',"message":"m"') + 1)]
    assert [row["counts"] for row in rows] == [counts] * len(rows)
    assert [row.get("message") for row in rows] == [None] * (len(rows) - 1) + ["m"]


def test_a_long_message_is_shortened_to_nothing() -> None:
    """A message is left out when it has no room for one character and the ellipsis."""
    fields = {"task_id": "t" * 900, "message": "abcdef" * 50}
    smallest = len('{"event_id":"1","task_id":"","meta":{"truncated":true}}') + 900
    rows = [encoded(n, **fields).get("message") for n in range(smallest, smallest + 20)]
    assert [message for message, _ in groupby(rows)] == [None, "a…", "ab…", "abc…"]


def test_counts_go_before_the_event_is_given_up() -> None:
    """Counts for which there is no room go together with a message of one character."""
    counts = {f"queue-{number}": number for number in range(100)}
    smallest = len('{"event_id":"1","task_id":"","meta":{"truncated":true}}') + 900
    found = encoded(smallest, task_id="t" * 900, counts=counts, message="m")
    assert found == {"event_id": "1", "task_id": "t" * 900, "meta": {"truncated": True}}


def test_counts_stay_when_meta_is_too_bulky() -> None:
    """Reducing ``meta`` is enough where it is the bulky part: counts and texts are kept."""
    found = encoded(counts={"a": 1}, meta={"title": "T", "rows": list(range(999))}, message="m")
    assert found["counts"] == {"a": 1}
    assert found["message"] == "m"
    assert found["meta"] == {"title": "T", "truncated": True}


def test_the_error_says_how_much_is_too_much() -> None:
    """What cannot be truncated far enough is an error with its smallest size and the limit."""
    with pytest.raises(EventTooLargeError) as caught:
        encoded(task_id="t" * 3000, message="m" * 3000, counts={"a": 1})
    smallest = len('{"event_id":"1","task_id":"","meta":{"truncated":true}}') + 3000
    assert (caught.value.size_bytes, caught.value.max_bytes) == (smallest, LIMIT)


def test_the_name_of_a_queue_stays_with_the_ids() -> None:
    """Where texts and ``meta`` have to go, the queue of a job does not."""
    smallest = len('{"event_id":"1","task_id":"","queue":"q","meta":{"truncated":true}}') + 900
    found = encoded(smallest, task_id="t" * 900, queue="q", message="m" * 200)
    assert found.keys() == {"event_id", "task_id", "queue", "meta"}
