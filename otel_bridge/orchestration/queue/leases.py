"""
Leases of claimed jobs: ``LeaseKeeper`` renews them, ``run_with_lease`` runs work under one.

The keeper is a thread and not a task of the event loop, because a handler that blocks the loop must
not lose its lease: it is slow, but it still runs. If a lease is lost all the same (the process was
suspended, or Redis could not be reached), the work is cancelled, since another attempt may have
started.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, TypeVar

import redis
import redis.asyncio as redis_asyncio
import redis.asyncio.sentinel
import redis.sentinel

from otel_bridge.cancellation import cancel
from otel_bridge.errors import OtelBridgeError
from otel_bridge.orchestration.queue.lua_scripts import lua_source
from otel_bridge.orchestration.queue.task_queue import Claim, text
from otel_bridge.publish.redis_clients import close
from otel_bridge.publish.redis_failures import failure_reason
from otel_bridge.publish.redis_keys import DEFAULT_KEYS, RedisKeys
from otel_bridge.publish.redis_options import NO_HANDSHAKE

__all__ = [
    "LeaseKeeper",
    "LeaseLostError",
    "StoppingError",
    "run_with_lease",
    "synchronous_client",
]

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

_CANCEL_TIMEOUT_SEC: Final = 5.0
_TIMEOUT_SEC: Final = 2.0


class LeaseLostError(OtelBridgeError):
    """Raised by ``run_with_lease`` when the attempt no longer holds the lease of its job."""


class StoppingError(OtelBridgeError):
    """Raised by ``run_with_lease`` when the worker stops before the job has ended."""


def synchronous_client(client: redis_asyncio.Redis) -> redis.Redis:
    """
    Return a synchronous client of the server that an asynchronous client uses, for a thread.

    It connects at its first command, with the same address, login and TLS arguments, and has a
    timeout of 2 s for connecting and for each answer; its commands raise ``redis.RedisError``. The
    client of a fakeredis server (an embedded Redis) shares that server. One of a master behind
    Sentinels asks the same Sentinels. The caller closes it.

    Args:
        client: A client of a single Redis or of a master behind Sentinels; it stays as it is.
    """
    pool = client.connection_pool
    arguments: dict[str, Any] = dict(pool.connection_kwargs)
    if "server" in arguments:
        import fakeredis  # optional; it is installed when the client is a fakeredis one

        shared = {
            name: arguments[name]
            for name in ("server", "host", "port", "db", "version", "server_type")
            if arguments.get(name) is not None
        }
        embedded: redis.Redis = fakeredis.FakeRedis(**shared)
        return embedded
    copied = {"host", "port", "path", "db", "username", "password"}

    def choose(given: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: value
            for name, value in given.items()
            if name in copied or (name.startswith("ssl") and value is not None)
        }

    chosen = choose(arguments)
    limits = {
        "socket_timeout": _TIMEOUT_SEC,
        "socket_connect_timeout": _TIMEOUT_SEC,
        **NO_HANDSHAKE,
    }
    is_tls = issubclass(pool.connection_class, redis_asyncio.SSLConnection)
    if isinstance(pool, redis.asyncio.sentinel.SentinelConnectionPool):
        # The pool itself has no address: only the Sentinels know the master.
        found = pool.sentinel_manager
        addresses = [
            (known["host"], known["port"])
            for known in (one.connection_pool.connection_kwargs for one in found.sentinels)
        ]
        make: Any = redis.sentinel.Sentinel
        sentinels = make(
            addresses,
            found.min_other_sentinels,
            sentinel_kwargs=choose(found.sentinel_kwargs) | limits,
        )
        tls = {"ssl": True} if is_tls else {}
        master: redis.Redis = sentinels.master_for(pool.service_name, **chosen, **tls, **limits)
        return master
    kind: type[redis.Connection] = redis.Connection
    if "path" in arguments:
        kind = redis.UnixDomainSocketConnection  # type: ignore[assignment]  # stubs give it no common base
    elif is_tls:
        kind = redis.SSLConnection
    return redis.Redis(
        connection_pool=redis.ConnectionPool(connection_class=kind, **limits, **chosen)
    )


class LeaseKeeper:
    """
    Keeps the leases of all jobs that this process runs from expiring, on a daemon thread.

    A lease is a worker's right to run a claimed job until a time by Redis' clock. Create one keeper
    for each process. The first ``hold`` starts the thread, which renews every lease three times per
    ``lease_sec``; ``close`` stops it for good. A renewal that Redis does not answer is logged and
    tried again; other processes may take the jobs meanwhile. ``hold`` and ``drop`` may be called
    from any thread; the number of leases is not limited.

    Args:
        client: Used by the keeper's thread only; closed by ``close``.
        lease_sec: Length of a lease in seconds; must be that of the ``TaskQueue`` (there 15 by
            default), which is not checked.
        keys: Name the leases, as for the ``TaskQueue``; default prefix ``nexus``.
    """

    def __init__(
        self, client: redis.Redis, lease_sec: float, keys: RedisKeys = DEFAULT_KEYS
    ) -> None:
        self._client = client
        self._lease_ms = int(lease_sec * 1000)
        self._interval_sec = lease_sec / 3
        self._renew = client.register_script(lua_source("renew", keys))
        self._held: dict[tuple[str, int], tuple[Claim, Callable[[], None]]] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_failing = False

    def hold(self, claim: Claim, on_lost: Callable[[], None]) -> None:
        """
        Renew a claim's lease until ``drop`` is called or the lease is lost; returns at once.

        After ``close`` nothing is renewed any more. An outage of Redis is logged, not raised.

        Args:
            claim: The attempt that holds the lease.
            on_lost: Called if the lease is lost, at most once, from the keeper's thread. What it
                raises is logged.

        Raises:
            RuntimeError: The system can start no thread.
        """
        with self._lock:
            self._held[claim.job_id, claim.attempt] = (claim, on_lost)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="otel-bridge-leases", daemon=True
                )
                self._thread.start()

    def drop(self, claim: Claim) -> None:
        """Stop renewing a claim's lease; does nothing for a claim that is not held."""
        with self._lock:
            self._held.pop((claim.job_id, claim.attempt), None)

    def close(self) -> None:
        """Stop the thread and close the client; waits up to 4 s for an answer of Redis."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(2 * _TIMEOUT_SEC)
        close(self._client)

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
        except Exception as error:  # none may end the thread: no lease would be renewed any more
            if not self._is_failing:
                reason = failure_reason(error)
                logger.warning("leases of %d jobs cannot be renewed: %s", len(held), reason)
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
                    self._report_lost(*found)

    def _report_lost(self, claim: Claim, on_lost: Callable[[], None]) -> None:
        try:
            on_lost()
        except Exception:  # the thread goes on: it renews the leases of other jobs
            logger.exception("job %s: the call for its lost lease failed", claim.job_id)


async def run_with_lease(
    keeper: LeaseKeeper, claim: Claim, stopping: asyncio.Event, work: Coroutine[Any, Any, _T]
) -> _T:
    """
    Run a coroutine while the lease of its job is renewed, and return its result.

    The lease is the worker's right to the job. There is no timeout. Cancelled work has 5 s to end;
    work that ignores the cancellation is then left running.

    Args:
        keeper: Renews the lease.
        claim: The attempt that holds the lease.
        stopping: Set when the worker does not wait for the work any longer.
        work: The coroutine to run.

    Raises:
        LeaseLostError: Another attempt took over, or the job has ended; the work was cancelled.
        StoppingError: ``stopping`` was set; the work was cancelled.
        RuntimeError: The work cancelled itself, or no thread can be started to renew the lease.
        Exception: What the work raised.
    """
    loop = asyncio.get_running_loop()
    lost = asyncio.Event()

    def on_lost() -> None:
        # While the process exits, the loop may already be closed.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(lost.set)

    task = asyncio.create_task(work)
    events = [asyncio.create_task(event.wait()) for event in (lost, stopping)]
    keeper.hold(claim, on_lost)
    try:
        await asyncio.wait({task, *events}, return_when=asyncio.FIRST_COMPLETED)
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
        for pending in (task, *events):
            pending.cancel()
