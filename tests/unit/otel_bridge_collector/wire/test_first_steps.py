"""The lines that start a program: each has an address at which this collector gets its events."""

from __future__ import annotations

import pytest
from otel_bridge_collector.wire.first_steps import URL_PLACEHOLDER, first_steps

from otel_bridge.settings import DEFAULT_KEY_PREFIX

URL = "http://127.0.0.1:12000"


def steps(
    log_url: str = "memory://collector",
    redis_url: str | None = None,
    *,
    key_prefix: str = DEFAULT_KEY_PREFIX,
    has_tokens: bool = False,
    has_coordinator: bool = False,
) -> dict[str, str]:
    found = first_steps(
        URL,
        log_url=log_url,
        redis_url=redis_url,
        key_prefix=key_prefix,
        has_tokens=has_tokens,
        has_coordinator=has_coordinator,
    )
    assert len(found) == len(dict(found))
    return dict(found)


def test_without_redis_events_come_by_http() -> None:
    """Each kind of work has its line, and each line has the collector's own address."""
    found = steps(has_coordinator=True)
    assert list(found) == [
        "Python",
        "Any language",
        "Celery",
        "RQ",
        "arq",
        "Dramatiq",
        "Taskiq",
        "Coordinator",
    ]
    assert found["Celery"] == (
        f"MONITORING_BUS_URL={URL} opentelemetry-instrument celery -A app worker"
    )
    assert found["Any language"] == (
        f"OTEL_EXPORTER_OTLP_ENDPOINT={URL} OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf ./service"
    )
    assert [line for line in found.values() if URL not in line] == []


def test_with_redis_events_go_there() -> None:
    """The Redis that has the log is named, except for OTLP, which comes to the collector."""
    redis = "redis://10.0.0.1:6379/2"
    found = steps(redis, redis)
    assert found["RQ"] == f"REDIS_URL={redis} opentelemetry-instrument rq worker"
    assert found["Any language"].startswith(f"OTEL_EXPORTER_OTLP_ENDPOINT={URL} ")
    assert "Reference workers" not in found


def test_a_redis_for_the_log_alone_is_the_bus() -> None:
    """Where queues and log are on two servers, each line names the one that it needs."""
    found = steps("redis://log:6379/0", "redis://queues:6379/0", has_coordinator=True)
    assert found["Python"].startswith("MONITORING_BUS_URL=redis://log:6379/0 ")
    assert found["Reference workers"] == (
        "REDIS_URL=redis://queues:6379/0 otel-bridge worker --workers 4"
    )


def test_a_prefix_of_the_keys_is_named() -> None:
    """Where an application has keys of its own, its workers need the same prefix."""
    redis = "redis://h/0"
    found = steps(redis, redis, key_prefix="shop", has_coordinator=True)
    for name in ("Celery", "Reference workers"):
        assert found[name].startswith("MONITORING_KEY_PREFIX=shop REDIS_URL=redis://h/0 ")
    assert "shop" not in found["Any language"]
    assert "shop" not in str(steps(key_prefix="shop"))


@pytest.mark.parametrize(
    ("redis", "shown"),
    [
        ("redis://me:hunter2@h:1/0?a=hunter2", "redis://***@h:1/0"),
        ("redis+sentinel://:hunter2@a,b/s/0", "redis+sentinel://***@a,b/s/0"),
        ("redis://:hunter2/x@h/0", "redis://***"),
    ],
)
def test_no_secret_is_shown(redis: str, shown: str) -> None:
    """Three stars stand for user and password, or for all of a URL that cannot be separated."""
    found = steps(redis, redis, has_coordinator=True)
    assert found["Python"].startswith(f"REDIS_URL={shown} ")
    assert "hunter2" not in str(found)


def test_tokens_are_named_and_not_shown() -> None:
    """Where a token is needed, each line that speaks to the collector has its variable."""
    found = steps(has_tokens=True)
    assert found["Python"].startswith("MONITORING_TOKEN=$TOKEN MONITORING_BUS_URL=")
    assert 'OTEL_EXPORTER_OTLP_HEADERS="Authorization=Bearer%20$TOKEN"' in found["Any language"]
    redis = "redis://h/0"
    assert "MONITORING_TOKEN" not in steps(redis, redis, has_tokens=True)["Python"]


def test_the_page_puts_its_own_address() -> None:
    """The placeholder is where the address would be."""
    found = first_steps(
        URL_PLACEHOLDER,
        log_url="memory://",
        redis_url=None,
        has_tokens=False,
        has_coordinator=False,
    )
    assert [line for _, line in found if "={url} " not in line] == []
