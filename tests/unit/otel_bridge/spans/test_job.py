"""One attempt at a job: what it belongs to, and the progress that it reports itself."""

from __future__ import annotations

import contextvars
import itertools
import json
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

import otel_bridge
from otel_bridge.publish.transports.memory import memory_log
from otel_bridge.settings import BridgeSettings
from otel_bridge.spans.job import Job
from tests.support.waiting import wait_until

_names = itertools.count()
CARRIER = {
    "traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01",
    "nexus-parent-task-id": "carried",
    "nexus-run-id": "3" * 16,
}
Read = Callable[[str], list[dict[str, Any]]]


@pytest.fixture(name="read")
def configured(make_settings: Callable[..., BridgeSettings]) -> Iterator[Read]:
    """Events of a type about the job ``j``, oldest first, as far as they are in the log."""
    name = f"job-{next(_names)}"
    bridge = otel_bridge.configure(
        tracer_provider=TracerProvider(shutdown_on_exit=False),
        settings=make_settings(bus_url=f"memory://{name}"),
    )

    def read(kind: str) -> list[dict[str, Any]]:
        assert bridge.flush(10)
        found = [json.loads(entry.data) for entry in reversed(memory_log(name).newest(1000, None))]
        return [e for e in found if e["event_type"] == kind and e.get("task_id") == "j"]

    yield read
    bridge.shutdown()


def job(carrier: dict[str, str] | None = None) -> Job:
    return otel_bridge.job(task_id="j", task_type="t", carrier=carrier)


def test_a_job_belongs_to_its_carrier_alone(read: Read) -> None:
    """Task, project, phase and span around a job with a carrier do not count."""
    with (
        otel_bridge.research_task("around", project_id="other"),
        otel_bridge.phase("outer"),
        job(CARRIER),
    ):
        pass
    (started,) = read("task_started")
    ids = [started.get(name) for name in ("parent_task_id", "project_id", "phase")]
    assert ids == ["carried", None, None]
    assert (started["trace_id"], started["parent_span_id"]) == ("1" * 32, "2" * 16)
    assert started["run_id"] == "3" * 16


@pytest.mark.parametrize("is_inline", [True, False])
def test_without_a_carrier_only_an_inline_job_belongs_to_what_is_around(
    read: Read, is_inline: bool
) -> None:
    """A worker's job without a carrier starts a trace of its own."""
    span = job()
    span.is_inline = is_inline
    with otel_bridge.research_task("around"):
        around = trace.get_current_span().get_span_context()
        with span:
            pass
    (started,) = read("task_started")
    assert (started["trace_id"] == f"{around.trace_id:032x}") is is_inline
    assert ("parent_span_id" in started) is is_inline


def test_progress_is_one_event_a_second_and_part_of_the_end(read: Read) -> None:
    """A thousand reports of a running job are one event; its end has the last numbers."""
    with job(CARRIER) as running:
        for done in range(1000):
            running.progress(done, 2000)
        wait_until(lambda: read("task_progress"), "the progress of a running job")
        running.progress(1500)
    (event,) = read("task_progress")
    assert event["progress"] == {"done": 999, "total": 2000}
    assert (event["parent_task_id"], event["run_id"]) == ("carried", "3" * 16)
    (end,) = read("task_completed")
    assert end["progress"] == {"done": 1500, "total": 2000}
    assert end["span_id"] == event["span_id"]


def test_job_progress_is_of_the_enclosing_job(read: Read) -> None:
    """From a phase inside and from a thread with its context; outside it does nothing."""
    otel_bridge.job_progress(1)
    with job(CARRIER):
        with otel_bridge.phase("inner"):
            otel_bridge.job_progress(1, 9)
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(otel_bridge.job_progress, 3))
        thread.start()
        thread.join()
    assert [event["progress"] for event in read("task_completed")] == [{"done": 3, "total": 9}]


@pytest.mark.parametrize("wrong", [-1, 0.5, "many", None])
def test_a_wrong_progress_is_an_error_in_the_log(
    read: Read, wrong: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """What is no whole number of 0 or more changes nothing and names the value."""
    with caplog.at_level(logging.ERROR), job() as running:
        running.progress(2, 3)
        running.progress(wrong, 4)
    assert [event["progress"] for event in read("task_completed")] == [{"done": 2, "total": 3}]
    assert f"done={wrong}" in caplog.text


def test_the_reason_of_an_end(read: Read) -> None:
    """Why an attempt failed is one word of its event, beside the error."""
    with job() as running:
        running.reason = "time_limit"
        running.fail("it took longer than 5 s")
    (end,) = read("task_failed")
    assert (end["reason"], end["error"]) == ("time_limit", "it took longer than 5 s")
