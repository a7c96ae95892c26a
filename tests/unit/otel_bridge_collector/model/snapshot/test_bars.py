"""Bars of a card: which are shown, how many, and where they end."""

from __future__ import annotations

from typing import Any

from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.snapshot.bars import bars_of
from otel_bridge_collector.model.snapshot.cards import (
    MAX_SPANS,
    MAX_SPANS_PER_CARD,
    task_cards,
)

from otel_bridge.events.model import MonitoringEvent
from tests.support.folding import event, fold, judged


def root(task: str, seconds: float, kind: str, **fields: Any) -> MonitoringEvent:
    return event(seconds, kind, parent_task_id=task, task_id=task, **fields)


def job(task: str, seconds: float, kind: str, name: str = "j", **fields: Any) -> MonitoringEvent:
    return event(seconds, kind, parent_task_id=task, task_id=name, **fields)


def looked_at(seconds: float, events: list[MonitoringEvent]) -> Fold:
    return judged(fold(events), seconds)


def test_bars_are_bounded_over_all_cards() -> None:
    """A card has at most 200 bars and all cards together 2,000; the first cards get theirs."""
    story = []
    for task in range(15):
        for number in range(210):
            story.append(job(f"t{task:02}", task, "task_started", f"j{number}"))
    counts = [len(card.spans) for card in task_cards(looked_at(20, story))]
    assert counts == [MAX_SPANS_PER_CARD] * (MAX_SPANS // MAX_SPANS_PER_CARD) + [0] * 5


def test_open_bars_are_kept_when_there_are_too_many() -> None:
    """Of more bars than a card holds the open ones are shown first."""
    story = [job("t", 0, "task_started", "open")]
    story += [job("t", n, "task_completed", f"j{n}", span_id=f"{n:016x}") for n in range(1, 300)]
    (card,) = task_cards(looked_at(300, story))
    assert (card.spans[0].task_id, card.spans[1].task_id) == ("open", "j299")


def test_a_queued_bar_becomes_the_jobs_waiting_time() -> None:
    """An enqueueing whose job began is no bar of its own but the job's ``queued_at``."""
    queued = {"span_id": "00000000000000aa"}
    begun = {"span_id": "00000000000000bb", "parent_span_id": "00000000000000aa"}
    story = [job("t", 1, "task_enqueued", **queued)]
    (waiting,) = task_cards(looked_at(2, story))[0].spans
    assert (waiting.kind, waiting.status) == ("enqueue", "pending")
    story.append(job("t", 5, "task_started", **begun))
    (running,) = task_cards(looked_at(6, story))[0].spans
    assert (running.kind, running.queued_at, running.started_at) == (
        "job",
        "2026-11-24T12:00:01.000000Z",
        "2026-11-24T12:00:05.000000Z",
    )


def test_no_bar_is_open_in_a_card_that_is_over() -> None:
    """When the research task has ended every bar of it has an end, and nothing is queued."""
    story = [
        root("t", 0, "task_started"),
        job("t", 1, "task_enqueued", "queued"),
        job("t", 2, "task_started", "lost"),
        root("t", 3, "task_completed"),
    ]
    (card,) = task_cards(looked_at(400, story))
    assert card.status == "completed"
    assert sorted((bar.kind, bar.status) for bar in card.spans) == [
        ("job", "stalled"),
        ("research_task", "completed"),
    ]
    assert None not in [bar.ended_at for bar in card.spans]


def test_a_repeated_attempt_is_one_bar() -> None:
    """An end that another process reports without a span draws no bar beside the attempt's own."""
    model = looked_at(
        9,
        [
            job("t", 1, "task_started", span_id="00000000000000aa"),
            job("t", 3, "task_failed", error="the worker was killed", ended_by="other"),
        ],
    )
    (bar,) = bars_of(model, model.tasks.by_id["t"], None, 10)
    assert (bar.span_id, bar.status) == ("00000000000000aa", "failed")


def test_a_large_task_shows_what_runs_and_what_ended_last() -> None:
    """Of thousands of jobs the running ones are found, however old, and the latest to end."""
    story = [job("t", 0, "task_started", "oldest"), job("t", 1, "task_enqueued", "ends last")]
    story += [job("t", n, "task_completed", f"j{n}") for n in range(2, 1000)]
    story.append(job("t", 1001, "task_completed", "ends last"))
    (card,) = task_cards(looked_at(1002, story))
    assert [bar.task_id for bar in card.spans[:3]] == ["oldest", "ends last", "j999"]
