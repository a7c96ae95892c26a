"""The index follows the model by difference: what changed, left, or went stale in silence."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from otel_bridge_collector.model.events import COMPLETED, FAILED, PROCESSING, STALLED
from otel_bridge_collector.model.eviction import Limits
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.views.listing import GoneError, Scope
from otel_bridge_collector.views.task_index import IndexedTask, TaskIndex

from tests.support.folding import apply, event, judged, root
from tests.support.histories import history, moment


def looked_at(index: TaskIndex, model: Fold, seconds: float) -> dict[str, IndexedTask]:
    judged(model, seconds)
    index.refresh()
    return index.by_id


def test_a_task_is_read_again_when_it_changes() -> None:
    """Its status, start and end are those of its card; what has not changed keeps its row."""
    model = Fold()
    index = TaskIndex(model)
    apply(model, root("t", 0, "task_started"), root("u", 0, "task_started"))
    tasks = looked_at(index, model, 1)
    assert (tasks["t"].status, tasks["t"].end) == (PROCESSING, 0)
    tasks["u"].row = b"kept"
    apply(model, root("t", 1.5, "task_completed"))
    tasks = looked_at(index, model, 1.6)
    assert tasks["t"].status == COMPLETED
    assert tasks["t"].end - tasks["t"].start == 1_500_000
    assert tasks["u"].row == b"kept"


def test_a_silent_task_goes_stale_without_an_event() -> None:
    """Open tasks are read again once a second, so that silence is noticed."""
    model = Fold()
    index = TaskIndex(model)
    apply(model, root("t", 0, "task_started"))
    assert looked_at(index, model, 1)["t"].status == PROCESSING
    version = index.version
    assert looked_at(index, model, 1000)["t"].status == STALLED
    assert index.version > version


def test_an_evicted_task_leaves() -> None:
    """What the model no longer holds is in no list."""
    model = Fold(Limits(tasks=2))
    index = TaskIndex(model)
    for number in range(4):
        name = f"t{number}"
        apply(model, root(name, number, "task_started"), root(name, number + 0.5, "task_completed"))
        looked_at(index, model, number + 0.6)
    assert set(index.by_id) == set(model.tasks.by_id)
    assert len(index.by_id) <= 2


def test_a_request_has_no_entry() -> None:
    """What makes no card is in no list: an enqueue below a known request."""
    model = Fold()
    index = TaskIndex(model)
    trace = {"trace_id": "ab" * 16}
    request = {"span_id": "1" * 16, "span_kind": "SERVER"}
    apply(model, event(0, "span_started", **trace, **request))
    below = {"span_id": "2" * 16, "parent_span_id": "1" * 16}
    apply(model, event(0, "task_enqueued", task_id="j", **trace, **below))
    assert looked_at(index, model, 1) == {}
    below = {"span_id": "3" * 16, "parent_span_id": "2" * 16}
    apply(model, event(1, "task_started", task_id="j", **trace, **below))
    assert set(looked_at(index, model, 2)) == {"ab" * 16}


def test_visibility() -> None:
    """A limited reader sees its projects' tasks, and none of several projects."""
    model = Fold()
    index = TaskIndex(model)
    for name, project in (("a", "p"), ("b", "q"), ("c", None)):
        apply(model, root(name, 0, "task_started", project_id=project))
    apply(model, root("m", 0, "task_started", project_id="p"))
    apply(model, event(0, "task_started", task_id="j", parent_task_id="m", project_id="q"))
    looked_at(index, model, 1)

    def seen(*arguments: Any) -> set[str]:
        return {known.task.id for known in index.visible(*arguments)}

    assert seen(None) == {"a", "b", "c", "m"}
    assert seen(None, "q") == {"b"}
    assert seen(frozenset({"p"})) == {"a"}
    assert seen(frozenset({"p"}), "q") == set()
    assert seen(frozenset({"p", "q"})) == {"a", "b"}


def test_the_statuses_of_jobs_are_listed() -> None:
    """A list that is filtered by them is made again when the first job of a status comes."""
    model = Fold()
    index = TaskIndex(model)
    apply(model, root("t", 0, "task_started"))
    assert looked_at(index, model, 1)["t"].job_statuses == 0
    versions = [index.version]
    for number in range(2):
        for kind in ("task_started", "task_failed"):
            apply(model, event(1, kind, task_id=f"j{number}", parent_task_id="t"))
        assert looked_at(index, model, 2)["t"].job_statuses == 1 << FAILED
        versions.append(index.version)
    assert versions[0] < versions[1] == versions[2]


def test_failed_jobs_that_a_phase_reports_are_known() -> None:
    """A publisher without jobs may report their number alone."""
    model = Fold()
    index = TaskIndex(model)
    for name, failed in (("t", 2), ("u", 0)):
        counts = {"total": 9, "failed": failed}
        fields = {"parent_task_id": name, "phase": "fetch", "counts": counts}
        apply(model, root(name, 0, "task_started"), event(1, "phase_started", **fields))
    tasks = looked_at(index, model, 2)
    assert {name: known.job_statuses for name, known in tasks.items()} == {"t": 1 << FAILED, "u": 0}


def test_why_a_task_needs_attention() -> None:
    """In one word, for what failed itself and for what failed below it."""
    model = Fold()
    index = TaskIndex(model)
    apply(model, root("fine", 0, "task_started"))
    apply(model, root("failed", 0, "task_started"), root("failed", 1, "task_failed"))
    apply(model, root("part", 0, "task_started"))
    apply(model, event(1, "task_failed", task_id="j", parent_task_id="part"))
    tasks = looked_at(index, model, 2)
    assert {name: index.needs_attention(known) for name, known in tasks.items()} == {
        "fine": None,
        "failed": "failed",
        "part": "jobs_failed",
    }
    assert tasks["failed"].status == FAILED


@given(seed=st.integers(0, 2**32), step=st.integers(1, 40))
@settings(max_examples=60)
def test_an_index_kept_up_equals_a_new_one(seed: int, step: int) -> None:
    """However often it is refreshed in between, it says what one made at the end says."""
    events = history(seed)
    kept, once = Fold(), Fold()
    index, late = TaskIndex(kept), TaskIndex(once)
    for number, one in enumerate(events):
        kept.apply(one, moment(number / 8))
        once.apply(one, moment(number / 8))
        if number % step == 0:
            kept.sweep(moment(number / 8))
            index.refresh()
    for model, tasks in ((kept, index), (once, late)):
        model.sweep(moment(2000))
        tasks.refresh()
    assert facts(index, kept) == facts(late, once)


def facts(index: TaskIndex, model: Fold) -> dict[str, Any]:
    found = {}
    for name, known in index.by_id.items():
        card = msgspec.structs.replace(known.card(model), phases=[])
        texts = known.searched(model), known.is_of_type(model, "plan")
        found[name] = (known.listed, texts, card)
    return found


def why_gone(index: TaskIndex, task: str, scope: Scope) -> str | None:
    """Why a task is not found; None: it is."""
    try:
        assert index.find(task, scope) is index.by_id[task]
    except GoneError as gone:
        return gone.why
    return None


def test_one_task_is_found_by_those_who_may_see_it() -> None:
    """Of others it is unknown; an evicted one is so only to readers who could have seen it."""
    model = Fold(Limits(tasks=2))
    index = TaskIndex(model)
    for number, project in enumerate(("p", "q", "p", "p")):
        name, fields = f"t{number}", {"project_id": project}
        apply(model, root(name, number, "task_started", **fields))
        apply(model, root(name, number + 0.5, "task_completed", **fields))
        looked_at(index, model, number + 0.6)
    assert "t1" not in index.by_id
    p, q = frozenset({"p"}), frozenset({"q"})
    assert [why_gone(index, "t3", scope) for scope in (None, p, q)] == [None, None, "unknown"]
    assert [why_gone(index, "t1", scope) for scope in (None, p, q)] == [
        "evicted",
        "unknown",
        "evicted",
    ]
    assert why_gone(index, "never", None) == "unknown"
    assert index.has_evicted(None)
    assert index.has_evicted(q)
    assert not index.has_evicted(frozenset({"r"}))
    assert index.has_evicted(None, "q")
    assert not index.has_evicted(p, "q")


def test_a_change_is_counted_once_it_is_seen() -> None:
    """The number rises with the events of a task, and stays while nothing happens to it."""
    model = Fold()
    index = TaskIndex(model)
    apply(model, root("t", 0, "task_started"), root("u", 0, "task_started"))
    known = looked_at(index, model, 1)["t"]
    before, all_before = known.changes, index.changes
    looked_at(index, model, 5)
    assert (known.changes, index.changes) == (before, all_before)
    apply(model, event(6, "task_started", parent_task_id="t", task_id="j"))
    looked_at(index, model, 7)
    assert known.changes > before
    assert index.changes > all_before
    assert index.by_id["u"].changes == 1
