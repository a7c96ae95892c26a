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
    ReadOnlyError,
    ResponseError,
)

from otel_bridge.errors import TransportError, TransportRejectedError
from otel_bridge.publish.redis_failures import (
    append_failure,
    failure_reason,
    is_cluster_reply,
    needs_operator,
)

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
    if isinstance(error, ResponseError):
        failure = append_failure(error, "redis://host")
        assert (type(failure), failure.needs_operator) == (TransportError, True)


@pytest.mark.parametrize("error", PASSING)
def test_other_failures_pass(error: Exception) -> None:
    """A full or unreachable Redis needs nobody to change a setting."""
    assert not needs_operator(error)
    assert not is_cluster_reply(error)


def test_any_other_error_is_named_and_shortened() -> None:
    """The reason is the kind of the error and its text, of which 200 characters are kept."""
    assert failure_reason(ResponseError("x" * 300)) == "ResponseError: " + "x" * 200
    assert failure_reason(OSError()) == "OSError"


@pytest.mark.parametrize(
    "reply",
    [
        "ACL failure in script: ERR NOPERM",
        "BUSY Redis is busy running a script",
        "DENIED by the administrator",
        "MISCONF Errors writing to the AOF file",
        "NOREPLICAS Not enough good replicas to write",
        "OOM command not allowed when used memory > 'maxmemory'",
        "ERR Error running script: -READONLY You can't write against a read only replica",
        "UNKILLABLE Sorry the script already executed write commands",
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        "ERR this user can't run this command",
        "ERR unauthenticated client",
        "Script attempted to execute a command while the cluster is down",
    ],
)
def test_a_reply_that_is_not_about_the_batch_is_temporary(reply: str) -> None:
    """Redis recovers from these, or an operator fixes them, so the batch is sent again."""
    failure = append_failure(ResponseError(reply), "redis://host")
    assert type(failure) is TransportError
    assert str(failure) == f"Redis answered ResponseError: {reply}"


def test_a_reply_of_a_temporary_class_is_temporary() -> None:
    """Of some replies redis-py removes the code, so their class decides."""
    failure = append_failure(ReadOnlyError("no"), "redis://host")
    assert type(failure) is TransportError


def test_any_other_reply_rejects_the_batch() -> None:
    """An unknown error reply would come again, so the batch is dropped; its text is shortened."""
    failure = append_failure(ResponseError("ERR " + "x" * 1000), "redis://host")
    assert type(failure) is TransportRejectedError
    assert str(failure) == "Redis answered ResponseError: ERR " + "x" * 196
