"""
``tolerate_busy_loop``: time-outs of Redis that do not count the time in which our loop was busy.

redis-py waits for an answer with ``asyncio.timeout``. When a callback has kept the event loop busy
for longer, that timer fires before the loop has looked at its sockets: the answer was there all the
time, and Redis counts as silent. Measured with 10,000 clients that connect at once: the loop was
busy for 18 to 30 s, and the reader of the log lost its connection 1 to 3 times.
"""

from __future__ import annotations

import functools
from typing import Any, Final

from redis.asyncio.connection import Connection
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

__all__ = ["tolerate_busy_loop"]

_PARTS: Final = 8
"""The wait for an answer is split into so many. The loop looks at its sockets between two of them,
so that its own delay costs one or two of them, however long it takes."""


def tolerate_busy_loop(client: Any) -> None:
    """
    Let the time-outs of a client's answers count the time in which its event loop turned.

    An answer that has not come within ``socket_timeout`` still raises redis-py's ``TimeoutError``
    after that time on a loop that is not busy; a busy one waits longer, for at most eight times its
    longest callback. Connecting and sending have the limits that they had. Never raises.

    Args:
        client: Of ``redis_clients.connect_async``, for a server, a master behind Sentinels or a
            Cluster, before its first command; connections that it has already stay as they are.
    """
    pool = getattr(client, "connection_pool", None)
    if pool is not None:
        pool.connection_class = _tolerant(pool.connection_class)
        return
    manager = client.nodes_manager
    for options in (client.connection_kwargs, manager.connection_kwargs):
        options["connection_class"] = _tolerant(options.get("connection_class", Connection))
    for node in manager.startup_nodes.values():
        node.connection_class = _tolerant(node.connection_class)


@functools.cache
def _tolerant(base: Any) -> Any:
    """A class of redis-py's connections whose answers are waited for in parts."""
    if issubclass(base, _InParts):
        return base
    return type(f"Tolerant{base.__name__}", (_InParts, base), {})


class _InParts:
    """Mixed into a connection: reads an answer in parts of its ``socket_timeout``."""

    socket_timeout: float | None

    async def read_response(
        self,
        disable_decoding: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109
        *,
        disconnect_on_error: bool = True,
        **options: Any,
    ) -> Any:
        read = super().read_response  # type: ignore[misc]
        limit = self.socket_timeout
        if timeout is not None or limit is None:
            return await read(
                disable_decoding, timeout, disconnect_on_error=disconnect_on_error, **options
            )
        self.socket_timeout = limit / _PARTS
        try:
            for part in range(1, _PARTS + 1):
                try:
                    # What has arrived stays in the reader's buffer when a part times out.
                    return await read(disable_decoding, disconnect_on_error=False, **options)
                except RedisTimeoutError:
                    if part == _PARTS:
                        raise
        except ResponseError:
            raise
        except BaseException:
            if disconnect_on_error:
                await self.disconnect(nowait=True)  # type: ignore[attr-defined]
            raise
        finally:
            self.socket_timeout = limit
