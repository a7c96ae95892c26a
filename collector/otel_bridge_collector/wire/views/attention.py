"""What the page's header says first: tasks, workers and queues that need attention."""

from __future__ import annotations

from typing import Literal

from otel_bridge_collector.wire.base import WireModel

__all__ = ["Attention", "AttentionKind"]

AttentionKind = Literal["task_stalled", "worker_lost", "queue_stuck", "task_failing", "slow_job"]
"""Why something needs attention, the most urgent first."""


class Attention(WireModel):
    """
    One thing that needs attention, with what it takes to say so in a sentence and to lead there.

    A record. A field of a wrong type, or an unknown one, raises ``ValidationError``.

    Attributes:
        kind: ``task_stalled``: a task can no longer end by itself. ``worker_lost``: a worker went
            offline in the last hour and has not come back. ``queue_stuck``: jobs wait and none is
            taken, see ``QueueRow.stuck``. ``task_failing``: jobs of a task that is open have
            failed. ``slow_job``: a job runs several times as long as others, see ``TreeRow.slow``.
        name: For people: the task's title, the worker's id, the queue's name; of ``slow_job`` the
            id of the job that is slowest.
        count: Jobs of the task that are stalled (0: only the task itself is); jobs that the worker
            held when it was lost; jobs that wait in the queue; failed jobs of the task; slow jobs
            of the task. One number of one moment, not one of a window.
        since: Since when, ms: the last sign of life of task or worker; when the job that has waited
            for longest began to wait; when the slow job started; None of ``task_failing``, and if
            unknown.
        key: Key of its row: of ``tasks`` for a task, of ``workers``, of ``queues``, and of ``tree``
            for a slow job.
        task: Id of the task; None for a worker and a queue.
    """

    kind: AttentionKind
    name: str
    count: int
    since: int | None
    key: str
    task: str | None
