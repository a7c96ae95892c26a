"""
``ViewGroups``: computes each view once for all clients that have subscribed to it.

Subscriptions with equal view, parameters and scope form a group, which has one number for all its
clients, so that their bytes are equal: each message is made once. Computing costs 0.4 to 0.95 ms a
tick for each group (prototype at 4 Hz), and nothing more for a further client of it.

Pace: a view is computed at each tick, but ``tasks`` and ``events`` at most twice a second, and of
``events`` at most 20 new rows come at once: after more, only those are shown until it is quiet, so
that the window has no hole. These two are most of the bytes (8.5 and up to 22 kB a change at 5,000
events/s), and people do not read faster. The first window is never delayed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Final, Literal, Protocol

from otel_bridge.clock import Clock
from otel_bridge_collector.stream.shared_message import SharedMessage
from otel_bridge_collector.stream.view_session import Group
from otel_bridge_collector.views.catalog import Query
from otel_bridge_collector.views.changes import change_message, full_message, limit_new_rows
from otel_bridge_collector.views.listing import GoneError, NotYetError, Scope, Window
from otel_bridge_collector.wire.views.messages import Gone

__all__ = ["MAX_GROUPS", "GroupWatch", "ViewGroups", "ViewsCounters"]

logger = logging.getLogger(__name__)

_INTERVAL_SEC: Final = {"events": 0.5, "lines": 0.25, "tasks": 0.5}
"""Views that are not computed at each tick, but after so long."""
_MAX_NEW_ROWS: Final = {"events": 20}
"""Views that show the newest rows without a hole, of which at most so many come at once."""
MAX_GROUPS: Final = 2000
"""Different views that one collector computes, at most."""
_MAX_GROUPS_OF: Final = {"lines": 200}
"""Of these views so many: each group of ``lines`` is a node that is read four times a second."""


class GroupWatch(Protocol):
    """What learns which views are looked at, as ``cluster.edge.views`` does. No method waits."""

    def opened(self, query: Query, scope: Scope) -> None:
        """The first client subscribes to this query in this scope."""

    def closed(self, query: Query, scope: Scope) -> None:
        """The last client of it has left."""


class ViewsCounters:
    """
    Numbers that count from 0 at the start and are never reset; all in ``/metrics``.

    A record, as ``ViewsHub.counters``, for the hub's event loop; checks nothing.

    Attributes:
        changes: ``change`` messages made, counted once for all clients of a group.
        fulls: Whole windows (``full`` messages) written, counted once for each client.
        skipped: Times that a client was left out of a tick because it did not keep up. Nothing is
            lost: it gets the latest state later.
        refused: Messages of clients that were not carried out, answered with ``refused`` or, if
            they came too fast, not answered. Those of an unknown kind are ignored and not counted.
        errors: Times that a view could not be computed; each is logged.
        slow_closed: Clients closed because they did not keep up for ``timeout_sec`` (3008).
    """

    __slots__ = ("changes", "errors", "fulls", "refused", "skipped", "slow_closed")

    def __init__(self) -> None:
        self.changes = 0
        self.fulls = 0
        self.skipped = 0
        self.refused = 0
        self.errors = 0
        self.slow_closed = 0


class ViewGroups:
    """
    All groups of one collector: what is subscribed to, and what each shows.

    All methods belong to the event loop of the hub and never block. There are at most 2,000 groups;
    the hub asks ``has_room`` before it opens one.

    Args:
        refresh: Brings the model up to date.
        window: Computes one window as of the latest refresh.
        counters: Where changes and errors are counted.
        clock: Source of the time.
        watch: Learns of each group that is opened and closed, where other processes compute a part
            of it; default None.
    """

    def __init__(
        self,
        *,
        refresh: Callable[[], None],
        window: Callable[[Query, Scope], Window],
        counters: ViewsCounters,
        clock: Clock,
        watch: GroupWatch | None = None,
    ) -> None:
        self._refresh = refresh
        self._window = window
        self._counters = counters
        self._clock = clock
        self._watch = watch
        self._groups: dict[tuple[Query, Scope], Group] = {}
        self._number = 0

    def __len__(self) -> int:
        return len(self._groups)

    def __iter__(self) -> Iterator[Group]:
        return iter(list(self._groups.values()))

    def has_room(self, query: Query, scope: Scope) -> bool:
        """
        Return whether ``open`` can be called; never raises.

        True if the group exists, or there are under 2,000, and of ``lines`` under 200.

        Args:
            query: A view's name and its checked parameters.
            scope: The projects that its clients may see; None: all.
        """
        if (query, scope) in self._groups:
            return True
        limit = _MAX_GROUPS_OF.get(query.view)
        if limit is not None and self.count_of(query.view) >= limit:
            return False
        return len(self._groups) < MAX_GROUPS

    def count_of(self, view: str) -> int:
        """Return the number of groups of one view; never raises."""
        return sum(query.view == view for query, _ in self._groups)

    @staticmethod
    def limit_of(view: str) -> int:
        """Return how many groups of one view there can be; never raises."""
        return _MAX_GROUPS_OF.get(view, MAX_GROUPS)

    def open(self, query: Query, scope: Scope) -> Group:
        """
        Return the group of a query, and compute it if it is new; never raises.

        Args:
            query: A view's name and its checked parameters.
            scope: The projects that its clients may see; None: all.
        """
        group = self._groups.get((query, scope))
        if group is None:
            self._number += 1
            group = self._groups[query, scope] = Group(self._number, query, scope)
            if self._watch is not None:
                self._watch.opened(query, scope)
            self._compute_first(group)
        return group

    def close(self, group: Group) -> None:
        """Forget a group that has no clients left; one that is not here raises ``KeyError``."""
        del self._groups[group.query, group.scope]
        if self._watch is not None:
            self._watch.closed(group.query, group.scope)

    def refresh(self) -> None:
        """Bring the model up to date; what that raises passes through."""
        self._refresh()

    def compute(self, group: Group) -> SharedMessage | None:
        """
        Compute what a group shows as of the latest refresh, if it is due; never raises.

        ``tasks`` and ``events`` are due 0.5 s after the last time, ``lines`` 0.25 s, others always.
        If it has left, or can be shown again, every client of it lacks that (``group.sessions``)
        and needs its ``whole``. A view that cannot be computed is logged and counted, and shows
        what it showed before; so does one that other processes have not answered yet, and it is due
        again at once.

        Returns:
            What has changed in its window, for all its clients; None: nothing, or not so little.
        """
        now = self._clock.monotonic()
        if now < group.due_at:
            return None
        group.due_at = now + _INTERVAL_SEC.get(group.query.view, 0.0)
        try:
            shown = self._window(group.query, group.scope)
        except NotYetError:
            group.due_at = 0.0
            return None
        except GoneError as gone:
            self._leave(group, gone.why)
            return None
        except Exception:
            self._note_error(group)
            return None
        return self._show(group, shown)

    def whole(self, group: Group) -> SharedMessage | None:
        """Return what shows a group to a client that has nothing of it; None: nothing is known."""
        if group.whole is None:
            if group.shown is None and group.gone is None:
                return None
            if group.shown is None:
                gone = Gone(s=group.number, why=group.gone)
                message = gone.model_dump_json().encode()
            else:
                message = full_message(group.number, group.version, self._at_ms(), group.shown)
            group.whole = SharedMessage(message)
        return group.whole

    def _compute_first(self, group: Group) -> None:
        try:
            self._refresh()
        except Exception:
            self._note_error(group)
        else:
            self.compute(group)

    def _show(self, group: Group, shown: Window) -> SharedMessage | None:
        old, limit = group.shown, _MAX_NEW_ROWS.get(group.query.view)
        if old is not None and limit is not None:
            shown = limit_new_rows(old, shown, limit)
        group.shown = shown
        if old is None:
            group.version += 1
            group.gone = None
            group.replace()
            return None
        message = change_message(group.number, group.version + 1, self._at_ms(), old, shown)
        if message is None:
            return None
        group.version += 1
        group.whole = None
        self._counters.changes += 1
        return SharedMessage(message)

    def _leave(self, group: Group, why: Literal["unknown", "evicted", "error"]) -> None:
        if group.gone != why:
            group.gone = why
            group.shown = None
            group.replace()

    def _note_error(self, group: Group) -> None:
        self._counters.errors += 1
        logger.exception("the view %s could not be computed", group.query.view)
        if group.shown is None and group.gone is None:
            self._leave(group, "error")

    def _at_ms(self) -> int:
        return self._clock.time_ns() // 1_000_000
