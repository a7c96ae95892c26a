"""
How many jobs wait in an arq queue.

arq keeps a job in its queue while it runs, and marks it by a key of its own. Those that run are not
waiting, so they are subtracted.

Source: arq 0.25 to 0.28 (``worker.py``, ``start_jobs``).
"""

from __future__ import annotations

from typing import Any, Final

from otel_bridge.adapters.base import framework

with framework("arq"):
    from arq.constants import in_progress_key_prefix

__all__ = ["depth_of"]

_MAX_LOOKED_AT: Final = 1000
"""Jobs run in the order in which they are due, so those that run are among the first ones."""


async def depth_of(pool: Any, name: str) -> int:
    """
    Count the jobs that wait in a queue, those that are put off too; 0 if it does not exist.

    Of the first 1,000 jobs, those that run are left out. Three commands.

    Args:
        pool: An ``ArqRedis``.
        name: Full name of the queue.

    Raises:
        redis.RedisError: Redis cannot be reached, or refuses a command.
    """
    count = int(await pool.zcard(name))
    first = await pool.zrange(name, 0, _MAX_LOOKED_AT - 1)
    if not first:
        return count
    keys = [f"{in_progress_key_prefix}{_text(job_id)}" for job_id in first]
    return max(0, count - int(await pool.exists(*keys)))


def _text(job_id: bytes | str) -> str:
    return job_id.decode() if isinstance(job_id, bytes) else job_id
