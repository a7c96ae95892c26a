"""The bars of a card: its nodes as the waterfall of a snapshot shows them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice, pairwise
from typing import Final, Literal, cast

from otel_bridge.clock import iso_utc
from otel_bridge_collector.model.events import (
    ENDED_BY,
    ENQUEUE,
    JOB,
    KIND_NAMES,
    PHASE,
    PROCESSING,
    SPAN,
    STATUS_NAMES,
    TASK,
)
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.nodes import (
    Host,
    Job,
    Node,
    Task,
    children,
)
from otel_bridge_collector.model.processes.records import Incarnation, Process
from otel_bridge_collector.model.reading.keys import phase_of, worker_id_of
from otel_bridge_collector.model.runs import is_open, is_shadowed, runs_of
from otel_bridge_collector.model.shape.containers import depth_of
from otel_bridge_collector.model.tasks import has_own_facts
from otel_bridge_collector.wire.messages import EndedBy, SpanBar

__all__ = [
    "ENDED_BY_NAMES",
    "bars_of",
    "incarnation_of",
    "iso",
    "phase_of",
    "places_of",
    "queued_at",
    "worker_id_of",
]

_LOOKED_AT: Final = 400
"""Of one task: so many of the newest jobs, and as many that ended last. A card with 50,000 jobs
otherwise costs 100 ms."""

ENDED_BY_NAMES: Final = {code: cast("EndedBy", name) for name, code in ENDED_BY.items()}
"""Who reported an end, by its code in ``Node.ended``; 0, open, is none of them."""


def iso(time_us: int | None) -> str | None:
    """A time in microseconds as it travels; None stays None."""
    return None if time_us is None else iso_utc(time_us * 1000)


def incarnation_of(host: Host | None) -> str | None:
    """The life of the process that ``host`` is; None where its publisher sends none."""
    if isinstance(host, Incarnation):
        return None if host.process is None else host.key
    return host.key if isinstance(host, Process) else None


def bars_of(model: Fold, task: Task, card_ended: int | None, limit: int) -> list[SpanBar]:
    """
    Return the bars of one card: open ones first, then those that ended last.

    A bar is a node (a span, or what stands for one): a root, phase, enqueue or job. Of a task's
    jobs only the 400 newest, the 400 that ended last and those that run are looked at, and of its
    phases the 400 newest: a card with 50,000 jobs otherwise costs 100 ms. Raises nothing for a task
    held.

    Args:
        model: The state, evaluated at the moment of the snapshot; on its event loop.
        task: Whose card it is.
        card_ended: When the card ended, microseconds; None while it is open.
        limit: At most this many bars; 0 or less: none. The snapshot has 200 a card, 2,000 in all.
    """
    if limit <= 0:
        return []
    shown = [node for node in _candidates(model, task) if _is_bar(node, card_ended)]
    shown.sort(key=_order)
    places: dict[Job, dict[Node, tuple[int, int]] | None] = {}
    found = []
    for node in shown[:limit]:
        job = node.own
        if type(job) is not Job:
            found.append(_bar(model, node, card_ended, None, None, node.attempt))
            continue
        if job not in places:
            places[job] = places_of(job)
        of_node = places[job]
        run, runs, attempt = 1, 1, node.attempt
        if of_node is not None:
            run, attempt = of_node.get(node, (1, attempt))
            runs = max(place[0] for place in of_node.values())
        found.append(_bar(model, node, card_ended, run, runs, attempt))
    return found


def _order(node: Node) -> tuple[bool, bool, int, int, str, int, str]:
    """Open ones first, then the latest end; what has no span id is ordered by attempt and run."""
    is_over = not is_open(node)
    time = -(node.end if is_over else node.start or 0)
    key, own = node.key, node.own
    if key is not None:
        return is_over, node.kind == ENQUEUE, time, key, "", 0, ""
    job_id = own.id if type(own) is Job else node.name or ""
    return is_over, node.kind == ENQUEUE, time, 0, job_id, node.attempt, node.run or ""


def places_of(job: Job) -> dict[Node, tuple[int, int]] | None:
    """
    Return the number of the run, from 1, and of the attempt, from 0, that each node belongs to.

    A node that only repeats another one has none. None where all are of one run, and each attempt
    has the number that its events say. Never raises; on the collector's event loop.

    Args:
        job: One of the model's.
    """
    first = job.first
    if first is None or first.next is None:
        return None
    enqueues = 0
    attempts: list[Node] = []
    run_id, is_one = first.run, True
    node: Node | None = first
    while node is not None:
        if node.kind == ENQUEUE:
            enqueues += 1
        else:
            attempts.append(node)
        is_one = is_one and node.run == run_id
        node = node.next
    count = len(attempts)
    is_one = is_one and (run_id is not None or (enqueues < 2 and (enqueues > 0 or count < 2)))
    if is_one and (count < 2 or _is_in_order(attempts)):
        # Most jobs: without looking closer, which took 4 us a job.
        return None
    places: dict[Node, tuple[int, int]] = {}
    for number, run in enumerate(runs_of(job), 1):
        places.update((node, (number, attempt)) for node, attempt in run.numbers.items())
    return places


def _is_in_order(attempts: list[Node]) -> bool:
    """Whether attempts have different numbers, and started in the order of these."""
    if len(attempts) == 2:
        one, other = attempts
        if one.attempt > other.attempt:
            one, other = other, one
        return one.attempt != other.attempt and one.first <= other.first
    attempts.sort(key=lambda node: node.attempt)
    return all(
        one.attempt != other.attempt and one.first <= other.first
        for one, other in pairwise(attempts)
    )


def _candidates(model: Fold, task: Task) -> dict[Node, None]:
    found: dict[Node, None] = {**task.roots}
    found.update(dict.fromkeys(islice(reversed(task.tops), _LOOKED_AT)))
    looked_at: list[Iterable[Job]] = [islice(reversed(task.jobs.values()), _LOOKED_AT)]
    if len(task.jobs) > _LOOKED_AT:
        looked_at.append(islice(reversed(task.ended), _LOOKED_AT))
        if task.agg[PROCESSING]:
            looked_at.append(job for job in model.running if job.task is task)
    for jobs in looked_at:
        for job in jobs:
            if job.st >= 0:
                found.update(dict.fromkeys(_drawn(job)))
    return found


def _drawn(job: Job) -> Iterator[Node]:
    return (node for node in job.nodes() if not is_shadowed(node, job))


def _is_bar(node: Node, card_ended: int | None) -> bool:
    if node.kind == SPAN:
        return False
    if node.key is None and node.kind == PHASE:
        # A publisher without spans may report what is a span as well: that is its bar.
        is_known = has_own_facts(node) and (node.start is not None or bool(node.ended))
        return is_known and not any(
            one.key is not None and one.name == node.name for one in node.own.task.tops
        )
    if node.kind != ENQUEUE or node.ended:
        return True
    # An enqueue whose job has started is shown as the job's ``queued_at``.
    return card_ended is None and not _is_started(node)


def _is_started(enqueue: Node) -> bool:
    own = enqueue.own
    if enqueue.key is None:
        return type(own) is Job and own.win is not None and own.win.kind == JOB
    return any(kid.kind == JOB for kid in children(enqueue))


def queued_at(node: Node) -> int | None:
    """When the job was enqueued, as far as a link or a publisher without spans says it."""
    parent, own = node.parent, node.own
    if node.kind == ENQUEUE:
        return node.start
    if type(parent) is Node and parent.kind == ENQUEUE:
        return parent.start
    if node.key is None and type(own) is Job:
        nodes = (one for one in own.nodes() if one.kind == ENQUEUE and one.key is None)
        return min((one.start for one in nodes if one.start is not None), default=None)
    return None


def _span_id_of(node: Node, job_id: str | None) -> str:
    """The span's id; of publishers without spans one made up, as the page makes it up too."""
    if node.key is not None:
        return f"{node.key:016x}"
    run = "" if node.run is None else f"@{node.run}"
    return f"{job_id or node.name}#{node.attempt}{run}:{KIND_NAMES[node.kind]}"


def _name_of(node: Node, job_id: str | None) -> str:
    return node.name or job_id or KIND_NAMES[node.kind]


def _bar(
    model: Fold,
    node: Node,
    card_ended: int | None,
    run: int | None,
    runs: int | None,
    attempt: int,
) -> SpanBar:
    state = model.rows.state(node, card_ended)
    own = node.own
    task = own.task
    job_id = own.id if type(own) is Job else task.id if node.kind == TASK else None
    parent = node.parent
    parent_key = parent.key if type(parent) is Node else parent
    is_ended = not is_open(node) and state.ended is not None
    traces = task.traces if task.is_named else [task.id]
    kind = cast('Literal["research_task", "phase", "enqueue", "job"]', KIND_NAMES[node.kind])
    return SpanBar(
        span_id=_span_id_of(node, job_id),
        parent_span_id=None if type(parent_key) is not int else f"{parent_key:016x}",
        trace_id=traces[0] if len(traces) == 1 else None,
        kind=kind,
        name=_name_of(node, job_id),
        task_id=job_id,
        task_type=None if node.kind == PHASE else node.name,
        phase=phase_of(node),
        worker_id=worker_id_of(node),
        status=STATUS_NAMES[state.status],
        retry_count=attempt,
        queued_at=iso(queued_at(node)),
        started_at=None if node.kind == ENQUEUE else iso(node.start),
        ended_at=iso(state.ended),
        duration_ms=(node.end - node.start) / 1000 if is_ended and node.start is not None else None,
        error=node.error,
        depth=depth_of(node) - 1,
        run=run,
        runs=runs,
        incarnation=incarnation_of(node.worker),
        ended_by=ENDED_BY_NAMES.get(state.ended_by),
        reason=state.reason,
    )
