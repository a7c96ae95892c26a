"""
Base classes of the context managers: one span with its ids, and no exception of their own.

An error inside one of them is logged, and the user's code runs without being shown.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, ParamSpec, Self

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode

from otel_bridge.bridge import current_bridge
from otel_bridge.events import semconv
from otel_bridge.events.model import TaskStatus
from otel_bridge.lines.source import in_block
from otel_bridge.spans.scope import SCOPE_KEY, Scope
from otel_bridge.spans.unconfigured import warn_in_child
from otel_bridge.stacks.own_code import OwnCode, own_code
from otel_bridge.stacks.recorded import RecordedException, add_recorded, recorded, recorded_text
from otel_bridge.workers.otel_metrics import OtelMetrics

__all__ = [
    "SelfReturningContextManager",
    "SpanContextManager",
    "current_metrics",
    "guarded",
    "meta_attributes",
    "one_line",
    "safe_repr",
    "safe_str",
    "whole_number",
]

logger = logging.getLogger(__name__)

_P = ParamSpec("_P")


def current_metrics() -> OtelMetrics | None:
    """
    Return the OpenTelemetry instruments that count jobs, made by ``configure()``.

    From any thread; never waits or raises.

    Returns:
        None before ``configure()``, after its ``shutdown()`` and while monitoring is off.
    """
    bridge = current_bridge()
    return None if bridge is None else bridge.otel_metrics


def _tracer() -> trace.Tracer:
    bridge = current_bridge()
    if bridge is None:
        warn_in_child()
        return trace.get_tracer(semconv.SCOPE_NAME)
    return bridge.tracer


def guarded(method: Callable[_P, None]) -> Callable[_P, None]:
    """
    Decorate a method so that it logs an ``Exception`` instead of raising it.

    The result has the same signature and returns None. Each failure is logged as an error, with its
    stack and the ``repr`` of the arguments, whose length is not limited. ``KeyboardInterrupt``,
    ``SystemExit`` and other exceptions that are no ``Exception`` are still raised.

    Args:
        method: A method that returns nothing and is not ``async``.
    """

    @functools.wraps(method)
    def guard(*args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            method(*args, **kwargs)
        except Exception:
            logger.exception("otel-bridge: %s%s failed", method.__qualname__, safe_repr(args[1:]))

    return guard


class _GuardedContextManager:
    """
    Enters and exits, for ``with`` and ``async with``, without raising an exception of its own.

    Subclasses implement ``_open`` and ``_close``; what these raise is logged.
    """

    def _open(self) -> None:
        raise NotImplementedError

    def _close(self, error: BaseException | None) -> None:
        raise NotImplementedError

    def _enter(self) -> None:
        try:
            self._open()
        except Exception:
            logger.exception("otel-bridge could not open %s; the work runs, but is not shown", self)

    def _exit(self, error: BaseException | None) -> None:
        try:
            self._close(error)
        except Exception:
            logger.exception("otel-bridge could not close %s", self)

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._exit(error)

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._exit(error)


class SelfReturningContextManager(_GuardedContextManager):
    """
    Base class of context managers where ``with ... as name`` binds the object itself to ``name``.

    Subclasses implement ``_open()`` and ``_close(error)``, called in the thread of the block. Works
    with ``with`` and ``async with``; enter each object once, which is not checked. Entering and
    leaving never raise and never wait for Redis. What fails inside is logged, and the user's block
    runs all the same; an exception of the block itself goes on to the caller.
    """

    def __enter__(self) -> Self:
        self._enter()
        return self

    async def __aenter__(self) -> Self:
        self._enter()
        return self


class SpanContextManager(_GuardedContextManager):
    """
    Base class of the context managers that are one span: it starts and ends with the block.

    Subclasses set ``_kind`` (the value of ``nexus.span.kind``) and, unless it is INTERNAL,
    ``_span_kind`` (OpenTelemetry's kind of span). Leave the block in the thread or asyncio task
    that entered it. No method raises: what fails is logged, and the block runs. An exception that
    leaves the block ends the span as failed and goes on to the caller.

    Enter each object once, which is not checked. Entered again after its end, it starts a second
    span, which keeps an outcome that the first one had. Entered again inside its own block, the
    first span never ends.

    Args:
        label: What follows the kind in the span's name: ``search`` in ``phase search``.
        ids: Research task, project, phase and worker that the span belongs to; code inside the
            block inherits them.
        attributes: Further attributes of the span's start; those that are None are left out. Their
            size is not limited here.
    """

    _kind: str
    _span_kind = SpanKind.INTERNAL

    def __init__(self, label: str, ids: Scope, attributes: Mapping[str, Any]) -> None:
        self._label = label
        self._ids = ids
        self._attributes = attributes
        self._links: list[Link] = []
        self._span: Span = trace.INVALID_SPAN
        self._parent_context: otel_context.Context | None = None
        self._token: Any = None
        self._outcome: TaskStatus | None = None
        self._error: str | None = None
        self._error_type: str | None = None
        self._recorded: RecordedException | None = None

    def __repr__(self) -> str:
        return f"<{self._kind} {safe_str(self._label)}>"

    @property
    def span_id(self) -> int:
        """Id of the span, a whole number; 0 before the block begins and while monitoring is off."""
        return self._span.get_span_context().span_id

    @guarded
    def fail(self, reason: BaseException | str) -> None:
        """
        End as failed when the block ends, although no exception leaves it. Never raises.

        The last call of this or another method that sets an outcome counts. Without any, the block
        ends as completed, or as failed if an exception leaves it. After the block it has no effect.

        Args:
            reason: Shown as the error; takes precedence over an exception that leaves the block.
                Not shortened here: the whole event is, to 8,192 bytes by default.
        """
        self._end_as(TaskStatus.FAILED, reason)

    @guarded
    def message(self, text: str) -> None:
        """
        Set one line of text for people, shown with the end of this span. Never raises.

        Has an effect inside the block only.

        Args:
            text: Replaces the text that was set before. Not shortened here: the whole event is, to
                8,192 bytes by default.
        """
        self._span.set_attribute(semconv.MESSAGE, text)

    @guarded
    def keep_stack(self, source: BaseException | str) -> None:
        """
        Keep the stack of a failure whose reason is given as text; never raises.

        Has an effect if the block ends as failed or as a retry. A reason that is an exception needs
        no call of this: its own stack is kept.

        Args:
            source: An exception, of which names, lines and messages are taken, never variables; or
                a stack as text, such as that of a job that failed in another process.
        """
        if not self._span.is_recording():
            return
        if isinstance(source, str):
            self._recorded = recorded_text(source, _own_code())
        elif isinstance(source, Exception):
            # Others, such as ``SystemExit``, end the work from outside: their stack says nothing.
            self._recorded = recorded(source, _message(source), _own_code())

    def _end_as(self, outcome: TaskStatus, reason: BaseException | str | None = None) -> None:
        self._outcome = outcome
        self._error = None if reason is None else one_line(reason)
        is_exception = isinstance(reason, BaseException)
        self._error_type = type(reason).__name__ if is_exception else None
        if isinstance(reason, BaseException):
            # Now, because frames may be cleared before the block ends.
            self.keep_stack(reason)

    def _scope(self) -> Scope:
        """What code inside the block inherits."""
        return self._ids

    def _open(self) -> None:
        ids = self._ids
        attributes: dict[str, Any] = {semconv.SPAN_KIND: self._kind}
        if ids.parent_task_id is not None:
            attributes[semconv.PARENT_TASK_ID] = ids.parent_task_id
        if ids.project_id is not None:
            attributes[semconv.PROJECT_ID] = ids.project_id
        if ids.phase is not None:
            attributes[semconv.PHASE] = ids.phase
        for key, value in self._attributes.items():
            if value is not None:
                attributes[key] = value
        self._span = _tracer().start_span(
            f"{self._kind} {self._label}",
            context=self._parent_context,
            kind=self._span_kind,
            attributes=attributes,
            links=self._links,
        )
        context = otel_context.set_value(SCOPE_KEY, self._scope(), self._parent_context)
        context = in_block(context, self._span, self._span_kind, ids.project_id)
        self._token = otel_context.attach(trace.set_span_in_context(self._span, context))

    def _close(self, error: BaseException | None) -> None:
        if self._token is not None:
            otel_context.detach(self._token)
        try:
            if error is not None and self._outcome is None:
                self._end_as(TaskStatus.FAILED, error)
            outcome = self._outcome or TaskStatus.COMPLETED
            if outcome is not TaskStatus.COMPLETED and self._recorded is None and error is not None:
                self.keep_stack(error)  # the reason was given as text
            self._span.set_attribute(semconv.OUTCOME, outcome.value)
            if self._error is not None:
                self._span.set_attribute(semconv.ERROR, self._error)
                self._span.set_status(Status(StatusCode.ERROR, self._error))
            if self._recorded is not None and outcome is not TaskStatus.COMPLETED:
                add_recorded(self._span, self._recorded)
                self._recorded = None
        finally:
            self._span.end()


def _own_code() -> OwnCode:
    bridge = current_bridge()
    return own_code("" if bridge is None else bridge.settings.app_packages)


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "<str() failed>"


def one_line(reason: BaseException | str) -> str:
    """
    Describe a reason for people: ``ValueError: no such school``.

    Text is returned as it is, line breaks included. An exception is its class and its message, or
    its class alone if it has no message or its ``__str__`` raises. The length is not limited. Never
    raises.
    """
    if isinstance(reason, str):
        return reason
    name = type(reason).__name__
    try:
        text = str(reason)
    except Exception:
        text = ""  # a user's own ``__str__`` may raise anything
    if not text or text.startswith(f"{name}("):
        # Some exceptions, such as Celery's time limits, return their repr, which has the name.
        return text or name
    return f"{name}: {text}"


def safe_str(value: object) -> str:
    """
    Return ``str(value)``, or ``<TypeName>`` if the value's ``__str__`` raises; never raises.

    A text is returned with its own characters, so a member of a ``str`` enum gives its value and
    not its name. An unpaired surrogate (half of a UTF-16 pair) becomes ``?``, because neither an
    event nor an OTLP export can hold it. The length is not limited.
    """
    if type(value) is str and value.isascii():
        return value
    try:
        text = value if isinstance(value, str) else str(value)
        return text.encode(errors="replace").decode()
    except Exception:
        return f"<{type(value).__name__}>"


def safe_repr(value: object) -> str:
    """
    Return ``repr(value)``, or ``<TypeName>`` if the value's ``__repr__`` raises; never raises.

    The length is not limited. Use it for log lines about a user's objects, where an exception of
    ``__repr__`` would reach the user's code.
    """
    try:
        return repr(value)
    except Exception:
        return f"<{type(value).__name__}>"


def whole_number(name: str, count: int | str | bytes) -> int:
    """
    Return a user's count as an ``int``; check it with this before it is stored.

    A stored count of 0.5 would stay in the sums, and no later event could be published.

    Args:
        name: Name of the count, for the error's message.
        count: An ``int``, another type's whole number such as 2.0, or the text of one, as Redis
            clients return it. Its sign and size are not checked.

    Raises:
        ValueError: It is no whole number; the message has name and value. It is the only error.
    """
    # ``int()`` raises three kinds of error, and a user's own type may raise any other.
    with contextlib.suppress(Exception):
        number = int(count)
        if isinstance(count, str | bytes) or number == count:
            return number
    raise ValueError(f"{name}={safe_str(count)} is no whole number; use an int")


def meta_attributes(meta: Mapping[str, Any] | None) -> dict[str, Any]:
    """
    Turn a user's ``meta`` into a new dict of span attributes ``nexus.meta.<key>``; never raises.

    Text, numbers and booleans stay as they are, other values become text, None is left out. If
    ``meta`` is None or no mapping, the dict is empty; if its items cannot be read, that is logged,
    and the dict is empty too. Neither the number nor the length of the values is limited here.
    """
    try:
        items = list(meta.items()) if isinstance(meta, Mapping) else []
    except Exception:
        logger.exception("otel-bridge could not read a meta of type %s", type(meta).__name__)
        items = []
    return {
        f"{semconv.META_PREFIX}{safe_str(key)}": _attribute(value)
        for key, value in items
        if value is not None
    }


def _attribute(value: Any) -> str | bool | int | float:
    try:
        if isinstance(value, str | bool | int | float):
            return value
    except Exception:
        return safe_str(value)  # a proxy object may raise when it is asked for its class
    return safe_str(value)
