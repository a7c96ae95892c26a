"""
``RedisRetry``: repeats Redis operations during an outage, and logs each outage once.

One object serves all workers of a process, so an outage is one warning and not one per worker.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from redis.exceptions import (
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from otel_bridge.orchestration.queue.wake import jittered
from otel_bridge.publish.redis_failures import failure_reason

__all__ = ["RedisRetry"]

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

_TIMEOUT_SEC: Final = 60.0
_STOPPING_TIMEOUT_SEC: Final = 2.0
_FIRST_DELAY_SEC: Final = 0.1
_MAX_DELAY_SEC: Final = 2.0


class RedisRetry:
    """
    Repeats Redis operations that fail because Redis is unavailable, and logs each outage once.

    Each coordinator creates one, for all its workers on one event loop; await ``call`` with an
    operation. When the time is over, it raises the last error. Creating it never raises.

    Args:
        stopping: Once it is set, operations are repeated for 2 s instead of 60 s.
    """

    def __init__(self, stopping: asyncio.Event) -> None:
        self._stopping = stopping
        self._is_outage = False

    async def call(self, operation: Callable[[], Awaitable[_T]]) -> _T:
        """
        Return the result of a Redis operation; repeat it for up to 60 s, or 2 s when stopping.

        The delay between two tries doubles from 0.1 s to 2 s, times a random 0.5 to 1.5. Replies
        that another try cannot change are raised at once; those of a Redis that is out of memory,
        read-only, busy or failing over are not.

        Args:
            operation: Called for each try. It may have succeeded although its answer was lost, so
                calling it twice must do no harm.

        Raises:
            redis.RedisError: Redis refuses the operation, or is still unavailable.
            OSError: Redis is still unreachable.
            Exception: Anything else that the operation raises, at once.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        delay_sec = _FIRST_DELAY_SEC
        while True:
            try:
                answer = await operation()
            except (RedisError, OSError) as error:
                timeout_sec = _STOPPING_TIMEOUT_SEC if self._stopping.is_set() else _TIMEOUT_SEC
                if not _is_temporary(error) or loop.time() > started + timeout_sec:
                    raise
                self.failed(error)
                await asyncio.sleep(jittered(delay_sec))
                delay_sec = min(2 * delay_sec, _MAX_DELAY_SEC)
            else:
                self.succeeded()
                return answer

    def failed(self, error: Exception) -> None:
        """Note that an operation failed with ``error``; the first one of an outage is logged."""
        if not self._is_outage:
            logger.warning("the queue's Redis cannot be used: %s; waiting", failure_reason(error))
        self._is_outage = True

    def succeeded(self) -> None:
        """Note that an operation succeeded; the first one after an outage is logged."""
        if self._is_outage:
            logger.info("the queue's Redis is back")
        self._is_outage = False


def _is_temporary(error: Exception) -> bool:
    """Whether trying again may help; not for most error replies, which would only come again."""
    if not isinstance(error, ResponseError):
        return True
    # A Redis that is out of memory, cannot write its file or is failing over refuses writes for a
    # while. redis-py has classes for some of these error codes, and strips the code from their
    # texts.
    temporary = (OutOfMemoryError, ReadOnlyError, MasterDownError)
    return isinstance(error, temporary) or str(error).startswith(("MISCONF", "BUSY"))
