"""Commands of a coordinator's Redis client are read on their way, and nothing else changes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import fakeredis
import pytest

import otel_bridge
from otel_bridge.coordinator.calls import OPEN_WORKER, open_worker
from otel_bridge.coordinator.commands import SORTED_SET
from otel_bridge.coordinator.observer import SUBMISSION, CommandObserver
from otel_bridge.coordinator.running import RUNNING_JOB, RunningJob
from otel_bridge.events.model import TaskStatus
from tests.support.hostile import HOSTILE


@pytest.fixture
async def client() -> AsyncIterator[Any]:
    made = fakeredis.FakeAsyncRedis()
    yield made
    await made.aclose()


@pytest.fixture
def observer(client: Any) -> Iterator[CommandObserver]:
    made = CommandObserver(client, "queue:")
    yield made
    made.close()


@pytest.fixture
def running() -> Iterator[RunningJob]:
    """The job that the current context runs."""
    span = otel_bridge.job(task_id="j1", task_type="find")
    made = RunningJob("j1", frozenset({"job:j1", "job:j1:status"}), "job:j1:error", span)
    token = RUNNING_JOB.set(made)
    yield made
    RUNNING_JOB.reset(token)


async def test_queues_are_known_by_their_prefix(client: Any, observer: CommandObserver) -> None:
    """Keys that jobs are pushed to or popped from are queues if they have the prefix."""
    await client.lpush("queue:high", "j1")
    await client.rpop("queue:low")
    await client.blpop(["queue:normal", "other:list", b"queue:bytes"], timeout=0.01)
    await client.zadd("queue:delayed", {"j2": 1})
    await client.lpush("other:list", "j1")
    await client.set("queue:no_list", "1")
    assert observer.queues == {
        *("queue:high", "queue:low", "queue:normal", "queue:bytes", "queue:delayed")
    }


async def test_the_number_of_queues_is_bounded(client: Any, observer: CommandObserver) -> None:
    """A coordinator with a queue for each job does not fill the memory."""
    for number in range(200):
        await client.lpush(f"queue:{number}", "j")
    assert len(observer.queues) == 100


DONE = TaskStatus.COMPLETED


@pytest.mark.parametrize(
    ("writes", "status", "error"),
    [
        ([("set", "job:j1:status", "completed")], TaskStatus.COMPLETED, None),
        ([("set", b"job:j1:status", b"failed")], TaskStatus.FAILED, None),
        (
            [("execute_command", "SETEX", "job:j1:status", 60, "retrying")],
            TaskStatus.RETRYING,
            None,
        ),
        ([("set", "job:j1:status", '{"status": "failed", "error": "x"}')], TaskStatus.FAILED, "x"),
        ([("hset", "job:j1", "status", "failed")], TaskStatus.FAILED, None),
        ([("hset", "job:j1", "last_error", "no page")], None, "no page"),
        ([("set", "job:j1:error", "no page")], None, "no page"),
        ([("set", "job:j2:status", "failed"), ("get", "job:j1:status")], None, None),
        (
            [("set", "job:j1:status", "running"), ("set", "job:j1:status", "done")],
            TaskStatus.COMPLETED,
            None,
        ),
        ([("set", "job:j1:status", "halfway")], None, None),
        ([("execute_command", "SET", "job:j1:error", "no page", "EX", 86400)], None, "no page"),
        ([("execute_command", "set job:j1:status failed EX 60")], TaskStatus.FAILED, None),
        ([("execute_command", "SETEX", "job:j1:error", 60, "no")], None, "no"),
        ([("mset", {"job:j1:status": "failed", "job:j1:error": "no"})], TaskStatus.FAILED, "no"),
        ([("hset", "job:j1:error", "message", "no page")], None, None),
        ([("setnx", "job:j1:status", "done"), ("setnx", "job:j1:status", "failed")], DONE, None),
        ([("eval", "return 1", 1, "job:j1:status", "failed")], None, None),
    ],
)
async def test_recorded_outcomes_are_read(
    client: Any,
    observer: CommandObserver,
    running: RunningJob,
    writes: list[tuple[Any, ...]],
    status: TaskStatus | None,
    error: str | None,
) -> None:
    """The last known status and the error that are written to the job's own keys are kept."""
    for name, *arguments in writes:
        await getattr(client, name)(*arguments)
    assert (running.status, running.error) == (status, error)


async def test_pipelines_are_read_too(
    client: Any, observer: CommandObserver, running: RunningJob
) -> None:
    """A status, a queue and a job that is queued again are seen in a pipeline as well."""
    async with client.pipeline() as pipeline:
        pipeline.set("job:j1:status", "pending")
        pipeline.lpush("queue:high", '{"id": "j1"}')
        await pipeline.execute()
    assert running.status is TaskStatus.PENDING
    assert running.is_queued_again
    assert observer.queues == {"queue:high"}
    assert await client.lrange("queue:high", 0, -1) == [b'{"id": "j1"}']


async def test_a_command_counts_when_redis_has_executed_it(
    client: Any, observer: CommandObserver, running: RunningJob
) -> None:
    """A pipeline that is reset says nothing; of one with an error only what succeeded counts."""
    pipeline = client.pipeline(transaction=False)
    pipeline.set("job:j1:status", "failed")
    await pipeline.reset()
    seen = [running.status]
    await client.set("queue:text", "no list")
    pipeline.set("job:j1:status", "done")
    pipeline.lpush("queue:text", "j1")
    seen.append(running.status)
    answers = await pipeline.execute(raise_on_error=False)
    assert isinstance(answers[1], Exception)
    assert [*seen, running.status] == [None, None, TaskStatus.COMPLETED]
    with pytest.raises(Exception, match="WRONGTYPE"):
        await client.rpush("queue:text", "j1")
    assert not running.is_queued_again


async def test_commands_between_watch_and_multi_are_read(
    client: Any, observer: CommandObserver, running: RunningJob
) -> None:
    """A pipeline that watches a key sends at once what comes before MULTI."""
    async with client.pipeline() as pipeline:
        await pipeline.watch("counter")
        await pipeline.set("job:j1:status", "running")
        seen = [running.status]
        pipeline.multi()
        pipeline.set("job:j1:status", "done")
        await pipeline.execute()
    assert [*seen, running.status] == [TaskStatus.PROCESSING, TaskStatus.COMPLETED]


class Pushes:
    """A submission that keeps what it is given."""

    is_closed = False

    def __init__(self) -> None:
        self.seen: list[tuple[str | None, tuple[Any, ...], bool]] = []

    def note_push(
        self, queue: str | None, values: tuple[Any, ...], error: BaseException | None
    ) -> None:
        self.seen.append((queue, values, error is None))

    def note_failure(self, error: BaseException) -> None:
        self.seen.append((None, (type(error).__name__,), False))


async def test_a_submission_learns_what_redis_took(client: Any, observer: CommandObserver) -> None:
    """Its pushes are noted with their queue when they are executed, and as failed if they fail."""
    pushes = Pushes()
    token = SUBMISSION.set(pushes)
    await client.set("queue:text", "no list")
    await client.lpush("queue:a", "j1", "j2")
    await client.sadd("seen", "j1")
    await client.rpush("audit", "j1")
    with pytest.raises(Exception, match="WRONGTYPE"):
        await client.hset("queue:text", "a", "1")
    with pytest.raises(Exception, match="WRONGTYPE"):
        await client.lpush("queue:text", "j3")
    pushes.is_closed = True
    await client.lpush("queue:a", "j4")
    SUBMISSION.reset(token)
    assert pushes.seen == [
        ("queue:a", ("j1", "j2"), True),
        (None, ("j1",), True),
        (None, ("ResponseError",), False),
        ("queue:text", ("j3",), False),
    ]


def test_a_client_that_blocks_works_as_before(running: RunningJob) -> None:
    """A coordinator may use redis-py's other client: its pipelines are no coroutines either."""
    client: Any = fakeredis.FakeRedis()
    observer = CommandObserver(client, "queue:")
    pushes = Pushes()
    token = SUBMISSION.set(pushes)
    assert client.lpush("queue:a", "j2") == 1
    with client.pipeline() as pipeline:
        pipeline.set("job:j1:status", "failed")
        pipeline.lpush("queue:a", "j3")
        seen = [running.status]
        assert pipeline.execute() == [True, 2]
        pipeline.watch("job:j1:status")
        assert pipeline.set("job:j1:error", "no page") is True
        seen.append(running.status)
    with pytest.raises(Exception, match="WRONGTYPE"):
        client.lpush("job:j1:status", "j4")
    SUBMISSION.reset(token)
    assert (seen, running.error) == ([None, TaskStatus.FAILED], "no page")
    assert pushes.seen == [
        ("queue:a", ("j2",), True),
        ("queue:a", ("j3",), True),
        (None, ("j4",), False),
    ]
    observer.close()


async def test_a_worker_knows_the_queue_of_its_job(client: Any, observer: CommandObserver) -> None:
    """It is the one that the job was popped from; another job's element says nothing."""
    await client.lpush("queue:a", '{"id": "j1"}')
    await client.lpush("queue:b", "j2")
    with open_worker(3):
        await client.brpop(["queue:b", "queue:a"], timeout=1)
        assert [observer.queue_of(name) for name in ("j1", "j2")] == [None, "queue:b"]
        await client.rpop("queue:a")
        assert [observer.queue_of(name) for name in ("j1", "j2")] == ["queue:a", None]
        found = OPEN_WORKER.get()
        assert found is not None
        assert found.queues == {"queue:a", "queue:b"}
    assert observer.queues == {"queue:a", "queue:b"}


async def test_the_first_queue_is_reported_once(client: Any) -> None:
    """Who samples the depths learns of the first queue at once."""
    calls: list[int] = []
    observer = CommandObserver(client, "queue:", lambda: calls.append(1))
    await client.lpush("other", "j1")
    assert calls == []
    await client.lpush("queue:a", "j1")
    await client.zadd("queue:b", {"j1": 1})
    assert (calls, observer.kinds) == ([1], {"queue:b": SORTED_SET})
    observer.close()


async def test_another_job_that_is_pushed_is_no_retry(
    client: Any, observer: CommandObserver, running: RunningJob
) -> None:
    """Only the running job's own id counts as queued again."""
    await client.lpush("queue:high", "j12", '{"id": "j2", "parent": "j1"}')
    assert not running.is_queued_again
    await client.zadd("queue:delayed", {"j1": 1})
    assert running.is_queued_again


async def test_results_stay_as_they_are(client: Any, observer: CommandObserver) -> None:
    """The client returns and raises what it would without the observer."""
    assert await client.set("job:j1:status", "completed") is True
    assert await client.get("job:j1:status") == b"completed"
    with pytest.raises(Exception, match="WRONGTYPE"):
        await client.lpush("job:j1:status", "x")


async def test_closing_restores_the_client(client: Any) -> None:
    """After ``close()`` the instance has the attributes that it had before."""
    before = dict(vars(client))
    observer = CommandObserver(client, "queue:")
    assert vars(client) != before
    observer.close()
    assert dict(vars(client)) == before


async def test_a_wrapper_of_others_stays(client: Any) -> None:
    """A method that was wrapped again after us is not removed, and it still works."""
    observer = CommandObserver(client, "queue:")
    inner = client.execute_command
    calls: list[Any] = []

    def counting(*args: Any, **options: Any) -> Any:
        calls.append(args[0])
        return inner(*args, **options)

    client.execute_command = counting
    observer.close()
    await client.set("a", "1")
    assert (client.execute_command, calls) == (counting, ["SET"])


async def test_two_observers_share_a_client(client: Any) -> None:
    """Two coordinators with one client both see its commands."""
    first, second = CommandObserver(client, "queue:"), CommandObserver(client, "list:")
    await client.lpush("queue:a", "j")
    await client.lpush("list:a", "j")
    second.close()
    first.close()
    assert (first.queues, second.queues) == ({"queue:a"}, {"list:a"})


class Unreadable:
    """An argument that cannot be compared with anything."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    __hash__ = object.__hash__


def test_a_command_that_cannot_be_read_is_sent(caplog: pytest.LogCaptureFixture) -> None:
    """An error while reading is logged, and the command goes to the client all the same."""

    class Client:
        sent: tuple[Any, ...] = ()

        def execute_command(self, *args: Any) -> str:
            self.sent = args
            return "answer"

    client = Client()
    observer = CommandObserver(client, "queue:")
    assert client.execute_command() == "answer"
    assert "could not read the Redis command" in caplog.text
    assert client.execute_command("LPUSH", "queue:a", Unreadable()) == "answer"
    assert client.sent[:2] == ("LPUSH", "queue:a")
    assert observer.queues == {"queue:a"}


class SlottedPipeline:
    __slots__ = ()

    def execute_command(self, *args: Any) -> str:
        return "queued"


def test_a_pipeline_that_cannot_be_observed_is_returned(caplog: pytest.LogCaptureFixture) -> None:
    """A pipeline whose methods cannot be replaced is logged, and the coordinator gets it."""

    class Client:
        def pipeline(self) -> SlottedPipeline:
            return SlottedPipeline()

    client = Client()
    observer = CommandObserver(client, "queue:")
    assert client.pipeline().execute_command("SET", "a", "1") == "queued"
    assert "could not observe a pipeline" in caplog.text
    observer.close()


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_arguments_of_commands_pass(running: RunningJob, name: str) -> None:
    """Whatever the arguments of a command are, it goes to the client unchanged."""

    class Client:
        sent: tuple[Any, ...] = ()

        def execute_command(self, *args: Any) -> str:
            self.sent = args
            return "answer"

    wrong, client = HOSTILE[name](), Client()
    observer = CommandObserver(client, "queue:")
    for command in (
        (wrong, wrong),
        ("LPUSH", wrong, wrong),
        ("BRPOP", wrong, 0),
        ("SET", wrong, wrong),
        ("HSET", "job:j1", "status", wrong),
        ("SET", "job:j1:error", wrong),
    ):
        assert client.execute_command(*command) == "answer"
        assert all(one is other for one, other in zip(client.sent, command, strict=True))
    observer.close()
