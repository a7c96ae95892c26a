"""``plain_value``: what an attribute or a body of OTLP holds, as Python has it."""

from __future__ import annotations

import base64
from typing import Any, Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue

__all__ = ["plain_value"]

_MAX_DEPTH: Final = 8


def plain_value(value: AnyValue, max_bytes: int | None = None, depth: int = 0) -> Any:
    """
    Return a value of OTLP as text, number, boolean, list, dict or None; from any thread.

    Bytes are text in base64. Never raises.

    Args:
        value: The value; what is nested deeper than 8 lists and mappings is None.
        max_bytes: So many of its bytes are read; default None: all.
        depth: In how many lists and mappings it is nested already; default 0.
    """
    kind = value.WhichOneof("value")
    if kind is None or depth > _MAX_DEPTH:
        return None
    if kind == "array_value":
        return [plain_value(item, max_bytes, depth + 1) for item in value.array_value.values]
    if kind == "kvlist_value":
        pairs = value.kvlist_value.values
        return {pair.key: plain_value(pair.value, max_bytes, depth + 1) for pair in pairs}
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value[:max_bytes]).decode("ascii")
    return getattr(value, kind)
