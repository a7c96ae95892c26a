"""What a failed Redis command means, in one line."""

from __future__ import annotations

import pytest
from redis.exceptions import (
    AskError,
    ClusterCrossSlotError,
    ConnectionError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ResponseError,
)

from otel_bridge.publish.redis_failures import failure_reason, is_cluster_reply, needs_operator

CLUSTER = [
    MovedError("3999 127.0.0.1:6381"),
    AskError("3999 127.0.0.1:6381"),
    ResponseError("MOVED 3999 127.0.0.1:6381"),
    ResponseError("Command # 1 (HGET k e) of pipeline caused error: ASK 3999 127.0.0.1:6381"),
    ResponseError("CROSSSLOT Keys in request don't hash to the same slot"),
    ClusterCrossSlotError("Keys in request don't hash to the same slot"),
    ResponseError("Script attempted to access a non local key in a cluster node script: f_1"),
    ResponseError("Script attempted to access keys that do not hash to the same slot"),
]
DENIED = [
    NoPermissionError("User worker has no permissions to run the 'eval' command"),
    ResponseError("ACL failure in script: No permissions to access a key script: f_1"),
    ResponseError("The user executing the script can't run this command or subcommand"),
]
PASSING = [OutOfMemoryError("used memory > 'maxmemory'"), ConnectionError("refused"), OSError()]


@pytest.mark.parametrize("error", CLUSTER)
def test_a_cluster_by_the_wrong_url_says_how_to_write_it(error: Exception) -> None:
    """The reason names the server, without its password, and the scheme to use."""
    assert failure_reason(error, "redis://:hunter2@host:6379/0") == (
        "redis://host:6379/0 is one node of a Redis Cluster; write redis+cluster:// in its URL"
    )
    assert failure_reason(error).startswith("this server is one node of a Redis Cluster")
    assert is_cluster_reply(error)


@pytest.mark.parametrize("error", [*CLUSTER, *DENIED])
def test_permissions_and_urls_are_for_an_operator(error: Exception) -> None:
    """Neither a denied command nor a Cluster by the wrong URL gets better by itself."""
    assert needs_operator(error)


@pytest.mark.parametrize("error", PASSING)
def test_other_failures_pass(error: Exception) -> None:
    """A full or unreachable Redis needs nobody to change a setting."""
    assert not needs_operator(error)
    assert not is_cluster_reply(error)


def test_any_other_error_is_named_and_shortened() -> None:
    """The reason is the kind of the error and its text, of which 200 characters are kept."""
    assert failure_reason(ResponseError("x" * 300)) == "ResponseError: " + "x" * 200
    assert failure_reason(OSError()) == "OSError"
