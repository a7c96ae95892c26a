"""
``repair_texts``: makes a protobuf message readable in which a text is not UTF-8.

Protobuf refuses the whole message for one such text, so one span with a strange attribute would
cost all others of its request. Senders in Go and C++ do send such texts.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ["repair_texts"]

_MAX_FIELDS: Final = 250_000
"""Fields that are looked at, at most: 1 us each, with the interpreter's lock held."""
_MAX_DEPTH: Final = 100
_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5


def repair_texts(data: bytes, descriptor: Any) -> bytes:
    """
    Replace what is not UTF-8 in the texts of an encoded message by U+FFFD; any thread.

    Args:
        data: The encoded message.
        descriptor: The ``DESCRIPTOR`` of its type; fields that it does not know stay as they are.

    Returns:
        The encoded message, with every text valid.

    Raises:
        ValueError: It is no encoded message, has over 250,000 fields, or nests over 100 levels.
    """
    return _Repair().message(data, descriptor, 0)


class _Repair:
    def __init__(self) -> None:
        self._left = _MAX_FIELDS

    def message(self, data: bytes, descriptor: Any, depth: int) -> bytes:
        if depth > _MAX_DEPTH:
            raise ValueError("nested too deep")
        fields = descriptor.fields_by_number
        out = bytearray()
        at = 0
        while at < len(data):
            self._left -= 1
            if self._left < 0:
                raise ValueError("too many fields")
            first = at
            tag, at = _read_varint(data, at)
            kind = tag & 7
            if kind == _DELIMITED:
                size, at = _read_varint(data, at)
                value, at = data[at : at + size], at + size
                if len(value) < size:
                    raise ValueError("truncated")
                fixed = self._value(value, fields.get(tag >> 3), depth)
                out += _varint(tag) + _varint(len(fixed)) + fixed
                continue
            if kind == _VARINT:
                _, at = _read_varint(data, at)
            elif kind == _FIXED64:
                at += 8
            elif kind == _FIXED32:
                at += 4
            else:
                raise ValueError(f"wire type {kind}")
            if at > len(data):
                raise ValueError("truncated")
            out += data[first:at]
        return bytes(out)

    def _value(self, value: bytes, field: Any, depth: int) -> bytes:
        if field is None:
            return value
        if field.type == field.TYPE_STRING:
            return value.decode("utf-8", "replace").encode()
        if field.type == field.TYPE_MESSAGE:
            return self.message(value, field.message_type, depth + 1)
        return value


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("truncated")
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return number, at
        shift += 7


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
