"""
``Membership``: which collectors share the fold now, and which partitions each has ready.

Each member writes its id into a sorted set, with the time of Redis two seconds from now as its
score, and renews it each half second. Whose time has passed is gone. The clocks of the machines do
not matter. There is no fencing: to fold is only to read, so two owners of a partition for a moment
are harmless.

A member that is to end says first that it is leaving: then it owns nothing, and serves what it has
ready until those that stay have filled it. If all are leaving, none owns anything, and each serves
what it has.

A member that cannot renew its entry keeps what it folds and uses what it knew last: its clients
get what it holds, and what it cannot ask others for is said to be missing.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import redis.asyncio as redis_asyncio

from otel_bridge.cancellation import cancel
from otel_bridge.publish.redis_clients import REDIS_ERRORS
from otel_bridge.publish.redis_failures import failure_reason
from otel_bridge.publish.redis_keys import RedisKeys
from otel_bridge_collector.cluster.partitions import PARTITIONS, owners, preference

__all__ = ["Member", "Membership"]

logger = logging.getLogger(__name__)

TTL_SEC: Final = 2.0
INTERVAL_SEC: Final = 0.5
_HURRIED_SEC: Final = INTERVAL_SEC / 5
"""While a member waits for others: at the start, and when it is leaving."""
_KEYS_TTL_MS: Final = 3_600_000
_ALL: Final = frozenset(range(PARTITIONS))

_RENEW: Final = """
local now = redis.call('TIME')
local ms = now[1] * 1000 + (now[2] - now[2] % 1000) / 1000
local gone = redis.call('ZRANGE', KEYS[1], '-inf', '(' .. ms, 'BYSCORE')
if #gone > 0 then
  redis.call('ZREM', KEYS[1], unpack(gone))
  redis.call('HDEL', KEYS[2], unpack(gone))
end
if ARGV[2] ~= '' then
  redis.call('ZADD', KEYS[1], ms + ARGV[3], ARGV[1])
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
  redis.call('PEXPIRE', KEYS[2], ARGV[4])
else
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('HDEL', KEYS[2], ARGV[1])
end
local found = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  found[#found + 1] = id
  found[#found + 1] = redis.call('HGET', KEYS[2], id) or ''
end
return found
"""
"""With no information the member leaves."""


class Member(NamedTuple):
    """
    One collector that shares the fold; a record.

    Attributes:
        id: Unique among the members.
        address: Where the others reach it: a URL, or the path of a Unix socket.
        ready: Partitions whose states it holds as far as the log had them.
        cpu: Of a core, in the last seconds; None: it does not say.
        is_leaving: Whether it is about to end, so that others are to take over.
    """

    id: str
    address: str
    ready: frozenset[int]
    cpu: float | None
    is_leaving: bool = False


class Membership:
    """
    Says who shares the fold, and who serves which partition. For one event loop.

    ``start`` once, ``stop`` at the end. Nothing but ``start``'s arguments is checked; errors of
    Redis are not raised: ``failure`` says why, and the entry is renewed again after 0.5 s.

    Args:
        own_id: Unique among the members, which is not checked.
        address: Where the others reach this one.
        redis: Of the log.
        keys: Names of the two keys.
        cpu: Returns what this process uses of a core, to be shown; None: it is not known.

    Attributes:
        own_id: As given.
        members: By id, this one included; empty before the first answer. Those of the last answer
            while Redis cannot be reached.
        failure: Why the entry could not be renewed last time; None: it was, or nothing was tried.
        is_leaving: Whether this member has said that it is leaving.
    """

    def __init__(
        self,
        own_id: str,
        address: str,
        *,
        redis: redis_asyncio.Redis,
        keys: RedisKeys,
        cpu: Callable[[], float | None] = lambda: None,
    ) -> None:
        self.own_id = own_id
        self.members: Mapping[str, Member] = {}
        self.failure: str | None = None
        self.is_leaving = False
        self._address = address
        self._redis: Any = redis
        self._keys = (keys.collectors, keys.collectors_info)
        self._cpu = cpu
        self._ready: frozenset[int] = frozenset()
        self._assigned: tuple[str, ...] = ()
        self._calls: list[Callable[[], None]] = []
        self._renewed_at = float("-inf")
        self._is_news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    # --- life ------------------------------------------------------------------------------------

    async def start(self, expected: int = 1, timeout_sec: float = TTL_SEC) -> None:
        """
        Join, and renew the entry in a task until ``stop``.

        Args:
            expected: How many members start together, this one included. Waits until so many are
                there, so that none starts to fold what another one is about to own.
            timeout_sec: How long to wait for them at most, in seconds.
        """
        await self.renew()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_sec
        while len(self.members) < expected and loop.time() < deadline:
            await asyncio.sleep(_HURRIED_SEC)
            await self.renew()
        self._task = asyncio.create_task(self._run(), name="membership")

    async def stop(self) -> None:
        """Leave, so that others take over at once; if Redis cannot be reached, after 2 s."""
        if self._task is not None:
            await cancel([self._task])
            self._task = None
        self._renewed_at = float("-inf")
        try:
            await self._call("")
        except (*REDIS_ERRORS, TimeoutError):
            logger.debug("this member could not leave; its entry expires by itself")

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_HURRIED_SEC if self.is_leaving else INTERVAL_SEC):
                    await self._is_news.wait()
            except TimeoutError:
                pass
            self._is_news.clear()
            try:
                await self.renew()
            except Exception:
                logger.exception("the members of the cluster could not be read")

    async def renew(self) -> None:
        """Renew the entry once, and read who else is there; does not raise errors of Redis."""
        cpu = self._cpu()
        info = {
            "address": self._address,
            "ready": f"{sum(1 << number for number in self._ready):x}",
            "cpu": None if cpu is None else round(cpu, 2),
            "leaving": self.is_leaving,
        }
        try:
            found = await self._call(json.dumps(info))
        except (*REDIS_ERRORS, TimeoutError) as error:
            reason = failure_reason(error)
            if self.failure is None:
                logger.warning("the cluster's members are not known, Redis failed: %s", reason)
            self.failure = reason
            return
        self.failure = None
        self._renewed_at = asyncio.get_running_loop().time()
        self._note(found)

    async def _call(self, info: str) -> dict[str, Member]:
        ttl_ms = int(TTL_SEC * 1000)
        reply = await self._redis.eval(
            _RENEW, 2, *self._keys, self.own_id, info, ttl_ms, _KEYS_TTL_MS
        )
        pairs = zip(reply[::2], reply[1::2], strict=True)
        found = (_member(_text(one), _text(data)) for one, data in pairs)
        return {one.id: one for one in found if one is not None}

    def _note(self, found: dict[str, Member]) -> None:
        before = {one: member._replace(cpu=None) for one, member in self.members.items()}
        after = {one: member._replace(cpu=None) for one, member in found.items()}
        self.members = found
        if before == after:
            return
        if before.keys() != after.keys():
            logger.info("%d collectors share the fold", len(found))
        self._assigned = owners(one.id for one in found.values() if not one.is_leaving)
        for call in self._calls:
            call()

    # --- who has what ----------------------------------------------------------------------------

    @property
    def is_current(self) -> bool:
        """Whether the entry was renewed in the last 2 s: the others count on this member."""
        return asyncio.get_running_loop().time() - self._renewed_at < TTL_SEC

    def on_change(self, call: Callable[[], None]) -> None:
        """Call this when a member comes, leaves or has other partitions ready; not for ``cpu``."""
        self._calls.append(call)

    def set_ready(self, partitions: frozenset[int]) -> None:
        """Say which partitions this member has ready; the others learn it at once."""
        if partitions != self._ready:
            self._ready = partitions
            self._is_news.set()

    def set_leaving(self) -> None:
        """Say that this member is about to end; the others learn it within 0.5 s."""
        self.is_leaving = True
        self._is_news.set()

    @property
    def has_successors(self) -> bool:
        """Whether other members stay, and can learn that this one is leaving."""
        others = (one for key, one in self.members.items() if key != self.own_id)
        return self.is_current and not all(one.is_leaving for one in others)

    def assigned(self) -> tuple[str, ...]:
        """Return each partition's owner; empty if no member stays, or Redis has not answered."""
        return self._assigned

    def owned(self) -> frozenset[int]:
        """Return the partitions that this member is to hold."""
        return frozenset(n for n, owner in enumerate(self._assigned) if owner == self.own_id)

    def server_of(self, partition: int) -> str | None:
        """
        Return the id of the member to ask for a partition; None: no member has it ready.

        Its owner if that has it ready, else another member that has, such as the former owner.
        """
        ready = [
            one
            for one, member in self.members.items()
            if partition in (self._ready if one == self.own_id else member.ready)
        ]
        if not ready:
            return None
        owner = self._assigned[partition] if self._assigned else None
        return owner if owner in ready else preference(ready, partition)[0]

    def serving(self) -> Mapping[str, frozenset[int]]:
        """Return which partitions to ask each member for, by its id; those with any."""
        found: dict[str, set[int]] = {}
        for partition in range(PARTITIONS):
            server = self.server_of(partition)
            if server is not None:
                found.setdefault(server, set()).add(partition)
        return {one: frozenset(partitions) for one, partitions in found.items()}

    def missing(self) -> frozenset[int]:
        """Return the partitions that no member has ready: they are being rebuilt."""
        return _ALL.difference(*self.serving().values())


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


def _member(member_id: str, data: str) -> Member | None:
    """What a member says of itself; None if it is not understood."""
    try:
        info = json.loads(data)
        bits = int(info["ready"], 16)
        ready = frozenset(number for number in range(PARTITIONS) if bits >> number & 1)
        cpu = info.get("cpu")
        cpu = None if cpu is None else float(cpu)
        return Member(member_id, str(info["address"]), ready, cpu, info.get("leaving") is True)
    except (KeyError, TypeError, ValueError, AttributeError):
        logger.warning("a member of the cluster says what is not understood: %.100r", member_id)
        return None
