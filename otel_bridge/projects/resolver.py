"""
``ProjectIdResolver``: whose work a research task is, found once and remembered.

Looked for in the payload, in memory, in ``nexus:task_meta:{parent}``, and last in a knowledge base
that the user gives. The knowledge base is asked in the background, at most once a minute and
parent: a slow or dead one costs nothing but an unknown project for a while.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Mapping
from typing import Any, Final, Protocol

from redis.asyncio import Redis
from redis.exceptions import RedisError

from otel_bridge.clock import SYSTEM_CLOCK, Clock
from otel_bridge.publish import redis_keys

__all__ = ["KnowledgeBase", "ProjectIdResolver"]

logger = logging.getLogger(__name__)

_ASK_AGAIN_SEC: Final = 60.0
_META_TTL_SEC: Final = 24 * 3600


class KnowledgeBase(Protocol):
    """Where the user's own research tasks are on record."""

    def get_research_task(self, task_id: str) -> Any | Awaitable[Any]:
        """
        The research task's record, or None: a mapping or object with ``project_id``.

        May be a coroutine function; a plain one is called in a thread.
        """


class ProjectIdResolver:
    """
    Finds project ids; used on one event loop, never raises.

    Args:
        redis: Holds ``nexus:task_meta:{parent}``.
        knowledge_base: Asked last; None: not asked.
        timeout_sec: For one answer of the knowledge base.
        max_cached: Parents remembered, the least recently used forgotten first.
        ask_again_sec: The knowledge base is not asked sooner for a parent it did not know.
        clock: Gives the monotonic time.
    """

    def __init__(
        self,
        redis: Redis,
        knowledge_base: KnowledgeBase | None = None,
        *,
        timeout_sec: float = 5.0,
        max_cached: int = 10_000,
        ask_again_sec: float = _ASK_AGAIN_SEC,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._redis = redis
        self._knowledge_base = knowledge_base
        self._timeout_sec = timeout_sec
        self._max_cached = max_cached
        self._ask_again_sec = ask_again_sec
        self._clock = clock
        self._known: OrderedDict[str, str] = OrderedDict()
        self._asked_at: OrderedDict[str, float] = OrderedDict()
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._is_failing = False

    async def resolve(self, payload: Mapping[str, Any], parent_task_id: str | None) -> str | None:
        """
        The project of a job, or None when it is not known (yet).

        Costs at most one Redis read a call; the knowledge base is asked in the background and a
        later call has its answer.
        """
        named = payload.get("project_id")
        if isinstance(named, str) and named:
            return named
        if parent_task_id is None:
            return None
        known = self._known.get(parent_task_id)
        if known is not None:
            self._known.move_to_end(parent_task_id)
            return known
        try:
            stored = await self._redis.hget(redis_keys.task_meta(parent_task_id), "project_id")
        except (RedisError, OSError) as error:
            self._failed("Redis", error)
            return None
        if stored:
            project_id = stored.decode() if isinstance(stored, bytes) else str(stored)
            self._remember(parent_task_id, project_id)
            return project_id
        self._ask(parent_task_id)
        return None

    async def settle(self) -> None:
        """Wait until every question under way has been answered or given up."""
        while self._asking:
            await asyncio.gather(*self._asking.values())

    async def close(self) -> None:
        """Give up the questions under way."""
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        if asking:
            # Not for ever: redis-py on Python 3.11 may lose a cancellation.
            await asyncio.wait(asking, timeout=self._timeout_sec)

    def _ask(self, parent: str) -> None:
        if self._knowledge_base is None or parent in self._asking:
            return
        now = self._clock.monotonic()
        if now - self._asked_at.get(parent, float("-inf")) < self._ask_again_sec:
            return
        self._asked_at[parent] = now
        self._asked_at.move_to_end(parent)
        if len(self._asked_at) > self._max_cached:
            self._asked_at.popitem(last=False)
        task = asyncio.create_task(self._look_up(parent, self._knowledge_base))
        self._asking[parent] = task
        task.add_done_callback(lambda _: self._asking.pop(parent, None))

    async def _look_up(self, parent: str, knowledge_base: KnowledgeBase) -> None:
        try:
            async with asyncio.timeout(self._timeout_sec):
                if inspect.iscoroutinefunction(knowledge_base.get_research_task):
                    found = await knowledge_base.get_research_task(parent)
                else:
                    found = await asyncio.to_thread(knowledge_base.get_research_task, parent)
                    if inspect.isawaitable(found):
                        found = await found
            project_id = _project_of(found)
            if project_id is None:
                return
            self._remember(parent, project_id)
            await self._redis.hset(redis_keys.task_meta(parent), "project_id", project_id)
            await self._redis.expire(redis_keys.task_meta(parent), _META_TTL_SEC, nx=True)
            self._is_failing = False
        except Exception as error:
            # The user's own code and database: nothing it does may reach a worker.
            self._failed("the knowledge base", error)

    def _remember(self, parent: str, project_id: str) -> None:
        self._known[parent] = project_id
        self._known.move_to_end(parent)
        if len(self._known) > self._max_cached:
            self._known.popitem(last=False)

    def _failed(self, who: str, error: Exception) -> None:
        if not self._is_failing:
            logger.warning("project ids are unknown: %s failed: %r", who, error)
        self._is_failing = True


def _project_of(found: Any) -> str | None:
    if found is None:
        return None
    is_mapping = isinstance(found, Mapping)
    value = found.get("project_id") if is_mapping else getattr(found, "project_id", None)
    return None if value is None else str(value)
