"""One message for many clients: plain, compressed, and each made once."""

from __future__ import annotations

import zlib

import pytest
from otel_bridge_collector.stream.frames import payloads
from otel_bridge_collector.stream.sessions import text_frame
from otel_bridge_collector.stream.shared_message import SharedMessage

LONG = b'{"k":"a","name":"search"},' * 40


def inflated(frame: bytes) -> bytes:
    """What a client reads: RFC 7692 lets it append the block that is not sent."""
    (payload,) = payloads(frame)
    return zlib.decompressobj(-15).decompress(payload + b"\x00\x00\xff\xff")


def test_a_long_message_is_compressed_for_those_who_take_it() -> None:
    """RSV1 marks the frame; who does not take it gets the plain one."""
    message = SharedMessage(LONG)
    packed = message.frame(is_deflated=True)
    assert packed[0] == 0xC1
    assert len(packed) < len(LONG) / 4
    assert inflated(packed) == LONG
    assert message.frame(is_deflated=False) == text_frame(LONG)


def test_each_form_is_made_once() -> None:
    """All clients get the same bytes object."""
    message = SharedMessage(LONG)
    for is_deflated in (True, False):
        first = message.frame(is_deflated=is_deflated)
        assert message.frame(is_deflated=is_deflated) is first


@pytest.mark.parametrize(
    "payload", [b"", b"a" * 255, bytes(range(256))], ids=["empty", "short", "incompressible"]
)
def test_what_compression_cannot_help_stays_plain(payload: bytes) -> None:
    """Under 256 bytes, or no smaller when compressed."""
    assert SharedMessage(payload).frame(is_deflated=True) == text_frame(payload)


def test_messages_stand_alone() -> None:
    """Each is read without those before it."""
    for _ in range(2):
        assert inflated(SharedMessage(LONG).frame(is_deflated=True)) == LONG
