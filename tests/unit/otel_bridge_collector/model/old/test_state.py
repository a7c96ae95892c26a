"""The fold and its rules, by example, by shared fixture and by property."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from otel_bridge_collector.model.old.state import LiveState, StateLimits

from otel_bridge.events.model import MonitoringEvent, MonitoringEventType
from tests.support.folding import (
    FIXTURES,
    at,
    card,
    event,
    fold,
    fold_fixture,
    judge,
    snapshot,
)

NAMES = sorted(path.stem for path in FIXTURES.glob("*.jsonl"))
TASK: dict[str, Any] = {"project_id": "p", "parent_task_id": "t"}


def root(seconds: float, kind: str, **fields: Any) -> MonitoringEvent:
    return event(seconds, kind, **TASK, task_id="t", span_id="00000000000000aa", **fields)


def job(seconds: float, kind: str, name: str = "j", **fields: Any) -> MonitoringEvent:
    return event(seconds, kind, **TASK, task_id=name, **{"retry_count": 0, **fields})


def beat(seconds: float, kind: str = "worker_heartbeat", name: str = "w") -> MonitoringEvent:
    return event(seconds, kind, worker_id=name, meta={"host": "h", "pid": 1})


def test_an_unknown_event_type_changes_nothing() -> None:
    """An event of a newer release makes no card, no job and no worker out of the ids it names."""
    newer = job(1, "new_type", phase="a", worker_id="w", counts={"total": 5})
    state = LiveState()
    assert (state.apply(newer, 0), state.apply(newer, 0)) == (True, False)
    held = (state.tasks, state.jobs, state.fleet.workers, state.fleet.queues)
    assert all(len(records) == 0 for records in held)


# --- shared fixtures and properties ---------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_fixture_folds_to_its_snapshot(name: str) -> None:
    """Each shared event log gives the snapshot beside it."""
    found, expected = fold_fixture(name)
    assert expected == found


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=25)
def test_order_and_repetition_do_not_matter(name: str, data: st.DataObject) -> None:
    """A fixture's events in any order, any of them repeated, give the same snapshot."""
    count = len((FIXTURES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines())
    order = data.draw(st.permutations(range(count)))
    extra = data.draw(st.lists(st.integers(0, count - 1), max_size=10))
    found, expected = fold_fixture(name, [*order, *extra])
    assert expected == found


@st.composite
def random_events(draw: st.DrawFn) -> list[MonitoringEvent]:
    """Events that contradict each other in every field."""
    few = st.sampled_from
    count = draw(st.integers(1, 12))
    found = []
    for number in range(count):
        fields = {
            "event_id": f"00000000-0000-4000-8000-{number:012d}",
            "project_id": draw(few([None, "p", "q"])),
            "parent_task_id": draw(few([None, "t", "u"])),
            "task_id": draw(few([None, "t", "j", "k"])),
            "task_type": draw(few([None, "x", "y"])),
            "phase": draw(few([None, "a", "b"])),
            "worker_id": draw(few([None, 1, "1", "w"])),
            "retry_count": draw(few([None, 0, 1])),
            "status": draw(few([None, "failed", "completed"])),
            "duration_ms": draw(few([None, 100.0, 5000.0])),
            "counts": draw(few([None, {"total": 5, "completed": 2}, {"failed": 3, "q": 7}])),
            "message": draw(few([None, "m", "n"])),
            "error": draw(few([None, "E: 1", "E: 2", "F"])),
            "span_id": draw(few([None, "00000000000000aa", "00000000000000bb"])),
            "parent_span_id": draw(few([None, "00000000000000aa"])),
            "meta": draw(few([None, {"title": "T", "host": "h", "pid": 3}, {"title": "S"}])),
        }
        kind = draw(few(list(MonitoringEventType)))
        found.append(event(draw(few([0, 0, 1, 2, 61])), kind, **fields))
    return found


@given(events=random_events(), data=st.data())
@settings(max_examples=150)
def test_contradictions_fold_the_same_in_any_order(
    events: list[MonitoringEvent], data: st.DataObject
) -> None:
    """Even events that contradict each other give one state, whatever their order."""
    shuffled = [*data.draw(st.permutations(events)), *events[:3]]
    moment = data.draw(st.sampled_from([2, 62, 400, 2000]))
    one, other = fold(events), fold(shuffled)
    assert snapshot(*one, judge(one[0], moment), "x:1") == snapshot(
        *other, judge(other[0], moment), "x:1"
    )


# --- endings -------------------------------------------------------------------------------------


def test_root_that_ends_first_keeps_its_card_open() -> None:
    """A research task whose root ended is shown running while a job of it runs, then ended."""
    events = [
        beat(0, "worker_started"),
        root(0, "task_started"),
        job(1, "task_started", worker_id="w"),
        root(2, "task_completed", duration_ms=2000),
    ]
    state, _ = fold(events)
    assert (card(state, "t", 3).status, card(state, "t", 3).ended_at) == ("processing", None)
    state, _ = fold([*events, job(5, "task_completed", worker_id="w", duration_ms=4000)])
    assert card(state, "t", 6).status == "completed"


def test_queued_jobs_hold_an_ended_card_for_a_minute() -> None:
    """Jobs that are queued when the root ends and are never run do not freeze the card."""
    state, _ = fold([root(0, "task_started"), job(1, "task_enqueued"), root(2, "task_failed")])
    assert card(state, "t", 30).status == "processing"
    assert card(state, "t", 63).status == "failed"


def test_child_lost_with_its_worker_ends() -> None:
    """A job whose worker fell silent holds nothing open and its bar ends at the last beat."""
    state, _ = fold(
        [
            beat(0, "worker_started"),
            root(0, "task_started"),
            job(1, "task_started", worker_id="w", span_id="00000000000000cc"),
            beat(10),
            root(12, "task_completed"),
        ]
    )
    found = card(state, "t", 50)
    assert found.status == "completed"
    assert [(bar.status, bar.ended_at) for bar in found.spans if bar.kind == "job"] == [
        ("stalled", "2026-11-24T12:00:12.000000Z")
    ]


def test_open_job_of_a_dead_worker_is_a_finite_bar() -> None:
    """While the research task goes on, a dead worker's bar already ends."""
    state, _ = fold(
        [
            beat(0, "worker_started"),
            root(0, "task_started"),
            job(1, "task_started", worker_id="w"),
            root(100, "task_retry"),
        ]
    )
    bar = next(bar for bar in card(state, "t", 101).spans if bar.kind == "job")
    assert (bar.status, bar.ended_at) == ("stalled", "2026-11-24T12:00:01.000000Z")


def test_job_without_heartbeats_is_lost_after_five_minutes() -> None:
    """Where no worker beats, an open job holds an ended research task for five minutes."""
    state, _ = fold([root(0, "task_started"), job(1, "task_started"), root(2, "task_completed")])
    assert card(state, "t", 290).status == "processing"
    assert card(state, "t", 303).status == "completed"


def test_end_without_start_gives_the_start() -> None:
    """An end whose start was lost starts its duration earlier."""
    state, _ = fold([root(10, "task_completed", duration_ms=4000)])
    found = card(state, "t", 11)
    assert found.started_at == "2026-11-24T12:00:06.000000Z"
    assert found.ended_at == "2026-11-24T12:00:10.000000Z"


def test_rootless_card_ends_a_minute_after_its_jobs() -> None:
    """A research task whose root was never seen is over when its jobs are, and it is quiet."""
    state, _ = fold([job(0, "task_started"), job(1, "task_completed")])
    assert card(state, "t", 30).status == "processing"
    assert card(state, "t", 62).status == "completed"


def test_silent_card_stalls_and_comes_back() -> None:
    """A research task without a sign for 15 minutes is stalled until its next event."""
    events = [root(0, "task_started")]
    assert card(fold(events)[0], "t", 901).status == "stalled"
    events.append(event(902, "stats_snapshot", **TASK, phase="a", counts={"completed": 1}))
    assert card(fold(events)[0], "t", 903).status == "processing"


def test_open_phase_ends_with_its_card() -> None:
    """A phase whose end was lost is over when its research task is."""
    state, _ = fold(
        [
            root(0, "task_started"),
            event(1, "phase_started", **TASK, phase="a"),
            root(5, "task_failed", error="X"),
        ]
    )
    phase = card(state, "t", 6).phases[0]
    assert (phase.status, phase.ended_at) == ("failed", "2026-11-24T12:00:05.000000Z")


def test_requeued_job_lives_again_under_the_same_number() -> None:
    """A job started again with the same retry count runs, although it failed before."""
    state, _ = fold(
        [job(1, "task_started"), job(2, "task_failed"), job(3, "task_started", worker_id="w2")]
    )
    assert state.jobs["t", "j"].status == "processing"


def test_enqueueing_clock_ahead_does_not_reopen_a_job() -> None:
    """A completed job stays completed when its enqueueing carries a later time."""
    state, _ = fold([job(1, "task_started"), job(2, "task_completed"), job(90, "task_enqueued")])
    assert state.jobs["t", "j"].status == "completed"


# --- counts --------------------------------------------------------------------------------------


def test_jobs_and_told_counts_meet() -> None:
    """Of counts told and jobs seen the fresher, larger one is shown; the total is the told one."""
    state, _ = fold(
        [
            event(0, "phase_started", **TASK, phase="a", counts={"total": 10}),
            event(5, "stats_snapshot", **TASK, phase="a", counts={"completed": 1, "failed": 2}),
            *(job(6, "task_completed", f"j{n}", phase="a") for n in range(3)),
        ]
    )
    phase = card(state, "t", 7).phases[0]
    assert (phase.total, phase.completed, phase.failed, phase.pending) == (10, 3, 2, 5)


def test_forgotten_jobs_stay_counted() -> None:
    """A phase larger than the job limit keeps its counts."""
    events = [job(n, "task_completed", f"j{n}", phase="a") for n in range(50)]
    state, _ = fold(events, StateLimits(jobs=10))
    phase = card(state, "t", 51).phases[0]
    assert (len(state.jobs), phase.total, phase.completed) == (10, 50, 50)


def test_eta_is_hidden_until_it_means_something() -> None:
    """No ETA before three jobs have ended in five seconds; then what remains over the rate."""
    started = [
        root(0, "task_started"),
        event(0, "phase_started", **TASK, phase="a", counts={"total": 20}),
    ]
    ends = [job(n, "task_completed", f"j{n}", phase="a") for n in range(1, 11)]
    assert None is card(fold([*started, *ends[:2]])[0], "t", 10).eta_sec
    found = card(fold([*started, *ends])[0], "t", 11)
    assert (found.phases[0].rate_per_sec, found.eta_sec) == (1.0, 10.0)


def test_failures_group_by_cause_within_a_project() -> None:
    """Errors that differ in numbers, ids and quotes are one group; projects do not mix."""
    events = [
        job(n, "task_failed", f"j{n}", error=f"KeyError: 'page{n}' at 0x{n:x}") for n in range(12)
    ]
    events.append(
        event(20, "task_failed", project_id="q", task_id="x", error="KeyError: 'page9' at 0x9")
    )
    state, _ = fold(events)
    groups = sorted(state.fleet.failures.values(), key=lambda g: g.count)
    assert [(g.count, g.project_id) for g in groups] == [(1, "q"), (12, "p")]
    assert len(groups[1].newest) == 10


# --- workers and bounds --------------------------------------------------------------------------


def test_worker_is_judged_by_the_collectors_clock() -> None:
    """A live worker whose clock is 90 s behind is online."""
    state = LiveState()
    now = int(at(100).timestamp() * 1e6)
    state.apply(beat(10, "worker_started"), now)
    worker = state.fleet.workers["w"]
    assert judge(state, 101).worker_status(worker) == "online"
    assert judge(state, 131).worker_status(worker) == "offline"


def test_stopped_worker_that_starts_again_is_online() -> None:
    """A worker is what its latest event says."""
    events = [beat(0, "worker_started"), beat(1, "worker_stopped")]
    assert judge(fold(events)[0], 2).worker_status(fold(events)[0].fleet.workers["w"]) == "stopped"
    state, _ = fold([*events, beat(3, "worker_started")])
    assert judge(state, 4).worker_status(state.fleet.workers["w"]) == "online"


def test_everything_is_bounded() -> None:
    """A hostile flood of names leaves every table at its limit."""
    limits = StateLimits(
        tasks=20,
        jobs=100,
        spans_per_task=30,
        phases_per_task=5,
        workers=10,
        queues=5,
        failures=7,
        event_ids=500,
    )
    state = LiveState(limits)
    for n in range(3000):
        ids = {"parent_task_id": f"t{n % 97}", "task_id": f"j{n}", "phase": f"p{n % 41}"}
        kind = ("task_started", "task_failed", "task_enqueued")[n % 3]
        error = f"{'abcdefghij'[n % 10]} {'klmnopqrst'[n // 10 % 10]}"
        state.apply(event(n, kind, worker_id=f"w{n}", error=error, **ids), n)
        state.apply(event(n, "queue_depth_update", counts={f"q{n}": n}), n)
        state.apply(event(n, "worker_heartbeat", worker_id=f"v{n}"), n)
    assert len(state.tasks) <= limits.tasks
    assert len(state.jobs) <= limits.jobs
    assert len(state.processing) <= limits.jobs
    assert len(state.fleet.queues) == limits.queues
    assert len(state.fleet.failures) == limits.failures
    for task in state.tasks.values():
        assert len(task.spans) <= limits.spans_per_task
        assert len(task.phases) <= limits.phases_per_task
    # Workers that run something are kept beyond the limit, as many as jobs at most.
    assert len(state.fleet.workers) <= limits.workers + limits.jobs


def test_tasks_under_way_are_kept_while_short_ones_pass() -> None:
    """What has ended leaves first, however a task says that it has not; the page forgets alike."""
    told = json.loads((FIXTURES / "forgotten_tasks.json").read_text(encoding="utf-8"))
    events = [MonitoringEvent.model_validate(one) for one in told["events"]]
    state, _ = fold(events, StateLimits(tasks=told["limit"]))
    assert told["kept"] == list(state.tasks)


def test_jobs_are_bounded_in_bytes() -> None:
    """Jobs with long ids are forgotten by their size, not their number."""
    state = LiveState(StateLimits(job_bytes=1_000_000))
    for n in range(1000):
        state.apply(event(n, "task_completed", task_id=f"{n:08d}" + "x" * 4000), n)
    assert 100 < len(state.jobs) < 250


def test_what_has_ended_is_remembered_within_bounds() -> None:
    """Where each job is a research task of its own, the order of ends is bounded all the same."""
    limits = StateLimits(tasks=20, jobs=100)
    state = LiveState(limits)
    for n in range(2000):
        state.apply(event(n, "task_completed", parent_task_id=f"t{n}", task_id="j"), n)
    assert len(state._ended_jobs) <= 4 * limits.jobs + 1
