"""Which research task a call of an orchestrator's method works on, and what is known of it."""

from __future__ import annotations

import dataclasses
import enum
import functools
import logging
import uuid
from types import SimpleNamespace
from typing import Any

import pytest

from otel_bridge.coordinator.calls import Method
from otel_bridge.coordinator.orchestrator import (
    attribute_values,
    outermost_caller,
    research_field,
    research_task_of,
)
from tests.support.hostile import Hostile

UUID = uuid.UUID(int=7)


class Word(enum.Enum):
    DONE = "completed"


class Orchestrator:
    async def run(self, request: Any = None, limit: int = 3, **more: Any) -> None:
        await self.search(request)
        await self.extract(request)

    async def serve(self) -> None:
        await self.run()

    async def search(self, request: Any) -> None: ...

    async def extract(self, request: Any) -> None: ...


PHASES = {"search": "search", "extract": "extract"}
RUN = Method(Orchestrator, "run", "run_method")


@pytest.mark.parametrize(
    ("args", "kwargs", "task_id"),
    [
        (({"task_id": "a", "id": "b"},), {}, "a"),
        (({"task_id": "a"},), {"research_task_id": "r"}, "a"),
        (({"id": 7},), {}, "7"),
        (("t",), {}, "t"),
        (("",), {}, None),
        ((), {}, None),
        (({"id": ""},), {}, None),
        ((1, 2, 3, 4, 5), {}, None),
        ((UUID,), {}, str(UUID)),
        ((), {"task_id": UUID}, str(UUID)),
    ],
)
def test_the_research_task_of_a_call(
    args: tuple[Any, ...], kwargs: dict[str, Any], task_id: str | None
) -> None:
    """The id is an argument's field or a first argument that is a text; else there is none."""
    found, _ = research_task_of(RUN.arguments(args, kwargs), Orchestrator())
    assert found == task_id


@dataclasses.dataclass
class Named:
    """A record that has only a name."""

    name: str


class Config:
    """A record that has attributes."""

    research_type = "schools"


@pytest.mark.parametrize(
    ("args", "kwargs", "record"),
    [
        (("t", {"title": "Schools"}), {}, {"title": "Schools"}),
        (("t", {"name": "n", "project_id": "p"}), {}, {"name": "n", "project_id": "p"}),
        (("t",), {"project_id": "p"}, {"project_id": "p"}),
        (("t", Config), {}, Config),
        (("t", {"name": "n", "type": "x"}), {}, {"name": "n", "type": "x"}),
        (("t", Named("n")), {}, Named("n")),
        (("t", {"metadata": {"project_id": "p"}}), {}, {"metadata": {"project_id": "p"}}),
        (("t", logging.getLogger("l")), {}, None),
        (("t", {"title": ""}), {}, None),
        (("t", ["title"]), {}, None),
    ],
)
def test_the_record_beside_the_id_of_a_call(
    args: tuple[Any, ...], kwargs: dict[str, Any], record: Any
) -> None:
    """Beside an id of its own, the record is the argument with a field of a research task."""
    assert research_task_of(RUN.arguments(args, kwargs), Orchestrator()) == ("t", record)


def test_the_record_may_come_before_an_id_that_is_named() -> None:
    """An argument called ``task_id`` is the id wherever it stands, and the record is beside it."""
    given = {"config": {"domain": "d"}, "task_id": "t"}
    assert research_task_of(given, None) == ("t", {"domain": "d"})


def test_an_orchestrators_own_attribute_comes_last() -> None:
    """If no argument names a research task, an attribute of the orchestrator does."""
    owner = Orchestrator()
    owner.task_id = "own"  # type: ignore[attr-defined]
    assert research_task_of({}, owner) == ("own", owner)
    assert research_task_of({"request": "given"}, owner)[0] == "given"
    assert research_task_of(None, owner) == (None, None)


def test_a_records_fields_are_texts_or_nothing() -> None:
    """A field is read if it is a text or enum and not empty; a number is not."""
    record = {"title": None, "name": "", "topic": Word.DONE, "query": 3}
    assert research_field(record, "title", "name", "topic") == "completed"
    assert research_field(record, "query", "absent") is None


def test_the_method_that_calls_all_phases() -> None:
    """The caller of the phases is found, not a method that only calls this caller."""
    assert outermost_caller(Orchestrator, PHASES) == "run"


def test_an_override_calls_what_the_inherited_method_calls() -> None:
    """A method that adds something and calls ``super()`` is the root, like the one it overrides."""

    class Publishing(Orchestrator):
        async def run(self, request: Any = None, limit: int = 3, **more: Any) -> None:
            await super().run(request, limit, **more)

    class Replacing(Orchestrator):
        async def run(self, request: Any = None, limit: int = 3, **more: Any) -> None:
            """Call no phase."""

    assert outermost_caller(Publishing, PHASES) == "run"
    assert outermost_caller(Replacing, PHASES) is None


def test_two_callers_are_ambiguous() -> None:
    """If two methods call the phases, or none does, none is chosen."""

    class Two(Orchestrator):
        async def run_again(self) -> None:
            await self.search(1)

    assert outermost_caller(Two, PHASES) is None
    assert outermost_caller(Orchestrator, {"absent": "x"}) is None


def test_a_caller_without_python_code_is_left_out() -> None:
    """A coroutine method that is a partial object has no names to read."""

    class Wrapped(Orchestrator):
        again = functools.partial(Orchestrator.run)

    assert outermost_caller(Wrapped, PHASES) == "run"


def test_attributes_are_read_from_dicts_and_slots() -> None:
    """Values of both kinds of attributes are found; what is empty or cannot be read is left out."""

    class Base:
        __slots__ = ("a", "empty")

    class Derived(Base):
        __slots__ = "b"

    owner = Derived()
    owner.a, owner.b = 1, 2  # type: ignore[attr-defined]
    assert sorted(attribute_values(owner)) == [1, 2]
    assert attribute_values(SimpleNamespace(c=3)) == [3]
    assert attribute_values(Hostile()) == []
