"""Frames built here are frames as the websockets library reads them."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from otel_bridge_collector.stream.frames import AsgiSink, payloads
from otel_bridge_collector.stream.sessions import text_frame
from otel_bridge_collector.wire.close_codes import (
    AUTH_REQUIRED,
    BAD_REQUEST,
    RESTARTING,
    SLOW_CLIENT,
)
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader


def read_frame(data: bytes) -> Frame:
    """Read one frame with the library's own, unmasked, reader."""
    reader = StreamReader()
    reader.feed_data(data)
    parsing = Frame.parse(reader.read_exact, mask=False)
    with pytest.raises(StopIteration) as stopped:
        next(parsing)
    found: Frame = stopped.value.value
    return found


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 70000])
def test_frame_is_readable_at_every_length(size: int) -> None:
    """Each of the three length forms is what RFC 6455 says."""
    frame = read_frame(text_frame(b"x" * size))
    assert (Opcode.TEXT, True, size) == (frame.opcode, frame.fin, len(frame.data))


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_joined_frames_come_apart(messages: list[bytes]) -> None:
    """Frames written in one piece are the messages they were made of."""
    assert messages == payloads(b"".join(text_frame(message) for message in messages))


@pytest.mark.parametrize("code", [AUTH_REQUIRED, BAD_REQUEST, RESTARTING, SLOW_CLIENT])
def test_close_reasons_fit(code: Any) -> None:
    """A close reason has at most 123 bytes, or no client would ever read it."""
    assert len(code.reason.encode()) <= 123


async def test_asgi_sink_sends_each_message_and_the_goodbye() -> None:
    """Without our protocol class every frame becomes one ASGI text message, then the close."""
    sent: list[MutableMapping[str, Any]] = []
    done = asyncio.Event()

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)
        if message["type"] == "websocket.close":
            done.set()

    sink = AsgiSink(send)
    sink.write(text_frame(b"one") + text_frame(b"two"))
    while sink.buffered_bytes():
        await asyncio.sleep(0)
    sink.close(RESTARTING)
    await asyncio.wait_for(done.wait(), 5)
    await sink.stop()
    assert [message.get("text") for message in sent] == ["one", "two", None]
    assert sent[-1]["code"] == 1012
