"""Every Redis key, by the name that other programs and an operator's ACL use."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest

from otel_bridge.publish import redis_keys

FUNCTIONS: dict[str, Callable[..., str]] = dict(inspect.getmembers(redis_keys, inspect.isfunction))
CONSTANTS = {
    name: value
    for name, value in vars(redis_keys).items()
    if name.isupper() and isinstance(value, str) and name != "DEFAULT_SHARD"
}


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("task_status", "nexus:task:x:status"),
        ("task_data", "nexus:task:x:data"),
        ("task_result", "nexus:task:x:result"),
        ("task_error", "nexus:task:x:error"),
        ("task_lease", "nexus:task:x:lease"),
        ("task_group", "nexus:task_group:x"),
        ("task_meta", "nexus:task_meta:x"),
        ("worker_heartbeat", "nexus:worker:heartbeat:x"),
        ("processing", "nexus:processing:x"),
        ("dedupe", "nexus:dedupe:x"),
        ("collector_stalled", "nexus:collector:stalled:x"),
        ("queue_depth_lock", "nexus:queue_depth:turn:x"),
        ("log_stream", "nexus:{x}:stream"),
        ("log_meta", "nexus:{x}:meta"),
    ],
)
def test_a_key_has_its_documented_name(function: str, expected: str) -> None:
    """The name of a key is a contract: dashboards, scripts and other products read it."""
    assert FUNCTIONS[function]("x") == expected


def test_the_queues_are_claimed_by_priority() -> None:
    """The three queues have the names that existing coordinators use, high priority first."""
    assert redis_keys.QUEUES == (
        "nexus:tasks:high_priority",
        "nexus:tasks:normal_priority",
        "nexus:tasks:low_priority",
    )


def slot_tag(key: str) -> str:
    """The part of a key that a Redis Cluster hashes: between the first ``{`` and the next ``}``."""
    start = key.index("{") + 1
    return key[start : key.index("}", start)]


def test_the_logs_keys_share_a_slot() -> None:
    """Stream, producers and epoch of a shard are in one Cluster slot, whatever the producer id."""
    found = [redis_keys.log_stream(), redis_keys.log_meta(), redis_keys.log_producer("a{b}c")]
    assert [slot_tag(key) for key in found] == ["0", "0", "0"]
    assert redis_keys.log_producer("p") == "nexus:{0}:producer:p"
    other = [
        redis_keys.log_stream("1"),
        redis_keys.log_meta("1"),
        redis_keys.log_producer("p", "1"),
    ]
    assert [slot_tag(key) for key in other] == ["1", "1", "1"]


def test_everything_is_below_one_prefix() -> None:
    """An ACL of ``~nexus:*`` covers every key, and no key is one of another product."""
    made = [function("x") for function in FUNCTIONS.values()]
    for key in [*made, *CONSTANTS.values()]:
        assert key.startswith("nexus:")
        assert not key.startswith("nexus:task_status:")


def test_all_keys_differ() -> None:
    """No two functions or constants name the same key."""
    made = [function("x") for function in FUNCTIONS.values()]
    assert len({*made, *CONSTANTS.values()}) == len(made) + len(CONSTANTS)
