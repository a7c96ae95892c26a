"""
Finds the trace that a span goes on with: durable execution starts a trace for each stretch of work.

Only a link that says so counts. Most links do not: a batch consumer links to all producers, a
fan-in to all that it joins, a page to the one before it; none of these is one piece of work.

Sources: Vercel Workflow 5.0 (``core/src/telemetry.ts``, mode ``linked``), Restate's server
(``invocation_span!``); both read, not run. autogen-core 0.7, run.
"""

from __future__ import annotations

from typing import Final

from opentelemetry.trace import SpanKind

from otel_bridge.mapping.rules_platforms import AUTOGEN_PREFIX
from otel_bridge.mapping.span_view import SpanView, scope_of

__all__ = ["CONTINUES", "continued_trace", "is_whole_run"]

CONTINUES: Final = "nexus.link.continues"
"""Attribute of a link, true: this span goes on with the work of the linked trace."""
_KINDS: Final = (SpanKind.INTERNAL, SpanKind.SERVER)
_MARKS: Final = (CONTINUES, "restate.runtime")
"""Attributes of such links; the second: an invocation that another one sent, or its restart."""
_WORKFLOW_SCOPE: Final = "workflow"
_WORKFLOW: Final = "workflow.execute"
_WORKFLOW_NAMES: Final = (_WORKFLOW, "step.execute")
_LINKING_NAMES: Final = (*_WORKFLOW_NAMES, AUTOGEN_PREFIX)
"""The delivery of a message of AutoGen links to its sender's trace."""


def continued_trace(span: SpanView) -> int | None:
    """
    Return the id of the trace whose work a span goes on with; None for most spans. Never raises.

    By the first link with a true ``nexus.link.continues`` or ``restate.runtime``, of a span of kind
    INTERNAL or SERVER that has no parent in its process. Of Vercel Workflow, whose links have no
    attributes, by the only link of a ``workflow.execute`` or ``step.execute`` span; not if its
    parent is in another process: then that is where the run came from, and the link is to the
    request that delivered it. Of AutoGen's messages by their first link.

    Args:
        span: The span; its links, which an SDK span has and another may lack, are read.
    """
    is_entry = span.parent is None or span.parent.is_remote
    if not (is_entry and span.kind in _KINDS) and not span.name.startswith(_LINKING_NAMES):
        # Reading the links of an SDK span takes 1.1 us, a tenth of what mapping it takes.
        return None
    links = getattr(span, "links", None)
    if not links:
        return None
    found = next((link for link in links if _is_marked(link.attributes)), None)
    if found is None and len(links) == 1 and scope_of(span) == _WORKFLOW_SCOPE:
        is_delivered = span.parent is None or not span.parent.is_remote
        if is_delivered and span.name.startswith(_WORKFLOW_NAMES):
            found = links[0]
    if found is None and span.name.startswith(AUTOGEN_PREFIX):
        found = links[0]
    if found is None or span.context is None:
        return None
    trace_id = int(found.context.trace_id)
    return trace_id if trace_id not in (0, span.context.trace_id) else None


def is_whole_run(span: SpanView) -> bool:
    """
    Whether a span that continues a trace runs all of the work, and so is a root of it.

    True for a root, and for Vercel's ``workflow.execute``, which is inside the request that
    delivers it; a ``step.execute`` is one job, and spans of AutoGen's messages deliver them. Never
    raises.
    """
    if span.parent is None:
        return not span.name.startswith(AUTOGEN_PREFIX)
    return span.name.startswith(_WORKFLOW)


def _is_marked(attributes: object) -> bool:
    get = getattr(attributes, "get", None)
    return get is not None and any(get(name) is True for name in _MARKS)
