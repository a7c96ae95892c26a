"""The metrics page: Prometheus' format whatever names clients send, and the right numbers."""

from __future__ import annotations

import itertools
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from otel_bridge_collector.metrics import render_metrics
from otel_bridge_collector.model.old.records import microseconds
from otel_bridge_collector.otlp.ingest import OtlpIngest
from otel_bridge_collector.runtime import Collector
from otel_bridge_collector.settings import CollectorSettings

from otel_bridge.settings import BridgeSettings
from tests.support.faults import FakeClock
from tests.support.folding import at, event

_names = itertools.count()

SAMPLE = re.compile(
    r'(?P<name>[a-z_:][a-z0-9_:]*)(?:\{(?P<label>[a-z_]+)="(?P<value>(?:[^"\\\n]|\\["\\n])*)"\})? '
    r"(?P<number>-?[0-9.]+(?:e[+-]?[0-9]+)?)"
)


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    """A collector that reads no log: the test folds events itself, at the story's own time."""
    clock = FakeClock(int(at(100).timestamp()) * 1_000_000_000)
    settings = BridgeSettings(bus_url=f"memory://metrics-{next(_names)}")
    made = Collector(CollectorSettings(), settings, clock=clock)
    yield made
    made.bus.shutdown(1)


def fold(collector: Collector, seconds: float, kind: str, **fields: Any) -> None:
    one = event(seconds, kind, **fields)
    collector.state.apply(one, microseconds(one.ts))
    collector.stats.observe(one, microseconds(one.ts))


def samples(collector: Collector, otlp: OtlpIngest | None = None) -> dict[str, float]:
    """Every sample of the page by its name and label; fails for a line that is no sample."""
    found = {}
    for line in render_metrics(collector, otlp).splitlines():
        if not line.startswith("#"):
            match = SAMPLE.fullmatch(line)
            assert match is not None, line
            key = match["name"].removeprefix("otel_bridge_")
            found[key if match["value"] is None else f"{key} {match['value']}"] = float(
                match["number"]
            )
    return found


async def test_every_sample_has_help_and_type(collector: Collector) -> None:
    """Each metric has its help and type above it, once, and counters end in ``_total``."""
    page = render_metrics(collector)
    assert page.endswith("\n")
    kinds = dict(re.findall(r"# TYPE (\S+) (\S+)\n", page))
    helped = re.findall(r"# HELP (\S+) \S.*\n# TYPE (\S+) ", page)
    assert [name for name, _ in helped] == list(kinds) == [name for _, name in helped]
    for name, kind in kinds.items():
        assert name.startswith("otel_bridge_")
        assert (kind == "counter") is name.endswith("_total"), name
    named = {
        line.partition(" ")[0].partition("{")[0] for line in page.splitlines() if line[0] != "#"
    }
    assert named <= set(kinds)


async def test_published_names_stay(collector: Collector) -> None:
    """Operators' dashboards and alerts use these names: more may be added, none removed."""
    found = {name.partition(" ")[0] for name in samples(collector)}
    assert found >= {
        "events_in_total",
        "events_out_total",
        "events_foreign_total",
        "events_dropped_total",
        "reader_restarts_total",
        "clients",
        "client_filters",
        "clients_slow_closed_total",
        "log_read",
        "newest_event_age_seconds",
        "replay_events",
        "open_tasks",
        "jobs_processing",
        "workers_online",
        "worker_events_dropped",
        "leader",
        "jobs_stalled_total",
        "own_events_dropped_total",
        "own_events_published_total",
        "own_events_waiting",
        "own_send_failures_total",
        "channel_messages_refused_total",
    }


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
    otlp.shed = 3
    with otlp.slot():
        found = samples(collector, otlp)
    assert {name: value for name, value in found.items() if name.startswith("otlp")} == {
        "otlp_rejected_total span": 2,
        "otlp_rejected_total log record": 0,
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
