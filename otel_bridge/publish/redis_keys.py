"""
Every Redis key name, as constants and functions; channel names come from the settings.

All names are in this module so that they are easy to search for, and so that an operator can write
an ACL. ``nexus:task_status:*`` belongs to another product on the same Redis and is never used. The
keys of the log contain a shard tag in braces, so that the keys of one shard share a Cluster slot.
"""

from __future__ import annotations

from typing import Final

QUEUE_HIGH: Final = "nexus:tasks:high_priority"
QUEUE_NORMAL: Final = "nexus:tasks:normal_priority"
QUEUE_LOW: Final = "nexus:tasks:low_priority"
QUEUES: Final = (QUEUE_HIGH, QUEUE_NORMAL, QUEUE_LOW)
"""In the order in which workers claim from them."""

RESEARCH_QUEUE: Final = "nexus:research_tasks"
"""List of research tasks that wait for an orchestrator: LPUSH adds, the right end is claimed."""
LEASES: Final = "nexus:leases"
"""Sorted set of claimed job ids by lease expiry (milliseconds of Redis time)."""
DELAYED: Final = "nexus:delayed"
"""Sorted set of job ids that wait for a retry, by due time (milliseconds of Redis time)."""
DEAD_LETTERS: Final = "nexus:dead"
"""The dead-letter queue: list of the ids of jobs that are not retried any more."""
WAKE_CHANNEL: Final = "nexus:wake"
"""Pub/Sub channel for wake-up notifications between coordinators, ``queued`` or ``ended <parent>``.
A lost notification only delays a coordinator."""
QUEUE_DEPTH_LOCK: Final = "nexus:queue_depth:turn"
"""Lock with a TTL: the process that sets it samples the depth of the queues in this interval."""
COLLECTOR_LEADER: Final = "nexus:collector:leader"
"""Lease of the leader among the collectors: holds its collector id, with a TTL."""

DEFAULT_SHARD: Final = "0"


def task_status(task_id: str) -> str:
    """Key of the status of a job or research task: one of the five statuses, as text."""
    return f"nexus:task:{task_id}:status"


def task_data(task_id: str) -> str:
    """Key of the job as JSON."""
    return f"nexus:task:{task_id}:data"


def task_result(task_id: str) -> str:
    """Key of the job's result as JSON."""
    return f"nexus:task:{task_id}:result"


def task_error(task_id: str) -> str:
    """Key of the job's last error as text."""
    return f"nexus:task:{task_id}:error"


def task_lease(task_id: str) -> str:
    """Key of the hash ``{attempt, worker, queue, crashes}`` of a claimed job."""
    return f"nexus:task:{task_id}:lease"


def queue_depth_lock(queue: str) -> str:
    """Key with a TTL: the process that sets it samples the depth of this queue in this interval."""
    return f"{QUEUE_DEPTH_LOCK}:{queue}"


def task_group(parent_task_id: str) -> str:
    """Key of the set of the job ids of one research task."""
    return f"nexus:task_group:{parent_task_id}"


def task_meta(parent_task_id: str) -> str:
    """Key of the hash with the ``project_id`` of one research task."""
    return f"nexus:task_meta:{parent_task_id}"


def worker_heartbeat(worker_id: str) -> str:
    """Key with a TTL, which each heartbeat of the worker renews."""
    return f"nexus:worker:heartbeat:{worker_id}"


def processing(worker_id: str) -> str:
    """Key of the list of the job ids that one worker has claimed."""
    return f"nexus:processing:{worker_id}"


def dedupe(dedupe_key: str) -> str:
    """Key of the id of the job that was first submitted under a dedupe key."""
    return f"nexus:dedupe:{dedupe_key}"


def collector_stalled(event_id: str) -> str:
    """Key with a TTL of a day: the collector that reported this attempt of a job as stalled."""
    return f"nexus:collector:stalled:{event_id}"


def collector_ticket(digest: str) -> str:
    """Key with a TTL of 30 s: the owner of the one-time ticket that has this digest."""
    return f"nexus:collector:ticket:{digest}"


def log_stream(shard: str = DEFAULT_SHARD) -> str:
    """Key of the stream that is the log: one entry per event, whose field ``e`` holds its JSON."""
    return f"nexus:{{{shard}}}:stream"


def log_producer(producer_id: str, shard: str = DEFAULT_SHARD) -> str:
    """Key with a TTL: the number of the last event appended for one producer."""
    return f"nexus:{{{shard}}}:producer:{producer_id}"


def log_meta(shard: str = DEFAULT_SHARD) -> str:
    """Key of the hash with the log's ``epoch``, which changes when the stream was lost."""
    return f"nexus:{{{shard}}}:meta"
