"""``otel_bridge_collector.model.work.learning``: projects, traces, and traces that continue one."""

from __future__ import annotations

from typing import Any

import pytest
from otel_bridge_collector.model.events import STATUS_NAMES, Event
from otel_bridge_collector.model.fold import Fold

from tests.support.histories import event, fold_every_way, moment, span

FIRST, SECOND, THIRD = "1" * 32, "2" * 32, "3" * 32


def part(
    number: int,
    trace: str,
    continues: str | None,
    start: float,
    end: float | None,
    outcome: str = "task_completed",
    **more: Any,
) -> list[Event]:
    """The root of a trace, which may continue another one, and a job inside it."""
    ids = {"trace_id": trace, "parent_task_id": continues or trace, **more}
    root = {**ids, "task_id": trace, "span_id": span(number), "name": f"part {number}"}
    job = {**ids, "task_id": f"j{number}", "span_id": span(number + 10), "name": "step"}
    story = [
        event(start, "task_started", **root, meta={"title": f"part {number}"}),
        event(start, "task_started", **job, parent_span_id=span(number)),
        event(start + 1, "task_completed", **job, parent_span_id=span(number)),
    ]
    return story if end is None else [*story, event(end, outcome, **root)]


def cards(model: Fold) -> dict[str, tuple[object, ...]]:
    """What people see: title, status, start, end and completed jobs of each card."""
    found: dict[str, tuple[object, ...]] = {}
    for task in model.tasks.by_id.values():
        if model.tasks.is_shown(task):
            card = model.cards.card(task)
            times = [
                None if at is None else (at - moment(0)) / 1e6 for at in (card.started, card.ended)
            ]
            found[task.id] = (card.title, STATUS_NAMES[card.status], *times, card.completed)
    return found


def test_traces_that_continue_one_another_are_one_card() -> None:
    """A chain of traces has the card of the first: its title, and the end of the last part."""
    story = [
        *part(1, FIRST, None, 0, 3),
        *part(2, SECOND, FIRST, 5, 8),
        *part(3, THIRD, SECOND, 9, 12),
    ]
    model = fold_every_way(story, 20, ways=40)
    assert cards(model) == {FIRST: ("part 1", "completed", 0, 12, 3)}


def test_a_card_runs_while_a_part_of_it_is_open() -> None:
    """A first part that has ended does not end the card while the trace after it runs."""
    story = [*part(1, FIRST, None, 0, 3), *part(2, SECOND, FIRST, 5, None)]
    assert cards(fold_every_way(story, 20)) == {FIRST: ("part 1", "processing", 0, None, 2)}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("task_failed", "task_completed", "completed"),
        ("task_completed", "task_failed", "failed"),
    ],
)
def test_what_comes_after_a_failure_overcomes_it(first: str, second: str, expected: str) -> None:
    """A trace that goes on where another one failed decides what the card came to."""
    story = [*part(1, FIRST, None, 0, 3, first), *part(2, SECOND, FIRST, 5, 8, second)]
    assert cards(fold_every_way(story, 20)) == {FIRST: ("part 1", expected, 0, 8, 2)}


def test_a_part_joins_the_task_of_the_trace_that_it_continues() -> None:
    """The task of the first trace, learnt whenever, has what continues that trace too."""
    own = {"parent_task_id": "t", "task_id": "t", "trace_id": FIRST, "span_id": span(7)}
    story = [
        event(0, "task_started", **own, meta={"title": "Report"}),
        event(4, "task_completed", **own),
        *part(2, SECOND, FIRST, 5, 8),
        *part(3, THIRD, SECOND, 9, 12),
    ]
    model = fold_every_way(story, 20, ways=40)
    assert cards(model) == {"t": ("Report", "completed", 0, 12, 2)}


def test_a_trace_that_only_the_link_names_has_a_card() -> None:
    """What continues a trace of another system is shown, by its own name."""
    story = part(2, SECOND, FIRST, 5, 8)
    assert cards(fold_every_way(story, 20)) == {FIRST: ("part 2", "completed", 5, 8, 1)}


def test_traces_in_a_circle_are_one_card() -> None:
    """Two traces that continue each other are on the card of the one with the smaller id."""
    story = [*part(1, FIRST, SECOND, 0, 3), *part(2, SECOND, FIRST, 5, 8)]
    assert list(cards(fold_every_way(story, 20, ways=40))) == [FIRST]


def test_a_trace_of_another_project_stays_apart() -> None:
    """What does not say the link itself joins nothing that its readers may not see."""
    story = [
        *part(1, FIRST, None, 0, 3, project_id="p"),
        *part(2, SECOND, FIRST, 5, 8)[:1],
        *part(3, SECOND, None, 9, 12, project_id="q"),
    ]
    assert set(cards(fold_every_way(story, 20))) == {FIRST, SECOND}


def test_a_task_with_an_id_like_a_trace_is_a_task() -> None:
    """Third-party spans inside one of our tasks are in it, also if its id is 32 hex digits."""
    own = {"parent_task_id": THIRD, "task_id": THIRD, "trace_id": FIRST, "span_id": span(1)}
    inside = {"parent_task_id": THIRD, "trace_id": FIRST, "task_id": "j", "name": "chat"}
    story = [
        event(0, "task_started", **own, meta={"title": "Report"}),
        event(1, "task_started", **inside, span_id=span(2), parent_span_id=span(1)),
        event(2, "task_completed", **inside, span_id=span(2), parent_span_id=span(1)),
        event(4, "task_completed", **own),
    ]
    model = fold_every_way(story, 20)
    assert cards(model) == {THIRD: ("Report", "completed", 0, 4, 1)}
    assert model.tasks.by_id[THIRD].is_named
