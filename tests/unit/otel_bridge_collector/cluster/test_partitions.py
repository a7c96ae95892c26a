"""Partitions of owner keys, and owners of partitions: balanced, and few move when one leaves."""

from __future__ import annotations

from collections import Counter

import pytest
from otel_bridge_collector.cluster.partitions import (
    PARTITIONS,
    owners,
    partition_of,
    preference,
)

IDS = [f"member-{number}" for number in range(40)]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 8, 24, 30])
def test_each_member_owns_its_share(count: int) -> None:
    """Every partition has one owner, and no member more than its share; 24 members own one each."""
    found = owners(IDS[:count])
    assert len(found) == PARTITIONS
    assert set(Counter(found).values()) <= set(range(-(-PARTITIONS // count) + 1))
    assert len(set(found)) == min(count, PARTITIONS)


def test_owners_do_not_depend_on_the_order_of_members() -> None:
    """Each member computes the same owners; without members there are none."""
    assert owners(IDS[:5]) == owners(reversed(IDS[:5])) == owners([*IDS[:5], IDS[0]])
    assert owners([]) == ()


@pytest.mark.parametrize("count", [2, 3, 4, 5, 8])
def test_few_partitions_move_when_a_member_leaves(count: int) -> None:
    """Besides those of the member that left, under a fifth of the others have another owner."""
    needless = 0
    for gone in range(count):
        before, after = owners(IDS[:count]), owners(IDS[:gone] + IDS[gone + 1 : count])
        pairs = zip(before, after, strict=True)
        needless += sum(old not in (IDS[gone], new) for old, new in pairs)
    assert needless <= PARTITIONS / 5 * count


def test_a_partition_is_the_same_in_every_release() -> None:
    """The hash of a key is pinned: members of two releases must agree; any text is a key."""
    keys = ("", "t", "research-1", "ab" * 16, "ü\ud800")
    assert [partition_of(key) for key in keys] == [0, 8, 17, 14, 22]


def test_preference_names_every_member_once() -> None:
    """The members in the order in which they should serve a partition, the same everywhere."""
    assert sorted(preference(IDS[:3], 5)) == IDS[:3]
    assert preference(IDS[:3], 5) == preference(IDS[2::-1], 5)
