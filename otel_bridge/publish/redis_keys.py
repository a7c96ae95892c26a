"""
Every Redis key name, as constants and functions; channel names come from the settings.

One place, so that a reader can grep a key and an operator can write an ACL. ``nexus:task_status:*``
belongs to another product on the same Redis and is never used. The log's keys carry a shard tag
in braces, so that one shard's keys share a Cluster slot.
"""

from __future__ import annotations

from typing import Final

QUEUE_PREFIX: Final = "nexus:tasks:"
QUEUE_HIGH: Final = "nexus:tasks:high_priority"
QUEUE_NORMAL: Final = "nexus:tasks:normal_priority"
QUEUE_LOW: Final = "nexus:tasks:low_priority"
QUEUES: Final = (QUEUE_HIGH, QUEUE_NORMAL, QUEUE_LOW)
"""In claiming order."""

RESEARCH_QUEUE: Final = "nexus:research_tasks"
"""Research tasks that wait for an orchestrator: a list, LPUSH in, right end out."""
LEASES: Final = "nexus:leases"
"""Sorted set of claimed job ids by lease expiry (milliseconds of Redis time)."""
DELAYED: Final = "nexus:delayed"
"""Sorted set of job ids that wait for a retry, by due time (milliseconds of Redis time)."""
DEAD_LETTERS: Final = "nexus:dead"
"""List of job ids given up on."""
WAKE_CHANNEL: Final = "nexus:wake"
"""Pub/Sub hints between coordinators, ``queued`` or ``ended <parent>``; a lost one costs a wait."""
QUEUE_DEPTH_TURN: Final = "nexus:queue_depth:turn"
"""Whoever sets this key samples the queues' depth in this interval."""
COLLECTOR_LEADER: Final = "nexus:collector:leader"
"""The leader's lease: collector id, with a TTL."""

DEFAULT_SHARD: Final = "0"


def task_status(task_id: str) -> str:
    """Status of a job or research task: one of the five statuses, as text."""
    return f"nexus:task:{task_id}:status"


def task_data(task_id: str) -> str:
    """The job as JSON."""
    return f"nexus:task:{task_id}:data"


def task_result(task_id: str) -> str:
    """The result as JSON."""
    return f"nexus:task:{task_id}:result"


def task_error(task_id: str) -> str:
    """The last error as text."""
    return f"nexus:task:{task_id}:error"


def task_lease(task_id: str) -> str:
    """Hash ``{attempt, worker, queue, crashes}`` of a claimed job."""
    return f"nexus:task:{task_id}:lease"


def queue_depth_turn(queue: str) -> str:
    """Whoever sets this key samples the depth of this queue in this interval."""
    return f"{QUEUE_DEPTH_TURN}:{queue}"


def task_group(parent_task_id: str) -> str:
    """Set of the job ids of one research task."""
    return f"nexus:task_group:{parent_task_id}"


def task_meta(parent_task_id: str) -> str:
    """Hash with ``project_id`` of one research task."""
    return f"nexus:task_meta:{parent_task_id}"


def worker_heartbeat(worker_id: str) -> str:
    """Key with a TTL that lives as long as the worker beats."""
    return f"nexus:worker:heartbeat:{worker_id}"


def processing(worker_id: str) -> str:
    """List of the job ids one worker has claimed."""
    return f"nexus:processing:{worker_id}"


def dedupe(dedupe_key: str) -> str:
    """The job id first submitted under a dedupe key."""
    return f"nexus:dedupe:{dedupe_key}"


def collector_stalled(event_id: str) -> str:
    """Which collector told a job's attempt stalled, with a TTL of a day."""
    return f"nexus:collector:stalled:{event_id}"


def collector_ticket(digest: str) -> str:
    """Whose a one-time ticket is, by the ticket's digest, with a TTL of half a minute."""
    return f"nexus:collector:ticket:{digest}"


def log_stream(shard: str = DEFAULT_SHARD) -> str:
    """Stream of the log: one entry an event, field ``e`` holds its JSON."""
    return f"nexus:{{{shard}}}:stream"


def log_producer(producer_id: str, shard: str = DEFAULT_SHARD) -> str:
    """Number of the last event appended for one producer, with a TTL."""
    return f"nexus:{{{shard}}}:producer:{producer_id}"


def log_meta(shard: str = DEFAULT_SHARD) -> str:
    """Hash with ``epoch``: changes when the stream was lost."""
    return f"nexus:{{{shard}}}:meta"
