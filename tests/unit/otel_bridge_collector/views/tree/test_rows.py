"""What a row of a tree says, and when it is made again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from otel_bridge_collector.model.events import Event
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.views.tree.index import TreeIndex
from otel_bridge_collector.views.tree.rows import RowMaker, gone_below, state_of
from otel_bridge_collector.wire.views.tree import TreeRow

from tests.support.histories import event, fold, moment, span

IDS = {"parent_task_id": "t", "trace_id": "ab" * 16}


def ms(seconds: float) -> int:
    return moment(seconds) // 1000


def index_of(model: Fold) -> TreeIndex:
    return TreeIndex(model, model.tasks.by_id["t"])


def rows_of(index: TreeIndex) -> dict[str, dict[str, Any]]:
    """All rows by name and kind."""
    found = {}
    for item, depth in index.folds("open", ()).window(0, 99):
        row = json.loads(index.rows.row(item, depth))
        TreeRow.model_validate(row)
        found[f"{row['kind']} {row['name']}"] = row
    return found


def shown(*events: Event, seconds: float = 10) -> dict[str, dict[str, Any]]:
    return rows_of(index_of(fold(events, seconds)))


def job(seconds: float, kind: str, number: int, **fields: Any) -> Event:
    given = {"task_id": "j", "span_id": span(number), "parent_span_id": span(1), **fields}
    return event(seconds, kind, **IDS, **given)


ROOT = event(
    0, "task_started", **IDS, task_id="t", span_id=span(1), task_type="crawl", meta={"title": "Big"}
)


def test_the_task_itself() -> None:
    """Its title, its type, its jobs of all statuses, and its status from its card."""
    rows = shown(ROOT, job(1, "task_started", 2), job(3, "task_failed", 2, error="E"))
    assert rows["task Big"] == {
        **dict.fromkeys(
            (
                "job",
                "why",
                "ended_by",
                "queued",
                "end",
                "worker",
                "run",
                "error",
                "progress",
                "slow",
            )
        ),
        **dict.fromkeys(("depth", "attempt", "done", "running", "pending", "stalled"), 0),
        "k": span(1),
        "kind": "task",
        "name": "Big",
        "type": "crawl",
        "status": "processing",
        "start": ms(0),
        "kids": 1,
        "n": 1,
        "failed": 1,
    }


def test_an_ended_task_says_who_reported_it() -> None:
    """And its error, its end, and that what is open in it is stalled."""
    end = event(5, "task_failed", **IDS, task_id="t", span_id=span(1), error="no disk")
    phase = {"phase": "p", "span_id": span(2), "parent_span_id": span(1)}
    rows = shown(ROOT, event(1, "phase_started", **IDS, **phase), end)
    task, below = rows["task Big"], rows["phase p"]
    assert (task["status"], task["end"], task["ended_by"]) == ("failed", ms(5), "self")
    assert task["error"] == "no disk"
    assert (below["status"], below["why"], below["end"]) == ("stalled", "parent_ended", ms(5))
    assert (below["type"], below["job"], below["run"]) == (None, None, None)


def test_a_task_without_a_root_has_a_row_all_the_same() -> None:
    """Its key is made of its id."""
    row = shown(event(1, "task_started", **IDS, task_id="j", span_id=span(2)))["task t"]
    assert (row["k"], row["kind"], row["type"], row["start"]) == ("task:t", "task", None, ms(1))


def test_an_attempt() -> None:
    """Job, type, worker, number of attempt and run, error in 300 characters."""
    first = {"task_type": "chat", "worker_id": 3, "run_id": "r1"}
    again = {"task_type": "chat", "worker_id": "w", "run_id": "r2", "retry_count": 1}
    rows = shown(
        ROOT,
        job(1, "task_started", 2, **first),
        job(2, "task_completed", 2, **first),
        job(80, "task_started", 3, **again),
        job(81, "task_failed", 3, **again, error="x" * 400),
        seconds=90,
    )
    row = rows["job j"]
    assert (row["k"], row["job"], row["type"]) == (span(3), "j", "chat")
    assert (row["attempt"], row["run"], row["worker"]) == (1, 2, "w")
    assert (row["start"], row["end"], row["ended_by"]) == (ms(80), ms(81), "self")
    assert len(row["error"]) == 300


def test_an_attempt_shows_when_it_was_queued_though_its_link_is_lost() -> None:
    """By the enqueue of its run."""
    waiting = job(1, "task_enqueued", 2, run_id="r", parent_span_id=span(1))
    rows = shown(ROOT, waiting, job(4, "task_started", 3, run_id="r", parent_span_id=span(1)))
    assert rows["job j"]["queued"] == ms(1)
    assert "enqueue j" not in rows


def test_another_process_reported_the_end() -> None:
    """Then the row has that end and its error, though the attempt itself said nothing."""
    other = event(3, "task_failed", **IDS, task_id="j", error="WorkerLostError")
    row = shown(ROOT, job(1, "task_started", 2), other)["job j"]
    assert (row["status"], row["end"], row["error"]) == ("failed", ms(3), "WorkerLostError")


def test_a_phase_without_a_span() -> None:
    """Its times are those of its jobs; it is open until all of them have ended."""
    fields = {"parent_task_id": "t", "task_id": "j", "phase": "p"}
    start, end = event(2, "task_started", **fields), event(3, "task_completed", **fields)
    row = shown(start)["phase p"]
    assert (row["k"], row["status"], row["start"], row["end"]) == (
        "phase:t/p",
        "processing",
        ms(2),
        None,
    )
    row = shown(start, end)["phase p"]
    assert (row["status"], row["end"], row["kids"], row["done"]) == ("completed", ms(3), 1, 1)
    over = event(5, "task_completed", parent_task_id="t", task_id="t")
    row = shown(start, over, seconds=1000)["phase p"]
    assert (row["status"], row["why"]) == ("stalled", "card_ended")


@pytest.mark.parametrize(("seconds", "status"), [(20, "processing"), (60, "stalled")])
def test_time_alone_makes_a_row_again(seconds: float, status: str) -> None:
    """A row that was made while its worker lived says later that it is lost."""
    heartbeat = event(1, "worker_heartbeat", worker_id=3, incarnation="a" * 16)
    phase = {"phase": "p", "span_id": span(2), "parent_span_id": span(1), "worker_id": 3}
    started = event(1, "phase_started", **IDS, **phase, incarnation="a" * 16)
    model = fold([ROOT, heartbeat, started], 2)
    index = index_of(model)
    assert rows_of(index)["phase p"]["status"] == "processing"
    item = index.items[model.tree.nodes[2]]
    before = item.row
    model.sweep(moment(seconds))
    index.refresh()
    assert rows_of(index)["phase p"]["status"] == status
    assert (item.row is before) is (status == "processing")


def test_a_row_at_another_depth_is_another_row() -> None:
    """Its JSON is made again, and not taken from where it was."""
    index = index_of(fold([ROOT, job(1, "task_started", 2)], 5))
    (item,) = index.items.values()
    assert json.loads(index.rows.row(item, 1))["depth"] == 1
    assert json.loads(index.rows.row(item, 2))["depth"] == 2


def test_state_and_start_of_rows() -> None:
    """For filters: as the row has them, of the task's own and of phases without a span as well."""
    fields = {"parent_task_id": "t", "task_id": "k", "phase": "p"}
    model = fold([ROOT, job(1, "task_started", 2), event(2, "task_started", **fields)], 5)
    index = index_of(model)
    maker, task = index.rows, index.task
    assert isinstance(maker, RowMaker)
    assert (maker.now(index.root).status, maker.started(index.root)) == (1, moment(0))
    assert gone_below(task, index.root, is_task=True) == 0
    phase = task.virtual["p"]
    assert state_of(model, task, phase, maker.standing).status == 1
    assert maker.started(index.items[phase]) == moment(2)


def test_progress_and_reason_of_attempts() -> None:
    """Each attempt has its number, its own progress until it completes, and why it ended."""
    ids = {"run_id": "r"}
    events = [
        ROOT,
        job(1, "task_started", 2, **ids),
        job(2, "task_progress", 2, progress={"done": 3, "total": 10}, **ids),
        job(3, "task_failed", 2, error="killed", reason="killed", ended_by="other", **ids),
        job(4, "task_started", 3, **ids),
        job(5, "task_progress", 3, progress={"done": 4}, **ids),
    ]

    def attempts(*more: Event) -> list[tuple[Any, ...]]:
        index = index_of(fold([*events, *more], 9))
        rows = [
            json.loads(index.rows.row(item, depth))
            for item, depth in index.folds("open", ()).window(1, 9)
        ]
        fields = ("attempt", "run", "status", "why", "progress")
        return [tuple(row[field] for field in fields) for row in rows]

    killed = (0, 1, "failed", "killed", {"done": 3, "total": 10})
    assert attempts() == [killed, (1, 1, "processing", None, {"done": 4, "total": None})]
    done = job(6, "task_completed", 3, **ids)
    assert attempts(done) == [killed, (1, 1, "completed", None, None)]
