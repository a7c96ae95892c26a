"""``otel_bridge_collector.log.shards``: what ``/readyz`` says of a log with several shards."""

from __future__ import annotations

import time

from otel_bridge_collector.log.shards import shards_readiness

from otel_bridge.publish.transports.sharded.status import ShardStatus


def test_one_stream_has_nothing_to_say() -> None:
    """Without shards, and with one, ``/readyz`` has the fields that it always had."""
    one = ShardStatus()
    one.note_read(0, "a:1", 0)
    assert [shards_readiness(each) for each in (None, ShardStatus(), one)] == [{}, {}, {}]


def test_shards_and_warnings() -> None:
    """Each shard with its server and lag; a warning for one that does not answer."""
    status = ShardStatus()
    status.note_read(0, "a:1", 0)
    status.note_read(1, "b:1", 1500)
    status.events[1] = 7
    first = {"shard": 0, "node": "a:1", "state": "read", "events": 0, "lag_seconds": 0.0}
    second = {"shard": 1, "node": "b:1", "state": "read", "events": 7, "lag_seconds": 1.5}
    assert shards_readiness(status) == {"shards": [first, second]}
    status.note_shards({0: None, 1: None}, {1: time.monotonic()})
    found = shards_readiness(status)
    assert found["shards"][1]["state"] == "no answer"
    assert found["warnings"] == ["shards 1 do not answer"]
