"""How many jobs wait in an arq queue."""

from __future__ import annotations

import pytest
from arq.connections import ArqRedis, RedisSettings, create_pool

from otel_bridge.adapters.arq.depth import depth_of

pytestmark = pytest.mark.redis


async def test_what_runs_does_not_wait(redis_url: str) -> None:
    """Waiting and delayed jobs count, one that arq has marked as running does not."""
    pool: ArqRedis = await create_pool(RedisSettings.from_dsn(redis_url))
    assert await depth_of(pool, "arq:queue") == 0
    for job_id, delay_sec in (("j1", None), ("j2", None), ("j3", 60)):
        await pool.enqueue_job("add", _job_id=job_id, _defer_by=delay_sec)
    assert await depth_of(pool, "arq:queue") == 3
    await pool.set("arq:in-progress:j1", b"1")
    assert await depth_of(pool, "arq:queue") == 2
    await pool.delete("arq:queue")
    assert await depth_of(pool, "arq:queue") == 0
    await pool.aclose()
