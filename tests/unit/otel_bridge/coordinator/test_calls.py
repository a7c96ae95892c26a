"""Which argument of a call is which, whatever the method's signature, and by which worker it is."""

from __future__ import annotations

import functools
import inspect
import multiprocessing
from abc import abstractmethod
from typing import Any

import pytest
import wrapt
from hypothesis import given
from hypothesis import strategies as st

from otel_bridge.coordinator.calls import (
    NOT_GIVEN,
    OPEN_WORKER,
    TASK_NAMES,
    TASKS_NAMES,
    WORKER_NAMES,
    Method,
    open_worker,
)
from otel_bridge.errors import ConfigurationError

KINDS = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.KEYWORD_ONLY,
)


@st.composite
def signatures(draw: st.DrawFn) -> tuple[str, list[str], dict[str, str]]:
    """A method's parameters as source, and a call of it with the text of each value."""
    names = draw(st.lists(st.sampled_from("abcdefg"), unique=True, max_size=3))
    task = draw(st.sampled_from(TASK_NAMES))
    worker = draw(st.sampled_from(WORKER_NAMES))
    order = draw(st.permutations([*names, task, worker]))
    kinds = sorted(draw(st.sampled_from(KINDS)) for _ in order)
    source, args, kwargs = ["self"], [], {}
    is_named = False
    for name, kind in zip(order, kinds, strict=True):
        if kind is KINDS[2] and "*" not in source:
            source.append("*")
        source.append(name)
        is_named = is_named or kind is KINDS[2]
        if kind is not KINDS[0] and (is_named or draw(st.booleans())):
            is_named = True
            kwargs[name] = name
        else:
            args.append(name)
        if kind is KINDS[0] and (len(source) > len(order) or kinds[len(source) - 1] is not kind):
            source.append("/")
    if draw(st.booleans()):
        source.append("**more")
        kwargs["another"] = "another"
    return ", ".join(source), args, kwargs


@given(signatures())
def test_arguments_are_found_by_any_signature(
    found: tuple[str, list[str], dict[str, str]],
) -> None:
    """The task and the worker's id are found wherever the method has them, however it is called."""
    source, args, kwargs = found
    names: dict[str, Any] = {}
    exec(f"async def run({source}): return locals()", names)
    method = Method(type("Some", (), {"run": names["run"]}), "run", "process_method")
    task = method.parameter(TASK_NAMES, or_first=True, is_not=WORKER_NAMES)
    worker = method.parameter(WORKER_NAMES)
    assert task is not None
    assert worker is not None
    assert task.of(tuple(args), kwargs) in TASK_NAMES
    assert worker.of(tuple(args), kwargs) in WORKER_NAMES
    again = task.replaced(tuple(args), dict(kwargs), "other")
    assert task.of(*again) == "other"
    assert len(again[0]) + len(again[1]) == len(args) + len(kwargs)


def _unfinished(function: Any) -> Any:
    return abstractmethod(function)


class Shapes:
    """Methods of many shapes."""

    async def plain(self, task: Any, worker_id: int) -> tuple[Any, ...]:
        return (self, task, worker_id)

    async def reversed(self, worker_id: int, what: Any) -> None: ...

    async def variable(self, *args: Any, **kwargs: Any) -> None: ...

    async def named(self, **kwargs: Any) -> None: ...

    async def defaulted(self, worker_id: int = 7) -> None: ...

    async def nothing(self) -> None: ...

    @staticmethod
    async def static(task: Any, worker_id: int = 1) -> tuple[Any, ...]:
        return (task, worker_id)

    @classmethod
    async def of_class(cls, task: Any) -> tuple[Any, ...]:
        return (cls, task)

    @wrapt.decorator
    async def _seeing_instance(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:  # noqa: N805
        return (instance, await wrapped(*args, **kwargs))

    @_seeing_instance
    async def decorated(self, task: Any) -> Any:
        return task

    partial = functools.partialmethod(plain, worker_id=3)

    @property
    def is_property(self) -> int:
        return 1

    async def generator(self) -> Any:
        yield 1

    def sync(self) -> None: ...

    @functools.wraps(plain)
    def in_decorator(self, *args: Any) -> Any: ...

    @_unfinished
    async def unfinished(self) -> None: ...

    callable_object = print


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "task", "worker"),
    [
        ("plain", ("t", 3), {}, "t", 3),
        ("plain", (), {"worker_id": 3, "task": "t"}, "t", 3),
        ("plain", (), {}, NOT_GIVEN, NOT_GIVEN),
        ("reversed", (3, "t"), {}, "t", 3),
        ("variable", ("t", 3), {}, "t", NOT_GIVEN),
        ("variable", (), {"task": "t", "worker_id": 3}, "t", 3),
        ("named", (), {"job": "t", "worker": 3}, "t", 3),
        ("static", ("t",), {}, "t", 1),
        ("of_class", ("t",), {}, "t", None),
        ("decorated", ("t",), {}, "t", None),
        ("defaulted", (), {}, None, 7),
        ("nothing", (), {}, None, None),
    ],
)
def test_shapes_of_methods(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any], task: Any, worker: Any
) -> None:
    """Without names that are known, the task is the first parameter that is not the worker's."""
    method = Method(Shapes, name, "process_method")
    found = method.parameter(TASK_NAMES, or_first=True, is_not=WORKER_NAMES)
    assert (found and found.of(args, kwargs)) == task
    of_worker = method.parameter(WORKER_NAMES)
    assert (of_worker and of_worker.of(args, kwargs)) == worker


async def test_a_wrapper_takes_the_place_of_each_kind() -> None:
    """Methods of instances and classes, static and decorated ones are called as before."""
    before = dict(vars(Shapes))
    calls: list[Any] = []
    restores = []
    for name in ("plain", "static", "of_class", "decorated"):
        method = Method(Shapes, name, "process_method")

        async def wrapper(owner: Any, *args: Any, _method: Method = method, **kwargs: Any) -> Any:
            calls.append(_method.name)
            return await _method.call(owner, *args, **kwargs)

        restores.append(method.install(wrapper))
    each = Shapes()
    assert await each.plain("t", 3) == (each, "t", 3)
    assert await each.static("t") == await Shapes.static("t", 1) == ("t", 1)
    assert await each.of_class("t") == await Shapes.of_class("t") == (Shapes, "t")
    assert await each.decorated("t") == (each, "t")  # type: ignore[arg-type]
    assert calls == ["plain", "static", "static", "of_class", "of_class", "decorated"]
    assert str(inspect.signature(Shapes.static)) == str(
        inspect.signature(before["static"].__func__)
    )
    for restore in reversed(restores):
        restore()
    assert dict(vars(Shapes)) == before


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("absent", "Shapes has no method 'absent'; name an existing one in process_method"),
        ("is_property", "is a property"),
        ("generator", "is not an async method but an async generator"),
        ("sync", "is not an async method: only calls that are awaited"),
        ("in_decorator", "is not an async method: a decorator has made it a plain function"),
        ("unfinished", "is abstract, so never called"),
        ("callable_object", "is not an async method"),
        ("partial", "is not an async method"),
    ],
)
def test_a_method_that_cannot_be_watched_is_refused(name: str, reason: str) -> None:
    """The sentence has the method, the reason and what to do."""
    with pytest.raises(ConfigurationError, match=reason):
        Method(Shapes, name, "process_method")


def test_a_class_that_cannot_be_changed_is_refused() -> None:
    """Such as a class that was compiled."""

    class Fixed(type):
        def __setattr__(cls, name: str, value: Any) -> None:
            raise TypeError("immutable")

    class Compiled(metaclass=Fixed):
        async def run(self, task: Any) -> None: ...

    method = Method(Compiled, "run", "process_method")
    with pytest.raises(ConfigurationError, match=r"run cannot be replaced \(immutable\)"):
        method.install(method.call)


def test_tasks_are_found_among_other_arguments() -> None:
    """A submission's tasks have a name of their own, else they come first."""

    class Some:
        async def one(self, priority: int, jobs: list[Any]) -> None: ...

        async def other(self, stuff: list[Any], priority: int = 0) -> None: ...

        async def rest(self, *tasks: Any) -> None: ...

        async def passing(self, *args: Any, **kwargs: Any) -> None: ...

    calls: tuple[tuple[str, tuple[Any, ...]], ...] = (
        ("one", (3, ["t"])),
        ("other", (["t"], 3)),
        ("passing", (["t"], 3)),
    )
    for name, args in calls:
        found = Method(Some, name, "submit_method").parameter(TASKS_NAMES, or_first=True)
        assert found is not None
        assert found.of(args, {}) == ["t"]
    rest = Method(Some, "rest", "submit_method").parameter(TASKS_NAMES, or_first=True)
    assert rest is not None
    assert rest.of(("t", "u"), {}) == ("t", "u")


def test_two_workers_of_one_id_are_shown_apart() -> None:
    """Two coordinators of a process may number alike; an id is free again when its worker ends."""
    with open_worker(0) as first, open_worker(0) as second, open_worker("a") as third:
        assert (first, second, third) == (0, "0#2", "a")
        found = OPEN_WORKER.get()
        assert found is not None
        assert (found.given, found.shown) == ("a", "a")
    with open_worker(0) as again, open_worker(None) as one, open_worker(None) as other:
        assert again == 0
        assert one != other
        assert [str(name).count(":") for name in (one, other)] == [2, 2]
    assert OPEN_WORKER.get() is None


def _shown_in_child(answers: Any) -> None:
    with open_worker(0) as shown:
        answers.put(shown)


def test_a_forked_child_has_its_own_workers() -> None:
    """The parent's open workers do not run in the child, so their ids are free there."""
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    with open_worker(0):
        child = context.Process(target=_shown_in_child, args=(answers,))
        child.start()
        child.join(10)
    assert answers.get() == 0
