"""A model as the snapshot that the recorded logs are kept with, for comparing their facts."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from otel_bridge_collector.log.decoding import decode_event
from otel_bridge_collector.model.events import ENQUEUE, KIND_NAMES, STATUS_NAMES, microseconds
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.nodes import Job, Node, Task, children
from otel_bridge_collector.model.reading.cards import Card
from otel_bridge_collector.model.reading.phases import PhaseRow

from otel_bridge.clock import iso_utc

__all__ = ["FIXTURES", "expected_facts", "fold_lines", "shown_facts"]

FIXTURES = Path(__file__).parents[1] / "fixtures"


def _iso(time_us: int | None) -> str | None:
    return None if time_us is None else iso_utc(time_us * 1000)


def fold_lines(lines: Iterable[bytes], now: datetime) -> Fold:
    """Fold a log line by line, judged each time as a collector that runs along would."""
    model = Fold()
    for line in lines:
        event = decode_event(line)
        seen = microseconds(event.ts)
        model.apply(event, seen)
        model.sweep(seen)
    model.sweep(microseconds(now))
    return model


def _duration(started: int | None, ended: int | None) -> float | None:
    return None if started is None or ended is None else (ended - started) / 1000


def _phase(row: PhaseRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "status": STATUS_NAMES[row.status],
        "started_at": _iso(row.started),
        "ended_at": _iso(row.ended),
        "total": row.total,
        "completed": row.completed,
        "failed": row.failed,
        "pending": row.pending,
        "retrying": row.retrying,
        "rate_per_sec": row.rate,
        "message": row.message,
    }


def _bar(model: Fold, node: Node, card: Card) -> dict[str, Any] | None:
    state = model.rows.state(node, card.ended)
    parent = node.parent
    queued = node.start if node.kind == ENQUEUE else None
    if node.kind == ENQUEUE:
        is_run = any(kid.kind > ENQUEUE for kid in children(node))
        if is_run or card.ended is not None:
            return None
    elif type(parent) is Node and parent.kind == ENQUEUE:
        queued = parent.start
    own = node.own
    job_id = own.id if type(own) is Job else None
    return {
        "span_id": f"{node.key or 0:016x}",
        "kind": KIND_NAMES[node.kind],
        "task_id": job_id or (own.task.id if KIND_NAMES[node.kind] == "research_task" else None),
        "worker_id": getattr(getattr(node.worker, "worker", node.worker), "id", None),
        "status": STATUS_NAMES[state.status],
        "retry_count": node.attempt,
        "queued_at": _iso(queued),
        "started_at": None if node.kind == ENQUEUE else _iso(node.start),
        "ended_at": _iso(state.ended),
        "duration_ms": _duration(node.start, node.end) if node.ended else None,
        "error": node.error,
    }


def _card(model: Fold, task: Task) -> dict[str, Any]:
    card = model.cards.card(task)
    bars = [_bar(model, node, card) for node, _ in model.rows.nodes(task)]
    return {
        "task_id": card.task_id,
        "title": card.title,
        "task_type": card.task_type,
        "domain": card.domain,
        "project_id": card.project_id,
        "trace_id": card.trace_id,
        "status": STATUS_NAMES[card.status],
        "current_phase": card.current_phase,
        "started_at": _iso(card.started),
        "ended_at": _iso(card.ended),
        "last_event_at": _iso(card.last_event),
        "eta_sec": card.eta_sec,
        "completed": card.completed,
        "failed": card.failed,
        "pending": card.pending,
        "retries": card.retries,
        "error": card.error,
        "message": card.message,
        "phases": [_phase(row) for row in card.phases],
        "spans": sorted((bar for bar in bars if bar), key=lambda bar: bar["span_id"]),
    }


def _worker(model: Fold, worker_id: str) -> dict[str, Any]:
    worker = model.workers.by_id[worker_id]
    newest = worker.newest
    status = model.workers.status(worker, model.liveness.now)
    running = [job for job in worker.open if STATUS_NAMES[job.st] == "processing"]
    job = max(running, key=lambda one: (one.win.first if one.win else 0, one.id), default=None)
    return {
        "worker_id": worker.id,
        "status": status,
        "host": newest.host if newest else None,
        "pid": newest.pid if newest else None,
        "last_heartbeat_at": _iso(worker.last_seen),
        "current_task_id": job.id if job and status == "online" else None,
        "completed": worker.completed,
        "failed": worker.failed,
        "dropped_events": newest.note[1] if newest else 0,
    }


def _failures(model: Fold) -> list[dict[str, Any]]:
    found = []
    for task, groups in model.failures.of_task.items():
        for cause, group in groups.items():
            newest = group.newest()[0]
            own = newest.own
            found.append(
                {
                    "key": cause if task.project is None else f"{task.project}: {cause}",
                    "error": newest.error,
                    "count": group.count,
                    "first_at": _iso(group.first),
                    "last_at": _iso(group.last),
                    "task_ids": [own.id if type(own) is Job else own.task.id],
                    "parent_task_ids": [task.id],
                    "project_id": task.project,
                }
            )
    return sorted(found, key=lambda group: (group["last_at"], group["key"]), reverse=True)


def shown_facts(model: Fold) -> dict[str, Any]:
    """What a model shows, in the words of the snapshot."""
    tasks = [task for task in model.tasks.by_id.values() if model.tasks.is_shown(task)]
    return {
        "tasks": sorted((_card(model, task) for task in tasks), key=lambda card: card["task_id"]),
        "workers": [_worker(model, worker) for worker in sorted(model.workers.by_id)],
        "queues": {
            queue.name: queue.depth[1] for queue in model.queues.by_name.values() if queue.depth
        },
        "failures": _failures(model),
    }


def expected_facts(name: str) -> tuple[list[bytes], datetime, dict[str, Any]]:
    """A recorded log, the moment of its snapshot, and the facts in that."""
    lines = (FIXTURES / f"{name}.jsonl").read_bytes().splitlines()
    snapshot = json.loads((FIXTURES / f"{name}.snapshot.json").read_bytes())
    cards = []
    for card in snapshot["tasks"]:
        card.pop("duration_ms")
        for phase in card["phases"]:
            phase.pop("duration_ms")
        for bar in card["spans"]:
            for field in ("parent_span_id", "trace_id", "name", "phase", "task_type"):
                bar.pop(field)
        card["spans"].sort(key=lambda bar: bar["span_id"])
        cards.append(card)
    workers = [
        {key: value for key, value in worker.items() if key in _WORKER_FACTS}
        for worker in snapshot["workers"]
    ]
    failures = [
        {key: value for key, value in group.items() if key not in ("task_type", "phase")}
        for group in snapshot["failures"]
    ]
    facts = {
        "tasks": sorted(cards, key=lambda card: card["task_id"]),
        "workers": sorted(workers, key=lambda worker: str(worker["worker_id"])),
        "queues": {queue["queue"]: queue["depth"] for queue in snapshot["queues"]},
        "failures": failures,
    }
    return lines, datetime.fromisoformat(snapshot["server_time"]), facts


_WORKER_FACTS = (
    "worker_id",
    "status",
    "host",
    "pid",
    "last_heartbeat_at",
    "current_task_id",
    "completed",
    "failed",
    "dropped_events",
)
