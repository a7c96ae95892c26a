"""
What the views ``queues`` and ``queue`` show: queues, and the jobs that wait in one.

All times are integer milliseconds since the Unix epoch, UTC. None means unknown, never 0. ``k`` is
the row's key: the same for the same thing, and never used again for another one.
"""

from __future__ import annotations

from typing import Literal

from otel_bridge_collector.wire.base import WireModel

__all__ = ["QueueHead", "QueueRow", "StuckReason", "WaitingRow"]

StuckReason = Literal["no_workers", "not_taken"]


class QueueRow(WireModel):
    """
    One queue whose depth was reported, or in which jobs are known to wait; a record.

    A field of a wrong type, or an unknown one, raises ``ValidationError``.

    Attributes:
        k: Its full name.
        depth: Jobs that wait in it, as last reported; None: no depth was ever reported.
        at: When that depth was measured, ms; None without one.
        waiting: Jobs that the collector knows to wait in it, delayed ones included; there may be
            others, for example of programs that it sees nothing of.
        priorities: The depth by priority, where the broker has priorities; None: it has none.
        oldest: Since when the job that has waited for longest waits in it, ms; None: no job that
            the collector knows does. A job with a delay waits only once that is over.
        workers: Workers that are online and take jobs from it; None: none has said in the last hour
            which queues it takes from.
        running: Jobs of it that run.
        stuck: ``no_workers``: a job has waited for 10 s, and no worker that is online takes jobs
            from it. ``not_taken``: a job has waited for 60 s, and in this time none was started or
            runs, and no worker was busy that takes jobs from it; where neither a depth nor such a
            worker is known, no event of its tasks came either. None: it is not, or not known.
    """

    k: str
    depth: int | None
    at: int | None
    waiting: int
    priorities: dict[str, int] | None
    oldest: int | None
    workers: int | None
    running: int
    stuck: StuckReason | None


class QueueHead(QueueRow):
    """
    The head of the view ``queue``: one queue; a record.

    A field of a wrong type, or an unknown one, raises ``ValidationError``.

    Attributes:
        trend: Depths of the last ten minutes as [when, ms; depth], the oldest first: the latest
            report of each 10 s, at most 60. Empty: none was reported.
        names: Ids of the workers that are online and take jobs from it, at most 200; None as for
            ``workers``.
    """

    trend: tuple[tuple[int, int], ...]
    names: tuple[int | str, ...] | None


class WaitingRow(WireModel):
    """
    One job that waits in a queue; a record.

    A field of a wrong type, or an unknown one, raises ``ValidationError``.

    Attributes:
        k: The task's id, a space, and the key of the enqueue in the view ``tree``.
        task: Id of its research task, or the trace id of work without one.
        title: The task's name, for people.
        node: The key of the enqueue in the view ``tree``.
        job: The job's id.
        type: Its type; None if unknown.
        start: When it was put into the queue, ms; None if unknown.
        not_before: When its delay is over, ms; None: it has none, or it is not known.
    """

    k: str
    task: str
    title: str
    node: str
    job: str
    type: str | None
    start: int | None
    not_before: int | None
