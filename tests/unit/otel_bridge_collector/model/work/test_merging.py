"""``otel_bridge_collector.model.work.merging``: the winner of each field of a node."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from otel_bridge_collector.model.events import (
    COMPLETED,
    ENDED_BY,
    FACTS,
    FAILED,
    JOB,
    OTHER,
    PHASE,
    SELF,
    STATUS_NAMES,
    Event,
)
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.nodes import Job, More, Node, Task
from otel_bridge_collector.model.processes.records import Process, Worker
from otel_bridge_collector.model.reading.rows import NodeState
from otel_bridge_collector.model.work.merging import (
    merge_host,
    merge_message,
    more_of,
)

from tests.support.histories import event, fold, fold_every_way, moment, span


def job(seconds: float, event_type: str, **fields: Any) -> Event:
    """An event of job ``j``, the span with number 1."""
    fields = {"task_id": "j", "span_id": span(1), **fields}
    return event(seconds, event_type, parent_task_id="t", **fields)


def phase(seconds: float, event_type: str = "phase_started", **fields: Any) -> Event:
    """An event of a phase, the span with number 1."""
    return event(seconds, event_type, parent_task_id="t", span_id=span(1), phase="a", **fields)


def merged(*story: Event, number: int = 1) -> Node:
    """The node with this number after a story, the same in every order."""
    return fold_every_way(story, 99, ways=12).tree.nodes[number]


def rare(node: Node) -> More:
    """Its rare facts; it has some."""
    assert node.more is not None
    return node.more


def state(*story: Event) -> NodeState:
    """How the node stands after a story."""
    model = fold_every_way(story, 99, ways=12)
    return model.rows.state(model.tree.nodes[1], None)


# --- start ----------------------------------------------------------------------------------------


def test_the_earliest_start() -> None:
    """Of several starts of a span the earliest counts."""
    node = merged(job(5, "task_started"), job(3, "task_started"), job(9, "task_started"))
    assert node.start == moment(3)


def test_an_end_says_the_start_by_its_duration() -> None:
    """An end's time less its duration is a start like any other: the earliest counts."""
    done = job(10, "task_completed", duration_ms=8000)
    assert merged(done).start == moment(2)
    assert merged(done, job(5, "task_started")).start == moment(2)
    assert merged(done, job(1, "task_started")).start == moment(1)


@pytest.mark.parametrize("ended_by", ["snapshot", "rule"])
def test_an_end_that_is_made_up_says_no_start(ended_by: str) -> None:
    """The duration in a snapshot or in a rule's report is not when the span started."""
    end = job(10, "task_completed", duration_ms=8000, ended_by=ended_by)
    assert merged(end, job(5, "task_started")).start == moment(5)


def test_a_losing_end_still_says_the_start() -> None:
    """The start that an end carries counts, although another end is the one that is shown."""
    story = (
        job(10, "task_failed", duration_ms=9000, ended_by="other"),
        job(12, "task_completed"),
    )
    node = merged(*story)
    assert (node.start, node.end) == (moment(1), moment(12))


# --- end ------------------------------------------------------------------------------------------


def test_a_better_known_end_wins_at_any_time() -> None:
    """The end by itself beats a later one by another process, and that beats a later rule."""
    own = job(5, "task_completed")
    other = job(9, "task_failed", ended_by="other", error="lost")
    rule = job(20, "task_stalled", reason="worker_lost")
    assert state(own, other, rule) == (COMPLETED, moment(5), None, SELF)
    assert state(other, rule) == (FAILED, moment(9), None, OTHER)


def test_the_latest_end_of_one_reporter() -> None:
    """Of two ends by one reporter the later wins, with its status and its error."""
    story = (job(5, "task_completed"), job(7, "task_failed", error="boom"))
    assert state(*story) == (FAILED, moment(7), None, SELF)
    assert merged(*story).error == "boom"
    story = (job(5, "task_failed", error="boom"), job(7, "task_completed"))
    assert merged(*story).error is None


def test_two_ends_at_one_time() -> None:
    """At one time completed is before failed before retried, and of two errors the greater is."""
    ends = [job(5, kind) for kind in ("task_retry", "task_failed", "task_completed")]
    assert state(*ends)[0] == COMPLETED
    assert state(*ends[:2])[0] == FAILED
    assert merged(*(job(5, "task_failed", error=text) for text in ("a", "b"))).error == "b"


def test_a_snapshot_ends_nothing() -> None:
    """The end in a snapshot of an open span is a sign of life, and no end."""
    story = (job(0, "task_started"), job(5, "task_failed", ended_by="snapshot", error="open"))
    assert merged(*story).error is None
    assert state(*story) == (1, None, None, 0)
    assert rare(merged(*story)).word == moment(5)


def test_an_end_before_its_start_is_an_end() -> None:
    """A start that a clock puts behind the end does not reopen a span."""
    assert state(job(9, "task_started"), job(5, "task_completed"))[0] == COMPLETED


def test_without_spans_a_later_start_runs_again() -> None:
    """A publisher without spans that starts an attempt after its end has started it again."""
    again = [
        job(seconds, kind, span_id=None)
        for seconds, kind in ((1, "task_started"), (5, "task_completed"), (7, "task_started"))
    ]
    ended = [*again, job(9, "task_failed", span_id=None)]
    for story, status in ((again[:2], "completed"), (again, "processing"), (ended, "failed")):
        model = fold_every_way(story, 20, ways=12)
        assert STATUS_NAMES[model.tasks.by_id["t"].jobs["j"].st] == status


def test_a_phase_fails_by_its_status() -> None:
    """A phase or a span ends as failed where its event's status says so; a job by its type."""
    assert state(phase(5, "phase_completed", status="failed"))[0] == FAILED
    assert state(phase(5, "phase_completed", status="completed"))[0] == COMPLETED
    assert state(job(5, "task_completed", status="failed"))[0] == COMPLETED


END_TYPES = {"task_completed": 4, "task_failed": 3, "task_retry": 2}
ends = st.tuples(
    st.sampled_from(["self", "other", "rule", "snapshot"]),
    st.integers(1, 4),
    st.sampled_from(sorted(END_TYPES)),
    st.sampled_from([None, "a", "b"]),
)


@settings(max_examples=150, deadline=None)
@given(story=st.lists(ends, min_size=1, max_size=6))
def test_the_end_is_the_greatest_of_all(story: list[tuple[str, int, str, str | None]]) -> None:
    """Of any ends the greatest (reporter, time, status, error) is the node's, in any order."""
    model = Fold()
    for ended_by, seconds, kind, error in story:
        one = job(seconds, kind, ended_by=ended_by, error=error)
        model.apply(one, moment(seconds))
    node = model.tree.nodes[1]
    true_ends = [one for one in story if one[0] != "snapshot"]
    if not true_ends:
        assert (node.ended, node.end, node.error) == (0, 0, None)
        return
    best = max(
        true_ends, key=lambda one: (ENDED_BY[one[0]], one[1], END_TYPES[one[2]], one[3] or "")
    )
    assert node.ended == ENDED_BY[best[0]] * 8 + FACTS[best[2]].status
    assert (node.end, node.error) == (moment(best[1]), best[3])


# --- name -----------------------------------------------------------------------------------------


def test_of_several_starts_the_greatest_name() -> None:
    """Names at the start are equal witnesses: the greatest text counts."""
    story = [job(at, "task_started", task_type=name) for at, name in ((1, "b"), (2, "c"), (3, "a"))]
    assert merged(*story).name == "c"


def test_a_later_name_of_an_open_span() -> None:
    """A name that an open span was given later beats that of its start, the latest of several."""
    story = [
        job(1, "task_started", task_type="z"),
        job(2, "span_updated", name="b"),
        job(3, "span_updated", name="a"),
    ]
    assert merged(*story).name == "a"
    snapshot = job(4, "task_completed", task_type="0", ended_by="snapshot")
    assert merged(*story, snapshot).name == "0"


def test_the_name_of_the_end() -> None:
    """The name at the end beats every other, however early; an end by another has none to give."""
    story = [
        job(5, "span_updated", name="z"),
        job(1, "task_started", task_type="y"),
        job(2, "task_completed", task_type="a"),
    ]
    assert merged(*story).name == "a"
    story[2] = job(2, "task_completed", task_type="a", ended_by="other")
    assert merged(*story).name == "z"


names = st.tuples(
    st.sampled_from(["start", "word", "end"]), st.integers(1, 3), st.sampled_from("abc")
)


@settings(max_examples=150, deadline=None)
@given(story=st.lists(names, min_size=1, max_size=6))
def test_the_name_is_the_greatest_of_all(story: list[tuple[str, int, str]]) -> None:
    """An end's greatest name, else the latest of an open span, else the greatest of a start."""
    types = {"start": "task_started", "word": "task_progress", "end": "task_completed"}
    model = Fold()
    for side, seconds, name in story:
        model.apply(job(seconds, types[side], task_type=name), moment(seconds))
    by_side = {
        side: sorted((seconds, name) for one, seconds, name in story if one == side)
        for side in types
    }
    expected = (
        max((name for _, name in by_side["end"]), default=None)
        or max(by_side["word"], default=(0, None))[1]
        or max(name for _, name in by_side["start"])
    )
    assert model.tree.nodes[1].name == expected


def test_a_long_name_is_shortened() -> None:
    """A name has 100 characters at most, from whatever event it comes."""
    for kind in ("task_started", "task_progress", "task_completed"):
        name = merged(job(1, kind, task_type="x" * 300)).name
        assert name is not None
        assert len(name) == 100


# --- attempts, runs, queues -----------------------------------------------------------------------


def test_the_greatest_attempt() -> None:
    """Of the retry counts of one span the greatest is its attempt, a million at most."""
    story = [job(1, "task_started", retry_count=2), job(2, "task_failed", retry_count=1)]
    assert merged(*story).attempt == 2
    assert merged(job(1, "task_started", retry_count=10**9)).attempt == 1_000_000


def test_a_retry_counts_once() -> None:
    """A retry of an attempt is one retry of the task, reported twice or corrected by an end."""
    story = [
        job(1, "task_retry", ended_by="other"),
        job(2, "task_retry"),
        job(3, "task_completed"),
        job(4, "task_retry", span_id=span(2), retry_count=1),
    ]
    model = fold_every_way(story, 9, ways=12)
    assert model.tasks.by_id["t"].retries == 2


def test_the_smaller_run_and_queue() -> None:
    """Of two run ids or queues that events of one span name, the smaller text counts."""
    story = [
        job(1, "task_started", run_id="b", queue="q2"),
        job(2, "task_completed", run_id="a", queue="q3"),
    ]
    node = merged(*story)
    assert (node.run, node.queue) == ("a", "q2")


def test_depths_by_queue_are_no_queue() -> None:
    """A mapping of depths, as the first users' own events send it, names no queue of the job."""
    assert merged(job(1, "task_started", queue={"q": 3})).queue is None


def test_a_delayed_job_is_known_by_its_enqueue() -> None:
    """A send with an ETA, a delay or a countdown is of a job that its broker holds back."""
    for meta in ({"eta": "2026-12-01"}, {"delay": 5}, {"countdown": 1.5}):
        assert rare(merged(job(1, "task_enqueued", meta=meta))).is_delayed
    plain = merged(job(1, "task_enqueued", meta={"delay": 0, "title": "x"}))
    assert plain.more is None or not plain.more.is_delayed


# --- facts of phases and tasks --------------------------------------------------------------------


def test_counts_by_time_then_value() -> None:
    """Of each count the latest value counts, of two at one time the larger; others are ignored."""
    story = [
        phase(1, counts={"total": 9, "completed": 1, "tokens": 7}),
        phase(3, "phase_completed", counts={"completed": 2, "pending": -1}),
        phase(2, counts={"completed": 8}),
        event(
            3,
            "stats_snapshot",
            parent_task_id="t",
            span_id=span(1),
            phase="a",
            counts={"completed": 5},
        ),
    ]
    assert rare(merged(*story)).counts == {"total": (moment(1), 9), "completed": (moment(3), 5)}


def test_the_latest_message() -> None:
    """The latest line for people counts, of two at one time the greater text, 300 characters."""
    assert rare(merged(phase(1, message="b"), phase(2, message="a"))).message == (moment(2), "a")
    assert rare(merged(phase(2, message="b"), phase(2, message="a"))).message == (moment(2), "b")
    message = rare(merged(phase(1, message="x" * 900))).message
    assert message is not None
    assert len(message[1]) == 300
    node = Node(1, PHASE, Task("t"), Task("t"))
    for text in ("b", "c", "a"):
        merge_message(node, (5, text))
    assert rare(node).message == (5, "c")


def test_a_later_title_wins_whatever_the_alphabet_says() -> None:
    """In any order: that of the end, else of the latest snapshot, else of the start."""
    story = [
        job(1, "task_started", task_id="t", meta={"title": "z"}),
        job(2, "span_updated", meta={"title": "y"}),
        job(3, "span_updated", meta={"title": "x"}),
        job(4, "task_completed", task_id="t", meta={"title": "b"}),
    ]
    for count, title in ((1, "z"), (2, "y"), (3, "x"), (4, "b")):
        for order in itertools.permutations(story[:count]):
            more = merged(*order).more
            assert more is not None
            assert more.title == title


def test_the_greatest_title_and_domain() -> None:
    """Of several titles and domains of a research task the greatest text counts; texts only."""
    sent = ({"title": "a", "domain": "x"}, {"title": "b"}, {"title": 7, "domain": ["z"]})
    story = [job(1, "task_started", task_id="t", meta=meta) for meta in sent]
    more = rare(merged(*story))
    assert (more.title, more.domain) == ("b", "x")


def test_the_latest_progress() -> None:
    """Of a job's own progress the latest counts; what is not in whole numbers is ignored."""
    story = [
        job(1, "task_progress", progress={"done": 9, "total": 10}),
        job(2, "task_progress", progress={"done": 3}),
        job(3, "task_progress", progress={"done": "4", "total": 10}),
        job(4, "task_progress", progress={"done": 5, "total": 1.5}),
        job(5, "task_progress", progress={"done": True, "total": 3}),
        job(6, "task_progress", progress={"total": 3}),
    ]
    assert rare(merged(*story)).progress == (moment(2), 3, -1)
    assert rare(merged(story[0])).progress == (moment(1), 9, 10)


def test_the_key_and_the_stack_of_a_failure() -> None:
    """The greatest key counts; a stack is that of the event's own span or of the one it names."""
    story = [
        job(1, "task_failed", error="boom", error_key="0a", stack=True),
        job(2, "task_failed", error="boom", error_key="0b"),
    ]
    more = rare(merged(*story))
    assert (more.error_key, more.stack, more.cause) == ("0b", span(1), "0b")
    pointing = job(1, "task_failed", error="boom", stack=True, stack_of=span(7))
    assert rare(merged(pointing)).stack == span(7)
    # Written by any client that may write events.
    for forged in ("../x", "", "0" * 17, "é" * 16, span(7) + "\n"):
        bad = job(1, "task_failed", error="boom", stack_of=forged, error_key="k" * 9000)
        assert (rare(merged(bad)).stack, len(rare(merged(bad)).error_key or "")) == (None, 160)


def test_the_greatest_promise_of_heartbeats() -> None:
    """Of two promised intervals the longer counts, and a span kind is the greater text."""
    assert (
        rare(
            merged(job(1, "task_started", beat_ms=50), job(2, "span_updated", beat_ms=9.5))
        ).beat_ms
        == 50
    )
    spans = [
        event(at, "span_started", parent_task_id="t", span_id=span(1), span_kind=kind)
        for at, kind in ((1, "SERVER"), (2, "CLIENT"))
    ]
    assert rare(merged(*spans)).span_kind == "SERVER"


# --- who ran it -----------------------------------------------------------------------------------


def test_a_worker_with_its_incarnation() -> None:
    """A worker with its incarnation is before one without; of two such the greater id counts."""
    story = [
        job(1, "task_started", worker_id="z"),
        job(2, "span_updated", worker_id="a", incarnation="0" * 16),
        job(3, "task_completed", worker_id="b", incarnation="0" * 16),
    ]
    model = fold_every_way(story, 99, ways=12)
    ends = {name: worker.completed for name, worker in model.workers.by_id.items()}
    assert ends == {"z": 0, "a": 0, "b": 1}


def test_the_order_of_hosts() -> None:
    """A process is before a worker without incarnation; of two workers the greater id counts."""
    hosts = (Worker("a"), Worker("b"), Process("0"), Process("1"))
    for order in itertools.permutations(hosts):
        for count in (2, 4):
            task = Task("t")
            node = Node(1, JOB, task, Job(task, "j"))
            for host in order[:count]:
                merge_host(node, host)
            assert node.worker is max(order[:count], key=hosts.index)


def test_an_end_moves_to_the_host_that_is_known_later() -> None:
    """What ended before its worker was known is credited once, to the worker that wins."""
    story = [job(1, "task_failed", worker_id="a"), job(2, "span_updated", worker_id="b")]
    model = fold_every_way(story, 9, ways=12)
    assert {name: one.failed for name, one in model.workers.by_id.items()} == {"a": 0, "b": 1}


def test_rare_facts_are_made_once() -> None:
    """A node's rare facts are made when first asked for, and are the same object afterwards."""
    task = Task("t")
    node = Node(1, JOB, task, task)
    assert more_of(node) is more_of(node) is node.more


def test_repeating_an_event_changes_nothing() -> None:
    """An event merged twice, its id forgotten, leaves each count as it was."""
    story = [
        job(1, "task_started", worker_id="w"),
        job(2, "task_retry", worker_id="w", error="E"),
        job(3, "task_failed", worker_id="w", error="E"),
    ]
    model = fold(
        [
            *story,
            *(
                job(n, one.event_type, worker_id="w", error="E")
                for n, one in zip((1, 2, 3), story, strict=True)
            ),
        ],
        9,
    )
    task = model.tasks.by_id["t"]
    assert (task.retries, task.agg[FAILED], model.workers.by_id["w"].failed) == (1, 1, 1)
    assert [group.count for group in model.failures.of_task[task].values()] == [1]


@pytest.mark.parametrize(
    ("later", "reason"),
    [({}, "worker_lost"), ({"reason": "heartbeat_lost"}, "heartbeat_lost")],
)
def test_the_reason_belongs_to_the_end_that_wins(later: dict[str, str], reason: str) -> None:
    """A later report of a stall replaces an earlier one with its reason, also where it has none."""
    story = [
        job(0, "task_started"),
        job(5, "task_stalled", reason="a former one"),
        job(9, "task_stalled", **later),
    ]
    model = fold_every_way(story, 99, ways=12)
    found = model.liveness.job_verdict(model.tasks.by_id["t"].jobs["j"])
    assert found is not None
    assert found.reason == reason


def test_of_two_reasons_at_one_time_the_greater_wins() -> None:
    """Two reports of one moment give one reason, whichever comes first."""
    story = [
        job(0, "task_started"),
        job(5, "task_stalled", reason="heartbeat_lost"),
        job(5, "task_stalled", reason="worker_lost"),
    ]
    model = fold_every_way(story, 99, ways=12)
    found = model.liveness.job_verdict(model.tasks.by_id["t"].jobs["j"])
    assert found is not None
    assert found.reason == "worker_lost"
