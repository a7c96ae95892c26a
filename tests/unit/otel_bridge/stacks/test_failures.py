"""What the event of a failure says of its stack, and which text is to be stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext

from otel_bridge.events.encoding import FIELD_ORDER
from otel_bridge.stacks.failures import FailureStacks, is_failure_of
from otel_bridge.stacks.own_code import own_code
from otel_bridge.stacks.recorded import recorded
from tests.support.raised import chained, grouped

TEXT = "AppError: bad\n    at find (/srv/shop/orders.js:1:2)\n"


class Event(NamedTuple):
    name: str
    attributes: Mapping[str, Any] | None


def thrown(text: str = TEXT, **more: Any) -> Event:
    return Event("exception", {"exception.stacktrace": text, **more})


def add(
    stacks: FailureStacks,
    *events: Any,
    attributes: Mapping[str, Any] | None = None,
    now: float = 0,
    **fields: Any,
) -> tuple[dict[str, Any], str | None]:
    given = {"event_type": "task_failed", "span_id": "a" * 16, "reason": "x", **fields}
    text = stacks.add(given, attributes or {}, events, now)
    return given, text


def test_a_stack_is_stored_under_its_span() -> None:
    """The event has key and flag, in the order of the model; the text goes beside it."""
    fields, text = add(FailureStacks(), thrown(), progress={"done": 1})
    assert (fields["stack"], len(fields["error_key"])) == (True, 16)
    assert list(fields) == sorted(fields, key=FIELD_ORDER.index)
    assert text == TEXT


def test_what_is_not_stored_names_a_span_that_is() -> None:
    """After five of a kind; a minute later one is stored again."""
    stacks = FailureStacks()
    for n in range(5):
        assert add(stacks, thrown(), span_id=f"{n:016x}")[1] is not None
    fields, text = add(stacks, thrown(), span_id="b" * 16)
    assert (fields["stack_of"], text) == (f"{4:016x}", None)
    assert "stack" not in fields
    fields, text = add(stacks, thrown(), span_id="c" * 16, now=61)
    assert (fields["stack"], text) == (True, TEXT)


def test_projects_do_not_share_stacks() -> None:
    """An event never names a stack that its readers may not see."""
    stacks = FailureStacks()
    for n in range(9):
        add(stacks, thrown(), span_id=f"{n:016x}", project_id="alpha")
    fields, text = add(stacks, thrown(), span_id="b" * 16, project_id="beta")
    assert text == TEXT
    assert fields["stack"]


def test_captured_and_exported_failures_have_one_key() -> None:
    """By the event bus and by OTLP; of groups by the key that the exported event carries."""
    for error in (chained(), grouped(20)):
        event = recorded(error, str(error), own_code(""))
        live, text = add(FailureStacks(), event)
        sent, _ = add(FailureStacks(), Event("exception", event.attributes))
        assert live["error_key"] == sent["error_key"]
        assert text is not None
        assert text.startswith(type(error).__name__)


def test_the_users_key_counts() -> None:
    """``nexus.error.key`` of the span, also without a stack; masked, at most 160 characters."""
    key = {"nexus.error.key": "payment declined"}
    fields, text = add(FailureStacks(), thrown(), attributes=key)
    assert (fields["error_key"], text) == ("payment declined", TEXT)
    fields, text = add(FailureStacks(), attributes=key)
    assert (fields["error_key"], text, "stack" in fields) == ("payment declined", None, False)
    long = {"nexus.error.key": "password=hunter2hunter2 " + "x" * 500}
    fields, _ = add(FailureStacks(), attributes=long)
    assert "hunter2" not in fields["error_key"]
    assert len(fields["error_key"]) == 160


def test_without_a_stack_nothing_is_added() -> None:
    """No exception event, one without a stack, an exception that was never raised, other events."""
    never_raised = recorded(ValueError("x"), "x", own_code(""))
    for events in ([], [Event("log", None)], [Event("exception", {})], [never_raised]):
        fields, text = add(FailureStacks(), *events)
        assert (set(fields), text) == ({"event_type", "span_id", "reason"}, None)
    fields, text = add(FailureStacks(), thrown("a message without frames"))
    assert (set(fields), text) == ({"event_type", "span_id", "reason"}, None)


def test_the_last_stack_counts() -> None:
    """A span may record several exceptions; what it failed by comes last."""
    first, last = thrown(TEXT.replace("find", "other")), thrown()
    only, _ = add(FailureStacks(), last)
    both, text = add(FailureStacks(), first, last, Event("exception", None))
    assert (both["error_key"], text) == (only["error_key"], TEXT)


def test_a_type_from_the_event_helps_a_text_without_one() -> None:
    """Go's stacks name no type: two errors at one place are two groups."""
    go = "goroutine 1 [running]:\nmain.run()\n\t/src/main.go:9 +0x1\n"
    kinds = ("*errors.errorString", "*fs.PathError")
    keys = {
        add(FailureStacks(), thrown(go, **{"exception.type": kind}))[0]["error_key"]
        for kind in kinds
    }
    assert len(keys) == 2


def test_own_packages_decide_the_key() -> None:
    """``MONITORING_APP_PACKAGES``: a library of one's own counts, the code around it does not."""
    one = TEXT + "    at lib (/srv/other/lib.js:1:2)\n"
    two = TEXT + "    at more (/srv/other/lib.js:1:2)\n"
    for packages, count in (("", 2), ("shop", 1)):
        keys = {add(FailureStacks(packages), thrown(t))[0]["error_key"] for t in (one, two)}
        assert len(keys) == count


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"status": "failed", "span_id": f"{7:016x}"}, True),
        ({"status": "retrying", "span_id": f"{7:016x}"}, True),
        ({"status": "completed", "span_id": f"{7:016x}"}, False),
        ({"status": "failed", "span_id": f"{8:016x}"}, False),
        ({"status": "failed"}, False),
        ({"span_id": f"{7:016x}"}, False),
    ],
)
def test_only_the_failure_of_a_span_itself_has_its_stack(
    fields: dict[str, Any], expected: bool
) -> None:
    """A span also causes events of requests and wrappers around it, whose failures are theirs."""
    assert is_failure_of(fields, ReadableSpan("x", SpanContext(1, 7, is_remote=False))) is expected
    assert is_failure_of(fields, object()) is False
