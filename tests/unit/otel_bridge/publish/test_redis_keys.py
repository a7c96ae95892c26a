"""Every Redis key, by the name that other programs and an operator's ACL use."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest

from otel_bridge.publish.redis_keys import DEFAULT_KEYS, RedisKeys

OTHER = RedisKeys("shop:eu")


def methods_of(keys: RedisKeys) -> dict[str, Callable[..., str]]:
    # Of the class: CPython 3.11.2, which Debian 12 has, cannot read ``__weakref__`` of an instance
    # whose dataclass has slots, so ``getmembers`` raises TypeError.
    names = [name for name, _ in inspect.getmembers(type(keys), inspect.isfunction)]
    return {name: getattr(keys, name) for name in names}


def constants_of(keys: RedisKeys) -> dict[str, str]:
    found = inspect.getmembers(type(keys), lambda member: isinstance(member, property))
    names = {name for name, _ in found} - {"queues", "task_prefix", "task_queue_prefix"}
    return {name: getattr(keys, name) for name in names}


def all_keys(keys: RedisKeys) -> list[str]:
    return [
        *(method("x") for name, method in methods_of(keys).items() if not name.startswith("__")),
        *constants_of(keys).values(),
        *keys.queues,
        keys.queue_depth_lock(),
    ]


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("queue", "nexus:tasks:x_priority"),
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
        ("collector_ticket", "nexus:collector:ticket:x"),
        ("collector_session", "nexus:collector:session:x"),
        ("collector_sessions", "nexus:collector:sessions:x"),
        ("queue_depth_lock", "nexus:queue_depth:turn:x"),
        ("log_stream", "nexus:{x}:stream"),
        ("log_meta", "nexus:{x}:meta"),
        ("log_layout", "nexus:{x}:layout"),
        ("log_producer", "nexus:{0}:producer:x"),
        ("node", "nexus:{0}:node:x"),
    ],
)
def test_a_key_has_its_documented_name(method: str, expected: str) -> None:
    """The name of a key is a contract: dashboards, scripts and other products read it."""
    assert methods_of(DEFAULT_KEYS)[method]("x") == expected
    assert methods_of(OTHER)[method]("x") == expected.replace("nexus", "shop:eu", 1)


def test_a_key_without_an_id_has_its_documented_name() -> None:
    """The same contract for the keys of which there is one."""
    assert constants_of(DEFAULT_KEYS) == {
        "research_queue": "nexus:research_tasks",
        "leases": "nexus:leases",
        "delayed": "nexus:delayed",
        "dead_letters": "nexus:dead",
        "wake_channel": "nexus:wake",
        "collector_leader": "nexus:collector:leader",
        "collectors": "nexus:{0}:collectors",
        "collectors_info": "nexus:{0}:collectors:info",
        "collectors_joined": "nexus:{0}:collectors:joined",
    }
    assert DEFAULT_KEYS.queue_depth_lock() == "nexus:queue_depth:turn"
    assert (DEFAULT_KEYS.task_prefix, DEFAULT_KEYS.task_queue_prefix) == (
        "nexus:task:",
        "nexus:tasks:",
    )


def test_the_queues_are_claimed_by_priority() -> None:
    """The three queues have the names that existing coordinators use, high priority first."""
    assert DEFAULT_KEYS.queues == (
        "nexus:tasks:high_priority",
        "nexus:tasks:normal_priority",
        "nexus:tasks:low_priority",
    )


def slot_tag(key: str) -> str:
    """The part of a key that a Redis Cluster hashes: between the first ``{`` and the next ``}``."""
    start = key.index("{") + 1
    return key[start : key.index("}", start)]


@pytest.mark.parametrize("keys", [DEFAULT_KEYS, OTHER])
def test_the_logs_keys_share_a_slot(keys: RedisKeys) -> None:
    """Stream, producers and epoch of a shard are in one Cluster slot, whatever the producer id."""
    found = [keys.log_stream(), keys.log_meta(), keys.log_producer("a{b}c")]
    assert [slot_tag(key) for key in found] == ["0", "0", "0"]
    other = [keys.log_stream("1"), keys.log_meta("1"), keys.log_producer("p", "1")]
    assert [slot_tag(key) for key in other] == ["1", "1", "1"]


@pytest.mark.parametrize("keys", [DEFAULT_KEYS, OTHER])
def test_everything_is_below_one_prefix(keys: RedisKeys) -> None:
    """An ACL of ``~nexus:*`` covers every key, and no key is one of another product."""
    for key in all_keys(keys):
        assert key.startswith(f"{keys.prefix}:")
        assert not key.startswith(f"{keys.prefix}:task_status:")


def test_all_keys_differ() -> None:
    """No two names are the same key, and no key belongs to two prefixes."""
    found = [*all_keys(DEFAULT_KEYS), *all_keys(OTHER)]
    assert len(set(found)) == len(found)
