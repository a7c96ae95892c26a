"""The exception tree: one base class, and messages with the value and the cure."""

from __future__ import annotations

import inspect
import pickle

import pytest

from otel_bridge import errors
from otel_bridge.errors import (
    ConfigurationError,
    EventTooLargeError,
    FencedError,
    OtelBridgeError,
    PositionLostError,
    TransportError,
    TransportRejectedError,
    UnknownTransportError,
)

EXAMPLES: list[tuple[OtelBridgeError, str]] = [
    (ConfigurationError("X=5 is too small", "use at least 6"), "X=5 is too small; use at least 6"),
    (
        UnknownTransportError("rediss+x", "REDIS_URL", ["memory", "redis"]),
        "unknown transport 'rediss+x' in REDIS_URL; known: memory, redis",
    ),
    (
        EventTooLargeError(9000, 8192),
        "event is 9000 bytes after truncation, over 8192; "
        "shorten its ids or raise MONITORING_MAX_EVENT_SIZE_BYTES",
    ),
    (TransportError("connection refused", 3), "connection refused"),
    (TransportRejectedError("line 1 is not JSON"), "line 1 is not JSON"),
    (FencedError("another collector appends"), "another collector appends"),
    (PositionLostError("e:7", "trimmed"), "cannot continue after position 'e:7': trimmed"),
]


@pytest.mark.parametrize(("error", "sentence"), EXAMPLES)
def test_an_error_is_one_sentence(error: OtelBridgeError, sentence: str) -> None:
    """Each message says what happened, with the value and, where there is one, the cure."""
    assert str(error) == sentence


def test_one_base_catches_all() -> None:
    """Every exception of the module is an ``OtelBridgeError`` and is exported."""
    classes = dict(inspect.getmembers(errors, inspect.isclass))
    assert {name for name, kind in classes.items() if issubclass(kind, Exception)} == {
        *errors.__all__
    }
    assert {type(error) for error, _ in EXAMPLES} | {OtelBridgeError} == {
        getattr(errors, name) for name in errors.__all__
    }
    assert all(isinstance(error, OtelBridgeError) for error, _ in EXAMPLES)


def test_the_tree_is_the_documented_one() -> None:
    """A rejected batch is a transport error, and an unknown transport a wrong setting."""
    assert issubclass(UnknownTransportError, ConfigurationError)
    assert issubclass(TransportRejectedError, TransportError)
    assert issubclass(FencedError, TransportError)
    assert not issubclass(FencedError, TransportRejectedError)
    assert not issubclass(PositionLostError, TransportError)
    assert not issubclass(EventTooLargeError, TransportError)


@pytest.mark.parametrize("error", [error for error, _ in EXAMPLES])
def test_an_error_crosses_processes(error: OtelBridgeError) -> None:
    """A worker pool can pickle an error: it comes back with the same type, message and fields."""
    found = pickle.loads(pickle.dumps(error))
    assert (type(found), str(found), vars(found)) == (type(error), str(error), vars(error))
