"""
Maps a span to the fields of events: our own spans by ``own``, others by ``third_party``.

Runs in the bus's thread or in the collector, never in the thread that starts or ends a span. The
fields are a plain dict in model order, ready for ``encode_event``: building it takes a third of the
time of validating a model, and a test keeps the two byte-identical.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from opentelemetry.trace import SpanContext

from otel_bridge.clock import iso_utc
from otel_bridge.events import semconv
from otel_bridge.events.event_ids import event_id_of
from otel_bridge.events.redaction import MetaAllowlist
from otel_bridge.mapping.inheritance import InheritedContext, InheritedContexts, Key, own_context
from otel_bridge.mapping.intermediate import IntermediateSpans
from otel_bridge.mapping.lifecycle import (
    ENQUEUE,
    FAILED_ENQUEUE,
    JOB,
    PHASE,
    RESEARCH_TASK,
    EventOfSpan,
    event_of,
)
from otel_bridge.mapping.own import add_job_end, is_count, own_facts
from otel_bridge.mapping.span_view import (
    Attributes,
    Facts,
    Fields,
    SpanView,
    add_ids,
    add_kind,
    duration_ms,
    failure_of,
    has_failed,
    shown_name,
    with_prefix,
)
from otel_bridge.mapping.third_party import (
    Classification,
    classify,
    is_ignored,
    is_retry,
    retries_of,
    retry_reason_of,
)

__all__ = ["SpanMapper"]


class SpanMapper:
    """
    Maps spans to the fields of events; used by one thread at a time.

    The thread of the event bus, which publishes, has one for the process; the collector has one for
    spans received by OTLP. For each start and each end of a span, in order, call ``fields`` and
    then ``take_intermediate``. It remembers at most 20,000 spans with what their children inherit,
    and 20,000 intermediate spans that run (those that are no task, phase, job or enqueue) and 5,000
    that have ended; the oldest is forgotten, without an error. Nothing is started or closed, and no
    method waits. Only ``fields`` may raise, for what is no span or a time that cannot be formatted.

    Args:
        allowlist: The attributes that may enter ``meta`` beside ``nexus.meta.*``.
        forked_at_ns: When this process was forked, in nanoseconds since the Unix epoch; 0, the
            default, if it was not. Spans from before the fork belong to the parent process, which
            ends them itself.
        incarnation: Id of one life of this process, 16 hex digits, which goes into each event.
            None, the default: the spans are of other processes.
        parents_come_first: Whether each span arrives after its parent, as in the process that
            starts them, the default; False over OTLP, where a span is sent when it ends.
    """

    def __init__(
        self,
        allowlist: MetaAllowlist,
        forked_at_ns: int = 0,
        *,
        incarnation: str | None = None,
        parents_come_first: bool = True,
    ) -> None:
        self._allowlist = allowlist
        self._forked_at_ns = forked_at_ns
        self._incarnation = incarnation
        self._backdated: set[Key] = set()
        self._contexts = InheritedContexts()
        self._intermediate = IntermediateSpans(incarnation, parents_come_first=parents_come_first)

    def correlate(self, correlated: Mapping[Key, InheritedContext]) -> None:
        """
        Set what spans received by OTLP may inherit from spans that a worker reported live.

        Only the collector calls it, for each OTLP request. Never raises; there is no limit here.

        Args:
            correlated: Records of research task, project and phase, by trace id and span id; span
                id 0 stands for the whole trace. Replaces what was set before. Kept, not copied.
        """
        self._contexts.correlated = correlated

    def note_ended(self, spans: Iterable[SpanView]) -> None:
        """
        Note which calls are inside others, before the spans of a request are mapped; never raises.

        Only the collector calls it. So it does not matter how an exporter splits a trace into
        requests: of two spans about one model call, the inner one is the job in each case.

        Args:
            spans: The ended spans of the request, inner ones first.
        """
        self._contexts.note_ended(spans)

    def node_of(self, key: Key, block: int | None) -> tuple[int, str | None] | None:
        """
        Find the job, phase or task that a third-party span is, or is inside of; never raises.

        Args:
            key: Trace id and span id; its start was mapped before.
            block: Id of the span of this library around it, if there is one.

        Returns:
            The node's span id and project. None: none was found below ``block``. Without a
            ``block``, a request or wrapper whose events were sent counts as well.
        """
        shown = None
        for _ in range(_MAX_DEPTH):
            known = self._contexts.get(key)
            if known is None or key[1] == block:
                break
            if known.role is not None and known.role != ENQUEUE:
                return key[1], known.project_id
            if shown is None and block is None and self._intermediate.is_sent(key):
                shown = key[1], known.project_id
            if known.parent_id is None:
                break
            key = key[0], known.parent_id
        return shown

    def take_intermediate(self) -> list[Fields]:
        """
        Return the events of intermediate spans (requests and wrappers) due since the last call.

        Call it after ``fields``, also if that raised, and publish them first: they are above the
        span that was mapped. Never raises.

        Returns:
            The fields of each event, in order; usually empty. A second call returns none of them.
        """
        events = self._intermediate.events
        if events:
            self._intermediate.events = []
        return events

    def fields(self, span: SpanView, *, is_end: bool) -> Fields | None:
        """
        Return the fields of the event for a span's start or end, as a dict without None values.

        They are in the order of ``MonitoringEvent``. Texts are neither shortened nor masked;
        ``encode_event`` and ``redact_fields`` do that.

        Args:
            span: The span, live or ended.
            is_end: True for the end, False for the start.

        Returns:
            None when there is no event: no mapping rule knows the span (``take_intermediate`` then
            has its events, if there are any), its scope is ignored, it has no attributes or no ids,
            it starts an enqueue (which is an event at its end only), a job puts its own message
            into the queue again, or the parent process of a fork publishes it.

        Raises:
            AttributeError: What was given is no span. The event bus counts it as rejected.
            ValueError, OverflowError, OSError: A time of the span is out of the years that the
                system's ``gmtime`` accepts.
        """
        context = span.context
        attributes = span.attributes
        if attributes is None or context is None:
            return None
        # The SDK's mapping has a copy() in C: four times as fast as a copy in Python, and safe
        # while another thread writes to the span.
        copy = getattr(attributes, "copy", None)
        attributes = copy() if copy is not None else dict(attributes)
        key = (context.trace_id, context.span_id)
        if self._forked_at_ns and self._belongs_to_parent_process(span, key, is_end):
            return None
        if semconv.SPAN_KIND in attributes:
            if not is_end:
                self._contexts.remember_own(key, own_context(attributes))
                if attributes[semconv.SPAN_KIND] == ENQUEUE:
                    self._intermediate.has_enqueue(key[0], span)
                    return None
                self._intermediate.has_work(key[0], span)
            facts: Facts | None = own_facts(span, attributes, is_end=is_end)
        else:
            facts = self._third_party_facts(span, context, key, attributes, is_end)
        if facts is None:
            return None
        found = event_of(facts.kind, facts.outcome)
        if found is None or (facts.kind == ENQUEUE and facts.task_id is None):
            return None
        return self._event(span, context, key, attributes, facts, found)

    def _third_party_facts(
        self, span: SpanView, context: SpanContext, key: Key, attributes: Attributes, is_end: bool
    ) -> Facts | None:
        """Facts of a third-party span; its role is remembered from its start to its end."""
        if is_ignored(span):
            self._contexts.remember_ignored(span, context)
            return None
        known = self._contexts.get(key) if is_end else None
        classification = classify(span, attributes)
        if known is None or (
            known.role is None and classification is not None and not known.is_double
        ):
            known = self._contexts.resolve(span, context, attributes, classification)
            if known.role is None:
                self._intermediate.add(span, context, key, known, attributes)
            else:
                self._intermediate.remove(key)
                if known.role == ENQUEUE:
                    self._intermediate.has_enqueue(key[0], span)
                elif not known.is_linked:
                    self._intermediate.has_work(key[0], span)
        if known.role is None:
            if is_end:
                self._intermediate.end(span, key, attributes)
            return None
        if known.is_requeue:
            return None
        if is_end and known.call is not None and not known.is_double:
            # What starts later is not inside it.
            known.call.end_ns = span.end_time
        return _third_party_facts(span, attributes, known, known.role, classification, is_end)

    def _event(
        self,
        span: SpanView,
        context: SpanContext,
        key: Key,
        attributes: Attributes,
        facts: Facts,
        found: EventOfSpan,
    ) -> Fields:
        """Add ids, times, texts and ``meta`` to what was read of a span."""
        time_ns = span.end_time if found.is_about_end else span.start_time
        fields: Fields = {
            "event_id": event_id_of(context, span.start_time or 0, is_end=found.is_about_end),
            "ts": iso_utc(time.time_ns() if time_ns is None else time_ns),
            "event_type": found.event_type,
        }
        trace_id, span_id = key
        for index, name in _IDS:
            value = facts[index]
            if value is not None:
                fields[name] = value if type(value) is str else str(value)
            elif index == _PARENT_TASK_ID:
                # Work outside any research task: its trace counts as one.
                fields[name] = f"{trace_id:032x}"
        get = attributes.get
        worker_id = get(semconv.WORKER_ID)
        if worker_id is not None:
            fields["worker_id"] = worker_id if is_count(worker_id) else str(worker_id)
        retry_count = facts.retry_count
        if is_count(retry_count) and retry_count >= 0:
            fields["retry_count"] = retry_count
        fields["status"] = found.status
        if found.is_about_end:
            duration = duration_ms(span)
            if duration is not None:
                fields["duration_ms"] = duration
        self._add_texts(fields, attributes, facts)
        add_ids(fields, trace_id, span_id, span.parent, self._incarnation)
        run_id = get(semconv.RUN_ID)
        if run_id is not None:
            fields["run_id"] = str(run_id)
        if found is FAILED_ENQUEUE:
            # The type of the event alone would say that the job ran and failed.
            fields["span_kind"] = "PRODUCER"
        if semconv.SPAN_KIND not in attributes:
            add_kind(fields, span, shown_name(span, attributes))
        elif found.is_about_end and facts.kind == JOB:
            add_job_end(fields, attributes)
        return fields

    def _add_texts(self, fields: Fields, attributes: Attributes, facts: Facts) -> None:
        if facts.counts is not None:
            fields["counts"] = facts.counts
        if facts.queue is not None:
            fields["queue"] = str(facts.queue)
        message = attributes.get(semconv.MESSAGE)
        if message is not None:
            fields["message"] = str(message)
        if facts.error is not None:
            fields["error"] = facts.error
        meta = self._meta(attributes, facts.title)
        if meta:
            fields["meta"] = meta

    def _meta(self, attributes: Attributes, title: Any) -> dict[str, Any]:
        meta = self._allowlist.pick(attributes)
        for key, value in with_prefix(attributes, semconv.META_PREFIX):
            meta[key] = value
        if title is not None:
            meta["title"] = title
        domain = attributes.get(semconv.TASK_DOMAIN)
        if domain is not None:
            meta["domain"] = domain
        return meta

    def _belongs_to_parent_process(self, span: SpanView, key: Key, is_end: bool) -> bool:
        """Whether a span started before the fork, so that the parent process publishes it."""
        if (span.start_time or 0) >= self._forked_at_ns:
            return False
        if not is_end:
            # Started in this process, with a start time that the user gave: it belongs here.
            self._backdated.add(key)
            return False
        if key in self._backdated:
            self._backdated.discard(key)
            return False
        return True


_IDS: Final = tuple(enumerate(("project_id", "parent_task_id", "task_id", "task_type", "phase")))
"""The first facts, by index, which are fields of the same names."""
_PARENT_TASK_ID: Final = 1
_MAX_DEPTH: Final = 64
"""Spans that are looked at for the node that they are in."""
_NO_RULE: Final = Classification("phase", "")


def _third_party_facts(
    span: SpanView,
    attributes: Attributes,
    known: InheritedContext,
    role: str,
    classification: Classification | None,
    is_end: bool,
) -> Facts:
    found = _NO_RULE if classification is None else classification
    outcome = error = None
    if is_end:
        outcome = "failed" if has_failed(span) else "completed"
        if role not in (PHASE, ENQUEUE) and is_retry(attributes):
            outcome = "retrying"
        outcome = found.outcome or outcome
        if outcome != "completed":
            error = retry_reason_of(attributes) or failure_of(span, attributes)
    task_type = found.task_type or None
    is_root = role == RESEARCH_TASK
    get = attributes.get
    retry_count = get(semconv.RETRY_COUNT)
    if retry_count is None and not is_root:
        retry_count = found.retry_count or retries_of(attributes)
    phase = known.phase
    if role == PHASE and task_type is not None:
        # The name that the span has at its end is the right one.
        phase = task_type
    return Facts(
        known.project_id,
        known.parent_task_id,
        known.task_id,
        task_type,
        phase,
        retry_count,
        found.queue,
        found.title or shown_name(span, attributes) if is_root else get(semconv.TASK_TITLE),
        role,
        outcome,
        None,
        error,
    )
