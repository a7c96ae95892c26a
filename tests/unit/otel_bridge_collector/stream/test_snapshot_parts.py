"""``snapshot_parts``: the bars of a snapshot are 2,000 in all, whoever has the cards."""

from __future__ import annotations

from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.snapshot.cards import MAX_SPANS, task_cards
from otel_bridge_collector.stream.snapshot_parts import (
    cards_part,
    join_snapshots,
    join_tasks,
    shown_ids,
    snapshot_part,
    tasks_of,
    tasks_part,
)
from otel_bridge_collector.wire.filters import ALL_EVENTS

from tests.support.histories import event, fold

TASKS = 14
JOBS = 170


def story(*tasks: int) -> Fold:
    """Tasks with many jobs each; what started later is newer."""
    return fold(
        (
            event(
                task + job / 1000,
                "task_started",
                parent_task_id=f"t{task:02}",
                task_id=f"j{job}",
                span_id=f"{task * 1000 + job:016x}",
            )
            for task in tasks
            for job in range(JOBS)
        ),
        100,
    )


def test_bars_are_limited_over_all_states() -> None:
    """The first cards have all of theirs, the last ones what is left; as in one state."""
    whole = story(*range(TASKS))
    models = [story(*range(number, TASKS, 3)) for number in range(3)]
    part = join_snapshots([snapshot_part(model, ALL_EVENTS, ()) for model in models])
    assert shown_ids(part) == [f"t{number:02}" for number in reversed(range(TASKS))]
    found = tasks_of(part, [cards_part(model, ALL_EVENTS, shown_ids(part)) for model in models])
    numbers = [len(card.spans) for card in found]
    assert numbers == [JOBS] * 11 + [MAX_SPANS - 11 * JOBS] + [0] * 2
    expected = task_cards(whole)
    assert [card.model_dump(exclude={"phases"}) for card in found] == [
        card.model_dump(exclude={"phases"}) for card in expected
    ]


def test_the_first_tasks_of_several_states() -> None:
    """The newest first, at most as many as were asked for, and how many there are."""
    models = [story(*range(number, TASKS, 3)) for number in range(3)]
    joined = join_tasks([tasks_part(model, ALL_EVENTS, 4) for model in models], 4)
    assert [one.id for one in joined.tasks] == ["t13", "t12", "t11", "t10"]
    assert joined.total == TASKS


def test_a_card_that_has_gone_is_left_out() -> None:
    """A task that was evicted between the two questions has no card; the others have theirs."""
    model = story(1, 2)
    part = snapshot_part(model, ALL_EVENTS, ())
    cards = cards_part(model, ALL_EVENTS, ["t02", "gone"])
    assert [card.task_id for card in tasks_of(part, [cards])] == ["t02"]
