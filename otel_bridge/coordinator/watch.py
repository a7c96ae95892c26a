"""
What is seen of a coordinator beside its methods: the Redis commands it sends, and its keys.

``CommandObserver`` reads the arguments of commands on their way out: the statuses written, the
queues used, a job pushed again. It changes nothing and awaits nothing. ``CoordinatorPoller`` does what
needs Redis, on the timer's thread and a connection of its own: groups, queue depths, phase counts. A
Redis that is away costs bounded attempts there, and the coordinator nothing.
"""

from __future__ import annotations

import functools
import logging
import weakref
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

from otel_bridge.bridge import Bridge
from otel_bridge.coordinator.shape import error_of, is_same_job, status_of, text
from otel_bridge.events.model import TaskStatus
from otel_bridge.publish import redis_keys
from otel_bridge.publish.redis_clients import REDIS_ERRORS, close, connect, connect_async
from otel_bridge.spans.blocks import Job, Phase
from otel_bridge.spans.context_managers import queue_depth

__all__ = ["RUNNING", "CommandObserver", "CoordinatorPoller", "PhaseCount", "RunningJob"]

logger = logging.getLogger(__name__)

_PUSHES: Final = frozenset({"LPUSH", "RPUSH", "ZADD"})
_POPS: Final = frozenset(
    {"BRPOP", "BLPOP", "RPOP", "LPOP", "BLMOVE", "LMOVE", "BRPOPLPUSH", "RPOPLPUSH"}
)
_WRITES: Final = frozenset({"SET", "SETEX", "PSETEX", "GETSET", "HSET", "HMSET"})
_MAX_QUEUES: Final = 100
_GROUP_DELAY_SEC: Final = 0.05
_GROUP_TTL_SEC: Final = 24 * 3600
_MAX_GROUP_PENDING: Final = 100_000
_PIPELINE_COMMANDS: Final = 1000
_CONNECTION_FIELDS: Final = ("host", "port", "db", "username", "password", "credential_provider")


@dataclass(slots=True, eq=False)
class RunningJob:
    """One call of the process method, and what the coordinator has recorded in it so far."""

    task_id: str
    status_keys: frozenset[str]
    error_key: str
    block: Job
    status: TaskStatus | None = None
    error: str | None = None
    is_queued_again: bool = False

    def wrote(self, key: str, values: tuple[Any, ...]) -> None:
        """Take notice of a write; fields of a hash come as names and values by turns."""
        if key == self.error_key:
            self.error = text(values[-1]) if values else None
        elif key in self.status_keys and values:
            for value in values:
                status = status_of(value)
                if status is not None:
                    self.status = status
                self.error = error_of(value) or self.error
            named = dict(zip(values[::2], values[1::2], strict=False))
            self.error = error_of({text(k): v for k, v in named.items()}) or self.error


RUNNING: ContextVar[RunningJob | None] = ContextVar("otel_bridge_running_job", default=None)


class CommandObserver:
    """
    Reads the commands of one asynchronous Redis client, pipelines included.

    Args:
        client: Gets an ``execute_command`` and a ``pipeline`` of its own; ``close`` removes them.
        queue_prefix: Keys that begin with it are queues.
    """

    def __init__(self, client: Any, queue_prefix: str) -> None:
        self._client = weakref.ref(client)
        self._queue_prefix = queue_prefix
        self.queues: set[str] = set()
        self._patched: dict[str, Any] = {}
        for name, wrap in (("execute_command", self._observed), ("pipeline", self._pipeline)):
            own = client.__dict__.get(name)
            if not callable(getattr(client, name, None)):
                continue
            wrapper = wrap(weakref.ref(client), own)
            setattr(client, name, wrapper)
            self._patched[name] = (wrapper, own)

    def close(self) -> None:
        """Give the client its own methods back, unless somebody has wrapped them since."""
        client = self._client()
        for name, (wrapper, own) in self._patched.items():
            if client is None or client.__dict__.get(name) is not wrapper:
                continue
            if own is None:
                delattr(client, name)
            else:
                setattr(client, name, own)
        self._patched.clear()

    def _observed(self, client: weakref.ref[Any], own: Any) -> Callable[..., Any]:
        def execute_command(*args: Any, **options: Any) -> Any:
            self._look(args)
            if own is not None:
                return own(*args, **options)
            # Looked up anew each time: an instrumentation may wrap the class later.
            target: Any = client()
            return type(target).execute_command(target, *args, **options)

        return execute_command

    def _pipeline(self, client: weakref.ref[Any], own: Any) -> Callable[..., Any]:
        def pipeline(*args: Any, **options: Any) -> Any:
            target: Any = client()
            made = (
                own(*args, **options)
                if own is not None
                else type(target).pipeline(target, *args, **options)
            )
            inner = getattr(made, "execute_command", None)
            if inner is not None:

                def execute_command(*args: Any, **options: Any) -> Any:
                    self._look(args)
                    return inner(*args, **options)

                made.execute_command = execute_command
            return made

        return pipeline

    def _look(self, args: tuple[Any, ...]) -> None:
        try:
            command = args[0]
            if command in _WRITES:
                running = RUNNING.get()
                if running is not None and len(args) > 2:
                    running.wrote(text(args[1]) or "", args[2:])
            elif command in _PUSHES:
                self._learn(args[1:2])
                running = RUNNING.get()
                if running is not None and any(
                    is_same_job(value, running.task_id) for value in args[2:]
                ):
                    running.is_queued_again = True
            elif command in _POPS:
                self._learn(args[1:])
        except Exception:
            logger.exception("otel-bridge could not read the Redis command %r", args[:1])

    def _learn(self, names: Iterable[Any]) -> None:
        for name in names:
            if name in self.queues or not isinstance(name, str | bytes):
                continue
            queue = text(name) or ""
            is_queue = queue.startswith(self._queue_prefix) and len(self.queues) < _MAX_QUEUES
            if is_queue and queue not in self.queues:
                self.queues.add(queue)


class CoordinatorPoller:
    """
    The Redis side of one coordinator, on the timer's thread.

    Args:
        bridge: Its timer runs everything here, with the timeouts of its settings.
        client: The coordinator's own client; only its address and credentials are used.
        observer: Knows the queues.
        depth_interval_sec: How often the queues' depth is published, by one process of all.
    """

    def __init__(
        self, bridge: Bridge, client: Any, observer: CommandObserver, depth_interval_sec: float
    ) -> None:
        self._bridge = bridge
        self._observer = observer
        self._depth_interval_sec = depth_interval_sec
        self._options = _connection_options(client)
        self._redis: redis.Redis | None = None
        self._groups: dict[str, list[str]] = {}
        self._projects: dict[str, str] = {}
        self._pending = 0
        self.not_grouped = 0
        """Jobs left out of their group because Redis was away for too long."""
        self._is_failing = False
        self._is_closed = False
        if self._options is None and bridge.settings.redis_url is None:
            logger.warning(
                "the address of %r is unknown: no queue depths, groups and phase counts; "
                "set REDIS_URL to the coordinator's Redis",
                client,
            )
        self.call_later(0, self._sample)

    def call_later(self, delay_sec: float, function: Callable[[], None]) -> None:
        """Run on the timer's thread, unless closed by then."""

        def unless_closed() -> None:
            if not self._is_closed:
                function()

        self._bridge.timer.call_later(delay_sec, unless_closed)

    def close(self) -> None:
        """Write the groups that wait, then do nothing more."""
        self._bridge.timer.call_later(0, self._finish)

    def _finish(self) -> None:
        self._write_groups()
        self._is_closed = True
        if self._redis is not None:
            close(self._redis)

    def connect_async(self) -> redis.asyncio.Redis:
        """A client for another event loop, with the same address."""
        timeout_sec = self._bridge.settings.send_timeout_ms / 1000
        if self._options is None:
            url = self._bridge.settings.redis_url or "redis://127.0.0.1:6379"
            found: redis.asyncio.Redis = connect_async(url, socket_timeout=timeout_sec)
            return found
        return redis.asyncio.Redis(**self._options, socket_timeout=timeout_sec)

    # --- groups ----------------------------------------------------------------------------

    def submitted(self, parent_task_id: str, task_ids: list[str], project_id: str | None) -> None:
        """Add jobs to ``nexus:task_group:{parent}``, soon."""
        if self._pending + len(task_ids) > _MAX_GROUP_PENDING:
            self.not_grouped += len(task_ids)
            return
        is_due = bool(self._groups)
        self._groups.setdefault(parent_task_id, []).extend(task_ids)
        if project_id is not None:
            self._projects[parent_task_id] = project_id
        self._pending += len(task_ids)
        if not is_due:
            self.call_later(_GROUP_DELAY_SEC, self._write_groups)

    def _write_groups(self) -> None:
        groups, self._groups = self._groups, {}
        projects, self._projects = self._projects, {}
        if not groups:
            return

        def fill(pipeline: Any) -> None:
            for parent, ids in groups.items():
                pipeline.sadd(redis_keys.task_group(parent), *ids)
                pipeline.expire(redis_keys.task_group(parent), _GROUP_TTL_SEC)
            for parent, project_id in projects.items():
                pipeline.hsetnx(redis_keys.task_meta(parent), "project_id", project_id)
                pipeline.expire(redis_keys.task_meta(parent), _GROUP_TTL_SEC, nx=True)

        if self.run(fill) is not None:
            self._pending -= sum(map(len, groups.values()))
            return
        # Kept for the next attempt; SADD and HSETNX may be repeated.
        for parent, ids in groups.items():
            self._groups.setdefault(parent, []).extend(ids)
        self._projects = {**projects, **self._projects}
        self.call_later(self._depth_interval_sec, self._write_groups)

    # --- queue depth and statuses -----------------------------------------------------------

    def _sample(self) -> None:
        self.call_later(self._depth_interval_sec, self._sample)
        names = sorted(self._observer.queues)
        if not names:
            return
        ttl_ms = max(1, int(self._depth_interval_sec * 900))
        turn = self.run(lambda p: p.set(redis_keys.QUEUE_DEPTH_LOCK, "1", nx=True, px=ttl_ms))
        if not turn or not turn[0]:
            return

        def fill(pipeline: Any) -> None:
            for name in names:
                pipeline.llen(name)

        depths = self.run(fill)
        if depths is not None:
            queue_depth(
                {
                    name: depth
                    for name, depth in zip(names, depths, strict=True)
                    if isinstance(depth, int)
                }
            )

    def run(self, fill: Callable[[Any], Any]) -> list[Any] | None:
        """Run a pipeline; None when Redis is away. Errors of single commands are in the list."""
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
                logger.warning("the coordinator's Redis cannot be looked at: %s", error)
            self._is_failing = True
            return None
        if self._is_failing:
            logger.info("the coordinator's Redis can be looked at again")
        self._is_failing = False
        return answers

    def _connect(self) -> redis.Redis | None:
        timeout_sec = self._bridge.settings.send_timeout_ms / 1000
        limits: dict[str, Any] = {
            "socket_timeout": timeout_sec,
            "socket_connect_timeout": timeout_sec,
            "retry": Retry(NoBackoff(), 0),
        }
        if self._options is not None:
            return redis.Redis(**self._options, **limits)
        if self._bridge.settings.redis_url is not None:
            found: redis.Redis = connect(self._bridge.settings.redis_url, **limits)
            return found
        return None


def _connection_options(client: Any) -> dict[str, Any] | None:
    """Address and credentials of an asyncio client; None for a pool that has none (Sentinel)."""
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


class PhaseCount:
    """
    Counts the jobs of one phase by their recorded statuses, every few seconds and at its end.

    Args:
        block: The phase; gets ``progress``.
        status_key: The key of a job's status.
        interval_sec: How often.
    """

    def __init__(self, block: Phase, status_key: Callable[[str], str], interval_sec: float) -> None:
        self._block = block
        self._status_key = status_key
        self._interval_sec = interval_sec
        self._ids: list[str] = []
        self._ended: dict[str, TaskStatus] = {}
        self._sidecar: CoordinatorPoller | None = None
        self._is_open = True

    def submitted(self, task_ids: Iterable[str], sidecar: CoordinatorPoller | None) -> None:
        """More jobs of this phase have been queued."""
        self._ids.extend(task_ids)
        self._report()
        if self._sidecar is None and sidecar is not None:
            self._sidecar = sidecar
            sidecar.call_later(self._interval_sec, self._count)

    def close(self) -> None:
        """The phase ends; one last count follows."""
        self._is_open = False
        if self._sidecar is not None:
            self._sidecar.call_later(0, self._count)

    def _count(self) -> None:
        sidecar = self._sidecar
        if sidecar is None:
            return
        waiting = [task_id for task_id in self._ids if task_id not in self._ended]
        for begin in range(0, len(waiting), _PIPELINE_COMMANDS):
            chunk = waiting[begin : begin + _PIPELINE_COMMANDS]
            found = sidecar.run(functools.partial(self._ask, chunk))
            for task_id, value in zip(chunk, found or (), strict=False):
                status = None if isinstance(value, Exception) else status_of(value)
                if status in (TaskStatus.COMPLETED, TaskStatus.FAILED):
                    self._ended[task_id] = status
        self._report()
        if self._is_open:
            sidecar.call_later(self._interval_sec, self._count)

    def _ask(self, task_ids: list[str], pipeline: Any) -> None:
        for task_id in task_ids:
            pipeline.get(self._status_key(task_id))

    def _report(self) -> None:
        statuses = list(self._ended.values())
        failed = statuses.count(TaskStatus.FAILED)
        total = len(self._ids)
        self._block.progress(
            completed=len(statuses) - failed,
            failed=failed,
            pending=total - len(statuses),
            total=total,
        )
