"""
``Lookups``: what is known of single spans, wherever their partition is held.

Routes and OTLP ask for a span by its id: whose it is, where its stack and its events are, and what
the children of a trace's spans inherit from its task. What another member holds is asked there.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final, NamedTuple

from otel_bridge.mapping.inheritance import InheritedContext, Key
from otel_bridge_collector.cluster.connections.client import PeerError
from otel_bridge_collector.cluster.edge.links import ClusterLinks
from otel_bridge_collector.cluster.one_fold import OneFold
from otel_bridge_collector.cluster.shared_fold import SharedFold
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.nodes import Node
from otel_bridge_collector.model.reading.projects import is_shared, project_of

__all__ = ["Lookups", "NodeRecord"]

logger = logging.getLogger(__name__)

_MAX_TRACES: Final = 1000
"""Of one question to another member."""

Correlate = Callable[
    [Fold, Mapping[str, Collection[str]], Callable[[str | None], bool]],
    dict[Key, InheritedContext],
]


class NodeRecord(NamedTuple):
    """
    What is known of a span, without its model; a record.

    Attributes:
        project: Of its task; None: it has none.
        is_shared: Whether its task is of several projects, so that limited readers do not see it.
        is_mixed: Whether events of several projects name its task.
        stack: Span id under which the stack of its failure is stored; None: its own.
        block: Position in the log before its events; None: not known.
    """

    project: str | None
    is_shared: bool
    is_mixed: bool
    stack: str | None
    block: str | None


def _record(node: Node) -> NodeRecord:
    task, more = node.own.task, node.more
    return NodeRecord(
        project_of(task),
        is_shared(task),
        task.is_mixed,
        None if more is None else more.stack,
        node.block,
    )


class Lookups:
    """
    Finds spans in this process, and at the other members; on the collector's event loop.

    Args:
        fold: What this process holds.
        links: The other members; None: there are none.

    Attributes:
        correlate: ``otlp.correlation.correlate``, which lies above this; OTLP sets it. None: spans
            inherit nothing.
        unanswered: Questions that a member did not answer, so that less was inherited or found.
    """

    def __init__(self, fold: OneFold | SharedFold, links: ClusterLinks | None) -> None:
        self.correlate: Correlate | None = None
        self.unanswered = 0
        self._fold = fold
        self._links = links
        if links is not None:
            links.calls["node"] = self._answer_node
            links.calls["correlate"] = self._answer_correlate

    def held(self, span_id: str) -> NodeRecord | None:
        """Return what this process holds of a span, 16 hex digits; None: nothing."""
        key = int(span_id, 16)
        for model in self._fold.models():
            node = model.tree.nodes.get(key)
            if node is not None:
                return _record(node)
        return None

    async def node(self, span_id: str) -> NodeRecord | None:
        """Return what any member holds of a span (async); None: none does, or none answers."""
        found = self.held(span_id)
        if found is not None or self._links is None:
            return found
        answers, failures = await self._links.ask_all("node", {"span": span_id})
        self.unanswered += len(failures)
        for answer in answers.values():
            if answer:
                return NodeRecord(*json.loads(answer))
        return None

    def _answer_node(self, args: Mapping[str, Any]) -> bytes:
        found = self.held(str(args["span"]))
        return b"" if found is None else json.dumps(found).encode()

    # --- what spans inherit ----------------------------------------------------------------------

    async def correlated(
        self,
        parents: Mapping[str, Collection[str]],
        may_use: Callable[[str | None], bool],
        projects: Iterable[str] | None,
    ) -> dict[Key, InheritedContext]:
        """
        As ``correlate``, of traces that any member holds (async).

        Args:
            parents: By trace id, the ids of the parents of its spans.
            may_use: Whether the sender may use a project.
            projects: The same as a list; None: all.
        """
        fold, links, correlate = self._fold, self._links, self.correlate
        if correlate is None:
            return {}
        if links is None or not isinstance(fold, SharedFold):
            return correlate(fold.model, parents, may_use)
        found: dict[Key, InheritedContext] = {}
        elsewhere: defaultdict[str, dict[str, list[str]]] = defaultdict(dict)
        for trace_id, span_ids in parents.items():
            group = fold.router.tasks.group_by_ids(None, trace_id)
            if group is None or group.partition < 0:
                continue
            state = fold.states.held.get(group.partition)
            if state is not None and state.is_ready:
                found |= correlate(state.model, {trace_id: span_ids}, may_use)
                continue
            server = fold.membership.server_of(group.partition)
            if server is not None and len(elsewhere[server]) < _MAX_TRACES:
                elsewhere[server][trace_id] = list(span_ids)
        for server, traces in elsewhere.items():
            found |= await self._correlated_at(server, traces, projects)
        return found

    async def _correlated_at(
        self, server: str, traces: dict[str, list[str]], projects: Iterable[str] | None
    ) -> dict[Key, InheritedContext]:
        assert self._links is not None
        client = self._links.edge.clients.get(server)
        args = {"traces": traces, "projects": None if projects is None else sorted(projects)}
        try:
            if client is None:
                raise PeerError("not connected")
            answer = await client.call("correlate", args)
        except PeerError as error:
            self.unanswered += 1
            if self.unanswered == 1:
                logger.warning("spans inherit nothing of a task that %s holds: %s", server, error)
            return {}
        return {
            (int(trace, 16), int(span, 16)): InheritedContext(
                task, project, phase, role=role, task_id=job, is_correlated=True
            )
            for trace, span, task, project, phase, role, job in json.loads(answer)
        }

    def _answer_correlate(self, args: Mapping[str, Any]) -> bytes:
        projects = None if args["projects"] is None else frozenset(args["projects"])
        found: dict[Key, InheritedContext] = {}
        correlate = self.correlate
        for model in () if correlate is None else self._fold.models():
            assert correlate is not None
            found |= correlate(
                model,
                args["traces"],
                lambda project: projects is None or project in projects,
            )
        return json.dumps(
            [
                (
                    *(f"{key[0]:032x}", f"{key[1]:016x}", one.parent_task_id, one.project_id),
                    *(one.phase, one.role, one.task_id),
                )
                for key, one in found.items()
            ]
        ).encode()
