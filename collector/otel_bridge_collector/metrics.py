"""
``render_metrics``: the collector's numbers in Prometheus' text format.

Written without a client library: a page of counters needs none, and the base image has none.
Source: https://prometheus.io/docs/instrumenting/exposition_formats/ (0.0.4).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from otel_bridge_collector.otlp.ingest import OtlpIngest
from otel_bridge_collector.runtime import Collector

__all__ = ["render_metrics"]


def render_metrics(collector: Collector, otlp: OtlpIngest | None = None) -> str:
    """
    The page of ``/metrics``; it ends with a line end.

    Args:
        collector: Whose numbers to render.
        otlp: Adds the numbers of OTLP; None: they are left out.
    """
    feed, hub = collector.feed, collector.hub
    rules = collector.status_rules()
    now = rules.now
    open_tasks = sum(
        rules.task_status(task) in ("pending", "processing", "retrying")
        for task in collector.state.tasks.values()
    )
    workers = list(collector.state.fleet.workers.values())
    online = sum(rules.worker_status(worker) == "online" for worker in workers)
    lag = (now - feed.last_event_at) / 1e6 if feed.last_event_at else 0.0
    bus = collector.bus.counters
    refused = bus.refused + collector.channel_messages_refused
    dropped = {
        **{f"unreadable: {why}": count for why, count in sorted(feed.counters.unreadable.items())},
        "duplicate": feed.counters.duplicates,
        "slow client": hub.counters.dropped_slow,
    }
    lines: list[str] = []
    add = _adder(lines)
    add("events_in_total", "counter", "Events folded.", collector.stats.events_in)
    add("events_out_total", "counter", "Events written to clients.", hub.counters.events_out)
    add("events_foreign_total", "counter", "External publishers' events.", feed.counters.external)
    add("events_dropped_total", "counter", "Events not sent to clients.", dropped, "reason")
    add("log_gaps_total", "counter", "Holes found in the log.", feed.counters.gaps, "reason")
    add("reader_restarts_total", "counter", "Restarts of a reader task.", feed.counters.restarts)
    add("clients", "gauge", "WebSocket clients.", len(hub))
    add("client_filters", "gauge", "Distinct filters of clients.", hub.group_count)
    add("clients_slow_closed_total", "counter", "Clients closed as slow.", hub.counters.slow_closed)
    add("log_read", "gauge", "1 while this collector reads the log.", int(feed.is_live))
    add("newest_event_age_seconds", "gauge", "Age of the newest event folded.", round(lag, 3))
    add("replay_events", "gauge", "Events held for resuming.", len(collector.ring))
    add("open_tasks", "gauge", "Research tasks in progress.", open_tasks)
    add("jobs_processing", "gauge", "Running jobs.", len(collector.state.processing))
    add("workers_online", "gauge", "Workers that are online.", online)
    add(
        "worker_events_dropped",
        "gauge",
        "Events dropped by workers.",
        sum(w.dropped for w in workers),
    )
    depths = {name: queue.depth for name, queue in collector.state.fleet.queues.items()}
    add("queue_depth", "gauge", "Jobs waiting in the queue.", depths, "queue")
    add("leader", "gauge", "1 while this collector leads.", int(collector.leader.is_leader))
    stalled = collector.stalled_reporter.reported
    add("jobs_stalled_total", "counter", "Stalled jobs reported by this collector.", stalled)
    add("own_events_published_total", "counter", "Own events in the log.", bus.published)
    add("own_events_dropped_total", "counter", "Own events lost.", bus.dropped)
    add("own_events_waiting", "gauge", "Own events waiting for the log.", bus.waiting)
    add("own_send_failures_total", "counter", "Failed sends of own events.", bus.failed_attempts)
    add("channel_messages_refused_total", "counter", "Pub/Sub messages an ACL denied.", refused)
    if otlp is not None:
        add(
            "otlp_rejected_total",
            "counter",
            "Spans and log records rejected.",
            otlp.rejected,
            "what",
        )
        add("otlp_requests_shed_total", "counter", "OTLP requests refused as too many.", otlp.shed)
        add("otlp_requests_in_progress", "gauge", "OTLP requests in memory.", otlp.active)
    return "\n".join(lines) + "\n"


class _adder:  # noqa: N801 - reads as a function
    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def __call__(
        self,
        name: str,
        kind: str,
        text: str,
        value: float | Mapping[str, float],
        label: str = "",
    ) -> None:
        name = f"otel_bridge_{name}"
        self._lines.append(f"# HELP {name} {text}")
        self._lines.append(f"# TYPE {name} {kind}")
        pairs: Iterable[tuple[str, float]]
        pairs = value.items() if isinstance(value, Mapping) else [("", value)]
        for key, number in pairs:
            labels = f'{{{label}="{_escape(key)}"}}' if label else ""
            self._lines.append(f"{name}{labels} {number}")


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
