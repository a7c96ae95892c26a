"""Redis operations during an outage."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import (
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from otel_bridge.orchestration.queue import redis_retry
from otel_bridge.orchestration.queue.redis_retry import RedisRetry


@pytest.fixture(autouse=True)
def _no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_retry, "_FIRST_DELAY_SEC", 0.0)


def failing(*errors: Exception) -> Callable[[], Awaitable[str]]:
    """An operation that fails with each of the errors and then succeeds."""
    left = list(errors)

    async def operation() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return operation


@pytest.mark.parametrize(
    "error",
    [
        RedisConnectionError("refused"),
        RedisTimeoutError("slow"),
        OSError("no route"),
        OutOfMemoryError("used memory > 'maxmemory'"),
        ReadOnlyError("a replica"),
        MasterDownError("link is down"),
        ResponseError("MISCONF Redis is configured to save RDB snapshots"),
        ResponseError("BUSY Redis is busy running a script"),
    ],
)
async def test_an_operation_is_repeated_during_an_outage(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """What passes is waited out; the outage and its end are one line each."""
    caplog.set_level(logging.INFO, redis_retry.__name__)
    retry = RedisRetry(asyncio.Event())
    assert await retry.call(failing(error, error, error)) == "done"
    assert [record.getMessage() for record in caplog.records] == [
        f"the queue's Redis cannot be used: {type(error).__name__}: {error}; waiting",
        "the queue's Redis is back",
    ]


@pytest.mark.parametrize(
    "error", [ResponseError("WRONGTYPE"), NoPermissionError("no permissions"), ValueError("bug")]
)
async def test_what_does_not_pass_is_raised_at_once(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """An operation that Redis refuses would be refused again."""
    with pytest.raises(type(error)):
        await RedisRetry(asyncio.Event()).call(failing(error))
    assert caplog.records == []


@pytest.mark.parametrize(
    ("is_stopping", "timeout"), [(False, "_TIMEOUT_SEC"), (True, "_STOPPING_TIMEOUT_SEC")]
)
async def test_it_ends_after_the_timeout(
    is_stopping: bool, timeout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is stopping does not wait for Redis as long as others do."""
    monkeypatch.setattr(redis_retry, timeout, -1.0)
    stopping = asyncio.Event()
    if is_stopping:
        stopping.set()
    with pytest.raises(RedisConnectionError):
        await RedisRetry(stopping).call(failing(RedisConnectionError("away")))


def test_workers_share_one_outage(caplog: pytest.LogCaptureFixture) -> None:
    """However many workers fail, an outage is one warning; the next outage is another one."""
    retry = RedisRetry(asyncio.Event())
    for _ in range(2):
        for _ in range(3):
            retry.failed(OSError("away"))
        retry.succeeded()
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
