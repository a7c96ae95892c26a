"""Members that come, go and die on a real Redis: their states together are what one fold has."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

import pytest
from otel_bridge_collector.cluster.partitions import PARTITIONS
from otel_bridge_collector.cluster.rebuild import Rebuilder
from otel_bridge_collector.cluster.shared_fold import ClusterOptions, SharedFold
from otel_bridge_collector.model.events import Event
from otel_bridge_collector.runtime import Collector
from otel_bridge_collector.settings import CollectorSettings

from otel_bridge.publish.transports.base import Outgoing
from otel_bridge.settings import BridgeSettings
from tests.support.faults import FakeClock
from tests.support.histories import TRACE, event, history, span
from tests.support.partitioned import encoded, shown_of

_producers = itertools.count()


class Site:
    """A log, collectors that share its fold, and one that folds all of it."""

    def __init__(self, url: str, replay_max_events: int = 20_000) -> None:
        self.bridge = BridgeSettings(bus_url=url, redis_url=url)
        self.settings = CollectorSettings(
            stats_interval_sec=3600, replay_max_events=replay_max_events
        )
        # Before all events, so that they are received at one time, live or read back.
        self.clock = FakeClock()
        self.single = self._collector(None)
        self.members: list[Collector] = []
        self.sent = 0

    def _collector(self, options: ClusterOptions | None) -> Collector:
        return Collector(self.settings, self.bridge, cluster=options, clock=self.clock)

    async def start(self) -> None:
        await self.single.start()

    async def add(self) -> Collector:
        made = self._collector(ClusterOptions(f"unix:{len(self.members)}"))
        self.members.append(made)
        await made.start()
        return made

    async def send(self, events: Iterable[Event]) -> None:
        """Append events to the log, and wait until all collectors have read them."""
        batch = []
        for one in events:
            data = encoded(one, "")
            batch.append(Outgoing(data.replace(b'"position":"",', b"", 1), one.project_id))
        result = await self.single.append(f"test-{next(_producers)}", 1, batch)
        self.sent += len(batch)
        for collector in (self.single, *self.members):
            assert await collector.feed.wait_reach(result.position, 20)

    def shown(self, members: Sequence[Collector] | None = None) -> dict[str, object]:
        """What members show together."""
        now = self.clock.time_ns() // 1000
        models = []
        for member in self.members if members is None else members:
            states = shared(member).states
            states.sweep(now)
            states.exchange()
            models += [state.model for state in states.held.values() if state.is_ready]
        return shown_of(models)

    def expected(self) -> dict[str, object]:
        """What one collector shows."""
        return shown_of([self.single.evaluated_model()])

    async def close(self) -> None:
        for collector in (*self.members, self.single):
            await collector.stop()


def shared(member: Collector) -> SharedFold:
    assert isinstance(member.fold, SharedFold)
    return member.fold


def rebuilder(member: Collector) -> Rebuilder:
    found = shared(member).rebuilder
    assert found is not None
    return found


def held(member: Collector) -> frozenset[int]:
    return frozenset(shared(member).states.held)


@pytest.fixture
async def site(redis_url: str) -> AsyncIterator[Site]:
    made = Site(redis_url)
    await made.start()
    yield made
    await made.close()


async def until(holds: Callable[[], bool]) -> None:
    """Wait until a condition holds, at most 20 s."""
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.02)


def parts(seed: int, count: int) -> list[list[Event]]:
    """A history with jobs of many tasks beside it, in parts."""
    jobs = [
        event(n, "task_started", parent_task_id=f"task-{n}", task_id="j", project_id="p")
        for n in range(60)
    ]
    events = [*history(seed), *jobs]
    events.sort(key=lambda one: one.ts)
    size = -(-len(events) // count)
    return [events[at : at + size] for at in range(0, len(events), size)]


@pytest.mark.redis
async def test_partitions_follow_the_members(site: Site) -> None:
    """A newcomer takes its share, the former owner drops it, and rebuilds it when that one dies."""
    before, meanwhile, after, later = parts(3, 4)
    await site.send(before)
    first = await site.add()
    await until(lambda: shared(first).states.ready() == frozenset(range(PARTITIONS)))
    assert site.shown() == site.expected()
    assert rebuilder(first).events == 0, "the feed itself filled the first states"
    await site.send(meanwhile)

    second = await site.add()
    await until(lambda: len(held(first)) == len(held(second)) == PARTITIONS // 2)
    assert not held(first) & held(second)
    assert rebuilder(second).events == site.sent or rebuilder(second).rebuilt == 0
    await site.send(after)
    assert site.shown() == site.expected()
    assert shared(first).states.dropped == PARTITIONS // 2

    # It dies: nothing of it says so, its entry is only not renewed.
    dead = site.members.pop()
    await dead.feed.stop()
    await rebuilder(dead).stop()
    await shared(dead).membership._call("")
    await shared(dead).membership.stop()
    await site.send(later)
    await until(lambda: shared(first).states.ready() == frozenset(range(PARTITIONS)))
    assert site.shown() == site.expected()
    assert rebuilder(first).rebuilt == PARTITIONS // 2
    assert shared(first).partition_counts() == {"ready": PARTITIONS, "rebuilding": 0}
    await dead.stop()


@pytest.mark.redis
async def test_what_moves_late_is_read_from_the_log(redis_url: str) -> None:
    """A trace whose first events have left memory comes whole to the state of its task."""
    site = Site(redis_url, replay_max_events=100)
    await site.start()
    one = await site.add()
    await until(lambda: len(shared(one).states.ready()) == PARTITIONS)
    await site.send([event(1, "span_started", trace_id=TRACE, span_id=span(1), name="n")])
    await site.send(
        event(1, "task_started", parent_task_id=f"u{n}", task_id="j") for n in range(150)
    )
    named = {"parent_task_id": "t", "trace_id": TRACE, "parent_span_id": span(1)}
    await site.send([event(2, "task_started", **named, task_id="j", span_id=span(2))])
    assert shared(one).router.counters.moves_from_log >= 1
    rebuilder(one).note_late_moves()
    await until(lambda: site.shown() == site.expected())
    assert shared(one).router.counters.moves_dropped == 0
    await site.close()


@pytest.mark.redis
@pytest.mark.chaos
async def test_events_that_come_while_a_state_is_rebuilt_are_in_it(site: Site) -> None:
    """The log is read up to where live events were folded already: none is missing or double."""
    pieces = parts(11, 12)  # in which no trace moves: what has moved was counted elsewhere
    for piece in pieces[:4]:
        await site.send(piece)
    first = await site.add()
    second = await site.add()
    await until(lambda: len(held(first)) == len(held(second)) == PARTITIONS // 2)
    await shared(second).membership.stop()
    for piece in pieces[4:]:
        await site.send(piece)
        await shared(first).membership.renew()
    site.members.remove(second)
    await until(lambda: len(shared(first).states.ready()) == PARTITIONS)
    assert site.shown() == site.expected()
    assert not shared(first).router.counters.moves
    counted = [state.model.stats.events_in for state in shared(first).states.held.values()]
    assert sum(counted) == site.single.model.stats.events_in
    await second.stop()


@pytest.mark.redis
@pytest.mark.chaos
async def test_what_the_log_has_lost_is_not_held(site: Site) -> None:
    """A gained partition has what the log still has, as a collector that starts then; no error."""
    before, after = parts(9, 2)
    await site.send(before)
    first = await site.add()
    second = await site.add()
    await until(lambda: len(held(first)) == len(held(second)) == PARTITIONS // 2)
    await site.send(after)
    assert site.single.redis is not None
    await site.single.redis.xtrim(site.single.redis_keys.log_stream(), maxlen=20, approximate=False)
    await shared(second).membership.stop()
    site.members.remove(second)
    await until(lambda: len(shared(first).states.ready()) == PARTITIONS)
    assert rebuilder(first).events <= 20
    assert not shared(first).membership.missing()
    await second.stop()


@pytest.mark.redis
async def test_a_late_member_knows_which_tasks_share_a_trace(site: Site) -> None:
    """After the log has lost the event that said so, all members look for a task in one state."""
    one = await site.add()
    await site.send(
        event(1, "task_started", parent_task_id=name, trace_id=TRACE, task_id="j")
        for name in ("first", "second")
    )
    assert site.single.redis is not None
    keys = site.single.redis_keys
    await until(lambda: not shared(one).router.tasks.joined)
    await site.single.redis.xtrim(keys.log_stream(), maxlen=0, approximate=False)
    late = await site.add()
    await site.send([event(2, "task_started", parent_task_id="second", task_id="k")])
    groups = [shared(each).router.tasks.group_by_ids("second", None) for each in (one, late)]
    assert [group.key for group in groups if group is not None] == ["first", "first"]
