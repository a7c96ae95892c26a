"""
Classifies third-party spans: as the enqueue of a job, as a job, or as a phase.

The first rule that matches counts; ``docs/MAPPING.md`` holds them as a table, and a test compares
the two. The rules for queues are here, those for agents and for platforms in ``rules_ai`` and
``rules_platforms``. ``inheritance`` decides which span is the research task and what the jobs are
called.

Sources: semantic conventions 0.66b2 (``messaging.*``), opentelemetry-instrumentation-celery 0.66b2
(run), taskiq's middleware (read).
"""

from __future__ import annotations

import functools
from typing import Final, Literal

from opentelemetry.trace import SpanKind

from otel_bridge.mapping.classification import (
    WRAPPER,
    Classification,
    Classifier,
    MappingRule,
    text_of,
)
from otel_bridge.mapping.rules_ai import AI_RULES
from otel_bridge.mapping.rules_platforms import PLATFORM_RULES
from otel_bridge.mapping.span_view import Attributes, SpanView

__all__ = [
    "RULES",
    "Classification",
    "MappingRule",
    "classify",
    "ignore_scope",
    "is_ignored",
    "is_retry",
    "message_id_of",
    "retries_of",
    "retry_reason_of",
    "unignore_scope",
]


def _by_name(prefixes: tuple[str, str], type_name: str, *queue_names: str) -> Classifier:
    """For Celery and Taskiq: ``<first>/X`` of kind PRODUCER, ``<second>/X`` of kind CONSUMER."""
    sides: dict[str, tuple[SpanKind, Literal["enqueue", "job"]]] = {
        prefixes[0]: (SpanKind.PRODUCER, "enqueue"),
        prefixes[1]: (SpanKind.CONSUMER, "job"),
    }

    def read(span: SpanView, attributes: Attributes) -> Classification | None:
        verb, _, rest = span.name.partition("/")
        side = sides.get(verb)
        if side is None or not rest or side[0] is not span.kind:
            return None
        return Classification(
            side[1], text_of(attributes, type_name) or rest, text_of(attributes, *queue_names)
        )

    return read


def _by_action(action_name: str, type_name: str, queue_name: str) -> Classifier:
    """For Dramatiq: an attribute is ``send`` or ``process``."""

    def read(_: SpanView, attributes: Attributes) -> Classification | None:
        role = _SIDES.get(str(attributes.get(action_name)))
        if role is None:
            return None
        return Classification(
            role, text_of(attributes, type_name) or "job", text_of(attributes, queue_name)
        )

    return read


def _by_operation(type_name: str | None) -> Classifier:
    """For the messaging conventions; ``type_name``: an attribute that holds the job's type."""

    def read(span: SpanView, attributes: Attributes) -> Classification | None:
        if type_name is not None and type_name not in attributes:
            return None
        operation = text_of(attributes, "messaging.operation.type", "messaging.operation")
        if operation is None:
            return None
        role = _SIDES.get(operation)
        if role is None or (role == "enqueue" and span.kind is SpanKind.CLIENT):
            # A CLIENT span sends a whole batch; each message has a PRODUCER span of its own.
            return None
        names = ("messaging.destination.name", "messaging.destination")
        queue = text_of(attributes, *names)
        task_type = text_of(attributes, type_name) if type_name else None
        return Classification(role, task_type or span.name, queue)

    return read


def _arq(span: SpanView, attributes: Attributes) -> Classification | None:
    """``<function> send`` of kind PRODUCER and ``<function> process`` of kind CONSUMER."""
    name, _, verb = span.name.rpartition(" ")
    kinds = {"send": SpanKind.PRODUCER, "process": SpanKind.CONSUMER}
    if not name or " " in name or kinds.get(verb) is not span.kind:
        return None
    queue = text_of(attributes, "messaging.destination.name", "messaging.destination")
    is_conventional = attributes.get("messaging.system", "arq") not in ("arq", "redis")
    if name == queue or is_conventional or "messaging.operation.type" in attributes:
        # By the messaging conventions the word before the verb is the queue, not the function.
        return None
    return Classification("enqueue" if verb == "send" else "job", name, queue)


def _by_kind(span: SpanView, attributes: Attributes) -> Classification | None:
    queue = text_of(attributes, "messaging.destination.name", "messaging.destination")
    if span.kind is SpanKind.PRODUCER:
        return Classification("enqueue", span.name, queue)
    operation = text_of(attributes, "messaging.operation.type", "messaging.operation")
    if span.kind is SpanKind.CONSUMER and operation not in _NO_WORK:
        return Classification("job", span.name, queue)
    return None


_SIDES: Final[dict[str, Literal["enqueue", "job"]]] = {
    "create": "enqueue",
    "send": "enqueue",
    "publish": "enqueue",  # deprecated by the conventions, still sent
    "process": "job",
    "deliver": "job",
}
_NO_WORK: Final = frozenset({"receive", "settle"})
"""Operations that fetch or acknowledge a message; another span covers the work."""

RULES: Final = (
    MappingRule(
        "Celery",
        "`apply_async/X` (PRODUCER), `run/X` (CONSUMER)",
        _by_name(("apply_async", "run"), "celery.task_name", "messaging.destination"),
    ),
    MappingRule(
        "Taskiq",
        "`send/X` (PRODUCER), `execute/X` (CONSUMER)",
        _by_name(("send", "execute"), "taskiq.task_name"),
    ),
    MappingRule(
        "Dramatiq",
        "`dramatiq.action` = `send` or `process`",
        _by_action("dramatiq.action", "dramatiq.actor_name", "dramatiq.queue_name"),
        ("dramatiq.action",),
    ),
    MappingRule(
        "RQ",
        "`rq.job.function` with `messaging.operation.type` = `send` or `process`",
        _by_operation("rq.job.function"),
        ("rq.job.function",),
    ),
    *AI_RULES,
    *PLATFORM_RULES,
    MappingRule("arq", "`X send` (PRODUCER), `X process` (CONSUMER)", _arq),
    MappingRule(
        "Messaging",
        "`messaging.operation.type` = `create`, `send` (not CLIENT) or `process`",
        _by_operation(None),
        ("messaging.operation.type", "messaging.operation"),
    ),
    MappingRule("Fallback", "kind PRODUCER or CONSUMER", _by_kind),
)
"""In the order in which they are tried."""

# Measured: trying each rule took 2 us for a span that none matches, of which there are most.
_KEYS: Final = frozenset(key for rule in RULES for key in rule.keys)
_BY_KEY: Final = {
    key: tuple(index for index, rule in enumerate(RULES) if key in rule.keys) for key in _KEYS
}
_BY_QUEUE_KIND: Final = tuple(index for index, rule in enumerate(RULES) if not rule.keys)
_BY_NAME: Final = tuple(
    index for index, rule in enumerate(RULES) if not rule.keys and rule in PLATFORM_RULES
)
"""Of spans whose kind is neither PRODUCER nor CONSUMER: those with a colon in the name."""
_QUEUE_KINDS: Final = frozenset({SpanKind.PRODUCER, SpanKind.CONSUMER})
_CELERY: Final = RULES[0].classify
"""Tried first, as always; a job of Celery has no attribute that another rule needs."""


def classify(span: SpanView, attributes: Attributes) -> Classification | None:
    """
    Classify a span of another library by the first of ``RULES`` that matches.

    ``RULES`` has a rule for each supported library or convention, such as Celery or GenAI. Only
    reads; from any thread. Never raises; names are not shortened.

    Args:
        span: The span, at its start or end; its name and kind are read.
        attributes: Its attributes at this moment; some libraries set them at the end only.

    Returns:
        What the span is: ``role`` (``enqueue``, ``job`` or ``phase``), ``task_type`` (type of the
        job or name of the phase), and what ``Classification`` has beside them. None if no rule
        matches, as for most spans, and for a known wrapper.
    """
    found = _CELERY(span, attributes)
    if found is not None:
        return found
    is_queue = span.kind in _QUEUE_KINDS
    keys = _KEYS.intersection(attributes)
    if not is_queue and not keys and ":" not in span.name:
        return None
    for candidate in _candidates(keys, is_queue):
        found = candidate(span, attributes)
        if found is not None:
            return None if found is WRAPPER else found
    return None


@functools.lru_cache(maxsize=256)
def _candidates(keys: frozenset[str], is_queue: bool) -> tuple[Classifier, ...]:
    """Rules that can match a span with these attributes, in order; there are few such sets."""
    indexes = set(_BY_QUEUE_KIND if is_queue else _BY_NAME)
    for key in keys:
        indexes.update(_BY_KEY[key])
    return tuple(RULES[index].classify for index in sorted(indexes))


_ignored_scopes: Final[set[str]] = set()


def ignore_scope(name: str) -> None:
    """
    Leave the spans of an instrumentation scope out of the live view, in this process.

    For frameworks whose jobs an adapter of this library (its module for that framework) publishes,
    so that no job is shown twice. The spans themselves do not change; tracing backends still get
    them. Holds from the next span until ``unignore_scope``; a second call changes nothing. May be
    called from any thread, for any number of scopes; never raises.

    Args:
        name: Exact name of the scope, e.g. ``opentelemetry.instrumentation.celery``; not checked.
    """
    _ignored_scopes.add(name)


def unignore_scope(name: str) -> None:
    """Undo all calls of ``ignore_scope`` for this name; without one it does nothing."""
    _ignored_scopes.discard(name)


def is_ignored(span: SpanView) -> bool:
    """Whether ``ignore_scope`` was called for the span's instrumentation scope."""
    if not _ignored_scopes:
        return False
    scope = getattr(span, "instrumentation_scope", None)
    return scope is not None and scope.name in _ignored_scopes


def is_retry(attributes: Attributes) -> bool:
    """
    Whether an attempt ended in a retry, which the span's status alone does not show; never raises.

    Args:
        attributes: Of the ended span. True if ``celery.state`` is ``RETRY`` or there is a
            ``taskiq.retry.reason``; else False: other libraries are not recognised.
    """
    return attributes.get("celery.state") == "RETRY" or "taskiq.retry.reason" in attributes


def retry_reason_of(attributes: Attributes) -> str | None:
    """Return why an attempt will be retried, as Celery or Taskiq say in attributes; else None."""
    return text_of(attributes, "celery.retry.reason", "taskiq.retry.reason")


def retries_of(attributes: Attributes) -> int | None:
    """
    Return the number of attempts before this one, at least 1; None for a first or unknown one.

    Never raises: a value that is no whole number counts as unknown.

    Args:
        attributes: Of the job's span. The first of ``celery.retries``, ``dramatiq.retry_count`` and
            ``taskiq._retries`` that is above 0 counts; other libraries are not recognised.
    """
    for name in ("celery.retries", "dramatiq.retry_count", "taskiq._retries"):
        found = attributes.get(name)
        if isinstance(found, int) and not isinstance(found, bool) and found > 0:
            return found
    return None


def message_id_of(attributes: Attributes) -> str | None:
    """
    Return the id that the queue gave a job's message as text, or None if it has none; never raises.

    Args:
        attributes: Of the span of an enqueue or job, of which ``messaging.message.id``,
            ``dramatiq.message_id`` and ``rq.job.id`` are read, in this order. Some libraries set
            the id at the span's end only.
    """
    return text_of(attributes, "messaging.message.id", "dramatiq.message_id", "rq.job.id")
