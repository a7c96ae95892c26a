"""
Keeping claimed jobs claimed: ``LeaseKeeper`` renews from a thread, ``guarded`` runs the work.

A thread and not a task, because a handler that blocks the event loop must not lose its lease: the
work is slow, not dead. When a lease is lost all the same (the process was stopped, Redis could not
be reached), the work is cancelled, since somebody else has begun it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import redis
import redis.asyncio as redis_asyncio
from redis.exceptions import RedisError

from otel_bridge.cancellation import cancel
from otel_bridge.errors import OtelBridgeError
from otel_bridge.orchestration.queue.task_queue import Claim, lua_source, text

__all__ = ["LeaseKeeper", "LeaseLostError", "StoppingError", "blocking_twin", "guarded"]

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

_CANCEL_TIMEOUT_SEC: Final = 5.0
_TIMEOUT_SEC: Final = 2.0


class LeaseLostError(OtelBridgeError):
    """Raised when another attempt took over the job while this one was running."""


class StoppingError(OtelBridgeError):
    """Raised when the worker is asked to stop and the job has not ended in time."""


def blocking_twin(client: redis_asyncio.Redis) -> redis.Redis:
    """
    A synchronous client of the same server, for a thread.

    Reads the asynchronous client's own connection arguments; of fakeredis, shares its server.
    """
    pool = client.connection_pool
    arguments: dict[str, Any] = dict(pool.connection_kwargs)
    if "server" in arguments:
        import fakeredis  # only there when an embedded Redis was made of it

        shared = {
            name: arguments[name]
            for name in ("server", "host", "port", "db", "version", "server_type")
            if arguments.get(name) is not None
        }
        twin: redis.Redis = fakeredis.FakeRedis(**shared)
        return twin
    wanted = {"host", "port", "path", "db", "username", "password"}
    chosen = {
        name: value
        for name, value in arguments.items()
        if name in wanted or (name.startswith("ssl_") and value is not None)
    }
    kind: type[redis.Connection] = redis.Connection
    if "path" in arguments:
        kind = redis.UnixDomainSocketConnection  # type: ignore[assignment]  # no common base typed
    elif issubclass(pool.connection_class, redis_asyncio.SSLConnection):
        kind = redis.SSLConnection
    return redis.Redis(
        connection_pool=redis.ConnectionPool(
            connection_class=kind,
            socket_timeout=_TIMEOUT_SEC,
            socket_connect_timeout=_TIMEOUT_SEC,
            **chosen,
        )
    )


class LeaseKeeper:
    """
    Renews the leases of every job this process runs, at a third of their length.

    Args:
        client: Used by the keeper's thread only.
        lease_sec: As the queue gives them.
    """

    def __init__(self, client: redis.Redis, lease_sec: float) -> None:
        self._client = client
        self._lease_ms = int(lease_sec * 1000)
        self._interval_sec = lease_sec / 3
        self._renew = client.register_script(lua_source("renew"))
        self._held: dict[tuple[str, int], tuple[Claim, Callable[[], None]]] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_failing = False

    def hold(self, claim: Claim, on_lost: Callable[[], None]) -> None:
        """Begin to renew; ``on_lost`` is called from the keeper's thread, at most once."""
        with self._lock:
            self._held[claim.job_id, claim.attempt] = (claim, on_lost)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="otel-bridge-leases", daemon=True
                )
                self._thread.start()

    def drop(self, claim: Claim) -> None:
        """Renew no longer."""
        with self._lock:
            self._held.pop((claim.job_id, claim.attempt), None)

    def close(self) -> None:
        """End the thread; waits at most for one answer of Redis."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(2 * _TIMEOUT_SEC)
        self._client.close()

    def _run(self) -> None:
        while not self._closed.wait(self._interval_sec):
            with self._lock:
                held = [claim for claim, _ in self._held.values()]
            if held:
                self._renew_all(held)

    def _renew_all(self, held: list[Claim]) -> None:
        arguments: list[str | int] = [self._lease_ms]
        for claim in held:
            arguments += [claim.job_id, claim.worker_id, claim.attempt]
        try:
            lost = {text(job_id) for job_id in self._renew(args=arguments)}
        except (RedisError, OSError) as error:
            if not self._is_failing:
                logger.warning("leases of %d jobs cannot be renewed: %s", len(held), error)
            self._is_failing = True
            return
        if self._is_failing:
            logger.info("leases are renewed again")
        self._is_failing = False
        for claim in held:
            if claim.job_id in lost:
                with self._lock:
                    found = self._held.pop((claim.job_id, claim.attempt), None)
                if found is not None:
                    found[1]()


async def guarded(
    keeper: LeaseKeeper, claim: Claim, stopping: asyncio.Event, work: Coroutine[Any, Any, _T]
) -> _T:
    """
    Run ``work`` while its lease is renewed; cancel it when the lease is lost or time is up.

    Args:
        keeper: Renews.
        claim: Whose lease.
        stopping: Set when the worker cannot wait any longer.
        work: The handler's coroutine.

    Raises:
        LeaseLostError: Another attempt took over, the work was cancelled.
        StoppingError: ``stopping`` was set, the work was cancelled.
        Exception: Whatever the work raised.
    """
    loop = asyncio.get_running_loop()
    lost = asyncio.Event()

    def on_lost() -> None:
        # The loop may be closed already when the process is on its way out.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(lost.set)

    task = asyncio.create_task(work)
    alarms = [asyncio.create_task(event.wait()) for event in (lost, stopping)]
    keeper.hold(claim, on_lost)
    try:
        await asyncio.wait({task, *alarms}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            if task.cancelled():
                raise RuntimeError("the handler cancelled itself")
            return task.result()
        await cancel([task], _CANCEL_TIMEOUT_SEC)
        if lost.is_set():
            raise LeaseLostError(f"attempt {claim.attempt} lost its lease")
        raise StoppingError("the worker is stopping")
    finally:
        keeper.drop(claim)
        for pending in (task, *alarms):
            pending.cancel()
