"""The metrics page: Prometheus' format whatever names clients send, and the right numbers."""

from __future__ import annotations

import io
import itertools
import platform
import re
import sys
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
from otel_bridge_collector.lines.records import Records
from otel_bridge_collector.metrics import MetricsPage
from otel_bridge_collector.model.events import microseconds
from otel_bridge_collector.otlp.ingest import OtlpIngest
from otel_bridge_collector.runtime import Collector
from otel_bridge_collector.security.admission import HandshakeAdmission
from otel_bridge_collector.security.tokens import ANONYMOUS
from otel_bridge_collector.settings import CollectorSettings
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_fd_to_metric_families
from prometheus_client.parser import text_string_to_metric_families

import otel_bridge
from otel_bridge.settings import BridgeSettings
from tests.support.faults import FakeClock
from tests.support.folding import apply, at, event

_names = itertools.count()

SAMPLE = re.compile(
    r'(?P<name>[a-z_:][a-z0-9_:]*)(?:\{(?P<label>[a-z_]+)="(?P<value>(?:[^"\\\n]|\\["\\n])*)"\})? '
    r"(?P<number>-?[0-9.]+(?:e[+-]?[0-9]+)?)"
)
NAMES = {
    "otel_bridge_events_in_total": "counter",
    "otel_bridge_events_not_held_total": "counter",
    "otel_bridge_events_out_total": "counter",
    "otel_bridge_events_foreign_total": "counter",
    "otel_bridge_events_dropped_total": "counter",
    "otel_bridge_log_gaps_total": "counter",
    "otel_bridge_reader_restarts_total": "counter",
    "otel_bridge_clients": "gauge",
    "otel_bridge_client_filters": "gauge",
    "otel_bridge_clients_slow_closed_total": "counter",
    "otel_bridge_log_read": "gauge",
    "otel_bridge_newest_event_age_seconds": "gauge",
    "otel_bridge_replay_events": "gauge",
    "otel_bridge_open_tasks": "gauge",
    "otel_bridge_jobs_processing": "gauge",
    "otel_bridge_workers_online": "gauge",
    "otel_bridge_worker_events_dropped": "gauge",
    "otel_bridge_queue_depth": "gauge",
    "otel_bridge_leader": "gauge",
    "otel_bridge_jobs_stalled_total": "counter",
    "otel_bridge_own_events_published_total": "counter",
    "otel_bridge_own_events_dropped_total": "counter",
    "otel_bridge_own_events_waiting": "gauge",
    "otel_bridge_own_send_failures_total": "counter",
    "otel_bridge_channel_messages_refused_total": "counter",
    "otel_bridge_otlp_rejected_by_cause_total": "counter",
    "otel_bridge_otlp_stacks_lost_total": "counter",
    "otel_bridge_otlp_rejected_total": "counter",
    "otel_bridge_otlp_requests_shed_total": "counter",
    "otel_bridge_otlp_requests_in_progress": "gauge",
}
"""Every metric of ours before ``prometheus_client`` rendered them, with its type."""
ADDED = {
    "otel_bridge_handshakes_refused_total": "counter",
    "otel_bridge_views_clients": "gauge",
    "otel_bridge_views_computed": "gauge",
    "otel_bridge_views_changes_total": "counter",
    "otel_bridge_views_fulls_total": "counter",
    "otel_bridge_views_skipped_total": "counter",
    "otel_bridge_views_refused_total": "counter",
    "otel_bridge_views_errors_total": "counter",
    "otel_bridge_views_slow_closed_total": "counter",
    "otel_bridge_views_rebuilds_total": "counter",
    "otel_bridge_views_postponed_total": "counter",
    "otel_bridge_tasks_attention": "gauge",
    "otel_bridge_queue_stuck": "gauge",
    "otel_bridge_queue_oldest_wait_seconds": "gauge",
    "otel_bridge_build_info": "gauge",
    "otel_bridge_event_lag_seconds": "histogram",
    "otel_bridge_external_events_appended_total": "counter",
    "otel_bridge_external_events_held": "gauge",
    "otel_bridge_external_events_lost_total": "counter",
    "otel_bridge_read_batch_events": "histogram",
    "otel_bridge_lines_watched": "gauge",
    "otel_bridge_lines_reads_total": "counter",
    "otel_bridge_lines_unreadable_total": "counter",
    "otel_bridge_lines_nodes": "gauge",
    "otel_bridge_lines_bytes": "gauge",
    "otel_bridge_lines_trimmed_total": "counter",
    "otel_bridge_otlp_log_records_total": "counter",
    "otel_bridge_otlp_lines_stored_total": "counter",
    "otel_bridge_otlp_lines_dropped_total": "counter",
    "otel_bridge_otlp_lines_held": "gauge",
}


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    """A collector that reads no log: the test folds events itself, at the story's own time."""
    clock = FakeClock(int(at(100).timestamp()) * 1_000_000_000)
    settings = BridgeSettings(bus_url=f"memory://metrics-{next(_names)}")
    made = Collector(CollectorSettings(), settings, clock=clock)
    yield made
    made.bus.shutdown(1)


def fold(collector: Collector, seconds: float, kind: str, **fields: Any) -> None:
    apply(collector.model, event(seconds, kind, **fields))


def render(collector: Collector, otlp: OtlpIngest | None = None, accept: str = "") -> str:
    page = MetricsPage(collector, otlp, HandshakeAdmission(200))
    return page.render(accept)[0].decode()


def samples(collector: Collector, otlp: OtlpIngest | None = None) -> dict[str, float]:
    """Each sample of ours by its name and label; fails for a line that is no sample."""
    found = {}
    for line in render(collector, otlp).splitlines():
        if line.startswith("otel_bridge_") and "build_info" not in line:
            match = SAMPLE.fullmatch(line)
            assert match is not None, line
            key = match["name"].removeprefix("otel_bridge_")
            found[key if match["value"] is None else f"{key} {match['value']}"] = float(
                match["number"]
            )
    return found


async def test_every_sample_has_help_and_type(collector: Collector) -> None:
    """Each metric has its help and type above it, once, and counters end in ``_total``."""
    page = render(collector)
    assert page.endswith("\n")
    kinds = dict(re.findall(r"# TYPE (\S+) (\S+)\n", page))
    helped = re.findall(r"# HELP (\S+) \S.*\n# TYPE (\S+) ", page)
    assert [name for name, _ in helped] == list(kinds) == [name for _, name in helped]
    for name, kind in kinds.items():
        assert name.startswith(("otel_bridge_", "process_", "python_"))
        assert (kind == "counter") is name.endswith("_total"), name
    named = {
        re.sub(r"_(bucket|sum|count)$", "", re.split(r"[ {]", line)[0])
        for line in page.splitlines()
        if line[0] != "#"
    }
    assert named <= set(kinds)


async def test_published_names_stay(collector: Collector) -> None:
    """Operators' dashboards and alerts use these names: more may be added, none removed."""
    page = render(collector, OtlpIngest(collector))
    kinds = dict(re.findall(r"# TYPE (otel_bridge_\S+) (\S+)\n", page))
    assert kinds == NAMES | ADDED


async def test_labels_stay(collector: Collector) -> None:
    """Each metric with a label has the one that it always had."""
    collector.feed.counters.gaps["trimmed"] = 1
    collector.feed.external.lost["expired"] = 1
    fold(collector, 95, "queue_depth_update", counts={"nexus:tasks:high_priority": 7})
    page = render(collector, OtlpIngest(collector))
    labels = dict(re.findall(r"^otel_bridge_(\w+)\{(\w+)=", page, flags=re.MULTILINE))
    assert {name: label for name, label in labels.items() if label != "le"} == {
        "build_info": "python",
        "events_dropped_total": "reason",
        "external_events_lost_total": "reason",
        "handshakes_refused_total": "limit",
        "log_gaps_total": "reason",
        "queue_depth": "queue",
        "otlp_lines_dropped_total": "reason",
        "queue_stuck": "queue",
        "otlp_rejected_by_cause_total": "cause",
        "otlp_rejected_total": "what",
    }


async def test_the_versions_are_shown(collector: Collector) -> None:
    """The versions of otel-bridge and Python are labels of a metric that is always 1."""
    labels = f'python="{platform.python_version()}",version="{otel_bridge.__version__}"'
    assert f"\notel_bridge_build_info{{{labels}}} 1.0\n" in render(collector)


async def test_the_process_is_measured(collector: Collector) -> None:
    """Memory, processor time, garbage collection and the interpreter are on the page."""
    names = set(re.findall(r"^([a-z_]+)[ {]", render(collector), flags=re.MULTILINE))
    assert {"python_info", "python_gc_collections_total"} <= names
    if sys.platform == "linux":
        assert {"process_cpu_seconds_total", "process_resident_memory_bytes"} <= names


async def test_histograms_count_what_the_reader_observed(collector: Collector) -> None:
    """Buckets are cumulative, by upper bound, with the sum and the count of all values."""
    for value in (0.004, 0.2, 90):
        collector.feed.lag_sec.observe(value)
    found = samples(collector)
    assert found["event_lag_seconds_bucket 0.005"] == 1
    assert found["event_lag_seconds_bucket 0.25"] == found["event_lag_seconds_bucket 60.0"] == 2
    assert found["event_lag_seconds_bucket +Inf"] == found["event_lag_seconds_count"] == 3
    assert found["event_lag_seconds_sum"] == 90.204


async def test_openmetrics_has_the_same_samples(collector: Collector) -> None:
    """By ``Accept`` the page is OpenMetrics, which Prometheus' own parser reads; values agree."""
    fold(collector, 95, "queue_depth_update", counts={'q"\n\\': 7})
    metrics = MetricsPage(collector, None, HandshakeAdmission(200))
    page, content_type = metrics.render("application/openmetrics-text;version=1.0.0")
    assert content_type.startswith("application/openmetrics-text; version=1.0.0; charset=utf-8")

    def own(families: Iterable[Metric]) -> dict[Any, float]:
        return {
            (sample.name, *sample.labels.items()): sample.value
            for family in families
            for sample in family.samples
            if sample.name.startswith("otel_bridge_")
        }

    parse: Any = text_fd_to_metric_families  # not typed
    found = own(parse(io.StringIO(page.decode())))
    assert found == own(text_string_to_metric_families(render(collector)))
    assert found["otel_bridge_queue_depth", ("queue", 'q"\n\\')] == 7


@pytest.mark.parametrize(
    "accept",
    [
        "application/openmetrics-text; version=abc",
        'application/openmetrics-text; version="1.0.0"',
        "application/openmetrics-text; version=1.x",
        "application/openmetrics-text; version=" + "9" * 5000,
        "text/plain; version=abc",
        "text/plain; version=\xe9",
    ],
    ids=["word", "quoted", "half a number", "too long to read", "text", "not ASCII"],
)
async def test_an_unknown_version_is_the_text_format(collector: Collector, accept: str) -> None:
    """A version that is no number gives the same page as no ``Accept`` header."""
    page, content_type = MetricsPage(collector).render(accept)
    assert content_type == MetricsPage(collector).render()[1]
    assert b"\notel_bridge_clients 0.0\n" in page


async def test_the_numbers_are_those_of_the_state(collector: Collector) -> None:
    """Workers online, running jobs, open tasks and queue depths are those of the state."""
    fold(collector, 95, "worker_heartbeat", worker_id="w", counts={"dropped": 4})
    for name in ("silent", "silent too"):
        fold(collector, 10, "worker_heartbeat", worker_id=name, counts={"dropped": 1})
    fold(collector, 95, "task_started", parent_task_id="t", task_id="j", worker_id="w")
    fold(collector, 95, "task_completed", parent_task_id="u", task_id="u")
    fold(collector, 95, "queue_depth_update", counts={"nexus:tasks:high_priority": 7})
    found = samples(collector)
    assert {name: found[name] for name in ("workers_online", "jobs_processing", "open_tasks")} == {
        "workers_online": 1,
        "jobs_processing": 1,
        "open_tasks": 1,
    }
    assert found["queue_depth nexus:tasks:high_priority"] == 7
    assert (found["worker_events_dropped"], found["events_in_total"]) == (6, 6)


async def test_what_needs_attention_is_shown(collector: Collector) -> None:
    """Stuck queues, how long jobs wait, and tasks by why they need attention."""
    ids = {"parent_task_id": "t", "task_id": "j"}
    fold(collector, 20, "task_enqueued", **ids, queue="q")
    fold(collector, 95, "task_failed", parent_task_id="u", task_id="u")
    collector.answers.refresh()
    found = samples(collector)
    assert (found["queue_stuck q"], found["queue_oldest_wait_seconds q"]) == (1, 80)
    assert (found["tasks_attention queue_stuck"], found["tasks_attention failed"]) == (1, 1)


async def test_drops_have_a_reason(collector: Collector) -> None:
    """Drops have their reason as a label; duplicates and slow clients are shown at zero too."""
    collector.feed.counters.unreadable["oversized"] = 2
    collector.hub.counters.dropped_slow = 3
    collector.feed.counters.gaps["trimmed"] = 1
    found = samples(collector)
    assert found["events_dropped_total unreadable: oversized"] == 2
    assert found["events_dropped_total slow client"] == 3
    assert found["events_dropped_total duplicate"] == 0
    assert found["log_gaps_total trimmed"] == 1


@pytest.mark.parametrize("part", ["feed", "hub"])
async def test_every_counter_is_shown(collector: Collector, part: str) -> None:
    """Each counter of the reader and of the hub is on the page, none is only counted."""
    counters = getattr(collector, part).counters
    expected = set()
    for number, name in enumerate(type(counters).__slots__, start=1001):
        is_by_reason = isinstance(getattr(counters, name), dict)
        setattr(counters, name, {"reason": number} if is_by_reason else number)
        expected.add(number)
    assert expected <= set(samples(collector).values())


async def test_denied_channel_messages_are_shown(collector: Collector) -> None:
    """Messages that Redis' ACL denied for pushed events and for own ones are one number."""
    collector.channel_messages_refused = 3
    assert samples(collector)["channel_messages_refused_total"] == 3


async def test_otlp_numbers_are_shown(collector: Collector) -> None:
    """With an OTLP ingest the page shows its rejected, shed and current requests."""
    otlp = OtlpIngest(collector)
    otlp.rejected["span"] = 2
    otlp.rejected_by_cause["project"] = 2
    otlp.shed = 3
    await otlp.lines.take(Records([], 4), ANONYMOUS)
    with otlp.slot():
        found = samples(collector, otlp)
    assert {
        name: value
        for name, value in found.items()
        if name.startswith("otlp") and (value or ("cause" not in name and "dropped" not in name))
    } == {
        "otlp_rejected_by_cause_total project": 2,
        "otlp_rejected_total span": 2,
        "otlp_rejected_total log record": 0,
        "otlp_log_records_total": 4,
        "otlp_lines_stored_total": 0,
        "otlp_lines_dropped_total no_trace": 4,
        "otlp_lines_held": 0,
        "otlp_stacks_lost_total": 0,
        "otlp_requests_shed_total": 3,
        "otlp_requests_in_progress": 1,
    }


async def test_the_age_of_the_newest_event(collector: Collector) -> None:
    """The newest event's age is in seconds, and zero before the first."""
    assert samples(collector)["newest_event_age_seconds"] == 0
    collector.feed.last_event_at = microseconds(at(97.5))
    assert samples(collector)["newest_event_age_seconds"] == 2.5


async def test_a_queue_name_cannot_forge_a_sample(collector: Collector) -> None:
    """Quotes, line ends and backslashes in a queue's name stay inside its label."""
    name = 'q"} 1\notel_bridge_clients 999\\'
    fold(collector, 1, "queue_depth_update", counts={name: 7})
    found = samples(collector)
    assert found['queue_depth q\\"} 1\\notel_bridge_clients 999\\\\'] == 7
    assert found["clients"] == 0
