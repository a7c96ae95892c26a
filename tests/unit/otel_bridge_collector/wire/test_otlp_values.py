"""Values of OTLP as Python has them, however deep and of whatever kind."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from otel_bridge_collector.wire.otlp_values import plain_value


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (AnyValue(), None),
        (AnyValue(string_value="a"), "a"),
        (AnyValue(bool_value=False), False),
        (AnyValue(int_value=-7), -7),
        (AnyValue(double_value=0.5), 0.5),
        (AnyValue(bytes_value=b"abc"), "YWJj"),
        (AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=1), AnyValue()])), [1, None]),
        (
            AnyValue(
                kvlist_value=KeyValueList(
                    values=[KeyValue(key="k", value=AnyValue(string_value="v"))]
                )
            ),
            {"k": "v"},
        ),
    ],
)
def test_every_kind_of_value(value: AnyValue, plain: Any) -> None:
    """Bytes are base64, what is not set is None."""
    assert plain_value(value) == plain


def test_depth_and_bytes_are_bounded() -> None:
    """Below eight lists there is None; of bytes only so many are read."""
    value = AnyValue(int_value=1)
    for _ in range(9):
        value = AnyValue(array_value=ArrayValue(values=[value]))
    assert plain_value(value) == [[[[[[[[[None]]]]]]]]]
    assert plain_value(value.array_value.values[0]) == [[[[[[[[1]]]]]]]]
    assert plain_value(AnyValue(bytes_value=b"abcdef"), 3) == "YWJj"
