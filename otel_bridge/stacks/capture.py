"""
``capture``: what is taken of an exception in the thread that failed, in microseconds.

Names, line numbers and messages only, as plain texts and numbers: no frame, no exception and no
local variable is held, so nothing of the user's lives longer by it. No source line is read here;
the text is made later, in another thread (``render.py``). It works after
``traceback.clear_frames``, which Celery calls before a job's end is reported.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Final

__all__ = ["MAX_EXCEPTIONS", "MAX_MESSAGE_CHARS", "Frame", "Raised", "capture"]

HEAD_FRAMES: Final = 4
"""Frames kept from the start of a traceback: how the failing code was reached."""
TAIL_FRAMES: Final = 60
"""Frames kept from its end: where it broke. A text shows 16 of them, an OTLP export all."""
MAX_EXCEPTIONS: Final = 8
"""Different exceptions of one failure: its causes and the members of its groups."""
_MAX_DEPTH: Final = 4
"""Levels of causes and groups below the failure."""
_MAX_VISITS: Final = 256
"""Exceptions looked at, equal members of a group included: each costs about 5 us."""
_MAX_WALK: Final = 100_000
"""Entries of one traceback walked through, at 40 ns each."""
MAX_MESSAGE_CHARS: Final = 1024
"""Characters kept of a message. A text shows 300, of a message that was masked before, so that a
secret at the end is whole when it is looked for."""
_MAX_NOTES: Final = 4

Frame = tuple[str, int, str]
"""One entry of a traceback: file, line number, qualified name of the function."""


class Raised:
    """
    One exception of a failure, with what it was caused by and its members; a record.

    Made by ``capture``; changed only while that runs. It holds no frame and no exception.

    Attributes:
        type: Module and class, ``shop.errors.NoSuchPage``; of a builtin the class alone.
        message: At most 1,024 characters; ``<str() failed>`` if its ``__str__`` raised.
        notes: At most 4 notes of ``add_note``, each as long as a message at most.
        head: The first frames of its traceback, outermost first, at most 4.
        tail: The last frames, innermost last, at most 60.
        omitted: Frames between these two.
        cause: What it was raised ``from``, or what was being handled when it was raised.
        is_context: Whether ``cause`` was merely being handled, without ``from``.
        members: Of an exception group; equal ones (type and last frames) are one entry.
        times: How many equal members this one stands for.
        more: Members of the group that were not looked at.
    """

    __slots__ = (
        "cause",
        "head",
        "is_context",
        "members",
        "message",
        "more",
        "notes",
        "omitted",
        "tail",
        "times",
        "type",
    )

    def __init__(self, error: BaseException) -> None:
        self.type = _type_of(error)
        self.message = _message_of(error)
        self.notes = _notes_of(error)
        self.head, self.tail, self.omitted = _walk(error.__traceback__)
        self.cause: Raised | None = None
        self.is_context = False
        self.members: list[Raised] = []
        self.times = 1
        self.more = 0

    def frames(self) -> list[Frame]:
        """The frames that are held, outermost first."""
        return [*self.head, *self.tail]

    def walk(self) -> Iterator[Raised]:
        """This exception, then its causes, then its members, each with what is below it."""
        yield self
        if self.cause is not None:
            yield from self.cause.walk()
        for member in self.members:
            yield from member.walk()


def capture(error: BaseException) -> Raised:
    """
    Take what a stack needs of an exception: 6 us, 60 us after a recursion of 1,000 calls.

    Call it in the thread that failed, any time after the exception was raised. Calls ``str()`` of
    the exceptions, which is user code; what that raises is caught. Circles of causes end where they
    close. Holds nothing of what it read.

    Args:
        error: The failure. At most 8 different exceptions are kept of its causes and groups, 4
            levels deep.
    """
    return _Capture().visit(error, 0)


class _Capture:
    """The exceptions seen so far, while one failure is captured."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._visits = 0
        self._kept = 0

    def visit(self, error: BaseException, depth: int) -> Raised:
        self._seen.add(id(error))
        self._visits += 1
        self._kept += 1
        raised = Raised(error)
        self._follow(error, raised, depth + 1)
        return raised

    def _follow(self, error: BaseException, raised: Raised, depth: int) -> None:
        cause = error.__cause__
        if cause is None and not error.__suppress_context__:
            cause, raised.is_context = error.__context__, True
        if cause is not None and self._may_visit(cause, depth):
            raised.cause = self.visit(cause, depth)
        if isinstance(error, BaseExceptionGroup):
            self._add_members(error.exceptions, raised, depth)

    def _may_visit(self, error: BaseException, depth: int) -> bool:
        return (
            id(error) not in self._seen
            and self._kept < MAX_EXCEPTIONS
            and self._visits < _MAX_VISITS
            and depth <= _MAX_DEPTH
        )

    def _add_members(self, members: tuple[BaseException, ...], raised: Raised, depth: int) -> None:
        equal: dict[object, Raised] = {}
        for index, member in enumerate(members):
            if self._visits >= _MAX_VISITS or depth > _MAX_DEPTH:
                raised.more = len(members) - index
                return
            # 500 tasks that failed at one place are one entry with a count.
            head, tail, _ = _walk(member.__traceback__)
            key = (type(member), *(tail or head)[-3:])
            known = equal.get(key)
            if known is not None:
                known.times += 1
                self._visits += 1
            elif self._may_visit(member, depth):
                equal[key] = self.visit(member, depth)
                raised.members.append(equal[key])
            else:
                raised.more += 1


def _walk(traceback: TracebackType | None) -> tuple[list[Frame], list[Frame], int]:
    """The first frames, the last frames, and how many lie between them."""
    first: list[TracebackType] = []
    last: deque[TracebackType] = deque(maxlen=TAIL_FRAMES)
    count = 0
    while traceback is not None and count < _MAX_WALK:
        if count < HEAD_FRAMES:
            first.append(traceback)
        else:
            last.append(traceback)
        count += 1
        traceback = traceback.tb_next
    return [*map(_frame, first)], [*map(_frame, last)], count - len(first) - len(last)


def _frame(entry: TracebackType) -> Frame:
    code = entry.tb_frame.f_code
    # None for code that was made without line numbers, whatever the type says.
    return code.co_filename, entry.tb_lineno or 0, code.co_qualname


def _type_of(error: BaseException) -> str:
    kind = type(error)
    module, name = kind.__module__, kind.__qualname__
    return name if module in ("builtins", "__main__") else f"{module}.{name}"


def _message_of(error: BaseException) -> str:
    try:
        return str(error)[:MAX_MESSAGE_CHARS]
    except Exception:
        return "<str() failed>"


def _notes_of(error: BaseException) -> tuple[str, ...]:
    try:
        notes = getattr(error, "__notes__", None)
        if type(notes) is list:
            return tuple(str(note)[:MAX_MESSAGE_CHARS] for note in notes[:_MAX_NOTES])
    except Exception:
        return ("<a note could not be read>",)
    return ()
