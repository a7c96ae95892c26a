"""A member's share of the fold, as the collector uses it."""

from __future__ import annotations

import asyncio
import itertools
import json

import pytest
from otel_bridge_collector.cluster.one_fold import OneFold
from otel_bridge_collector.cluster.partitions import PARTITIONS
from otel_bridge_collector.cluster.shared_fold import ClusterOptions, SharedFold, make_fold
from otel_bridge_collector.leader.stats import Numbers, OwnNumbers
from otel_bridge_collector.metrics import MetricsPage
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.runtime import Collector
from otel_bridge_collector.settings import CollectorSettings
from otel_bridge_collector.stream.ring import ReplayRing
from otel_bridge_collector.views.catalog import parse_query
from otel_bridge_collector.views.listing import GoneError

from otel_bridge.clock import SYSTEM_CLOCK
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.publish.transports.base import Outgoing
from otel_bridge.settings import BridgeSettings
from tests.support.histories import event
from tests.support.partitioned import encoded

_producers = itertools.count()
OPTIONS = ClusterOptions("unix:a")


@pytest.mark.parametrize(
    ("url", "options"), [("redis://r", None), ("memory://m", OPTIONS), ("redis://r", OPTIONS)]
)
async def test_a_fold_is_shared_only_in_a_cluster_on_redis(
    url: str, options: ClusterOptions | None
) -> None:
    """Without a cluster, and with a log in memory, a collector folds into one model."""
    settings = BridgeSettings(bus_url=url)
    made = make_fold("one", options, settings, ReplayRing("", 10), SYSTEM_CLOCK)
    is_shared = (url, options) == ("redis://r", OPTIONS)
    assert isinstance(made, SharedFold if is_shared else OneFold)


@pytest.mark.redis
async def test_a_member_alone_shows_what_one_collector_shows(redis_url: str) -> None:
    """Alone it holds every partition: the same views, reports and readiness, and a member more."""
    bridge = BridgeSettings(bus_url=redis_url, redis_url=redis_url)
    settings = CollectorSettings(stats_interval_sec=0.1)
    single = Collector(settings, bridge)
    page = MetricsPage(single).render()[0].decode()
    assert "otel_bridge_partitions" not in page
    member = Collector(settings, bridge, cluster=OPTIONS)
    fold = member.fold
    assert isinstance(fold, SharedFold)
    await single.start()
    jobs = [
        event(n, "task_started", parent_task_id=f"t{n}", task_id="j", worker_id="w")
        for n in range(30)
    ]
    batch = [
        Outgoing(encoded(one, "").replace(b'"position":"",', b"", 1), None)
        for one in (event(0, "worker_stopped", worker_id="w"), *jobs)
    ]
    result = await single.append(f"shared-{next(_producers)}", 1, batch)
    assert await single.feed.wait_reach(result.position, 20)
    await member.start()
    async with asyncio.timeout(20):
        while fold.partition_counts() != {"ready": PARTITIONS, "rebuilding": 0}:
            await asyncio.sleep(0.02)

    query = parse_query("tasks", {"count": 200})
    shown = [json.loads(await one.answers.view(query, None)) for one in (single, member)]
    assert [row["k"] for row in shown[0]["rows"]] == [row["k"] for row in shown[1]["rows"]]
    assert shown[0]["head"] == shown[1]["head"]
    with pytest.raises(GoneError):
        fold.window(parse_query("strip", {"task": "unknown"}), None)
    ready = member.readiness()
    assert (ready["members"], ready["membership"], ready["partitions_missing"]) == (1, "ok", [])
    assert single.readiness().keys() < ready.keys()

    page = MetricsPage(member).render()[0].decode()
    for line in (
        'otel_bridge_partitions{state="ready"} 24.0',
        'otel_bridge_partitions{state="rebuilding"} 0.0',
        "otel_bridge_partitions_missing 0.0",
        "otel_bridge_members 1.0",
        # The event of the worker is folded by each of 24 states.
        "otel_bridge_fold_events_total 54.0",
        "otel_bridge_moves_total 0.0",
    ):
        assert f"\n{line}\n" in page, line

    # Read back, the worker is known to be gone for long; the other collector heard it just now.
    await member.stalled_reporter.run_round()
    assert len(fold.served_models(SYSTEM_CLOCK.time_ns() // 1000)) == PARTITIONS
    await asyncio.gather(single.stop(), member.stop())
    assert (single.stalled_reporter.reported, member.stalled_reporter.reported) == (0, 30)


async def test_statistics_are_those_of_all_members_or_none() -> None:
    """Until something merges the numbers of the members, none are published."""
    made = SharedFold(
        "one",
        OPTIONS,
        url="redis://127.0.0.1:1",
        keys=DEFAULT_KEYS,
        ring=ReplayRing("", 10),
        heartbeat_ttl_sec=30,
    )
    assert await made.numbers() is None
    merged = OwnNumbers(Fold())

    async def merge() -> Numbers:
        return merged

    made.merge_numbers = merge
    assert await made.numbers() is merged
