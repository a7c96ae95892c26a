"""
Histories folded by the states of 24 partitions, and what their parts of a view show together.

Members are groups of partitions: each sends one part for each partition, or one for all of them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from otel_bridge_collector.cluster.partitions import PARTITIONS
from otel_bridge_collector.cluster.parts import (
    EDGE_VIEWS,
    NotCoveredError,
    around_text,
    compute_part,
    decode_part,
    encode_part,
    join_parts,
    merge_parts,
)
from otel_bridge_collector.cluster.routing import Router
from otel_bridge_collector.cluster.states import States
from otel_bridge_collector.model.events import Event, microseconds
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.stream.ring import ReplayRing
from otel_bridge_collector.views.catalog import Query, Views
from otel_bridge_collector.views.listing import GoneError, Scope, Window
from otel_bridge_collector.views.state import ViewState

from tests.support.faults import FakeClock
from tests.support.histories import append_to, history

__all__ = ["ask", "histories", "one_state", "partition_states", "seen_by_one", "shown"]

_ASKED_AT_MOST: Final = 3


def histories(*seeds: int) -> list[Event]:
    """Several random histories at once: tasks, traces and spans of each, the same workers."""
    found: list[Event] = []
    for number, seed in enumerate(seeds):
        found += [_renamed(one, number) for one in history(seed)]
    return sorted(found, key=lambda one: one.ts)


def _renamed(one: Event, number: int) -> Event:
    fields: dict[str, Any] = {name: getattr(one, name) for name in one.__struct_fields__}
    fields["event_id"] = f"{number}-{fields['event_id']}"
    for name in ("span_id", "parent_span_id", "trace_id", "parent_task_id", "task_id"):
        fields[name] = _renamed_id(fields[name], number)
    spans = fields["spans"]
    fields["spans"] = spans and [_renamed_id(span, number) for span in spans]
    return Event(**fields)


def _renamed_id(text: str | None, number: int) -> str | None:
    if text is None:
        return None
    if len(text) in (16, 32):
        return f"{number:02x}{text[2:]}"
    return f"{text}.{number}" if text.startswith("t") else text


def one_state(events: Sequence[Event], now: int) -> ViewState:
    """One state that folds all events."""
    model, clock = Fold(), FakeClock()
    for one in events:
        model.apply(one, microseconds(one.ts))
    state = ViewState(model, ring=append_to(ReplayRing("e:0", 10_000), events), clock=clock)
    for _ in range(3):
        state.refresh(now)
        clock.advance(1)
    return state


def partition_states(events: Sequence[Event], now: int) -> States:
    """A state for each partition, which have exchanged facts."""
    clock, ring = FakeClock(), ReplayRing("e:0", 10_000)
    states = States(ring=ring, clock=clock)
    for partition in range(PARTITIONS):
        states.open(partition).is_ready = True
    router = Router(states, ring)
    for one in events:
        router.admit([one.event_id])
        router.fold(one, microseconds(one.ts))
        append_to(ring, [one])
    for _ in range(3):
        states.refresh(now)
        states.exchange()
        clock.advance(1)
    return states


def ask(
    states: States, query: Query, scope: Scope, members: int, *, is_joined: bool = False
) -> Window:
    """
    Merge what several members send of a view, asked again while the window is not covered.

    Args:
        states: All partitions.
        query: The view.
        scope: The reader's projects.
        members: So many, which hold as many partitions each.
        is_joined: Each sends one part for all its partitions.
    """
    if query.view in EDGE_VIEWS:
        data = encode_part(query, compute_part(states.front, query, scope))
        return merge_parts(query, [decode_part(query, data)])
    around: str | None = None
    for _ in range(_ASKED_AT_MOST):
        parts = []
        for member in range(members):
            own = [
                compute_part(states.held[number].view_state, query, scope)
                for number in range(member, PARTITIONS, members)
            ]
            if is_joined:
                own = [join_parts(query, own, around)]
            parts += [decode_part(query, encode_part(query, part, around)) for part in own]
        try:
            return merge_parts(query, parts, around)
        except NotCoveredError as error:
            around = around_text(error.around)
    raise AssertionError(f"{query} is not covered by the parts for it")


_OF_A_PROJECT: Final = ("jobs_ended_per_sec", "jobs_ended_by_second", "events_per_sec")


def shown(window: Window) -> Any:
    """
    A window to be compared, without rates that depend on when a model was swept.

    Nor with those of projects: an event counts in the project that its task was known to have when
    it came, and where it came to another state first, that may be unknown.
    """
    head = json.loads(msgspec.json.encode(window.head))
    if head.get("events", 0) is None:
        for name in (*_OF_A_PROJECT, "error_rate_1m", "error_rate_5m"):
            del head[name]
    if head.get("names"):
        # By its heartbeats alone, which all states know, a worker may be "0", and 0 by its jobs.
        head["names"] = sorted(map(str, head["names"]))
    rows = {key: json.loads(row) for key, row in window.rows.items()}
    for row in rows.values():
        row.pop("eta_sec", None)
        for phase in row.get("phases", ()):
            phase.pop("rate")
    return head, list(rows.items())


def seen_by_one(state: ViewState, query: Query, scope: Scope) -> Any:
    """What one state shows, or why it does not."""
    try:
        return shown(Views(state).window(query, scope))
    except GoneError as gone:
        return gone.why
