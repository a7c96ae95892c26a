"""
A job's runs and attempts, and which of its nodes says where it stands.

A job is put into its queue and runs; it may be put there again under the same id after it has
ended. A run is one enqueue with its attempts; where neither enqueue nor run id is known, a start
after a success begins one. A function of the whole set of nodes: comparing two
at a time with a tolerance for clocks is not transitive, so the winner would depend on the order.
Not by time alone: the next attempt on a machine whose clock is 5 s behind would lose. Not by
attempt alone: a job that was put back by hand starts again with attempt 0, and one that a broker
delivers again after a crash keeps its number. So attempts are numbered here, per run.

What has no span id repeats an attempt that is known as a span, where one publisher sends raw events
beside spans, or reports its end, as a worker's parent process does.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from otel_bridge_collector.model.events import (
    COMPLETED,
    ENQUEUE,
    FAILED,
    JOB,
    OTHER,
    RETRYING,
    RULE,
    STALLED,
)
from otel_bridge_collector.model.nodes import Job, Node

__all__ = [
    "END_ORDER",
    "Run",
    "has_ended",
    "is_open",
    "is_repeated",
    "is_shadowed",
    "last_word",
    "report_of",
    "runs_of",
    "simple_winner",
    "winner",
]

END_ORDER: Final = {STALLED: 1, RETRYING: 2, FAILED: 3, COMPLETED: 4}
"""Which of two ends by one reporter at one time wins."""

_REQUEUED_AFTER_US: Final = 60_000_000
"""An attempt that starts this long after the end of a later one was put back by hand."""
_SKEW_US: Final = 1_000_000
"""By how much a start may be before its enqueue, on two machines."""


class Run(NamedTuple):
    """
    One enqueue of a job with its attempts, in their order.

    Attributes:
        enqueues: By time.
        attempts: By their number, those of one number by their start; the last one says where the
            run stands.
        numbers: Of each of these nodes the number of its attempt, from 0: that which its events
            say, but greater than that of the attempt before. A broker that delivers a job again
            after a crash does not count.
    """

    enqueues: list[Node]
    attempts: list[Node]
    numbers: dict[Node, int]

    def successor(self, attempt: Node) -> Node | None:
        """The attempt after this one; None for the last, and for what is none of the run."""
        at = self.numbers.get(attempt)
        if at is None:
            return None
        return next((node for node in self.attempts if self.numbers[node] > at), None)


def is_open(node: Node) -> bool:
    """Whether no end is known of it, or it was started again after the one that is."""
    if not node.ended:
        return True
    more = node.more
    return more is not None and more.restarted > node.end and node.ended >> 3 != RULE


def has_ended(node: Node) -> bool:
    """Whether an end of it counts: that of a rule does until a later sign of life of the node."""
    return not is_open(node) and (node.ended >> 3 != RULE or last_word(node) <= node.end)


def last_word(node: Node) -> int:
    """``ts`` of the latest sign of life: a synthetic end before it is overruled."""
    word = node.start or 0
    more = node.more
    return word if more is None else max(word, more.word, more.restarted)


def winner(job: Job) -> tuple[Node, Node | None]:
    """
    Return the node that says where a job stands: of its latest run (enqueue), the latest attempt.

    A function of all its nodes (spans, or what stands for one), whatever their order. An attempt
    that starts more than 60 s after the end of a later one was put back by hand, and is the latest.
    Runs on the collector's event loop, for each event of the job.

    Args:
        job: It must have a node; ``AssertionError`` if it has none.

    Returns:
        The node. While that has a span id and no end of its own, also the node without span id by
        which another process, a worker's parent or the broker, reported its end; else None.
    """
    first = job.first
    assert first is not None
    if first.next is None:
        return first, None
    found = simple_winner(first)
    if found is not None:
        return found, None
    nodes = _split(_shown(job))[-1]
    attempts = [node for node in nodes if node.kind == JOB]
    if not attempts:
        return max(nodes, key=_by_time), None
    found = _in_order(attempts)[-1]
    return found, report_of(job, found)


def simple_winner(node: Node | None) -> Node | None:  # noqa: C901 - one pass, in each event
    """
    Return the winner of a job with one run; None where ``winner`` must look closer.

    For example if some of its nodes have span ids and others not, or two have the same attempt. The
    winner is the node (a span, or what stands for one) that says where the job stands: of its
    latest attempt. One pass without lists: nearly every job is a simple one, and is looked at with
    each event. On the collector's event loop.

    Args:
        node: The job's first node; ``AssertionError`` for None.
    """
    assert node is not None
    run, has_spans, head = node.run, node.key is not None, node
    second = node.next
    if (
        second is not None
        and second.next is None
        and second.kind != node.kind
        and second.run is run
        and (second.key is None) is not has_spans
    ):
        return node if node.kind != ENQUEUE else second  # most jobs: an enqueue, an attempt
    enqueue: Node | None = None
    found: Node | None = None
    attempt = -1
    attempts = 0
    while node is not None:
        if node.run is not run or (node.key is None) is has_spans:
            return None
        if node.kind == ENQUEUE:
            if enqueue is not None:
                return None
            enqueue = node
        else:
            attempts += 1
            if node.attempt >= attempt:
                if node.attempt == attempt:
                    return None
                found, attempt = node, node.attempt
        node = node.next
    if attempts > 1 and found is not None:
        start, limit = found.start, found.end  # as _requeued_after, without its 0.4 us
        if start is not None and start > limit:
            limit = start
        limit += _REQUEUED_AFTER_US
        other: Node | None = head
        while other is not None and run is None and enqueue is None:
            if other.ended & 7 == COMPLETED:
                # What starts then or later may be of another run.
                limit = min(limit, other.end - 1)
            other = other.next
        other = head
        while other is not None:
            first = other.end if other.start is None else other.start
            if first > limit and other.kind != ENQUEUE:
                return None
            other = other.next
    return enqueue if found is None else found


def _by_time(node: Node) -> tuple[int, int, int, str]:
    return node.first, node.attempt, node.key or 0, node.run or ""


def _by_attempt(node: Node) -> tuple[int, int, int, str]:
    return node.attempt, node.first, node.key or 0, node.run or ""


def _requeued_after(node: Node) -> int:
    """An attempt with a smaller number that starts later than this was put back by hand."""
    return max(node.first, node.end) + _REQUEUED_AFTER_US


def _in_order(attempts: list[Node]) -> list[Node]:
    """The attempts of one run in the order in which they were made; any order gives the same."""
    found: list[Node] = []
    rest = attempts
    while len(rest) > 1:
        limit = _requeued_after(max(rest, key=_by_attempt))
        found += sorted((node for node in rest if node.first <= limit), key=_by_attempt)
        rest = [node for node in rest if node.first > limit]
    return found + rest


# --- what has no span id --------------------------------------------------------------------------


def is_shadowed(node: Node, job: Job) -> bool:
    """
    Return whether a node without span id is no attempt and no enqueue of its own; never raises.

    True where a span of the same attempt is known: the publisher sends both, or another process
    reported the end. A start that is reported without a span, or an enqueue, repeats what is known
    as spans whatever its number, because who publishes raw events beside spans may count from 1.
    False for a node with a span id. Changes nothing; on the collector's event loop.

    Args:
        node: A node of the job: a span, or what stands for one.
        job: Its job.
    """
    if node.key is not None:
        return False
    is_enqueue = node.kind == ENQUEUE
    other = job.first
    while other is not None:
        if other.key is not None:
            if other.kind == JOB and (is_enqueue or node.start is not None):
                return True
            if other.kind == node.kind and (is_enqueue or _is_same_attempt(node, other)):
                return True
        other = other.next
    return False


def _shown(job: Job) -> list[Node]:
    return [node for node in job.nodes() if not is_shadowed(node, job)]


def is_repeated(node: Node, job: Job) -> bool:
    """Whether a node without span id counts for nothing: a span that it repeats has ended."""
    if node.kind != JOB or not is_shadowed(node, job):
        return False
    span = _span_of(node, job)
    if span is not None:
        return span.ended >> 3 >= OTHER
    spans = _spans_of(job)
    if node.start is None:
        spans = [one for one in spans if _is_same_attempt(node, one)]
    return any(one.ended >> 3 >= OTHER for one in spans)


def report_of(job: Job, attempt: Node) -> Node | None:
    """
    Return the node without span id by which another reported the end of an attempt, else None.

    None for an attempt that reported its end itself, and for one without a span id. On the
    collector's event loop; never raises.

    Args:
        job: The attempt's job.
        attempt: A node of kind job.
    """
    if attempt.key is None or (attempt.ended and attempt.ended >> 3 != RULE):
        return None
    ends = [
        node
        for node in job.nodes()
        if node.key is None and node.kind == JOB and node.ended and _span_of(node, job) is attempt
    ]
    return max(ends, key=_by_end) if ends else None


def _span_of(report: Node, job: Job) -> Node | None:
    """
    Which span an end without span id is of: of those of its attempt the latest that had started.

    A job that was delivered again has several. A start may be a second later than the end, by the
    clock of another machine; but not than one that was reported with a start of its own, which is
    that of an earlier attempt if its publisher counts from 1.
    """
    spans = [one for one in _spans_of(job) if _is_same_attempt(report, one)]
    started = [one for one in spans if one.first <= report.end]
    if started:
        return max(started, key=_by_time)
    if report.start is not None:
        return None
    found = min(spans, key=_by_time, default=None)
    return None if found is None or found.first > report.end + _SKEW_US else found


def _spans_of(job: Job) -> list[Node]:
    return [node for node in job.nodes() if node.key is not None and node.kind == JOB]


def _is_same_attempt(report: Node, span: Node) -> bool:
    if report.attempt != span.attempt:
        return False
    return report.run is None or span.run is None or report.run == span.run


def _by_end(node: Node) -> tuple[int, int, int, str]:
    return node.ended >> 3, node.end, END_ORDER[node.ended & 7], node.error or ""


def _run_key(node: Node, job: Job) -> str | int | None:
    """What nodes of one run have in common, as far as is known."""
    if node.run is not None:
        return node.run
    if node.kind == ENQUEUE:
        # A framework that retries by enqueueing again does so with the next attempt's number.
        return node.key if node.attempt == 0 else None
    parent = node.parent
    if type(parent) is Node and parent.kind == ENQUEUE and parent.own is job:
        return _run_key(parent, job)
    return None


def _split(nodes: list[Node]) -> list[list[Node]]:
    job = nodes[0].own
    assert type(job) is Job
    keys = [_run_key(node, job) for node in nodes]
    known = {key for key in keys if key is not None}
    if not known:
        return _split_at_success(nodes)
    if len(known) == 1:
        return [nodes]
    groups: dict[str | int, list[Node]] = {key: [] for key in known}
    for node, key in zip(nodes, keys, strict=True):
        if key is not None:
            groups[key].append(node)
    started = {key: min(node.first for node in group) for key, group in groups.items()}
    order = sorted(groups, key=lambda key: (started[key], str(key)))
    earlier = [(started[key], groups[key]) for key in order]
    runs = [group for _, group in earlier]
    for node, key in zip(nodes, keys, strict=True):
        if key is None:
            fitting = [group for since, group in earlier if since <= node.first + _SKEW_US]
            (fitting or runs)[-1 if fitting else 0].append(node)
    return runs


def _split_at_success(nodes: list[Node]) -> list[list[Node]]:
    """
    Runs where neither an enqueue nor a run id is known.

    An attempt that starts after a success is of another run if it has the same number, or a smaller
    one and not only a clock that is behind: nothing tries again what has completed.
    """
    if len(nodes) < 2 or any(node.kind == ENQUEUE for node in nodes):
        return [nodes]
    runs: list[list[Node]] = [[]]
    done: Node | None = None
    for node in sorted(nodes, key=_by_time):
        if done is not None and (
            (node.attempt == done.attempt and node.first >= done.end)
            or (node.attempt < done.attempt and node.first > done.end + _REQUEUED_AFTER_US)
        ):
            runs.append([])
            done = None
        runs[-1].append(node)
        if node.ended & 7 == COMPLETED and not is_open(node):
            done = node
    return runs


def runs_of(job: Job) -> list[Run]:
    """A job's runs, the earliest first; what only repeats an attempt is left out."""
    if job.first is None:
        return []
    found = []
    for nodes in _split(_shown(job)):
        attempts = _in_order([node for node in nodes if node.kind == JOB])
        enqueues = sorted((node for node in nodes if node.kind == ENQUEUE), key=_by_time)
        found.append(Run(enqueues, attempts, _numbers(enqueues, attempts)))
    return found


def _numbers(enqueues: list[Node], attempts: list[Node]) -> dict[Node, int]:
    numbers: dict[Node, int] = {}
    latest = -1
    for node in attempts:
        latest = numbers[node] = max(node.attempt, latest + 1)
    for enqueue in enqueues:
        led_to = (numbers[node] for node in attempts if node.attempt >= enqueue.attempt)
        numbers[enqueue] = min(led_to, default=max(enqueue.attempt, latest + 1))
    return numbers
