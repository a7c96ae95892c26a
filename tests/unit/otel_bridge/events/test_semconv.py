"""Attribute keys: our own under one prefix, the rest spelled as OpenTelemetry spells them."""

from __future__ import annotations

import pytest
from opentelemetry.semconv._incubating.attributes import messaging_attributes
from opentelemetry.semconv.attributes import error_attributes, exception_attributes

from otel_bridge.events import semconv
from otel_bridge.events.model import TaskStatus

CONSTANTS = {name: value for name, value in vars(semconv).items() if name.isupper()}
OTHERS = ("MESSAGING_", "ERROR_TYPE", "EXCEPTION_")
NO_KEYS = ("KIND_", "SCOPE_NAME", "CARRIER_")
OURS = {
    name: value for name, value in CONSTANTS.items() if not name.startswith((*OTHERS, *NO_KEYS))
}


def test_our_keys_share_one_prefix() -> None:
    """Every attribute of ours begins with ``nexus.``, so that a backend can select them."""
    assert [name for name, key in OURS.items() if not key.startswith("nexus.")] == []
    assert len(set(OURS.values())) == len(OURS)


def test_user_prefixes_contain_no_key_of_ours() -> None:
    """An attribute set below ``nexus.meta.`` or ``nexus.count.`` is no field of ours."""
    prefixes = (semconv.META_PREFIX, semconv.COUNT_PREFIX)
    taken = [key for key in OURS.values() if key.startswith(prefixes) and key not in prefixes]
    assert taken == []
    assert all(prefix.endswith(".") for prefix in prefixes)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (semconv.MESSAGING_SYSTEM, messaging_attributes.MESSAGING_SYSTEM),
        (semconv.MESSAGING_OPERATION_TYPE, messaging_attributes.MESSAGING_OPERATION_TYPE),
        (semconv.MESSAGING_OPERATION_NAME, messaging_attributes.MESSAGING_OPERATION_NAME),
        (semconv.MESSAGING_MESSAGE_ID, messaging_attributes.MESSAGING_MESSAGE_ID),
        (semconv.MESSAGING_DESTINATION_NAME, messaging_attributes.MESSAGING_DESTINATION_NAME),
        (semconv.ERROR_TYPE, error_attributes.ERROR_TYPE),
        (semconv.EXCEPTION_TYPE, exception_attributes.EXCEPTION_TYPE),
        (semconv.EXCEPTION_MESSAGE, exception_attributes.EXCEPTION_MESSAGE),
    ],
)
def test_conventional_keys_are_opentelemetrys(ours: str, theirs: str) -> None:
    """Keys of the semantic conventions are spelled as OpenTelemetry's own package spells them."""
    assert ours == theirs


def test_carrier_keys_can_be_headers() -> None:
    """Carrier keys are distinct and lower case with dashes, as headers of HTTP and Celery are."""
    found = [value for name, value in CONSTANTS.items() if name.startswith("CARRIER_")]
    assert len(found) == len(set(found)) == 5
    assert [key for key in found if not key.startswith("nexus-") or key != key.lower()] == []
    assert "traceparent" not in found


def test_there_are_four_kinds_of_spans() -> None:
    """A span of ours has one of four kinds, and no kind is spelled like a status."""
    found = {value for name, value in CONSTANTS.items() if name.startswith("KIND_")}
    assert found == {"research_task", "phase", "enqueue", "job"}
    assert found.isdisjoint(set(TaskStatus))
