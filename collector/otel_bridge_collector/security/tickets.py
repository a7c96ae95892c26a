"""
One-time tickets: for one WebSocket each, within 30 s, at any of the collectors.

A page's backend asks for one at whichever collector it reaches, and the browser shows it to
whichever it reaches, so with Redis a ticket lies there: by its digest, taken out by one GETDEL,
which gives it to one asker only. Without Redis it lies here. Of our own tokens nothing is believed
that Redis says but which one it was.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
from collections import OrderedDict
from dataclasses import asdict
from typing import Any, Final

from otel_bridge.clock import SYSTEM_CLOCK, Clock
from otel_bridge.publish import redis_keys
from otel_bridge.publish.redis_clients import REDIS_ERRORS
from otel_bridge_collector.security.tokens import Principal, token_digest

__all__ = ["TICKET_TTL_SEC", "Tickets"]

logger = logging.getLogger(__name__)

TICKET_TTL_SEC: Final = 30
_MAX_TICKETS: Final = 10_000
_TICKET: Final = re.compile(r"[A-Za-z0-9_-]{43}")
"""256 random bits."""


class Tickets:
    """
    Gives out tickets and takes them back.

    Attributes:
        redis: An asyncio client that other collectors share; None: tickets are kept here.

    Args:
        clock: Monotonic for those kept here.
    """

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self.redis: Any = None
        self._clock = clock
        self._kept: OrderedDict[str, tuple[Principal, float]] = OrderedDict()

    async def open(self, principal: Principal) -> str:
        """A new ticket; kept here where Redis cannot be reached, and so good for here only."""
        ticket = secrets.token_urlsafe(32)
        digest = token_digest(ticket)
        if self.redis is not None:
            try:
                await self.redis.set(
                    redis_keys.collector_ticket(digest), _to_json(principal), ex=TICKET_TTL_SEC
                )
                return ticket
            except (*REDIS_ERRORS, TimeoutError) as error:
                logger.warning("a ticket could not be shared: %s", type(error).__name__)
        self._kept[digest] = (principal, self._clock.monotonic() + TICKET_TTL_SEC)
        if len(self._kept) > _MAX_TICKETS:
            self._kept.popitem(last=False)
        return ticket

    async def take(self, ticket: str) -> Principal | None:
        """Whose ticket it was; it is nobody's from now on."""
        if not _TICKET.fullmatch(ticket):
            return None
        digest = token_digest(ticket)
        if digest in self._kept:
            principal, ends = self._kept.pop(digest)
            return principal if self._clock.monotonic() < ends else None
        if self.redis is None:
            return None
        try:
            found = await self.redis.getdel(redis_keys.collector_ticket(digest))
        except (*REDIS_ERRORS, TimeoutError) as error:
            logger.warning("a ticket could not be looked up: %s", type(error).__name__)
            return None
        return None if found is None else _of_json(found)


def _to_json(principal: Principal) -> str:
    fields = asdict(principal)
    if principal.projects is not None:
        fields["projects"] = sorted(principal.projects)
    return json.dumps(fields)


def _of_json(raw: bytes) -> Principal | None:
    try:
        fields = json.loads(raw)
        if fields["projects"] is not None:
            fields["projects"] = frozenset(fields["projects"])
        return Principal(**fields)
    except (KeyError, TypeError, ValueError, RecursionError):
        logger.warning("a ticket in Redis is not one of ours")
        return None
