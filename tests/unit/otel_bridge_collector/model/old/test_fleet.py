"""Workers, queues and failures: merged, bounded, grouped by cause."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from otel_bridge_collector.model.old.fleet import Fleet, WorkerRecord, error_key
from otel_bridge_collector.model.old.records import microseconds

from otel_bridge.events.model import MonitoringEvent
from tests.support.folding import at, event


def make_fleet(workers: int = 100, queues: int = 100, failures: int = 100) -> Fleet:
    return Fleet(max_workers=workers, max_queues=queues, max_failures=failures)


def fold(events: list[MonitoringEvent]) -> Fleet:
    fleet = make_fleet()
    for one in events:
        if one.event_type == "task_failed":
            fleet.apply_failure(one)
        elif one.event_type == "queue_depth_update":
            fleet.apply_queues(one)
        else:
            fleet.apply_worker(one, microseconds(one.ts))
    return fleet


def shown(fleet: Fleet) -> dict[str, Any]:
    records: list[Any] = [*fleet.workers.values(), *fleet.failures.values()]
    told = [{name: getattr(record, name) for name in record.__slots__} for record in records]
    return {
        "records": sorted(told, key=repr),
        "queues": fleet.queues,
        "types": sorted((key, type(w.worker_id).__name__) for key, w in fleet.workers.items()),
    }


@pytest.mark.parametrize("number", [0, 3])
@pytest.mark.parametrize("order", [["i", "s"], ["s", "i"], ["s", "i", "s"], ["i", "s", "i"]])
def test_a_worker_is_one_by_number_and_by_text(number: int, order: list[str]) -> None:
    """A worker named by number and by text is one record, shown as the number, also worker 0."""
    fleet = make_fleet()
    for kind in order:
        fleet.worker(number if kind == "i" else str(number))
    assert list(fleet.workers) == [str(number)]
    assert fleet.workers[str(number)].worker_id == number
    assert type(fleet.workers[str(number)].worker_id) is int


@st.composite
def facts(draw: st.DrawFn) -> list[MonitoringEvent]:
    """Worker, queue and failure events that contradict each other."""
    few = st.sampled_from
    found = []
    for number in range(draw(st.integers(1, 8))):
        fields = {
            "event_id": f"00000000-0000-4000-8000-{number:012d}",
            "worker_id": draw(few([0, "0", 1, "w"])),
            "project_id": draw(few([None, "p"])),
            "task_id": draw(few([None, "j", "k"])),
            "task_type": draw(few([None, "x", "y"])),
            "phase": draw(few([None, "a", "b"])),
            "error": draw(few([None, "E: 1", "E: 2"])),
            "counts": draw(few([None, {"q": 1, "dropped": 3}, {"q": 2, "r": 0}])),
            "meta": draw(few([None, {"host": "h", "pid": 1}, {"host": 7, "pid": "x"}])),
        }
        kinds = ["worker_started", "worker_heartbeat", "worker_stopped"]
        kind = draw(few([*kinds, "queue_depth_update", "task_failed"]))
        found.append(event(draw(few([0, 0, 1, 2])), kind, **fields))
    return found


@given(facts(), st.data())
def test_facts_fold_the_same_in_any_order(
    events: list[MonitoringEvent], data: st.DataObject
) -> None:
    """The same facts in any order give the same workers, queues and failures."""
    assert shown(fold(events)) == shown(fold(data.draw(st.permutations(events))))


def test_the_idle_worker_longest_silent_makes_room() -> None:
    """Past the limit a new worker replaces the one silent for longest that runs nothing."""
    fleet = make_fleet(workers=3)
    for seconds, name in enumerate(["busy", "old", "young"]):
        fleet.apply_worker(event(seconds, "worker_heartbeat", worker_id=name), seconds)
    fleet.workers["busy"].running.add(("t", "j"))
    fleet.worker("new")
    assert list(fleet.workers) == ["busy", "young", "new"]


def test_workers_that_all_run_are_kept() -> None:
    """No worker that runs a job is forgotten for a new one."""
    fleet = make_fleet(workers=2)
    for name in ("a", "b", "c"):
        fleet.worker(name).running.add(("t", name))
    assert list(fleet.workers) == ["a", "b", "c"]


def worker_after(*events: MonitoringEvent) -> WorkerRecord:
    return fold(list(events)).workers["w"]


def test_a_late_beat_does_not_replace_a_newer_ones_word() -> None:
    """Host, process and drops are the newest event's, in whatever order they come."""
    young = event(
        9, "worker_heartbeat", worker_id="w", counts={"dropped": 5}, meta={"host": "b", "pid": 2}
    )
    old = event(1, "worker_started", worker_id="w", meta={"host": "a", "pid": 1})
    found = worker_after(young, old)
    assert (found.host, found.pid, found.dropped) == ("b", 2, 5)


def test_strangers_meta_is_not_believed() -> None:
    """A host that is no text and a process id that is no number are not shown."""
    beat = event(1, "worker_heartbeat", worker_id="w", meta={"host": ["x"], "pid": "1; rm"})
    found = worker_after(beat)
    assert (found.host, found.pid) == (None, None)


def test_a_stop_is_no_sign_of_life() -> None:
    """A worker that stopped is not taken for seen at that moment, but it has beaten."""
    found = worker_after(event(5, "worker_stopped", worker_id="w"))
    assert (found.last_seen, found.last_beat, found.stopped, found.is_beating) == (
        0,
        0,
        microseconds(at(5)),
        True,
    )


def test_a_worker_is_what_its_latest_events_say() -> None:
    """The latest start, beat and stop are kept, each for itself, in whatever order they come."""
    kinds = {7: "worker_started", 5: "worker_stopped", 9: "worker_heartbeat", 2: "worker_started"}
    found = worker_after(*(event(when, kind, worker_id="w") for when, kind in kinds.items()))
    assert (found.started, found.last_beat, found.last_seen, found.stopped) == tuple(
        microseconds(at(seconds)) for seconds in (7, 9, 9, 5)
    )


def test_strangers_texts_are_cut() -> None:
    """Of a stranger's long names a worker keeps 100 characters and a group 100 of each."""
    found = worker_after(event(1, "worker_started", worker_id="w", meta={"host": "h" * 5000}))
    assert len(found.host or "") == 100
    fleet = fold([failed(1, "j", "e" * 5000, phase="p" * 500, task_type="t" * 500)])
    (group,) = fleet.failures.values()
    assert (len(group.phase or ""), len(group.task_type or ""), len(group.error[2])) == (
        100,
        100,
        500,
    )


def test_the_newest_depth_is_shown() -> None:
    """A queue's depth is the latest told, and a queue left out keeps its own."""
    fleet = fold(
        [
            event(2, "queue_depth_update", counts={"a": 7}),
            event(1, "queue_depth_update", counts={"a": 3, "b": 4}),
        ]
    )
    assert {name: queue.depth for name, queue in fleet.queues.items()} == {"a": 7, "b": 4}


def test_queues_past_the_limit_are_not_taken_and_the_known_go_on() -> None:
    """A flood of queue names does not stop the known queues from being told."""
    fleet = make_fleet(queues=2)
    fleet.apply_queues(event(1, "queue_depth_update", counts={"a": 1, "b": 1, "c": 1}))
    fleet.apply_queues(event(2, "queue_depth_update", counts={"a": 9, "d": 1}))
    assert {name: queue.depth for name, queue in fleet.queues.items()} == {"a": 9, "b": 1}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("KeyError: 'page7'", "KeyError: 'page8'"),
        ('no file "a.txt"', 'no file "b.txt"'),
        ("at 0x7f3a00", "at 0x11"),
        ("task 6ba529d4 is gone", "task deadbeef is gone"),
        ("HTTP 503 after 30 s", "HTTP 502 after 7 s"),
    ],
)
def test_one_cause_has_one_key(one: str, other: str) -> None:
    """Errors that differ in quotes, addresses, ids or numbers are one cause."""
    assert error_key(one) == error_key(other)


def test_other_causes_have_other_keys() -> None:
    """Words tell causes apart, also short ones of hexadecimal letters."""
    assert error_key("bad face") != error_key("bad cafe")
    assert error_key("KeyError: 'a'") != error_key("ValueError: 'a'")
    assert len(error_key("x" * 5000)) == 160


def failed(seconds: float, task_id: str, error: str | None = "E", **fields: Any) -> MonitoringEvent:
    return event(seconds, "task_failed", task_id=task_id, error=error, **fields)


def test_a_group_shows_its_newest_ten_jobs() -> None:
    """Of a group's jobs the ten that failed last are named, each once, by its latest failure."""
    fleet = fold([failed(n % 12, f"j{n % 12}", parent_task_id="t") for n in range(24)])
    (group,) = fleet.failures.values()
    assert [name for _, name in group.newest] == [f"j{n}" for n in range(2, 12)]
    assert ([name for _, name in group.parents], group.count) == (["t"], 24)


def test_a_failed_job_comes_first_again_when_it_fails_again() -> None:
    """A job that fails a second time is the group's newest."""
    fleet = fold([failed(1, "a"), failed(2, "b"), failed(3, "a")])
    (group,) = fleet.failures.values()
    assert [name for _, name in group.newest] == ["b", "a"]


def test_projects_cannot_share_a_group_by_their_names() -> None:
    """Project "a" with error "b: c" and project "a: b" with error "c" are two groups."""
    fleet = fold([failed(1, "j", "b: c", project_id="a"), failed(2, "k", "c", project_id="a: b")])
    assert sorted((group.project_id or "", group.count) for group in fleet.failures.values()) == [
        ("a", 1),
        ("a: b", 1),
    ]


def test_a_failure_without_a_reason_is_a_group() -> None:
    """The message stands in for a missing error, and a sentence for both."""
    fleet = fold([failed(1, "j", None, message="gave up"), failed(2, "k", None)])
    assert sorted(group.key for group in fleet.failures.values()) == [
        "failed without a reason",
        "gave up",
    ]


def test_the_group_that_failed_longest_ago_makes_room() -> None:
    """Past the limit the oldest group leaves, not the one that is just told."""
    fleet = make_fleet(failures=2)
    for seconds, error in ((5, "five"), (9, "nine"), (1, "late news")):
        fleet.apply_failure(failed(seconds, "j", error))
    assert sorted(cause for _, cause in fleet.failures) == ["late news", "nine"]
