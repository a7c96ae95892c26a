"""Events routed into the states of a cluster's member, as its reader of the log does it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from otel_bridge_collector.cluster.partitions import PARTITIONS
from otel_bridge_collector.cluster.routing import Router
from otel_bridge_collector.cluster.states import States
from otel_bridge_collector.log.decoding import decode_event
from otel_bridge_collector.log.late_projects import LateProjects
from otel_bridge_collector.model.events import Event, microseconds
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.reading.projects import project_of
from otel_bridge_collector.stream.ring import Entry, ReplayRing

from tests.support.histories import digest

__all__ = ["RoutedEvents", "encoded", "shown_of"]


def encoded(event: Event, position: str) -> bytes:
    """An event as the log holds it."""
    fields = {name: getattr(event, name) for name in event.__struct_fields__}
    fields["position"] = position
    sent = {name: value for name, value in fields.items() if value not in (None, msgspec.Raw())}
    return msgspec.json.encode(sent)


class RoutedEvents:
    """
    A member that holds some partitions, and what it gave to raw clients.

    Args:
        partitions: Those it holds; by default all.
        ring_events: How many events its ring holds.
    """

    def __init__(
        self, partitions: Iterable[int] = range(PARTITIONS), ring_events: int = 20_000
    ) -> None:
        self.ring = ReplayRing("e:0", ring_events)
        self.states = States(ring=self.ring)
        self.router = Router(self.states, self.ring)
        self.late = LateProjects(self.ring, self.router.tasks)
        self.number = 0
        for partition in partitions:
            self.states.open(partition).is_ready = True

    def add(self, events: Iterable[Event]) -> None:
        """Route events as read back from the log, each received at its own time."""
        for event in events:
            self.number += 1
            position = f"e:{self.number}"
            if self.number % 64 == 1:
                self.router.note_block(f"e:{self.number - 1}")
            data = encoded(event, position)
            one = decode_event(data)
            if self.router.admit([one.event_id]) == [False]:
                continue  # a repeat
            self.router.fold(one, microseconds(one.ts))
            project = one.project_id or project_of(self.router.task)
            ids = project, one.parent_task_id, one.task_id
            entry = Entry(position, data, one.event_type, *ids)
            self.ring.append(entry)
            self.late.note(entry, self.router.task, one.trace_id)

    def judge(self, now: int) -> None:
        """Evaluate all states, with what they know of each other."""
        self.states.sweep(now)
        self.states.exchange()
        self.states.sweep(now)

    @property
    def models(self) -> Mapping[int, Fold]:
        """The models by partition."""
        return {number: state.model for number, state in self.states.held.items()}


def shown_of(models: Iterable[Fold]) -> dict[str, object]:
    """What readers see of tasks and spans in several models; fails if two have one of them."""
    found: dict[str, object] = {}
    for model in models:
        for name, facts in digest(model).items():
            if name.startswith(("worker ", "queue ")) or name == "task ":
                continue
            assert name not in found, f"{name} is in two states"
            found[name] = facts
    return found
