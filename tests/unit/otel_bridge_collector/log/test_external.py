"""The events of external publishers while the log lacks them: ids, order, bounds."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from otel_bridge_collector.log.decoding import UnreadableEventError
from otel_bridge_collector.log.external import HOLD_SEC, ExternalMessages

from tests.support.faults import FakeClock

KNOWN = "00000000-0000-4000-8000-00000000000a"


class Stage:
    """One collector's messages, with a clock of its own."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.messages = ExternalMessages(
            4096, is_known=lambda event_id: event_id == KNOWN, clock=self.clock
        )

    def add(self, task_id: str, **fields: Any) -> bool:
        return self.messages.add(message(task_id, **fields))

    def taken(self, limit: int = 100) -> list[dict[str, Any]]:
        return [json.loads(one.data) for one in self.messages.take(limit)]

    def read(self, event_id: str, *, is_live: bool = True) -> None:
        """The log's reader comes to the event with this id."""
        self.messages.note_read([event_id], is_live=is_live)


def message(task_id: str, **fields: Any) -> bytes:
    return json.dumps({"event_type": "task_started", "task_id": task_id, **fields}).encode()


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_a_message_keeps_its_fields_and_gets_what_it_lacks(stage: Stage) -> None:
    """A message without id and time gets both; an unknown field stays; its id is a valid UUID."""
    assert stage.add("a", later={"x": 1})
    (event,) = stage.taken()
    assert (event["task_id"], event["later"]) == ("a", {"x": 1})
    assert uuid.UUID(event["event_id"]).version == 8
    assert uuid.UUID(event["event_id"]).variant == uuid.RFC_4122
    assert event["ts"].endswith("Z")


def test_an_unreadable_message_is_not_held(stage: Stage) -> None:
    """What is no event raises, and nothing is held."""
    with pytest.raises(UnreadableEventError):
        stage.messages.add(b"[]")
    assert len(stage.messages) == 0
    assert not stage.messages.arrived.is_set()


def test_what_the_log_has_is_not_held(stage: Stage) -> None:
    """An id that was read before, or is held already, is not held a second time."""
    assert not stage.add("a", event_id=KNOWN)
    assert stage.add("b", event_id="other")
    assert not stage.add("b", event_id="other")
    assert len(stage.messages) == 1
    stage.read("other")
    assert (len(stage.messages), stage.taken()) == (0, [])


def test_two_collectors_recognise_a_message_without_an_id(stage: Stage) -> None:
    """The id that one gave is recognised by the other, which gave its own copy another."""
    other = Stage()
    for one in (stage, other):
        assert one.add("a")
    (mine,), (theirs,) = stage.taken(), other.taken()
    assert mine["event_id"] != theirs["event_id"]
    stage.read(theirs["event_id"])
    other.read(theirs["event_id"])
    assert len(stage.messages) == len(other.messages) == 0


def test_equal_messages_without_an_id_are_as_many_events(stage: Stage) -> None:
    """Three equal messages are three events; each entry of the log releases one of them."""
    for _ in range(3):
        assert stage.add("a")
    ids = [event["event_id"] for event in stage.taken()]
    assert len(set(ids)) == 3
    stage.read(ids[0])
    stage.read(ids[1])
    assert len(stage.messages) == 1
    stage.messages.retry()
    assert len(stage.taken()) == 1


def test_the_log_may_be_faster_than_the_channel(stage: Stage) -> None:
    """An entry read before its message arrives releases that one message, and no later one."""
    other = Stage()
    other.add("a")
    (event,) = other.taken()
    stage.read(event["event_id"])
    assert not stage.add("a")
    assert stage.add("a")


@pytest.mark.parametrize(("is_live", "passed_sec"), [(False, 0.0), (True, 6.0)])
def test_an_old_entry_releases_no_new_message(
    stage: Stage, is_live: bool, passed_sec: float
) -> None:
    """What was read back, or some seconds ago, belongs to a message of that time."""
    other = Stage()
    other.add("a")
    (event,) = other.taken()
    stage.read(event["event_id"], is_live=is_live)
    stage.clock.advance(passed_sec)
    assert stage.add("a")


def test_what_is_in_flight_waits_again_after_an_error(stage: Stage) -> None:
    """``retry`` offers in the old order what is neither appended nor seen in the log."""
    for name in ("a", "b", "c", "d"):
        stage.add(name, event_id=name)
    appended = stage.messages.take(1)
    stage.messages.note_appended(appended)
    assert [event["task_id"] for event in stage.taken(2)] == ["b", "c"]
    stage.read("b")
    stage.messages.retry()
    assert stage.messages.arrived.is_set()
    assert [event["task_id"] for event in stage.taken()] == ["c", "d"]
    assert not stage.messages.arrived.is_set()
    assert stage.messages.appended == 1


def test_what_stays_out_of_the_log_is_lost_after_half_a_minute(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """It is counted and logged; what was appended, though it was not read, is not lost."""
    for name in ("a", "b", "c"):
        stage.add(name)
    stage.messages.note_appended(stage.messages.take(1))
    stage.clock.advance(HOLD_SEC)
    stage.messages.expire()
    assert (len(stage.messages), stage.messages.lost) == (3, {})
    stage.clock.advance(2)
    stage.messages.expire()
    assert (len(stage.messages), stage.messages.lost) == (0, {"expired": 2})
    assert stage.taken() == []
    assert [record.getMessage() for record in caplog.records] == [
        "2 events of external publishers were not appended to the log so far: 2 expired"
    ]


def test_the_oldest_is_lost_beyond_the_bound(stage: Stage) -> None:
    """Of 50,001 messages the first is lost, and counted."""
    for number in range(50_001):
        stage.add(str(number))
    assert (len(stage.messages), stage.messages.lost) == (50_000, {"overflow": 1})
    assert stage.taken(1)[0]["task_id"] == "1"


def test_what_the_log_rejects_is_lost(stage: Stage) -> None:
    """A rejected batch is counted and not offered again."""
    stage.add("a")
    stage.messages.note_rejected(stage.messages.take(1))
    stage.messages.retry()
    assert (stage.messages.lost, stage.taken()) == ({"rejected": 1}, [])


def test_an_entry_that_is_read_twice_at_once_stands_for_one_message(stage: Stage) -> None:
    """Of two that were appended by two leaders, the second says nothing of a message to come."""
    assert stage.add("a")
    (one,) = stage.taken()
    other = Stage()
    other.messages.note_read([str(uuid.uuid4()), "", *[one["event_id"]] * 2], is_live=True)
    assert not other.add("a")
    assert other.add("a")
