"""
``RedisKeys``: every Redis key by name; channel names come from the settings.

All names are in this module so that they are easy to search for, and so that an operator can write
an ACL. They begin with ``MONITORING_KEY_PREFIX`` (``nexus``), so applications with two prefixes can
share a Redis. ``nexus:task_status:*`` belongs to another product on the same Redis and is never
used. The keys of the log contain a shard tag in braces, so that the keys of one shard share a
Cluster slot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from otel_bridge.settings import DEFAULT_KEY_PREFIX

__all__ = ["DEFAULT_KEYS", "DEFAULT_SHARD", "RedisKeys"]

DEFAULT_SHARD: Final = "0"


@dataclass(frozen=True, slots=True)
class RedisKeys:
    """
    The Redis keys of one application: its properties and methods only build names.

    None of them connects, checks its arguments or raises. Ids are put into the names unchanged.
    Immutable.

    Attributes:
        prefix: ``MONITORING_KEY_PREFIX``: the first part of every key, without the colon after it;
            default ``nexus``. Neither its characters nor its length are checked here.
    """

    prefix: str = DEFAULT_KEY_PREFIX

    @property
    def task_queue_prefix(self) -> str:
        """First part of the names of the job queues, with the colon at its end."""
        return f"{self.prefix}:tasks:"

    @property
    def task_prefix(self) -> str:
        """First part of the keys of one job, with the colon at its end."""
        return f"{self.prefix}:task:"

    def queue(self, priority: str) -> str:
        """List of the jobs of one priority (high, normal, low): LPUSH, claimed on the right."""
        return f"{self.task_queue_prefix}{priority}_priority"

    @property
    def queues(self) -> tuple[str, str, str]:
        """The job queues, in the order in which workers claim from them."""
        return self.queue("high"), self.queue("normal"), self.queue("low")

    @property
    def research_queue(self) -> str:
        """List of research tasks that wait for an orchestrator: LPUSH, claimed on the right."""
        return f"{self.prefix}:research_tasks"

    @property
    def leases(self) -> str:
        """Sorted set of claimed job ids by lease expiry (milliseconds of Redis time)."""
        return f"{self.prefix}:leases"

    @property
    def delayed(self) -> str:
        """Sorted set of job ids that wait for a retry, by due time (milliseconds of Redis time)."""
        return f"{self.prefix}:delayed"

    @property
    def dead_letters(self) -> str:
        """The dead-letter queue: list of the ids of jobs that are not retried any more."""
        return f"{self.prefix}:dead"

    @property
    def wake_channel(self) -> str:
        """
        Name of the channel for wake-up notifications: ``nexus:wake`` with the default prefix.

        By these Pub/Sub messages, ``queued`` or ``ended <parent task id>``, coordinators (which
        queue and claim jobs) let each other look at once. Only the name is built here, which cannot
        fail. A lost notification delays a coordinator; it loses no job.
        """
        return f"{self.prefix}:wake"

    @property
    def collector_leader(self) -> str:
        """Key with a TTL: the id of the collector that leads, which renews the key."""
        return f"{self.prefix}:collector:leader"

    def task_status(self, task_id: str) -> str:
        """Key of the status of a job or research task: one of the five statuses, as text."""
        return f"{self.task_prefix}{task_id}:status"

    def task_data(self, task_id: str) -> str:
        """Key of the job as JSON."""
        return f"{self.task_prefix}{task_id}:data"

    def task_result(self, task_id: str) -> str:
        """Key of the job's result as JSON."""
        return f"{self.task_prefix}{task_id}:result"

    def task_error(self, task_id: str) -> str:
        """Key of the job's last error as text."""
        return f"{self.task_prefix}{task_id}:error"

    def task_lease(self, task_id: str) -> str:
        """Key of the hash ``{attempt, worker, queue, crashes}`` of a job that a worker claimed."""
        return f"{self.task_prefix}{task_id}:lease"

    def task_group(self, parent_task_id: str) -> str:
        """Key of the set of the job ids of one research task."""
        return f"{self.prefix}:task_group:{parent_task_id}"

    def task_meta(self, parent_task_id: str) -> str:
        """Key of the hash with the ``project_id`` of one research task."""
        return f"{self.prefix}:task_meta:{parent_task_id}"

    def worker_heartbeat(self, worker_id: str) -> str:
        """Key with a TTL (30 s by default), which each heartbeat of the worker renews."""
        return f"{self.prefix}:worker:heartbeat:{worker_id}"

    def processing(self, worker_id: str) -> str:
        """Key of the list of the job ids that one worker has claimed."""
        return f"{self.prefix}:processing:{worker_id}"

    def dedupe(self, dedupe_key: str) -> str:
        """Key of the id of the job that was first submitted under a dedupe key."""
        return f"{self.prefix}:dedupe:{dedupe_key}"

    def queue_depth_lock(self, queue: str | None = None) -> str:
        """
        Key with a TTL: the process that sets it publishes the depths of queues in this interval.

        The depth is the number of jobs that wait. Only builds the name and never raises.
        ``QueueDepthSampler`` sets the key for 0.9 of an interval (4.5 s by default).

        Args:
            queue: The queue, for workers that serve different ones; default None: all queues.
        """
        lock = f"{self.prefix}:queue_depth:turn"
        return lock if queue is None else f"{lock}:{queue}"

    @property
    def collectors(self) -> str:
        """Sorted set of the collectors that share the fold, by the end of their entry in ms."""
        return f"{self.prefix}:{{{DEFAULT_SHARD}}}:collectors"

    @property
    def collectors_info(self) -> str:
        """Hash of what each of these collectors says of itself, as JSON, by its id."""
        return f"{self.prefix}:{{{DEFAULT_SHARD}}}:collectors:info"

    @property
    def collectors_joined(self) -> str:
        """Sorted set of pairs of tasks that share a trace, as JSON, by when that was seen in ms."""
        return f"{self.prefix}:{{{DEFAULT_SHARD}}}:collectors:joined"

    def collector_stalled(self, event_id: str) -> str:
        """Key with a TTL of a day: the collector that reported this attempt of a job as stalled."""
        return f"{self.prefix}:collector:stalled:{event_id}"

    def collector_ticket(self, digest: str) -> str:
        """Key with a TTL of 30 s: the owner of the one-time ticket that has this digest."""
        return f"{self.prefix}:collector:ticket:{digest}"

    def collector_session(self, digest: str) -> str:
        """Key with a TTL of 12 h: who has signed in; where several collectors share a port."""
        return f"{self.prefix}:collector:session:{digest}"

    def collector_sessions(self, digest: str) -> str:
        """Key with a TTL of 12 h: a sorted set of the sessions of one account, the oldest first."""
        return f"{self.prefix}:collector:sessions:{digest}"

    def log_stream(self, shard: str = DEFAULT_SHARD) -> str:
        """
        Key of the stream that is the log: one entry per event, with its JSON in field ``e``.

        Only builds the name, ``nexus:{0}:stream`` by default, and never raises. The sender trims
        the stream to about ``MONITORING_STREAM_MAX_EVENTS`` (100,000) entries.

        Args:
            shard: Text in the braces of the key, which decides its Cluster slot: one of
                ``shards.layout.TAGS``; default ``0``. Not checked.
        """
        return f"{self.prefix}:{{{shard}}}:stream"

    def log_producer(self, producer_id: str, shard: str = DEFAULT_SHARD) -> str:
        """
        Key of a producer's last appended event number, by which the log skips repeated events.

        A producer is one process that sends. Only builds the name, ``nexus:{0}:producer:<id>`` by
        default, and never raises. The sender sets the key with a TTL of
        ``MONITORING_PRODUCER_TTL_SEC`` (3,600 s), again with each new batch.

        Args:
            producer_id: Unique for each process that sends; not checked.
            shard: As for ``log_stream``.
        """
        return f"{self.prefix}:{{{shard}}}:producer:{producer_id}"

    def log_meta(self, shard: str = DEFAULT_SHARD) -> str:
        """
        Key of the hash with the log's ``epoch``, which changes when the stream was lost.

        The log is the stream of all events. Only builds the name, ``nexus:{0}:meta`` by default,
        and never raises. The key has no TTL.

        Args:
            shard: As for ``log_stream``.
        """
        return f"{self.prefix}:{{{shard}}}:meta"

    def log_layout(self, shard: str = DEFAULT_SHARD) -> str:
        """
        Key of the hash that says how many shards (streams) the log has; missing: one.

        Only builds the name, ``nexus:{0}:layout`` by default, and never raises. ``otel-bridge
        shards`` writes it; the key has no TTL. ``shards.layout`` has its fields.

        Args:
            shard: As for ``log_stream``; the hash is in shard ``0`` only.
        """
        return f"{self.prefix}:{{{shard}}}:layout"

    def node(self, span_id: str, shard: str = DEFAULT_SHARD) -> str:
        """
        Key of the hash with what is kept of one span beside the log: the stack of its failure.

        Only builds the name, ``nexus:{0}:node:<span_id>`` by default, and never raises. The fields
        are ``stack``, the text compressed by zlib, and ``project``. The sender sets a TTL of a day.

        Args:
            span_id: 16 hex digits; not checked.
            shard: Text in the braces of the key, which decides its Cluster slot; default ``0``, the
                only one in use.
        """
        return f"{self.prefix}:{{{shard}}}:node:{span_id}"

    def lines(self, span_id: str, shard: str = DEFAULT_SHARD) -> str:
        """
        Key of the list of the last 200 log lines of one node (span), kept beside the log.

        Only builds the name, ``nexus:{0}:lines:<span_id>`` by default, and never raises. Each
        element is JSON, ``[ms, level, logger, text, n]``. The publisher sets a TTL of an hour, and
        another one when the node ends: 15 minutes if it completed, a day if it failed.

        Args:
            span_id: 16 hex digits; not checked.
            shard: Text in the braces of the key, which decides its Cluster slot; default ``0``, the
                only one in use.
        """
        return f"{self.prefix}:{{{shard}}}:lines:{span_id}"

    def lines_index(self, shard: str = DEFAULT_SHARD) -> str:
        """
        Key of the sorted set of span ids that have log lines, by the time of a recent one in ms.

        Only builds the name, ``nexus:{0}:lines:index`` by default, and never raises. Publishers add
        a span once a minute while it writes; the leader of the collectors removes the oldest.

        Args:
            shard: Text in the braces of the key, which decides its Cluster slot; default ``0``, the
                only one in use.
        """
        return f"{self.prefix}:{{{shard}}}:lines:index"


DEFAULT_KEYS: Final = RedisKeys()
"""The keys with the prefix ``nexus``."""
