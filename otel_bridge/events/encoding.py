"""
Encodes the fields of an event as JSON of a bounded size.

Works on a plain dict, because validating a model costs three times as much as the encoding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pydantic_core

from otel_bridge.errors import EventTooLargeError

__all__ = ["DEFAULT_MAX_EVENT_SIZE_BYTES", "FIELD_ORDER", "MIN_EVENT_SIZE_BYTES", "encode_event"]

DEFAULT_MAX_EVENT_SIZE_BYTES: Final = 8192
"""Default of ``MONITORING_MAX_EVENT_SIZE_BYTES``."""
MIN_EVENT_SIZE_BYTES: Final = 1024
"""The least that ``MONITORING_MAX_EVENT_SIZE_BYTES`` may be."""

FIELD_ORDER: Final = (
    "event_id",
    "ts",
    "event_type",
    "project_id",
    "parent_task_id",
    "task_id",
    "task_type",
    "phase",
    "worker_id",
    "retry_count",
    "status",
    "duration_ms",
    "counts",
    "queue",
    "message",
    "error",
    "meta",
    "trace_id",
    "span_id",
    "parent_span_id",
    "incarnation",
    "run_id",
    "span_kind",
    "remote_parent",
    "ended_by",
    "beat_ms",
    "name",
    "error_key",
    "stack",
    "stack_of",
    "reason",
    "progress",
    "spans",
    "position",
)
"""The order of the fields in JSON: that of ``MonitoringEvent`` (a test compares the two)."""


def encode_event(fields: Mapping[str, Any], max_bytes: int) -> bytes:
    """
    Encode the fields of an event as UTF-8 JSON of at most ``max_bytes``.

    An event that is too large is truncated, in these steps, until it fits:

    1. ``message``, ``error``, ``name``, ``reason`` and the strings in ``meta`` are shortened to one
       common length, of at least 32 bytes;
    2. ``meta`` is reduced to the keys that the dashboard shows: ``title``, ``type``, ``domain``,
       ``host``, ``pid``;
    3. the depths in ``queue`` and all of ``meta``, ``message``, ``error``, ``name`` and ``reason``
       may go;
    4. ``counts``, ``progress`` and ``spans`` go.

    A truncated event has ``meta.truncated = true``, and in it what is nested deeper than 16 levels
    is replaced by an ellipsis. NaN and infinity become null; values that JSON cannot express become
    text. May be called from any thread.

    Args:
        fields: Values by the names of ``MonitoringEvent``'s fields, in the order of the JSON
            (``FIELD_ORDER``), without None values; neither checked nor modified.
        max_bytes: Upper bound on the JSON, in bytes; settings allow 1024 (``MIN_EVENT_SIZE_BYTES``)
            and more, of which ids of usual length leave room for texts.

    Returns:
        One JSON object without line ends.

    Raises:
        EventTooLargeError: The event exceeds ``max_bytes`` even after the last step.
        Exception: What ``str()`` of a value raises that JSON cannot express.
    """
    data = _to_json(fields)
    return data if len(data) <= max_bytes else _shrink(fields, max_bytes)


def _to_json(fields: Mapping[str, Any]) -> bytes:
    try:
        return pydantic_core.to_json(fields, inf_nan_mode="null", fallback=str)
    except (ValueError, RecursionError):
        # Half of a surrogate pair, bytes that are not UTF-8, or a dict that contains itself. These
        # are rare, so the copy below is made only for them.
        return pydantic_core.to_json(_json_safe(fields), inf_nan_mode="null")


_MAX_DEPTH: Final = 16
"""Nested values below this depth are replaced by an ellipsis."""
_SHOWN_META: Final = ("title", "type", "domain", "host", "pid")
"""The keys of ``meta`` that the dashboard shows."""
_TEXTS: Final = ("message", "error", "name", "reason")
"""The fields that are shortened."""
_LAST: Final = ("counts", "progress", "spans")
"""The fields that go last."""
_MIN_TEXT_BYTES: Final = 32
"""Texts are not shortened further while there is something less important to leave out."""
_ELLIPSIS: Final = "…"
_ELLIPSIS_BYTES: Final = 3


def _json_safe(value: Any, depth: int = 0) -> Any:
    """Copy a value into JSON's own types: dict, list, str, number, bool, None."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth >= _MAX_DEPTH:
        return _ELLIPSIS
    if isinstance(value, Mapping):
        return {_text(key): _json_safe(item, depth + 1) for key, item in list(value.items())}
    if isinstance(value, list | tuple | set | frozenset):
        return [_json_safe(item, depth + 1) for item in value]
    return _text(value)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return str(value).encode(errors="replace").decode()


def _shrink(fields: Mapping[str, Any], max_bytes: int) -> bytes:
    safe = _json_safe(fields)
    meta = safe.get("meta") or {}
    # The depths of a ``queue_depth_update`` are in ``counts`` as well.
    smaller = {**safe, "queue": None} if isinstance(safe.get("queue"), dict) else safe
    shown = {key: meta[key] for key in _SHOWN_META if isinstance(meta.get(key), str | int)}
    for kept, kept_meta, min_text in (
        (safe, meta, _MIN_TEXT_BYTES),
        (safe, shown, _MIN_TEXT_BYTES),
        (smaller, {}, 0),
        ({**smaller, **dict.fromkeys(_LAST)}, {}, 0),
    ):
        base = {**kept, "meta": kept_meta}
        data = _fit_texts(base, min_text, max_bytes)
        if data is not None:
            return data
    raise EventTooLargeError(len(_with_texts(base, 0)), max_bytes)


def _fit_texts(base: Mapping[str, Any], min_text: int, max_bytes: int) -> bytes | None:
    """Truncate all texts to the greatest common length that fits; None if ``min_text`` does not."""
    best = _with_texts(base, min_text)
    if len(best) > max_bytes:
        return None
    low, high = min_text, max_bytes
    while low < high:
        middle = (low + high + 1) // 2
        data = _with_texts(base, middle)
        if len(data) <= max_bytes:
            low, best = middle, data
        else:
            high = middle - 1
    return best


def _with_texts(base: Mapping[str, Any], text_bytes: int) -> bytes:
    truncated = {
        **base,
        **{name: _truncate(base.get(name), text_bytes) for name in _TEXTS},
        "meta": {**_truncate(base["meta"], text_bytes), "truncated": True},
    }
    return pydantic_core.to_json(
        {name: truncated[name] for name in FIELD_ORDER if truncated.get(name) is not None},
        inf_nan_mode="null",
    )


def _truncate(value: Any, max_bytes: int) -> Any:
    """
    Truncate every string in a value to ``max_bytes`` of JSON, without counting its quotes.

    A string for which not even the ellipsis has room becomes None.
    """
    if isinstance(value, dict):
        return {key: _truncate(item, max_bytes) for key, item in value.items()}
    if isinstance(value, list):
        return [_truncate(item, max_bytes) for item in value]
    if not isinstance(value, str):
        return value
    # A character takes between one and six (\u0000) bytes of JSON, so the text is encoded to
    # measure it, and then shortened in proportion.
    text = value[: max_bytes + 1]
    size = len(pydantic_core.to_json(text)) - 2
    if size <= max_bytes and len(text) == len(value):
        return value
    room = max_bytes - _ELLIPSIS_BYTES
    if room <= 0:
        return None
    while size > room:
        text = text[: min(len(text) - 1, len(text) * room // size)]
        size = len(pydantic_core.to_json(text)) - 2
    return text + _ELLIPSIS
