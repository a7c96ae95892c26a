"""Duck typing for users' classes: tasks as objects, mappings, dataclasses and models."""

from __future__ import annotations

import dataclasses
import enum
import json
import uuid
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from otel_bridge.coordinator.shape import (
    PAYLOAD_KEY,
    count_of,
    error_of,
    field,
    is_same_job,
    put_carrier,
    read_task,
    status_of,
    take_carrier,
    take_carrier_of_text,
    text,
)
from otel_bridge.events.model import TaskStatus

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


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=6,
)


@given(
    st.dictionaries(st.text(max_size=6), JSON, max_size=4),
    st.sampled_from([(",", ":"), (", ", ": ")]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_a_carrier_leaves_a_task_that_is_still_text(
    payload: dict[str, Any],
    separators: tuple[str, str],
    is_ascii: bool,
    is_sorted: bool,
    is_bytes: bool,
) -> None:
    """The rest of the JSON stays as it was written, by any encoder."""
    options: Any = {
        "separators": separators,
        "ensure_ascii": is_ascii,
        "sort_keys": is_sorted,
    }
    task = {"id": "j1", "payload": payload, "type": "find"}
    before = json.dumps(task, **options)
    restore = put_carrier(task, CARRIER)
    assert restore is not None
    written: Any = json.dumps(task, **options)
    rest, carrier = take_carrier_of_text(written.encode() if is_bytes else written)
    assert carrier == CARRIER
    assert (rest.decode() if isinstance(rest, bytes) else rest) == before
    assert take_carrier_of_text(rest) == (rest, None)


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ({"id": "a", "task_id": "b"}, ("a", "job", None)),
        ({"task_id": "b", "type": Word.DONE}, ("b", "completed", None)),
        ({"job_id": 7, "task_type": "find"}, ("7", "find", None)),
        ({"id": "a", "payload": {"project_id": "p"}}, ("a", "job", "p")),
        ({"id": "a", "project_id": "own", "payload": {"project_id": "p"}}, ("a", "job", "own")),
        (SimpleNamespace(id=uuid.UUID(int=7), type="find"), (str(uuid.UUID(int=7)), "find", None)),
        ('{"id": "a", "type": "find"}', ("a", "find", None)),
        (b'{"task_id": "a"}', ("a", "job", None)),
        ("a", ("a", "job", None)),
        (uuid.UUID(int=7), (str(uuid.UUID(int=7)), "job", None)),
        (3, ("3", "job", None)),
        (True, None),
        ("", None),
        ("x" * 201, None),
        ("[1]", None),
        ('{"url": "x"}', None),
        ({"url": "x"}, None),
        (None, None),
        (["a"], None),
        (FrozenTexts(payload={"project_id": "p"}), None),
    ],
)
def test_fields_of_a_task(task: Any, expected: tuple[str, str, str | None] | None) -> None:
    """An object, a mapping, JSON of one or the id itself; without an id it is no task."""
    found = read_task(task)
    assert (found and (found.task_id, found.task_type, found.project_id)) == expected


class WithProperty(BaseModel):
    """A model one of whose fields is computed."""

    id: str

    @property
    def type(self) -> str:
        return "computed"


class Extra(BaseModel):
    model_config = ConfigDict(extra="allow")
    id: str


def test_fields_of_models_that_are_not_in_their_dict() -> None:
    """Properties and extra fields of a pydantic model are read as well."""
    for model, task_type in ((WithProperty(id="a"), "computed"), (Extra(id="a", type="x"), "x")):
        found = read_task(model)
        assert found is not None
        assert found.task_type == task_type


def test_no_carrier_is_none() -> None:
    """A payload without a carrier, or no payload at all, gives None."""
    assert [take_carrier(task) for task in ({"payload": {}}, {"payload": "x"}, object())] == [
        None
    ] * 3


@pytest.mark.parametrize(("value", "count"), [(3, 3), (-1, 0), ("3", 0), (None, 0)])
def test_counts_are_whole_numbers(value: Any, count: int) -> None:
    """Anything but a whole number of at least 0 counts as 0."""
    assert count_of(value) == count
