"""
``ProjectLookup``: finds the project of a research task without making the caller wait.

A daemon thread with an event loop of its own runs ``ProjectIdResolver``. A call returns what is
known at that moment; later calls return what has been found since.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

from redis.asyncio import Redis

from otel_bridge.cancellation import cancel
from otel_bridge.clock import SYSTEM_CLOCK, Clock
from otel_bridge.forking import on_fork
from otel_bridge.projects.postgres import PostgresKnowledgeBase
from otel_bridge.projects.resolver import KnowledgeBase, ProjectIdResolver
from otel_bridge.publish.redis_clients import REDIS_ERRORS, aclose
from otel_bridge.publish.redis_keys import DEFAULT_KEYS, RedisKeys
from otel_bridge.suppression import suppress_instrumentation

__all__ = ["ProjectLookup"]

logger = logging.getLogger(__name__)

_RETRY_INTERVAL_SEC: Final = 60.0
"""A project that was not found is looked up again after this time at the earliest."""
_MAX_LOOKUPS: Final = 1000
"""Lookups in progress, at most; a further one is not started, and its project stays unknown."""
_MAX_REDIS_CONNECTIONS: Final = 4
"""Lookups that use Redis at the same time, at most; each takes a connection of the user's Redis."""


class ProjectLookup:
    """
    Project ids by research task, found in the background; no method raises or waits for an answer.

    Call the methods from any thread. There is no start: the first unknown project starts a daemon
    thread with an event loop of its own; ``close`` ends it. At most 1,000 lookups are in progress,
    4 of them in Redis; a further one is not started, and its project stays unknown until it is
    asked for again. A failed lookup, also one whose ``connect`` raises, is logged, and tried again
    a minute later at the earliest. A forked child keeps what is known and starts a thread of its
    own.

    Args:
        connect: Creates the Redis client; called on the lookup's own event loop, which closes it.
        knowledge_base: The user's own store of research tasks, asked if Redis has no project, for 5
            s at most; default None: only Redis is asked.
        keys: Makes the names of the Redis hashes of research tasks; default prefix ``nexus``.
        max_cached: Research tasks remembered, at most, default 10,000; the oldest is forgotten
            first.
        clock: Gives the monotonic time.
    """

    def __init__(
        self,
        connect: Callable[[], Redis],
        knowledge_base: KnowledgeBase | None = None,
        *,
        keys: RedisKeys = DEFAULT_KEYS,
        max_cached: int = 10_000,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._connect = connect
        self._knowledge_base = knowledge_base
        self._keys = keys
        self._max_cached = max_cached
        self._clock = clock
        self._known: OrderedDict[str, str] = OrderedDict()
        self._reset()
        on_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        # A forked child has no thread; the projects found by its parent stay known.
        self._lock = threading.Lock()
        self._looked_up_at: OrderedDict[str, float] = OrderedDict()
        self._lookups = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._session: _Session | None = None

    def learn(self, parent_task_id: str, project_id: str) -> bool:
        """
        Remember the project of a research task, in this process only; replaces what was known.

        Of more than ``max_cached`` (10,000) the oldest is forgotten. Never raises.

        Args:
            parent_task_id: Id of the research task; not checked.
            project_id: Its project; not checked.

        Returns:
            True if it is new or has changed.
        """
        with self._lock:
            is_new = self._known.get(parent_task_id) != project_id
            self._known[parent_task_id] = project_id
            self._known.move_to_end(parent_task_id)
            if len(self._known) > self._max_cached:
                self._known.popitem(last=False)
        return is_new

    def known(self, parent_task_id: str) -> str | None:
        """
        Return the project id of a research task at once; None if it is not known yet.

        An unknown project is then looked up in the background, at most once a minute for each
        research task, so that a later call returns it. No lookup starts while 1,000 are in
        progress. May be called from any thread, with or without an event loop: lookups run on a
        thread of this object. Known projects are kept until there are more than ``max_cached``.
        Never raises: a failure is logged, and the project stays unknown.
        """
        found = self._known.get(parent_task_id)
        if found is not None:
            return found
        try:
            self._start_lookup(parent_task_id)
        except Exception:
            logger.exception("the project of %s cannot be looked up", parent_task_id)
        return None

    def close(self) -> None:
        """End the thread; returns at once. Cancels lookups in progress; a later one restarts it."""
        with self._lock:
            loop, self._loop = self._loop, None
            session, self._session = self._session, None
        if loop is not None:
            asyncio.run_coroutine_threadsafe(_end_loop(session, self._knowledge_base), loop)

    def _start_lookup(self, parent: str) -> None:
        now = self._clock.monotonic()
        with self._lock:
            last = self._looked_up_at.get(parent)
            if (
                last is not None and now - last < _RETRY_INTERVAL_SEC
            ) or self._lookups >= _MAX_LOOKUPS:
                return
            self._looked_up_at[parent] = now
            self._looked_up_at.move_to_end(parent)
            if len(self._looked_up_at) > self._max_cached:
                self._looked_up_at.popitem(last=False)
            self._lookups += 1
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(
                    target=_run_loop, args=(self._loop,), name="otel-bridge-projects", daemon=True
                ).start()
            loop = self._loop
        asyncio.run_coroutine_threadsafe(self._look_up(parent), loop)

    def _open_session(self) -> _Session:
        client = self._connect()
        # The resolver's own pause is shorter. It starts a moment after ours, so with the same
        # length it would not be over when ours is, and the second lookup would be lost.
        resolver = ProjectIdResolver(
            client,
            self._knowledge_base,
            keys=self._keys,
            max_cached=1,
            ask_again_sec=_RETRY_INTERVAL_SEC / 2,
            clock=self._clock,
        )
        return _Session(client, resolver, asyncio.Semaphore(_MAX_REDIS_CONNECTIONS))

    async def _look_up(self, parent: str) -> None:
        with suppress_instrumentation():
            await self._resolve(parent)

    async def _resolve(self, parent: str) -> None:
        try:
            if asyncio.get_running_loop() is not self._loop:
                return  # close() was called meanwhile
            if self._session is None:
                self._session = self._open_session()
            _, resolver, redis_slots = self._session
            async with redis_slots:
                found = await resolver.resolve({}, parent)
            if found is None and self._knowledge_base is not None:
                await resolver.wait_until_answered()
                async with redis_slots:
                    found = await resolver.resolve({}, parent)
            if found is not None:
                self.learn(parent, found)
        except Exception:
            logger.exception("the project of %s could not be looked up", parent)
        finally:
            with self._lock:
                self._lookups -= 1


class _Session(NamedTuple):
    """The objects that belong to one event loop."""

    redis: Redis
    resolver: ProjectIdResolver
    redis_slots: asyncio.Semaphore


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()


async def _end_loop(session: _Session | None, knowledge_base: KnowledgeBase | None) -> None:
    try:
        await cancel(asyncio.all_tasks() - {asyncio.current_task()})
        if session is not None:
            with contextlib.suppress(*REDIS_ERRORS):
                await aclose(session.redis)
        if isinstance(knowledge_base, PostgresKnowledgeBase):
            await knowledge_base.close()  # only a connection of this loop
    finally:
        asyncio.get_running_loop().stop()
