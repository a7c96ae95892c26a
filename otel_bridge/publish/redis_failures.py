"""What a failed Redis command means, in one line and with the cure where the error lacks it."""

from __future__ import annotations

import re
from typing import Final

from redis.exceptions import (
    AskError,
    ClusterCrossSlotError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

from otel_bridge.errors import TransportError, TransportRejectedError
from otel_bridge.urls import redact_url

__all__ = ["append_failure", "failure_reason", "is_cluster_reply", "needs_operator"]

_CLUSTER_ERRORS: Final = (AskError, ClusterCrossSlotError)
"""``MOVED`` is a kind of ``AskError``. A client of a Cluster follows both and never raises them."""
_CLUSTER_TEXT: Final = re.compile(
    r"\b(MOVED|ASK) [0-9]+ \S+:[0-9]+|\bCROSSSLOT |non local key|do not hash to the same slot"
)
"""The same from redis-py 5, which has no classes for them there; and of a script that uses keys of
another node, or of several slots."""
_DENIAL_TEXTS: Final = ("ACL failure", "can't run this command")
"""Denials by an ACL inside a script: of Redis 7, and of Redis 6.2."""
_MAX_CHARS: Final = 200

_TEMPORARY_ERRORS: Final = (
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    TryAgainError,
)
_TEMPORARY_CODES: Final = (
    "ACL failure",
    "BUSY",
    "DENIED",
    "MISCONF",
    "NOREPLICAS",
    "OOM",
    "READONLY",
    "UNKILLABLE",
    "WRONGTYPE",
    "can't run this command",
    "cluster is down",
    "unauthenticated",
)
"""Texts of error replies that have nothing to do with the batch: Redis recovers, or an operator
fixes them, so the batch is sent again. redis-py has classes for some of these codes only, and Redis
6.2 puts the codes of errors inside a script into the text. Two of the texts have no code: a denial
by an ACL inside a script, and a password that Redis has required since the client connected."""


def is_cluster_reply(error: BaseException) -> bool:
    """
    Whether an error shows that a client of a single server has asked a node of a Cluster.

    True for ``MOVED``, ``ASK`` and ``CROSSSLOT`` answers, by class or text; never raises.

    Args:
        error: What a redis-py client raised. An exception of another kind is False, unless its text
            has the words of such a reply.
    """
    return isinstance(error, _CLUSTER_ERRORS) or bool(_CLUSTER_TEXT.search(str(error)))


def needs_operator(error: BaseException) -> bool:
    """
    Whether an error stays until an operator changes an ACL or a URL; never raises.

    True if an ACL of Redis denied the command, or if a node of a Cluster was asked as a single
    server (it answered ``MOVED``, ``ASK`` or ``CROSSSLOT``). False for all else, such as a lost
    connection.

    Args:
        error: What a redis-py client raised; its class and its text are read.
    """
    is_denied = any(text in str(error) for text in _DENIAL_TEXTS)
    return is_denied or isinstance(error, NoPermissionError) or is_cluster_reply(error)


def failure_reason(error: BaseException, url: str | None = None) -> str:
    """
    Say why a Redis command failed, with at most 200 characters of the error; never raises.

    Args:
        error: What the client raised.
        url: Of the server, shown without its password where it is the cause; default None: not
            shown.

    Returns:
        ``<class>: <text>``, the text as it is, line breaks included. If a node of a Cluster was
        asked as a single server, instead that ``redis+cluster://`` is needed.
    """
    kind = type(error).__name__
    if is_cluster_reply(error):
        where = redact_url(url) if url else "this server"
        return f"{where} is one node of a Redis Cluster; write redis+cluster:// in its URL"
    text = str(error)[:_MAX_CHARS]
    return f"{kind}: {text}" if text else kind


def append_failure(error: ResponseError, url: str) -> TransportError:
    """
    Say whether a batch that Redis answered with an error is worth sending again; never raises.

    Args:
        error: Redis' answer to the script that appends.
        url: Of the server, shown without its password where it is the cause.

    Returns:
        A ``TransportError`` if the error has nothing to do with the batch, with ``needs_operator``
        where it stays until a permission or the URL is changed; else a ``TransportRejectedError``.
        Its text has at most 200 characters of the answer.
    """
    reason = failure_reason(error, url)
    if is_cluster_reply(error):
        return TransportError(reason, needs_operator=True)
    text, reason = str(error), f"Redis answered {reason}"
    if needs_operator(error):
        return TransportError(reason, needs_operator=True)
    if isinstance(error, _TEMPORARY_ERRORS) or any(code in text for code in _TEMPORARY_CODES):
        return TransportError(reason)
    return TransportRejectedError(reason)
