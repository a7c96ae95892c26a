"""
Every exception that otel_bridge raises on purpose.

This module imports no other module of the package, so that every layer can import it. The tree::

    OtelBridgeError
    ├── ConfigurationError          a setting is wrong; raised by strict configure() and commands
    │   └── UnknownTransportError   the scheme of a bus URL has no transport
    ├── EventTooLargeError          the identifying fields of an event alone exceed the size limit
    ├── TransportError              a batch did not reach the log; sending it again may help
    │   ├── TransportRejectedError  the log rejected the batch; sending it again cannot help
    │   └── FencedError             another collector appends the events of external publishers now
    └── PositionLostError           the log cannot continue from the position a reader asked for
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = [
    "ConfigurationError",
    "EventTooLargeError",
    "FencedError",
    "OtelBridgeError",
    "PositionLostError",
    "TransportError",
    "TransportRejectedError",
    "UnknownTransportError",
]


class OtelBridgeError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigurationError(OtelBridgeError):
    """
    Raised when a setting cannot work; stops strict ``configure()`` and the commands.

    The message is ``<problem>; <cure>``, e.g. ``MONITORING_HEARTBEAT_TTL_SEC=5 must exceed
    MONITORING_HEARTBEAT_INTERVAL_SEC=10; use at least 20``. The arguments are kept as attributes of
    the same names and are not checked.

    Args:
        problem: What is wrong, with the name and the value of the setting; never a password.
        cure: What to change.
        settings: The fields of the settings class whose defaults would work; empty, the default: no
            default helps.
    """

    def __init__(self, problem: str, cure: str, *, settings: Sequence[str] = ()) -> None:
        super().__init__(problem, cure)
        self.problem = problem
        self.cure = cure
        self.settings = tuple(settings)

    def __str__(self) -> str:
        return f"{self.problem}; {self.cure}"


class UnknownTransportError(ConfigurationError):
    """
    Raised when the scheme of a bus URL, the text before ``://``, has no transport.

    A bus URL says where events are sent, and a transport is a way there, such as ``redis`` or
    ``http``. ``open_sender``, ``open_receiver`` and ``check_scheme`` raise it. The arguments are
    kept as attributes of the same names and are not checked. It can be pickled.

    Args:
        scheme: The scheme that was found; empty when the URL has none.
        setting: The setting that holds the URL, e.g. ``MONITORING_BUS_URL``.
        known: The schemes that have a transport.
    """

    def __init__(self, scheme: str, setting: str, known: Sequence[str]) -> None:
        self.scheme = scheme
        self.setting = setting
        self.known = tuple(known)
        problem = f"unknown transport {scheme!r} in {setting}"
        if not scheme:
            problem = f"{setting} does not begin with a transport, like redis://"
        super().__init__(problem, f"known: {', '.join(known)}")

    def __reduce__(self) -> tuple[type[UnknownTransportError], tuple[str, str, tuple[str, ...]]]:
        # The default would call the constructor with ``args``, which holds problem and cure.
        return type(self), (self.scheme, self.setting, self.known)


class EventTooLargeError(OtelBridgeError):
    """
    Raised when an event exceeds the size limit even after its optional texts have been removed.

    ``encode_event`` raises it. The event bus, which sends the events of a process, catches it, and
    counts the event as rejected, and so as dropped. The arguments are kept as attributes of the
    same names and are not checked.

    Args:
        size_bytes: Size of the event as JSON without those texts.
        max_bytes: The limit that was given to the encoder, in bytes; 8,192 by default.
    """

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
    Raised when a batch did not reach the log, or when that is unknown; sending it again is safe.

    The log is the stream of all events, in Redis or in the collector. Also raised by a ``Receiver``
    (what reads the log) that cannot reach it; the read may be repeated. The event bus, which sends
    the events of a process, catches it, so code that only publishes never gets it;
    ``EventBus.outage`` shows it. The arguments are kept as attributes of the same names and are not
    checked.

    Args:
        reason: One line, without credentials.
        retry_after_sec: The delay in seconds that the receiver asked for (HTTP ``Retry-After``), of
            which the bus observes 60 at most; None, the default, if it asked for none.
        needs_operator: Whether no attempt can succeed until a permission or a setting is changed;
            default False. The bus tries again all the same.
    """

    def __init__(
        self, reason: str, retry_after_sec: float | None = None, *, needs_operator: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_sec = retry_after_sec
        self.needs_operator = needs_operator

    def __str__(self) -> str:
        return self.reason


class TransportRejectedError(TransportError):
    """Raised when the log rejected a batch because of its content; sending it again cannot help."""


class FencedError(TransportError):
    """Raised when another collector has taken over appending the events of external publishers."""


class PositionLostError(OtelBridgeError):
    """
    Raised when a reader asks for the entries after a position that the log cannot continue from.

    The log is the stream of all events. The reader has a hole that cannot be filled: it goes on
    from the position that ``Receiver.open`` returns, or from ``continue_after`` if that is given.
    The arguments are kept as attributes of the same names and are not checked.

    Args:
        position: The position that the reader asked for: ``<epoch>:<number>``, where each new log
            has another epoch.
        reason: ``trimmed`` (older than the first entry that the log still has), ``epoch`` (it
            belongs to another log: Redis was replaced or the stream deleted), ``clock`` (of a log
            with several shards: entries come after others that follow them in its order) or
            ``malformed``.
        shards: Numbers of the shards in which entries are missing; default: all of the log.
        continue_after: Position from which the same receiver reads on, because only these shards
            have a hole; default None: from ``Receiver.open``.
        late: With the reason ``clock`` the entries of the log that came too late, each once; they
            follow no position. Default: none.
    """

    def __init__(
        self,
        position: str,
        reason: str,
        *,
        shards: Sequence[int] = (),
        continue_after: str | None = None,
        late: Sequence[Any] = (),
    ) -> None:
        super().__init__(position, reason)
        self.position = position
        self.reason = reason
        self.shards = tuple(shards)
        self.continue_after = continue_after
        self.late = late

    def __str__(self) -> str:
        where = f" in shards {', '.join(map(str, self.shards))}" if self.shards else ""
        return f"cannot continue after position {self.position!r}: {self.reason}{where}"
