"""The leader's duty that sets the linger, round by round, on a clock of the test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from otel_bridge_collector.leader.linger import LingerSetter

from otel_bridge.publish.redis_clients import aclose, connect_async
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from tests.support.faults import FakeClock

__all__ = ["META", "Leading"]

META = DEFAULT_KEYS.log_meta()


class Leading:
    """The duty of one leader on a clock of its own, so that a few scripts are any rate."""

    def __init__(self, url: str, clock: FakeClock, tags: Sequence[str] = ("0",)) -> None:
        self.client: Any = connect_async(url, socket_timeout=5.0)
        self.clock = clock
        self._tags = tags
        self.events = 0
        self.setter = LingerSetter(
            max_ms=50,
            interval_sec=2,
            redis=self.client,
            keys=DEFAULT_KEYS,
            events=lambda: self.events,
            position=self._position,
            clock=clock,
        )
        self._id = "0-0"

    def _position(self) -> str:
        return f"epoch:{self._id}"

    async def round(self, scripts: int = 0, events: int = 0) -> int | None:
        """So many scripts with so many events in a tenth of a second, then a round."""
        for number in range(scripts):
            tag = self._tags[number % len(self._tags)]
            await self.client.evalsha(self.sha, 1, DEFAULT_KEYS.log_meta(tag))
        self.events += events
        newest = await self.client.xrevrange(DEFAULT_KEYS.log_stream(), count=1)
        self._id = newest[0][0].decode() if newest else "0-0"
        self.clock.advance(0.1)
        await self.setter.run_round()
        return self.setter.linger_ms

    async def __aenter__(self) -> Leading:
        self.sha = await self.client.script_load("return 1")
        return self

    async def __aexit__(self, *_: object) -> None:
        await aclose(self.client)
