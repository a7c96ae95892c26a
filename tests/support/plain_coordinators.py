"""
Coordinators as a team would have written them before it heard of this product.

Nothing here imports ``otel_bridge``. ``StrictCoordinator`` has pydantic tasks that refuse unknown
fields, enum types and swallowed exceptions; ``LooseCoordinator`` has dataclasses, texts and a retry
of its own making that pushes straight to the list, and it keeps its statuses in Redis only. The
others each do one thing that coordinators in the wild do.
"""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import json
import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict
from redis.asyncio import Redis
from redis.exceptions import RedisError

Handler = Callable[[dict[str, Any]], Awaitable[Any]]


class TaskType(enum.Enum):
    SEARCH = "data_aggregation_search"
    EXTRACT = "data_aggregation_extract"


class Status(enum.StrEnum):
    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    RETRYING = "retrying"


class StrictTask(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    id: str
    type: TaskType
    payload: dict[str, Any]
    priority: int = 0
    retry_count: int = 0
    max_retries: int = 2
    parent_task_id: str | None = None
    status: Status = Status.PENDING
    error: str | None = None


class StrictCoordinator:
    TASK_QUEUE_PREFIX = "nexus:tasks"
    TASK_STATUS_PREFIX = "nexus:task"

    def __init__(self, redis_client: Redis, handler: Handler) -> None:
        self.redis_client = redis_client
        self.handler = handler
        self.running = True
        self.seen: list[str] = []

    def _queue(self, priority: int) -> str:
        name = "high_priority" if priority > 0 else "normal_priority"
        return f"{self.TASK_QUEUE_PREFIX}:{name}"

    async def submit_tasks(self, tasks: Sequence[StrictTask], priority: int = 0) -> list[str]:
        for task in tasks:
            await self._record(task)
            await self.redis_client.lpush(self._queue(priority), task.model_dump_json())
        return [task.id for task in tasks]

    async def _record(self, task: StrictTask) -> None:
        await self.redis_client.set(f"{self.TASK_STATUS_PREFIX}:{task.id}:status", task.status)
        if task.error:
            await self.redis_client.set(f"{self.TASK_STATUS_PREFIX}:{task.id}:error", task.error)

    async def _worker(self, worker_id: int) -> int:
        done = 0
        while self.running:
            found = await self.redis_client.brpop([self._queue(1), self._queue(0)], timeout=0.1)
            if found is None:
                continue
            task = StrictTask.model_validate_json(found[1])
            await self._process_task(task, worker_id)
            done += 1
        return done

    async def _process_task(self, task: StrictTask, worker_id: int) -> str:
        task.status = Status.PROCESSING
        await self._record(task)
        try:
            self.seen.append(json.dumps(task.payload, sort_keys=True))
            result = await self.handler(task.payload)
            await self.redis_client.set(f"{self.TASK_STATUS_PREFIX}:{task.id}:result", str(result))
            task.status = Status.COMPLETED
        except Exception as error:
            task.error = f"{type(error).__name__}: {error}"
            if task.retry_count < task.max_retries:
                task.retry_count += 1
                task.status = Status.RETRYING
                # Nothing is recorded after this: another worker may have it by now.
                await self.submit_tasks([task], priority=task.priority)
                return task.status.value
            task.status = Status.FAILED
        await self._record(task)
        return task.status.value

    async def run(self, workers: int) -> list[int]:
        return await asyncio.gather(*(self._worker(number) for number in range(workers)))


@dataclasses.dataclass(slots=True)
class LooseTask:
    id: str
    type: str
    payload: dict[str, str]
    priority: int = 0
    retry_count: int = 0
    max_retries: int = 1
    parent_task_id: str | None = None


class LooseCoordinator:
    TASK_QUEUE_PREFIX = "team:queue:"
    TASK_STATUS_PREFIX = "team:job:"

    def __init__(self, redis_client: Redis, handler: Handler) -> None:
        self.redis_client = redis_client
        self.handler = handler
        self.running = True
        self.seen: list[str] = []

    async def enqueue_all(self, tasks: Sequence[LooseTask]) -> int:
        pipeline = self.redis_client.pipeline()
        for task in tasks:
            pipeline.set(f"team:job:{task.id}:status", "queued")
            pipeline.lpush("team:queue:only", json.dumps(dataclasses.asdict(task)))
        return len(await pipeline.execute())

    async def work(self, worker_id: int) -> None:
        while self.running:
            found = await self.redis_client.brpop("team:queue:only", timeout=0.1)
            if found is not None:
                await self.execute(LooseTask(**json.loads(found[1])), worker_id)

    async def execute(self, task: LooseTask, worker_id: int) -> None:
        status = f"team:job:{task.id}:status"
        await self.redis_client.set(status, "running")
        try:
            self.seen.append(json.dumps(task.payload, sort_keys=True))
            await self.handler(dict(task.payload))
        except LookupError as error:
            pipeline = self.redis_client.pipeline()
            if task.retry_count < task.max_retries:
                again = dataclasses.replace(task, retry_count=task.retry_count + 1)
                pipeline.set(status, "queued")
                pipeline.lpush("team:queue:only", json.dumps(dataclasses.asdict(again)))
            else:
                pipeline.set(status, json.dumps({"status": "dead", "error": str(error)}))
            await pipeline.execute()
        else:
            await self.redis_client.set(status, "done", ex=3600)


class Research(BaseModel):
    id: str
    title: str
    project_id: str | None = None
    research_type: str = "data_aggregation"


class PlainOrchestrator:
    def __init__(self, coordinator: StrictCoordinator) -> None:
        self.coordinator = coordinator

    async def handle(self, research: Research) -> dict[str, int]:
        found = await self.run_search(research)
        return {"found": found, "kept": await self.run_extraction(research, found)}

    async def run_search(self, research: Research) -> int:
        return await self._jobs(research, TaskType.SEARCH, 3)

    async def run_extraction(self, research: Research, count: int) -> int:
        return await self._jobs(research, TaskType.EXTRACT, count)

    async def _jobs(self, research: Research, kind: TaskType, count: int) -> int:
        tasks = [
            StrictTask(
                id=f"{research.id}:{kind.name}:{n}",
                type=kind,
                payload={"n": n},
                parent_task_id=research.id,
            )
            for n in range(count)
        ]
        await self.coordinator.submit_tasks(tasks)
        names = [f"nexus:task:{task.id}:status" for task in tasks]
        while True:
            statuses = await self.coordinator.redis_client.mget(names)
            if all(status in (b"completed", b"failed") for status in statuses):
                return len(statuses)
            await asyncio.sleep(0.01)


class PublishingCoordinator(StrictCoordinator):
    """Publishes raw events of its own, as teams did before; ``published`` has their JSON."""

    def __init__(self, redis_client: Redis, handler: Handler) -> None:
        super().__init__(redis_client, handler)
        self.published: list[str] = []

    def publish(self, event_type: str, **fields: Any) -> None:
        ts = datetime.now(UTC).isoformat()
        event = {"event_id": str(uuid.uuid4()), "ts": ts, "event_type": event_type, **fields}
        self.published.append(json.dumps(event))

    async def submit_tasks(self, tasks: Sequence[StrictTask], priority: int = 0) -> list[str]:
        submitted = await super().submit_tasks(tasks, priority)
        for task in tasks:
            if task.retry_count == 0:
                self.publish("task_enqueued", **self._ids(task))
        return submitted

    async def _process_task(self, task: StrictTask, worker_id: int) -> str:
        ids = {**self._ids(task), "worker_id": worker_id, "retry_count": task.retry_count}
        self.publish("task_started", **ids)
        status = await super()._process_task(task, worker_id)
        event_type = {"retrying": "task_retry"}.get(status, f"task_{status}")
        self.publish(event_type, error=task.error, **ids)
        return status

    def _ids(self, task: StrictTask) -> dict[str, Any]:
        phase = "search" if task.type is TaskType.SEARCH else "extraction"
        kind = task.type.value
        return {
            "task_id": task.id,
            "parent_task_id": task.parent_task_id,
            "task_type": kind,
            "phase": phase,
        }


class PublishingOrchestrator(PlainOrchestrator):
    """Publishes its phases itself."""

    coordinator: PublishingCoordinator

    async def handle(self, research: Research) -> dict[str, int]:
        self.coordinator.publish("task_started", task_id=research.id, parent_task_id=research.id)
        found = await super().handle(research)
        self.coordinator.publish("task_completed", task_id=research.id, parent_task_id=research.id)
        return found

    async def run_search(self, research: Research) -> int:
        self.coordinator.publish("phase_started", parent_task_id=research.id, phase="search")
        found = await super().run_search(research)
        self.coordinator.publish("phase_completed", parent_task_id=research.id, phase="search")
        return found


class SwallowingCoordinator(StrictCoordinator):
    """Goes on when Redis does not answer, and records no status when a job has failed."""

    async def submit_tasks(self, tasks: Sequence[StrictTask], priority: int = 0) -> list[str]:
        queued = []
        for task in tasks:
            try:
                queued += await super().submit_tasks([task], priority)
            except RedisError:
                continue  # a log line in the original
        return queued

    async def _process_task(self, task: StrictTask, worker_id: int) -> str:
        await self.redis_client.set(f"{self.TASK_STATUS_PREFIX}:{task.id}:status", "processing")
        try:
            await self.handler(task.payload)
        except Exception:
            await self.redis_client.incr("team:failures")
            return "gone"
        await self.redis_client.set(
            f"{self.TASK_STATUS_PREFIX}:{task.id}:status", "completed", ex=86400, nx=False
        )
        return "completed"


class RecordOrchestrator:
    """Gets the id and, beside it, a config; its phases are blocks of one method."""

    def __init__(self, coordinator: StrictCoordinator) -> None:
        self.coordinator = coordinator

    async def run(self, task_id: str, config: Any) -> int:
        return await self.search(task_id)

    async def search(self, task_id: str) -> int:
        return len(
            await self.coordinator.submit_tasks(
                [
                    StrictTask(
                        id=f"{task_id}:1", type=TaskType.SEARCH, payload={}, parent_task_id=task_id
                    )
                ]
            )
        )
