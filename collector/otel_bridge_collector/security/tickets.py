"""
``Tickets``: each opens one WebSocket within 30 s, at any of the collectors.

A page's backend gets a ticket from one collector, and the browser may reach another one. With Redis
a ticket is therefore stored there, under its digest; one GETDEL redeems it, so that only one client
can. Without Redis it is stored in this process. What Redis says of one of the collector's own
tokens is not trusted beyond its digest: the principal must equal that token's line.
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
from otel_bridge.publish.redis_clients import REDIS_ERRORS
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge_collector.security.tokens import Principal, token_digest

__all__ = ["TICKET_TTL_SEC", "Tickets", "principal_from_json", "principal_to_json"]

logger = logging.getLogger(__name__)

TICKET_TTL_SEC: Final = 30
_MAX_TICKETS: Final = 10_000
_TICKET: Final = re.compile(r"[A-Za-z0-9_-]{43}")
"""256 random bits in base64url."""


class Tickets:
    """
    Issues and redeems one-time tickets, which open a WebSocket within 30 s.

    ``Authenticator`` makes one; set ``redis`` to share tickets between collectors. At most 10,000
    are stored in this process; beyond that the oldest is lost. Redis errors are logged, not raised.
    Use it on the event loop of its Redis client, which the caller closes.

    Attributes:
        redis: An asyncio client of the Redis that all collectors share; None, the default: tickets
            are stored in this process.
        keys: Makes the tickets' key names in Redis; default: with the prefix ``nexus``.

    Args:
        clock: Its monotonic time limits tickets that are stored in this process.
    """

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self.redis: Any = None
        self.keys = DEFAULT_KEYS
        self._clock = clock
        self._local: OrderedDict[str, tuple[Principal, float]] = OrderedDict()

    async def issue(self, principal: Principal) -> str:
        """
        Make a ticket for a principal: 43 characters of base64url, redeemable once within 30 s.

        Does not check that the principal is valid. If Redis cannot be reached, that is logged as a
        warning and the ticket is stored here, so that only this collector takes it. Never raises;
        it waits as long as the time-outs of the Redis client allow.
        """
        ticket = secrets.token_urlsafe(32)
        digest = token_digest(ticket)
        if self.redis is not None:
            try:
                await self.redis.set(
                    self.keys.collector_ticket(digest),
                    principal_to_json(principal),
                    ex=TICKET_TTL_SEC,
                )
                return ticket
            except (*REDIS_ERRORS, TimeoutError) as error:
                logger.warning(
                    "a ticket could not be stored in Redis, so only this collector takes it: %s",
                    type(error).__name__,
                )
        self._local[digest] = (principal, self._clock.monotonic() + TICKET_TTL_SEC)
        if len(self._local) > _MAX_TICKETS:
            self._local.popitem(last=False)
        return ticket

    async def redeem(self, ticket: str) -> Principal | None:
        """
        Use up a ticket and return the principal that it was issued to; never raises.

        Args:
            ticket: Any text.

        Returns:
            None if it is malformed, used, over 30 s old or unknown, or if Redis cannot be reached
            or holds something unreadable (these two are logged). Whether the principal is still
            valid is for the caller to check.
        """
        if not _TICKET.fullmatch(ticket):
            return None
        digest = token_digest(ticket)
        if digest in self._local:
            principal, ends_at = self._local.pop(digest)
            return principal if self._clock.monotonic() < ends_at else None
        if self.redis is None:
            return None
        try:
            found = await self.redis.getdel(self.keys.collector_ticket(digest))
        except (*REDIS_ERRORS, TimeoutError) as error:
            logger.warning("a ticket could not be read from Redis: %s", type(error).__name__)
            return None
        return None if found is None else principal_from_json(found)


def principal_to_json(principal: Principal) -> str:
    """Return a principal as text, to be kept in Redis."""
    fields = asdict(principal)
    if principal.projects is not None:
        fields["projects"] = sorted(principal.projects)
    if not principal.reads_lines:
        del fields["reads_lines"]  # a collector of the release before knows no such field
    return json.dumps(fields)


def principal_from_json(raw: bytes | str) -> Principal | None:
    """Read what ``principal_to_json`` made; None, and a log line, for anything else."""
    try:
        fields = json.loads(raw)
        if fields["projects"] is not None:
            fields["projects"] = frozenset(fields["projects"])
        return Principal(**fields)
    except (KeyError, TypeError, ValueError, RecursionError):
        logger.warning("a ticket or session in Redis is not readable, so it was refused")
        return None
