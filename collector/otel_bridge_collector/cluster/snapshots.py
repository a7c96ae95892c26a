"""
Snapshots and numbers over the wire: what the states of a member say, as bytes, and all merged.

For ``GET /monitor/snapshot``, ``snapshot=true`` of the raw stream, ``GET /tasks`` and the leader's
``stats_snapshot``. Each member joins what its own states say and sends it once; the events of a
snapshot are those of the edge's own ring. A snapshot takes two questions: the second is for the
cards of the tasks that are in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from otel_bridge_collector.cluster.parts import PartError
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.snapshot.header import (
    Header,
    HeaderPart,
    header_part,
    join_headers,
)
from otel_bridge_collector.stream.snapshot_parts import (
    SnapshotPart,
    TasksPart,
    cards_part,
    failures_of,
    join_snapshots,
    join_tasks,
    queues_of,
    research_tasks_of,
    shown_ids,
    snapshot_part,
    stats_of,
    tasks_of,
    tasks_part,
    workers_of,
)
from otel_bridge_collector.wire.filters import EventFilter
from otel_bridge_collector.wire.messages import SnapshotMessage

__all__ = [
    "encode_cards",
    "encode_filter",
    "encode_numbers",
    "encode_snapshot",
    "encode_tasks",
    "merge_numbers",
    "merge_snapshots",
    "merge_tasks",
    "read_filter",
    "shown_ids",
    "snapshot_message",
]

_encode: Final = msgspec.msgpack.Encoder().encode
_numbers: Final = msgspec.msgpack.Decoder(HeaderPart)
_snapshot: Final = msgspec.msgpack.Decoder(SnapshotPart)
_cards: Final = msgspec.msgpack.Decoder(dict[str, bytes])
_tasks: Final = msgspec.msgpack.Decoder(TasksPart)


class _Filter(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """Of an ``EventFilter`` what says which tasks a client sees."""

    project: str | None = None
    task: str | None = None
    projects: list[str] | None = None


def encode_filter(event_filter: EventFilter) -> str:
    """Return what of a filter concerns states, as JSON: not the types of events."""
    projects = event_filter.projects
    return msgspec.json.encode(
        _Filter(
            event_filter.project_id,
            event_filter.task_id,
            None if projects is None else sorted(projects),
        )
    ).decode()


def read_filter(text: str) -> EventFilter:
    """
    Read what ``encode_filter`` made.

    Raises:
        PartError: It is something else.
    """
    try:
        found = msgspec.json.decode(text, type=_Filter)
    except msgspec.MsgspecError as error:
        raise PartError(f"filter: {error}") from None
    projects = None if found.projects is None else frozenset(found.projects)
    return EventFilter(project_id=found.project, task_id=found.task, projects=projects)


def _read(decoder: msgspec.msgpack.Decoder[Any], parts: Iterable[bytes]) -> list[Any]:
    try:
        return [decoder.decode(data) for data in parts]
    except msgspec.MsgspecError as error:
        raise PartError(f"no part of a snapshot: {error}") from None


# --- the leader's numbers ------------------------------------------------------------------------


def encode_numbers(models: Iterable[Fold]) -> bytes:
    """
    Return the numbers of the header that some states, at least one, know; on their event loop.

    Args:
        models: Those of the partitions that were asked for, evaluated now.
    """
    return _encode(join_headers([header_part(model) for model in models]))


def merge_numbers(parts: Iterable[bytes]) -> Header:
    """
    Merge what ``encode_numbers`` of all members, at least one, returned.

    Raises:
        PartError: One of them is no such bytes.
    """
    return Header(part=join_headers(_read(_numbers, parts)))


# --- snapshots -----------------------------------------------------------------------------------


def encode_snapshot(
    models: Iterable[Fold], event_filter: EventFilter, queues: Sequence[str]
) -> bytes:
    """
    Return what some states, at least one, say in a snapshot; on their event loop.

    Args:
        models: Those of the partitions that were asked for, evaluated now.
        event_filter: What the client may see and asks for.
        queues: Names of the coordinator's queues, which are listed first.
    """
    parts = [snapshot_part(model, event_filter, queues) for model in models]
    return _encode(join_snapshots(parts))


def merge_snapshots(parts: Iterable[bytes]) -> SnapshotPart:
    """
    Merge what ``encode_snapshot`` of all members, at least one, returned.

    ``shown_ids`` of it are the tasks whose cards are needed.

    Raises:
        PartError: One of them is no such bytes.
    """
    return join_snapshots(_read(_snapshot, parts))


def encode_cards(models: Iterable[Fold], event_filter: EventFilter, ids: Sequence[str]) -> bytes:
    """
    Return the cards of a snapshot that some states have; on their event loop.

    Args:
        models: As of ``encode_snapshot``.
        event_filter: Likewise.
        ids: All tasks of the snapshot, in their order.
    """
    found: dict[str, bytes] = {}
    for model in models:
        found.update(cards_part(model, event_filter, ids))
    return _encode(found)


def snapshot_message(
    part: SnapshotPart,
    cards: Iterable[bytes],
    event_filter: EventFilter,
    *,
    position: str,
    server_time: str,
    events: Sequence[Mapping[str, Any]],
) -> SnapshotMessage:
    """
    Make the snapshot of a whole cluster.

    Args:
        part: Of ``merge_snapshots``.
        cards: Of each member what ``encode_cards`` returned.
        event_filter: What the client may see and asks for.
        position: The edge's, at which the snapshot is valid: the members are asked after it.
        server_time: ISO 8601 UTC.
        events: The newest events of the edge's ring.

    Raises:
        PartError: The cards of a member are no such bytes.
    """
    return SnapshotMessage(
        position=position,
        server_time=server_time,
        tasks=tasks_of(part, _read(_cards, cards)),
        workers=workers_of(part, event_filter.project_id),
        queues=queues_of(part),
        failures=failures_of(part),
        stats=stats_of(part, event_filter),
        events=[dict(one) for one in events],
    )


# --- lists of tasks ------------------------------------------------------------------------------


def encode_tasks(models: Iterable[Fold], event_filter: EventFilter, limit: int) -> bytes:
    """
    Return the first tasks of some states, at least one; on their event loop.

    Args:
        models: As of ``encode_snapshot``.
        event_filter: Likewise.
        limit: Tasks, at most.
    """
    parts = [tasks_part(model, event_filter, limit, has_titles=True) for model in models]
    return _encode(join_tasks(parts, limit))


def merge_tasks(parts: Iterable[bytes], limit: int) -> tuple[list[dict[str, str | None]], int]:
    """
    Merge what ``encode_tasks`` of all members returned.

    Returns:
        As ``Snapshots.research_tasks``: the first tasks, and how many there are.

    Raises:
        PartError: One of them is no such bytes.
    """
    joined = join_tasks(_read(_tasks, parts), limit)
    return research_tasks_of(joined, limit), joined.total
