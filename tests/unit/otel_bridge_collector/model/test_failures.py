"""``otel_bridge_collector.model.failures``: failures by cause, counted by node and not by event."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from otel_bridge_collector.model import failures
from otel_bridge_collector.model.events import JOB, Event
from otel_bridge_collector.model.eviction import Limits
from otel_bridge_collector.model.failures import (
    NO_ERROR,
    OTHER_CAUSES,
    FailureGroup,
    error_key,
)
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.nodes import Job, Node, Task

from tests.support.histories import TRACE, event, fold, fold_every_way, moment, span


def failed(seconds: float, number: int, error: str | None = "boom", **fields: Any) -> Event:
    """The end of job number so and so, which failed."""
    fields = {
        "parent_task_id": "t",
        "task_id": f"j{number}",
        "span_id": span(number),
        **fields,
    }
    return event(seconds, "task_failed", error=error, **fields)


def groups(model: Fold, task: str = "t") -> dict[str, FailureGroup]:
    """The failure groups of a task by cause."""
    return model.failures.of_task.get(model.tasks.by_id[task], {})


def counts(model: Fold, task: str = "t") -> dict[str, int]:
    """How many nodes of a task failed, by cause."""
    return {cause: group.count for cause, group in groups(model, task).items()}


@pytest.mark.parametrize(
    ("error", "key"),
    [
        ("timeout after 30 s", "timeout after * s"),
        ("no such page: 'https://a.b/c'", "no such page: *"),
        ('key "x y" not found', "key * not found"),
        ("at 0x7fA0 of object", "at * of object"),
        ("span 4bf92f3577b34da6 lost", "span * lost"),
        ("face of the cafe", "face of the cafe"),
        ("KeyError: 'title'", "KeyError: 'title'"),
        ("KeyError: 'school-0017'", "KeyError: *"),
        ("KeyError: 17", "KeyError: *"),
        ("app.KeyError: 'two words'", "app.KeyError: *"),
        ("KeyError: '" + "x" * 70 + "'", "KeyError: *"),
        (
            "AttributeError: 'NoneType' object has no attribute 'text'",
            "AttributeError: 'NoneType' object has no attribute 'text'",
        ),
        ("TypeError: reading 'price' of 3 items", "TypeError: reading 'price' of * items"),
        ("ValueError: no page 'title'", "ValueError: no page *"),
        ("x" * 200, "x" * 160),
    ],
)
def test_cause_of_a_text(error: str, key: str) -> None:
    """Failures of one cause differ in quotes, addresses, hexadecimal ids and numbers only."""
    assert error_key(error) == key


@given(numbers=st.lists(st.integers(0, 10**12), min_size=2, max_size=2), name=st.text(max_size=9))
def test_texts_that_differ_in_numbers_have_one_cause(numbers: list[int], name: str) -> None:
    """Whatever the numbers in an error are, its cause is the same."""
    first, second = (f"{name} after {number} ms of 30" for number in numbers)
    assert error_key(first) == error_key(second)


def test_a_group_has_its_times_and_its_newest_ten() -> None:
    """Twelve failures of one cause are one group: counted, first, last and the latest ten."""
    story = [failed(number, number, f"boom {number}") for number in range(1, 13)]
    (group,) = groups(fold_every_way(story, 20, ways=20)).values()
    assert (group.cause, group.count) == ("boom *", 12)
    assert (group.first, group.last) == (moment(1), moment(12))
    assert [node.key for node in group.newest()] == list(range(12, 2, -1))


def test_failures_at_one_moment_have_an_order() -> None:
    """Of failures at the same time the newest are those with the greatest job and span ids."""
    story = [failed(1, number) for number in range(10, 22)]
    (group,) = groups(fold_every_way(story, 9, ways=20)).values()
    assert [node.key for node in group.newest()] == list(range(21, 11, -1))


def test_each_cause_has_its_group() -> None:
    """Causes are counted apart; what failed without a text has a cause of its own."""
    story = [failed(1, 1), failed(2, 2), failed(3, 3, "other"), failed(4, 4, None)]
    assert counts(fold_every_way(story, 9, ways=20)) == {"boom": 2, "other": 1, NO_ERROR: 1}


def test_the_key_from_the_stack_is_the_cause() -> None:
    """Where the publisher sends a key of the stack, that is the cause and not the text."""
    story = [
        failed(1, 1, "no page a", error_key="00ff00ff00ff00ff"),
        failed(2, 2, "no page b", error_key="00ff00ff00ff00ff"),
        failed(3, 3, "no page a"),
    ]
    found = counts(fold_every_way(story, 9, ways=20))
    assert found == {"00ff00ff00ff00ff": 2, "no page a": 1}


def test_a_failure_reported_twice_counts_once() -> None:
    """Two reports of one failure are one node that failed, with the end that is known best."""
    story = [failed(1, 1, "lost", ended_by="other"), failed(2, 1)]
    model = fold_every_way(story, 9, ways=20)
    assert counts(model) == {"boom": 1}
    assert groups(model)["boom"].first == moment(2)


def test_a_corrected_failure_counts_no_more() -> None:
    """When the node's own end says that it completed, its group is gone."""
    done = event(2, "task_completed", parent_task_id="t", task_id="j1", span_id=span(1))
    model = fold_every_way([failed(1, 1, ended_by="other"), done], 9, ways=20)
    assert counts(model) == {}
    assert model.tasks.by_id["t"] not in model.failures.of_task


def test_what_counts_as_a_failure() -> None:
    """Failed jobs, sends and research tasks count; attempts that are retried and phases do not."""
    fields: dict[str, Any] = {"parent_task_id": "t"}
    story = [
        failed(1, 1, "job"),
        failed(2, 2, "send", span_kind="PRODUCER"),
        failed(3, 3, "root", task_id="t"),
        event(4, "task_retry", task_id="j4", span_id=span(4), error="retried", **fields),
        event(
            5,
            "phase_completed",
            phase="a",
            span_id=span(5),
            status="failed",
            error="phase",
            **fields,
        ),
        event(6, "span_ended", span_id=span(6), status="failed", error="span", **fields),
    ]
    assert counts(fold_every_way(story, 9, ways=20)) == {"job": 1, "send": 1, "root": 1}


def test_a_failure_follows_its_node_to_another_task() -> None:
    """A failure that was known by its trace alone counts in the trace's task once that is known."""
    loose = {"parent_task_id": TRACE, "trace_id": TRACE}
    named = event(0, "task_started", parent_task_id="t", trace_id=TRACE, task_id="t")
    model = fold([failed(1, 1, **loose)])
    assert counts(model, TRACE) == {"boom": 1}
    model.apply(named, moment(2))
    assert (counts(model, TRACE), counts(model)) == ({}, {"boom": 1})


def test_causes_of_a_task_are_bounded() -> None:
    """Failures of more than a hundred causes count together; a known cause goes on counting."""
    story = [failed(1, number, "cause " + "x" * number) for number in range(1, 104)]
    found = counts(fold([*story, failed(2, 200, "cause x")]))
    assert len(found) == 101
    assert (found[OTHER_CAUSES], found["cause x"]) == (3, 2)


def test_evicted_failures_still_count() -> None:
    """Failures that are no longer held stay in count, first and last, and leave the newest."""
    story = [failed(number, number) for number in range(1, 21)]
    model = fold(story, limits=Limits(nodes_per_task=8))
    (group,) = groups(model).values()
    held = [node.key for node in group.newest()]
    assert (group.count, group.first, group.last) == (20, moment(1), moment(20))
    assert len(held) < 10
    assert set(held) == {node.key for node in model.tree.nodes.values()}


def test_evicted_failures_still_say_what_they_were() -> None:
    """What failed is known when its node is not held: job, key of its row, type, error, worker."""
    story = [
        failed(number, number, f"boom {number}", task_type="fetch", worker_id="w", reason="killed")
        for number in range(1, 21)
    ]
    model = fold(story, limits=Limits(nodes_per_task=8))
    (group,) = groups(model).values()
    known = list(group.newest_jobs(200))
    assert len(group.members) < 20
    assert [job.job for job in known] == [f"j{number}" for number in range(20, 0, -1)]
    gone = known[-2]
    assert int(gone.node, 16) not in model.tree.nodes
    assert (gone.task, gone.node, gone.name) == ("t", span(2), "fetch")
    assert (gone.error, gone.reason, gone.worker) == ("boom 2", "killed", "w")


def test_what_is_kept_of_evicted_failures_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each group the newest are kept, and of all together so many; the oldest group gives."""
    monkeypatch.setattr(failures, "MAX_PAST", 4)
    monkeypatch.setattr(failures, "MAX_PAST_IN_ALL", 6)
    story = [failed(number, number, "a" if number < 21 else "b") for number in range(1, 41)]
    model = fold(story, limits=Limits(nodes_per_task=8))
    kept = {cause: [job.order[0] for job in group.past] for cause, group in groups(model).items()}
    assert [len(kept["a"]), len(kept["b"])] == [2, 4]
    assert kept["a"] == [moment(19), moment(20)]
    assert counts(model) == {"a": 20, "b": 20}
    root = event(50, "task_completed", parent_task_id="t", task_id="t", span_id=span(99))
    others = [failed(60, 200 + n, parent_task_id=f"u{n}") for n in range(3)]
    for one in (root, *others):
        model.apply(one, moment(60))
    assert model.failures.past_size == 6
    model.failures.forget(model.tasks.by_id["t"])
    assert model.failures.past_size == 0


def test_an_evicted_tasks_failures_are_gone() -> None:
    """With a task that is evicted as a whole its failure groups go."""
    root = event(2, "task_completed", parent_task_id="t", task_id="t", span_id=span(99))
    others = [failed(3, 200 + n, parent_task_id=f"u{n}") for n in range(3)]
    model = fold([failed(1, 1), root, *others], limits=Limits(tasks=2))
    assert "t" not in model.tasks.by_id
    assert {task.id for task in model.failures.of_task} <= model.tasks.by_id.keys()


@given(seed=st.integers(0, 2**32))
def test_a_group_is_a_recount_of_its_nodes(seed: int) -> None:
    """However nodes come, go and are evicted, and whenever it is read, a group says the truth."""
    rng = random.Random(seed)
    max_shown, max_past = rng.choice((10, 15, 200)), rng.choice((1, 4, 50))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(failures, "MAX_SHOWN", max_shown)
        patch.setattr(failures, "MAX_PAST", max_past)
        recount(rng, max_past)


def recount(rng: random.Random, max_past: int) -> None:
    """Change a group at random, and compare it with what its nodes say."""
    task = Task("t")
    group = FailureGroup(task, "boom")
    held: list[Node] = []
    gone: list[Node] = []
    for key in range(1, 40):
        step = rng.choice(("add", "add", "add", "remove", "evict"))
        if step == "add":
            node = Node(key, JOB, task, Job(task, f"j{key}"), end=rng.randrange(1, 30))
            group.add(node)
            held.append(node)
        elif held:
            node = held.pop(rng.randrange(len(held)))
            if step == "remove":
                group.remove(node)
            else:
                group.evicted(node)
                gone.append(node)
        if rng.random() < 0.5:
            ends = [node.end for node in (*held, *gone)]
            assert group.count == len(ends)
            assert group.first == min(ends, default=0)
            assert group.last == max(ends, default=0)
            latest = sorted((node.end for node in held), reverse=True)[:10]
            assert [node.end for node in group.newest()] == latest
            past = sorted((node.end for node in gone), reverse=True)[:max_past]
            known = sorted((*(node.end for node in held), *past), reverse=True)[:10]
            assert [job.order[0] for job in group.newest_jobs()] == known


def test_a_root_that_is_also_reported_without_a_span_fails_once() -> None:
    """A coordinator that publishes raw events of its own beside spans has one failure, not two."""
    ids = {"parent_task_id": "t", "task_id": "t"}
    story = [
        event(0, "task_started", **ids),
        event(0, "task_started", span_id=span(1), **ids),
        event(5, "task_failed", error="E", **ids),
    ]

    def counts(*events: Event) -> list[int]:
        model = fold_every_way([*story, *events], 9)
        groups = model.failures.of_task.get(model.tasks.by_id["t"], {})
        return [group.count for group in groups.values()]

    assert counts() == []
    assert counts(event(5, "task_failed", span_id=span(1), error="E", **ids)) == [1]
