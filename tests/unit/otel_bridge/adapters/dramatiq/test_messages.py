"""``otel_bridge.adapters.dramatiq.messages``: what a delivery and a message say."""

from __future__ import annotations

from typing import Any

import pytest
from dramatiq import Message, actor
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import AgeLimit, Shutdown, SkipMessage, TimeLimitExceeded
from opentelemetry import context as otel_context

from otel_bridge.adapters.base import MESSAGE_KEY
from otel_bridge.adapters.dramatiq.messages import (
    ATTEMPT,
    Delivery,
    attempt_of,
    delivery_of,
    is_being_sent,
    is_redis,
    reason_of,
    sending,
    waiting_in,
    with_carrier,
    within,
)


def message(**options: Any) -> Message[Any]:
    return Message(
        queue_name="default", actor_name="old", args=(), kwargs={}, options=options, message_id="m"
    )


def raised(error: BaseException) -> BaseException:
    """An error as it is caught."""
    try:
        raise error
    except BaseException as caught:
        return caught


def refused_by_age() -> BaseException:
    """What Dramatiq's own middleware raises for a message that is too old."""
    broker = StubBroker(middleware=[AgeLimit()])
    actor(broker=broker, actor_name="old", max_age=1)(print)
    old = message().copy()
    object.__setattr__(old, "message_timestamp", 0)
    with pytest.raises(SkipMessage) as caught:
        broker.emit_before("process_message", _Proxy(old))
    return caught.value


class _Proxy:
    def __init__(self, of: Message[Any]) -> None:
        self._of = of

    def __getattr__(self, name: str) -> Any:
        return getattr(self._of, name)

    def fail(self) -> None:
        self.failed = True


class Abort(BaseException):
    """As dramatiq-abort raises it."""

    __module__ = "dramatiq_abort.abort_manager"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (None, None),
        (ValueError("no such school"), None),
        (Shutdown(), None),
        (TimeLimitExceeded(), "time_limit"),
        (SkipMessage("not today"), "refused"),
        (raised(SkipMessage("Message age limit exceeded")), "refused"),
        (Abort(), "revoked"),
    ],
)
def test_the_reason_of_an_end(error: BaseException | None, reason: str | None) -> None:
    """The type of the error says it; an own error of the job has none."""
    assert reason_of(error) == reason


def test_a_message_that_is_too_old_is_expired() -> None:
    """It is known by the middleware that raised, not by the text, which others may use too."""
    assert reason_of(refused_by_age()) == "expired"


@pytest.mark.parametrize(
    ("options", "attempt"),
    [
        ({}, 0),
        ({"retries": 2}, 2),
        ({"retries": 2, MESSAGE_KEY: {ATTEMPT: "0"}}, 0),
        ({"retries": "many", MESSAGE_KEY: [1]}, 0),
        ({MESSAGE_KEY: {ATTEMPT: "1"}}, 1),
    ],
)
def test_attempts_are_counted_in_the_carrier(options: dict[str, Any], attempt: int) -> None:
    """Our own number counts; without one that of the ``Retries`` middleware does."""
    assert attempt_of(message(**options)) == attempt


def test_a_carrier_is_put_into_a_copy() -> None:
    """The message of the caller stays as it was."""
    original = message(rig="skip")
    copied = with_carrier(original, {"traceparent": "x"})
    assert (original.options, copied.message_id) == ({"rig": "skip"}, "m")
    assert copied.options == {"rig": "skip", MESSAGE_KEY: {"traceparent": "x"}}


def test_a_message_that_cannot_be_copied_is_sent_as_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An object of another class is logged, and returned unchanged."""
    strange = object()
    assert with_carrier(strange, {}) is strange
    assert "could not put a carrier into a message" in caplog.text


def test_deliveries_nest_and_leave_no_context() -> None:
    """Each is found by its message until it finishes, whatever was left attached inside."""
    before = otel_context.get_current()
    outer = Delivery.begin(message())
    inner = Delivery.begin(message().copy(message_id="n"))
    assert delivery_of(message()) is outer
    assert delivery_of(inner.message) is inner
    otel_context.attach(otel_context.set_value("left behind", 1))
    inner.finish()
    assert otel_context.get_current() is before
    assert delivery_of(inner.message) is None
    outer.finish()
    assert delivery_of(message()) is None


def test_a_message_is_being_sent_inside_the_block() -> None:
    """Only that message, and only inside."""
    with sending(message()):
        assert is_being_sent(message())
        assert not is_being_sent(message().copy(message_id="n"))
    assert not is_being_sent(message())


def test_an_empty_carrier_changes_no_context() -> None:
    """A span inside then has the parent that it has anyway."""
    before = otel_context.get_current()
    with within({}):
        assert otel_context.get_current() is before
    with within({"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}):
        assert otel_context.get_current() is not before
    assert otel_context.get_current() is before


def test_only_redis_can_be_read_before_it_is_flushed() -> None:
    """The queues of another broker are flushed without a report for each job."""
    broker = StubBroker()
    assert not is_redis(broker)
    assert waiting_in(broker, "default") == []
