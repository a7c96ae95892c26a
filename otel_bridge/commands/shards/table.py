"""
The table of ``otel-bridge shards``: one line for each shard, read from Redis when it is printed.

What cannot be read is shown as ``?``: a number that is not known is not 0. A shard whose master is
away has a line of its own, and the others are shown.
"""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from redis.exceptions import NoPermissionError, ResponseError

from otel_bridge.errors import TransportError
from otel_bridge.publish.redis_keys import RedisKeys
from otel_bridge.publish.shards.layout import MAX_SHARDS, TAGS, Layout, slot_of
from otel_bridge.publish.shards.resharding import redis_failures
from otel_bridge.urls import redact_url

__all__ = ["Shard", "age_text", "format_table", "print_shards", "read_shard"]

_UNKNOWN: Final = "?"
_NONE: Final = "-"
_SCAN_COUNT: Final = 1000
_MAX_SCANS: Final = 500
"""So in a Redis with many other keys producers are counted among the first half a million keys."""
_HEADS: Final = (
    *("shard", "tag", "slot", "master", "events", "first", "last", "last event", "epoch"),
    *("producers", "layout", "state"),
)
_RIGHT: Final = frozenset({"shard", "slot", "events", "last event", "producers", "layout"})


class Shard(NamedTuple):
    """What Redis says of one shard; None: unknown, or there is none."""

    number: int
    node: str
    """Host and port of its master."""
    events: int = 0
    first: str | None = None
    """Id of the oldest entry that it still has."""
    last: str | None = None
    age_sec: float | None = None
    """Seconds since the newest entry, by the master's clock."""
    epoch: str | None = None
    gen: int = 0
    """The layout in its meta hash."""
    producers: str = _UNKNOWN
    """Producers that sent within ``MONITORING_PRODUCER_TTL_SEC``, an hour by default."""
    ends_in_sec: int | None = None
    """Seconds until a shard that is not in use any more is deleted."""


def print_shards(client: Any, keys: RedisKeys, layout: Layout, url: str) -> int:
    """
    Print the layout and a table of all shards that may hold events.

    Args:
        client: A synchronous client of ``redis_clients.connect``.
        keys: Names of the log's keys.
        layout: The layout of the log.
        url: Of Redis, shown without its password.

    Returns:
        0, or 1 if a shard could not be read: then a line on standard error says why.
    """
    known = f"layout {layout.gen}, epoch {layout.epoch}" if layout.gen else "no layout"
    noun = "shard" if layout.count == 1 else "shards"
    print(f"{redact_url(url)}: {layout.count} {noun}, {known}")
    rows, failures = [], []
    producers = _ProducerCounts(keys)
    for number in layout.shards:
        try:
            with redis_failures(url):
                shard = read_shard(client, keys, number)
                shard = shard._replace(producers=producers.of(client, number))
        except TransportError as error:
            failures.append(f"otel-bridge: shard {number} cannot be read: {error}")
            rows.append(_unknown_row(number))
        else:
            rows.append(_row(shard, layout))
    print("\n".join(format_table(rows)))
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


def read_shard(client: Any, keys: RedisKeys, number: int) -> Shard:
    """
    Read what Redis has of one shard, without its producers, by six commands.

    Args:
        client: A synchronous client of ``redis_clients.connect``; its errors pass.
        keys: Names of the log's keys.
        number: The shard.
    """
    stream, meta = keys.log_stream(TAGS[number]), keys.log_meta(TAGS[number])
    run = client.execute_command
    events = int(run("XLEN", stream))
    first = run("XRANGE", stream, "-", "+", "COUNT", 1)
    last = run("XREVRANGE", stream, "+", "-", "COUNT", 1)
    epoch, gen = run("HMGET", meta, "epoch", "layout")
    ends_in_sec = int(run("TTL", stream))
    # Events may come between these commands: then the shard is shown as it was before them.
    last_id = last[0][0].decode() if first and last else None
    return Shard(
        number,
        _node_name(client, stream),
        events if first else 0,
        first[0][0].decode() if first else None,
        last_id,
        _age_sec(client, stream, last_id),
        epoch.decode(errors="replace") if epoch else None,
        int(gen or 0),
        ends_in_sec=ends_in_sec if ends_in_sec >= 0 else None,
    )


def _age_sec(client: Any, stream: str, last_id: str | None) -> float | None:
    if last_id is None:
        return None
    try:
        seconds, microseconds = _client_of(client, stream).time()
    except NoPermissionError:
        return None
    return max(0.0, float(seconds + microseconds / 1e6 - int(last_id.partition("-")[0]) / 1000))


def _client_of(client: Any, key: str) -> Any:
    """A client of the server that has a key: of a Cluster, that of its master."""
    if not hasattr(client, "get_node_from_key"):
        return client
    node = client.get_node_from_key(key)
    if node is None:
        raise ResponseError("no master has its slot")
    return client.get_redis_connection(node)


def _node_name(client: Any, key: str) -> str:
    pool = _client_of(client, key).connection_pool
    if hasattr(pool, "get_master_address"):  # Sentinels
        host, port = pool.get_master_address()
        return f"{host}:{port}"
    options = pool.connection_kwargs
    return str(options.get("path") or f"{options.get('host')}:{options.get('port')}")


class _ProducerCounts:
    """Counts producers by their keys; each server is searched once."""

    def __init__(self, keys: RedisKeys) -> None:
        prefix = re.sub(r"([*?\[\]^\\])", r"\\\1", keys.prefix)
        self._pattern = f"{prefix}:{{*}}:producer:*"
        self._prefixes = {
            shard: keys.log_producer("", TAGS[shard]).encode() for shard in range(MAX_SHARDS)
        }
        self._stream = keys.log_stream
        self._found: dict[str, dict[int, str]] = {}

    def of(self, client: Any, shard: int) -> str:
        stream = self._stream(TAGS[shard])
        node = _node_name(client, stream)
        if node not in self._found:
            try:
                self._found[node] = self._count(_client_of(client, stream).scan)
            except NoPermissionError:
                self._found[node] = {}
        return self._found[node].get(shard, _UNKNOWN)

    def _count(self, scan: Callable[..., tuple[int, Sequence[bytes]]]) -> dict[int, str]:
        counts = dict.fromkeys(self._prefixes, 0)
        cursor = 0
        for scans in itertools.count(1):
            cursor, found = scan(cursor, match=self._pattern, count=_SCAN_COUNT)
            for key in found:
                for shard, prefix in self._prefixes.items():
                    counts[shard] += key.startswith(prefix)
            if cursor == 0 or scans == _MAX_SCANS:
                break
        more = "+" if cursor else ""
        return {shard: f"{count}{more}" for shard, count in counts.items()}


def _row(shard: Shard, layout: Layout) -> list[str]:
    return [
        str(shard.number),
        TAGS[shard.number],
        str(slot_of(TAGS[shard.number])),
        shard.node,
        f"{shard.events:,}",
        shard.first or _NONE,
        shard.last or _NONE,
        age_text(shard.age_sec) if shard.last else _NONE,
        shard.epoch or _NONE,
        shard.producers,
        str(shard.gen or _NONE),
        "; ".join(_states(shard, layout)),
    ]


def _unknown_row(number: int) -> list[str]:
    tag = TAGS[number]
    return [str(number), tag, str(slot_of(tag)), *([_UNKNOWN] * 8), "cannot be read"]


def _states(shard: Shard, layout: Layout) -> list[str]:
    found = ["in use"]
    if shard.number >= layout.count:
        left = "" if shard.ends_in_sec is None else f", deleted in {age_text(shard.ends_in_sec)}"
        found = [f"not in use{left}"]
    added = layout.epochs.get(shard.number)
    if added and shard.epoch and shard.epoch != added:
        found.append("lost its earlier events")
    if shard.gen > layout.gen:
        found.append("its layout is newer: run otel-bridge shards with a number again")
    elif shard.number < layout.count and shard.gen < layout.gen:
        found.append("has no layout until a producer sends to it")
    return found


def age_text(seconds: float | None) -> str:
    """Return a time in a unit that fits: ``0.2 s``, ``58 min``, ``3.0 h``; None: ``?``."""
    if seconds is None:
        return _UNKNOWN
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def format_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the table's lines, with its head, in columns as wide as their longest text."""
    table = [_HEADS, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(_HEADS))]
    return [
        "  ".join(
            cell.rjust(width) if head in _RIGHT else cell.ljust(width)
            for cell, width, head in zip(row, widths, _HEADS, strict=True)
        ).rstrip()
        for row in table
    ]
