"""
``EdgeViews``: views of all partitions, for the clients of this member.

The member that a client is connected to is the edge. It computes the parts of what it holds itself,
asks the other members for theirs, once however many of its clients look at the same, and merges
them. Which member answers for which partitions is a layout (``layouts``). When that changes, the
new one is asked for beside the old one, and takes over at once when all of it is answered: so no
partition is counted twice, and none is left out, while they move.

A member that has not answered for 1 s, and a partition that no member serves yet, make a view
partial: the last rows stay, and the view says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

from otel_bridge_collector.cluster.connections.client import PeerClient
from otel_bridge_collector.cluster.connections.group import PeerAddress
from otel_bridge_collector.cluster.edge.layouts import Layout, PartGroup, keys_of, ranges
from otel_bridge_collector.cluster.facts import Facts, add_facts
from otel_bridge_collector.cluster.membership import Membership
from otel_bridge_collector.cluster.partitions import PARTITIONS
from otel_bridge_collector.cluster.parts import (
    EDGE_VIEWS,
    NotCoveredError,
    around_text,
    compute_part,
    decode_part,
    merge_parts,
)
from otel_bridge_collector.cluster.states import States
from otel_bridge_collector.views.catalog import Query
from otel_bridge_collector.views.listing import GoneError, NotYetError, Scope, Window
from otel_bridge_collector.wire.views.messages import PartialView

__all__ = ["EdgeViews"]

logger = logging.getLogger(__name__)

_SILENT_SEC: Final = 1.0
"""A member that has sent nothing for so long does not answer; it sends four times a second."""
_FIRST_SEC: Final = 1.0
"""How long the first answers to a new question are waited for, before what is there is shown."""
_FACTS_SEC: Final = 3.0
"""Facts that are older count as unknown."""


class _Question:
    """A view that clients of this member look at, and what the others have answered."""

    def __init__(self, query: Query, scope: Scope, now: float) -> None:
        self.query = query
        self.scope = scope
        self.users = 0
        self.asked_at = now
        self.current: Layout | None = None
        """What is shown; None before the first whole one."""
        self.next: Layout | None = None
        """What is asked for and not whole yet; None: nothing else."""
        self.around: str | None = None
        self.last: Window | None = None
        self.answered = asyncio.Event()

    @property
    def layouts(self) -> list[Layout]:
        return [layout for layout in (self.current, self.next) if layout is not None]


class EdgeViews:
    """
    Views merged from all members of a cluster; all methods belong to the collector's event loop.

    Args:
        membership: Who serves which partition.
        states: What is held here.
        local: Computes a view of which every member has everything, such as ``events``.
        token: For members on other machines; empty: there are none.

    Attributes:
        counters: What the connections to other members count, and ``bad`` parts.
        clients: The connection to each other member, by its id.
    """

    def __init__(
        self,
        membership: Membership,
        states: States,
        *,
        local: Callable[[Query, Scope], Window],
        token: str,
    ) -> None:
        self.counters: Counter[str] = Counter()
        self.clients: dict[str, PeerClient] = {}
        self._membership = membership
        self._states = states
        self._local = local
        self._token = token
        self._questions: dict[tuple[Query, Scope], _Question] = {}
        self._groups: dict[int, tuple[_Question, PartGroup]] = {}
        self._number = 0
        self._serving: Mapping[str, frozenset[int]] = {}
        self._server_of: dict[int, str] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._is_running = False

    def start(self) -> None:
        """Connect to the members there are, and to those that come, until ``stop``."""
        self._is_running = True
        self._membership.on_change(self._note_change)
        self._note_change()

    async def stop(self) -> None:
        """Close all connections."""
        self._is_running = False
        clients, self.clients = list(self.clients.values()), {}
        await asyncio.gather(*(client.stop() for client in clients), *self._leaving)

    # --- who looks at what -----------------------------------------------------------------------

    def opened(self, query: Query, scope: Scope) -> None:
        """Ask the other members for a view from now on; count how many need it."""
        if query.view in EDGE_VIEWS:
            return
        question = self._questions.get((query, scope))
        if question is None:
            question = self._questions[query, scope] = _Question(query, scope, _now())
            self._lay_out(question)
        question.users += 1

    def closed(self, query: Query, scope: Scope) -> None:
        """One that needed a view does not any more; after the last one the others are not asked."""
        question = self._questions.get((query, scope))
        if question is None:
            return
        question.users -= 1
        if question.users <= 0:
            del self._questions[query, scope]
            for layout in question.layouts:
                self._drop(layout)

    # --- windows ---------------------------------------------------------------------------------

    def window(self, query: Query, scope: Scope) -> Window:
        """
        Merge the newest parts of a view that is ``opened``.

        Args:
            query: A view's name and its checked parameters.
            scope: The projects that the reader may see; None: all.

        Returns:
            The window; with ``partial`` if a member does not answer, or a partition is not served.

        Raises:
            GoneError: What the view shows does not exist, or the reader may not see it.
            NotYetError: Not all members have answered, and nothing was shown before.
        """
        if query.view in EDGE_VIEWS:
            return self._local(query, scope)
        question = self._questions[query, scope]
        layout = self._layout_of(question)
        old = [group for group in layout.groups if not self._is_heard(group.member_id)]
        held = self._states.held
        parts = [
            compute_part(held[one].view_state, query, scope)
            for one in sorted(layout.own)
            if one in held
        ]
        parts += [group.part for group in layout.groups if group.part is not None]
        bad = set(layout.missing)
        for group in layout.groups:
            if group in old or not group.is_answered:
                bad |= group.partitions
        bad |= layout.own - held.keys()
        try:
            shown = merge_parts(query, parts, question.around)
        except GoneError:
            question.last = None
            if bad:
                # One of those that do not answer may hold it.
                raise NotYetError from None
            raise
        except NotCoveredError as error:
            self._ask_around(question, around_text(error.around))
            if question.last is None:
                raise NotYetError from None
            return question.last
        if bad:
            shown = shown._replace(partial=self._partial_of(query, shown, old, bad))
        question.last = shown
        return shown

    def _layout_of(self, question: _Question) -> Layout:
        """What to show of a question: the newest layout of which all is answered."""
        if question.next is not None and question.next.is_whole:
            if question.current is not None:
                self._drop(question.current)
            question.current, question.next = question.next, None
        if question.current is not None:
            return question.current
        layout = question.next
        if layout is None or _now() - question.asked_at < _FIRST_SEC:
            raise NotYetError
        return layout

    def _is_heard(self, member_id: str) -> bool:
        client = self.clients.get(member_id)
        return client is not None and _now() - client.heard_at < _SILENT_SEC

    def _partial_of(
        self, query: Query, shown: Window, old: list[PartGroup], bad: set[int]
    ) -> PartialView:
        rows = None
        if query.view == "tasks":
            keys = {key for group in old for key in keys_of(group.part)}
            rows = tuple(key for key in shown.rows if key in keys)
        return PartialView(why=self._why(bad), rows=rows)

    def _why(self, partitions: set[int]) -> tuple[str, ...]:
        missing = {one for one in partitions if one not in self._server_of}
        why = []
        if missing:
            why.append(f"{ranges(missing)} being rebuilt")
        if silent := partitions - missing:
            why.append(f"{ranges(silent)} not answering")
        return tuple(why)

    @property
    def partial(self) -> tuple[str, ...]:
        """What of all views is old or missing now, as sentences; empty: they are whole."""
        own = self._membership.own_id
        return self._why(
            {
                partition
                for partition in range(PARTITIONS)
                if (server := self._server_of.get(partition)) is None
                or (server != own and not self._is_heard(server))
            }
        )

    async def ask(self, query: Query, scope: Scope) -> Window:
        """
        Compute a view once, for a client that asks once (async); waits 1 s at most.

        Raises:
            GoneError: As ``window``.
            NotYetError: Those that may hold it have not answered in time.
        """
        if query.view in EDGE_VIEWS:
            return self._local(query, scope)
        self.opened(query, scope)
        question = self._questions[query, scope]
        deadline = _now() + _FIRST_SEC + 0.1
        try:
            while True:
                question.answered.clear()
                is_late = _now() >= deadline
                try:
                    shown = self.window(query, scope)
                    # Log lines are read when a node is watched: the first answer has none.
                    if is_late or shown.head.get("state") != "reading":
                        return shown
                except NotYetError:
                    if is_late:
                        raise
                try:
                    async with asyncio.timeout(0.05):
                        await question.answered.wait()
                except TimeoutError:
                    continue
        finally:
            self.closed(query, scope)

    # --- members ---------------------------------------------------------------------------------

    def _note_change(self) -> None:
        """Members, or what they serve, have changed."""
        if not self._is_running:
            return
        own = self._membership.own_id
        members = {key: one for key, one in self._membership.members.items() if key != own}
        for member_id in [key for key in self.clients if key not in members]:
            self._leave(member_id)
        for member_id, member in members.items():
            address = PeerAddress.parse(member.address)
            known = self.clients.get(member_id)
            if known is not None and known.address == address:
                known.is_leaving = member.is_leaving
                continue
            if known is not None:
                self._leave(member_id)
            client = PeerClient(member_id, address, self._token, self, self.counters)
            self.clients[member_id] = client
            client.start()
        serving = self._membership.serving()
        if serving != self._serving:
            self._serving = serving
            self._server_of = {one: key for key, served in serving.items() for one in served}
            for question in self._questions.values():
                self._lay_out(question)

    def _leave(self, member_id: str) -> None:
        task = asyncio.create_task(self.clients.pop(member_id).stop(), name="leave a member")
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    def _lay_out(self, question: _Question) -> None:
        """Ask for the parts of a question as the partitions are served now."""
        own = self._membership.own_id
        if question.next is not None:
            self._drop(question.next)
            question.next = None
        if question.current is not None and question.current.serving == self._serving:
            return
        layout = question.next = Layout(self._serving, own)
        for group in layout.groups:
            self._number += 1
            group.number = self._number
            self._groups[group.number] = question, group
            self._ask(question, group)

    def _drop(self, layout: Layout) -> None:
        for group in layout.groups:
            self._groups.pop(group.number, None)
            client = self.clients.get(group.member_id)
            if client is not None:
                client.unsubscribe(group.number)

    def _ask(self, question: _Question, group: PartGroup) -> None:
        client = self.clients.get(group.member_id)
        if client is None:
            return
        query, scope = question.query, question.scope
        client.subscribe(
            group.number,
            {
                "view": query.view,
                "params": query.params.model_dump(mode="json"),
                "scope": None if scope is None else sorted(scope),
                "partitions": sorted(group.partitions),
                "around": question.around,
            },
        )

    def _ask_around(self, question: _Question, around: str | None) -> None:
        """Ask again, for the rows around another one: those that came are not all of the window."""
        if around == question.around:
            return
        question.around = around
        for layout in question.layouts:
            for group in layout.groups:
                self._ask(question, group)

    def connected(self, client: PeerClient) -> None:
        """Ask a member for all that clients look at: it has forgotten what it was asked before."""
        for question, group in self._groups.values():
            if group.member_id == client.member_id:
                self._ask(question, group)

    def take_part(self, number: int, data: bytes) -> None:
        """Keep the newest part of a subscription."""
        found = self._groups.get(number)
        if found is None:
            return
        question, group = found
        try:
            group.part = decode_part(question.query, data)
        except Exception:
            self.counters["bad"] += 1
            if self.counters["bad"] == 1:
                logger.exception("a part of the view %s is unreadable", question.query.view)
            return
        group.is_answered = True
        question.answered.set()

    def peer_facts(self) -> Facts | None:
        """Return what the other members know of queues and workers; None: not all have said."""
        if self._membership.missing():
            return None
        now = _now()
        found: list[Any] = []
        for client in self.clients.values():
            if client.facts is None or now - client.facts_at > _FACTS_SEC:
                return None
            found.append(client.facts)
        return add_facts(found)


def _now() -> float:
    return asyncio.get_running_loop().time()
