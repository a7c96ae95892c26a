"""``otel_bridge.publish.shards.layout``: tags, their slots, and the layout in the hash."""

from __future__ import annotations

import zlib
from dataclasses import replace

import pytest

from otel_bridge.publish.shards.layout import (
    LAYOUT_FIELDS,
    MAX_SHARDS,
    SINGLE,
    TAGS,
    Layout,
    parse_layout,
    slot_of,
)

SLOTS = 16_384


def reply(**fields: str) -> list[bytes | None]:
    named = {name.replace("_", ":"): value.encode() for name, value in fields.items()}
    return [named.get(name) for name in LAYOUT_FIELDS]


@pytest.mark.parametrize(("masters", "expected"), [(3, [2, 3, 3]), (6, [1, 1, 2, 1, 1, 2])])
def test_the_shards_are_spread_over_the_masters(masters: int, expected: list[int]) -> None:
    """Eight shards lie evenly on three and on six masters that share the slots evenly."""
    counts = [0] * masters
    for tag in TAGS:
        counts[slot_of(tag) * masters // SLOTS] += 1
    assert counts == expected


@pytest.mark.parametrize(("tag", "slot"), [("123456789", 0x31C3), ("0", 13_907), ("foo", 12_182)])
def test_a_slot_is_what_redis_says(tag: str, slot: int) -> None:
    """The slots of the specification's example, and those that CLUSTER KEYSLOT answers."""
    assert slot_of(tag) == slot


def test_the_tags_follow_their_rule() -> None:
    """Each tag lies within 8 slots of the place that halves the free space after slot 13,907."""
    for shard, tag in enumerate(TAGS):
        reversed_bits = int(f"{shard:03b}"[::-1], 2)
        wanted = (slot_of("0") + reversed_bits * SLOTS // MAX_SHARDS) % SLOTS
        distance = abs(slot_of(tag) - wanted)
        assert min(distance, SLOTS - distance) <= 8
        assert tag == "0" if shard == 0 else tag.startswith(f"{shard}.")


def test_a_log_without_a_layout_is_one_shard() -> None:
    """Without the hash each producer appends to shard 0, and that is the only one to read."""
    layout = parse_layout([None] * len(LAYOUT_FIELDS))
    assert layout == SINGLE
    assert layout.shards == (0,)
    assert {layout.shard_of(name) for name in "abcdefgh"} == {0}


def test_a_layout_is_read_from_the_hash() -> None:
    """The fields of the hash come back under their names, also those of a shard not in use."""
    layout = parse_layout(
        reply(gen="3", n="2", epoch="aa", e_0="aa", e_1="bb", e_2="cc", last_2="5-1")
    )
    assert layout == Layout(3, 2, "aa", {0: "aa", 1: "bb", 2: "cc"}, {2: "5-1"})
    assert layout.shards == (0, 1, 2)


def test_a_producer_stays_on_its_shard() -> None:
    """Its shard is the CRC-32 of its id modulo the number of shards, so all processes agree."""
    layout = replace(SINGLE, gen=1, count=5)
    for name in ("a", "0f8fad5bd9cb469fa16570867728950e", "\u00e4"):
        assert layout.shard_of(name) == zlib.crc32(name.encode()) % 5


@pytest.mark.parametrize(
    "fields",
    [
        {"gen": "x", "n": "2", "epoch": "aa"},
        {"gen": "0", "n": "2", "epoch": "aa"},
        {"gen": "1", "epoch": "aa"},
        {"gen": "1", "n": "2"},
        {"gen": "1", "n": "0", "epoch": "aa"},
        {"gen": "1", "n": "9", "epoch": "aa"},
    ],
)
def test_a_hash_that_is_no_layout_is_an_error(fields: dict[str, str]) -> None:
    """A hash of another program, or of a release with more shards, is not taken for a layout."""
    with pytest.raises(ValueError, match=r"n="):
        parse_layout(reply(**fields))
