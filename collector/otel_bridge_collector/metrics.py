"""
The collector's numbers in Prometheus' text format.

Written by hand: a page of counters needs no client library, and none is in the base image.
Source: https://prometheus.io/docs/instrumenting/exposition_formats/ (0.0.4).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from otel_bridge_collector.otlp.ingest import OtlpIngest
from otel_bridge_collector.runtime import Collector

__all__ = ["render_metrics"]


def render_metrics(collector: Collector, otlp: OtlpIngest | None = None) -> str:
    """All metrics, ending with a line end; OTLP's where there is an ingest."""
    feed, hub, leader = collector.feed, collector.hub, collector.leader
    judge = collector.judge()
    now = judge.now
    open_tasks = sum(
        judge.task_status(task) in ("pending", "processing", "retrying")
        for task in collector.state.tasks.values()
    )
    workers = list(collector.state.fleet.workers.values())
    online = sum(judge.worker_status(worker) == "online" for worker in workers)
    lag = (now - feed.last_event_at) / 1e6 if feed.last_event_at else 0.0
    bus = collector.bus.counters
    dropped = {
        **{f"unreadable: {why}": count for why, count in sorted(feed.counters.unreadable.items())},
        "duplicate": feed.counters.duplicates,
        "slow client": hub.counters.dropped_slow,
    }
    lines: list[str] = []
    add = _adder(lines)
    add("events_in_total", "counter", "Events folded.", collector.stats.events_in)
    add("events_out_total", "counter", "Events written, per client.", hub.counters.events_out)
    add("events_foreign_total", "counter", "Events adopted past the log.", feed.counters.foreign)
    add("events_dropped_total", "counter", "Events not passed on.", dropped, "reason")
    add("log_gaps_total", "counter", "Holes met in the log.", feed.counters.gaps, "reason")
    add("reader_restarts_total", "counter", "Readers started again.", feed.counters.restarts)
    add("clients", "gauge", "WebSocket clients.", len(hub))
    add("client_filters", "gauge", "Distinct filters of clients.", hub.filters)
    add("clients_slow_closed_total", "counter", "Clients closed as slow.", hub.counters.slow_closed)
    add("log_read", "gauge", "1 while the log is read.", int(feed.is_live))
    add("newest_event_age_seconds", "gauge", "Age of the newest event folded.", round(lag, 3))
    add("replay_events", "gauge", "Events held for resuming.", len(collector.ring))
    add("open_tasks", "gauge", "Research tasks under way.", open_tasks)
    add("jobs_processing", "gauge", "Jobs that run.", len(collector.state.processing))
    add("workers_online", "gauge", "Workers that beat.", online)
    add("worker_events_dropped", "gauge", "Dropped by workers.", sum(w.dropped for w in workers))
    depths = {name: queue.depth for name, queue in collector.state.fleet.queues.items()}
    add("queue_depth", "gauge", "Jobs waiting.", depths, "queue")
    add("leader", "gauge", "1 while this collector leads.", int(leader.is_leader))
    add("jobs_stalled_total", "counter", "Jobs told stalled by this collector.", leader.stalled)
    add("own_events_dropped_total", "counter", "Own events lost.", bus.dropped)
    if otlp is not None:
        add("otlp_rejected_total", "counter", "Not taken over OTLP.", otlp.rejected, "what")
        add("otlp_requests_shed_total", "counter", "OTLP requests told to come again.", otlp.shed)
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
