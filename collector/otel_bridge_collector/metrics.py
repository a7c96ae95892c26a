"""
``MetricsPage``: the collector's numbers, with those of its process, for Prometheus.

The numbers are read when the page is asked for; nothing is counted a second time for it. The page
has a registry of its own, so that metrics of other libraries in the process are not on it.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/ (text 0.0.4, OpenMetrics 1.0).
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector as MetricsSource

from otel_bridge import __version__
from otel_bridge.publish.transports.sharded.status import ShardStatus
from otel_bridge_collector.cluster.shared_fold import SharedFold
from otel_bridge_collector.metric_families import (
    PREFIX,
    counter,
    counters,
    gauge,
    gauges,
    histogram,
)
from otel_bridge_collector.model.snapshot.header import Header
from otel_bridge_collector.otlp.ingest import OtlpIngest
from otel_bridge_collector.runtime import Collector
from otel_bridge_collector.security.admission import HandshakeAdmission
from otel_bridge_collector.views.state import ViewState

__all__ = ["MetricsPage"]


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
        self._collector = collector
        self._registry = CollectorRegistry()
        self._registry.register(_OwnNumbers(collector, otlp, admission))
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    async def render_all(self, accept: str = "") -> tuple[bytes, str]:
        """
        Return the page of all processes that share the port (async); as ``render`` of one alone.

        Each sample has the label ``process``, from 1. A process that does not answer within 2 s has
        none but ``otel_bridge_process_up`` 0.
        """
        cluster = self._collector.cluster
        if cluster is None or cluster.group is None:
            return self.render(accept)
        answers, _ = await cluster.ask_all("metrics", siblings=True)
        texts = {cluster.group.number: self._text(), **dict(map(_numbered, answers.values()))}
        registry = CollectorRegistry()
        registry.register(_Processes(texts, cluster.group.processes))
        encode, content_type = _encoder(accept)
        return encode(registry), content_type

    def answer(self, args: Mapping[str, Any]) -> bytes:
        """Answer another process that is asked for the page: its own number, and its text."""
        del args
        cluster = self._collector.cluster
        assert cluster is not None, "there is no cluster"
        assert cluster.group is not None, "there is no other process"
        return b"%d\n" % cluster.group.number + self._text()

    def _text(self) -> bytes:
        return self.render()[0]

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
        encode, content_type = _encoder(accept)
        return encode(self._registry), content_type


def _encoder(accept: str) -> tuple[Callable[[Any], bytes], str]:
    try:
        return choose_encoder(accept)
    except TypeError:
        # prometheus_client 0.26 compares each part of a version with a number, and leaves a part
        # that is none as text: ``version=abc``, and ``version="1.0.0"`` with its quotes.
        return choose_encoder("")


def _numbered(answer: bytes) -> tuple[int, bytes]:
    number, _, text = answer.partition(b"\n")
    return int(number), text


class _Processes(MetricsSource):
    """The samples of several processes, each with its number as a label."""

    def __init__(self, texts: Mapping[int, bytes], count: int) -> None:
        self._texts = texts
        self._count = count

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for number, text in sorted(self._texts.items()):
            label = {"process": str(number + 1)}
            for family in text_string_to_metric_families(text.decode()):
                known = families.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type)
                )
                for one in family.samples:
                    known.samples.append(one._replace(labels={**one.labels, **label}))
        up = {str(n + 1): float(n in self._texts) for n in range(self._count)}
        yield gauges("process_up", "1 while this process answers the one asked.", "process", up)
        yield from families.values()


def _shards(status: ShardStatus) -> Iterator[Metric]:
    """Of a log with several shards; without them these metrics are not there."""
    events = {str(shard): count for shard, count in sorted(status.events.items())}
    lags = {str(shard): round(lag, 3) for shard, lag in status.lag_sec().items()}
    skews = {node: round(skew, 3) for node, skew in status.skew_sec().items()}
    yield counters("shard_events_total", "Events read from the shard.", "shard", events)
    yield gauges("shard_lag_seconds", "How far the shard is not read.", "shard", lags)
    text = "How far the server's clock is ahead of the median of all."
    yield gauges("clock_skew_seconds", text, "node", skews)
    yield counter("late_events_total", "Events that came too late for their order.", status.late)


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
        yield InfoMetricFamily(PREFIX + "build", "Versions of otel-bridge and Python.", about)
        yield from self._reader()
        yield from self._clients()
        yield from self._state()
        yield from self._own_events()
        if self._otlp is not None:
            yield from self._otlp_requests(self._otlp)

    def _reader(self) -> Iterator[Metric]:
        collector, feed = self._collector, self._collector.feed
        read = feed.counters
        dropped = {
            **{f"unreadable: {why}": count for why, count in sorted(read.unreadable.items())},
            "duplicate": read.duplicates,
            "slow client": collector.hub.counters.dropped_slow,
        }
        now = collector.clock.time_ns() / 1e9
        age = now - feed.last_event_at / 1e6 if feed.last_event_at else 0.0
        yield counter("events_in_total", "Events folded.", collector.stats.events_in)
        yield counter(
            "events_not_held_total",
            "Events about spans or jobs that are not in memory.",
            sum(model.stats.events_not_held for model in collector.fold.models()),
        )
        yield counter("events_foreign_total", "External publishers' events.", read.external)
        lost = feed.external.lost
        appended = feed.external.appended
        yield counter(
            "external_events_appended_total", "External events this collector appended.", appended
        )
        yield counters(
            "external_events_lost_total", "External events never seen in the log.", "reason", lost
        )
        yield gauge(
            "external_events_held", "External events not yet in the log.", len(feed.external)
        )
        yield counters("events_dropped_total", "Events not sent to clients.", "reason", dropped)
        yield counters("log_gaps_total", "Holes found in the log.", "reason", read.gaps)
        yield counter("reader_restarts_total", "Restarts of a reader task.", read.restarts)
        yield gauge("log_read", "1 while this collector reads the log.", int(feed.is_live))
        yield gauge("newest_event_age_seconds", "Age of the newest event folded.", round(age, 3))
        yield histogram("event_lag_seconds", "Time from an event until its fold.", feed.lag_sec)
        yield histogram("read_batch_events", "Events read from the log at once.", feed.batch_events)
        if feed.shard_status is not None and feed.shard_status.is_sharded:
            yield from _shards(feed.shard_status)

    def _clients(self) -> Iterator[Metric]:
        hub = self._collector.hub
        closed = hub.counters.slow_closed
        yield counter("events_out_total", "Events written to clients.", hub.counters.events_out)
        yield gauge("clients", "WebSocket clients.", len(hub))
        yield gauge("client_filters", "Distinct filters of clients.", hub.group_count)
        yield counter("clients_slow_closed_total", "Clients closed as slow.", closed)
        if self._admission is not None:
            refused = self._admission.refused
            yield counters(
                "handshakes_refused_total", "WebSocket handshakes refused.", "limit", refused
            )
        views = self._collector.views_hub
        counted = views.counters
        yield gauge("views_clients", "WebSocket clients of views.", len(views))
        yield gauge("views_computed", "Distinct subscriptions to views.", views.group_count)
        yield counter("views_changes_total", "Changes of views made.", counted.changes)
        yield counter("views_fulls_total", "Whole views written to clients.", counted.fulls)
        yield counter(
            "views_skipped_total", "Ticks that slow clients were left out of.", counted.skipped
        )
        yield counter("views_refused_total", "Messages of clients refused.", counted.refused)
        yield counter("views_errors_total", "Views that could not be computed.", counted.errors)
        closed = counted.slow_closed
        yield counter("views_slow_closed_total", "Clients of views closed as slow.", closed)
        budget = self._collector.view_state.budget
        yield counter("views_rebuilds_total", "Lists of views made again.", budget.rebuilds)
        yield counter(
            "views_postponed_total", "Times that such a list was due and waited.", budget.postponed
        )
        lines = self._collector.lines
        yield gauge("lines_watched", "Nodes whose log lines are shown.", len(lines.table))
        yield counter("lines_reads_total", "Times that lines were read.", lines.poller.reads)
        yield counter(
            "lines_unreadable_total", "Stored lines that are none.", lines.table.unreadable
        )
        trimmer = lines.trimmer
        yield gauge("lines_nodes", "Nodes with log lines, as the leader knows.", trimmer.nodes)
        yield gauge("lines_bytes", "Memory of log lines, as the leader estimates.", trimmer.bytes)
        trimmed = trimmer.trimmed
        yield counter("lines_trimmed_total", "Nodes whose lines the leader removed.", trimmed)
        yield gauge("replay_events", "Events held for resuming.", len(self._collector.ring))

    def _state(self) -> Iterator[Metric]:
        states = self._collector.fold.served_states(self._collector.clock.time_ns() // 1000)
        headers = [Header(state.model) for state in states]
        leads = int(self._collector.leader.is_leader)
        stalled = self._collector.stalled_reporter.reported
        open_tasks = sum(header.open_tasks for header in headers)
        yield gauge("open_tasks", "Research tasks in progress.", open_tasks)
        running = sum(header.running for header in headers)
        yield gauge("jobs_processing", "Running jobs.", running)
        if headers:
            # Of workers and queues each state knows all.
            header = headers[0]
            depths = header.stats().queue_depth
            yield gauge("workers_online", "Workers that are online.", header.workers_online)
            lost = header.events_dropped
            yield gauge("worker_events_dropped", "Events dropped by workers.", lost)
            yield gauges("queue_depth", "Jobs waiting in the queue.", "queue", depths)
        yield from self._attention(states)
        yield from self._cluster()
        yield gauge("leader", "1 while this collector leads.", leads)
        yield from self._linger()
        yield counter("jobs_stalled_total", "Stalled jobs reported by this collector.", stalled)

    def _linger(self) -> Iterator[Metric]:
        """Of the leader alone, once it has measured: another collector does not know them."""
        linger = self._collector.linger
        if linger.rates is None or linger.linger_ms is None:
            return
        yield gauge("linger_ms", "How long publishers collect events.", linger.linger_ms)
        text = "Scripts that appended, and those of other programs, at most an event each."
        yield gauge("append_scripts_per_second", text, round(linger.rates.appends, 1))
        if linger.rates.batch_events is not None:
            text = "Events a script appended, the mean of the last round."
            yield gauge("append_batch_events", text, round(linger.rates.batch_events, 1))

    @staticmethod
    def _attention(states: Sequence[ViewState]) -> Iterator[Metric]:
        """What people look for first: at most a second old, as the views are."""
        reasons: Counter[str] = Counter()
        stuck: dict[str, int] = {}
        waits: dict[str, float] = {}
        for state in states:
            for known in state.tasks.visible(None):
                why = state.tasks.needs_attention(known)
                if why is not None:
                    reasons[why] += 1
            for name, each in state.queue_facts().items():
                if each.is_listed:
                    stuck[name] = max(stuck.get(name, 0), int(state.stuck(name) is not None))
                if each.oldest is not None:
                    wait = round((state.now - each.oldest) / 1e6, 3)
                    waits[name] = max(waits.get(name, 0.0), wait)
        yield gauges("tasks_attention", "Tasks that need attention, by why.", "why", reasons)
        yield gauges("queue_stuck", "1 while jobs wait and none is taken.", "queue", stuck)
        text = "How long the job has waited that has waited for longest."
        yield gauges("queue_oldest_wait_seconds", text, "queue", waits)

    def _cluster(self) -> Iterator[Metric]:
        """Of a collector that shares the fold; its numbers of tasks are of what it serves."""
        fold = self._collector.fold
        if not isinstance(fold, SharedFold):
            return
        counts, routed = fold.partition_counts(), fold.router.counters
        yield gauges("partitions", "Partitions that this collector holds.", "state", counts)
        missing = len(fold.membership.missing())
        yield gauge("partitions_missing", "Partitions that no collector has ready.", missing)
        yield gauge("members", "Collectors that share the fold.", len(fold.membership.members))
        links = self._collector.cluster
        if links is not None:
            counted = {
                **links.edge.counters,
                **{f"answering: {k}": v for k, v in links.peers.counters.items()},
            }
            yield counters("peer_total", "What happened between collectors.", "what", counted)
            text = "Snapshots and numbers of which a part was missing."
            yield counter("incomplete_total", text, links.summaries.incomplete)
            yield gauge("peers", "Other collectors that ask this one.", len(links.peers))
        text = "Events folded into its partitions, those of workers once for each."
        yield counter("fold_events_total", text, routed.folded)
        yield counter("moves_total", "Traces that moved to another partition.", routed.moves)
        text = "Those of them that are read again from the log."
        yield counter("moves_from_log_total", text, routed.moves_from_log)
        text = "Those of them whose earlier events are not shown: too many waited."
        yield counter("moves_dropped_total", text, routed.moves_dropped)

    def _own_events(self) -> Iterator[Metric]:
        bus = self._collector.bus.counters
        refused = bus.refused + self._collector.channel_messages_refused
        yield counter("own_events_published_total", "Own events in the log.", bus.published)
        yield counter("own_events_dropped_total", "Own events lost.", bus.dropped)
        yield gauge("own_events_waiting", "Own events waiting for the log.", bus.waiting)
        yield counter("own_send_failures_total", "Failed sends of own events.", bus.failed_attempts)
        yield counter("channel_messages_refused_total", "Pub/Sub messages an ACL denied.", refused)

    @staticmethod
    def _otlp_requests(otlp: OtlpIngest) -> Iterator[Metric]:
        rejected, shed = otlp.rejected, otlp.shed
        yield counters("otlp_rejected_total", "Spans and log records rejected.", "what", rejected)
        yield counters(
            "otlp_rejected_by_cause_total",
            "Spans and log records rejected, by cause.",
            "cause",
            otlp.rejected_by_cause,
        )
        yield counter(
            "otlp_stacks_lost_total",
            "Stacks of OTLP spans not stored, by an ACL.",
            otlp.stacks_lost,
        )
        lines = otlp.lines
        yield counter("otlp_log_records_total", "Log records without a span.", lines.received)
        yield counter("otlp_lines_stored_total", "Log records kept as lines.", lines.stored)
        yield counters(
            "otlp_lines_dropped_total", "Log records that were not kept.", "reason", lines.dropped
        )
        yield gauge("otlp_lines_held", "Log records that wait for their span.", lines.held)
        yield counter("otlp_requests_shed_total", "OTLP requests refused as too many.", shed)
        yield gauge("otlp_requests_in_progress", "OTLP requests in memory.", otlp.active)
