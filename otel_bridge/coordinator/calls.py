"""
How a user's method is called: what kind it is, which argument of a call is which, by which worker.

A wrapper passes ``*args`` and ``**kwargs`` on as they are. What it has to know of them (the task,
the worker's id) it finds by the original's signature, which is read once, by ``instrument()``.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
import os
import socket
import threading
import types
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from otel_bridge.errors import ConfigurationError
from otel_bridge.forking import on_fork
from otel_bridge.spans.span_context_manager import safe_str

__all__ = [
    "NOT_GIVEN",
    "OPEN_WORKER",
    "TASKS_NAMES",
    "TASK_NAMES",
    "WORKER_NAMES",
    "AsyncMethod",
    "Method",
    "OpenWorker",
    "Parameter",
    "open_worker",
]

AsyncMethod = Callable[..., Awaitable[Any]]

NOT_GIVEN: Final = object()
"""What ``Parameter.of`` returns if a call has no such argument."""

TASK_NAMES: Final = (
    *("task", "job", "task_data", "job_data", "task_dict", "item", "work_item", "message", "msg"),
    *("record", "task_id", "job_id", "raw", "data"),
)
TASKS_NAMES: Final = ("tasks", "jobs", "task_list", "items", "work_items", "batch", "messages")
WORKER_NAMES: Final = (
    *("worker_id", "worker", "worker_name", "worker_number", "worker_num", "worker_no"),
    *("worker_index", "worker_idx", "wid"),
)


@dataclass(frozen=True, slots=True)
class Parameter:
    """
    Where a call has one of its arguments: by position, else by one of some names.

    A record, made by ``Method.parameter``; it checks nothing.

    Attributes:
        index: Position among the arguments after ``self``; None: it can be given by name only.
        names: Its names; several where the method takes ``**kwargs`` alone.
        default: Its default; ``NOT_GIVEN``: it has none.
        is_rest: Whether it is all positional arguments from ``index`` on, as in ``*tasks``.
    """

    index: int | None
    names: tuple[str, ...]
    default: Any = NOT_GIVEN
    is_rest: bool = False

    def of(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Return the argument's value in a call, else its default, else ``NOT_GIVEN``."""
        if self.index is not None and self.index < len(args):
            return args[self.index :] if self.is_rest else args[self.index]
        for name in self.names:
            if name in kwargs:
                return kwargs[name]
        return self.default

    def replaced(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], value: Any
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of a call with another value for this one, which it must have."""
        if self.index is not None and self.index < len(args):
            return (*args[: self.index], value, *args[self.index + 1 :]), kwargs
        name = next(name for name in self.names if name in kwargs)
        return args, {**kwargs, name: value}


class Method:
    """
    An ``async`` method of a user's class: how it is called, and how it is replaced by a wrapper.

    A method of the instance, a class method or a static method. Nothing is replaced before
    ``install()``.

    Args:
        owner: The class.
        name: Name of the method, which may be inherited.
        argument: The argument of ``instrument()`` that names it, for the errors' text.

    Attributes:
        call: Calls the original, with the instance (of a class or static method: the class) as the
            first argument. Raises what the original raises, also the ``TypeError`` of a call that
            does not fit it.
        codes: The code objects of the original, also inside of its decorators.

    Raises:
        ConfigurationError: There is no such method, or it cannot be watched: it is not ``async``,
            a property, an async generator, or abstract. The text has the class, the method, the
            reason and what to do.
    """

    def __init__(self, owner: type, name: str, argument: str) -> None:
        self.owner = owner
        self.name = name
        where = f"{owner.__qualname__}.{name}"
        try:
            self._original: Any = inspect.getattr_static(owner, name)
            found = getattr(owner, name)
        except AttributeError as error:
            raise ConfigurationError(
                f"{owner.__qualname__} has no method {name!r}",
                f"name an existing one in {argument}",
            ) from error
        _refuse_unless_async(where, self._original, found, argument)
        self._has_self = not isinstance(self._original, staticmethod | classmethod)
        self.call = self._caller()
        self.codes = frozenset(_codes_of(found))
        try:
            parameters = list(inspect.signature(self._function()).parameters.values())
        except (TypeError, ValueError):  # such as a method that was compiled
            parameters = _ANY_PARAMETERS
        is_bound = isinstance(self._original, staticmethod)
        if not is_bound and parameters and parameters[0].kind in _POSITIONAL:
            parameters = parameters[1:]
        self._parameters = parameters

    def _function(self) -> Any:
        original = self._original
        return original.__func__ if isinstance(original, staticmethod | classmethod) else original

    def _caller(self) -> AsyncMethod:
        original = self._original
        if isinstance(original, staticmethod):
            function = original.__func__
            return lambda _, *args, **kwargs: function(*args, **kwargs)
        if type(original) is types.FunctionType:
            return original
        # By the descriptor: a decorator of wrapt gives its wrapper the instance only then.
        return lambda owner, *args, **kwargs: original.__get__(
            None if isinstance(original, classmethod) else owner,
            owner if isinstance(owner, type) else type(owner),
        )(*args, **kwargs)

    def parameter(
        self,
        names: Iterable[str],
        *,
        or_first: bool = False,
        is_not: Iterable[str] = (),
    ) -> Parameter | None:
        """
        Find a parameter of the method.

        Args:
            names: Names that it may have; the first that the method has counts.
            or_first: Without any of these names: take the first parameter instead, of those that
                are not named in ``is_not``, and what ``*args`` and ``**kwargs`` hold.
            is_not: Names that another parameter has.

        Returns:
            None if there is none.
        """
        names = tuple(names)
        positional = [each for each in self._parameters if each.kind in _POSITIONAL]
        index_of = {each.name: index for index, each in enumerate(positional)}
        named = {each.name: each for each in self._parameters if each.kind not in _VARIABLE}
        found = next((name for name in names if name in named), None)
        if found is None and or_first:
            found = next((name for name in named if name not in is_not), None)
        if found is not None:
            default = named[found].default
            return Parameter(
                index_of.get(found),
                (found,),
                NOT_GIVEN if default is inspect.Parameter.empty else default,
            )
        kinds = {each.kind for each in self._parameters}
        if or_first and inspect.Parameter.VAR_POSITIONAL in kinds:
            is_rest = any(
                each.kind is inspect.Parameter.VAR_POSITIONAL and each.name in names
                for each in self._parameters
            )
            return Parameter(len(positional), names, is_rest=is_rest)
        return Parameter(None, names) if inspect.Parameter.VAR_KEYWORD in kinds else None

    def arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the arguments of a call by name, without ``self``; None: they do not fit."""
        try:
            signature = inspect.Signature(self._parameters, __validate_parameters__=False)
            return dict(signature.bind(*args, **kwargs).arguments)
        except TypeError:
            return None

    def overridden_by(self, kind: type) -> type | None:
        """
        Return the subclass whose own method runs instead of this one; None: this one runs.

        Args:
            kind: The class of an instance. A method that calls ``super()`` replaces nothing.
        """
        if self.owner not in kind.__mro__:
            return None
        for base in kind.__mro__[: kind.__mro__.index(self.owner)]:
            found = vars(base).get(self.name)
            if found is not None:
                codes = list(_codes_of(getattr(found, "__func__", found)))
                calls_super = any("super" in code.co_names for code in codes)
                return None if calls_super or not codes else base
        return None

    def install(self, wrapper: AsyncMethod) -> Callable[[], None]:
        """
        Replace the method by a wrapper, which is called as ``call`` is.

        Returns:
            A function that puts the original back; an inherited method is uncovered again.

        Raises:
            ConfigurationError: The class cannot be changed, such as one that was compiled.
        """
        owner, name, original = self.owner, self.name, self._original
        is_own = name in owner.__dict__
        function = self._function()
        made: Any
        if isinstance(original, staticmethod):

            async def without_self(*args: Any, **kwargs: Any) -> Any:
                return await wrapper(owner, *args, **kwargs)

            made = staticmethod(_looking_like(function, without_self))
        else:
            made = _looking_like(function, wrapper)
            made = classmethod(made) if isinstance(original, classmethod) else made
        try:
            setattr(owner, name, made)
        except (AttributeError, TypeError) as error:
            raise ConfigurationError(
                f"{owner.__qualname__}.{name} cannot be replaced ({error})",
                "pass a subclass of it that is written in Python",
            ) from error

        def restore() -> None:
            if is_own:
                setattr(owner, name, original)
            else:
                delattr(owner, name)

        return restore


_POSITIONAL: Final = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)
_ANY_PARAMETERS: Final = [
    inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL),
    inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD),
]
_VARIABLE: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _looking_like(function: Any, wrapper: AsyncMethod) -> AsyncMethod:
    return functools.wraps(function)(wrapper)


def _codes_of(function: Any) -> Iterable[types.CodeType]:
    while function is not None:
        code = getattr(function, "__code__", None)
        if isinstance(code, types.CodeType):
            yield code
        function = getattr(function, "__wrapped__", None)


def _refuse_unless_async(where: str, original: Any, found: Any, argument: str) -> None:
    if isinstance(original, property | functools.cached_property):
        raise ConfigurationError(
            f"{where} is a property, so a call of it is no call of a method",
            f"name an async method in {argument}",
        )
    if inspect.isasyncgenfunction(found):
        raise ConfigurationError(
            f"{where} is not an async method but an async generator, which is iterated over and "
            "has no end that a wrapper could see",
            f"name the async method that iterates over it in {argument}",
        )
    if getattr(found, "__isabstractmethod__", False):
        raise ConfigurationError(
            f"{where} is abstract, so never called: the method of a subclass runs instead",
            "pass that subclass",
        )
    if not inspect.iscoroutinefunction(found):
        inner = inspect.unwrap(found) if callable(found) else found
        reason = (
            "a decorator has made it a plain function"
            if inner is not found and inspect.iscoroutinefunction(inner)
            else "only calls that are awaited can be watched"
        )
        raise ConfigurationError(
            f"{where} is not an async method: {reason}", f"name an async method in {argument}"
        )
    if not hasattr(original, "__get__"):
        raise ConfigurationError(
            f"{where} is a {type(original).__name__}, which is called without the instance",
            f"name a method that is defined in the class in {argument}",
        )


# --- workers -----------------------------------------------------------------------------------


class OpenWorker(NamedTuple):
    """
    The worker that the caller runs in; a record.

    Attributes:
        given: The id that the coordinator gave it; None: none.
        shown: The id by which it is shown, unique among the open workers of this process.
        queues: Keys that it has asked for jobs, as given; filled by the observer of its commands.
    """

    given: Any
    shown: int | str
    queues: set[Any]


OPEN_WORKER: ContextVar[OpenWorker | None] = ContextVar("otel_bridge_open_worker", default=None)
"""The call of the coordinator's ``_worker`` that the caller runs in."""

_open_ids: set[int | str] = set()
_open_ids_lock = threading.Lock()


def _after_fork_in_child() -> None:
    global _open_ids_lock
    _open_ids_lock = threading.Lock()
    _open_ids.clear()  # these run in the parent


on_fork(after_in_child=_after_fork_in_child)


@contextlib.contextmanager
def open_worker(given: Any) -> Iterator[int | str]:
    """
    Give a worker an id for as long as the block is open; never raises.

    Two coordinators of one process may both number their workers from 0: the second open worker of
    an id is shown as ``0#2``. Workers of other processes differ by their incarnation.

    Args:
        given: The id that the coordinator gave: a number, else read as text. None: the worker is
            shown as ``host:pid:number``.

    Returns:
        A context manager, for ``with``, to be entered once; ``as`` binds the id that is shown.
    """
    if given is None:
        names: Iterable[int | str] = (
            f"{socket.gethostname()}:{os.getpid()}:{number}" for number in itertools.count()
        )
    else:
        first = given if type(given) is int else safe_str(given)
        names = itertools.chain((first,), (f"{first}#{number}" for number in itertools.count(2)))
    with _open_ids_lock:
        shown = next(name for name in names if name not in _open_ids)
        _open_ids.add(shown)
    token = OPEN_WORKER.set(OpenWorker(given, shown, set()))
    try:
        yield shown
    finally:
        OPEN_WORKER.reset(token)
        with _open_ids_lock:
            _open_ids.discard(shown)
