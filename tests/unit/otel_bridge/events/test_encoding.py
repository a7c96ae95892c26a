"""JSON of an event's fields: every value has a form, and the size never exceeds its bound."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_bridge.errors import EventTooLargeError
from otel_bridge.events.encoding import (
    DEFAULT_MAX_EVENT_SIZE_BYTES,
    FIELD_ORDER,
    MIN_EVENT_SIZE_BYTES,
    encode_event,
)
from otel_bridge.events.model import MonitoringEvent

TEXT = st.text(max_size=3000)
NAME = st.text(max_size=20)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAME, inner, max_size=4),
    max_leaves=12,
)
IDENTIFYING = {
    "event_id": "5b96e676-af2c-4804-8c63-3f9fa31237cb",
    "ts": "2026-09-21T14:13:20.123456Z",
    "event_type": "task_failed",
}
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "project_id": NAME,
        "parent_task_id": NAME,
        "task_id": NAME,
        "worker_id": st.integers(0, 1000) | NAME,
        "duration_ms": st.integers(0, 2**53),
        "counts": st.dictionaries(NAME, st.integers(-(2**53), 2**53), max_size=4),
        "message": TEXT,
        "error": TEXT,
        "meta": st.dictionaries(NAME, JSON, max_size=5),
        "trace_id": st.just("0af7651916cd43dd8448eb211c80319c"),
        "queue": NAME | st.dictionaries(NAME, st.integers(0, 9), max_size=4),
        "name": TEXT,
        "reason": TEXT,
        "progress": st.just({"done": 3, "total": 9}),
        "spans": st.lists(st.just("b7ad6b7169203331"), max_size=200),
    },
)


def fields_of(**fields: Any) -> dict[str, Any]:
    """Fields of an event in the order that the encoder expects."""
    found = {**IDENTIFYING, **fields}
    return {name: found[name] for name in FIELD_ORDER if name in found}


def encoded(max_bytes: int = DEFAULT_MAX_EVENT_SIZE_BYTES, **fields: Any) -> dict[str, Any]:
    """What a reader gets of an event with these fields."""
    data = encode_event(fields_of(**fields), max_bytes)
    assert len(data) <= max_bytes
    found: dict[str, Any] = json.loads(data)
    return found


def test_the_order_of_the_fields_is_that_of_the_model() -> None:
    """``FIELD_ORDER`` names the fields of ``MonitoringEvent``, each once, in the same order."""
    assert list(FIELD_ORDER) == list(MonitoringEvent.model_fields)


def test_fields_that_fit_are_written_as_they_are() -> None:
    """An event within the limit is its fields in their order, without spaces and unchanged."""
    fields = fields_of(task_id="t1", counts={"total": 3}, message="é")
    assert encode_event(fields, 8192) == json.dumps(
        fields, ensure_ascii=False, separators=(",", ":")
    ).encode("utf-8")


@given(FIELDS, st.integers(MIN_EVENT_SIZE_BYTES, 8192))
def test_json_never_exceeds_its_bound(fields: dict[str, Any], max_bytes: int) -> None:
    """Whatever the texts, the JSON has at most ``max_bytes``, is valid and keeps the ids."""
    given_fields = fields_of(**fields)
    data = encode_event(given_fields, max_bytes)
    assert len(data) <= max_bytes
    read = json.loads(data)
    kept = ("event_id", "ts", "event_type", "project_id", "parent_task_id", "task_id", "worker_id")
    assert {name: read.get(name) for name in kept} == {
        name: given_fields.get(name) for name in kept
    }
    is_truncated = len(encode_event(given_fields, 10_000_000)) > max_bytes
    assert (read.get("meta") or {}).get("truncated", False) is is_truncated
    if not is_truncated:
        assert read == given_fields


@pytest.mark.parametrize("excess", [0, 1])
def test_the_bound_itself_is_allowed(excess: int) -> None:
    """An event of exactly ``max_bytes`` is whole; one byte more, and it is truncated."""
    fields = fields_of(error="x" * 2000)
    size = len(encode_event(fields, 8192))
    data = encode_event(fields, size - excess)
    assert (data == encode_event(fields, 8192)) is (excess == 0)
    assert len(data) <= size - excess


@pytest.mark.parametrize("char", ["x", "é", "€", "😀", "\x00", '"', "\\", "\n", "\u2028"])
def test_a_long_text_keeps_most_of_its_room(char: str) -> None:
    """Truncation wastes few bytes, however many a character takes in JSON."""
    data = encode_event(fields_of(error=char * 20_000), 2048)
    assert 2048 - 24 <= len(data) <= 2048
    error = json.loads(data)["error"]
    assert error.endswith("…")
    assert set(error[:-1]) == {char}


def test_short_texts_stay_whole_beside_a_long_one() -> None:
    """All texts get one common length, so only longer ones are truncated."""
    meta = {"title": "Private Schools GA", "pages": [1, 2, 3]}
    read = encoded(1024, message="searching", error="x" * 9000, meta=meta)
    assert read["message"] == "searching"
    assert read["meta"] == {**meta, "truncated": True}


def test_nested_texts_in_meta_are_truncated_too() -> None:
    """Texts at any depth of ``meta`` get the common length; numbers stay as they are."""
    read = encoded(1024, meta={"rows": [{"note": "y" * 5000, "page": 7}]})
    (row,) = read["meta"]["rows"]
    assert row["page"] == 7
    assert set(row["note"][:-1]) == {"y"}
    assert row["note"].endswith("…")


def test_meta_is_reduced_before_the_ids_are() -> None:
    """A ``meta`` too large to be shortened keeps the keys that the dashboard shows."""
    shown = {"title": "Schools", "type": "t", "domain": "schools", "host": "h", "pid": 7}
    read = encoded(1024, task_id="t1", meta={**shown, "rows": list(range(5000))})
    assert read["meta"] == {**shown, "truncated": True}
    assert read["task_id"] == "t1"


def test_a_shown_key_of_another_type_is_left_out() -> None:
    """Of the keys that the dashboard shows only texts and whole numbers survive the reduction."""
    read = encoded(1024, meta={"title": "x", "domain": [1] * 5000, "rows": [1] * 5000})
    assert read["meta"] == {"title": "x", "truncated": True}


def test_counts_are_left_out_last() -> None:
    """``counts`` is left out only when nothing else can be."""
    read = encoded(1024, counts={f"queue-{number}": number for number in range(500)})
    assert ("counts" in read, read["meta"]) == (False, {"truncated": True})


def test_depths_in_the_queue_field_go_before_the_counts() -> None:
    """``queue`` repeats the depths that are in ``counts``, so it is the one that goes."""
    depths = {f"queue-{number}": number for number in range(60)}
    read = encoded(1024, counts=depths, queue=depths)
    assert ("queue" in read, read["counts"]) == (False, depths)
    assert encoded(1024, error="e" * 2000, queue="high")["queue"] == "high"


def test_texts_go_before_the_counts() -> None:
    """Where ids and counts leave no room for texts, message and error go and counts stay."""
    counts = {f"queue-{number}": 1 for number in range(64)}
    read = encoded(1024, message="m" * 99, error="e" * 99, meta={"title": "t"}, counts=counts)
    assert read["counts"] == counts
    assert read["meta"] == {"truncated": True}
    assert len(read.get("message", "")) < 32


def test_ids_alone_over_the_bound_are_an_error() -> None:
    """An event whose ids exceed the limit is an error with its size, the limit and the cure."""
    with pytest.raises(EventTooLargeError, match="MONITORING_MAX_EVENT_SIZE_BYTES") as raised:
        encode_event(fields_of(task_id="x" * 3000), 1024)
    assert raised.value.max_bytes == 1024
    smallest = fields_of(task_id="x" * 3000, meta={"truncated": True})
    assert raised.value.size_bytes == len(encode_event(smallest, 8192))


class Opaque:
    def __str__(self) -> str:
        return "opaque"


@pytest.mark.parametrize("is_large", [False, True])
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), None),
        (float("inf"), None),
        ("half \ud800 a pair", "half ? a pair"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (Opaque(), "opaque"),
        ({1: "x"}, {"1": "x"}),
        ({"a"}, ["a"]),
    ],
)
def test_values_without_a_json_form_become_text_or_null(
    value: Any, expected: Any, is_large: bool
) -> None:
    """No value in ``meta`` makes an event impossible to send, whether it is truncated or not."""
    read = encoded(1024, error="x" * (5000 if is_large else 5), meta={"value": value})
    assert read["meta"]["value"] == expected


def test_a_time_in_meta_is_written_as_iso_8601() -> None:
    """A datetime is a text that a browser can parse."""
    read = encoded(meta={"at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)})
    assert read["meta"] == {"at": "2026-01-02T03:04:05Z"}


def test_a_meta_that_contains_itself_ends() -> None:
    """Endless nesting ends in an ellipsis."""
    ring: dict[str, Any] = {}
    ring["self"] = ring
    read = encoded(meta=ring)
    depth, value = 0, read["meta"]
    while isinstance(value, dict):
        depth, value = depth + 1, value["self"]
    assert (value, depth < 20) == ("…", True)


def test_encoding_leaves_the_fields_alone() -> None:
    """Truncation works on a copy."""
    fields = fields_of(error="x" * 5000, meta={"a": "b" * 2000})
    before = json.dumps(fields)
    encode_event(fields, 1024)
    assert json.dumps(fields) == before
