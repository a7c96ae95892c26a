"""Duck typing for users' classes: tasks as objects, mappings, dataclasses and models."""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import logging
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from otel_bridge.coordinator.shape import (
    PAYLOAD_KEY,
    attribute_values,
    count_of,
    error_of,
    field,
    is_same_job,
    outermost_caller,
    put_carrier,
    research_field,
    research_task_of,
    status_of,
    take_carrier,
    text,
)
from otel_bridge.events.model import TaskStatus
from tests.support.hostile import Hostile

CARRIER = {"traceparent": "00-aa-bb-01", "nexus-project-id": "p"}


class Word(enum.Enum):
    DONE = "completed"
    BYTES = b"failed"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Word.DONE, "completed"),
        (Word.BYTES, "failed"),
        (b"caf\xc3\xa9", "café"),
        (b"\xff", "\N{REPLACEMENT CHARACTER}"),
        (3, "3"),
        (None, None),
    ],
)
def test_values_are_read_as_text(value: Any, expected: str | None) -> None:
    """An enum is its value, bytes are decoded whatever they hold, None stays None."""
    assert text(value) == expected


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("completed", TaskStatus.COMPLETED),
        ("SUCCESS", TaskStatus.COMPLETED),
        (" done \n", TaskStatus.COMPLETED),
        (b"failed", TaskStatus.FAILED),
        (Word.DONE, TaskStatus.COMPLETED),
        ("TaskStatus.COMPLETED", TaskStatus.COMPLETED),
        (TaskStatus.RETRYING, TaskStatus.RETRYING),
        ("in_progress", TaskStatus.PROCESSING),
        ("queued", TaskStatus.PENDING),
        ('{"status": "error", "at": 3}', TaskStatus.FAILED),
        (b' {"status": "running"}', TaskStatus.PROCESSING),
        ("halfway", None),
        ('{"state": "completed"}', None),
        ('{"status": null}', None),
        ("{completed", None),
        ("", None),
        (None, None),
        (True, None),
    ],
)
def test_recorded_statuses_are_read(word: Any, status: TaskStatus | None) -> None:
    """Enums, texts, bytes and JSON are read as one of five statuses; an unknown text is none."""
    assert status_of(word) == status


@pytest.mark.parametrize(
    ("record", "error"),
    [
        ({"error": "a", "last_error": "b"}, "a"),
        ({"error": "", "error_message": "b"}, "b"),
        ('{"last_error": "c"}', "c"),
        (b'{"error": {"code": 3}}', "{'code': 3}"),
        ("no JSON", None),
        (object(), None),
        (None, None),
    ],
)
def test_recorded_errors_are_read(record: Any, error: str | None) -> None:
    """The error is the first of three fields that is not empty, in an object, a mapping or JSON."""
    assert error_of(record) == error


@pytest.mark.parametrize("nest", ['{"a":' * 2000, "[" * 100_000, "{" * 100_000])
def test_hostile_json_is_no_record(nest: str) -> None:
    """JSON that is nested too deeply is ignored instead of raising into the coordinator."""
    assert (status_of(nest), error_of(nest), is_same_job(nest + "j", "j")) == (None, None, False)


IDS = st.text(min_size=1, max_size=8)


@given(IDS, st.sampled_from(["id", "task_id"]), st.booleans())
def test_a_pushed_job_is_recognized(task_id: str, name: str, is_ascii: bool) -> None:
    """A pushed value is the job if it is its id or JSON with its id, whatever characters it has."""
    record = json.dumps({name: task_id, "x": 1}, ensure_ascii=is_ascii)
    assert is_same_job(record, task_id)
    assert is_same_job(record.encode(), task_id)
    if not task_id.lstrip().startswith("{"):
        assert is_same_job(task_id, task_id)


@pytest.mark.parametrize(
    "pushed", ["job-12", b"job-12", '{"id": "job-12"}', '{"parent": "job-1", "id": "x"}', 1, None]
)
def test_another_job_is_not_recognized(pushed: Any) -> None:
    """A value whose id only starts alike, or that only mentions the id, is another job."""
    assert not is_same_job(pushed, "job-1")


# --- the carrier in the payload ------------------------------------------------------------------


@dataclasses.dataclass
class Plain:
    payload: Any


@dataclasses.dataclass(frozen=True)
class Frozen:
    payload: Any


@dataclasses.dataclass(slots=True)
class Slotted:
    payload: Any


class Model(BaseModel):
    payload: dict[str, Any]


class FrozenTexts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_assignment=True)
    payload: dict[str, str]


class Page(BaseModel):
    model_config = ConfigDict(extra="forbid")
    url: str


class Strict(BaseModel):
    payload: Page | dict[str, int]


def carriers() -> list[Any]:
    makers: list[Any] = [Plain, Frozen, Slotted, Model, FrozenTexts]
    return [
        pytest.param(lambda payload, make=make: make(payload=payload), id=make.__name__)
        for make in makers
    ] + [pytest.param(lambda payload: {"payload": payload}, id="dict")]


@pytest.mark.parametrize("make", carriers())
def test_a_carrier_travels_and_leaves_no_trace(make: Any) -> None:
    """The carrier is in the task while it is submitted; afterwards the same payload is back."""
    payload = {"url": "x"}
    task = make(payload)
    before = field(task, "payload")
    restore = put_carrier(task, CARRIER)
    assert restore is not None
    carried = json.loads(json.dumps(field(task, "payload")))
    assert set(carried) == {"url", PAYLOAD_KEY}
    assert PAYLOAD_KEY not in payload
    restore()
    assert field(task, "payload") is before
    received = make(carried)
    assert take_carrier(received) == CARRIER
    assert field(received, "payload") == {"url": "x"}


def test_two_tasks_may_share_one_payload() -> None:
    """Each task carries its own carrier, also if one dict is the payload of both."""
    shared = {"url": "x"}
    one, other = Plain(shared), Plain(shared)
    first, second = put_carrier(one, {"a": "1"}), put_carrier(other, {"a": "2"})
    assert first is not None
    assert second is not None
    assert [json.loads(task.payload[PAYLOAD_KEY])["a"] for task in (one, other)] == ["1", "2"]
    first()
    second()
    assert one.payload is other.payload is shared


def test_a_payload_that_the_coordinator_replaced_stays() -> None:
    """A payload that the coordinator sets while submitting is not replaced by the old one."""
    task = Plain({"url": "x"})
    restore = put_carrier(task, CARRIER)
    assert restore is not None
    task.payload = {"url": "y"}
    restore()
    assert task.payload == {"url": "y"}


class Pair(NamedTuple):
    payload: dict[str, str]


@pytest.mark.parametrize(
    "task",
    [
        Plain(None),
        Plain("text"),
        Plain([1]),
        Strict(payload={"a": 1}),
        Pair({"a": "b"}),
        MappingProxyType({"payload": {}}),
        object(),
        {},
        None,
    ],
    ids=lambda task: type(task).__name__,
)
def test_a_task_that_cannot_hold_the_carrier_is_unchanged(task: Any) -> None:
    """If validation refuses the key or there is no dict, the task stays as it is."""
    before = repr(task)
    assert put_carrier(task, CARRIER) is None
    assert repr(task) == before


@pytest.mark.parametrize("packed", ["no JSON", "[]", 3, None, '{"a": 1}'])
def test_an_unreadable_carrier_is_removed(packed: Any) -> None:
    """Any value under our key is removed from the payload; only text items are used."""
    task = {"payload": {"url": "x", PAYLOAD_KEY: packed}}
    assert take_carrier(task) in (None, {})
    assert task == {"payload": {"url": "x"}}


def test_no_carrier_is_none() -> None:
    """A payload without a carrier, or no payload at all, gives None."""
    assert [take_carrier(task) for task in ({"payload": {}}, {"payload": "x"}, object())] == [
        None
    ] * 3


# --- orchestrators -------------------------------------------------------------------------------


class Orchestrator:
    async def run(self, request: Any = None, limit: int = 3, **more: Any) -> None:
        await self.search(request)
        await self.extract(request)

    async def serve(self) -> None:
        await self.run()

    async def search(self, request: Any) -> None: ...

    async def extract(self, request: Any) -> None: ...


PHASES = {"search": "search", "extract": "extract"}


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
    ],
)
def test_the_research_task_of_a_call(
    args: tuple[Any, ...], kwargs: dict[str, Any], task_id: str | None
) -> None:
    """The id is an argument's field or a first argument that is a text; else there is none."""
    found, _ = research_task_of(Orchestrator.run, Orchestrator(), args, kwargs)
    assert found == task_id


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
        (("t", {"name": "n", "type": "x"}), {}, None),
        (("t", logging.getLogger("l")), {}, None),
        (("t", {"title": ""}), {}, None),
        (("t", ["title"]), {}, None),
    ],
)
def test_the_record_beside_the_id_of_a_call(
    args: tuple[Any, ...], kwargs: dict[str, Any], record: Any
) -> None:
    """Beside an id of its own, the record is the argument with a field of a research task."""
    assert research_task_of(Orchestrator.run, Orchestrator(), args, kwargs) == ("t", record)


def test_the_record_may_come_before_an_id_that_is_named() -> None:
    """An argument called ``task_id`` is the id wherever it stands, and the record is beside it."""

    def run(orchestrator: Any, config: Any, task_id: str) -> None: ...

    assert research_task_of(run, None, ({"domain": "d"}, "t"), {}) == ("t", {"domain": "d"})


def test_an_orchestrators_own_attribute_comes_last() -> None:
    """If no argument names a research task, an attribute of the orchestrator does."""
    owner = Orchestrator()
    owner.task_id = "own"  # type: ignore[attr-defined]
    assert research_task_of(Orchestrator.serve, owner, (), {}) == ("own", owner)
    assert research_task_of(Orchestrator.run, owner, ("given",), {})[0] == "given"


def test_a_records_fields_are_texts_or_nothing() -> None:
    """A field is read if it is a text or enum and not empty; a number is not."""
    record = {"title": None, "name": "", "topic": Word.DONE, "query": 3}
    assert research_field(record, "title", "name", "topic") == "completed"
    assert research_field(record, "query", "absent") is None


def test_the_method_that_calls_all_phases() -> None:
    """The caller of the phases is found, not a method that only calls this caller."""
    assert outermost_caller(Orchestrator, PHASES) == "run"


def test_two_callers_are_ambiguous() -> None:
    """If two methods call the phases, or none does, none is chosen."""

    class Two(Orchestrator):
        async def run_again(self) -> None:
            await self.search(1)

    assert outermost_caller(Two, PHASES) is None
    assert outermost_caller(Orchestrator, {"absent": "x"}) is None


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


@pytest.mark.parametrize(("value", "count"), [(3, 3), (-1, 0), ("3", 0), (None, 0)])
def test_counts_are_whole_numbers(value: Any, count: int) -> None:
    """Anything but a whole number of at least 0 counts as 0."""
    assert count_of(value) == count


def test_a_caller_without_python_code_is_left_out() -> None:
    """A coroutine method that is a partial object has no names to read."""

    class Wrapped(Orchestrator):
        again = functools.partial(Orchestrator.run)

    assert outermost_caller(Wrapped, PHASES) == "run"
