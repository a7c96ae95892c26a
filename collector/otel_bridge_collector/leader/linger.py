"""
``LingerRule`` and ``LingerSetter``: the leader asks publishers for larger batches while it helps.

A batch of one event costs Redis ten times what an event of a full batch does, most of it for the
socket. So when many publishers send small batches, the leader sets in the log's meta hash how long
a publisher collects events for one; each reply of the append script carries it. It holds until a
time of the log's own clock, so that a leader that dies takes it back, and the next one goes on from
it. While it is 0, the leader writes nothing.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import redis.asyncio as redis_asyncio
from redis.exceptions import ResponseError

from otel_bridge.clock import SYSTEM_CLOCK, Clock
from otel_bridge.publish.redis_failures import failure_reason
from otel_bridge.publish.redis_keys import RedisKeys
from otel_bridge.publish.shards.layout import LAYOUT_FIELDS, TAGS, parse_layout

__all__ = ["LingerRule", "LingerSetter", "Rates"]

logger = logging.getLogger(__name__)

_STEPS_MS: Final = (0, 10, 25, 50)
_SMALL_BATCH_EVENTS: Final = 8.0
"""Batches of more events are cheap enough: 9 to 11 us an event at 16, 28 at 4, 54 to 78 at 1."""
_MANY_SCRIPTS_PER_SEC: Final = 5_000.0
"""Fewer leave Redis' core three quarters idle: a script with one event takes 24 to 54 us."""
_MARGIN: Final = 1.25
"""A lower step must be expected to be this far from the thresholds of the way up."""
_QUIET_ROUNDS: Final = 3
"""So many rounds in a row must allow a lower step, so that load in bursts does not switch it."""
_DEFAULT_WAIT_MS: Final = 3
"""What publishers wait without a linger: the default of ``MONITORING_FLUSH_INTERVAL_MS``."""
_MIN_HOLD_SEC: Final = 10.0
_HOLD_ROUNDS: Final = 5
"""A linger holds for so many rounds of the leader and at least 10 s: another leader takes over
within 5 to 6 s."""
_REFUSED_WAIT_SEC: Final = 60.0
"""After a refusal Redis is not asked again for so long: it counts each denial in its ACL LOG."""


class Rates(NamedTuple):
    """What one Redis server got between two rounds of the leader, each a second."""

    events: float
    """Events in the log."""
    scripts: float
    """Calls of scripts: those that append, at most one an event, and those of other programs."""

    @property
    def appends(self) -> float:
        """Scripts that append, at most: each appends an event, so there are no more than events."""
        return min(self.scripts, self.events)

    @property
    def batch_events(self) -> float | None:
        """Mean of the events a script appended, at least; None: none was appended."""
        return self.events / self.appends if self.appends > 0 else None


class _Counts(NamedTuple):
    """What a round has counted."""

    at: float
    events: int
    scripts: Mapping[str, int]
    """By server."""

    def rates_since(self, before: _Counts) -> Rates | None:
        """Of a server, as a mean; None after a failover, or when counts began again."""
        spent = self.at - before.at
        new_events = self.events - before.events
        new_scripts = sum(self.scripts.values()) - sum(before.scripts.values())
        if spent <= 0 or min(new_events, new_scripts) < 0 or [*self.scripts] != [*before.scripts]:
            return None
        servers = len(self.scripts)
        return Rates(new_events / spent / servers, new_scripts / spent / servers)


class LingerRule:
    """
    Decides how long publishers collect events for a batch, one step a round; asks nothing itself.

    Up while there are over 5,000 scripts a second with fewer than 8 events each, through 10, 25 and
    50 ms. Down when three rounds in a row show that the lower step would need neither: fewer
    scripts than would come if each publisher sent as often as that step allows, and those fewer
    than 4,000, or batches of more than 10. So a steady load does not switch it to and fro. Never
    raises.

    Args:
        max_ms: ``MONITORING_LINGER_MAX_MS``, the last step; 0: the linger stays 0.

    Attributes:
        linger_ms: In milliseconds; 0 at first, never over ``max_ms``.
    """

    def __init__(self, max_ms: int) -> None:
        self._steps = (*(step for step in _STEPS_MS if step < max_ms), max_ms)
        self._step = 0
        self._quiet_rounds = 0

    @property
    def linger_ms(self) -> int:
        return self._steps[self._step]

    def resume(self, linger_ms: int) -> None:
        """
        Go on from what another leader has set: the longest step that is not longer.

        Args:
            linger_ms: In milliseconds, of any size.
        """
        self._step = max(sum(step <= linger_ms for step in self._steps) - 1, 0)
        self._quiet_rounds = 0

    def decide(self, rates: Rates) -> int:
        """
        Return the linger after a round, in milliseconds; at most one step from the one before.

        Args:
            rates: Of the time since the round before; not negative, which is not checked.
        """
        if _is_crowded(rates.events, rates.appends, 1.0):
            self._quiet_rounds = 0
            self._step = min(self._step + 1, len(self._steps) - 1)
        elif self._step and not self._is_crowded_below(rates):
            self._quiet_rounds += 1
            if self._quiet_rounds >= _QUIET_ROUNDS:
                self._quiet_rounds = 0
                self._step -= 1
        else:
            self._quiet_rounds = 0
        return self.linger_ms

    def _is_crowded_below(self, rates: Rates) -> bool:
        # At most: publishers with events all the time send in inverse proportion to their wait,
        # others less often, and no script comes without an event.
        shorter_ms = max(self._steps[self._step - 1], _DEFAULT_WAIT_MS)
        factor = max(1.0, self.linger_ms / shorter_ms)
        return _is_crowded(rates.events, min(rates.events, rates.appends * factor), _MARGIN)


def _is_crowded(events: float, scripts: float, margin: float) -> bool:
    """Whether there are many scripts, each with few events."""
    return (
        scripts > _MANY_SCRIPTS_PER_SEC / margin and events < scripts * _SMALL_BATCH_EVENTS * margin
    )


class LingerSetter:
    """
    Applies ``LingerRule`` to a log in Redis; a duty of the leader, on its event loop.

    Each round it asks each server that has a shard of the log for ``INFO commandstats``; the rule
    gets their mean. If Redis refuses a command, that is one line in its log, the next try is a
    minute later, and what is set expires. Making it connects to nothing.

    Args:
        max_ms: ``MONITORING_LINGER_MAX_MS``; 0: Redis is not asked.
        interval_sec: Time between two rounds, 2 s by default in the service.
        redis: The log's server, or its Cluster; None: the log is in memory, and nothing is done.
        keys: Names of the log's layout, which is read in each round, and of the meta hash of each
            shard, in which the linger is set.
        events: Gives how many events the log has got, as this collector has read them.
        position: Gives the position of the newest event that it has read.
        clock: Its monotonic time measures the rounds.

    Attributes:
        rates: Of the last round; None: not measured, or this collector does not lead.
        linger_ms: What is set, in milliseconds; None: the same.
    """

    def __init__(
        self,
        *,
        max_ms: int,
        interval_sec: float,
        redis: redis_asyncio.Redis | None,
        keys: RedisKeys,
        events: Callable[[], int],
        position: Callable[[], str],
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._rule = LingerRule(max_ms)
        self._is_off = redis is None or max_ms == 0
        self._hold_sec = max(_MIN_HOLD_SEC, _HOLD_ROUNDS * interval_sec)
        self._redis: Any = redis
        self._keys = keys
        self._meta_keys = [keys.log_meta()]
        self._events = events
        self._position = position
        self._clock = clock
        self._rates: Rates | None = None
        self._counts: _Counts | None = None
        self._ask_at = float("-inf")
        self._is_refused = False

    @property
    def rates(self) -> Rates | None:
        return self._rates if self._is_current() else None

    @property
    def linger_ms(self) -> int | None:
        return self._rule.linger_ms if self._is_current() else None

    def _is_current(self) -> bool:
        """Whether the last round is not older than what it set holds."""
        if self._rates is None or self._counts is None:
            return False
        return self._clock.monotonic() - self._counts.at <= self._hold_sec

    async def run_round(self) -> None:
        """
        Read the rates since the round before, and set the linger for them if it is not 0 (async).

        The first round of a leader only takes over what the log has.

        Raises:
            redis.RedisError: Redis cannot be reached.
            OSError: The same.
        """
        now = self._clock.monotonic()
        if self._is_off or now < self._ask_at:
            return
        try:
            await self._run_round(now)
            self._is_refused = False
        except ResponseError as error:
            # Not for the leader to fail over: it can lead, and do its other duties, without this.
            self._rates = self._counts = None
            self._ask_at = now + _REFUSED_WAIT_SEC
            if not self._is_refused:
                logger.warning(
                    "publishers cannot be asked for larger batches, Redis answered %s; the "
                    "collector's user needs +info +hmget +hset, or MONITORING_LINGER_MAX_MS=0",
                    failure_reason(error),
                )
            self._is_refused = True

    async def _run_round(self, now: float) -> None:
        await self._find_shards()
        before, counts = self._counts, _Counts(now, self._events(), await self._scripts())
        self._counts = counts
        if before is None or now - before.at > self._hold_sec:
            # It begins to lead: what was set last may be another leader's.
            self._rates = None
            await self._resume()
            return
        self._rates = counts.rates_since(before)
        if self._rates is None:
            return
        held_ms = self._rule.linger_ms
        linger_ms = self._rule.decide(self._rates)
        if linger_ms or held_ms:
            await self._set(linger_ms)
        if linger_ms != held_ms:
            logger.info(
                "publishers collect events for %d ms, before %d: %.0f events/s in %.0f scripts/s",
                *(linger_ms, held_ms, self._rates.events, self._rates.appends),
            )

    async def _find_shards(self) -> None:
        fields = await self._redis.hmget(self._keys.log_layout(), LAYOUT_FIELDS)
        with contextlib.suppress(ValueError):  # of a newer release: as before
            tags = TAGS[: parse_layout(fields).count]
            self._meta_keys = [self._keys.log_meta(tag) for tag in tags]

    async def _scripts(self) -> dict[str, int]:
        """Calls of scripts by their hash since each server started; ``EVAL`` is for others."""
        client = self._redis
        if not isinstance(client, redis_asyncio.RedisCluster):
            return {"": await self._calls(None)}
        await client.initialize()
        found = [client.get_node_from_key(key) for key in self._meta_keys]
        nodes = {node.name: node for node in found if node is not None}
        return {name: await self._calls(nodes[name]) for name in sorted(nodes)}

    async def _calls(self, node: Any) -> int:
        options = {} if node is None else {"target_nodes": node}
        found = await self._redis.execute_command("INFO", "commandstats", **options)
        return int(found.get("cmdstat_evalsha", {}).get("calls", 0))

    async def _resume(self) -> None:
        key = self._meta_keys[0]
        linger, until = await self._redis.hmget(key, "linger_ms", "linger_until_ms")
        held = _number(linger) if _number(until) >= self._log_time_ms() else 0
        self._rule.resume(held)
        if held:
            await self._set(self._rule.linger_ms)

    async def _set(self, linger_ms: int) -> None:
        until_ms = self._log_time_ms() + int(self._hold_sec * 1000)
        values = {"linger_ms": linger_ms, "linger_until_ms": until_ms}
        for key in self._meta_keys:
            await self._redis.hset(key, mapping=values)

    def _log_time_ms(self) -> int:
        """Redis' time at the newest event that was read: its id is what the script compares."""
        _, _, place = self._position().rpartition(":")
        return _number(place.partition("-")[0])


def _number(text: Any) -> int:
    try:
        return int(text or 0)
    except ValueError:
        return 0
