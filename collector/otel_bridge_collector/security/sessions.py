"""
``Sessions``: who has signed in with a browser, for 12 h, by the digest of the cookie's id.

One collector keeps them in its memory. Several that share a port keep them in Redis as well, as the
next request of a browser may reach another one; signing out at one ends them at all.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import OrderedDict
from typing import Any, Final

from otel_bridge.clock import SYSTEM_CLOCK, Clock
from otel_bridge.publish.redis_clients import REDIS_ERRORS
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge_collector.security.tickets import principal_from_json, principal_to_json
from otel_bridge_collector.security.tokens import Principal, token_digest

__all__ = ["SESSION_TTL_SEC", "Sessions"]

logger = logging.getLogger(__name__)

SESSION_TTL_SEC: Final = 12 * 3600
_MAX_SESSIONS: Final = 10_000
_MAX_ACCOUNT_SESSIONS: Final = 100
"""Sessions of one account. The next one ends its oldest, so no account can push out another's."""


class Sessions:
    """
    Browser sessions; ``Authenticator`` makes one. Use it on one event loop.

    Of one account the 100 newest are valid, in all 10,000 in this process. Redis errors are logged
    and not raised: then those of this process count.

    Attributes:
        redis: An asyncio client of the Redis that all collectors on the port share; None, the
            default: this is the only one.
        keys: Makes the names of the sessions' keys; default: with the prefix ``nexus``.

    Args:
        clock: Its monotonic time limits those that are kept in this process.
    """

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self.redis: Any = None
        self.keys = DEFAULT_KEYS
        self._clock = clock
        self._local: OrderedDict[str, tuple[Principal, float]] = OrderedDict()

    def open(self, principal: Principal) -> str:
        """Start a session in this process; return its id, 256 random bits as text."""
        session_id = secrets.token_urlsafe(32)
        ends_at = self._clock.monotonic() + SESSION_TTL_SEC
        own = [key for key, (one, _) in self._local.items() if one.account == principal.account]
        for key in own[: max(0, len(own) + 1 - _MAX_ACCOUNT_SESSIONS)]:
            del self._local[key]
        self._local[token_digest(session_id)] = (principal, ends_at)
        if len(self._local) > _MAX_SESSIONS:
            self._local.popitem(last=False)
        return session_id

    def find(self, session_id: str) -> Principal | None:
        """Return the principal of a session of this process; None: unknown or ended."""
        principal, ends_at = self._local.get(token_digest(session_id), (None, 0.0))
        return principal if self._clock.monotonic() < ends_at else None

    def close(self, session_id: str) -> None:
        """End a session in this process; an unknown id does nothing."""
        self._local.pop(token_digest(session_id), None)

    # --- with other processes --------------------------------------------------------------------

    async def share(self, session_id: str, principal: Principal) -> None:
        """Let the other collectors know a session that was opened here (async)."""
        if self.redis is None:
            return
        digest = token_digest(session_id)
        account = self.keys.collector_sessions(token_digest(f"account {principal.account}"))
        try:
            await self.redis.set(
                self.keys.collector_session(digest),
                principal_to_json(principal),
                ex=SESSION_TTL_SEC,
            )
            await self.redis.zadd(account, {digest: time.time()})
            await self.redis.expire(account, SESSION_TTL_SEC)
            oldest = await self.redis.zrange(account, 0, -_MAX_ACCOUNT_SESSIONS - 1)
            for one in oldest:
                name = one.decode() if isinstance(one, bytes) else one
                await self.redis.delete(self.keys.collector_session(name))
                await self.redis.zrem(account, one)
        except (*REDIS_ERRORS, TimeoutError) as error:
            logger.warning(
                "a session could not be stored in Redis, so only this process knows it: %s",
                type(error).__name__,
            )

    async def fetch(self, session_id: str) -> Principal | None:
        """Return the principal of a session of any process (async); as ``find`` without Redis."""
        if self.redis is None:
            return self.find(session_id)
        try:
            found = await self.redis.get(self.keys.collector_session(token_digest(session_id)))
        except (*REDIS_ERRORS, TimeoutError) as error:
            logger.warning("a session could not be read from Redis: %s", type(error).__name__)
            return self.find(session_id)
        return None if found is None else principal_from_json(found)

    async def end(self, session_id: str) -> None:
        """End a session at all processes (async); an unknown id does nothing."""
        self.close(session_id)
        if self.redis is None:
            return
        try:
            await self.redis.delete(self.keys.collector_session(token_digest(session_id)))
        except (*REDIS_ERRORS, TimeoutError) as error:
            logger.warning("a session could not be ended in Redis: %s", type(error).__name__)
