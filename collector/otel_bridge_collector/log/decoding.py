"""
Decodes the bytes of one event into the event, and into the entry that is sent to clients.

All events that the collector reads pass through here, so clients always get an event as JSON that a
browser can parse.

``decode_event`` is for the fold: msgspec decodes in 0.7 to 1.4 us where pydantic takes 3.3 to 6.5.
msgspec is stricter in some things (numbers as text, times as numbers) and laxer in others, so what
it refuses pydantic decides, and what it accepts is checked further: nothing readable is lost by it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec
import pydantic_core
from pydantic import ValidationError

from otel_bridge.errors import EventTooLargeError
from otel_bridge.events.encoding import FIELD_ORDER, encode_event
from otel_bridge.events.model import MonitoringEvent
from otel_bridge.events.redaction import redact_fields, redact_meta
from otel_bridge.publish.transports.base import LogEntry
from otel_bridge_collector.model.events import NO_META, Event
from otel_bridge_collector.stream.ring import Entry

__all__ = [
    "UnreadableEventError",
    "decode_entries",
    "decode_entry",
    "decode_event",
    "decode_for_fold",
    "decode_log",
]

_POSITION_BYTES: Final = 128
_FIRST_TIME: Final = datetime(1970, 1, 1, tzinfo=UTC)
_END_OF_TIME: Final = datetime(9999, 1, 1, tzinfo=UTC)
"""An event with a ``ts`` as late as this, or before 1970, is unreadable."""
_KNOWN_FIELDS: Final = frozenset(FIELD_ORDER)

ProjectOf = Callable[[str | None, str | None, str | None], str | None]


class UnreadableEventError(ValueError):
    """Raised when bytes are not an event; the text is the reason, and never quotes the bytes."""


def decode_entry(
    data: bytes, position: str | None, max_bytes: int
) -> tuple[MonitoringEvent, Entry]:
    """
    Decode one event of the log or of an external publisher (one that knows nothing of the log).

    An event of the log keeps its bytes. An external event is encoded again, which masks secrets in
    it and adds the id and the time that its publisher left out. Unknown fields are kept, unless the
    event is so large that it must be truncated. May be called from any thread.

    Args:
        data: The event's JSON; it must contain ``position``, and no other one, if that is given.
        position: Position in the log; None for an external event.
        max_bytes: Limit on the event's bytes without its position; 128 more are allowed for that.

    Returns:
        The event, and the entry with its bytes for clients.

    Raises:
        UnreadableEventError: The event is ``oversized``, ``not JSON`` or ``not an event``.
    """
    if len(data) > max_bytes + _POSITION_BYTES:
        raise UnreadableEventError("oversized")
    try:
        # Browsers cannot parse NaN and Infinity; pydantic can, and the bytes are sent as they are.
        if b"NaN" in data or b"Infinity" in data:
            pydantic_core.from_json(data, allow_inf_nan=False)
        event = MonitoringEvent.model_validate_json(data)
        is_time = _FIRST_TIME <= event.ts < _END_OF_TIME
    except (ValidationError, ValueError, RecursionError, OverflowError) as error:
        is_json = isinstance(error, ValidationError) and error.errors()[0]["type"] != "json_invalid"
        raise UnreadableEventError("not an event" if is_json else "not JSON") from None
    if not is_time or event.position != position:
        # Of two ``position`` fields, a browser would take the second.
        raise UnreadableEventError("not an event")
    if position is None:
        try:
            data = _encode_external(event, data, max_bytes)
        except EventTooLargeError:
            raise UnreadableEventError("oversized") from None
    entry = Entry(
        position, data, event.event_type, event.project_id, event.parent_task_id, event.task_id
    )
    return event, entry


def _encode_external(event: MonitoringEvent, data: bytes, max_bytes: int) -> bytes:
    given = pydantic_core.from_json(data)
    unknown = {name: given[name] for name in given.keys() - _KNOWN_FIELDS}
    # Its publisher may know nothing of secrets; the bus of this library has masked its own events.
    fields = event.to_fields()
    redact_fields(fields)
    return encode_event(fields | redact_meta(unknown), max_bytes)


_decode: Final = msgspec.json.Decoder(Event).decode
_MAX_SECONDS: Final = int(_END_OF_TIME.timestamp())


def decode_for_fold(data: bytes, position: str | None, max_bytes: int) -> tuple[Event, bytes]:
    """
    Decode one event for the fold (what merges events into the state); also return its JSON.

    An event of the log keeps its bytes; another is encoded again with an id and a time if it has
    none. Unknown fields stay in the bytes alone. May be called from any thread.

    Args:
        data: The event's JSON; it must contain ``position``, and no other one, if that is given.
        position: Position in the log; None for an event that did not come through the log.
        max_bytes: Limit on the event's bytes without its position; 128 more are allowed for that.

    Raises:
        UnreadableEventError: The event is ``oversized``, ``not JSON`` or ``not an event``.
    """
    if position is None:
        # Rare, and encoded again: it gets the id and the time that its publisher left out.
        data = decode_entry(data, None, max_bytes)[1].data
    elif len(data) > max_bytes + _POSITION_BYTES:
        raise UnreadableEventError("oversized")
    event = decode_event(data)
    if event.position != position:
        # Of two ``position`` fields, a browser would take the second.
        raise UnreadableEventError("not an event")
    return event, data


def decode_log(entries: Sequence[LogEntry], max_bytes: int) -> list[Event | str]:
    """
    Decode entries that were read together, each as ``decode_for_fold`` does; never raises.

    In one loop, with one check of all ids of spans, an event takes two thirds of the time.

    Args:
        entries: Of the log, each with its position.
        max_bytes: Limit on an event's bytes without its position; 128 more are allowed for that.

    Returns:
        For each entry its event, or the reason why it is unreadable.
    """
    limit = max_bytes + _POSITION_BYTES
    decode, known, no_meta = _decode, _known_traces, NO_META
    found: list[Event | str] = []
    span_ids: list[str | None] = []
    for position, data in entries:
        if len(data) <= limit:
            try:
                event = decode(data)
            except _UNDECODED:
                pass
            else:
                trace_id, meta = event.trace_id, event.meta
                if (
                    event.position == position
                    and 1970 < event.ts.year < 9998
                    and (trace_id is None or trace_id in known or _is_new_trace(trace_id))
                    and (meta is no_meta or bytes(meta)[:1] in b"{n")
                ):
                    found.append(event)
                    span_ids += event.span_id, event.parent_span_id
                    continue
        found.append(_decode_alone(data, position, max_bytes))
    if not _are_hex("".join(filter(None, span_ids))):
        # One of them is not: each is looked at.
        return [_decode_alone(data, position, max_bytes) for position, data in entries]
    return found


def _decode_alone(data: bytes, position: str, max_bytes: int) -> Event | str:
    try:
        return decode_for_fold(data, position, max_bytes)[0]
    except UnreadableEventError as error:
        return str(error)


_UNDECODED: Final = (msgspec.MsgspecError, ValueError, RecursionError)
_MAX_KNOWN_TRACES: Final = 10_000
_is_trace_id: Final = re.compile(r"[0-9a-f]{32}").fullmatch
_known_traces: set[str] = set()
"""Ids found valid: of many spans of a trace one is looked at."""


def decode_event(data: bytes) -> Event:
    """
    Decode one event of the log for the fold (what merges events into the state).

    An unknown type is kept, for it is passed on; an unknown field is left out, and ``queue`` may be
    depths by queue name. The size is not limited here. May be called from any thread.

    Args:
        data: The event's JSON.

    Raises:
        UnreadableEventError: ``not JSON`` or ``not an event`` (a field of a wrong type, an id not
            in hexadecimal, or a ``ts`` outside of 1970 to 9998).
    """
    try:
        event = _decode(data)
        # What msgspec does not check: a time from 1970 to 9999, ids in hex, ``meta`` an object.
        ts, meta, trace_id = event.ts, event.meta, event.trace_id
        if (
            (1970 < ts.year < 9998 or 0 <= ts.timestamp() < _MAX_SECONDS)
            and (trace_id is None or trace_id in _known_traces or _is_new_trace(trace_id))
            and (meta is NO_META or bytes(meta)[:1] in b"{n")
        ):
            ids = (event.span_id or "") + (event.parent_span_id or "")
            if not ids or _are_hex(ids):
                return event
    except _UNDECODED:
        pass
    return _decode_slowly(data)


def _are_hex(ids: str) -> bool:
    """Whether ids of an even length are hexadecimal digits in lower case."""
    try:
        # There and back in half the time of a regular expression.
        return bytes.fromhex(ids).hex() == ids
    except ValueError:
        return False


def _is_new_trace(trace_id: str) -> bool:
    """Whether it is the id of a trace; remembers it if it is."""
    if _is_trace_id(trace_id) is None:
        return False
    if len(_known_traces) >= _MAX_KNOWN_TRACES:
        _known_traces.clear()
    _known_traces.add(trace_id)
    return True


def _decode_slowly(data: bytes) -> Event:
    """Let pydantic's model decide."""
    try:
        pydantic_core.from_json(data, allow_inf_nan=False)
    except ValueError:
        raise UnreadableEventError("not JSON") from None
    try:
        model = MonitoringEvent.model_validate_json(data)
        is_time = _FIRST_TIME <= model.ts < _END_OF_TIME
    except (ValueError, RecursionError, OverflowError):
        raise UnreadableEventError("not an event") from None
    if not is_time:
        raise UnreadableEventError("not an event")
    meta = b"" if model.meta is None else pydantic_core.to_json(model.meta)
    fields = model.__dict__ | {"event_type": str(model.event_type), "meta": msgspec.Raw(meta)}
    return Event(**fields)


def decode_entries(
    entries: Iterable[LogEntry],
    max_bytes: int,
    project_of: ProjectOf = lambda task_id, trace_id, span_id: None,
) -> list[Entry]:
    """
    Decode a part of the log for a client that resumes, of any size; never raises.

    Unreadable events are left out without being counted: the reader of the log has counted them.
    Call it where ``project_of`` may be called.

    Args:
        entries: Of the log.
        max_bytes: Limit on an event's bytes without its position; larger ones are left out.
        project_of: The project by the ids of task, trace and span, for events that name none.
    """
    found = []
    for entry in entries:
        try:
            event, decoded = decode_entry(entry.data, entry.position, max_bytes)
        except UnreadableEventError:
            continue
        if decoded.project_id is None:
            decoded.project_id = project_of(event.parent_task_id, event.trace_id, event.span_id)
        found.append(decoded)
    return found
