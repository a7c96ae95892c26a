"""
``ProjectLookup``: the answer to "whose project?" that never makes the caller wait.

A daemon thread with an event loop of its own runs ``ProjectIdResolver``; the caller gets what is
known by now, and a later call gets what has been found since.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

from redis.asyncio import Redis

from otel_bridge.cancellation import cancel
from otel_bridge.clock import SYSTEM_CLOCK, Clock
from otel_bridge.projects.resolver import KnowledgeBase, ProjectIdResolver
from otel_bridge.publish.redis_clients import REDIS_ERRORS, aclose

__all__ = ["ProjectLookup"]

logger = logging.getLogger(__name__)

_ASK_AGAIN_SEC: Final = 60.0
_MAX_ASKING: Final = 1000
"""Questions under way; one more is not asked now, and counts as unknown."""
_MAX_AT_REDIS: Final = 4
"""Of them at Redis, a connection each: it is the user's."""


class ProjectLookup:
    """
    Project ids by research task, found in the background; never raises, never waits.

    Args:
        connect: Makes the Redis client of the lookup's own event loop.
        knowledge_base: Asked when Redis knows nothing.
        max_cached: Research tasks remembered.
        clock: Gives the monotonic time.
    """

    def __init__(
        self,
        connect: Callable[[], Redis],
        knowledge_base: KnowledgeBase | None = None,
        *,
        max_cached: int = 10_000,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._connect = connect
        self._knowledge_base = knowledge_base
        self._max_cached = max_cached
        self._clock = clock
        self._known: OrderedDict[str, str] = OrderedDict()
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        # A forked child has no thread; what is known stays known.
        self._lock = threading.Lock()
        self._asked_at: OrderedDict[str, float] = OrderedDict()
        self._asking = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._session: _Session | None = None

    def learn(self, parent_task_id: str, project_id: str) -> bool:
        """Remember; True when it was not known before."""
        with self._lock:
            is_new = self._known.get(parent_task_id) != project_id
            self._known[parent_task_id] = project_id
            self._known.move_to_end(parent_task_id)
            if len(self._known) > self._max_cached:
                self._known.popitem(last=False)
        return is_new

    def known(self, parent_task_id: str) -> str | None:
        """The project, or None: then it is being looked for, at most once a minute."""
        found = self._known.get(parent_task_id)
        if found is not None:
            return found
        try:
            self._ask(parent_task_id)
        except Exception:
            logger.exception("the project of %s cannot be looked for", parent_task_id)
        return None

    def close(self) -> None:
        """End the thread; what is being looked for stays unknown."""
        with self._lock:
            loop, self._loop = self._loop, None
            session, self._session = self._session, None
        if loop is not None:
            asyncio.run_coroutine_threadsafe(_end(session), loop)

    def _ask(self, parent: str) -> None:
        now = self._clock.monotonic()
        with self._lock:
            last = self._asked_at.get(parent)
            if (last is not None and now - last < _ASK_AGAIN_SEC) or self._asking >= _MAX_ASKING:
                return
            self._asked_at[parent] = now
            self._asked_at.move_to_end(parent)
            if len(self._asked_at) > self._max_cached:
                self._asked_at.popitem(last=False)
            self._asking += 1
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(
                    target=_serve, args=(self._loop,), name="otel-bridge-projects", daemon=True
                ).start()
            loop = self._loop
        asyncio.run_coroutine_threadsafe(self._look_up(parent), loop)

    def _open_session(self) -> _Session:
        client = self._connect()
        # Its own pause is the shorter one: it begins a moment after ours, and a minute of its own
        # would not be over when ours is.
        resolver = ProjectIdResolver(
            client,
            self._knowledge_base,
            max_cached=1,
            ask_again_sec=_ASK_AGAIN_SEC / 2,
            clock=self._clock,
        )
        return _Session(client, resolver, asyncio.Semaphore(_MAX_AT_REDIS))

    async def _look_up(self, parent: str) -> None:
        try:
            if asyncio.get_running_loop() is not self._loop:
                return  # closed meanwhile
            if self._session is None:
                self._session = self._open_session()
            _, resolver, at_redis = self._session
            async with at_redis:
                found = await resolver.resolve({}, parent)
            if found is None and self._knowledge_base is not None:
                await resolver.settle()
                async with at_redis:
                    found = await resolver.resolve({}, parent)
            if found is not None:
                self.learn(parent, found)
        except Exception:
            logger.exception("the project of %s could not be looked for", parent)
        finally:
            with self._lock:
                self._asking -= 1


class _Session(NamedTuple):
    """What belongs to one event loop."""

    redis: Redis
    resolver: ProjectIdResolver
    at_redis: asyncio.Semaphore


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()


async def _end(session: _Session | None) -> None:
    try:
        await cancel(asyncio.all_tasks() - {asyncio.current_task()})
        if session is not None:
            with contextlib.suppress(*REDIS_ERRORS):
                await aclose(session.redis)
    finally:
        asyncio.get_running_loop().stop()
