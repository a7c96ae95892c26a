"""
``CommandObserver``: reads the Redis commands that a coordinator sends.

From their arguments it learns the statuses and errors that the coordinator records, the queues that
it uses, and the jobs that it queues again. It changes no command and awaits nothing.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from otel_bridge.coordinator.shape import error_of, is_same_job, status_of, text
from otel_bridge.events.model import TaskStatus
from otel_bridge.spans.job import Job
from otel_bridge.spans.span_context_manager import safe_repr

__all__ = ["RUNNING_JOB", "CommandObserver", "RunningJob"]

logger = logging.getLogger(__name__)

_PUSHES: Final = frozenset({"LPUSH", "RPUSH", "ZADD"})
_POPS: Final = frozenset(
    {"BRPOP", "BLPOP", "RPOP", "LPOP", "BLMOVE", "LMOVE", "BRPOPLPUSH", "RPOPLPUSH"}
)
_WRITES: Final = frozenset({"SET", "SETEX", "PSETEX", "GETSET", "HSET", "HMSET"})
_MAX_QUEUES: Final = 100
"""A bound for a coordinator that creates a queue for each job or user."""


@dataclass(slots=True, eq=False)
class RunningJob:
    """
    What a coordinator records in Redis about a job while its ``_process_task`` runs it.

    ``_process_task`` is the coordinator's method that runs one job. ``Attempt`` creates this for
    each call, the context variable ``RUNNING_JOB`` holds it, and ``CommandObserver`` fills it in. A
    record; it checks and limits nothing.

    Attributes:
        task_id (str): Id of the job.
        status_keys (frozenset[str]): Redis keys whose values hold the job's status: a text, JSON or
            a hash.
        error_key (str): Redis key whose value is the job's error.
        span (Job): The job's open span.
        status (TaskStatus | None): The last status recorded: pending, processing, completed, failed
            or retrying. None if none was, or one that is no known word for these.
        error (str | None): The last error recorded, of any length; None if none was.
        is_queued_again (bool): Whether the coordinator has put the job into a queue during the
            call; at first False.
    """

    task_id: str
    status_keys: frozenset[str]
    error_key: str
    span: Job
    status: TaskStatus | None = None
    error: str | None = None
    is_queued_again: bool = False

    def record_write(self, key: str, values: tuple[Any, ...]) -> None:
        """
        Take the job's status and error from the arguments of a Redis command that writes a key.

        Sets ``status`` and ``error``; another key, or a value that is neither, changes nothing.
        Texts are read whole, whatever their length.

        Args:
            key: The key that the command writes, its first argument.
            values: Its other arguments, text, bytes or numbers. Those of ``HSET`` alternate: field,
                value, field, value.

        Raises:
            TypeError: A value cannot be hashed; ``CommandObserver`` logs it.
        """
        if key == self.error_key:
            self.error = text(values[-1]) if values else None
        elif key in self.status_keys and values:
            for value in values:
                status = status_of(value)
                if status is not None:
                    self.status = status
                self.error = error_of(value) or self.error
            fields = dict(zip(values[::2], values[1::2], strict=False))
            self.error = error_of({text(k): v for k, v in fields.items()}) or self.error


RUNNING_JOB: ContextVar[RunningJob | None] = ContextVar("otel_bridge_running_job", default=None)


class CommandObserver:
    """
    Reads the commands that a coordinator sends with one asynchronous Redis client or its pipelines.

    Creating it starts this, ``close()`` ends it and may be called twice. A command is never
    changed, delayed or failed by it; an error inside is logged.

    Args:
        client: Its ``execute_command`` and ``pipeline`` are replaced, on the instance, by wrappers
            that read the arguments; ``close()`` removes them. Held by a weak reference.
        queue_prefix: Keys that begin with it are queues.

    Attributes:
        queues: Names of the queues (text) seen so far; after 100 further ones are left out.

    Raises:
        AttributeError: ``client`` does not allow its methods to be replaced.
        TypeError: ``client`` does not allow weak references.
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
        """Remove the wrappers from the client; one that other code has wrapped again stays."""
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
            self._read_command(args)
            if own is not None:
                return own(*args, **options)
            # Looked up at each call, because an instrumentation may wrap the class later.
            target: Any = client()
            return type(target).execute_command(target, *args, **options)

        return execute_command

    def _pipeline(self, client: weakref.ref[Any], own: Any) -> Callable[..., Any]:
        def pipeline(*args: Any, **options: Any) -> Any:
            target: Any = client()
            created = (
                own(*args, **options)
                if own is not None
                else type(target).pipeline(target, *args, **options)
            )
            try:
                self._observe_pipeline(created)
            except Exception:
                # Such as a pipeline of the application's own class, which has __slots__.
                logger.exception("otel-bridge could not observe a pipeline of Redis")
            return created

        return pipeline

    def _observe_pipeline(self, created: Any) -> None:
        original = getattr(created, "execute_command", None)
        if original is None:
            return

        def execute_command(*args: Any, **options: Any) -> Any:
            self._read_command(args)
            return original(*args, **options)

        created.execute_command = execute_command

    def _read_command(self, args: tuple[Any, ...]) -> None:
        try:
            command = args[0]
            if command in _WRITES:
                running = RUNNING_JOB.get()
                if running is not None and len(args) > 2:
                    running.record_write(text(args[1]) or "", args[2:])
            elif command in _PUSHES:
                self._add_queues(args[1:2])
                running = RUNNING_JOB.get()
                if running is not None and any(
                    is_same_job(value, running.task_id) for value in args[2:]
                ):
                    running.is_queued_again = True
            elif command in _POPS:
                self._add_queues(args[1:])
        except Exception:
            name = safe_repr(args[:1])
            logger.exception("otel-bridge could not read the Redis command %s", name)

    def _add_queues(self, arguments: Iterable[Any]) -> None:
        for argument in arguments:
            if argument in self.queues or not isinstance(argument, str | bytes):
                continue
            name = text(argument) or ""
            if name.startswith(self._queue_prefix) and len(self.queues) < _MAX_QUEUES:
                self.queues.add(name)
