"""Decoding for the fold: msgspec and pydantic together read what pydantic alone would."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from otel_bridge_collector.log import decoding
from otel_bridge_collector.log.decoding import (
    UnreadableEventError,
    decode_entry,
    decode_event,
    decode_for_fold,
    decode_log,
)

from otel_bridge.publish.transports.base import LogEntry, splice_position

SECONDS = 1_764_072_000
PLAIN = {"event_id": "x", "ts": "2025-11-25T12:00:00Z", "event_type": "task_started"}
ODD = {**PLAIN, "ts": SECONDS}
"""The same event, with a time that pydantic alone reads."""
HEX = "0123456789abcdef"


def encoded(fields: Any) -> bytes:
    return json.dumps(fields).encode()


def read(**fields: Any) -> dict[str, Any]:
    """The event with these fields, which both ways of decoding must read alike."""
    fast, slow = (
        msgspec.structs.asdict(decode_event(encoded({**base, **fields}))) for base in (PLAIN, ODD)
    )
    for one in (fast, slow):
        one["meta"] = json.loads(bytes(one["meta"]) or b"null")
    assert fast == slow
    return fast


def reason_of(fields: Any, **more: Any) -> str:
    """Why an event is unreadable; for every reader the same."""
    data = encoded({**fields, **more} if isinstance(fields, dict) else fields)
    with pytest.raises(UnreadableEventError) as of_fold:
        decode_event(data)
    with pytest.raises(UnreadableEventError) as of_entry:
        decode_entry(data, None, 8192)
    assert str(of_fold.value) == str(of_entry.value)
    return str(of_fold.value)


def test_both_ways_give_the_same_event() -> None:
    """All fields that the fold reads are the same whichever of the two decoders read them."""
    fields = {
        "project_id": "p",
        "parent_task_id": "t",
        "task_id": "j",
        "worker_id": 3,
        "retry_count": 1,
        "status": "processing",
        "duration_ms": 7,
        "counts": {"total": 2},
        "queue": "q",
        "message": "m",
        "meta": {"title": "T"},
        "trace_id": HEX * 2,
        "span_id": HEX,
        "parent_span_id": HEX[::-1],
        "position": "e:1",
    }
    found = read(**fields)
    assert {name: found[name] for name in fields} == fields
    assert (found["event_id"], found["event_type"]) == ("x", "task_started")
    assert found["ts"].timestamp() == SECONDS


def test_what_is_absent_is_absent_both_ways() -> None:
    """Without ``meta``, with an empty one and with null, the two agree as well."""
    assert read()["meta"] is None
    assert (read(meta={})["meta"], read(meta=None)["meta"]) == ({}, None)


@pytest.mark.parametrize(
    ("name", "value", "wrong"),
    [
        ("incarnation", HEX, 1),
        ("run_id", "r", 1),
        ("span_kind", "SERVER", 1),
        ("remote_parent", True, "7"),
        ("ended_by", "rule", 1),
        ("name", "n", 1),
        ("error_key", "k", 1),
        ("stack_of", "s", 1),
        ("reason", "r", 1),
        ("spans", ["a", "b"], ["a", 1]),
    ],
)
def test_optional_fields(name: str, value: Any, wrong: Any) -> None:
    """Each optional field is read by both decoders; of a wrong type it is refused by both."""
    assert read(**{name: value})[name] == value
    assert [reason_of(base, **{name: wrong}) for base in (PLAIN, ODD)] == ["not an event"] * 2


def test_an_unknown_type_and_depths_as_queue_pass() -> None:
    """An event of an unknown type keeps it, and ``queue`` may be depths by queue name."""
    assert read(event_type="task_paused")["event_type"] == "task_paused"
    assert read(queue={"a": 1})["queue"] == {"a": 1}


@pytest.mark.parametrize("base", [PLAIN, ODD])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("span_id", HEX[:15]),
        ("span_id", HEX.upper()),
        ("parent_span_id", HEX + "0"),
        ("parent_span_id", "g" * 16),
        ("trace_id", HEX),
        ("trace_id", HEX * 2 + "0"),
        ("trace_id", "-" * 32),
        ("meta", [1]),
        ("meta", "text"),
        ("meta", 7),
        ("meta", True),
        ("retry_count", -1),
        ("event_type", 7),
    ],
)
def test_an_invalid_value_makes_an_event_unreadable(
    base: dict[str, Any], name: str, value: Any
) -> None:
    """Ids that are no hexadecimal digits of their length, and a ``meta`` that is no object."""
    assert reason_of(base, **{name: value}) == "not an event"


@pytest.mark.parametrize(
    ("ts", "is_readable"),
    [
        ("1970-01-01T00:00:00Z", True),
        (0, True),
        ("1969-12-31T23:59:59.999999Z", False),
        (-1, False),
        ("9998-12-31T23:59:59.999999Z", True),
        ("9999-01-01T00:00:00Z", False),
    ],
)
@pytest.mark.parametrize("more", [{}, {"retry_count": "1"}])
def test_times(ts: Any, is_readable: bool, more: dict[str, Any]) -> None:
    """Times from 1970 to the end of 9998, as text and as seconds, beside a number as text."""
    if is_readable:
        assert decode_event(encoded({**PLAIN, "ts": ts, **more})).event_id == "x"
    else:
        assert reason_of(PLAIN, ts=ts, **more) == "not an event"


def test_what_is_no_object_is_no_event() -> None:
    """A list, a text and a number are JSON, and no events; NaN is not even JSON."""
    nothing: list[Any] = [[], "x", 7]
    assert [reason_of(one) for one in nothing] == ["not an event"] * 3
    assert reason_of(ODD, meta={"a": float("nan")}) == "not JSON"


def test_the_limit_counts_without_the_position() -> None:
    """An event of the log may be 128 bytes over the limit; one more is ``oversized``."""
    base = splice_position("e:1", encoded({**PLAIN, "message": ""}))
    for excess, is_readable in ((0, True), (1, False)):
        message = "x" * (1024 + 128 - len(base) + excess)
        data = splice_position("e:1", encoded({**PLAIN, "message": message}))
        assert len(data) == 1024 + 128 + excess
        if is_readable:
            event, sent = decode_for_fold(data, "e:1", 1024)
            assert (event.message, sent) == (message, data)
        else:
            with pytest.raises(UnreadableEventError) as raised:
                decode_for_fold(data, "e:1", 1024)
            assert str(raised.value) == "oversized"


def test_another_position_makes_an_event_unreadable() -> None:
    """An event of the log has the position that the log gives it, and no other."""
    data = splice_position("e:1", encoded(PLAIN))
    with pytest.raises(UnreadableEventError) as raised:
        decode_for_fold(data, "e:2", 8192)
    assert str(raised.value) == "not an event"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"ts": "1970-01-01T00:00:00Z"},
        {"meta": {"title": "T"}, "trace_id": HEX * 2, "span_id": HEX, "parent_span_id": HEX},
        {"meta": None, "queue": "q", "counts": {"total": 1}},
    ],
)
def test_an_ordinary_event_is_decoded_by_msgspec_alone(
    fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slow way, five times as slow, is for what msgspec refuses, not for what workers send."""
    monkeypatch.delattr(decoding, "_decode_slowly")
    assert decode_event(encoded({**PLAIN, **fields})).event_id == "x"


SPAN_IDS = st.sampled_from([None, HEX, HEX.upper(), HEX[:-1], HEX + "0", "g" * 16, " " * 16, ""])
BROKEN = [b"", b"{}", b"[]", b"{", b'{"event_id":"x"}', b'{"a":NaN}', b'{"a":1},{}']
EVENTS = st.one_of(
    st.sampled_from(BROKEN),
    st.fixed_dictionaries(
        {},
        optional={
            "ts": st.sampled_from([SECONDS, "1970-01-01T00:00:00Z", "1969-12-31T23:59:59Z"])
            | st.sampled_from(["9998-01-01T00:00:00Z", "9999-01-01T00:00:00Z", "soon"]),
            "position": st.sampled_from(["e:1", "e:2", None]),
            "span_id": SPAN_IDS,
            "parent_span_id": SPAN_IDS,
            "trace_id": st.sampled_from([None, HEX * 2, HEX, "G" * 32]),
            "meta": st.sampled_from([None, {}, {"title": "T"}, "text", 1, []]),
            "message": st.sampled_from(["short", "x" * 300]),
        },
    ).map(lambda more: encoded({**PLAIN, **more})),
)


@given(st.lists(EVENTS, max_size=8))
def test_what_is_read_together_is_decoded_as_each_alone(events: list[bytes]) -> None:
    """One that is unreadable, for any reason, changes nothing about those beside it."""
    entries = [
        LogEntry(f"e:{number}", splice_position(f"e:{number}", data))
        for number, data in enumerate(events)
    ]
    expected: list[Any] = []
    for position, data in entries:
        try:
            expected.append(decode_for_fold(data, position, 300)[0])
        except UnreadableEventError as error:
            expected.append(str(error))
    assert decode_log(entries, 300) == expected
