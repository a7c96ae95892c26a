"""What the queue promises, on a real Redis and on the embedded one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator

import pytest
import redis.asyncio as redis_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_bridge.orchestration.queue.errors import SharedQueueError
from otel_bridge.orchestration.queue.leases import LeaseKeeper, synchronous_client
from otel_bridge.orchestration.queue.lua_scripts import lua_source
from otel_bridge.orchestration.queue.task_queue import (
    Claim,
    Ownership,
    Progress,
    Submission,
    TaskQueue,
)
from otel_bridge.orchestration.queue.task_types import Priority, QueuedJob, TaskStatus
from otel_bridge.publish.redis_keys import DEFAULT_KEYS, RedisKeys
from tests.support.queue_clients import connect, embedded
from tests.support.redis_server import DATABASES, RedisServer

GONE = -1.0
"""A lease that has run out when it is given."""


@pytest.fixture(scope="module")
def oldest_urls() -> Iterator[Iterator[str]]:
    """URLs of unused databases of the oldest Redis that is supported, 6.2."""
    with RedisServer(kind="oldest") as server:
        yield (f"redis://127.0.0.1:{server.port}/{number}" for number in range(DATABASES))


@pytest.fixture(scope="module")
def valkey_urls() -> Iterator[Iterator[str]]:
    """URLs of unused databases of a Valkey."""
    with RedisServer(kind="valkey") as server:
        yield (f"redis://127.0.0.1:{server.port}/{number}" for number in range(DATABASES))


@pytest.fixture(params=["real", "oldest", "valkey", "embedded"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[redis_asyncio.Redis]:
    if request.param == "embedded":
        made = embedded()
    elif request.param in ("oldest", "valkey"):
        made = connect(next(request.getfixturevalue(f"{request.param}_urls")))
    else:
        made = connect(request.getfixturevalue("redis_url"))
    yield made
    await made.aclose()


@pytest.fixture
def queue(client: redis_asyncio.Redis) -> TaskQueue:
    return TaskQueue(client)


def job(name: str, priority: Priority = Priority.NORMAL, *, max_retries: int = 2) -> QueuedJob:
    return QueuedJob(
        id=name, type="search", priority=priority, parent_task_id="p", max_retries=max_retries
    )


async def claimed(queue: TaskQueue, worker_id: str = "w1") -> Claim:
    claim = await queue.claim(worker_id)
    assert claim is not None
    return claim


async def leftovers(client: redis_asyncio.Redis) -> list[str]:
    """Keys that only work under way may have."""
    found = [str(key) async for key in client.scan_iter("nexus:*")]
    passing = ("nexus:processing:", DEFAULT_KEYS.leases, DEFAULT_KEYS.delayed, *DEFAULT_KEYS.queues)
    return sorted(key for key in found if key.startswith(passing) or key.endswith(":lease"))


@pytest.mark.parametrize("keys", [DEFAULT_KEYS, RedisKeys("shop:eu")])
def test_the_scripts_use_the_names_of_redis_keys_py(keys: RedisKeys) -> None:
    """The key names inside the Lua prelude are those that redis_keys.py gives for a prefix."""
    source = lua_source("submit", keys).replace("PREFIX .. '", f"'{keys.prefix}:")
    assert source.startswith(f"local PREFIX = '{keys.prefix}:'\n")
    for name in ("leases", "delayed", "dead_letters", "wake_channel"):
        assert f"local {name.upper()} = '{getattr(keys, name)}'" in source
    for prefix in (keys.processing(""), keys.task_group(""), keys.task_meta(""), keys.dedupe("")):
        assert f"return '{prefix}' .. " in source
    assert f"return '{keys.task_prefix}' .. id .. ':' .. part" in source
    for part in ("status", "data", "result", "error", "lease"):
        assert getattr(keys, f"task_{part}")("x") == f"{keys.prefix}:task:x:{part}"
    assert "task_status" not in source


async def test_a_job_goes_from_pending_to_completed(
    queue: TaskQueue, client: redis_asyncio.Redis
) -> None:
    """Status, group and result change with the moves, and nothing of the work is left behind."""
    assert Submission("a", True) == await queue.submit(job("a"))
    assert await queue.status("a") == TaskStatus.PENDING
    assert {"a"} == await client.smembers(DEFAULT_KEYS.task_group("p"))
    claim = await claimed(queue)
    assert await queue.status("a") == TaskStatus.PROCESSING
    assert (
        claim.job_id,
        claim.attempt,
        claim.queue,
        claim.retry_count,
    ) == ("a", 1, DEFAULT_KEYS.queue("normal"), 0)
    assert await client.lrange(DEFAULT_KEYS.processing("w1"), 0, -1) == ["a"]
    assert await queue.complete(claim, '{"x": 1}') == Ownership.OWNED
    assert await queue.status("a") == TaskStatus.COMPLETED
    assert await queue.results(["a", "unknown"]) == {"a": {"x": 1}}
    assert await leftovers(client) == []
    assert 0 < await client.ttl(DEFAULT_KEYS.task_result("a")) <= queue.result_ttl_sec


async def test_an_empty_queue_gives_nothing(queue: TaskQueue) -> None:
    """Claiming never waits."""
    assert await queue.claim("w1") is None


async def test_the_same_id_is_queued_once(queue: TaskQueue) -> None:
    """Submitting again changes nothing, not even after the job has ended."""
    await queue.submit(job("a"))
    assert Submission("a", False) == await queue.submit(job("a"))
    await queue.complete(await claimed(queue), "{}")
    assert Submission("a", False) == await queue.submit(job("a"))
    assert await queue.claim("w1") is None


async def test_the_same_dedupe_key_answers_with_the_earlier_job(queue: TaskQueue) -> None:
    """Jobs with random ids are deduplicated by a key of the caller's."""
    await queue.submit(job("a"), dedupe_key="k")
    assert Submission("a", False) == await queue.submit(job("b"), dedupe_key="k")
    assert {"a"} == await queue.known(["a", "b"])


async def test_high_before_normal_before_low_and_first_in_first_out(queue: TaskQueue) -> None:
    """Priority decides, then age."""
    for name, priority in (
        ("l", Priority.LOW),
        ("n1", Priority.NORMAL),
        ("h", Priority.HIGH),
        ("n2", Priority.NORMAL),
    ):
        await queue.submit(job(name, priority))
    assert [(await claimed(queue)).job_id for _ in range(4)] == ["h", "n1", "n2", "l"]


async def test_a_claim_may_begin_at_the_low_end(queue: TaskQueue) -> None:
    """Low priority can be served although there is always something better to do."""
    await queue.submit(job("h", Priority.HIGH))
    await queue.submit(job("l", Priority.LOW))
    claim = await queue.claim("w1", lowest_first=True)
    assert claim is not None
    assert claim.job_id == "l"


async def test_a_retry_waits_then_comes_back_with_the_count_and_the_new_carrier(
    queue: TaskQueue, client: redis_asyncio.Redis
) -> None:
    """A failed attempt is charged, its error shown, and the next one finds its trace context."""
    await queue.submit(job("a"))
    claim = await claimed(queue)
    carrier = {"traceparent": "x"}
    assert (
        await queue.retry(claim, "boom", delay_sec=3600, trace_context=carrier) == Ownership.OWNED
    )
    assert await queue.status("a") == TaskStatus.RETRYING
    assert await queue.error("a") == "boom"
    moved = await queue.maintain()
    assert moved.promoted == 0
    assert moved.next_due_ms is not None
    assert 3_590_000 < moved.next_due_ms <= 3_600_000
    assert await queue.claim("w1") is None

    await client.zadd(DEFAULT_KEYS.delayed, {"a": 0})
    assert (await queue.maintain()).promoted == 1
    again = await claimed(queue)
    assert (2, 1, carrier) == (again.attempt, again.retry_count, again.job().trace_context)
    assert await queue.complete(again, "{}") == Ownership.OWNED
    assert await queue.error("a") is None


async def test_a_failed_job_is_on_the_dead_letter_queue_with_its_reason(
    queue: TaskQueue, client: redis_asyncio.Redis
) -> None:
    """Status, error and dead-letter queue of a failed job change in one step."""
    await queue.submit(job("a"))
    assert await queue.fail(await claimed(queue), "ValueError: no") == Ownership.OWNED
    assert await queue.status("a") == TaskStatus.FAILED
    assert await queue.error("a") == "ValueError: no"
    assert await client.lrange(DEFAULT_KEYS.dead_letters, 0, -1) == ["a"]
    assert await leftovers(client) == []


async def test_a_released_job_is_next_and_nothing_is_counted(queue: TaskQueue) -> None:
    """A worker that stops in order changes nothing of a job but its fencing token."""
    await queue.submit(job("a"))
    await queue.submit(job("b"))
    assert await queue.release(await claimed(queue)) == Ownership.OWNED
    assert await queue.status("a") == TaskStatus.PENDING
    again = await claimed(queue, "w2")
    assert (again.job_id, again.attempt, again.retry_count) == ("a", 2, 0)


@pytest.mark.parametrize("successor", ["w2", "w1"])
async def test_a_lease_that_ran_out_gives_the_job_to_the_next_claim(
    client: redis_asyncio.Redis, successor: str
) -> None:
    """A silent worker's job goes to the head of its queue, and the crash is counted."""
    queue, late = TaskQueue(client), TaskQueue(client, lease_sec=GONE)
    await queue.submit(job("a", Priority.HIGH))
    await queue.submit(job("b", Priority.HIGH))
    lost = await late.claim("w1")
    assert lost is not None
    assert (await queue.maintain()).requeued == ("a",)
    taken = await claimed(queue, "w2")
    assert (
        taken.job_id,
        taken.attempt,
        taken.retry_count,
        taken.queue,
    ) == ("a", 2, 1, DEFAULT_KEYS.queue("high"))

    for outcome in (
        queue.complete(lost, '"late"'),
        queue.fail(lost, "late"),
        queue.retry(lost, "late", delay_sec=0, trace_context={}),
        queue.release(lost),
    ):
        assert await outcome == Ownership.SUPERSEDED
    assert await queue.complete(taken, '"first"') == Ownership.OWNED
    assert await queue.complete(lost, '"late"') == Ownership.ENDED
    assert await queue.results(["a"]) == {"a": "first"}


async def test_a_job_that_kills_its_workers_is_given_up(client: redis_asyncio.Redis) -> None:
    """After max deliveries a poison job goes to the dead-letter queue with the reason."""
    queue = TaskQueue(client, lease_sec=GONE, max_deliveries=3)
    await queue.submit(job("poison"))
    for _ in range(2):
        assert await queue.claim("w1") is not None
        assert (await queue.maintain()).requeued == ("poison",)
    assert await queue.claim("w1") is not None
    (letter,) = (await queue.maintain()).dead_letters
    assert (letter.claim.job_id, letter.claim.worker_id, letter.claim.crashes) == (
        "poison",
        "w1",
        3,
    )
    assert "3 workers stopped answering" in letter.error
    assert letter.claim.job().type == "search"
    assert await queue.status("poison") == TaskStatus.FAILED
    assert letter.error == await queue.error("poison")
    assert await leftovers(client) == []


async def test_jobs_hit_by_one_crash_come_back_one_by_one(client: redis_asyncio.Redis) -> None:
    """A poison job must not take the same neighbours down with it each time."""
    queue = TaskQueue(client, lease_sec=GONE)
    for name in ("a", "b"):
        await queue.submit(job(name))
        assert await queue.claim("w1") is not None
    moved = await queue.maintain()
    assert ({"a", "b"}, 1) == (set(moved.requeued), moved.promoted)
    assert moved.next_due_ms is not None
    assert 0 < moved.next_due_ms <= 250


async def test_renewing_keeps_the_lease_and_returns_lost_ones(
    client: redis_asyncio.Redis,
) -> None:
    """The renewal prolongs held leases and returns the ids of those that another attempt took."""
    queue, late = TaskQueue(client), TaskQueue(client, lease_sec=GONE)
    await queue.submit(job("a"))
    await queue.submit(job("b"))
    lost = await late.claim("w1")
    held = await late.claim("w1")
    assert lost is not None
    assert held is not None
    renew = client.register_script(lua_source("renew"))
    assert await renew(args=[60_000, held.job_id, "w1", held.attempt]) == []
    assert (await queue.maintain()).requeued == ("a",)
    assert await claimed(queue, "w2")
    arguments: list[str | int] = [60_000, "a", "w1", lost.attempt, "b", "w1", held.attempt]
    assert await renew(args=arguments) == ["a"]


async def test_the_keeper_renews_from_its_own_thread(client: redis_asyncio.Redis) -> None:
    """A lease shorter than the work is kept while the event loop is blocked the whole time."""
    queue = TaskQueue(client, lease_sec=0.6)
    keeper = LeaseKeeper(synchronous_client(client), 0.6)
    await queue.submit(job("a"))
    claim = await claimed(queue)
    until = float(str(await client.zscore(DEFAULT_KEYS.leases, "a")))
    keeper.hold(claim, lambda: None)
    reader = synchronous_client(client)
    try:
        # Nothing is awaited here: only the keeper's thread can have moved the expiry by two leases.
        while float(str(reader.zscore(DEFAULT_KEYS.leases, "a"))) < until + 1200:
            pass
    finally:
        keeper.close()
        reader.close()
    assert (await queue.maintain()).requeued == ()


async def test_an_id_twice_in_a_queue_runs_once(
    queue: TaskQueue, client: redis_asyncio.Redis
) -> None:
    """A second entry of a job that is claimed or has ended is removed."""
    await queue.submit(job("a"))
    await client.lpush(DEFAULT_KEYS.queue("normal"), "a")
    first = await claimed(queue)
    assert (first.job_id, await queue.claim("w2")) == ("a", None)
    await client.lpush(DEFAULT_KEYS.queue("normal"), "a")
    await queue.complete(first, "{}")
    assert await queue.claim("w1") is None
    assert await leftovers(client) == []


THEIRS = QueuedJob(id="x", type="search").model_dump()
OWN = QueuedJob(id="x", type="search").model_dump_json()


@pytest.mark.parametrize(
    ("item", "data", "shown"),
    [
        ('{"id": "x"}', None, '{"id": "x"}'),
        (b"\x80\x04\nx" + b"y" * 100, None, r"\x80\x04\x0ax" + "y" * 76 + "..."),
        ("", None, ""),
        ("x", None, "x"),
        ("x", "{", "x"),
        ("x", "[]", "x"),
        ("x", "[" * 100_000, "x"),
        ("x", b"\x00\xff", "x"),
        ("x", {"id": "x"}, "x"),
        ("x", '{"id":"x"}', "x"),
        ("x", json.dumps(THEIRS), "x"),
        ("x", json.dumps({**THEIRS, "priority": 0}, separators=(",", ":")), "x"),
        ("x", OWN.replace('"id":"x"', '"id":"y"'), "x"),
        ('x"', OWN[: OWN.index(',"trace_context"')] + "}", 'x"'),
    ],
)
async def test_what_another_program_has_queued_is_not_touched(
    queue: TaskQueue,
    client: redis_asyncio.Redis,
    item: str | bytes,
    data: str | bytes | dict[str, str] | None,
    shown: str,
) -> None:
    """An item that is no id, has no data or other data stays in its place, and is named."""
    name, key = DEFAULT_KEYS.queue("normal"), DEFAULT_KEYS.task_data("x")
    await queue.submit(job("ours"))
    await client.rpush(name, item)
    if isinstance(data, dict):
        await client.hset(key, "id", data["id"])
    elif data is not None:
        await client.set(key if item == "x" else DEFAULT_KEYS.task_data(str(item)), data)
    before = [await client.dump(name), await client.dbsize()]
    for _ in range(2):
        with pytest.raises(SharedQueueError) as caught:
            await queue.claim("w1")
        assert (caught.value.queue, caught.value.item) == (name, shown)
    with pytest.raises(SharedQueueError) as caught:
        await queue.submit(job("b"))
    assert str(caught.value).endswith(
        "; set MONITORING_KEY_PREFIX to a name of this application's own, the same for its "
        "workers, submitters and collector"
    )
    assert [await client.dump(name), await client.dbsize()] == before


@pytest.mark.parametrize("name", ["x", 'q"uote', "back\\slash", "umläut", "tab\t", "a" * 512])
async def test_any_id_of_ours_is_claimed(queue: TaskQueue, name: str) -> None:
    """Whatever characters an id has, its job is known as one of this coordinator."""
    await queue.submit(job(name))
    assert (await claimed(queue)).job_id == name


async def test_a_queue_that_is_no_list_is_another_programs(
    queue: TaskQueue, client: redis_asyncio.Redis
) -> None:
    """A coordinator with sorted sets of the same names is named, not waited for as an outage."""
    await client.zadd(DEFAULT_KEYS.queue("low"), {"theirs": 1})
    with pytest.raises(SharedQueueError, match=r"low_priority holds .*: \(no list but a zset\)"):
        await queue.claim("w1")
    research = QueuedJob(id="r", type="data_aggregation")
    with pytest.raises(SharedQueueError, match="low_priority"):
        await queue.submit(
            research, queue=DEFAULT_KEYS.research_queue, later_queues=DEFAULT_KEYS.queues
        )
    assert await client.zrange(DEFAULT_KEYS.queue("low"), 0, -1) == ["theirs"]
    assert await queue.status("r") is None


async def test_what_another_program_delays_is_not_queued(
    queue: TaskQueue, client: redis_asyncio.Redis
) -> None:
    """A member of the delayed set that is no job of ours stays there, however long it is due."""
    await client.zadd(DEFAULT_KEYS.delayed, {"theirs": 0})
    await queue.submit(job("a"))
    await queue.retry(await claimed(queue), "no", delay_sec=0, trace_context={})
    moved = await queue.maintain()
    assert (moved.promoted, moved.next_due_ms) == (1, None)
    assert await client.zrange(DEFAULT_KEYS.delayed, 0, -1) == ["theirs"]


async def test_progress_counts_one_phase_of_a_group(queue: TaskQueue) -> None:
    """Counts are by status, over the group's ids with the prefix."""
    for name in ("p:s:1", "p:s:2", "p:s:3", "p:e:1"):
        await queue.submit(job(name))
    await queue.complete(await claimed(queue), "{}")
    await queue.fail(await claimed(queue), "no")
    await claimed(queue)
    assert Progress(1, 1, 1) == await queue.progress("p", "p:s:")
    assert Progress(1, 1, 2) == await queue.progress("p")
    assert (await queue.progress("nobody")).is_done


async def test_progress_leaves_out_what_has_expired(
    queue: TaskQueue, client: redis_asyncio.Redis
) -> None:
    """A job of the group whose status is gone has ended long ago: nothing waits for it."""
    for name in ("p:s:1", "p:s:2"):
        await queue.submit(job(name))
    await queue.complete(await claimed(queue), "{}")
    await queue.complete(await claimed(queue), "{}")
    await client.delete(DEFAULT_KEYS.task_status("p:s:1"))
    assert Progress(completed=1, failed=0, pending=0) == await queue.progress("p")


async def test_depths_name_every_queue(queue: TaskQueue) -> None:
    """Depth is by the queue's full name, research tasks included."""
    await queue.submit(job("a", Priority.LOW))
    await queue.submit(
        QueuedJob(id="r", type="data_aggregation"), queue=DEFAULT_KEYS.research_queue
    )
    assert await queue.depths() == {
        DEFAULT_KEYS.queue("high"): 0,
        DEFAULT_KEYS.queue("normal"): 0,
        DEFAULT_KEYS.queue("low"): 1,
        DEFAULT_KEYS.research_queue: 1,
    }


# Claims and submissions more often than the rest, so that there is something to end.
moves = ["submit", "claim", "submit", "claim", "complete", "fail", "retry", "release"]
steps = st.lists(
    st.tuples(st.sampled_from([*moves, "maintain", "crash"]), st.integers(0, 5)),
    min_size=10,
    max_size=50,
)


class Model:
    """Makes moves on a queue and remembers what was recorded."""

    def __init__(self) -> None:
        self.client = embedded()
        self.queue = TaskQueue(self.client, max_deliveries=2)
        self.claims: list[Claim] = []
        self.submitted: set[str] = set()
        self.recorded: list[str] = []

    async def move(self, step: str, number: int) -> None:
        if step == "submit":
            self.submitted.add((await self.queue.submit(job(f"j{number}"))).job_id)
        elif step == "claim":
            claim = await self.queue.claim(f"w{number}")
            self.claims += [claim] if claim else []
        elif step == "maintain":
            for job_id in await self.client.zrange(DEFAULT_KEYS.delayed, 0, -1):
                await self.client.zadd(DEFAULT_KEYS.delayed, {str(job_id): 0})
            self.recorded += [
                letter.claim.job_id for letter in (await self.queue.maintain()).dead_letters
            ]
        elif step == "crash":
            leased = await self.client.zrange(DEFAULT_KEYS.leases, 0, -1)
            if leased:
                await self.client.zadd(DEFAULT_KEYS.leases, {str(leased[number % len(leased)]): 0})
        elif self.claims:
            await self._end(step, self.claims[number % len(self.claims)])

    async def _end(self, step: str, claim: Claim) -> None:
        """End an attempt that may have lost its lease long ago."""
        if step == "release":
            await self.queue.release(claim)
        elif step == "retry":
            await self.queue.retry(claim, "no", delay_sec=9, trace_context={})
        else:
            end = self.queue.complete if step == "complete" else self.queue.fail
            if await end(claim, "{}") is Ownership.OWNED:
                self.recorded.append(claim.job_id)


@settings(max_examples=60)
@given(steps=steps)
async def test_no_order_of_moves_loses_or_doubles_a_job(steps: list[tuple[str, int]]) -> None:
    """After any moves, stale ones included, each job is in exactly one place or has ended once."""
    model = Model()
    for step, number in steps:
        await model.move(step, number)
    client, queue = model.client, model.queue

    waiting = [item for name in DEFAULT_KEYS.queues for item in await client.lrange(name, 0, -1)]
    leased = await client.zrange(DEFAULT_KEYS.leases, 0, -1)
    delayed = await client.zrange(DEFAULT_KEYS.delayed, 0, -1)
    held = [
        item
        for number in range(6)
        for item in await client.lrange(DEFAULT_KEYS.processing(f"w{number}"), 0, -1)
    ]
    ended = [
        name
        for name in model.submitted
        if await queue.status(name) in (TaskStatus.COMPLETED, TaskStatus.FAILED)
    ]
    assert sorted(leased) == sorted(held)
    assert sorted(model.submitted) == sorted([*waiting, *leased, *delayed, *ended])
    assert sorted(model.recorded) == sorted(ended)
    await client.aclose()
