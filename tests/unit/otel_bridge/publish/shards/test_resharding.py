"""
``otel_bridge.publish.shards.resharding`` without a server: what its errors say.

What needs a server is in ``tests/integration/test_resharding.py``.
"""

from __future__ import annotations

import pytest
import redis
from redis.exceptions import ClusterDownError, NoPermissionError

from otel_bridge.errors import TransportError
from otel_bridge.publish.shards.resharding import redis_failures

URL = "redis://user:hunter2@host:6379/0"


@pytest.mark.parametrize(
    ("error", "text", "needs_operator"),
    [
        (NoPermissionError("no eval"), "Redis answered NoPermissionError: no eval", True),
        (ClusterDownError("down"), "Redis answered ClusterDownError: down", False),
        (redis.ConnectionError("refused"), "ConnectionError: refused", False),
    ],
)
def test_an_error_of_redis_says_what_it_is(
    error: Exception, text: str, needs_operator: bool
) -> None:
    """It becomes a TransportError with the class of the error, and whether an ACL is the cause."""
    with pytest.raises(TransportError) as raised, redis_failures(URL):
        raise error
    assert str(raised.value) == text
    assert raised.value.needs_operator == needs_operator


def test_a_node_of_a_cluster_is_named_without_the_password() -> None:
    """The URL with the scheme that is wrong is shown, and what to write instead."""
    with pytest.raises(TransportError) as raised, redis_failures(URL):
        raise redis.ResponseError("MOVED 13907 10.0.0.1:6379")
    assert "redis+cluster://" in str(raised.value)
    assert "hunter2" not in str(raised.value)
