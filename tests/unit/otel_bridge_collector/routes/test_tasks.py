"""Research tasks over HTTP: what is queued, who may see it, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from otel_bridge_collector.commands.demo import DEMO_REQUEST
from otel_bridge_collector.routes.tasks import TaskGateway
from redis.exceptions import ConnectionError as RedisConnectionError

from otel_bridge.orchestration.queue.errors import SharedQueueError
from otel_bridge.orchestration.queue.task_types import ResearchTaskRequest
from tests.support.asgi_site import open_site, token_line

ALPHA = {"Authorization": "Bearer token-of-alpha-0123456789"}
BETA = {"Authorization": "Bearer token-of-beta-0123456789"}
TOKENS = ";".join(token_line(f"token-of-{name}-0123456789", name) for name in ("alpha", "beta"))
REQUEST: dict[str, Any] = {**DEMO_REQUEST, "project_id": "alpha"}


class MemoryGateway:
    """A coordinator that keeps research tasks in a dict, and can be out of reach."""

    def __init__(self) -> None:
        self.tasks: dict[str, dict[str, Any]] = {}
        self.failure: Exception | None = None

    async def submit(self, request: ResearchTaskRequest) -> str:
        self._check()
        task_id = f"task-{len(self.tasks)}"
        self.tasks[task_id] = {"status": "pending", "project_id": request.project_id}
        return task_id

    async def get(self, task_id: str) -> dict[str, Any] | None:
        self._check()
        return self.tasks.get(task_id)

    def _check(self) -> None:
        if self.failure is not None:
            raise self.failure


async def test_a_task_is_queued_and_read_back() -> None:
    """201 names the task and where its state is; the state is the coordinator's."""
    gateway: TaskGateway = MemoryGateway()
    async with open_site(gateway=gateway) as site:
        answer = await site.post("/tasks", REQUEST)
        assert (answer.status, answer.headers["location"]) == (201, "/tasks/task-0")
        shown = {name: REQUEST[name] for name in ("title", "research_type", "project_id")}
        assert answer.json() == {"task_id": "task-0", "status": "pending", **shown}
        state = await site.get(answer.headers["location"])
        assert (state.status, state.json()["status"]) == (200, "pending")


async def test_a_task_belongs_to_a_project() -> None:
    """A token queues into its projects only, and other tokens do not find the task."""
    gateway = MemoryGateway()
    async with open_site(gateway=gateway, tokens=TOKENS) as site:
        assert (await site.post("/tasks", REQUEST, headers=ALPHA)).status == 201
        refused = await site.post("/tasks", REQUEST, headers=BETA)
        assert refused.status == 403
        assert "may not use project_id 'alpha'" in refused.json()["detail"]
        assert list(gateway.tasks) == ["task-0"]
        found = [(await site.get("/tasks/task-0", headers=h)).status for h in (ALPHA, BETA)]
        assert found == [200, 404]
        unnamed = {**REQUEST, "project_id": None}
        assert (await site.post("/tasks", unnamed, headers=ALPHA)).status == 403


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"not JSON", 400),
        (b'{"title": NaN}', 400),
        (b"null", 422),
        (b"[]", 422),
        (b'{"title": 5}', 422),
        (b'{"research_type": "unknown"}', 422),
        (b" " * (1024 * 1024 + 1), 413),
    ],
)
async def test_a_bad_request_says_why(body: bytes, status: int) -> None:
    """What is no JSON, no research task or too large is refused with one sentence."""
    gateway = MemoryGateway()
    async with open_site(gateway=gateway) as site:
        answer = await site.post("/tasks", body)
        assert (answer.status, list(answer.json())) == (status, ["detail"])
    assert gateway.tasks == {}


@pytest.mark.parametrize(
    "failure", [RedisConnectionError("password"), OSError("password"), TimeoutError("password")]
)
async def test_a_queue_out_of_reach_is_503(failure: Exception) -> None:
    """The answer says that the task may not be queued, and nothing of the error."""
    gateway = MemoryGateway()
    gateway.failure = failure
    async with open_site(gateway=gateway) as site:
        for answer in (await site.post("/tasks", REQUEST), await site.get("/tasks/task-0")):
            assert answer.status == 503
            assert "the queue in Redis cannot be reached" in answer.json()["detail"]
            assert b"password" not in answer.body


async def test_a_queue_of_another_program_is_503_without_its_item() -> None:
    """The answer names the queue and the cure; the other program's item is not shown."""
    gateway = MemoryGateway()
    gateway.failure = SharedQueueError("nexus:tasks:low_priority", "their secret")
    async with open_site(gateway=gateway) as site:
        answer = await site.post("/tasks", REQUEST)
    assert answer.status == 503
    assert answer.json()["detail"].startswith(
        "nothing was queued: nexus:tasks:low_priority holds an item of another program; set "
        "MONITORING_KEY_PREFIX"
    )
    assert b"secret" not in answer.body


async def test_an_unknown_task_is_404() -> None:
    """An id that the coordinator does not know is not found."""
    async with open_site(gateway=MemoryGateway()) as site:
        assert (await site.get("/tasks/none")).status == 404


@pytest.mark.parametrize("body", [b"{}", b" " * (2 * 1024 * 1024)])
async def test_a_collector_without_a_coordinator_only_watches(body: bytes) -> None:
    """Without a coordinator both routes are 503 and say what to set, whatever the body."""
    async with open_site() as site:
        for answer in (await site.post("/tasks", body), await site.get("/tasks/x")):
            assert answer.status == 503
            assert "set REDIS_URL" in answer.json()["detail"]


def task(task_id: str, project_id: str | None, **more: Any) -> dict[str, Any]:
    return {"parent_task_id": task_id, "task_id": task_id, "project_id": project_id, **more}


async def test_known_tasks_are_listed() -> None:
    """Without a coordinator too: every research task of the state, with what names it."""
    async with open_site() as site:
        await site.append(task("a", "alpha", meta={"title": "A"}), task("b", None))
        found = (await site.get("/tasks")).json()
        rows = {row["task_id"]: row for row in found["tasks"]}
        assert (found["total"], sorted(rows)) == (2, ["a", "b"])
        shown = {"task_id": "a", "title": "A", "project_id": "alpha"}
        assert rows["a"] == {**shown, "status": rows["a"]["status"]}
        limited = (await site.get("/tasks", query="limit=1")).json()
        assert (len(limited["tasks"]), limited["total"]) == (1, 2)
        only = (await site.get("/tasks", query="project_id=alpha")).json()
        assert ([row["task_id"] for row in only["tasks"]], only["total"]) == (["a"], 1)


async def test_a_token_lists_its_projects_only() -> None:
    """Research tasks of other projects and of none are neither listed nor counted."""
    async with open_site(tokens=f"{TOKENS};{token_line('token-of-all-0123456789')}") as site:
        events = (task("a", "alpha"), task("b", "beta"), task("c", None))
        await site.append(*events, token="token-of-all-0123456789")
        for headers, expected in ((ALPHA, ["a"]), (BETA, ["b"])):
            found = (await site.get("/tasks", headers=headers)).json()
            assert ([row["task_id"] for row in found["tasks"]], found["total"]) == (expected, 1)


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=1&limit=2", "types=x"])
async def test_a_wrong_query_of_the_list_is_400(query: str) -> None:
    """A parameter that cannot be read is refused with its name."""
    async with open_site() as site:
        answer = await site.get("/tasks", query=query)
        assert (answer.status, answer.json()["detail"].partition(":")[0]) == (
            400,
            query.partition("=")[0],
        )
