"""
Random histories of work, and what a model says of them, for tests of its order.

A history is plausible: tasks with phases that run again, nested agents, enqueues that fail,
retries, runs and attempts, lost workers, emptied queues; reported in part, by publishers with spans
and without, of two projects, some of them knowing no more than their trace.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from msgspec.structs import replace
from otel_bridge_collector.model.events import (
    JOB,
    PENDING,
    RETRYING,
    STATUS_NAMES,
    Event,
    microseconds,
)
from otel_bridge_collector.model.eviction import Limits
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.nodes import (
    Job,
    More,
    Node,
    Task,
)
from otel_bridge_collector.model.runs import is_open, runs_of, winner
from otel_bridge_collector.model.shape.containers import is_in_phase
from otel_bridge_collector.model.tasks import has_own_facts
from otel_bridge_collector.stream.ring import Entry, ReplayRing

__all__ = [
    "START",
    "TRACE",
    "append_to",
    "digest",
    "disagreeing",
    "event",
    "fold",
    "fold_every_way",
    "history",
    "moment",
    "recount_differences",
    "span",
]

START: Final = datetime(2026, 11, 24, 12, tzinfo=UTC)
TRACE: Final = "ab" * 16
_decode: Final = msgspec.json.Decoder(Event).decode
_MAX_EVENTS: Final = 400


def moment(seconds: float) -> int:
    """That many seconds after the story's start, microseconds."""
    return microseconds(START + timedelta(seconds=seconds))


def span(number: int) -> str:
    """A span id."""
    return f"{number:016x}"


_numbers = iter(range(10**9))


def event(seconds: float, event_type: str, **fields: Any) -> Event:
    """An event of a story, decoded from its JSON as the log holds it."""
    ts = (START + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    given = {name: value for name, value in fields.items() if value is not None}
    event_id = given.pop("event_id", f"event-{next(_numbers)}")
    return _decode(
        json.dumps({"event_id": event_id, "ts": ts, "event_type": event_type, **given}).encode()
    )


def fold(
    events: Iterable[Event],
    seconds: float | None = None,
    *,
    limits: Limits | None = None,
    sweeps: Iterable[int] = (),
) -> Fold:
    """
    Fold events as read back from the log, and judge what is open.

    Args:
        events: In any order.
        seconds: When to judge; None: not at all.
        limits: As of ``Fold``.
        sweeps: Indexes of events before which what is open is judged as well, at that moment.
    """
    model = Fold(limits)
    when = set(sweeps)
    latest = 0
    for index, one in enumerate(events):
        if index in when and seconds is not None:
            model.sweep(min(latest, moment(seconds)))
        seen = microseconds(one.ts)
        latest = max(latest, seen)
        model.apply(one, seen)
    if seconds is not None:
        model.sweep(moment(seconds))
    return model


def append_to(ring: ReplayRing, events: Iterable[Event]) -> ReplayRing:
    """Append events as they travel, each with a position that its id gives it."""
    for one in events:
        fields = {name: getattr(one, name) for name in one.__struct_fields__}
        position = fields["position"] = f"e:{one.event_id}"
        sent = {name: value for name, value in fields.items() if value not in (None, msgspec.Raw())}
        data = msgspec.json.encode(sent)
        ids = one.project_id, one.parent_task_id, one.task_id
        ring.append(Entry(position, data, one.event_type, *ids))
    return ring


def fold_every_way(events: Sequence[Event], seconds: float, ways: int = 60) -> Fold:
    """
    Fold a story in many orders, half of the events repeated, half of the ways without event ids.

    Every way must say the same; the model of the story's own order is returned.
    """
    model = fold(events, seconds)
    expected = digest(model)
    assert recount_differences(model) == []
    for seed in range(1, ways):
        chooser = random.Random(seed)
        shuffled = list(events)
        chooser.shuffle(shuffled)
        shuffled += chooser.sample(shuffled, len(shuffled) // 2)
        limits = Limits(event_ids=1) if seed % 2 else None
        sweeps = [chooser.randrange(len(shuffled) + 1) for _ in range(seed % 3)]
        other = fold(shuffled, seconds, limits=limits, sweeps=sweeps)
        assert digest(other) == expected, f"order {seed}"
        assert recount_differences(other) == []
    return model


# --- what a model says ----------------------------------------------------------------------------


def _path(at: Node | Task | None) -> tuple[object, ...]:
    found: list[object] = []
    while type(at) is Node:
        found.append(("phase", at.name) if at.key is None else at.key)
        at = at.up
    return tuple(found)


def _label(node: Node) -> tuple[object, ...]:
    return (node.key,) if node.key is not None else (node.kind, node.attempt, node.run)


def _facts(node: Node) -> tuple[object, ...]:
    own = node.own
    parent = node.parent
    return (
        node.kind,
        node.name,
        node.phase,
        node.start,
        None if is_open(node) and not node.ended else (node.end, node.ended, node.error),
        is_open(node),
        node.attempt,
        node.run,
        node.queue,
        own.task.id,
        own.id if type(own) is Job else None,
        parent.key if type(parent) is Node else parent,
        type(parent) is Node,
        _path(node.up),
        tuple(node.agg) if node.agg and any(node.agg) else None,
        None if node.worker is None else _host(node),
        _rare_facts(node),
    )


def _rare_facts(node: Node) -> tuple[object, ...]:
    more = node.more or More()
    return (
        more.word,
        more.beat_ms,
        sorted((more.counts or {}).items()),
        more.title,
        more.message,
        more.progress,
        more.cause,
        more.error_key,
    )


def _host(node: Node) -> tuple[str, str]:
    host = node.worker
    worker = getattr(host, "worker", host)
    return str(getattr(worker, "id", "")), str(getattr(host, "key", ""))


def _job(model: Fold, job: Job) -> tuple[object, ...]:
    verdict = model.liveness.job_verdict(job)
    assert job.win is not None
    runs = [
        (
            [(_label(node), run.numbers[node]) for node in run.enqueues],
            [(_label(node), run.numbers[node]) for node in run.attempts],
        )
        for run in runs_of(job)
    ]
    return STATUS_NAMES[job.st], _path(job.at), _label(job.win), verdict, runs


def _task(model: Fold, task: Task) -> tuple[object, ...]:
    card = model.cards.card(task)
    groups = model.failures.of_task.get(task, {})
    return (
        tuple(task.agg[:6]),
        {job.id: _job(model, job) for job in task.jobs.values()},
        replace(card, phases=[replace(phase, rate=None) for phase in card.phases], eta_sec=None),
        model.tasks.is_shown(task),
        sorted(
            str(node.key or node.name)
            for node in task.tops
            if not is_in_phase(node.up) and (node.key is not None or any(node.agg or ()))
        ),
        {
            cause: (group.count, group.first, group.last, [_label(n) for n in group.newest()])
            for cause, group in groups.items()
        },
        task.is_mixed,
        [
            (_label(node), depth, model.rows.state(node, card.ended))
            for node, depth in model.rows.nodes(task)
        ],
    )


def digest(model: Fold) -> dict[str, object]:
    """Everything that a reader can see of a model, to be compared whole."""
    found: dict[str, object] = {}
    for task in model.tasks.by_id.values():
        phases = [node for node in task.tops if node.key is not None or has_own_facts(node)]
        if task.jobs or task.roots or task.spans or phases:
            found[f"task {task.id}"] = _task(model, task)
    for key, node in model.tree.nodes.items():
        found[f"node {key:x}"] = _facts(node)
    now = model.liveness.now
    for worker in model.workers.by_id.values():
        found[f"worker {worker.id}"] = (
            model.workers.status(worker, now),
            worker.completed,
            worker.failed,
            worker.last_seen,
            sorted((job.task.id, job.id) for job in worker.open),
            sorted(one.key for one in model.workers.living(worker, now)),
            sorted(
                (one.key, one.queues or (0, ()), one.completed, one.failed)
                for one in worker.incarnations.values()
            ),
        )
    for queue in model.queues.by_name.values():
        lines = (queue.pending, queue.lost, queue.running)
        jobs = [sorted((job.task.id, job.id) for job in line) for line in lines]
        if queue.depth is not None or any(jobs):
            found[f"queue {queue.name}"] = (
                queue.depth,
                queue.priorities,
                queue.oldest(now),
                queue.trend(0),
                queue.filled_since(),
                queue.fell_at(),
                *jobs,
            )
    return found


def recount_differences(model: Fold) -> list[str]:
    """Statuses and aggregates that differ from judging and counting everything again."""
    wrong = []
    expected: dict[Node | Task, list[int]] = {}
    for task in model.tasks.by_id.values():
        for job in task.jobs.values():
            at: Node | Task | None = job.at
            node, evidence = winner(job)
            status = model.liveness.status_of(job, node, evidence)
            if status == PENDING and node.attempt:
                status = RETRYING
            if job.win is not node or job.st != status:
                wrong.append(f"{job.id} is {STATUS_NAMES[status]}, not {STATUS_NAMES[job.st]}")
            if at is not node.up or not _is_latest(node, job):
                wrong.append(f"{job.id} is counted where it is not")
            while at is not None:
                expected.setdefault(at, [0] * 6)[job.st] += 1
                at = at.up
    for task in model.tasks.by_id.values():
        nodes = [node for job in task.jobs.values() for node in job.nodes()]
        held: list[Node | Task] = [task, *nodes, *task.tops, *task.roots, *task.spans]
        for one in held:
            counts = one.agg[:6] if one.agg is not None else [0] * 6
            if counts != expected.get(one, [0] * 6):
                wrong.append(f"{task.id}: {counts} is not {expected.get(one)}")
        own = [*nodes, *task.roots, *task.spans, *(n for n in task.tops if n.key is not None)]
        if task.size != len(own):
            wrong.append(f"{task.id} has {len(own)} nodes, not {task.size}")
        retried = sum(1 for node in own if node.marks & 2 and not node.marks & 32)
        if task.retries != retried:
            wrong.append(f"{task.id} has {retried} retries, not {task.retries}")
    return wrong


def _is_latest(node: Node, job: Job) -> bool:
    return node.kind != JOB or runs_of(job)[-1].attempts[-1] is node


# --- random histories -----------------------------------------------------------------------------


@dataclass
class _Story:
    """One history in the making."""

    random: random.Random
    is_exact: bool
    """Whether publishers send incarnations and run ids."""
    is_evictable: bool
    """Whether jobs run once: of an evicted job a second run looks like a repeat."""
    events: list[Event] = field(default_factory=list)
    spans: int = 0

    def add(self, seconds: float, event_type: str, **fields: Any) -> None:
        event_id = f"{self.random.getrandbits(64):x}"
        self.events.append(event(round(seconds, 3), event_type, event_id=event_id, **fields))

    def span(self) -> str:
        self.spans += 1
        return span(self.spans * 7919 % 9973 + 1)

    def maybe(self, chance: float) -> bool:
        return self.random.random() < chance

    def choose(self, *options: Any) -> Any:
        return self.random.choice(options)


def history(seed: int, *, is_evictable: bool = False) -> list[Event]:
    """The events of one random history, in the order in which they happened."""
    rng = random.Random(seed)
    story = _Story(rng, rng.random() < 0.5, is_evictable)
    _add_workers(story)
    _add_queues(story)
    traces = [f"{number:032x}" for number in (11, 12)]
    # What leaves a trace's card before its task is known cannot follow its nodes there.
    for number in range(1 if is_evictable else story.choose(1, 1, 2)):
        _add_task(story, number, story.choose(*traces))
    if story.maybe(0.3):
        spans = [span(number * 7919 % 9973 + 1) for number in range(1, story.spans + 2)]
        for _ in range(3):
            some = story.random.sample(spans, min(3, len(spans)))
            story.add(story.random.uniform(0, 90), "span_beats", spans=some)
    if not is_evictable and story.maybe(0.4):
        _add_continuing_traces(story, traces)
    return story.events[:_MAX_EVENTS]


def disagreeing(events: Sequence[Event], seed: int) -> list[Event]:
    """A history whose publishers disagree on projects, tasks and parents."""
    rng = random.Random(seed)
    trace_of = {one.span_id: one.trace_id for one in events if one.span_id is not None}
    found = []
    for one in events:
        changed: dict[str, Any] = {}
        if rng.random() < 0.6:
            changed["project_id"] = None
        elif rng.random() < 0.15:
            changed["project_id"] = rng.choice("pqr")
        if one.trace_id is not None and one.parent_task_id is not None:
            if rng.random() < 0.35:
                changed["parent_task_id"] = rng.choice((one.trace_id, None))
            elif rng.random() < 0.1:
                changed["parent_task_id"] = rng.choice(("t0", "t1", "t2", "t9"))
        if seed % 2 and one.span_id is not None and rng.random() < 0.1:
            of_trace = [key for key, trace in trace_of.items() if trace == one.trace_id]
            changed["parent_span_id"] = rng.choice(of_trace)
        found.append(replace(one, **changed))
    return found


def _add_continuing_traces(story: _Story, traces: list[str]) -> None:
    """Third-party traces that continue others: in chains, in circles, with roots or without."""
    known = [*traces, f"{13:032x}", f"{14:032x}"]
    project = story.choose(None, None, "p")
    for trace in known[2 if story.maybe(0.8) else 1 :]:
        before = story.choose(*(other for other in known if other != trace))
        seconds = story.random.uniform(0, 60)
        root = story.span()

        def ids(trace: str = trace, before: str = before) -> dict[str, Any]:
            named = before if story.maybe(0.8) else trace
            return {"project_id": project, "trace_id": trace, "parent_task_id": named}

        about: dict[str, Any] = {"span_id": root, "task_id": trace, "name": "resume"}
        if story.maybe(0.3):
            about |= {"span_kind": "SERVER", "task_id": None}
        side = "task" if about["task_id"] else "span"
        story.add(seconds, f"{side}_started", **ids(), **about)
        for number in range(story.random.randrange(4)):
            at = seconds + number
            parent = story.choose(root, root, None, span(9998))
            if story.maybe(0.3):
                _add_queue_with_two_ids(story, ids, parent, at)
                continue
            inside = {"span_id": story.span(), "parent_span_id": parent, "name": f"n{number}"}
            if story.maybe(0.5):
                inside |= {"phase": story.choose("act", "plan")}
                end = {"status": story.choose(None, "failed")}
                types = "phase_started", "phase_completed"
            else:
                end, inside = {"error": "E"}, inside | {"task_id": f"c{story.spans}"}
                types = "task_started", story.choose("task_completed", "task_failed")
            story.add(at, types[0], **ids(), **inside)
            if story.maybe(0.8):
                story.add(at + 2, types[1], **ids(), **inside, **end)
        if story.maybe(0.8):
            failed = story.choose(None, "failed")
            end_type = "span_ended" if side == "span" else story.choose(*_ROOT_ENDS)
            story.add(seconds + 9, end_type, **ids(), **about, status=failed)


def _add_queue_with_two_ids(story: _Story, ids: Any, parent: str | None, at: float) -> None:
    """A job of which the two sides of its queue may know different ids."""
    put = story.span()
    known = story.choose(put, put, f"m{story.spans}")
    fields = {"span_id": put, "parent_span_id": parent, "name": "put", "span_kind": "PRODUCER"}
    if story.maybe(0.9):
        story.add(at, "task_enqueued", **ids(), **fields, task_id=known)
    for attempt in range(story.random.randrange(3)):
        named = {"task_id": story.choose(put, known, f"m{story.spans}"), "retry_count": attempt}
        own = {"span_id": story.span(), **named}
        above = story.choose(put, put, put, parent)
        story.add(at + attempt, "task_started", **ids(), **own, parent_span_id=above)
        if story.maybe(0.7):
            above = story.choose(put, put, put, above)
            end = story.choose("task_completed", "task_retry", "task_failed")
            story.add(at + attempt + 1, end, **ids(), **own, parent_span_id=above)


_ROOT_ENDS: Final = ("task_completed", "task_failed")


def _add_workers(story: _Story) -> None:
    for worker in ("w0", "w1", 0, "0"):
        seconds = story.random.uniform(0, 5)
        pid = story.choose(1, 1, 7)
        for life in range(story.choose(0, 1, 2, 3)):
            meta = {"host": "h", "pid": pid if story.maybe(0.5) else pid + life}
            if story.maybe(0.3):
                meta["queues"] = story.choose(["q0"], ["q1", "q0"], [])
            fields = {
                "worker_id": worker,
                "incarnation": f"{worker}-{life}" if story.is_exact else None,
                "meta": meta,
            }
            if story.maybe(0.9):
                story.add(seconds, "worker_started", **fields)
            for _ in range(story.random.randrange(4)):
                seconds += 5
                story.add(seconds, "worker_heartbeat", **fields)
            if story.maybe(0.3):
                seconds += 1
                story.add(seconds, "worker_stopped", **fields)
            seconds += story.choose(1, 40)


def _add_queues(story: _Story) -> None:
    for name in ("q0", "q1"):
        seconds = story.random.uniform(0, 20)
        for _ in range(story.random.randrange(5)):
            seconds += story.choose(5, 5, 60)
            depth = story.choose(0, 0, 0, 3)
            field_name = story.choose("counts", "queue")
            meta = {"priorities": {name: {"0": depth, "9": 0}}} if story.maybe(0.3) else None
            story.add(seconds, "queue_depth_update", **{field_name: {name: depth}}, meta=meta)


def _add_task(story: _Story, number: int, trace: str) -> None:
    is_named = story.maybe(0.7)
    task_id = f"t{number}" if is_named else trace
    common = {"project_id": story.choose(None, "p", "p", "q"), "trace_id": trace}

    def ids() -> dict[str, Any]:
        is_named_now = story.is_evictable or story.maybe(0.85)
        return {**common, "parent_task_id": task_id if is_named_now else trace}

    root = story.span() if story.maybe(0.7) else None
    if root is not None and story.maybe(0.6):
        fields = {**common, "parent_task_id": task_id, "task_id": task_id, "span_id": root}
        meta = {"title": story.choose("A", "B")} if story.maybe(0.5) else None
        kind = story.choose(None, "research")
        story.add(0, "task_started", **fields, task_type=kind, meta=meta)
        if story.maybe(0.7):
            end = story.choose("task_completed", "task_failed")
            duration = story.choose(None, 4000.0)
            story.add(story.random.uniform(5, 60), end, **fields, duration_ms=duration)
    elif root is not None:
        remote = {"remote_parent": True, "parent_span_id": span(9999)}
        story.add(0, "span_started", **ids(), span_id=root, span_kind="SERVER", **remote)
        status = story.choose(None, "failed")
        story.add(9, "span_ended", **ids(), span_id=root, span_kind="SERVER", status=status)
    _add_work(story, ids, {**common, "parent_task_id": task_id}, root, 0, 0.0, None)


def _add_work(
    story: _Story,
    ids: Any,
    named: dict[str, Any],
    parent: str | None,
    depth: int,
    seconds: float,
    phase: str | None,
) -> None:
    for _ in range(story.random.randrange(1, 4)):
        if len(story.events) > 90:
            return
        seconds += story.random.uniform(0, 3)
        if story.maybe(0.35) and depth < 8:
            name = story.choose("act", "plan", f"agent{depth}")
            own = story.span() if story.maybe(0.85) else None
            fields = {"span_id": own, "parent_span_id": parent if own else None}
            counts = {"total": 3} if story.maybe(0.5) else None
            beat = 4000 if own and story.maybe(0.2) else None
            if story.maybe(0.9):
                story.add(
                    seconds,
                    "phase_started",
                    **ids(),
                    phase=name,
                    counts=counts,
                    **fields,
                    beat_ms=beat,
                )
            inside = name if story.maybe(0.6) else None
            _add_work(story, ids, named, own or parent, depth + 1, seconds, inside)
            if story.maybe(0.4):
                counts = {"total": 5, "completed": story.random.randrange(5)}
                message = story.choose(None, "half way")
                story.add(
                    seconds + 1,
                    "stats_snapshot",
                    **named,
                    phase=name,
                    span_id=own,
                    counts=counts,
                    message=message,
                )
            if story.maybe(0.8):
                story.add(
                    seconds + 4,
                    "phase_completed",
                    **ids(),
                    phase=story.choose(name, name, name, name + "!"),
                    status=story.choose(None, "failed"),
                    duration_ms=story.choose(None, 4000.0),
                    **fields,
                )
        elif story.maybe(0.15):
            own = story.span()
            fields = {"span_id": own, "parent_span_id": parent, "name": story.choose("a", "chain")}
            story.add(seconds, "span_started", **ids(), **fields)
            _add_work(story, ids, named, own, depth + 1, seconds, phase)
            if story.maybe(0.5):
                story.add(seconds + 5, "span_ended", **ids(), **fields)
        else:
            _add_job(story, ids, named, parent, depth, seconds, phase)


def _add_job(
    story: _Story,
    ids: Any,
    named: dict[str, Any],
    parent: str | None,
    depth: int,
    seconds: float,
    phase: str | None,
) -> None:
    is_spanning = story.is_evictable or story.maybe(0.8)
    job_id = f"j{story.spans}" if story.is_evictable else f"j{story.random.randrange(6)}"
    enqueue = story.span() if is_spanning and story.maybe(0.6) else None
    queue = story.choose(None, "q0", "q1")

    def fields() -> dict[str, Any]:
        shown = phase if story.maybe(0.8) else None
        return {**ids(), "task_id": job_id, "phase": shown, "queue": queue}

    for run in range(1 if story.is_evictable else story.choose(1, 1, 1, 2)):
        run_id = f"r{run}" if story.is_exact and is_spanning else None
        if run and enqueue is not None and story.maybe(0.5):
            enqueue = story.span()
        if enqueue is not None or (not is_spanning and story.maybe(0.3)):
            where = {"span_id": enqueue, "parent_span_id": parent if enqueue else None}
            delays = (
                {"eta": "later"},
                {"delay": 15_000},
                {"eta": (START + timedelta(seconds=30)).isoformat()},
            )
            meta = story.choose(*delays) if story.maybe(0.2) else None
            story.add(seconds, "task_enqueued", **fields(), **where, run_id=run_id, meta=meta)
            if enqueue is not None and story.maybe(0.15) and not story.is_evictable:
                producer = {"span_kind": "PRODUCER", "error": "no broker"}
                story.add(seconds + 0.1, "task_failed", **fields(), **where, **producer)
        attempts = story.choose(0, 1, 1, 2, 3) if enqueue is not None else story.choose(1, 1, 2, 3)
        deliveries = [
            attempt
            for attempt in range(attempts)
            for _ in range(2 if story.maybe(0.15) and not story.is_evictable else 1)
        ]
        for attempt in deliveries:
            seconds += story.choose(0.5, 0.5, 70)
            is_last = attempt == attempts - 1
            own = story.span() if is_spanning else None
            _add_attempt(
                story, fields, enqueue or parent, own, seconds, attempt, run_id, is_last=is_last
            )
            if own is not None and story.maybe(0.3):
                inside = story.choose(None, phase)
                _add_work(story, ids, named, own, depth + 1, seconds, inside)


def _add_attempt(
    story: _Story,
    fields: Any,
    parent: str | None,
    own: str | None,
    seconds: float,
    attempt: int,
    run_id: str | None,
    *,
    is_last: bool,
) -> None:
    worker, process = story.choose(None, "w0", "w1", 0), story.choose("w0", "other")
    exact = story.is_exact and story.maybe(0.8)
    common = {
        "span_id": own,
        "parent_span_id": parent if own else None,
        "worker_id": worker,
        "retry_count": attempt,
        "incarnation": f"{worker or process}-{story.random.randrange(2)}" if exact else None,
        "run_id": run_id,
    }
    skew = story.choose(0, 0, -3)
    at = seconds + skew
    if story.maybe(0.9):
        beat = 6000 if own and story.maybe(0.2) else None
        kind = story.choose(None, "chat")
        story.add(at, "task_started", **fields(), **common, task_type=kind, beat_ms=beat)
    if own is not None and story.maybe(0.2):
        story.add(at + 0.2, "span_updated", **fields(), **common, name="seen")
    if story.maybe(0.1):
        progress = {"done": story.random.randrange(9), "total": 9}
        story.add(at + 0.2, "task_progress", **fields(), **common, progress=progress)
    if own is not None and story.maybe(0.2):
        kind = {"ended_by": "snapshot", "task_type": "snap"}
        story.add(at + 0.2, "task_completed", **fields(), **common, **kind)
    if story.maybe(0.2):
        reason = story.choose(None, "worker_lost", "silent")
        story.add(at + 0.3, "task_stalled", **fields(), **common, reason=reason)
    if story.maybe(0.15) and not story.is_evictable:
        error = {"retry_count": attempt, "error": "WorkerLostError"}
        if story.maybe(0.5):
            error |= {"run_id": run_id, "ended_by": "other", "reason": "killed"}
        story.add(seconds + 0.4, "task_failed", **fields(), **error)
    if story.maybe(0.1) and own is not None and not story.is_evictable:
        raw = {"retry_count": attempt + story.choose(0, 1), "worker_id": worker}
        story.add(at + 0.1, "task_started", **fields(), **raw)
        story.add(at + 0.4, "task_retry", **fields(), **raw, error="E")
    if story.maybe(0.15) and own is not None and not story.is_evictable:
        other = {**common, "ended_by": "other", "error": "killed", "incarnation": "parent"}
        story.add(seconds + 0.4, "task_retry", **fields(), **other)
    if story.is_evictable:
        end = story.choose("task_completed", "task_failed") if is_last else "task_retry"
    else:
        end = story.choose("task_completed", "task_failed", "task_retry")
    if story.maybe(0.8):
        story.add(
            at + 0.4,
            end,
            **fields(),
            **common,
            task_type=story.choose(None, "chat gpt"),
            error=story.choose(None, "E", "E 17"),
            error_key=story.choose(None, None, "k"),
            duration_ms=story.choose(None, 400.0),
        )
