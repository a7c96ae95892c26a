"""
``ProjectIdResolver``: finds the project of a research task once and remembers it.

It looks in the job's payload, in memory, in ``<prefix>:task_meta:{parent}``, and last in a
knowledge base that the user gives. The knowledge base is asked in the background, at most once a
minute for each research task. While it is slow or fails, the project is unknown; nothing waits for
it.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Mapping
from typing import Any, Final, Protocol

from redis.asyncio import Redis

from otel_bridge.clock import SYSTEM_CLOCK, Clock
from otel_bridge.publish.redis_clients import REDIS_ERRORS
from otel_bridge.publish.redis_keys import DEFAULT_KEYS, RedisKeys

__all__ = ["KnowledgeBase", "ProjectIdResolver"]

logger = logging.getLogger(__name__)

_ASK_AGAIN_SEC: Final = 60.0
"""Time between two questions to the knowledge base about one research task, at least."""
_META_TTL_SEC: Final = 24 * 3600


class KnowledgeBase(Protocol):
    """
    The user's own store of research tasks, which knows the project of each.

    Any object with the method ``get_research_task`` will do; ``PostgresKnowledgeBase`` is one. It
    is neither opened nor closed by ``ProjectIdResolver``, which calls it at most once a minute for
    each research task, possibly for several at the same time. What it raises is logged, and an
    answer that takes over 5 s is given up; the project is then unknown.
    """

    def get_research_task(self, task_id: str) -> Any | Awaitable[Any]:
        """
        Return the record of a research task: a mapping or object with ``project_id``, or None.

        None, or a ``project_id`` of None, means that the project is not known. May be a coroutine
        function; a plain function is called in a thread. May raise, which is logged, or take longer
        than the resolver's ``timeout_sec`` (5); the project is then unknown, and the next call for
        it comes a minute later. A coroutine that is late is cancelled, a thread runs on.

        Args:
            task_id: The id of the research task (``parent_task_id`` of its jobs).
        """


class ProjectIdResolver:
    """
    Finds the project of a job, and remembers it. All calls must come from one event loop.

    The first ``resolve`` may start tasks on that loop, one for each research task that the
    knowledge base is asked about, without a limit; ``close`` ends them. No method raises for a
    failure of Redis or of the knowledge base (the user's own store of research tasks): the first in
    a row is logged, and the project is unknown meanwhile.

    Args:
        redis: Holds ``<prefix>:task_meta:{parent}``, where answers of the knowledge base are kept
            for 24 hours; may decode answers or not. Its own time-outs limit each read. The caller
            closes it.
        knowledge_base: Asked last, if payload, memory and Redis have no project. Default None: the
            project is unknown then.
        keys: Makes the names of these hashes; default prefix ``nexus``.
        timeout_sec: Limit for one answer of the knowledge base; default 5 seconds.
        max_cached: Research tasks remembered, at most, default 10,000; the least recently used is
            forgotten first.
        ask_again_sec: The knowledge base is asked again about a research task that it did not know
            after this time at the earliest; default 60 seconds.
        clock: Gives the monotonic time.
    """

    def __init__(
        self,
        redis: Redis,
        knowledge_base: KnowledgeBase | None = None,
        *,
        keys: RedisKeys = DEFAULT_KEYS,
        timeout_sec: float = 5.0,
        max_cached: int = 10_000,
        ask_again_sec: float = _ASK_AGAIN_SEC,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._redis = redis
        self._keys = keys
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
        Find the project of a job.

        A call reads Redis at most once, for as long as the client's own time-outs allow. The
        knowledge base is asked in the background, so only a later call returns its answer. Never
        raises: errors of both are logged, also a project in Redis that is not UTF-8.

        Args:
            payload: The job's payload; its ``project_id`` takes precedence.
            parent_task_id: The id of the job's research task; None: only the payload is read.

        Returns:
            The project id; None if it is not known, or not known yet.
        """
        in_payload = payload.get("project_id")
        if isinstance(in_payload, str) and in_payload:
            return in_payload
        if parent_task_id is None:
            return None
        known = self._known.get(parent_task_id)
        if known is not None:
            self._known.move_to_end(parent_task_id)
            return known
        try:
            stored = await self._redis.hget(self._keys.task_meta(parent_task_id), "project_id")
            project_id = stored.decode() if isinstance(stored, bytes) else stored
        except (*REDIS_ERRORS, UnicodeDecodeError) as error:
            self._log_failure("Redis", error)
            return None
        if project_id:
            self._remember(parent_task_id, project_id)
            return project_id
        self._ask(parent_task_id)
        return None

    async def wait_until_answered(self) -> None:
        """
        Wait until no question to the knowledge base is open (async).

        Each is answered or given up after ``timeout_sec`` (5 s by default). Returns at once if none
        is open; waits on if ``resolve`` asks further ones. Raises nothing itself: failures are
        logged.
        """
        while self._asking:
            await asyncio.gather(*self._asking.values())

    async def close(self) -> None:
        """
        Cancel the open questions; waits at most ``timeout_sec`` (5 s) for their end (async).

        May be called twice. The Redis client stays open, and a later ``resolve`` works and may ask
        again. Raises nothing itself.
        """
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        if asking:
            # With a timeout, because redis-py on Python 3.11 may lose a cancellation.
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
            await self._redis.hset(self._keys.task_meta(parent), "project_id", project_id)
            await self._redis.expire(self._keys.task_meta(parent), _META_TTL_SEC, nx=True)
            self._is_failing = False
        except Exception as error:
            # The knowledge base is the user's code; its exceptions must not reach a worker.
            self._log_failure("the knowledge base", error)

    def _remember(self, parent: str, project_id: str) -> None:
        self._known[parent] = project_id
        self._known.move_to_end(parent)
        if len(self._known) > self._max_cached:
            self._known.popitem(last=False)

    def _log_failure(self, source: str, error: Exception) -> None:
        if not self._is_failing:
            logger.warning("project ids are unknown: %s failed: %r", source, error)
        self._is_failing = True


def _project_of(found: Any) -> str | None:
    if found is None:
        return None
    is_mapping = isinstance(found, Mapping)
    value = found.get("project_id") if is_mapping else getattr(found, "project_id", None)
    return None if value is None else str(value)
