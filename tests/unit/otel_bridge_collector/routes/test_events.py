"""Batches of the ``http://`` transport reach the log once, within the projects of their token."""

from __future__ import annotations

import json

import pytest
from otel_bridge_collector.routes.events import router

from otel_bridge.publish.transports.base import SpanLines, SpanStack
from otel_bridge.publish.transports.http import PUSH_PATH
from otel_bridge.publish.transports.http_lines import LINES_PATH, MAX_LINES_BYTES, encode_lines
from otel_bridge.publish.transports.http_stacks import MAX_STACKS_BYTES, STACKS_PATH, encode_stacks
from tests.support.asgi_site import AsgiSite, open_site, token_line

ALPHA, BETA, BOTH = (
    "token-of-alpha-0123456789",
    "token-of-beta-0123456789",
    "token-of-both-0123456789",
)
TOKENS = ";".join(
    token_line(token, projects)
    for token, projects in ((ALPHA, "alpha"), (BETA, "beta"), (BOTH, "alpha,beta"))
)


def line(task_id: str, project_id: str | None = None) -> bytes:
    event = {"event_type": "task_started", "task_id": task_id, "ts": "2026-01-01T00:00:00Z"}
    return json.dumps(event if project_id is None else event | {"project_id": project_id}).encode()


async def push(
    site: AsgiSite, *lines: bytes, token: str = "", first_n: int = 1
) -> tuple[int, dict[str, object]]:
    headers = {"X-Producer-Id": "producer", "X-First-N": str(first_n)}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    answer = await site.post("/v1/events", b"\n".join(lines), headers=headers)
    return answer.status, answer.json()


async def in_log(site: AsgiSite) -> list[tuple[str, str | None]]:
    """Job and project of each event in the log, oldest first."""
    entries, _ = await site.collector.resumer.read_back(100, None)
    events = [json.loads(entry.data) for entry in reversed(entries)]
    return [(event["task_id"], event.get("project_id")) for event in events]


def test_the_route_is_where_the_transport_sends() -> None:
    """The transport and these routes agree on the paths, and there is no other route."""
    paths = [route.path for route in router.routes]  # type: ignore[attr-defined]
    assert paths == [PUSH_PATH, STACKS_PATH, LINES_PATH]


async def test_a_repeated_batch_is_appended_once() -> None:
    """What the log holds already is skipped and counted; new events behind it are appended."""
    async with open_site() as site:
        status, first = await push(site, line("a"), line("b"))
        assert (status, first["skipped"], first["rejected"]) == (200, 0, 0)
        status, second = await push(site, line("a"), line("b"), line("c"))
        assert (status, second["skipped"]) == (200, 2)
        assert second["position"] != first["position"]
        assert await in_log(site) == [("a", None), ("b", None), ("c", None)]


async def test_events_of_other_projects_are_left_out() -> None:
    """A token writes into its projects only; the rest of its batch is taken and counted."""
    async with open_site(tokens=TOKENS) as site:
        lines = (line("a", "alpha"), line("b", "gamma"), line("c"))
        status, answer = await push(site, *lines, token=BOTH)
        assert (status, answer["rejected"]) == (200, 2)
        status, answer = await push(site, line("d", "alpha"), token=BETA)
        assert (status, answer["rejected"]) == (200, 1)
        assert await in_log(site) == [("a", "alpha")]


async def test_an_event_without_a_project_gets_the_tokens_only_one() -> None:
    """A heartbeat names no project: with one project to choose from, it belongs to that."""
    async with open_site(tokens=TOKENS) as site:
        await push(site, line("a"), token=ALPHA)
        assert await in_log(site) == [("a", "alpha")]


async def test_tokens_do_not_share_a_producer() -> None:
    """Two tokens that use one producer name and one number do not make the log skip events."""
    async with open_site(tokens=TOKENS) as site:
        for token in (ALPHA, BETA):
            status, answer = await push(site, line("a"), token=token)
            assert (status, answer["skipped"]) == (200, 0)
        assert await in_log(site) == [("a", "alpha"), ("a", "beta")]


@pytest.mark.parametrize("body", [b"", b"{}", b"not JSON", line("a") + b"\n\n" + line("b")])
async def test_a_bad_batch_is_refused_as_a_whole(body: bytes) -> None:
    """A batch with a bad line is 400 with the reason, and nothing of it is in the log."""
    async with open_site() as site:
        status, answer = await push(site, body)
        assert (status, list(answer)) == (400, ["detail"])
        assert await in_log(site) == []


async def test_a_batch_over_the_limit_is_refused() -> None:
    """A body of more than 1,000 events of the largest size is 413."""
    async with open_site() as site:
        limit = 1000 * (site.collector.bridge_settings.max_event_size_bytes + 1)
        status, answer = await push(site, b" " * (limit + 1))
        assert status == 413
        assert f"over {limit} bytes" in str(answer["detail"])


async def store(site: AsgiSite, *stacks: SpanStack, token: str = "") -> tuple[int, object]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer = await site.post(STACKS_PATH, encode_stacks(stacks), headers=headers)
    return answer.status, answer.json()


async def test_stacks_are_stored_within_the_projects_of_the_token() -> None:
    """The others are counted; one without a project gets the token's only one."""
    async with open_site(tokens=TOKENS) as site:
        spans = [f"{number:016x}" for number in range(4)]
        given = [SpanStack(spans[0], "a", "alpha"), SpanStack(spans[1], "b", "beta")]
        assert await store(site, *given, SpanStack(spans[2], "c"), token=ALPHA) == (
            200,
            {"unstored": 1},
        )
        assert await site.collector.stack(spans[0]) == given[0]
        assert await site.collector.stack(spans[1]) is None
        assert await site.collector.stack(spans[2]) == SpanStack(spans[2], "c", "alpha")
        forged = SpanStack(spans[0], "forged", "beta")
        assert await store(site, forged, token=BETA) == (200, {"unstored": 1})
        assert await site.collector.stack(spans[0]) == given[0]
        assert await store(site, SpanStack(spans[3], "d"), token=BOTH) == (200, {"unstored": 1})


async def test_bad_stacks_are_refused() -> None:
    """A malformed body is 400, one over 8 MiB is 413."""
    async with open_site() as site:
        assert (await site.post(STACKS_PATH, b"no stack")).status == 400
        assert (await site.post(STACKS_PATH, b" " * (MAX_STACKS_BYTES + 1))).status == 413


LINE = b'[1,20,"app","hello",1]'


async def test_lines_are_stored_within_the_projects_of_the_token() -> None:
    """By the project that they name, and by that of the node, whose id others may know."""
    async with open_site(tokens=TOKENS) as site:
        spans = [f"{number:016x}" for number in range(1, 5)]
        of_beta = {"task_id": "j", "parent_task_id": "t", "project_id": "beta", "span_id": spans[3]}
        await site.append(of_beta, token=BETA)
        given = [
            SpanLines(spans[0], [LINE, LINE], "alpha"),
            SpanLines(spans[1], [LINE, LINE, LINE], "beta"),
            SpanLines(spans[2], [LINE], outcome="failed"),
            SpanLines(spans[3], [LINE], "alpha"),
        ]
        headers = {"Authorization": f"Bearer {ALPHA}"}
        answer = await site.post(LINES_PATH, encode_lines(given), headers=headers)
        assert (answer.status, answer.json()) == (200, {"unstored": 4})
        found = await site.collector.lines.reader.last(dict.fromkeys(spans, 9))
        assert found == [[LINE, LINE], [], [LINE], []]


async def test_bad_lines_are_refused() -> None:
    """A malformed body is 400, one over 8 MiB is 413."""
    async with open_site() as site:
        assert (await site.post(LINES_PATH, b"no lines")).status == 400
        assert (await site.post(LINES_PATH, b" " * (MAX_LINES_BYTES + 1))).status == 413
