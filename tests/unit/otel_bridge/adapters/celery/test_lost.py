"""Ends that a worker's main process reports: once, with the reason, or as a retry."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery.exceptions import Reject, TimeLimitExceeded, WorkerLostError
from opentelemetry.sdk.trace import TracerProvider

import otel_bridge
from otel_bridge.adapters.base import MESSAGE_KEY
from otel_bridge.adapters.celery.lost import ATTEMPTS_KEY, LostJobs, attempt_of
from otel_bridge.adapters.celery.pool_table import PoolTable, key_of
from otel_bridge.bridge import Bridge
from otel_bridge.events import semconv
from otel_bridge.publish.transports.memory import memory_log
from otel_bridge.settings import BridgeSettings
from otel_bridge.spans.scope import current_scope

CARRIER = {
    "traceparent": f"00-{'a' * 32}-{'b' * 16}-01",
    semconv.CARRIER_PARENT_TASK_ID: "t1",
    semconv.CARRIER_PHASE: "search",
    semconv.CARRIER_RUN_ID: "00f067aa0ba902b7",
}
LATE = SimpleNamespace(acks_late=True)
KILLED = WorkerLostError("signal 9")

_names = itertools.count()


class Request:
    """What Celery's main process has of one message."""

    def __init__(self, task_id: str = "j", **delivery: Any) -> None:
        self.id, self.name = task_id, "add"
        self.request_dict = {"retries": 0, MESSAGE_KEY: CARRIER}
        self.delivery_info = delivery
        self.task = LATE
        self.acknowledged = False


class Seen:
    def __init__(self, bridge: Bridge, log_name: str) -> None:
        self.bridge = bridge
        self.lost = LostJobs()
        self.lost.node, self.lost.table = "celery@h", PoolTable()
        self._log_name = log_name

    def ends(self) -> list[tuple[Any, ...]]:
        """Type, error, reason, worker and span of each event."""
        assert self.bridge.flush(10)
        entries = reversed(memory_log(self._log_name).newest(100, None))
        events = [json.loads(entry.data) for entry in entries]
        names = ("event_type", "error", "reason", "worker_id", "span_id")
        return [tuple(event.get(name) for name in names) for event in events]

    def lose(self, error: BaseException, decide: Callable[[], None]) -> Callable[[], None]:
        """What ``Request.on_failure`` is called with, and does."""

        def on_failure(request: Request, exc_info: Any) -> None:
            decide()

        wrapped = self.lost.losing(on_failure)
        return lambda: wrapped(Request(), SimpleNamespace(exception=error))


@pytest.fixture
def seen(make_settings: Callable[..., BridgeSettings]) -> Iterator[Seen]:
    name = f"lost-{next(_names)}"
    bridge = otel_bridge.configure(
        tracer_provider=TracerProvider(shutdown_on_exit=False),
        settings=make_settings(bus_url=f"memory://{name}"),
    )
    yield Seen(bridge, name)
    bridge.shutdown()


@pytest.mark.parametrize(
    ("task", "retries", "carrier", "redelivered", "attempt"),
    [
        (None, 0, None, None, 0),
        (LATE, 2, CARRIER, None, 2),
        (LATE, 0, CARRIER, True, 1),
        (SimpleNamespace(acks_late=False), 0, CARRIER, True, 0),
        (LATE, 1, {**CARRIER, ATTEMPTS_KEY: "3"}, True, 4),
        (None, "x", {ATTEMPTS_KEY: "x"}, False, 0),
    ],
)
def test_attempts_are_counted(
    task: Any, retries: Any, carrier: Any, redelivered: bool | None, attempt: int
) -> None:
    """Celery's retries, or what the carrier says if that is more, and one for a redelivery."""
    delivery = {"redelivered": redelivered}
    assert attempt_of(task, retries, carrier, delivery) == attempt
    assert attempt_of(None, retries, carrier, None) in (attempt, attempt - 1)


def test_a_killed_job_fails_once_with_its_span(seen: Seen) -> None:
    """The span that its process noted, the worker it ran on, and the reason; a repeat is none."""
    lost, table = seen.lost, seen.lost.table
    assert table is not None
    lost.on_received(Request())
    table.started(1, key_of("j", CARRIER, 0), 0xB7)
    lose = seen.lose(KILLED, lambda: lost.on_failure("j", KILLED))
    lose()
    lose()
    span = f"{0xB7:016x}"
    assert seen.ends() == [
        ("task_failed", "WorkerLostError: signal 9", "killed", "celery@h:2", span)
    ]


def test_a_job_that_ends_its_process_has_its_own_error(seen: Seen) -> None:
    """``sys.exit(3)`` in a job: its own error and no reason."""
    lost, table = seen.lost, seen.lost.table
    assert table is not None
    lost.on_received(Request())
    table.started(0, key_of("j", CARRIER, 0), 0xB7)
    table.exits("SystemExit: 3")
    seen.lose(KILLED, lambda: lost.on_failure("j", KILLED))()
    assert seen.ends()[0][:3] == ("task_failed", "SystemExit: 3", None)


def test_a_job_whose_process_has_reported_its_end_is_left(seen: Seen) -> None:
    """An end that the pool process published is not published again, nor a rejection."""
    lost, table = seen.lost, seen.lost.table
    assert table is not None
    lost.on_received(Request())
    table.started(0, key_of("j", CARRIER, 0), 0xB7)
    table.ended()
    seen.lose(KILLED, lambda: lost.on_failure("j", KILLED))()
    lost.on_received(Request())
    seen.lose(Reject("no"), lambda: lost.on_failure("j", Reject("no")))()
    lost.on_received(Request())
    lost.forget("j", 0)
    seen.lose(KILLED, lambda: lost.on_failure("j", KILLED))()
    assert seen.ends() == []


@pytest.mark.parametrize(
    ("error", "reason"), [(KILLED, "worker_lost"), (TimeLimitExceeded(1), "time_limit")]
)
def test_a_job_that_goes_back_to_its_queue_is_a_retry(
    seen: Seen, error: BaseException, reason: str
) -> None:
    """``Request.reject(requeue=True)`` meanwhile: a retry, though Celery also says it failed."""
    reject = seen.lost.rejecting(lambda request, requeue=False: None)
    seen.lost.on_received(Request())

    def decide() -> None:
        seen.lost.on_failure("j", error)
        reject(Request(), requeue=True)

    seen.lose(error, decide)()
    ((event_type, _, why, _, _),) = seen.ends()
    assert (event_type, why) == ("task_retry", reason)
    reject(Request(), True)


def test_a_retry_that_the_main_process_sends_is_of_the_same_run(seen: Seen) -> None:
    """While a job is being lost, a message under its id is its next attempt; else a new job."""
    seen.lost.on_received(Request())
    assert seen.lost.retry_carrier("j") is None
    found: list[Any] = []
    scopes: list[Any] = []

    def decide() -> None:
        found.extend([seen.lost.retry_carrier("other"), seen.lost.retry_carrier("j")])
        scopes.append(current_scope())

    seen.lose(KILLED, decide)()
    assert found == [None, {**CARRIER, ATTEMPTS_KEY: "1"}]
    assert (scopes[0].parent_task_id, scopes[0].phase) == ("t1", "search")
    assert current_scope().parent_task_id is None
    assert seen.ends()[0][0] == "task_retry"


def test_what_celery_cannot_record_has_failed_all_the_same(seen: Seen) -> None:
    """An error while Celery handles a lost job goes on to Celery, and the job has failed."""
    seen.lost.on_received(Request())

    def decide() -> None:
        raise RuntimeError("no backend")

    with pytest.raises(RuntimeError, match="no backend"):
        seen.lose(KILLED, decide)()
    assert seen.ends()[0][0] == "task_failed"


def test_jobs_that_no_process_has_run(seen: Seen) -> None:
    """Revoked, expired, unknown and unreadable: failed with that reason, without a worker."""
    request = SimpleNamespace(id="r", task="add", retries=0, **{MESSAGE_KEY: CARRIER})
    seen.lost.on_revoked(request, False, False)
    seen.lost.on_revoked(request, False, True)
    message = SimpleNamespace(headers={MESSAGE_KEY: CARRIER, "id": "m", "task": "add"})
    seen.lost.on_unknown(id="u", name="absent", message=message)
    seen.lost.on_rejected(message=message, exc=ValueError("no body"))
    seen.lost.on_rejected(message=SimpleNamespace(headers={}), exc=None)
    assert [end[:4] for end in seen.ends()] == [
        ("task_failed", "revoked", "revoked", None),
        ("task_failed", "expired before it began", "expired", None),
        ("task_failed", "no worker knows a task 'absent'", "refused", None),
        ("task_failed", "ValueError: no body", "refused", None),
    ]


def test_a_lost_connection_to_the_broker_is_a_retry(seen: Seen) -> None:
    """Celery cancels what runs, and the broker delivers it again."""
    seen.lost.on_received(Request())
    seen.lost.on_retry("j")
    seen.lost.on_retry("unknown")
    assert [end[:3] for end in seen.ends()] == [
        ("task_retry", "cancelled by Celery", "worker_lost")
    ]


def test_only_the_last_10000_jobs_are_remembered(seen: Seen) -> None:
    """The oldest is forgotten first; a job that comes again is the newest."""
    for number in range(10_001):
        seen.lost.on_received(Request(str(number)))
    request = SimpleNamespace(id="0", task="add")
    seen.lost.on_retry("0")
    assert seen.ends() == []
    seen.lost.on_retry("1")
    assert len(seen.ends()) == 1
    assert request.id == "0"
