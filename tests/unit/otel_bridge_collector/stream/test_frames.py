"""
Frames taken apart, and the sink for servers without our protocol class.

The protocol class needs sockets: see ``tests/integration/test_collector_faults.py`` and
``test_limits.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from otel_bridge_collector.stream.frames import AsgiSink, payloads
from otel_bridge_collector.stream.sessions import text_frame
from otel_bridge_collector.wire.close_codes import RESTARTING


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_joined_frames_are_taken_apart(messages: list[bytes]) -> None:
    """Frames written in one piece give back their payloads."""
    assert messages == payloads(b"".join(text_frame(message) for message in messages))


async def test_asgi_sink_sends_each_message_and_the_close() -> None:
    """Without our protocol class every frame becomes one ASGI message; the close comes last."""
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
