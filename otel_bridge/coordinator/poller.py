"""
``CoordinatorPoller``: everything about a coordinator that needs commands to its Redis.

It writes task groups and reads queue depths and job statuses, on the timer thread and on a
connection of its own. While Redis is unreachable, that thread makes attempts of limited duration;
the coordinator itself never waits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import redis
import redis.asyncio

from otel_bridge.bridge import Bridge
from otel_bridge.coordinator.commands import LIST, SORTED_SET, STREAM
from otel_bridge.coordinator.observer import CommandObserver
from otel_bridge.publish.redis_clients import REDIS_ERRORS, close, connect, connect_async
from otel_bridge.publish.redis_failures import failure_reason
from otel_bridge.publish.redis_options import NO_HANDSHAKE, connection_options
from otel_bridge.workers.queue_depth import QueueDepthSampler

__all__ = ["CoordinatorPoller"]

logger = logging.getLogger(__name__)

_GROUP_DELAY_SEC: Final = 0.05
"""Jobs that are submitted within this time are written together."""
_FIRST_DEPTH_SEC: Final = 0.05
"""The first queue is sampled this long after its first job, so that more of them are there."""
_GROUP_TTL_SEC: Final = 24 * 3600
_MAX_GROUP_PENDING: Final = 100_000
"""Jobs that wait for their group to be written, at most; further ones are left out and counted."""
_LENGTH_OF: Final = {LIST: "LLEN", SORTED_SET: "ZCARD", STREAM: "XLEN"}
_CONNECTION_FIELDS: Final = ("host", "port", "db", "username", "password", "credential_provider")


class CoordinatorPoller:
    """
    Sends the commands that monitoring needs to a coordinator's Redis.

    It reads queue depths and job statuses, and writes task groups (a set with the job ids of each
    research task). Created by ``InstrumentedCoordinator``; the sampling of queue depths starts when
    the observer has seen the first queue, and ``close()`` stops it. All commands run on the timer
    thread (one for the process), each with a timeout of ``send_timeout_ms`` (100 ms), and an outage
    is logged, not raised. Without an address of that Redis a warning is logged, and nothing is read
    or written.

    Args:
        bridge: The object that ``configure()`` makes. Its timer runs everything here, and its
            ``redis_keys`` name the groups. Its settings give the timeout of each command and the
            Redis to use if the client has no address of its own (``REDIS_URL``).
        client: The coordinator's asynchronous client; only its address and credentials are used.
        observer: Knows the coordinator's queues (at most 100).
        depth_interval_sec: Seconds between two samples of the queue depths (the first is taken when
            the first queue is seen), and before groups that
            could not be written are tried again; the caller's default is 5. One process of all that
            use this Redis takes each sample.
    """

    def __init__(
        self, bridge: Bridge, client: Any, observer: CommandObserver, depth_interval_sec: float
    ) -> None:
        self._bridge = bridge
        self._keys = bridge.redis_keys
        self._retry_interval_sec = depth_interval_sec
        self._options = _options_of(client)
        self._redis: redis.Redis | None = None
        self._groups: dict[str, list[str]] = {}
        self._projects: dict[str, str] = {}
        self._pending = 0
        self._left_out = 0
        self._refused = 0
        self._is_refusing = False
        self._is_failing = False
        self._is_closed = False
        if self._options is None and bridge.settings.redis_url is None:
            logger.warning(
                "the address of %s is unknown: no queue depths, groups and phase counts; "
                "set REDIS_URL to the coordinator's Redis",
                type(client).__qualname__,  # its repr may show a password
            )
        self._observer = observer
        self._sampler: QueueDepthSampler | None = None
        if bridge.bus is not None:
            self._sampler = QueueDepthSampler(
                names=lambda: sorted(observer.queues),
                read=self._read_depths,
                set_if_absent=self._set_if_absent,
                keys=bridge.redis_keys,
                locks_each_queue=False,
                may_block=False,
                timer=bridge.timer,
                bus=bridge.bus,
                otel_metrics=bridge.otel_metrics,
                interval_sec=depth_interval_sec,
            )
        # Not before: a sample without the first job would be the only one of the interval.
        observer.on_first_queue = lambda: self.call_later(_FIRST_DEPTH_SEC, self._start_sampling)

    def _start_sampling(self) -> None:
        if self._sampler is not None:
            self._sampler.start()

    def call_later(self, delay_sec: float, function: Callable[[], None]) -> None:
        """
        Call a function once on the timer thread, unless this poller is closed by then.

        Returns at once, from any thread; never raises.

        Args:
            delay_sec: Earliest time of the call, in seconds from now; 0: as soon as possible.
            function: Called without arguments. What it raises is logged.
        """

        def unless_closed() -> None:
            if not self._is_closed:
                function()

        self._bridge.timer.call_later(delay_sec, unless_closed)

    def close(self) -> None:
        """
        Write the task groups that wait, then stop; returns at once, and may be called twice.

        A task group is a Redis set with the job ids of a research task. The timer thread writes
        them, with one attempt of 100 ms (``send_timeout_ms``) for each answer; what cannot be
        written then is lost, and a warning has the number of jobs. Never raises.
        """
        self._bridge.timer.call_later(0, self._finish)

    def _finish(self) -> None:
        self._write_groups()
        self._log_left_out()
        self._log_refused()
        if self._pending:
            logger.warning(
                "%d jobs were left out of their task groups: the Redis cannot be used",
                self._pending,
            )
            self._groups.clear()
            self._pending = 0
        self._is_closed = True
        if self._sampler is not None:
            self._sampler.stop()
        if self._redis is not None:
            close(self._redis)

    def connect_async(self) -> redis.asyncio.Redis:
        """
        Return a new asynchronous client of the same Redis, for another event loop; not ``async``.

        It connects at its first command. Each command has the timeout ``send_timeout_ms`` of the
        settings (100 ms) and raises redis-py's errors, such as ``redis.ConnectionError``. The
        caller closes it. If the coordinator's address is unknown, it is the Redis of ``REDIS_URL``,
        else of ``redis://127.0.0.1:6379``.
        """
        timeout_sec = self._bridge.settings.send_timeout_ms / 1000
        if self._options is None:
            url = self._bridge.settings.redis_url or "redis://127.0.0.1:6379"
            client: redis.asyncio.Redis = connect_async(url, socket_timeout=timeout_sec)
            return client
        return redis.asyncio.Redis(**self._options, **NO_HANDSHAKE, socket_timeout=timeout_sec)

    # --- groups ----------------------------------------------------------------------------

    def add_to_group(
        self, parent_task_id: str, task_ids: list[str], project_id: str | None
    ) -> None:
        """
        Add jobs to the set ``<prefix>:task_group:{parent_task_id}``; returns at once; never raises.

        They are written 0.05 s later, or when Redis can be used again, and expire 24 hours after
        the last write. At most 100,000 jobs wait; further ones are left out. A warning says so at
        once, and another one, when the waiting jobs have been written, says how many were left out.
        If Redis answers a write with an error, such as ``NOPERM``, its jobs are left out as well: a
        warning has the reason at once, and another one, when a write succeeds, their number.

        Args:
            parent_task_id: Id of the research task.
            task_ids: Ids of its new jobs; left out together if they are too many.
            project_id: Written to ``<prefix>:task_meta:{parent_task_id}``, unless a project is
                there.
        """
        if self._pending + len(task_ids) > _MAX_GROUP_PENDING:
            if not self._left_out:
                logger.warning(
                    "%d jobs wait to be added to their task groups; further jobs are left out "
                    "until these are written",
                    self._pending,
                )
            self._left_out += len(task_ids)
            return
        is_write_due = bool(self._groups)
        self._groups.setdefault(parent_task_id, []).extend(task_ids)
        if project_id is not None:
            self._projects[parent_task_id] = project_id
        self._pending += len(task_ids)
        if not is_write_due:
            self.call_later(_GROUP_DELAY_SEC, self._write_groups)

    def _write_groups(self) -> None:
        groups, self._groups = self._groups, {}
        projects, self._projects = self._projects, {}
        if not groups:
            return

        def fill(pipeline: Any) -> None:
            for parent, ids in groups.items():
                pipeline.sadd(self._keys.task_group(parent), *ids)
                pipeline.expire(self._keys.task_group(parent), _GROUP_TTL_SEC)
            for parent, project_id in projects.items():
                pipeline.hsetnx(self._keys.task_meta(parent), "project_id", project_id)
                pipeline.expire(self._keys.task_meta(parent), _GROUP_TTL_SEC, nx=True)

        answers = self.run_pipeline(fill)
        if answers is not None:
            self._pending -= sum(map(len, groups.values()))
            self._log_left_out()
            self._note_refusals(groups, answers)
            return
        # Kept for the next attempt: SADD and HSETNX may be repeated without harm.
        for parent, ids in groups.items():
            self._groups.setdefault(parent, []).extend(ids)
        self._projects = {**projects, **self._projects}
        self.call_later(self._retry_interval_sec, self._write_groups)

    def _note_refusals(self, groups: Mapping[str, list[str]], answers: list[Any]) -> None:
        # Each group and then each project is a write and an EXPIRE. The EXPIRE may fail alone: on
        # Redis 6.2, which does not know its option NX.
        writes = answers[::2]
        refusals = [answer for answer in writes if isinstance(answer, Exception)]
        if not refusals:
            self._log_refused()
            return
        if not self._is_refusing:
            logger.warning(
                "jobs are left out of their task groups: the coordinator's Redis answers %s",
                failure_reason(refusals[0]),
            )
        self._is_refusing = True
        self._refused += sum(
            len(ids)
            for ids, answer in zip(groups.values(), writes, strict=False)
            if isinstance(answer, Exception)
        )

    def _log_refused(self) -> None:
        refused, self._refused = self._refused, 0
        self._is_refusing = False
        if refused:
            logger.warning(
                "%d jobs were left out of their task groups, because Redis refused to write them",
                refused,
            )

    def _log_left_out(self) -> None:
        left_out, self._left_out = self._left_out, 0
        if left_out:
            logger.warning(
                "%d jobs were left out of their task groups, because %d may wait at most",
                left_out,
                _MAX_GROUP_PENDING,
            )

    # --- commands --------------------------------------------------------------------------

    def _set_if_absent(self, key: str, ttl_ms: int) -> bool:
        answers = self.run_pipeline(lambda p: p.set(key, "1", nx=True, px=ttl_ms))
        # An error as the answer counts as set: credentials that may not write this key must not
        # leave the queues without any sample.
        return bool(answers and answers[0])

    def _read_depths(self, names: Sequence[str]) -> dict[str, int] | None:
        def fill(pipeline: Any) -> None:
            for name in names:
                pipeline.execute_command(_LENGTH_OF[self._observer.kinds.get(name, LIST)], name)

        answers = self.run_pipeline(fill)
        if answers is None:
            return None
        return {
            name: depth
            for name, depth in zip(names, answers, strict=True)
            if isinstance(depth, int)
        }

    def run_pipeline(self, fill: Callable[[Any], Any]) -> list[Any] | None:
        """
        Run commands as one pipeline, without a transaction; call it on the timer thread.

        Blocks until Redis answers, with the timeout ``send_timeout_ms`` of the settings (100 ms)
        for connecting and again for the answer. Errors of Redis are not raised, what ``fill``
        raises is. The number of commands is not limited.

        Args:
            fill: Called once with the pipeline; adds the commands to the pipeline that it is given.

        Returns:
            An answer for each command, which is an exception if Redis refused that command. None
            while Redis is unreachable, where a warning is logged when this begins and a line when
            it ends; and None, without a log line, if no address of a Redis is known.
        """
        try:
            if self._redis is None:
                self._redis = self._connect()
            if self._redis is None:
                return None
            pipeline = self._redis.pipeline(transaction=False)
            fill(pipeline)
            answers: list[Any] = pipeline.execute(raise_on_error=False)
        except REDIS_ERRORS as error:
            if not self._is_failing:
                logger.warning("the coordinator's Redis cannot be used: %s", failure_reason(error))
            self._is_failing = True
            return None
        if self._is_failing:
            logger.info("the coordinator's Redis can be used again")
        self._is_failing = False
        return answers

    def _connect(self) -> redis.Redis | None:
        timeout_sec = self._bridge.settings.send_timeout_ms / 1000
        limits = connection_options(timeout_sec, timeout_sec)
        if self._options is not None:
            return redis.Redis(**self._options, **limits)
        if self._bridge.settings.redis_url is not None:
            client: redis.Redis = connect(self._bridge.settings.redis_url, **limits)
            return client
        return None


def _options_of(client: Any) -> dict[str, Any] | None:
    """Address and credentials of an asyncio client; None if its pool has none (Sentinel)."""
    pool: Any = getattr(client, "connection_pool", None)
    given = getattr(pool, "connection_kwargs", None)
    if not isinstance(given, Mapping) or hasattr(pool, "sentinel_manager"):
        return None
    options = {name: given[name] for name in _CONNECTION_FIELDS if given.get(name) is not None}
    class_names = {base.__name__ for base in pool.connection_class.__mro__}
    if "path" in given:
        options = {
            name: value for name, value in options.items() if name not in ("host", "port")
        } | {"unix_socket_path": given["path"]}
    elif "host" not in given:
        return None
    if "SSLConnection" in class_names:
        options["ssl"] = True
        options |= {name: value for name, value in given.items() if name.startswith("ssl_")}
    return options
