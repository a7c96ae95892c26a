"""
The layout of a log with several shards: how many there are, their keys, and whose events go where.

A shard is one stream of the log with its meta hash. In a Redis Cluster each shard lies in a slot of
its own, so that several masters share the work. ``otel-bridge shards N`` writes the layout into the
hash ``nexus:{0}:layout``; without that hash the log is one stream, shard 0.

A producer (a process that sends) has one shard, so its events keep their order, and each batch is
one call of a script. Routing by task instead splits each batch: with batches of 16, a Cluster of
three masters was then no better than one Redis, and by producer 2.3 times better (measured).
"""

from __future__ import annotations

import binascii
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["LAYOUT_FIELDS", "MAX_SHARDS", "SINGLE", "TAGS", "Layout", "parse_layout", "slot_of"]

TAGS: Final = ("0", "1.723", "2.526", "3.101", "4.21", "5.2132", "6.1981", "7.109")
"""
The text in the braces of each shard's keys, which decides its Cluster slot.

With the bare numbers 0 to 7 three masters would have 2, 4 and 2 shards, and six would have 2, 0, 2,
2, 0 and 2. These lie within 8 slots of places that halve the free space again and again, from slot
13,907 of shard 0: 2, 3 and 3 shards for three masters, and 1 or 2 for each of six. They are a part
of the keys and must not change.
"""
_SLOTS: Final = 16_384
MAX_SHARDS: Final = len(TAGS)
"""The most shards that a log can have."""

LAYOUT_FIELDS: Final = (
    "gen",
    "n",
    "epoch",
    *(f"e:{shard}" for shard in range(MAX_SHARDS)),
    *(f"last:{shard}" for shard in range(MAX_SHARDS)),
)
"""
The fields of the hash: read with one ``HMGET`` in this order.

``gen`` counts the layouts from 1, ``n`` is the number of shards in use, ``epoch`` is the log's:
that of shard 0 when the first layout was written. ``e:<shard>`` is the shard's own epoch when it
was added; a shard whose meta hash has another one has lost what it had before its ``first`` entry.
``last:<shard>`` is the id of the last entry of a shard that was taken out of use; nothing was
appended to it after that.
"""


@dataclass(frozen=True, slots=True)
class Layout:
    """
    One layout of the log, from ``parse_layout``, or ``SINGLE``; an immutable record without checks.

    Attributes:
        gen: Number of this layout, counted from 1; 0: no layout was ever written.
        count: Shards to which events are appended, from 1 to 8: those from 0 to ``count - 1``.
        epoch: Epoch in the positions of all shards; empty without a layout: shard 0's own.
        epochs: Epoch of each shard when it was added, for all shards that may still hold events.
        ended: Id of the last entry of each shard that was taken out of use, e.g.
            ``1764412800000-3``; ``0-0``: it never had one. It stays when the shard is in use again.
    """

    gen: int
    count: int
    epoch: str
    epochs: Mapping[int, str]
    ended: Mapping[int, str]

    def shard_of(self, producer_id: str) -> int:
        """Return the shard to which a producer appends; never raises."""
        return zlib.crc32(producer_id.encode()) % self.count

    @property
    def shards(self) -> tuple[int, ...]:
        """All shards that may hold events, in order: those in use, and those that were."""
        return tuple(sorted({*range(self.count), *self.epochs}))


SINGLE: Final = Layout(0, 1, "", {}, {})
"""The layout of a log for which none was written: one stream, shard 0."""


def parse_layout(values: Sequence[bytes | None]) -> Layout:
    """
    Return the layout from the reply to ``HMGET nexus:{0}:layout`` with ``LAYOUT_FIELDS``.

    Args:
        values: The reply: one value for each of the fields, None for one that is missing.

    Returns:
        ``SINGLE`` if there is no ``gen``, else what the fields say.

    Raises:
        ValueError: The hash was not written by ``otel-bridge shards``, or by a newer release with
            more shards; the message says what is wrong with it.
    """
    fields = {
        name: value.decode(errors="replace")
        for name, value in zip(LAYOUT_FIELDS, values, strict=True)
        if value is not None
    }
    if "gen" not in fields:
        return SINGLE
    gen, count, epoch = fields["gen"], fields.get("n", ""), fields.get("epoch", "")
    if not (gen.isdecimal() and int(gen) and count.isdecimal() and epoch):
        raise ValueError(f"gen={gen} n={count} epoch={epoch} is no layout")
    if not 1 <= int(count) <= MAX_SHARDS:
        raise ValueError(f"n={count} is not between 1 and {MAX_SHARDS}")
    return Layout(int(gen), int(count), epoch, _by_shard(fields, "e:"), _by_shard(fields, "last:"))


def slot_of(tag: str) -> int:
    """
    Return the slot of a Redis Cluster, 0 to 16,383, that keys with this text in braces belong to.

    Never raises.

    Source: the specification of Redis Cluster: CRC-16 (XMODEM) modulo 16,384.
    """
    return binascii.crc_hqx(tag.encode(), 0) % _SLOTS


def _by_shard(fields: Mapping[str, str], prefix: str) -> dict[int, str]:
    names = {shard: f"{prefix}{shard}" for shard in range(MAX_SHARDS)}
    return {shard: fields[name] for shard, name in names.items() if name in fields}
