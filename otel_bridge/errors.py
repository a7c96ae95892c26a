"""
Every exception that otel_bridge raises on purpose.

Kept free of model objects so that any floor can import it without a cycle. The tree::

    OtelBridgeError
    ├── ConfigurationError        a setting is wrong; raised by configure() and the CLI, never later
    │   └── UnknownTransportError a bus URL with a scheme nobody handles
    ├── EventTooLargeError        an event's identifying fields alone exceed the size limit
    ├── TransportError            a batch did not reach the log; the sender may try again
    │   └── TransportRejectedError  trying again would be refused again
    └── PositionLostError         a reader asked for a position the log no longer holds
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "ConfigurationError",
    "EventTooLargeError",
    "OtelBridgeError",
    "PositionLostError",
    "TransportError",
    "TransportRejectedError",
    "UnknownTransportError",
]


class OtelBridgeError(Exception):
    """Base of every error raised on purpose by this package."""


class ConfigurationError(OtelBridgeError):
    """
    Raised when a setting cannot work; the message names the value and the cure.

    Args:
        problem: What is wrong, with the setting's name and value; never a password.
        cure: What to change.
    """

    def __init__(self, problem: str, cure: str) -> None:
        super().__init__(problem, cure)
        self.problem = problem
        self.cure = cure

    def __str__(self) -> str:
        return f"{self.problem}; {self.cure}"


class UnknownTransportError(ConfigurationError):
    """Raised when a bus URL's scheme has no transport."""

    def __init__(self, scheme: str, setting: str, known: Sequence[str]) -> None:
        self.scheme = scheme
        self.setting = setting
        self.known = tuple(known)
        problem = f"unknown transport {scheme!r} in {setting}"
        if not scheme:
            problem = f"{setting} does not begin with a transport, like redis://"
        super().__init__(problem, f"known: {', '.join(known)}")

    def __reduce__(self) -> tuple[type[UnknownTransportError], tuple[str, str, tuple[str, ...]]]:
        # By default an exception is made again from its two sentences.
        return type(self), (self.scheme, self.setting, self.known)


class EventTooLargeError(OtelBridgeError):
    """Raised when an event does not fit even after every optional text has been removed."""

    def __init__(self, size_bytes: int, max_bytes: int) -> None:
        super().__init__(size_bytes, max_bytes)
        self.size_bytes = size_bytes
        self.max_bytes = max_bytes

    def __str__(self) -> str:
        return (
            f"event is {self.size_bytes} bytes after truncation, over {self.max_bytes}; "
            "shorten its ids or raise MONITORING_MAX_EVENT_SIZE_BYTES"
        )


class TransportError(OtelBridgeError):
    """
    Raised when a batch did not reach the log, or may not have.

    Args:
        reason: One line, without credentials.
        retry_after_sec: The other side's wish (HTTP Retry-After); None if it named none.
    """

    def __init__(self, reason: str, retry_after_sec: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_sec = retry_after_sec

    def __str__(self) -> str:
        return self.reason


class TransportRejectedError(TransportError):
    """Raised when the log refused a batch for what it holds; sending it again cannot help."""


class PositionLostError(OtelBridgeError):
    """
    Raised when reading after a position that the log cannot continue from.

    Args:
        position: What was asked for.
        reason: ``trimmed`` (older than the log's first entry), ``epoch`` (another log: Redis was
            replaced or the stream wiped) or ``malformed``.
    """

    def __init__(self, position: str, reason: str) -> None:
        super().__init__(position, reason)
        self.position = position
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot continue after position {self.position!r}: {self.reason}"
