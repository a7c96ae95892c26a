"""Which ends of attempts count, and that their counts stay when the attempts leave."""

from __future__ import annotations

from otel_bridge_collector.model.events import FAILED, RETRYING
from otel_bridge_collector.model.eviction import Limits
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.nodes import Node
from otel_bridge_collector.model.reading.ends import EndCounts, is_ended_attempt

from tests.support.folding import at, fold, job, root


def nodes_of(model: Fold, task: str = "t") -> list[Node]:
    held = model.tasks.by_id[task]
    return [*held.roots, *(node for one in held.jobs.values() for node in one.nodes())]


def test_attempts_that_ended_count() -> None:
    """A retry is one; a root, an enqueue, what runs and what is only stalled are none."""
    story = [
        root("t", 0, "task_started"),
        root("t", 9, "task_completed"),
        job("t", 1, "task_enqueued", "a"),
        job("t", 1, "task_started", "a"),
        job("t", 2, "task_retry", "a"),
        job("t", 3, "task_failed", "a", retry_count=1),
        job("t", 3, "task_started", "runs"),
        job("t", 3, "task_started", "lost"),
        job("t", 4, "task_stalled", "lost", reason="worker_lost"),
    ]
    found = [node for node in nodes_of(fold(story)) if is_ended_attempt(node)]
    assert sorted(node.ended & 7 for node in found) == [RETRYING, FAILED]


def test_steps_are_bounded() -> None:
    """Ends in more than 2,048 steps of 1,024 ms are counted in longer ones; none is lost."""
    for count, longest_ms in ((2000, 1024), (3000, 2048), (9000, 8192)):
        story = [job("t", 1.024 * n, "task_failed", f"j{n}") for n in range(count)]
        counts = EndCounts()
        counts.add(nodes_of(fold(story)))
        steps = list(counts)
        assert len(steps) <= 2048
        assert sum(failed for _, _, failed in steps) == count
        ends = [one.ts.timestamp() * 1000 for one in story]
        shown = sorted(time for time, ended, _ in steps for _ in range(ended))
        assert all(abs(end - time) <= longest_ms for end, time in zip(ends, shown, strict=True))


def test_what_is_evicted_from_a_task_stays_counted() -> None:
    """Until the task itself is evicted."""
    story = [root("t", 0, "task_started")]
    story += [job("t", n, "task_failed", f"j{n}") for n in range(1, 100)]
    model = fold(story, Limits(nodes_per_task=40))
    (counts,) = model.evicted_ends.values()
    left = sum(map(is_ended_attempt, nodes_of(model)))
    assert 0 < left < 60
    assert sum(ended for _, ended, _ in counts) + left == 99
    first = min(time for time, _, _ in counts)
    assert abs(first - at(1).timestamp() * 1000) <= 1024
    over = [root("t", 150, "task_completed")]
    over += [root(f"u{number}", 200, "task_completed") for number in range(3)]
    model = fold([*story, *over], Limits(nodes_per_task=40, tasks=1))
    assert "t" in model.evicted
    assert not model.evicted_ends
