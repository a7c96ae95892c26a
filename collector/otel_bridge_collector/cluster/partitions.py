"""
Which partition a task belongs to, and which member of a cluster owns each partition.

A partition is a share of the tasks, by the hash of their owner key (``cluster.owners``), with
a state of its own. 24 of them divide evenly among 2, 3, 4, 6 and 8 members; at most 24 members own
any. A member is a collector process that shares the fold.

The owners are found by rendezvous hashing with a cap: each member has a weight for each partition,
the greatest weight gets it, and no member gets more than its share. Without the cap the busiest of
5 members had 1.35 times the mean (64 partitions). With it, when one of 2 to 9 members leaves, up to
3 of the other members' 24 partitions move too, on average: each of them may own more then.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2s
from typing import Final
from zlib import crc32

__all__ = ["PARTITIONS", "owners", "partition_of", "preference"]

PARTITIONS: Final = 24
_WEIGHT_BYTES: Final = 8


def partition_of(key: str) -> int:
    """Return the partition of an owner key, 0 to 23; the same in every process and release."""
    return crc32(key.encode("utf-8", "surrogatepass")) % PARTITIONS


def _weight(member_id: str, partition: int) -> bytes:
    # Not crc32: it is linear, and one of three members got nothing.
    return blake2s(f"{member_id}:{partition}".encode(), digest_size=_WEIGHT_BYTES).digest()


def preference(members: Iterable[str], partition: int) -> list[str]:
    """Return ids of members in the order in which they should serve a partition; pure."""
    return sorted(set(members), key=lambda one: (_weight(one, partition), one), reverse=True)


def owners(members: Iterable[str]) -> tuple[str, ...]:
    """
    Return the owner of each partition; pure, the same for the same members in any order.

    Args:
        members: Their ids; repeated ones count once.

    Returns:
        24 ids. No member has more than ``ceil(24 / members)``, so of more than 24 members some have
        none. Empty if there are no members.
    """
    ids = sorted(set(members))
    if not ids:
        return ()
    share = -(-PARTITIONS // len(ids))
    weights = [(_weight(one, number), one, number) for one in ids for number in range(PARTITIONS)]
    found: dict[int, str] = {}
    counts = dict.fromkeys(ids, 0)
    for _, one, number in sorted(weights, reverse=True):
        if number not in found and counts[one] < share:
            found[number] = one
            counts[one] += 1
    return tuple(found[number] for number in range(PARTITIONS))
