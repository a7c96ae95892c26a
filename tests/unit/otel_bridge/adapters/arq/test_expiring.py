"""The carriers of arq jobs that expire: which are kept, for how long, and in which key."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from arq.connections import ArqRedis, RedisSettings, create_pool
from redis.exceptions import ResponseError

from otel_bridge.adapters.arq.expiring import CarrierKeys

pytestmark = pytest.mark.redis

DAY_MS = 86_400_000


class Refusing:
    """A pool whose Redis refuses every command, as by its ACL, or cannot be reached."""

    expires_extra_ms = DAY_MS

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def _refuse(self, *args: Any, **kwargs: Any) -> None:
        raise self.error

    set = getdel = delete = _refuse


@pytest.mark.parametrize(
    ("options", "life_ms"),
    [
        ({}, None),
        ({"_defer_by": 5}, None),
        ({"_expires": 5}, 5000),
        ({"_expires": timedelta(seconds=2), "_defer_by": 5}, 2000),
        ({"_expires": "soon"}, None),
    ],
)
def test_jobs_with_a_life_of_their_own_are_kept(
    options: dict[str, Any], life_ms: int | None
) -> None:
    """For a day longer than arq keeps the job; arq's own limit of a day is no reason."""
    kept = CarrierKeys().keeps_for_ms(Refusing(ResponseError()), options)
    assert kept == (None if life_ms is None else life_ms + DAY_MS)


def test_a_pool_with_a_shorter_limit_keeps_all() -> None:
    """From the time at which the job is due."""
    pool = Refusing(ResponseError())
    pool.expires_extra_ms = 1000
    keys = CarrierKeys()
    assert keys.keeps_for_ms(pool, {}) == 1000 + DAY_MS
    assert keys.keeps_for_ms(pool, {"_defer_by": 5}) == 6000 + DAY_MS
    due = datetime.now(UTC) + timedelta(seconds=60)
    found = keys.keeps_for_ms(pool, {"_defer_until": due})
    assert found is not None
    assert 50_000 < found - DAY_MS <= 61_000


async def test_a_carrier_is_read_once(redis_url: str) -> None:
    """Kept, read and gone, or deleted when the job has ended; an unknown job has none."""
    pool: ArqRedis = await create_pool(RedisSettings.from_dsn(redis_url))
    keys = CarrierKeys()
    await keys.keep(pool, "j1", "add", {"nexus-phase": "search"}, 60_000)
    assert 0 < await pool.pttl("arq:otel_bridge:j1") <= 60_000
    assert await keys.read(pool, "j1") == ("add", {"nexus-phase": "search"})
    assert await keys.read(pool, "j1") == ("job", None)
    await keys.keep(pool, "j2", "add", {}, 60_000)
    await keys.forget(pool, "j2")
    assert await pool.keys("arq:otel_bridge:*") == []
    await pool.aclose()


async def test_a_redis_that_refuses_is_not_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is raised into the application; one that cannot be reached is asked again."""
    keys = CarrierKeys()
    gone, refusing = Refusing(ConnectionError("gone")), Refusing(ResponseError("NOPERM"))
    await keys.keep(gone, "j1", "add", {}, 1000)
    assert keys.keeps_for_ms(gone, {"_expires": 1}) is not None
    await keys.keep(refusing, "j1", "add", {}, 1000)
    assert keys.keeps_for_ms(refusing, {"_expires": 1}) is None
    assert await keys.read(refusing, "j1") == ("job", None)
    await keys.forget(refusing, "j1")
    assert len(caplog.records) == 4
