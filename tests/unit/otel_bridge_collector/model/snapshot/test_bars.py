"""Bars of a card: which are shown, how many, and where they end."""

from __future__ import annotations

import itertools
from typing import Any

from otel_bridge_collector.model.snapshot.bars import bars_of
from otel_bridge_collector.model.snapshot.cards import (
    MAX_SPANS,
    MAX_SPANS_PER_CARD,
    task_cards,
)
from otel_bridge_collector.wire.messages import SpanBar

from otel_bridge.events.model import MonitoringEvent
from tests.support.folding import event, job, looked_at, root


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


TRACE = "0" * 31 + "1"


def span(number: int, parent: int | None = None) -> dict[str, Any]:
    """The ids of a span, and of its parent."""
    ids: dict[str, Any] = {"trace_id": TRACE, "span_id": f"{number:016x}"}
    return ids if parent is None else {**ids, "parent_span_id": f"{parent:016x}"}


def bars(seconds: float, events: list[MonitoringEvent]) -> dict[str, SpanBar]:
    """Bars of the only card, by span id without its zeros."""
    (card,) = task_cards(looked_at(seconds, events))
    return {bar.span_id.lstrip("0"): bar for bar in card.spans}


def test_a_job_that_is_enqueued_again_has_a_second_run() -> None:
    """Each bar of a job says which run it belongs to, and how many the job has had."""
    story = [
        job("t", 0, "task_enqueued", **span(1)),
        job("t", 1, "task_started", **span(2, 1)),
        job("t", 2, "task_retry", **span(2, 1)),
        job("t", 3, "task_completed", retry_count=1, duration_ms=500, **span(3, 1)),
        job("t", 10, "task_enqueued", **span(4)),
        job("t", 11, "task_started", **span(5, 4)),
        job("t", 11, "task_started", "once", **span(6)),
    ]
    found = {key: (bar.run, bar.runs) for key, bar in bars(12, story).items()}
    assert found == {"2": (1, 2), "3": (1, 2), "5": (2, 2), "6": (1, 1)}


def test_runs_are_told_apart_by_their_ids() -> None:
    """Attempts of two runs whose enqueues are not known are two runs, not two attempts of one."""
    story = [
        job("t", 1, "task_completed", run_id="one", **span(1)),
        job("t", 9, "task_failed", run_id="two", **span(2)),
    ]
    found = {key: (bar.run, bar.runs) for key, bar in bars(10, story).items()}
    assert found == {"1": (1, 2), "2": (2, 2)}


def test_a_job_that_starts_again_after_a_success_has_a_second_run() -> None:
    """Without enqueue and run id a success ends a run; a failure may be retried and does not."""

    def runs(second: str, **fields: Any) -> list[tuple[int | None, int | None]]:
        story = [
            job("t", 2, second, duration_ms=1000, **span(1)),
            job("t", 3, "task_started", **span(2), **fields),
        ]
        return [(bar.run, bar.runs) for _, bar in sorted(bars(4, story).items())]

    assert runs("task_completed") == [(1, 2), (2, 2)]
    assert runs("task_completed", retry_count=1) == [(1, 1), (1, 1)]
    assert runs("task_failed") == [(1, 1), (1, 1)]
    sent = [
        job("t", 0, "task_enqueued", **span(9)),
        job("t", 2, "task_completed", duration_ms=1000, **span(1, 9)),
        job("t", 3, "task_started", **span(2, 9)),
    ]
    assert {(bar.run, bar.runs) for bar in bars(4, sent).values()} == {(1, 1)}


def test_a_bar_says_how_deep_it_is() -> None:
    """The task is at 0, a phase below it at 1, and a job as deep as its enqueue was."""
    story = [
        root("t", 0, "task_started", **span(1)),
        event(1, "phase_started", parent_task_id="t", phase="p", **span(2, 1)),
        job("t", 2, "task_enqueued", phase="p", **span(3, 2)),
        job("t", 2, "task_enqueued", "waits", phase="p", **span(4, 2)),
        job("t", 3, "task_started", phase="p", **span(5, 3)),
    ]
    found = bars(4, story)
    assert {key: bar.depth for key, bar in found.items()} == {"1": 0, "2": 1, "4": 2, "5": 2}
    assert (found["1"].run, found["2"].runs) == (None, None)


def test_a_bar_says_who_reported_its_end() -> None:
    """The work itself, another process, or a status rule; nothing while it is open."""
    lives = {"worker_id": "w", "incarnation": "a" * 16}
    dead = {"worker_id": "v", "incarnation": "b" * 16}
    story = [
        event(0, "worker_heartbeat", **dead),
        event(90, "worker_heartbeat", **lives),
        job("t", 1, "task_completed", "self", **span(1)),
        job("t", 1, "task_started", "killed", **span(2)),
        job("t", 2, "task_failed", "killed", ended_by="other"),
        job("t", 1, "task_completed", "no span"),
        job("t", 1, "task_started", "lost", **span(3), **dead),
        job("t", 1, "task_started", "open", **span(4), **lives),
    ]
    found = {bar.task_id: bar for bar in bars(100, story).values()}
    assert {name: bar.ended_by for name, bar in found.items()} == {
        "self": "self",
        "killed": "other",
        "no span": "other",
        "lost": "rule",
        "open": None,
    }
    assert (found["lost"].reason, found["lost"].incarnation) == ("worker_lost", "b" * 16)
    assert (found["open"].incarnation, found["self"].incarnation) == ("a" * 16, None)


def test_what_a_card_ends_is_ended_by_a_rule() -> None:
    """An open bar of a card that is over has an end that was never reported."""
    story = [
        root("t", 0, "task_started", **span(1)),
        job("t", 2, "task_started", **span(2, 1)),
        root("t", 3, "task_completed", **span(1)),
    ]
    found = bars(400, story)
    assert (found["2"].ended_by, found["2"].reason) == ("rule", "card_ended")
    assert (found["1"].ended_by, found["1"].reason) == ("self", None)


def test_work_of_no_worker_has_its_process_incarnation() -> None:
    """A span that names its process and no worker carries that process' incarnation."""
    found = bars(2, [job("t", 1, "task_started", incarnation="c" * 16, **span(1))])
    assert (found["1"].worker_id, found["1"].incarnation) == (None, "c" * 16)


def test_a_job_that_waits_for_its_next_attempt_is_open() -> None:
    """Of a job whose first attempt is not known the enqueue of the second has no end."""
    found = bars(3, [job("t", 2, "task_enqueued", retry_count=1, **span(1))])
    assert (found["1"].status, found["1"].ended_at, found["1"].ended_by) == ("retrying", None, None)


def test_bars_that_ended_at_once_have_one_order() -> None:
    """Of publishers without spans bars are ordered by job and attempt, not by what came first."""
    story = [
        job("t", 1, "task_retry", "a"),
        job("t", 1, "task_failed", "a", retry_count=1),
        job("t", 1, "task_completed", "b"),
    ]
    for events in itertools.permutations(story):
        (card,) = task_cards(looked_at(2, list(events)))
        shown = [(bar.task_id, bar.retry_count) for bar in card.spans]
        assert shown == [("a", 0), ("a", 1), ("b", 0)]


def test_a_lost_job_of_an_ended_card_ends_at_its_last_heartbeat() -> None:
    """What is known of the job itself comes before the end of its card."""
    story = [
        event(0, "worker_started", worker_id="w"),
        root("t", 0, "task_started", **span(1)),
        job("t", 2, "task_started", worker_id="w", **span(2, 1)),
        event(10, "worker_heartbeat", worker_id="w"),
        root("t", 50, "task_completed", **span(1)),
    ]
    lost = bars(400, story)["2"]
    ended = "2026-11-24T12:00:10.000Z"
    assert (lost.status, lost.reason, lost.ended_by) == ("stalled", "worker_lost", "rule")
    assert lost.ended_at is not None
    assert lost.ended_at[:19] == ended[:19]


def test_a_phase_that_a_rule_ended_has_ended() -> None:
    """The end of a span that its sender gave up ends row and bar, until the span is heard of."""
    phase = {"parent_task_id": "t", "phase": "p", **span(1)}
    story = [
        event(1, "phase_started", **phase),
        event(5, "phase_completed", ended_by="rule", **phase),
        job("t", 6, "task_started", "other"),
    ]

    def found() -> tuple[str, str, bool, float | None]:
        (card,) = task_cards(looked_at(9, story))
        (bar,) = [one for one in card.spans if one.kind == "phase"]
        return card.phases[0].status, bar.status, bar.ended_at is None, bar.duration_ms

    assert found() == ("completed", "completed", False, 4000.0)
    story.append(event(7, "span_beats", spans=[phase["span_id"]]))
    assert found() == ("processing", "processing", True, None)


def test_a_phase_reported_with_and_without_span_has_one_bar() -> None:
    """A phase that a publisher without spans reports as well is drawn by its span alone."""
    story = [
        event(1, "phase_started", parent_task_id="t", phase="p"),
        event(1, "phase_started", parent_task_id="t", phase="p", **span(1)),
        event(1, "phase_started", parent_task_id="t", phase="q"),
    ]
    assert sorted((bar.span_id, bar.name) for bar in bars(2, story).values()) == [
        ("0000000000000001", "p"),
        ("q#0:phase", "q"),
    ]
