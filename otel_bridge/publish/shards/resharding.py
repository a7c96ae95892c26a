"""
``reshard``: gives a log another number of shards, while publishers send and collectors read.

First every shard gets the number of the new layout, the added ones before the others and shard 0
last; then the layout itself is written. A shard with a newer number than the producer's refuses its
batch, and the producer reads the layout. So between these steps producers wait, for milliseconds,
and none appends by the old layout after the new one can be read.

A shard that is taken out of use keeps its events for an hour; readers read it until then.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from importlib import resources
from typing import Any, Final, Literal

from redis.exceptions import ResponseError

from otel_bridge.errors import TransportError
from otel_bridge.publish.redis_clients import REDIS_ERRORS
from otel_bridge.publish.redis_failures import failure_reason, needs_operator
from otel_bridge.publish.redis_keys import RedisKeys
from otel_bridge.publish.shards.layout import (
    LAYOUT_FIELDS,
    MAX_SHARDS,
    TAGS,
    Layout,
    parse_layout,
)

__all__ = ["ENDED_SHARD_TTL_SEC", "is_complete", "read_layout", "redis_failures", "reshard"]

_PREPARE_SCRIPT: Final = (
    resources.files("otel_bridge.publish.shards").joinpath("layout.lua").read_bytes()
)
_WRITE_SCRIPT: Final = (
    "if (redis.call('HGET', KEYS[1], 'gen') or '0') ~= ARGV[1] then return 0 end "
    "local dropped = tonumber(ARGV[2]) "
    "redis.call('HSET', KEYS[1], unpack(ARGV, 3 + dropped)) "
    "if dropped > 0 then redis.call('HDEL', KEYS[1], unpack(ARGV, 3, 2 + dropped)) end "
    "return 1"
)
"""Not written if another ``otel-bridge shards`` has written a layout meanwhile."""
ENDED_SHARD_TTL_SEC: Final = 3600
"""How long the events of a shard are kept that is taken out of use."""
_MAX_ATTEMPTS: Final = 20

_Use = Literal["keep", "add", "end"]


@contextlib.contextmanager
def redis_failures(url: str) -> Iterator[None]:
    """
    Turn the errors of a Redis client inside the block into ``TransportError``.

    Args:
        url: Of the server, shown without its password.
    """
    try:
        yield
    except ResponseError as error:
        reason = failure_reason(error, url)
        raise TransportError(
            f"Redis answered {reason}", needs_operator=needs_operator(error)
        ) from error
    except REDIS_ERRORS as error:
        raise TransportError(failure_reason(error, url)) from error


def read_layout(client: Any, keys: RedisKeys) -> Layout:
    """
    Return the layout of the log, which is ``SINGLE`` if none was written; by one command.

    Args:
        client: A synchronous client of ``redis_clients.connect``; its errors pass.
        keys: Names of the log's keys.

    Raises:
        TransportError: The hash was not written by ``otel-bridge shards``.
    """
    values = client.execute_command("HMGET", keys.log_layout(), *LAYOUT_FIELDS)
    try:
        return parse_layout(values)
    except ValueError as error:
        raise TransportError(f"{keys.log_layout()}: {error}") from error


def is_complete(client: Any, keys: RedisKeys, layout: Layout) -> bool:
    """
    Return whether the shards in use have this layout, and no shard has a newer one.

    If not, a change of the layout has been interrupted, or a shard or the layout has been lost;
    ``reshard`` repairs that.

    Args:
        client: A synchronous client of ``redis_clients.connect``; its errors pass.
        keys: Names of the log's keys.
        layout: What ``read_layout`` returned.
    """
    gens = [_layout_in(client, keys, shard) for shard in range(MAX_SHARDS)]
    return set(gens[: layout.count]) == {layout.gen} and max(gens) == layout.gen


def reshard(client: Any, keys: RedisKeys, count: int) -> Layout:
    """
    Give the log another number of shards; return the new layout.

    Publishers wait for some milliseconds meanwhile, and lose and repeat nothing. If it ends half
    way they buffer until it is called again, with any number. Calling it with the present number
    writes a new layout too, which repairs one that was lost.

    Args:
        client: A synchronous client of ``redis_clients.connect``; its errors pass.
        keys: Names of the log's keys.
        count: From 1 to ``MAX_SHARDS`` (8); not checked.

    Raises:
        TransportError: Another process changes the layout again and again, or the hash was not
            written by ``otel-bridge shards``.
    """
    for _ in range(_MAX_ATTEMPTS):
        found = _try(client, keys, count)
        if found is not None:
            return found
    raise TransportError("another otel-bridge shards changes the layout at the same time")


def _try(client: Any, keys: RedisKeys, count: int) -> Layout | None:
    """The new layout, or None if another one was written meanwhile."""
    old = read_layout(client, keys)
    gens = {shard: _layout_in(client, keys, shard) for shard in range(MAX_SHARDS)}
    gen = 1 + max(old.gen, *gens.values())
    # With those of a layout that was lost, or whose command was interrupted.
    present = {*old.shards, *(shard for shard, known in gens.items() if known)}
    epochs, ended = dict(old.epochs), dict(old.ended)
    has_started = False
    for shard in sorted({*range(count), *present}, key=lambda shard: _rank(shard, old)):
        use: _Use = "end"
        if shard < count:
            use = "keep" if old.gen and shard < old.count else "add"
        try:
            epoch, last, has_stream = _prepare(client, keys, shard, gen, use)
        except REDIS_ERRORS as error:
            if not has_started:
                raise
            raise TransportError(
                f"the change stopped half way, at shard {shard} ({failure_reason(error)}): run it "
                "again, as publishers of the other shards buffer their events until then"
            ) from error
        has_started = True
        if use == "end":
            if has_stream:
                ended[shard] = last.decode()
                epochs.setdefault(shard, epoch.decode())
            else:
                epochs.pop(shard, None)
        elif use == "add" and not has_stream:
            epochs[shard] = epoch.decode()
        else:
            # Not the present one: a reader sees by the difference what the shard has lost.
            epochs.setdefault(shard, epoch.decode())
    new = Layout(gen, count, old.epoch or epochs[0], epochs, ended)
    dropped = [f"e:{shard}" for shard in old.epochs.keys() - epochs.keys()]
    is_written = client.execute_command(
        "EVAL",
        _WRITE_SCRIPT,
        1,
        keys.log_layout(),
        old.gen,
        len(dropped),
        *dropped,
        *_fields(new),
    )
    return new if is_written else None


def _prepare(
    client: Any, keys: RedisKeys, shard: int, gen: int, use: _Use
) -> tuple[bytes, bytes, int]:
    """Run ``layout.lua`` for one shard."""
    epoch, last, has_stream = client.execute_command(
        "EVAL",
        _PREPARE_SCRIPT,
        2,
        keys.log_stream(TAGS[shard]),
        keys.log_meta(TAGS[shard]),
        gen,
        secrets.token_hex(4),
        use,
        ENDED_SHARD_TTL_SEC,
    )
    return epoch, last, has_stream


def _layout_in(client: Any, keys: RedisKeys, shard: int) -> int:
    found = client.execute_command("HGET", keys.log_meta(TAGS[shard]), "layout")
    return int(found or 0)


def _rank(shard: int, old: Layout) -> tuple[bool, int]:
    """The added shards first, and of the others shard 0 last."""
    return shard < old.count, -shard


def _fields(layout: Layout) -> list[str | int]:
    found: list[str | int] = ["gen", layout.gen, "n", layout.count, "epoch", layout.epoch]
    for shard, epoch in layout.epochs.items():
        found += [f"e:{shard}", epoch]
    for shard, last in layout.ended.items():
        found += [f"last:{shard}", last]
    return found
