"""``otel_bridge_collector.model.reading.cards``: each branch of a card's status, and its facts."""

from __future__ import annotations

from typing import Any

import pytest
from otel_bridge_collector.model.events import STALLED, STATUS_NAMES, Event
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.reading.cards import Card, Standing

from tests.support.histories import TRACE, event, fold, fold_every_way, moment, span

ENDED = "task_completed"


def root(seconds: float, event_type: str, **fields: Any) -> Event:
    """An event of the research task itself."""
    fields = {"span_id": span(99), **fields}
    return event(seconds, event_type, parent_task_id="t", task_id="t", **fields)


def job(seconds: float, event_type: str, number: int = 1, **fields: Any) -> Event:
    """An event of a job of the research task."""
    fields = {"parent_task_id": "t", "task_id": f"j{number}", "span_id": span(number), **fields}
    return event(seconds, event_type, **fields)


def phase(seconds: float, event_type: str, name: str = "a", **fields: Any) -> Event:
    """An event of a phase span of the research task."""
    fields = {"parent_task_id": "t", "span_id": span(50), **fields}
    return event(seconds, event_type, phase=name, **fields)


def heartbeat(seconds: float, worker: str = "w") -> Event:
    """A heartbeat of a worker."""
    return event(seconds, "worker_heartbeat", worker_id=worker, meta={"host": "h", "pid": 1})


def status(model: Fold, task: str = "t") -> tuple[str, str | None]:
    """Where a task of the story stands, and why if it is stalled."""
    code, reason = model.cards.status(model.tasks.by_id[task])
    return STATUS_NAMES[code], reason


def card(model: Fold, task: str = "t") -> Card:
    """The card of a task of the story."""
    return model.cards.card(model.tasks.by_id[task])


# --- status, by the research task's own node ------------------------------------------------------

ROOT_ENDED = {
    "completed": ([root(0, ENDED)], 1, "completed", None),
    "failed": ([root(0, "task_failed")], 1, "failed", None),
    "by another process": ([root(0, "task_failed", ended_by="other")], 1, "failed", None),
    "a job still runs": ([root(0, ENDED), job(0, "task_started")], 1, "processing", None),
    "one job of one has failed": ([root(0, ENDED), job(0, "task_failed")], 1, "completed", None),
    "two jobs of two have failed": (
        [root(0, ENDED), job(0, "task_failed"), job(0, "task_failed", 2)],
        1,
        "completed",
        None,
    ),
    "two jobs of three have failed": (
        [root(0, ENDED), *(job(0, "task_failed", number) for number in (1, 2)), job(0, ENDED, 3)],
        1,
        "completed",
        None,
    ),
    "a job waits for up to 60 s": (
        [root(0, ENDED), job(0, "task_enqueued")],
        60,
        "processing",
        None,
    ),
    "a job waits for longer": ([root(0, ENDED), job(0, "task_enqueued")], 60.1, "completed", None),
    "a retry waits for up to 60 s": (
        [root(0, ENDED), job(0, "task_retry")],
        60,
        "processing",
        None,
    ),
    "a retry waits for longer": ([root(0, ENDED), job(0, "task_retry")], 60.1, "completed", None),
    "a job failed": ([root(0, ENDED), job(0, "task_failed")], 1, "completed", None),
    "a job is lost": (
        [heartbeat(0), root(0, ENDED), job(0, "task_started", worker_id="w")],
        31,
        "completed",
        None,
    ),
    "a phase is open": ([root(0, ENDED), phase(0, "phase_started")], 1, "completed", None),
}
"""A root whose true end is known: its own status, unless there is work that goes on."""

ROOT_OPEN = {
    "something was heard within 900 s": ([root(0, "task_started")], 900, "processing", None),
    "silent for longer": ([root(0, "task_started")], 900.1, "stalled", "silent"),
    "all jobs failed": ([root(0, "task_started"), job(0, "task_failed")], 9, "processing", None),
    "on a lost worker": (
        [heartbeat(0), root(0, "task_started", worker_id="w")],
        31,
        "stalled",
        "worker_lost",
    ),
    "three heartbeats missed": (
        [root(0, "task_started", beat_ms=10_000)],
        31,
        "stalled",
        "heartbeat_lost",
    ),
    "lost, but a job runs elsewhere": (
        [heartbeat(0), root(0, "task_started", worker_id="w"), job(1, "task_started")],
        31,
        "processing",
        None,
    ),
    "a job runs, silent for 900 s": (
        [
            *(heartbeat(seconds) for seconds in range(0, 2000, 20)),
            root(0, "task_started"),
            job(0, "task_started", worker_id="w"),
        ],
        1990,
        "processing",
        None,
    ),
    "a reported stall, and a later word": (
        [
            root(0, "task_started"),
            root(5, "task_stalled", reason="worker_lost"),
            root(8, "span_updated"),
        ],
        9,
        "processing",
        None,
    ),
    "an end by a rule, a job runs": (
        [root(0, "task_started"), root(5, "task_failed", ended_by="rule"), job(1, "task_started")],
        9,
        "processing",
        None,
    ),
}
"""A root whose true end is not known: it runs while a job does, else its own verdict."""

ROOTLESS = {
    "a job runs": ([job(0, "task_started")], 1, "processing", None),
    "a job waits": ([job(0, "task_enqueued")], 900, "processing", None),
    "a job waits, silent for longer": ([job(0, "task_enqueued")], 900.1, "stalled", "silent"),
    "a retry waits": ([job(0, "task_retry")], 900, "processing", None),
    "a retry waits, silent for longer": ([job(0, "task_retry")], 900.1, "stalled", "silent"),
    "one waits, silent, another completed": (
        [job(0, "task_enqueued"), job(0, ENDED, 2)],
        900.1,
        "stalled",
        "silent",
    ),
    "a phase is open": ([phase(0, "phase_started")], 900, "processing", None),
    "nothing to do for up to 60 s": ([job(0, ENDED)], 60, "processing", None),
    "nothing to do for longer": ([job(0, ENDED)], 60.1, "completed", None),
    "one failed, none completed": ([job(0, "task_failed")], 60.1, "failed", None),
    "one failed, one completed": (
        [job(0, "task_failed"), job(0, ENDED, 2)],
        60.1,
        "completed",
        None,
    ),
    "one lost, none completed": (
        [heartbeat(0), job(0, "task_started", worker_id="w")],
        61,
        "stalled",
        "worker_lost",
    ),
    "one without heartbeats, none completed": (
        [job(0, "task_started", beat_ms=5000)],
        61,
        "stalled",
        "heartbeat_lost",
    ),
    "one silent, none completed": ([job(0, "task_started")], 901, "stalled", "silent"),
    "one lost, one failed": (
        [heartbeat(0), job(0, "task_started", worker_id="w"), job(0, "task_failed", 2)],
        61,
        "failed",
        None,
    ),
    "one lost, one completed": (
        [heartbeat(0), job(0, "task_started", worker_id="w"), job(0, ENDED, 2)],
        61,
        "completed",
        None,
    ),
    "a phase came to an end": ([phase(0, "phase_completed")], 61, "completed", None),
}
"""No node of the task itself: it is over when nothing is left to do, 60 s after its last event."""


@pytest.mark.parametrize("case", ROOT_ENDED)
def test_status_by_an_ended_root(case: str) -> None:
    """A root's end is its card's, but for a job that runs or waits since less than 60 s."""
    story, seconds, expected, reason = ROOT_ENDED[case]
    assert status(fold_every_way(story, seconds, ways=8)) == (expected, reason)


@pytest.mark.parametrize("case", ROOT_OPEN)
def test_status_by_an_open_root(case: str) -> None:
    """An open root runs while a job does; else its worker, heartbeats and 900 s of silence say."""
    story, seconds, expected, reason = ROOT_OPEN[case]
    assert status(fold_every_way(story, seconds, ways=8)) == (expected, reason)


@pytest.mark.parametrize("case", ROOTLESS)
def test_status_without_a_root(case: str) -> None:
    """Without a root open work, then 60 s of quiet, then what became of its jobs say the status."""
    story, seconds, expected, reason = ROOTLESS[case]
    assert status(fold_every_way(story, seconds, ways=8)) == (expected, reason)


LOST_PHASES = {
    "silent for 900 s": ([phase(0, "phase_started")], 900.1),
    "on a lost worker": ([heartbeat(0), phase(0, "phase_started", worker_id="w")], 61),
    "three heartbeats missed": ([phase(0, "phase_started", beat_ms=5000)], 61),
}


@pytest.mark.parametrize("case", LOST_PHASES)
def test_a_lost_phase_keeps_no_task_running(case: str) -> None:
    """An open phase of which nothing is heard any more does not keep its task open."""
    story, seconds = LOST_PHASES[case]
    assert status(fold_every_way(story, seconds, ways=8))[0] != "processing"


@pytest.mark.parametrize(
    ("event_type", "expected"),
    [(ENDED, "completed"), ("task_failed", "failed")],
)
def test_a_traces_card_is_over_with_its_work(event_type: str, expected: str) -> None:
    """A card that no event names a task of does not wait 60 s: its topmost job is all it is."""
    ids: dict[str, Any] = {"parent_task_id": TRACE, "trace_id": TRACE}
    story = [job(0, "task_started", **ids), job(5, event_type, **ids)]
    assert status(fold_every_way(story, 5, ways=8), TRACE) == (expected, None)
    assert status(fold_every_way(story[:1], 5, ways=8), TRACE) == ("processing", None)


@pytest.mark.parametrize(("outcome", "expected"), [(None, "completed"), ("failed", "failed")])
def test_a_local_root_ends_its_card(outcome: str | None, expected: str) -> None:
    """An INTERNAL span whose parent is not known is the card: its name, its end, its outcome."""
    ids: dict[str, Any] = {"parent_task_id": TRACE, "trace_id": TRACE, "span_id": span(1)}
    about = {**ids, "parent_span_id": span(9), "remote_parent": True, "name": "answer"}
    story = [event(0, "span_started", **about), event(5, "span_ended", **about, status=outcome)]
    model = fold_every_way(story, 6, ways=8)
    card = model.cards.card(model.tasks.by_id[TRACE])
    assert status(model, TRACE) == (expected, None)
    assert (card.title, card.started, card.ended) == ("answer", moment(0), moment(5))
    assert status(fold_every_way(story[:1], 6, ways=8), TRACE) == ("processing", None)


def test_of_several_roots_the_latest_run_counts() -> None:
    """A task that runs again is where its latest run is, whatever the first one came to."""
    story = [
        root(0, "task_started", span_id=span(1)),
        root(5, "task_failed", span_id=span(1)),
        root(10, "task_started", span_id=span(2)),
    ]
    assert status(fold_every_way(story, 20, ways=8)) == ("processing", None)
    story.append(root(30, ENDED, span_id=span(2)))
    assert status(fold_every_way(story, 40, ways=8)) == ("completed", None)


# --- times ----------------------------------------------------------------------------------------


def standing(story: list[Event], seconds: float) -> Standing:
    """Where the task of a story stands at that time."""
    model = fold_every_way(story, seconds, ways=8)
    return model.cards.standing(model.tasks.by_id["t"])


def test_times_of_a_task_with_a_root() -> None:
    """A card starts and ends with its root; while it runs it has no end."""
    story = [job(-5, "task_started"), root(0, "task_started"), root(20, ENDED), job(25, ENDED)]
    assert standing(story, 30)[2:] == (moment(0), moment(20))
    assert standing(story[:2], 30)[2:] == (moment(0), None)


def test_times_of_a_task_without_a_root() -> None:
    """A card without a root starts with its first event, and ends with its last."""
    story = [job(3, "task_started"), job(9, ENDED), phase(5, "phase_completed")]
    assert standing(story, 100)[2:] == (moment(3), moment(9))
    assert standing(story, 20)[2:] == (moment(3), None)


def test_a_stalled_task_ends_with_its_last_event() -> None:
    """A task that was silent for 900 s ended when something was last heard of it."""
    story = [root(0, "task_started"), phase(40, "phase_started")]
    assert standing(story, 1000) == (STALLED, "silent", moment(0), moment(40))


# --- facts of a card ------------------------------------------------------------------------------


def test_a_card_is_named_by_its_root() -> None:
    """Title, domain and type are the root's, and so is the error of a root that has ended."""
    meta = {"title": "A title", "domain": "news"}
    story = [
        root(0, "task_started", meta=meta, task_type="research", project_id="p"),
        job(1, "task_started", task_type="fetch"),
        job(2, "task_failed", error="no page"),
        root(9, "task_failed", error="boom"),
    ]
    found = card(fold_every_way(story, 10, ways=8))
    assert (found.task_id, found.title, found.domain) == ("t", "A title", "news")
    assert (found.task_type, found.project_id, found.error) == ("research", "p", "boom")
    assert card(fold_every_way(story[:3], 10, ways=8)).error is None
    spanless = [
        root(0, "task_started", span_id=None),
        root(9, "task_failed", span_id=None, error="E"),
    ]
    assert card(fold_every_way(spanless, 10, ways=8)).error == "E"
    spanless.append(root(12, "task_started", span_id=None))
    assert card(fold_every_way(spanless, 13, ways=8)).error is None


def test_a_named_task_without_a_root_has_no_type() -> None:
    """A task that is known by its jobs alone has neither title nor type; a trace's card does."""
    found = card(fold_every_way([job(0, ENDED, task_type="fetch")], 1, ways=8))
    assert (found.title, found.task_type, found.trace_id) == (None, None, None)
    ids: dict[str, Any] = {"parent_task_id": TRACE, "trace_id": TRACE}
    found = card(fold_every_way([job(0, ENDED, task_type="fetch", **ids)], 1, ways=8), TRACE)
    assert (found.task_type, found.trace_id) == ("fetch", TRACE)


def test_the_smallest_of_several_traces_is_shown() -> None:
    """A task that was reported in two traces shows the smaller id, in any order."""
    ids = ("2" * 32, "1" * 32)
    story = [job(0, ENDED, number, trace_id=trace) for number, trace in enumerate(ids, 1)]
    assert card(fold_every_way(story, 1, ways=8)).trace_id == "1" * 32


def test_counts_of_a_card_are_those_of_its_phases_and_the_rest() -> None:
    """What a phase reports beyond the jobs that are seen counts, beside jobs in no phase."""
    story = [
        root(0, "task_started"),
        phase(0, "phase_started", counts={"total": 10, "completed": 4, "failed": 1}),
        job(1, ENDED, 1, parent_span_id=span(50)),
        job(1, ENDED, 2),
        job(1, "task_failed", 3),
        job(1, "task_started", 4),
        job(1, "task_retry", 5),
    ]
    found = card(fold_every_way(story, 2, ways=8))
    assert (found.completed, found.failed, found.pending) == (4 + 1, 1 + 1, 5 + 2)
    assert found.jobs == (0, 1, 1, 2, 1, 0)
    assert found.retries == 1


def test_the_latest_message_is_shown() -> None:
    """Of the messages of a task, its root and its phases the latest is shown."""
    story = [
        root(0, "task_started", message="begins"),
        phase(5, "phase_started", message="reads"),
        event(3, "stats_snapshot", parent_task_id="t", message="between"),
    ]
    assert card(fold_every_way(story, 6, ways=8)).message == "reads"
    assert card(fold_every_way([story[0], story[2]], 6, ways=8)).message == "between"
    assert card(fold_every_way(story[:1], 6, ways=8)).message == "begins"


def test_the_current_phase_is_the_last_one_that_runs() -> None:
    """Of the phases that run the one that started last is the current one; else the last of all."""
    story = [
        root(0, "task_started"),
        phase(1, "phase_started", "a", span_id=span(51)),
        phase(2, "phase_started", "b", span_id=span(52)),
        phase(3, "phase_started", "c", span_id=span(53)),
        phase(4, "phase_completed", "c", span_id=span(53)),
    ]
    assert card(fold_every_way(story, 5, ways=8)).current_phase == "b"
    over = [
        *story,
        *(phase(6, "phase_completed", n, span_id=span(s)) for n, s in (("a", 51), ("b", 52))),
    ]
    assert card(fold_every_way(over, 7, ways=8)).current_phase == "c"
    assert card(fold_every_way(story[:1], 5, ways=8)).current_phase is None


def eta(*rates: int) -> float | None:
    """The time left of phases with 100 jobs left, by the jobs a second of each; 0: no counts."""
    model = fold([root(0, "task_started")])
    for second in (1, 11):
        for number, rate in enumerate(rates):
            done = rate * (second - 1) + 1
            counts = {"total": done + 100, "completed": done} if rate else None
            fields = {"parent_task_id": "t", "phase": f"p{number}", "counts": counts}
            model.apply(event(second, "phase_started", **fields), moment(second))
        model.sweep(moment(second))
    return card(model).eta_sec


def test_the_time_left_is_that_of_the_slowest_phase() -> None:
    """The slowest running phase says when a task is done; without a rate of each nothing does."""
    assert eta(2) == 50.0
    assert eta(2, 1) == 100.0
    assert eta(2, 0) is None
    assert eta() is None


# --- heartbeats and reasons -----------------------------------------------------------------------

HEARTBEATS = {
    "of its worker": [heartbeat(seconds) for seconds in range(0, 1001, 20)],
    "of its own": [
        event(seconds, "span_beats", spans=[span(99)]) for seconds in range(10, 1001, 10)
    ],
}


@pytest.mark.parametrize("beats", HEARTBEATS.values(), ids=HEARTBEATS)
def test_a_task_whose_root_has_heartbeats_is_not_silent(beats: list[Event]) -> None:
    """After 900 s without an event of the task, heartbeats still say that its root lives."""
    start = root(0, "task_started", worker_id="w", beat_ms=10_000)
    assert status(fold([start, *beats], 1000)) == ("processing", None)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [({"beat_ms": 4000}, "heartbeat_lost"), ({"worker_id": "w"}, "worker_lost")],
)
def test_the_reason_of_a_card_that_a_phase_shows_is_its_jobs(
    fields: dict[str, Any], reason: str
) -> None:
    """A task without root whose phase is lost with its job says why the job is."""
    lost = {"worker_id": "w", **fields}
    story = [
        heartbeat(0),
        phase(0, "phase_started", worker_id="w"),
        job(1, "task_started", parent_span_id=span(50), **lost),
    ]
    if "beat_ms" in fields:
        story = [
            phase(0, "phase_started"),
            job(1, "task_started", parent_span_id=span(50), **fields),
        ]
    assert status(fold(story, 2000)) == ("stalled", reason)
