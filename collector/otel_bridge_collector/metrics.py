"""
``MetricsPage``: the collector's numbers, with those of its process, for Prometheus.

The numbers are read when the page is asked for; nothing is counted a second time for it. The page
has a registry of its own, so that metrics of other libraries in the process are not on it.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/ (text 0.0.4, OpenMetrics 1.0).
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator, Mapping
from math import inf
from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector as MetricsSource

from otel_bridge import __version__
from otel_bridge.publish.transports.sharded.status import ShardStatus
from otel_bridge_collector.log.histogram import Histogram
from otel_bridge_collector.model.snapshot.header import Header
from otel_bridge_collector.otlp.ingest import OtlpIngest
from otel_bridge_collector.runtime import Collector
from otel_bridge_collector.security.admission import HandshakeAdmission

__all__ = ["MetricsPage"]

_PREFIX: Final = "otel_bridge_"


class MetricsPage:
    """
    Renders ``/metrics``, the page for Prometheus; the application makes one for its collector.

    Counters start at 0 with the process. Use it on the collector's event loop. It keeps nothing and
    needs no closing. Making one and ``render`` never raise; it registers only in a registry of its
    own.

    Args:
        collector: Whose numbers to render.
        otlp: Adds the numbers of OTLP; None: they are left out.
        admission: Counts the handshakes that were refused; None: they are left out.
    """

    def __init__(
        self,
        collector: Collector,
        otlp: OtlpIngest | None = None,
        admission: HandshakeAdmission | None = None,
    ) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_OwnNumbers(collector, otlp, admission))
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """
        Return the page as it is at this moment; call it on the collector's event loop.

        The size is not limited; it grows with the number of queues. Redis is not asked, so an
        outage of it changes nothing but the numbers.

        Args:
            accept: The value of the ``Accept`` header; empty: Prometheus' text format.

        Returns:
            The page and its ``Content-Type``: OpenMetrics if ``accept`` names it, else Prometheus'
            text format, which also answers a version that is no number. Never raises.
        """
        try:
            encode, content_type = choose_encoder(accept)
        except TypeError:
            # prometheus_client 0.26 compares each part of a version with a number, and leaves a
            # part that is none as text: ``version=abc``, and ``version="1.0.0"`` with its quotes.
            encode, content_type = choose_encoder("")
        return encode(self._registry), content_type


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(_PREFIX + name, text, value=value)


def _counters(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(_PREFIX + name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(_PREFIX + name, text, value=value)


def _gauges(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(_PREFIX + name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _histogram(name: str, text: str, values: Histogram) -> Metric:
    buckets = [
        ("+Inf" if bound == inf else str(float(bound)), count) for bound, count in values.buckets()
    ]
    return HistogramMetricFamily(_PREFIX + name, text, buckets=buckets, sum_value=values.total)


def _shards(status: ShardStatus) -> Iterator[Metric]:
    """Of a log with several shards; without them these metrics are not there."""
    events = {str(shard): count for shard, count in sorted(status.events.items())}
    lags = {str(shard): round(lag, 3) for shard, lag in status.lag_sec().items()}
    skews = {node: round(skew, 3) for node, skew in status.skew_sec().items()}
    yield _counters("shard_events_total", "Events read from the shard.", "shard", events)
    yield _gauges("shard_lag_seconds", "How far the shard is not read.", "shard", lags)
    text = "How far the server's clock is ahead of the median of all."
    yield _gauges("clock_skew_seconds", text, "node", skews)
    yield _counter("late_events_total", "Events that came too late for their order.", status.late)


class _OwnNumbers(MetricsSource):
    def __init__(
        self,
        collector: Collector,
        otlp: OtlpIngest | None,
        admission: HandshakeAdmission | None,
    ) -> None:
        self._collector = collector
        self._otlp = otlp
        self._admission = admission

    def collect(self) -> Iterator[Metric]:
        about = {"version": __version__, "python": platform.python_version()}
        yield InfoMetricFamily(_PREFIX + "build", "Versions of otel-bridge and Python.", about)
        yield from self._reader()
        yield from self._clients()
        yield from self._state()
        yield from self._own_events()
        if self._otlp is not None:
            yield from self._otlp_requests(self._otlp)

    def _reader(self) -> Iterator[Metric]:
        collector, feed = self._collector, self._collector.feed
        counters = feed.counters
        dropped = {
            **{f"unreadable: {why}": count for why, count in sorted(counters.unreadable.items())},
            "duplicate": counters.duplicates,
            "slow client": collector.hub.counters.dropped_slow,
        }
        now = collector.clock.time_ns() / 1e9
        age = now - feed.last_event_at / 1e6 if feed.last_event_at else 0.0
        yield _counter("events_in_total", "Events folded.", collector.stats.events_in)
        yield _counter(
            "events_not_held_total",
            "Events about spans or jobs that are not in memory.",
            collector.stats.events_not_held,
        )
        yield _counter("events_foreign_total", "External publishers' events.", counters.external)
        lost = feed.external.lost
        appended = feed.external.appended
        yield _counter(
            "external_events_appended_total", "External events this collector appended.", appended
        )
        yield _counters(
            "external_events_lost_total", "External events never seen in the log.", "reason", lost
        )
        yield _gauge(
            "external_events_held", "External events not yet in the log.", len(feed.external)
        )
        yield _counters("events_dropped_total", "Events not sent to clients.", "reason", dropped)
        yield _counters("log_gaps_total", "Holes found in the log.", "reason", counters.gaps)
        yield _counter("reader_restarts_total", "Restarts of a reader task.", counters.restarts)
        yield _gauge("log_read", "1 while this collector reads the log.", int(feed.is_live))
        yield _gauge("newest_event_age_seconds", "Age of the newest event folded.", round(age, 3))
        yield _histogram("event_lag_seconds", "Time from an event until its fold.", feed.lag_sec)
        yield _histogram(
            "read_batch_events", "Events read from the log at once.", feed.batch_events
        )
        if feed.shard_status is not None and feed.shard_status.is_sharded:
            yield from _shards(feed.shard_status)

    def _clients(self) -> Iterator[Metric]:
        hub = self._collector.hub
        closed = hub.counters.slow_closed
        yield _counter("events_out_total", "Events written to clients.", hub.counters.events_out)
        yield _gauge("clients", "WebSocket clients.", len(hub))
        yield _gauge("client_filters", "Distinct filters of clients.", hub.group_count)
        yield _counter("clients_slow_closed_total", "Clients closed as slow.", closed)
        if self._admission is not None:
            refused = self._admission.refused
            yield _counters(
                "handshakes_refused_total", "WebSocket handshakes refused.", "limit", refused
            )
        views = self._collector.views_hub
        counted = views.counters
        yield _gauge("views_clients", "WebSocket clients of views.", len(views))
        yield _gauge("views_computed", "Distinct subscriptions to views.", views.group_count)
        yield _counter("views_changes_total", "Changes of views made.", counted.changes)
        yield _counter("views_fulls_total", "Whole views written to clients.", counted.fulls)
        yield _counter(
            "views_skipped_total", "Ticks that slow clients were left out of.", counted.skipped
        )
        yield _counter("views_refused_total", "Messages of clients refused.", counted.refused)
        yield _counter("views_errors_total", "Views that could not be computed.", counted.errors)
        closed = counted.slow_closed
        yield _counter("views_slow_closed_total", "Clients of views closed as slow.", closed)
        budget = self._collector.view_state.budget
        yield _counter("views_rebuilds_total", "Lists of views made again.", budget.rebuilds)
        yield _counter(
            "views_postponed_total", "Times that such a list was due and waited.", budget.postponed
        )
        lines = self._collector.lines
        yield _gauge("lines_watched", "Nodes whose log lines are shown.", len(lines.table))
        yield _counter("lines_reads_total", "Times that lines were read.", lines.poller.reads)
        yield _counter(
            "lines_unreadable_total", "Stored lines that are none.", lines.table.unreadable
        )
        trimmer = lines.trimmer
        yield _gauge("lines_nodes", "Nodes with log lines, as the leader knows.", trimmer.nodes)
        yield _gauge("lines_bytes", "Memory of log lines, as the leader estimates.", trimmer.bytes)
        trimmed = trimmer.trimmed
        yield _counter("lines_trimmed_total", "Nodes whose lines the leader removed.", trimmed)
        yield _gauge("replay_events", "Events held for resuming.", len(self._collector.ring))

    def _state(self) -> Iterator[Metric]:
        header = Header(self._collector.evaluated_model())
        depths = header.stats().queue_depth
        leads = int(self._collector.leader.is_leader)
        stalled = self._collector.stalled_reporter.reported
        yield _gauge("open_tasks", "Research tasks in progress.", header.open_tasks)
        yield _gauge("jobs_processing", "Running jobs.", header.running)
        yield _gauge("workers_online", "Workers that are online.", header.workers_online)
        lost = header.events_dropped
        yield _gauge("worker_events_dropped", "Events dropped by workers.", lost)
        yield _gauges("queue_depth", "Jobs waiting in the queue.", "queue", depths)
        yield from self._attention()
        yield _gauge("leader", "1 while this collector leads.", leads)
        yield from self._linger()
        yield _counter("jobs_stalled_total", "Stalled jobs reported by this collector.", stalled)

    def _linger(self) -> Iterator[Metric]:
        """Of the leader alone, once it has measured: another collector does not know them."""
        linger = self._collector.linger
        if linger.rates is None or linger.linger_ms is None:
            return
        yield _gauge("linger_ms", "How long publishers collect events.", linger.linger_ms)
        text = "Scripts that appended, and those of other programs, at most an event each."
        yield _gauge("append_scripts_per_second", text, round(linger.rates.appends, 1))
        if linger.rates.batch_events is not None:
            text = "Events a script appended, the mean of the last round."
            yield _gauge("append_batch_events", text, round(linger.rates.batch_events, 1))

    def _attention(self) -> Iterator[Metric]:
        """What people look for first: at most a second old, as the views are."""
        state = self._collector.view_state
        reasons: Counter[str] = Counter()
        for known in state.tasks.visible(None):
            why = state.tasks.needs_attention(known)
            if why is not None:
                reasons[why] += 1
        facts = state.queue_facts()
        stuck = {
            name: int(state.stuck(name) is not None)
            for name, each in facts.items()
            if each.is_listed
        }
        waits = {
            name: round((state.now - each.oldest) / 1e6, 3)
            for name, each in facts.items()
            if each.oldest is not None
        }
        yield _gauges("tasks_attention", "Tasks that need attention, by why.", "why", reasons)
        yield _gauges("queue_stuck", "1 while jobs wait and none is taken.", "queue", stuck)
        text = "How long the job has waited that has waited for longest."
        yield _gauges("queue_oldest_wait_seconds", text, "queue", waits)

    def _own_events(self) -> Iterator[Metric]:
        bus = self._collector.bus.counters
        refused = bus.refused + self._collector.channel_messages_refused
        yield _counter("own_events_published_total", "Own events in the log.", bus.published)
        yield _counter("own_events_dropped_total", "Own events lost.", bus.dropped)
        yield _gauge("own_events_waiting", "Own events waiting for the log.", bus.waiting)
        yield _counter(
            "own_send_failures_total", "Failed sends of own events.", bus.failed_attempts
        )
        yield _counter("channel_messages_refused_total", "Pub/Sub messages an ACL denied.", refused)

    @staticmethod
    def _otlp_requests(otlp: OtlpIngest) -> Iterator[Metric]:
        rejected, shed = otlp.rejected, otlp.shed
        yield _counters("otlp_rejected_total", "Spans and log records rejected.", "what", rejected)
        yield _counters(
            "otlp_rejected_by_cause_total",
            "Spans and log records rejected, by cause.",
            "cause",
            otlp.rejected_by_cause,
        )
        yield _counter(
            "otlp_stacks_lost_total",
            "Stacks of OTLP spans not stored, by an ACL.",
            otlp.stacks_lost,
        )
        lines = otlp.lines
        yield _counter("otlp_log_records_total", "Log records without a span.", lines.received)
        yield _counter("otlp_lines_stored_total", "Log records kept as lines.", lines.stored)
        yield _counters(
            "otlp_lines_dropped_total", "Log records that were not kept.", "reason", lines.dropped
        )
        yield _gauge("otlp_lines_held", "Log records that wait for their span.", lines.held)
        yield _counter("otlp_requests_shed_total", "OTLP requests refused as too many.", shed)
        yield _gauge("otlp_requests_in_progress", "OTLP requests in memory.", otlp.active)
