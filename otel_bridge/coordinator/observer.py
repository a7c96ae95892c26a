"""
``CommandObserver``: reads the Redis commands that a coordinator sends.

From their arguments it learns the statuses and errors that the coordinator records, the queues that
it uses, and the jobs that it queues. It changes no command and awaits nothing of its own. What a
command says counts when Redis has executed it, in a pipeline too.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import sys
import weakref
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any, Final, Protocol

from otel_bridge.coordinator.calls import OPEN_WORKER
from otel_bridge.coordinator.commands import LIST, Push, Write, command_of
from otel_bridge.coordinator.running import RUNNING_JOB, RunningJob
from otel_bridge.coordinator.shape import is_same_job, text
from otel_bridge.spans.scope import current_scope
from otel_bridge.spans.span_context_manager import safe_repr

__all__ = ["POPPED", "SUBMISSION", "CommandObserver", "ReceivesPushes"]

logger = logging.getLogger(__name__)

_MAX_QUEUES: Final = 100
"""A bound for a coordinator that creates a queue for each job or user."""
_MAX_KEYS: Final = 1000
"""Keys remembered, at most: a list for each job would fill the memory."""


class ReceivesPushes(Protocol):
    """
    A submission (a call of ``submit_tasks``), as the observer of its commands sees it.

    Attributes:
        is_closed: Whether it is over: then nothing is recorded any more.
    """

    is_closed: bool

    def note_push(
        self, queue: str | None, values: tuple[Any, ...], error: BaseException | None
    ) -> None:
        """Record elements that were pushed to a queue; ``error``: why they were not."""

    def note_failure(self, error: BaseException) -> None:
        """Record that another command has failed."""


SUBMISSION: ContextVar[ReceivesPushes | None] = ContextVar("otel_bridge_submission", default=None)
"""The submission that the caller runs in."""


POPPED: ContextVar[tuple[str, Any] | None] = ContextVar("otel_bridge_popped", default=None)
"""What the caller took last from a queue: the queue's name and the element."""


class _Note:
    """What a command says, to be recorded when Redis has executed it."""

    __slots__ = ("is_queue", "pops", "push", "report", "running", "submission", "write")

    def __init__(
        self,
        running: RunningJob | None = None,
        write: Write | None = None,
        push: Push | None = None,
        submission: ReceivesPushes | None = None,
        is_queue: bool = False,
        pops: Any = None,
        report: Callable[[], None] | None = None,
    ) -> None:
        self.running = running
        self.write = write
        self.push = push
        self.submission = submission
        self.is_queue = is_queue
        self.pops = pops
        self.report = report

    def done(self, answer: Any) -> None:
        if self.write is not None and self.running is not None:
            if not self.write.is_conditional or answer:
                self.running.record_write(text(self.write.key) or "", self.write.value)
        elif self.push is not None:
            self._pushed(self.push, None)
        elif answer and self.submission is None:
            self._popped(answer)

    def failed(self, error: BaseException) -> None:
        if self.push is not None:
            self._pushed(self.push, error)
        elif self.submission is not None:
            self.submission.note_failure(error)

    def _pushed(self, push: Push, error: BaseException | None) -> None:
        name = text(push.key) or ""
        if self.report is not None and error is None:
            self.report()
        if self.running is not None and error is None:
            self.running.record_push(name, push.values, self.is_queue)
        if self.submission is not None:
            self.submission.note_push(name if self.is_queue else None, push.values, error)

    def _popped(self, answer: Any) -> None:
        key, value = self.pops, answer
        if isinstance(answer, list | tuple) and len(answer) > 1:
            key, value = answer[0], answer[1]
        if isinstance(key, str | bytes) and isinstance(value, str | bytes):
            POPPED.set((text(key) or "", value))


class _PipelineNote:
    """What the commands of a pipeline say, by their place in it."""

    __slots__ = ("_noted",)

    def __init__(self, noted: list[tuple[int, list[_Note]]]) -> None:
        self._noted = noted

    def done(self, answers: Any) -> None:
        for index, notes in self._noted:
            with contextlib.suppress(IndexError, TypeError, KeyError):
                answer = answers[index]
                if isinstance(answer, Exception):
                    _record_failure(notes, answer)
                else:
                    _record(notes, answer)

    def failed(self, error: BaseException) -> None:
        for _, notes in self._noted:
            _record_failure(notes, error)


_Recorded = _Note | _PipelineNote


async def _noted(sent: Coroutine[Any, Any, Any], notes: Sequence[_Recorded]) -> Any:
    """The answer to a command, after what the command says was recorded."""
    try:
        answer = await sent
    except BaseException as error:
        _record_failure(notes, error)
        raise
    _record(notes, answer)
    return answer


def _record(notes: Iterable[_Recorded], answer: Any) -> None:
    try:
        for note in notes:
            note.done(answer)
    except Exception:
        logger.exception("otel-bridge could not read the arguments of a Redis command")


def _record_failure(notes: Iterable[_Recorded], error: BaseException) -> None:
    for note in notes:
        note.failed(error)


class CommandObserver:
    """
    Reads the commands that a coordinator sends with one Redis client or its pipelines.

    Creating it starts this, ``close()`` ends it and may be called twice. A command is never
    changed, delayed or failed by it; an error inside is logged.

    Args:
        client: Its ``execute_command`` and ``pipeline`` are replaced, on the instance, by wrappers
            that read the arguments; ``close()`` removes them. Held by a weak reference.
        queue_prefix: Keys that begin with it are queues.
        on_first_queue: Called once, when the first queue was pushed to or asked; None: nothing.

    Attributes:
        queues: Names of the queues (text) seen so far; after 100 further ones are left out.
        kinds: By the name of a queue that is no list: ``SORTED_SET`` or ``STREAM``.

    Raises:
        AttributeError: ``client`` does not allow its methods to be replaced.
        TypeError: ``client`` does not allow weak references.
    """

    def __init__(
        self,
        client: Any,
        queue_prefix: str,
        on_first_queue: Callable[[], None] | None = None,
    ) -> None:
        self._client = weakref.ref(client)
        self._queue_prefix = queue_prefix
        self.on_first_queue = on_first_queue
        self.queues: set[str] = set()
        self.kinds: dict[str, str] = {}
        self._known: dict[Any, bool] = {}
        """Keys that were looked at before: whether jobs are taken from each."""
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
            notes = self._read(args)
            # Looked up at each call, because an instrumentation may wrap the class later.
            if own is not None:
                send = own
            else:
                target: Any = client()
                send = partial(type(target).execute_command, target)
            if notes is None:
                return send(*args, **options)
            return _with_notes(partial(send, *args, **options), notes)

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
        add, execute = created.execute_command, created.execute
        waiting: list[tuple[int, list[_Note]]] = []

        def execute_command(*args: Any, **options: Any) -> Any:
            notes = self._read(args)
            added = add(*args, **options)
            if notes is None:
                return added
            if asyncio.iscoroutine(added) or not hasattr(added, "execute"):
                return _with_notes(lambda: added, notes)  # sent at once, between WATCH and MULTI
            with contextlib.suppress(Exception):
                index = len(created) - 1
                while waiting and waiting[-1][0] >= index:
                    waiting.pop()  # of commands that were discarded by reset()
                waiting.append((index, notes))
            return added

        def run(*args: Any, **options: Any) -> Any:
            noted, waiting[:] = list(waiting), []
            return _with_notes(partial(execute, *args, **options), [_PipelineNote(noted)])

        created.execute_command, created.execute = execute_command, run

    def _read(self, args: tuple[Any, ...]) -> list[_Note] | None:
        """What a command will have said once it is executed; None: nothing."""
        try:
            running = RUNNING_JOB.get()
            if running is not None:
                handled = sys.exc_info()[1]
                if handled is not None:
                    running.note_handled(handled)
            found = command_of(args)
            submission = SUBMISSION.get()
            if submission is not None and submission.is_closed:
                submission = None  # a worker that was started by it inherits its context
            # Of a submission each command counts: what follows one that failed may not be sent.
            nothing = None if submission is None else [_Note(submission=submission)]
            if found is None:
                return nothing
            command, args = found
            if command.writes is not None:
                if running is None:
                    return nothing
                notes = [
                    _Note(running, write, submission=submission)
                    for write in command.writes(args)
                    if running.reads(write.key)
                ]
                return notes or nothing
            if command.pops is not None:
                keys_of, kind = command.pops(args)
                return self._read_pop(keys_of, kind) if running is None else None
            return self._read_push(command.push(args), running, submission)  # type: ignore[misc]
        except Exception:
            name = safe_repr(args[:1])
            logger.exception("otel-bridge could not read the Redis command %s", name)
            return None

    def _report_first_queue(self) -> None:
        if self.on_first_queue is not None and self.queues:
            report, self.on_first_queue = self.on_first_queue, None
            report()

    def _read_push(
        self, push: Push, running: RunningJob | None, submission: ReceivesPushes | None
    ) -> list[_Note] | None:
        is_popped = self._known.get(push.key)
        if is_popped is None:
            is_popped = self._learn(push.key, push.kind, is_popped=False)
        report = None if self.on_first_queue is None else self._report_first_queue
        if running is None and submission is None and report is None:
            return None
        is_queue = is_popped
        if submission is not None and not is_popped:
            is_queue = text(push.key) in self.queues
        return [_Note(running, None, push, submission, is_queue, report=report)]

    def _read_pop(self, keys: Iterable[Any], kind: str) -> list[_Note] | None:
        keys = list(keys)
        for key in keys:
            if self._known.get(key) is not True:
                self._learn(key, kind, is_popped=True)
        worker = OPEN_WORKER.get()
        if worker is None:
            return None
        queues = worker.queues
        if not queues.issuperset(keys) and len(queues) < _MAX_QUEUES:
            queues.update(keys)
            heartbeat = current_scope().worker
            if heartbeat is not None:
                heartbeat.takes_from({text(key) or "" for key in queues})
        return [_Note(pops=keys[0] if len(keys) == 1 else None)]

    def queue_of(self, task_id: str) -> str | None:
        """
        Return the queue that the calling worker took a job from; None if it is not known.

        Args:
            task_id: Id of the job; the last element that was taken must be it.
        """
        popped = POPPED.get()
        if popped is None:
            return None
        name, value = popped
        # With one queue there is nothing to mistake: an element may be pickled, or parsed slowly.
        is_it = self.queues == {name} or is_same_job(value, task_id)
        return name if is_it else None

    def _learn(self, key: Any, kind: str, *, is_popped: bool) -> bool:
        """Whether jobs are taken from a key; it is published as a queue if it has the prefix."""
        if not isinstance(key, str | bytes):
            return False
        name = text(key) or ""
        has_prefix = name.startswith(self._queue_prefix)
        if has_prefix and len(self.queues) < _MAX_QUEUES:
            self.queues.add(name)
            if kind != LIST:
                self.kinds[name] = kind
            if is_popped:
                self._report_first_queue()
        if len(self._known) < _MAX_KEYS:
            self._known[key] = is_popped
        return is_popped


def _with_notes(send: Callable[[], Any], notes: Sequence[_Recorded]) -> Any:
    """Send what ``send`` sends, and let the notes know its answer; also of a client that blocks."""
    try:
        sent = send()
    except BaseException as error:
        _record_failure(notes, error)
        raise
    if asyncio.iscoroutine(sent):
        return _noted(sent, notes)
    # Another kind of awaitable is not changed: its answer is not known.
    _record(notes, True if inspect.isawaitable(sent) else sent)
    return sent
