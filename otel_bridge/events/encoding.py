"""
An event's fields -> JSON of a bounded size.

Works on a plain dict, because validating a model costs three times as much as the encoding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pydantic_core

from otel_bridge.errors import EventTooLargeError

__all__ = ["DEFAULT_MAX_EVENT_SIZE_BYTES", "FIELD_ORDER", "MIN_EVENT_SIZE_BYTES", "encode_event"]

DEFAULT_MAX_EVENT_SIZE_BYTES: Final = 8192
MIN_EVENT_SIZE_BYTES: Final = 1024

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
    "position",
)
"""The order of the fields in JSON: that of ``MonitoringEvent`` (a test compares)."""


def encode_event(fields: Mapping[str, Any], max_bytes: int) -> bytes:
    """
    Encode an event's fields (in model order, no None) as JSON of at most ``max_bytes``.

    What is too large is cut until it fits, never refused for its texts: first ``message``,
    ``error`` and the strings in ``meta``, all to one common length; then ``meta`` to the few keys
    the dashboard knows; then ``counts``. ``meta.truncated`` says so. NaN and infinity become
    null, what JSON has no form for becomes text.

    Raises:
        EventTooLargeError: It does not fit even without its texts.
    """
    data = _to_json(fields)
    return data if len(data) <= max_bytes else _shrink(fields, max_bytes)


def _to_json(fields: Mapping[str, Any]) -> bytes:
    try:
        return pydantic_core.to_json(fields, inf_nan_mode="null", fallback=str)
    except (ValueError, RecursionError):
        # Half a surrogate pair, bytes that are no UTF-8, a dict that holds itself: rare, so only
        # then pay for a clean copy.
        return pydantic_core.to_json(_plain(fields), inf_nan_mode="null")


_MAX_DEPTH: Final = 16
_KEPT_META: Final = ("title", "type", "domain", "host", "pid")
_MIN_TEXT_BYTES: Final = 32
_ELLIPSIS: Final = "…"
_ELLIPSIS_BYTES: Final = 3


def _plain(value: Any, depth: int = 0) -> Any:
    """Copy a value as what JSON knows: dict, list, str, number, bool, None."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth >= _MAX_DEPTH:
        return _ELLIPSIS
    if isinstance(value, Mapping):
        return {_text(key): _plain(item, depth + 1) for key, item in list(value.items())}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, depth + 1) for item in value]
    return _text(value)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return str(value).encode(errors="replace").decode()


def _shrink(fields: Mapping[str, Any], max_bytes: int) -> bytes:
    plain = _plain(fields)
    counts = plain.get("counts")
    meta = plain.get("meta") or {}
    known = {key: meta[key] for key in _KEPT_META if isinstance(meta.get(key), str | int)}
    for kept_counts, kept_meta, min_text in (
        (counts, meta, _MIN_TEXT_BYTES),
        (counts, known, _MIN_TEXT_BYTES),
        (counts, {}, 0),
        (None, {}, 0),
    ):
        base = {**plain, "counts": kept_counts, "meta": kept_meta}
        data = _fit_texts(base, min_text, max_bytes)
        if data is not None:
            return data
    raise EventTooLargeError(len(_with_texts(base, 0)), max_bytes)


def _fit_texts(base: Mapping[str, Any], min_text: int, max_bytes: int) -> bytes | None:
    """Cut all texts to the greatest common length that fits; None if ``min_text`` does not."""
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
    cut = {
        **base,
        "message": _cut(base.get("message"), text_bytes),
        "error": _cut(base.get("error"), text_bytes),
        "meta": {**_cut(base["meta"], text_bytes), "truncated": True},
    }
    return pydantic_core.to_json(
        {name: cut[name] for name in FIELD_ORDER if cut.get(name) is not None},
        inf_nan_mode="null",
    )


def _cut(value: Any, max_bytes: int) -> Any:
    """Cut every string in a value to ``max_bytes`` of JSON, quotes not counted; "" becomes None."""
    if isinstance(value, dict):
        return {key: _cut(item, max_bytes) for key, item in value.items()}
    if isinstance(value, list):
        return [_cut(item, max_bytes) for item in value]
    if not isinstance(value, str):
        return value
    # A character is at least one byte of JSON and at most six (\u0000), so measure, then scale.
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
