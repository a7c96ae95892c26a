"""Without a cluster a collector folds into one model, as it always has."""

from __future__ import annotations

from otel_bridge_collector.cluster.one_fold import OneFold
from otel_bridge_collector.stream.ring import ReplayRing
from otel_bridge_collector.views.catalog import parse_query

from tests.support.histories import event, moment


async def test_one_model_is_all_that_there_is() -> None:
    """The reader folds into the model that views are computed from; nothing starts or stops."""
    ring = ReplayRing("e:0", 10)
    fold = OneFold(queues=("q",), ring=ring, heartbeat_ttl_sec=30)
    assert (fold.is_shared, fold.numbers, fold.readiness()) == (False, None, {})
    await fold.join()
    fold.feed_model.apply(
        event(1, "task_started", parent_task_id="t", task_id="j", project_id="p"), moment(1)
    )
    fold.refresh(moment(2))
    assert len(fold.window(parse_query("tasks", {}), None).rows) == 1
    assert fold.project_of_past("t", None, None) == "p"
    assert fold.served_models(moment(3)) == (fold.model,)
    assert fold.model.liveness.now == moment(3)
    assert fold.served_states(moment(4)) == (fold.view_state,)
    assert fold.stats.events_in == fold.models()[0].stats.events_in == 1
    await fold.stop()
